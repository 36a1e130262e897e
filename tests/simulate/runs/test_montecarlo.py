"""Many runs: which rules are simulated, what the runs add up to, and that processes do not matter."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.errors import DataError
from controller.rollout.evidence.rules import alpha_of
from controller.rollout.plan import Evidence, Scope, Then
from controller.rollout.state import Cause, Epoch
from controller.rollout.timeline import EPOCH
from controller.simulate.endings import Ending
from controller.simulate.runs.montecarlo import fit, shares_over_time, simulate, summary
from controller.simulate.runs.trials import Trial
from controller.simulate.scenarios import HEALTHY, Fault, Scenario
from tests.simulate.factories import plan, rule
from tests.simulate.runs.test_trials import setup, small

FIRST = Epoch(number=0, start=EPOCH)
LATE = Scenario(text="escalation=5%@2h", escalation=Fault(size=0.05, since=timedelta(hours=2)))


def made(ending: Ending, end_min: int, *, requests: int = 100, number: int = 0) -> Trial:
    stopped = ending in (Ending.PAUSED, Ending.ROLLED_BACK)
    return Trial(
        number=number,
        ending=ending,
        end_min=end_min,
        path=((0, 0), (1, 1_000), *(((end_min, 0),) if stopped else ())),
        cause=Cause.RULE if stopped else None,
        rules=("escalation",) if stopped else (),
        candidate_requests=requests,
        wrong_served=requests / 20,
    )


# Which rules


def test_a_rule_without_a_stream_is_left_out_and_named():
    slow = rule("latency_p95", limit=3.0)

    found = fit(plan(rule("escalation_rate"), slow))

    assert [one.name for one in found.plan.rules] == ["escalation_rate"]
    assert found.left_out == (slow,)


def test_the_rules_that_stay_keep_their_alpha():
    whole = plan(
        rule("accuracy_delta", scope=Scope.EACH),
        rule("escalation_rate", alpha=0.01),
        rule("complaint_rate"),
    )

    left = fit(whole).plan

    for name in ("accuracy_delta", "escalation_rate"):
        one, same = whole.rule(name), left.rule(name)
        assert one is not None
        assert same is not None
        assert alpha_of(left, same, FIRST) == pytest.approx(alpha_of(whole, one, FIRST), rel=1e-12)


def test_a_plan_of_which_nothing_can_be_simulated_is_refused():
    with pytest.raises(
        DataError,
        match=r"Rules found: latency_p95 \(latency_p95\): give --latency P50,P95. Wanted one on acc",
    ):
        fit(plan(rule("latency_p95")))


# What became of them


def test_endings_are_counted_with_wilson_intervals():
    found = summary(
        HEALTHY, [made(Ending.COMPLETED, 600)] * 56 + [made(Ending.ROLLED_BACK, 60)] * 14
    )

    part = found.endings[Ending.COMPLETED]
    assert (part.count, part.share) == (56, 0.8)
    # By hand, z² = 3.8415: (0.8 + z²/140 ± 1.96 sqrt(0.16/70 + z²/19600)) / (1 + z²/70) = 0.7844 ± 0.0926
    assert part.interval.lower == pytest.approx(0.6918, abs=5e-4)
    assert part.interval.upper == pytest.approx(0.8770, abs=5e-4)
    assert found.endings[Ending.PAUSED].count == 0
    assert found.stopped_by == {"escalation": 14}


def test_times_are_of_the_runs_that_ended_so():
    trials = [made(Ending.ROLLED_BACK, minute, requests=minute) for minute in range(130, 230, 10)]
    found = summary(LATE, [*trials, made(Ending.COMPLETED, 900), made(Ending.PAUSED, 60)])

    assert found.stop is not None
    assert (found.stop.median, found.stop.most) == (170, 210)
    assert found.completion is not None
    assert found.completion.median == 900
    assert found.delay is not None
    # From 120 min on: 10, 20 … 100 min; the pause came before it went wrong.
    assert (found.delay.median, found.delay.most, found.early) == (50, 90, 1)


def test_where_nothing_stopped_there_is_no_time_until_a_stop():
    found = summary(HEALTHY, [made(Ending.COMPLETED, 900)])

    assert (found.stop, found.delay, found.requests, found.early) == (None, None, None, 0)


def test_intents_that_rules_sent_back_are_counted_with_their_times_the_most_often_first():
    completed = made(Ending.COMPLETED, 900)
    trials = [
        replace(completed, pins=((70, "refund"),)),
        replace(completed, pins=((50, "other"), (90, "refund"))),
        *[completed] * 2,
    ]

    refund, other = summary(HEALTHY, trials).pinned

    assert (refund.intent, refund.part.count, refund.part.share) == ("refund", 2, 0.5)
    assert (refund.after.median, refund.after.most) == (70, 90)
    assert (other.intent, other.part.count) == ("other", 1)


def test_shares_over_time_keep_the_last_one_of_a_run_that_ended():
    trials = [made(Ending.COMPLETED, 600), made(Ending.COMPLETED, 600), made(Ending.PAUSED, 100)]

    low, middle = shares_over_time(trials, [0, 50, 500], [0.1, 0.5])

    assert low == [0.0, 0.1, 0.0]
    assert middle == [0.0, 0.1, 0.1]


# Running


def test_runs_are_the_same_whatever_the_number_of_processes():
    setups = [
        setup(small(rule("escalation_rate", then=Then.ROLLBACK)), one) for one in (HEALTHY, LATE)
    ]
    told: list[int] = []

    beside = simulate(setups, 3, processes=2, batch=2, told=told.append)

    assert beside == simulate(setups, 3, processes=1)
    assert [one.number for one in beside[0]] == [0, 1, 2]
    assert sum(told) == 6


def test_another_seed_is_another_set_of_runs():
    proven = small(rule("escalation_rate", evidence=Evidence.CONFIDENT, then=Then.ROLLBACK))
    given = setup(proven, LATE)

    assert simulate([given], 2, processes=1) != simulate([replace(given, seed=8)], 2, processes=1)
