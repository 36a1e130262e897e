"""Which rules are named over all non-critical intents together: e-BH on the e-values behind their proofs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.evidence.discoveries import discoveries
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Intent, Plan, Scope, Then
from controller.rollout.state import Epoch
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Availability, Verdict
from tests.rollout.factories import ACCURACY, ESCALATION, at_step, plan, proof, reading
from tests.rollout.test_readings import START, requests, view

EACH = replace(ESCALATION, scope=Scope.EACH, then=Then.NOTIFY)
NAMES = tuple(f"intent-{number}" for number in range(6))
MANY = plan(
    rules=(EACH, ACCURACY),
    intents=(Intent(name="refund", critical=True), *(Intent(name=name) for name in NAMES)),
)
NEEDS = 12.0
RATE = 0.1  # of those named, at most so many falsely


def verdicts(log_es: list[float], of: Plan = MANY) -> list[Verdict]:
    """One of the escalation rule on each intent, critical ones included."""
    return [
        judge(EACH, reading(EACH, name, failing=proof(one, needs=NEEDS, observed=0.01)))
        for name, one in zip(("refund", *NAMES), log_es, strict=True)
    ]


# Seven tests of escalation and one of accuracy share 5%.
ALPHA = 0.05 / 8


@given(st.lists(st.floats(-5, 30), min_size=7, max_size=7))
def test_the_largest_number_of_intents_is_named_whose_e_values_are_large_enough_for_it(log_es):
    found = discoveries(MANY, verdicts(log_es))

    e_values = [math.exp(one - NEEDS) / ALPHA for one in log_es[1:]]
    ranked = sorted(e_values, reverse=True)
    k = max((k for k in range(1, 7) if ranked[k - 1] >= 6 / (k * RATE)), default=0)
    assert [one.intent for one in found] == list(NAMES)
    assert {one.rule for one in found} == {"escalation"}
    assert sum(one.named for one in found) == k
    assert {one.log_e for one in found if one.named} == set(
        sorted((one.log_e for one in found), reverse=True)[:k]
    )
    assert [one.log_e for one in found] == pytest.approx([math.log(one) for one in e_values])


def test_an_e_value_is_that_of_the_starts_together():
    of = plan(rules=(EACH,))
    rows = [requests(START + i, 100, 4, intent="order-status") for i in range(60)]
    state = replace(at_step(0, of), epochs={"escalation": Epoch(number=2, start=start_of(START))})
    found = read(view(rows, minutes=59, of=of, state=state), EACH, "order-status")

    (one,) = discoveries(of, [judge(EACH, found)])

    assert found.failing is not None
    # The epoch's first start has a quarter of alpha: a quarter of its e-process, whatever the epoch's alpha
    assert found.failing.window.start == start_of(START)
    assert one.log_e == pytest.approx(found.failing.log_e - math.log(4))
    assert one.named


def test_what_could_not_be_judged_counts_as_a_test_that_found_nothing():
    lost = reading(EACH, NAMES[0], availability=Availability.NO_DATA, failing=proof(30.0))
    one_of_six = [judge(EACH, lost)]

    found = discoveries(MANY, one_of_six)

    assert len(found) == 6
    assert {one.log_e for one in found} == {-math.inf}
    assert not any(one.named for one in found)


def test_critical_intents_all_traffic_and_what_has_no_proof_are_left_out():
    ratio = replace(EACH, name="ratio", metric=CATALOGUE["cost_ratio"])
    of = replace(MANY, rules=(ACCURACY, ESCALATION, ratio))

    assert discoveries(of, ()) == ()
