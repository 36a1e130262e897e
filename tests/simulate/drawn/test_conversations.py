"""Conversations of several requests that escalate as a whole: what they do to rules that count requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from controller.rollout.plan import Arm, Evidence, Intent, Scope, Step, Then, Unit
from controller.simulate.drawn.dense import (
    ESCALATED,
    FAILED,
    GRADED,
    REQUESTS,
    REQUESTS_ESCALATED,
    REQUESTS_FAILED,
    REQUESTS_GRADED,
    RIGHT_U,
    UNITS,
)
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.endings import Ending
from controller.simulate.runs.trials import Setup, trial
from controller.simulate.scenarios import HEALTHY, Fault, Scenario, Traffic
from tests.simulate.factories import plan, rule

HOUR = timedelta(hours=1)
CANARY = 72 * HOUR
MEAN = 4.0
ALPHA = 0.05
RUNS = 100


# What comes in


@pytest.mark.parametrize("label_rate", [1.0, 0.5])
@pytest.mark.parametrize(
    "rules",
    [(rule("accuracy_delta", scope=Scope.CRITICAL),), (rule("error_rate"),)],
    ids=["labels", "sums"],
)
def test_a_unit_has_a_geometric_number_of_requests_that_fare_alike(rules, label_rate: float):
    traffic = Traffic(
        units_per_minute=30.0, mix={"refund": 1.0}, label_rate=label_rate, requests_per_unit=MEAN
    )
    scenario = Scenario(text="", error=Fault(size=0.05))
    made = Streams(plan(*rules, unit=Unit.CONVERSATION), traffic, scenario, 7, 0, 0)
    split = InForce(version=1, step=0, shares={"refund": 5_000}, pinned=frozenset())

    table = made.draw(split, 0, 0, 14_400).counted.compared["candidate"][0]

    totals = table.sum(axis=1)
    # Of a unit with a grade, one request and each other one with the label rate; a failed one has all of its own.
    counted = totals[ESCALATED] / totals[GRADED]
    graded = counted * MEAN + (1 - counted) * (1 + (MEAN - 1) * label_rate)
    for units, requests, mean in (
        (UNITS, REQUESTS, MEAN),
        (ESCALATED, REQUESTS_ESCALATED, MEAN),
        (FAILED, REQUESTS_FAILED, MEAN),
        (GRADED, REQUESTS_GRADED, graded),
    ):
        # A geometric number with mean m has variance m (m - 1).
        error = math.sqrt(totals[units] * MEAN * (MEAN - 1))
        assert abs(totals[requests] - mean * totals[units]) < 5 * error
        assert (table[requests] >= table[units]).all()
        assert (table[requests][table[units] == 0] == 0).all()
    # Variance of a minute's requests, a Poisson sum: 15 × E[K²] = 15 × (m (m - 1) + m²)
    assert np.var(table[REQUESTS]) == pytest.approx(15 * (MEAN * (MEAN - 1) + MEAN**2), rel=0.1)
    assert totals[RIGHT_U] > 0


# What rules make of it


def canary(evidence: Evidence, requests: float) -> Setup:
    """Of a healthy candidate: 1.5% of its units escalate, and the limit is 2% in any 24 hours. Five requests a minute,
    whether each is a unit of its own or conversations have several.
    """
    escalation = rule(
        "escalation_rate", limit=0.02, window=24 * HOUR, evidence=evidence, then=Then.ROLLBACK
    )
    return Setup(
        plan=plan(
            escalation,
            unit=Unit.CONVERSATION,
            intents=(Intent(name="refund"),),
            steps=(Step(share_bp=1_000, hold=CANARY),),
            alpha=ALPHA,
        ),
        traffic=Traffic(
            units_per_minute=50.0 / requests,
            mix={"refund": 1.0},
            escalation=0.015,
            requests_per_unit=requests,
        ),
        scenario=HEALTHY,
        start=datetime(2026, 1, 5, tzinfo=UTC),
        seed=7,
        max_days=3,
    )


def stopped(given: Setup, numbers: Sequence[int] = range(RUNS)) -> float:
    endings = [trial(given, number).ending for number in numbers]
    return sum(ending is Ending.ROLLED_BACK for ending in endings) / len(endings)


def test_conversations_make_the_rule_as_written_stop_healthy_canaries_and_proofs_hold():
    """Counting requests of conversations of four fires on 33 to 69% of healthy canaries; counting episodes does not."""
    error = math.sqrt(ALPHA * (1 - ALPHA) / RUNS)

    as_written = stopped(canary(Evidence.OBSERVED, MEAN))
    by_proof = stopped(canary(Evidence.CONFIDENT, MEAN))
    of_one_request = stopped(canary(Evidence.OBSERVED, 1.0))

    assert as_written >= 0.33
    assert by_proof <= ALPHA + 2 * error
    # Published for single requests: 0.5% (5/min, true 1.5%, a complete window)
    assert of_one_request <= ALPHA + 2 * error


def test_a_bad_canary_of_conversations_is_proven_by_its_episodes():
    given = canary(Evidence.CONFIDENT, MEAN)
    worse = replace(given, scenario=Scenario(text="", escalation=Fault(size=0.06)))

    found = [trial(worse, number) for number in range(5)]

    assert all(one.rules == ("escalation_rate",) for one in found)
    # Three times the limit: some 200 conversations, at 1.25 a minute less than three hours in the median.
    assert sorted(one.end_min for one in found)[2] < 6 * 60


def test_the_arms_of_a_comparison_are_graded_by_conversation():
    of = plan(rule("accuracy_delta", scope=Scope.CRITICAL), unit=Unit.CONVERSATION)
    traffic = Traffic(units_per_minute=30.0, mix={"refund": 1.0}, requests_per_unit=MEAN)
    split = InForce(version=1, step=0, shares={"refund": 5_000}, pinned=frozenset())

    drawn = Streams(of, traffic, HEALTHY, 7, 0, 0).draw(split, 0, 0, 600)

    (blocks,) = drawn.counted.blocks
    fewer = min(int(drawn.counted.compared[arm.value][0, UNITS].sum()) for arm in Arm)
    assert len(blocks.minutes) == fewer  # one label a conversation, however many requests it has
