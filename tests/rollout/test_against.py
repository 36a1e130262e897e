"""What there is to bet on against a rule, as simulations ask for it: what a reading bets on."""

from __future__ import annotations

import numpy as np
import pytest

from controller.rollout.evidence.readings import against, read, strongest_of
from controller.rollout.observation import BOTH_ARMS
from tests.rollout import test_ratio_proofs as ratio
from tests.rollout import test_spending_proofs as spending
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan
from tests.rollout.test_readings import START, row, view

HERE, ELSEWHERE = "refund", "order-status"


def of_a_rate():
    of = plan(rules=(ESCALATION,))
    rows = [
        row(
            START + i,
            {"n": 9, "e": 9, "units": 9, "ed.escalated": 9, "ef.escalated": n},
            intent=intent,
        )
        for i in range(60)
        for intent, n in ((HERE, 1), (ELSEWHERE, 5))
    ]
    return view(rows, minutes=60, of=of)


def of_a_loss():
    of = plan(rules=(ACCURACY,))
    rows = [
        row(START + i, {"b.0": 3, f"b.{worse}000000": 1}, arm=BOTH_ARMS, intent=intent)
        for i in range(60)
        for intent, worse in ((HERE, 1), (ELSEWHERE, -1))
    ]
    return view(rows, minutes=48 * 60, of=of)


def of_a_ratio():
    rows = [
        one
        for i in range(60)
        for intent, slow in ((HERE, 9.0), (ELSEWHERE, 1.0))
        for one in ratio.both(START + i, [1.0, slow], [1.0, 1.0], intent=intent)
    ]
    of = plan(rules=(ratio.PROVEN,))
    references = ratio.frozen(ratio.PROVEN) | ratio.frozen(ratio.PROVEN, intent=HERE)
    state = at_step(0, of, started_at=NOW, references=references)
    return ratio.compare(rows, minutes=59, of=of, state=state)


def of_a_cost():
    rows = [
        spending.answered(START + i, (dear * spending.LIMIT, 1.0), intent=intent)
        for i in range(60)
        for intent, dear in ((HERE, 3), (ELSEWHERE, 1))
    ]
    of = spending.plan()
    return view(rows, minutes=59, of=of, state=at_step(0, of, started_at=NOW))


@pytest.mark.parametrize("looked_at", [of_a_rate, of_a_loss, of_a_ratio, of_a_cost])
@pytest.mark.parametrize("intent", [HERE, None])
def test_what_is_bet_on_against_a_rule_is_what_its_reading_bets_on(looked_at, intent):
    seen = looked_at()
    rule = seen.plan.rules[0]
    epoch = seen.state.epoch(rule.name)
    reading = read(seen, rule, intent)

    (one,) = against(seen, rule, intent, epoch)

    ends = np.array([seen.span(rule, epoch).ends[-1]])
    strongest = strongest_of(seen, rule, epoch, one, ends, seen.alpha(rule, epoch))
    assert reading.failing is not None
    assert reading.failing.log_e == strongest.log_e[0]
    assert reading.failing.log_e - reading.failing.log_threshold == pytest.approx(
        strongest.margin[0]
    )
    assert strongest.log_e[0] != 0
    assert len(strongest.log_e) == len(strongest.margin) == len(strongest.start) == 1


def test_a_rule_of_which_nothing_can_be_proven_has_nothing_to_bet_on():
    of = plan(rules=(ratio.SLOWER,))
    nothing_frozen = ratio.compare([], minutes=59, of=of, state=at_step(0, of, started_at=NOW))

    epoch = nothing_frozen.state.epoch(ratio.SLOWER.name)

    assert against(nothing_frozen, ratio.SLOWER, None, epoch) == ()
