"""What the confident and the observed form promise, by the real rules on simulated canaries of 72 hours.

The figures are those of the project's statistics, section 5 (1,500 simulated canaries of 72 h with 4,320 looks, Poisson
arrivals, alpha 5%), made by a program of its own: how many healthy canaries a rule on "escalation above 2% in any
24 h" stops, and how long after a jump from 1.5% it stops a bad one (median).
"""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime, timedelta

import pytest

from controller.rollout.plan import Evidence, Intent, Labels, Scope, Step, Then
from controller.simulate.backtest import Ending
from controller.simulate.montecarlo import Summary, simulate, summary
from controller.simulate.scenarios import HEALTHY, Scenario, Traffic
from controller.simulate.trials import Setup
from tests.simulate.factories import plan, rule

RUNS = 300
ALPHA = 0.05
HOURS = 60
DAY = timedelta(hours=24)
OBSERVED, CONFIDENT = Evidence.OBSERVED, Evidence.CONFIDENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def canaries(per_minute: float, rate: float, evidence: Evidence, scenario: Scenario) -> Summary:
    """At 10% of the units, so that the candidate gets `per_minute` of them."""
    escalation = rule(
        "escalation_rate", limit=0.02, window=DAY, evidence=evidence, then=Then.ROLLBACK
    )
    given = Setup(
        plan=plan(escalation, steps=(Step(share_bp=1_000, hold=3 * DAY),)),
        traffic=Traffic(
            units_per_minute=10 * per_minute, mix={"refund": 1.0}, escalation=rate, label_rate=1.0
        ),
        scenario=scenario,
        start=datetime(2026, 1, 5, tzinfo=UTC),
        seed=7,
        max_days=4,
    )
    (trials,) = simulate([given], RUNS, processes=os.cpu_count() or 1)
    return summary(scenario, trials)


def losing(loss: float, then: Then) -> Summary:
    """One critical intent with a fifth of 50 units a minute, at 10% of them; labels come at once."""
    accuracy = rule(
        "accuracy_delta",
        limit=0.015,
        window=3 * DAY,
        evidence=CONFIDENT,
        then=then,
        scope=Scope.CRITICAL,
    )
    scenario = Scenario(text="loss", loss=loss, since=timedelta(0))
    given = Setup(
        plan=plan(
            accuracy,
            intents=(Intent(name="refund", critical=True), Intent(name="other")),
            labels=Labels(delay=timedelta(0)),
            steps=(Step(share_bp=1_000, hold=3 * DAY),),
        ),
        traffic=Traffic(units_per_minute=50, mix={"refund": 0.2, "other": 0.8}, accuracy=0.95),
        scenario=scenario,
        start=datetime(2026, 1, 5, tzinfo=UTC),
        seed=7,
        max_days=4,
    )
    (trials,) = simulate([given], RUNS, processes=os.cpu_count() or 1)
    return summary(scenario, trials)


def jump(to: float) -> Scenario:
    return Scenario(text="jump", escalation=to, since=DAY)


@pytest.mark.parametrize(
    ("per_minute", "rate", "told"),
    [(5, 0.015, 0.000), (5, 0.019, 0.007), (50, 0.019, 0.008)],  # column "confident"
)
def test_the_confident_form_stops_a_healthy_canary_no_more_often_than_alpha(per_minute, rate, told):
    found = canaries(per_minute, rate, CONFIDENT, HEALTHY)

    stopped = found.endings[Ending.ROLLED_BACK].share
    assert stopped <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
    assert stopped <= told + 4 * math.sqrt(max(told, 0.005) / RUNS)


@pytest.mark.parametrize(
    ("per_minute", "rate", "told"),
    [(5, 0.015, 0.005), (5, 0.019, 0.863), (50, 0.019, 0.275)],  # column "raw, complete 24 h"
)
def test_the_rule_as_written_stops_healthy_canaries_as_often_as_chance_does(per_minute, rate, told):
    """It fails sooner by proof too, and a window is complete with a hundredth of it missing: both are little."""
    found = canaries(per_minute, rate, OBSERVED, HEALTHY)

    stopped = found.endings[Ending.ROLLED_BACK].share
    assert stopped == pytest.approx(
        told, abs=0.02 + 4 * math.sqrt(max(told * (1 - told), 0.005) / RUNS)
    )


@pytest.mark.parametrize(
    ("per_minute", "to", "told_h"),
    [(5, 0.03, 9.8), (5, 0.05, 1.7), (50, 0.03, 1.1), (50, 0.05, 0.2)],  # column "confident"
)
def test_a_jump_is_proven_about_as_soon_as_was_told(per_minute, to, told_h):
    found = canaries(per_minute, 0.015, CONFIDENT, jump(to))

    assert found.endings[Ending.ROLLED_BACK].count >= 0.98 * RUNS
    assert found.delay is not None
    assert 0.5 * told_h <= found.delay.median / HOURS <= 1.6 * told_h


@pytest.mark.parametrize(
    ("per_minute", "to", "told_h"),
    [(50, 0.03, 8.0), (5, 0.05, 3.4)],  # column "raw, complete 24 h"
)
def test_with_proof_the_rule_as_written_is_never_later_than_without(per_minute, to, told_h):
    found = canaries(per_minute, 0.015, OBSERVED, jump(to))

    assert found.delay is not None
    assert found.delay.median / HOURS <= 1.1 * told_h


def test_no_loss_is_paused_for_no_more_often_than_alpha():
    paused = losing(0.0, Then.PAUSE).endings[Ending.PAUSED].share

    assert paused <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # 3.0% in the table


def test_a_loss_of_three_points_is_paused_for_and_mostly_rolled_back():
    """The table has 87.5% rolled back within the three days. The rules ask for ln(12 / alpha), twelve starts being six
    hours apart, where one start would need ln(1 / alpha): they stop fewer in that time, never more.
    """
    guarded, proven = losing(0.03, Then.PAUSE), losing(0.03, Then.ROLLBACK)

    assert guarded.endings[Ending.PAUSED].share >= 0.99  # 100%, after 7.1 h
    assert guarded.stop is not None
    assert 0.5 * 7.1 <= guarded.stop.median / HOURS <= 2 * 7.1
    assert 0.6 <= proven.endings[Ending.ROLLED_BACK].share <= 0.875 + 0.05
    assert proven.stop is not None
    assert 0.5 * 28.5 <= proven.stop.median / HOURS <= 1.6 * 28.5
