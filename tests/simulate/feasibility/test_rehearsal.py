"""Simulated rollouts for `check`: which there are, where a healthy one stopped, and when that is warned about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.rollout.plan import Evidence, Scope
from controller.rollout.state import Cause
from controller.simulate.endings import Ending
from controller.simulate.feasibility.bill import bill
from controller.simulate.feasibility.rehearsal import (
    can_rehearse,
    healthy_stopped,
    rehearsal,
    rehearsed,
)
from controller.simulate.runs.trials import Trial
from controller.simulate.scenarios import Fault, Scenario
from tests.simulate.factories import plan, rule
from tests.simulate.feasibility.test_feasibility import ESCALATION, TRAFFIC, planned

START = datetime(2026, 1, 5, tzinfo=UTC)
WRITTEN = replace(ESCALATION, evidence=Evidence.OBSERVED)


def run(number: int, ending: Ending, end_min: int, *path: tuple[int, int]) -> Trial:
    stopped = ending in (Ending.PAUSED, Ending.ROLLED_BACK)
    return Trial(
        number=number,
        ending=ending,
        end_min=end_min,
        path=((0, 0), *path),
        cause=Cause.RULE if stopped else None,
        rules=("escalation_rate",) if stopped else (),
        candidate_requests=100,
        wrong_served=5.0,
    )


def of(stops: int, runs: int, rules=(WRITTEN,)):
    """Healthy runs, of which so many are rolled back at the second step."""
    given = planned(*rules)
    setups = rehearsed(given, TRAFFIC, [], start=START, seed=7)
    trials = [
        run(n, Ending.ROLLED_BACK, 5_000, (1, 1_000), (4_321, 5_000), (5_000, 0))
        if n < stops
        else run(n, Ending.COMPLETED, 6_000, (1, 1_000), (4_321, 5_000), (5_800, 9_900))
        for n in range(runs)
    ]
    return given, rehearsal(given, setups[:1], [trials])


def test_a_healthy_candidate_and_what_the_rules_bet_on_are_rehearsed():
    rules = (rule("accuracy_delta", limit=0.015, scope=Scope.CRITICAL), ESCALATION)

    found = rehearsed(planned(*rules), TRAFFIC, [], start=START, seed=7)

    assert [one.scenario.text for one in found] == ["healthy", "loss=3pp", "escalation=3%"]
    loss = found[1].scenario.loss
    assert loss is not None
    assert loss.size == pytest.approx(0.03)
    # Holds of 4 days and no bake: given up after twice that
    assert {one.max_days for one in found} == {8}


def test_stated_regressions_are_rehearsed_instead():
    stated = [Scenario(text="error=2%", error=Fault(size=0.02))]

    found = rehearsed(planned(), TRAFFIC, stated, start=START, seed=7)

    assert [one.scenario.text for one in found] == ["healthy", "error=2%"]


def test_a_stop_is_told_at_the_step_that_it_came_in():
    _, found = of(3, 10)

    (stop,) = found.healthy_stops
    assert (stop.step, stop.rules, stop.part.count) == (1, ("escalation_rate",), 3)


@pytest.mark.parametrize(("stops", "warned"), [(0, False), (1, False), (3, True)])
def test_more_stops_than_alpha_are_warned_about_when_they_are_no_chance(stops: int, warned: bool):
    # Wilson, 3 of 20: 5.2% to 36%; 1 of 20: 0.9% to 24%
    given, found = of(stops, 20)

    findings = healthy_stopped(given, TRAFFIC, found)

    assert bool(findings) is warned
    if findings:
        assert findings[0].path == "spec.rules[0].evidence"
        assert findings[0].message.startswith("3 of 20 simulated rollouts with nothing wrong")
        assert "with `evidence: confident` proofs stop at most 5% of them" in findings[0].message


def test_stops_by_proof_say_that_the_limit_is_passed_as_told():
    given, found = of(20, 20, rules=(ESCALATION,))

    (finding,) = healthy_stopped(given, TRAFFIC, found)

    assert "its proofs see more than the limit" in finding.message


def test_stops_that_no_rule_caused_are_about_the_time_without_sight():
    given = planned(WRITTEN)
    setups = rehearsed(given, TRAFFIC, [], start=START, seed=7)
    blind = [
        replace(run(n, Ending.PAUSED, 5_000, (1, 1_000)), cause=Cause.BLIND, rules=())
        for n in range(20)
    ]

    (warning,) = healthy_stopped(given, TRAFFIC, rehearsal(given, setups[:1], [blind]))

    assert warning.path == "spec.maxBlind"
    assert "(blind: 20)" in warning.message
    assert "lengthen `maxBlind`" in warning.message


def test_a_plan_of_rules_without_streams_is_not_rehearsed():
    assert not can_rehearse(plan(rule("latency_p95", limit=3.0)))
    assert can_rehearse(planned())


def test_a_bill_adds_up_the_steps_and_needs_both_prices():
    given = planned(ESCALATION)
    found = bill(given, replace(TRAFFIC, escalation=0.0))

    assert found is not None
    # Both arms at the same price: moving costs nothing
    assert found.rollout_usd == pytest.approx(found.baseline_usd)
    assert sum(found.steps_usd) == pytest.approx(found.rollout_usd)
    assert bill(replace(given, baseline=replace(given.baseline, price=None)), TRAFFIC) is None


def test_an_escalated_answer_costs_both_calls():
    given = planned(ESCALATION)
    found = bill(given, replace(TRAFFIC, escalation=0.5))

    assert found is not None
    each = found.baseline_usd / found.requests
    # 72 h at 10% and 24 h at 50% of the 80% that move; every other of them costs two calls
    moved = 50 * 60 * 0.8 * (72 * 0.1 + 24 * 0.5)
    assert found.rollout_usd - found.baseline_usd == pytest.approx(0.5 * moved * each)
