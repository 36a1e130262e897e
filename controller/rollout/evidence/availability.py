"""What there is to measure: traffic and samples of the arms that a rule needs, and minutes in which nothing is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes
from controller.rollout.evidence.looks import known_and_traffic
from controller.rollout.evidence.reader import Reader
from controller.rollout.evidence.view import View
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import FULL_BP, Arm, Plan, Rule
from controller.rollout.state import Phase
from controller.rollout.timeline import minute_of, minutes
from controller.rollout.verdict import Availability

UNLIKELY: Final = (
    0.01  # how often chance may ever blind a rule on an intent, however long a rollout takes
)


@dataclass(frozen=True, slots=True)
class Counted:
    """What one arm had: traffic and measured requests in the last window, younger traffic, samples in the step."""

    traffic: int
    known: int
    younger: int
    in_step: int


def counted(view: View, rule: Rule, intent: str | None, epoch_min: int) -> list[Counted]:
    """By arm that the rule needs. Samples are episodes with a grade for a loss, measured requests otherwise."""
    known, traffic = known_and_traffic(rule.metric)
    counted = "e.graded" if rule.metric.kind is Kind.LOSS else known
    end, now = view.watermark(rule), minute_of(view.now) + 1
    step = minute_of(view.state.step_started_at)
    start = min(max(end - minutes(rule.window), epoch_min), end)

    keys = (traffic, known, counted)
    return [
        _counted_of(view.reader, arm.value, intent, keys, (start, end, now, step))
        for arm in _arms(rule)
    ]


def _counted_of(
    reader: Reader,
    arm: str,
    intent: str | None,
    keys: tuple[str, str, str],
    at: tuple[int, int, int, int],
) -> Counted:
    start, end, now, step = at
    opened, closed = (reader.before(one, keys, arm=arm, intent=intent) for one in (start, end))
    here = closed if now == end else reader.before(now, keys, arm=arm, intent=intent)
    entered = reader.before(step, keys, arm=arm, intent=intent) if step < end else closed
    return Counted(
        traffic=closed[0] - opened[0],
        known=closed[1] - opened[1],
        younger=here[0] - closed[0],
        in_step=closed[2] - entered[2],
    )


def availability(view: View, rule: Rule, counted: Sequence[Counted]) -> Availability:
    if rule.metric.comparing and not _has_control(view):
        return Availability.NO_CONTROL
    if any(one.traffic <= 0 for one in counted):
        due = min(one.younger for one in counted)
        return Availability.NOT_DUE if due > 0 else Availability.NO_TRAFFIC
    if any(one.known <= 0 for one in counted):
        return Availability.NO_DATA
    return Availability.MEASURED


def _arms(rule: Rule) -> tuple[Arm, ...]:
    if rule.metric.comparing:
        return (Arm.BASELINE, Arm.CANDIDATE)
    return (rule.arm or Arm.CANDIDATE,)


def _has_control(view: View) -> bool:
    """Whether the baseline still gets comparable traffic at the committed share."""
    return view.state.share_bp < FULL_BP


def blind(view: View, rule: Rule, intent: str | None) -> timedelta:
    """Minutes with candidate traffic, old enough to be measured, since the last one that was.

    Counted from where the hold's clock last started, and only while the candidate had a share. Where only some
    requests are ever measured, a gap that chance explains is not blindness.
    """
    if view.state.share_bp == 0 or view.state.phase is Phase.PENDING:
        return timedelta(0)
    known, traffic = known_and_traffic(rule.metric)
    if known == traffic:
        return timedelta(0)
    arm, end = Arm.CANDIDATE.value, view.watermark(rule)
    since = minute_of(view.state.hold_from)
    if since >= end or _all_known(view, (known, traffic), intent, since, end):
        return timedelta(0)
    measured = view.tallies.last_minute_with(known, end, arm=arm, intent=intent)
    # Not in the last minute, or there would be nothing to look for.
    start = max(since, measured + 1 if measured is not None else 0)
    unmeasured = view.tallies.minutes_with(traffic, start, end, arm=arm, intent=intent)
    so_far, of = view.reader.before(start, (known, traffic), arm=arm, intent=intent)
    (missed,) = view.reader.between(start, end, (traffic,), arm=arm, intent=intent)
    if not len(unmeasured) or by_chance(
        so_far, of, missed, expected=expected_rate(view.plan, rule)
    ):
        return timedelta(0)
    return timedelta(minutes=len(unmeasured))


def _all_known(view: View, keys: tuple[str, str], intent: str | None, since: int, end: int) -> bool:
    """Whether there is nothing to look for: the last minute was measured, or every request was."""
    arm = Arm.CANDIDATE.value
    (in_last,) = view.reader.between(end - 1, end, keys[:1], arm=arm, intent=intent)
    if in_last:
        return True
    known, traffic = view.reader.between(since, end, keys, arm=arm, intent=intent)
    return known == traffic


def expected_rate(plan: Plan, rule: Rule) -> float:
    """Which part of the requests is to be measured."""
    return plan.labels.sampled_u / MICRO if rule.metric.labelled else 1.0


@overload
def by_chance(known: int, traffic: int, missed: int, *, expected: float) -> bool: ...
@overload
def by_chance(
    known: Minutes, traffic: Minutes, missed: Minutes, *, expected: float
) -> NDArray[np.bool_]: ...
def by_chance(
    known: int | Minutes, traffic: int | Minutes, missed: int | Minutes, *, expected: float
) -> bool | NDArray[np.bool_]:
    """Whether chance may have left `missed` requests in a row unmeasured, after so many `known` of so many.

    They are measured at the rate seen so far, or that which is `expected` if it is lower. A gap may begin at first, and
    after each measured request. After k of these one is no chance from where that would leave it in less than
    `UNLIKELY` / ((k + 1) (k + 2)) of cases, so that all of them together are taken for blindness in `UNLIKELY` of
    rollouts at most. Numbers, or arrays of one shape.
    """
    k = np.asarray(known, dtype=np.float64)
    rate = np.minimum(np.where(k > 0, k / np.maximum(traffic, 1), expected), expected)
    chance: NDArray[np.bool_] = (1 - rate) ** missed * ((k + 1) * (k + 2)) > UNLIKELY
    return chance if chance.ndim else bool(chance)
