"""When a percentile of the baseline is first known, so that it is frozen: a decision of its own within a step."""

from __future__ import annotations

import numpy as np

from controller.rollout.evidence.comparison import LEAST, compared, reference_key
from controller.rollout.evidence.view import View
from controller.rollout.plan import Arm
from controller.rollout.state import Phase
from controller.rollout.timeline import minute_of, minutes


def first_measured(view: View) -> int | None:
    """The first minute up to `view.now`, after those that were judged, in which a look freezes one; None: in none.

    As `reconcile.observe.references` has it within a hold.
    """
    state, found = view.state, list[int]()
    if state.phase is not Phase.PROGRESSING or state.step < 0 or view.judged is None:
        return None
    moments = np.arange(view.judged + 1, minute_of(view.now) + 1)
    for rule, intent in compared(view.plan):
        if intent not in state.pins and reference_key(rule, intent) not in state.references:
            ends = moments - minute_of(view.now) + view.watermark(rule)
            known = (f"c.{rule.metric.subject}_us",)
            closed, opened = (
                view.tallies.until(at, known, arm=Arm.BASELINE.value, intent=intent)[:, 0]
                for at in (ends, ends - minutes(rule.window))
            )
            found += moments[closed - opened >= LEAST][:1].tolist()
    return min(found, default=None)
