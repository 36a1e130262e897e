"""How a plan's alpha is spent over its rules and intents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.rollout.metrics import CATALOGUE
from controller.rollout.rules import alpha_of
from controller.rollout.state import Epoch
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, plan

FIRST = Epoch(number=0, start=NOW)


def test_a_rule_that_cannot_be_proven_takes_no_alpha_from_those_that_can():
    cached = replace(ESCALATION, name="cached", metric=CATALOGUE["cache_hit_rate"], below=True)
    slow = replace(ESCALATION, name="slow", metric=CATALOGUE["latency_p95"], limit=2.0)
    of = plan(rules=(ACCURACY, ESCALATION, cached, slow))

    # accuracy on refund, and escalation on all traffic: two tests share 5%
    assert alpha_of(of, ESCALATION, FIRST) == 0.025
    for unprovable in (cached, slow):
        with pytest.raises(LookupError, match="no confident form"):
            alpha_of(of, unprovable, FIRST)
