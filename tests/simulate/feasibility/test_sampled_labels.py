"""A sample of labels through the rules of a live rollout: what is healthy goes on, what loses is caught."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.plan import Advance, Arm, Labels, Plan, Step
from controller.simulate.drawn.dense import ESCALATED, GRADED, RIGHT_U, UNITS
from controller.simulate.drawn.streams import InForce
from controller.simulate.endings import Ending
from controller.simulate.runs.montecarlo import simulate
from controller.simulate.scenarios import HEALTHY, Fault, Scenario
from tests.simulate.drawn.test_streams import FAULTY, LOSS, off, streams
from tests.simulate.factories import plan, rule
from tests.simulate.feasibility.test_advice import about
from tests.simulate.feasibility.test_feasibility import (
    ACCURACY,
    DAY,
    HOUR,
    TRAFFIC,
    advised,
    outlook,
    planned,
    stops,
)
from tests.simulate.runs.test_trials import setup

PART, PART_U = 0.3, 300_000
BUSY = replace(TRAFFIC, units_per_minute=200.0, label_rate=PART)
STEPS = (Step(share_bp=1_000, hold=4 * DAY), Step(share_bp=2_000))
LOSING = Scenario(text="loss=3pp", loss=Fault(size=0.03))
HEALTHY_RUNS, RUNS = 100, 40


def accuracy(*, sampled_u: int) -> Plan:
    labels = Labels(delay=6 * HOUR, sampled_u=sampled_u)
    return planned(ACCURACY, steps=STEPS, bake=timedelta(minutes=1), labels=labels)


def stopped(of: Plan, scenario: Scenario, runs: int = RUNS) -> int:
    trials = stops(of, scenario, runs, BUSY)
    return sum(one.ending in (Ending.PAUSED, Ending.ROLLED_BACK) for one in trials)


def test_a_healthy_candidate_is_stopped_no_more_often_than_alpha():
    # 5% of 100 and three standard deviations; proofs stop fewer, for they hold at every look
    most = 5 + 3 * (HEALTHY_RUNS * 0.05 * 0.95) ** 0.5
    assert stopped(accuracy(sampled_u=PART_U), HEALTHY, HEALTHY_RUNS) <= most


def test_a_candidate_that_loses_three_points_is_caught():
    assert stopped(accuracy(sampled_u=PART_U), LOSING) >= 0.9 * RUNS


def test_without_the_field_the_same_healthy_candidate_is_stopped_and_check_says_so():
    of = accuracy(sampled_u=1_000_000)

    # It seems to lose 3.2 points, and does not.
    assert stopped(of, HEALTHY) >= 0.9 * RUNS
    (found,) = about(advised(outlook(of, BUSY)), "biased-labels")
    assert "seems to lose 3.21 pp, against a limit of 1.5 pp" in found.finding.message


def promoted(scenario: Scenario, *, label_rate: float) -> int:
    """Of ten rollouts that need proof to leave their first step, how many do, where three in ten answers were to be
    graded and 4% of the candidate's escalate. Of healthy ones 98% do: with this seed all.
    """
    of = planned(
        ACCURACY,
        steps=(Step(share_bp=1_000, hold=3 * DAY, advance=Advance.PROVEN), Step(share_bp=2_000)),
        bake=timedelta(minutes=1),
        labels=Labels(delay=6 * HOUR, sampled_u=PART_U),
    )
    traffic = replace(TRAFFIC, units_per_minute=200.0, label_rate=label_rate, escalation=0.04)
    given = replace(setup(of, scenario), traffic=traffic, max_days=5, seed=8)
    (trials,) = simulate([given], 10, processes=1)
    return sum(max(share for _, share in one.path) == 2_000 for one in trials)


def test_a_loss_that_hides_behind_more_labels_than_were_planned_is_not_proven_away():
    """Escalated answers that weigh a third of the others: at a loss of the limit it seems to gain more than a point."""
    at_the_limit = Scenario(text="loss=1.5pp", loss=Fault(size=0.015))

    apparent = 0.95 - (0.95 - 0.015) / (0.96 + 0.3 * 0.04)
    assert apparent < -0.01
    assert promoted(at_the_limit, label_rate=1.0) == 0
    assert promoted(HEALTHY, label_rate=PART) == 10


# Streams


@pytest.mark.parametrize("label_rate", [0.5, 1.0])
@pytest.mark.parametrize("rules", [LOSS, rule("escalation_rate")], ids=["labels", "sums"])
def test_of_escalated_and_failed_answers_the_sampled_part_counts(rules, label_rate):
    of = plan(rules, labels=Labels(delay=HOUR, sampled_u=PART_U))
    made = streams(of, FAULTY, label_rate=label_rate)
    split = InForce(version=1, step=0, shares={"refund": 2_500}, pinned=frozenset())

    table = made.draw(split, 0, 0, 10 * 1_440).counted.compared["candidate"][0].sum(axis=1)

    requests = 40 * 0.25 * 10 * 1_440
    # 3.5% escalated or failed, 10% wrong in all (`FAULTY`)
    assert off(table[UNITS], requests) < 5
    assert off(table[ESCALATED], 0.035 * requests) < 5
    assert off(table[GRADED], (0.3 * 0.035 + label_rate * 0.965) * requests) < 5
    assert off(table[RIGHT_U] / 1e6, label_rate * 0.90 * requests) < 5


def test_labels_in_line_are_those_that_count():
    of = plan(LOSS, labels=Labels(delay=HOUR, sampled_u=PART_U))
    made = streams(of, FAULTY, label_rate=PART)
    split = InForce(version=1, step=0, shares={"refund": 5_000}, pinned=frozenset())

    counted = made.draw(split, 0, 0, 10 * 1_440).counted

    (found,) = counted.blocks
    graded = [int(counted.compared[arm.value][0, GRADED].sum()) for arm in Arm]
    # At a half each label of the arm with fewer makes a block.
    assert len(found.places) == min(graded)
    loss = np.array(found.values_u)[found.places].mean() / 1e6
    # 5% of the baseline's and 10% of the candidate's are wrong; a block's variance is below 0.05 + 0.09.
    assert abs(loss - 0.05) < 5 * (0.14 / len(found.places)) ** 0.5


# In closed form, and as advice


def test_a_sample_that_is_graded_shows_no_loss_that_is_not_there():
    sampled = planned(labels=Labels(delay=6 * HOUR, sampled_u=PART_U))

    assert outlook(sampled, replace(TRAFFIC, label_rate=PART)).apparent_loss == pytest.approx(0)
    # All graded: right 95%, of 98.5% and 30% × 1.5%
    more = outlook(sampled, replace(TRAFFIC, label_rate=1.0)).apparent_loss
    assert more == pytest.approx(0.95 - 0.95 / (0.985 + 0.3 * 0.015))
    assert outlook(sampled, replace(TRAFFIC, label_rate=PART)).graded(Arm.CANDIDATE) == (
        pytest.approx(PART)
    )


def test_more_labels_than_are_sampled_are_told_as_a_gain_with_what_helps():
    sampled = planned(labels=Labels(delay=6 * HOUR, sampled_u=PART_U))

    (found,) = about(advised(outlook(sampled, replace(TRAFFIC, label_rate=1.0))), "biased-labels")

    assert found.finding.path == "spec.labels.sampled"
    # 0.95 − 0.95 / 0.9895 = −0.0101
    assert (
        "100% of the answers are graded, and of the escalated ones, wrong without a grade, 30% count: a candidate that "
        "loses nothing seems to gain 1.01 pp, against a limit of 1.5 pp" in found.finding.message
    )
    (change,) = found.suggestions
    assert change.text == "`labels: {sampled: 100%}`"
    assert about(advised(change.outlook), "biased-labels") == []


def test_a_window_holds_the_sampled_part_of_labels():
    few = planned(labels=Labels(delay=6 * HOUR, sampled_u=PART_U))

    found = outlook(few, BUSY).row(ACCURACY, "refund", 0)

    # 72 h × 60 × 200 a minute × 20%, a tenth to the candidate
    assert found.candidate == pytest.approx(72 * 60 * 200 * 0.2 * 0.1 * PART)
