"""Simulated traffic: how often what comes in, and the blocks that its labels make."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.counting.blocks import block_sizes, close_blocks
from controller.rollout.counting.items import MINUTE_US, Label
from controller.rollout.metrics import MICRO
from controller.rollout.plan import Arm, Intent, Plan, Scope
from controller.rollout.plan import Labels as LabelsOf
from controller.simulate.drawn.answers import arrived, hits
from controller.simulate.drawn.dense import (
    ALL_GRADED,
    ESCALATED,
    FAILED,
    GRADED,
    ONE_REQUEST,
    RIGHT_U,
    UNITS,
)
from controller.simulate.drawn.lines import Labels, Line
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.lateness import Lateness
from controller.simulate.scenarios import HEALTHY, Fault, Judge, Scenario, Traffic
from tests.simulate.factories import plan, rule

LOSS = rule("accuracy_delta", limit=0.015, scope=Scope.CRITICAL)
FAULTY = Scenario(text="", loss=Fault(size=0.05), error=Fault(size=0.02))
DAY = 1_440


def streams(of: Plan | None = None, scenario: Scenario = HEALTHY, run: int = 0, **traffic):
    usual = Traffic(units_per_minute=40.0, mix={"refund": 1.0})
    return Streams(of or plan(LOSS), replace(usual, **traffic), scenario, 7, run, 0)


def at_share(share_bp: int, version: int = 1) -> InForce:
    return InForce(version=version, step=0, shares={"refund": share_bp}, pinned=frozenset())


def off(count: float, expected: float) -> float:
    """By how many standard deviations of a Poisson count."""
    return abs(count - expected) / math.sqrt(expected)


# Rates


@pytest.mark.parametrize("of", [plan(LOSS), plan(rule("escalation_rate"))], ids=["labels", "sums"])
def test_each_kind_of_answer_comes_as_often_as_the_scenario_says(of: Plan):
    """Where blocks are made answers are drawn one by one, elsewhere by kind: both are the same stream."""
    made = streams(of, FAULTY, label_rate=0.5)

    table = made.draw(at_share(2_500), 0, 0, 10 * DAY).counted.compared["candidate"][0].sum(axis=1)

    requests = 40 * 0.25 * 10 * DAY  # 144,000
    # 2% fail and are escalated; beside them 1.5% escalate; 5% + 5 pp are wrong in all. Half of the rest are graded.
    wanted = {
        UNITS: requests,
        FAILED: 0.02 * requests,
        ESCALATED: 0.035 * requests,
        GRADED: (0.035 + 0.5 * 0.965) * requests,
        RIGHT_U: 0.5 * 0.90 * requests * MICRO,
    }
    for column, expected in wanted.items():
        unit = MICRO if column == RIGHT_U else 1
        # Poisson: five standard deviations
        assert abs(table[column] - expected) / unit < 5 * math.sqrt(expected / unit), column


@pytest.mark.parametrize("mean", [0.004, 0.4, 1.0, 7.3, 120.0, 600.0])
def test_arrivals_of_a_minute_are_those_of_a_poisson_stream(mean: float):
    runs = 200_000
    found = arrived(np.random.default_rng(3), mean, runs)

    assert isinstance(found, np.ndarray)
    assert abs(found.mean() - mean) < 4.5 * math.sqrt(mean / runs)
    # The variance of a sample's variance: (μ₄ − σ⁴) / n, and μ₄ = λ + 3 λ²
    assert abs(found.var() - mean) < 4.5 * math.sqrt((mean + 2 * mean**2) / runs)
    none = math.exp(-mean)
    assert abs((found == 0).mean() - none) <= 4.5 * math.sqrt(none * (1 - none) / runs)
    # One minute says nothing of the next.
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4.5 / math.sqrt(runs)


@pytest.mark.parametrize("chance", [0.0, 1e-13, 0.003, 0.4, 1.0])
def test_each_label_is_hit_with_the_same_chance_as_every_other(chance: float):
    random = np.random.default_rng(4)
    n, runs = 50, 4_000
    found = [hits(random, n, chance) for _ in range(runs)]

    assert all((np.diff(one) > 0).all() for one in found)
    often = np.bincount(np.concatenate(found), minlength=n)
    assert len(often) == n  # none beyond
    off_by = 4.5 * math.sqrt(chance * (1 - chance) * runs)
    assert (np.abs(often - chance * runs) <= off_by).all()
    in_all = np.array([len(one) for one in found])
    variance = n * chance * (1 - chance)
    assert in_all.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / runs), abs=1e-9)
    assert hits(random, 0, chance).tolist() == []


def test_fewer_sums_are_kept_only_where_they_are_the_same():
    assert streams().columns is ALL_GRADED
    for other in (
        streams(label_rate=0.9),
        streams(scenario=FAULTY),
        streams(
            scenario=replace(
                HEALTHY, lateness=Lateness(median=timedelta(hours=1), most=timedelta(hours=2))
            )
        ),
        streams(plan(LOSS, labels=LabelsOf(delay=timedelta(0), sampled_u=500_000))),
    ):
        assert other.columns is ONE_REQUEST
    for key, place in ONE_REQUEST.places.items():
        fewer = ALL_GRADED.places[key]
        assert fewer == {FAILED: 0, GRADED: UNITS}.get(place, place)


def test_a_fault_begins_at_its_moment():
    late = Scenario(text="", escalation=Fault(size=0.5, since=timedelta(hours=12)))

    table = streams(scenario=late).draw(at_share(5_000), 0, 0, DAY).counted.compared["candidate"][0]

    before, after = table[ESCALATED, :720].sum(), table[ESCALATED, 720:].sum()
    assert before < 0.03 * table[UNITS, :720].sum()
    assert after > 0.45 * table[UNITS, 720:].sum()


def test_what_the_clients_of_the_candidate_got_wrong_leaves_out_what_escalated():
    made = streams(scenario=FAULTY).draw(at_share(2_500), 0, 0, DAY)

    requests = made.counted.compared["candidate"][0, UNITS].sum()
    # 10% wrong in all, 3.5% of them escalated
    assert made.wrong_served.sum() == pytest.approx(0.065 * requests)


@pytest.mark.parametrize("of", [plan(LOSS), plan(rule("escalation_rate"))], ids=["labels", "sums"])
@pytest.mark.parametrize("arm", Arm)
def test_a_judge_calls_right_answers_right_as_often_as_it_was_said_to(of: Plan, arm: Arm):
    judged = Scenario(text="", judge=Judge(sensitivity=0.9, specificity=0.7))

    counted = streams(of, judged, label_rate=0.5).draw(at_share(5_000), 0, 0, 10 * DAY).counted
    table = counted.compared[arm.value][0].sum(axis=1)

    escalated = 0.015 if arm is Arm.CANDIDATE else 0.0
    graded_right = 0.5 * (0.9 * 0.95 + 0.3 * (0.05 - escalated))
    expected = graded_right * 40 * 0.5 * 10 * DAY
    assert abs(table[RIGHT_U] / MICRO - expected) < 5 * math.sqrt(expected)
    assert (table[GRADED] * MICRO >= table[RIGHT_U]).all()


def test_what_a_judge_says_changes_nothing_for_the_clients():
    judged = Scenario(text="", judge=Judge(sensitivity=0.9, specificity=0.7))

    made = streams(scenario=judged).draw(at_share(2_500), 0, 0, DAY)

    requests = made.counted.compared["candidate"][0, UNITS].sum()
    assert made.wrong_served.sum() == pytest.approx((0.05 - 0.015) * requests)


def test_a_drift_is_half_grown_after_half_of_its_time():
    grows = Scenario(text="", loss=Fault(size=0.4, over=timedelta(days=2)))

    made = streams(scenario=grows)
    drawn = [made.draw(at_share(5_000), day, day * DAY, DAY).counted for day in range(3)]

    for counted, loss in zip(drawn, (0.1, 0.3, 0.4), strict=True):  # the mean of each day
        table = counted.compared["candidate"][0].sum(axis=1)
        expected = (0.95 - loss) * table[UNITS]
        assert abs(table[RIGHT_U] / MICRO - expected) < 5 * math.sqrt(expected)


def test_the_mix_of_a_ramp_shifts_with_the_steps_for_both_arms():
    of = plan(
        LOSS,
        intents=(Intent(name="refund", critical=True), Intent(name="other")),
        steps=(plan().steps[0], plan().steps[0]),
    )
    made = streams(
        of, Scenario(text="", shift=0.1), mix={"refund": 0.5, "other": 0.5}, units_per_minute=100.0
    )

    def parts(step: int) -> list[float]:
        split = InForce(
            version=step, step=step, shares={"refund": 5_000, "other": 5_000}, pinned=frozenset()
        )
        counted = made.draw(split, 0, 0, DAY).counted.compared
        return [
            float(counted[arm.value][1, UNITS].sum() / counted[arm.value][:, UNITS].sum())
            for arm in Arm
        ]

    # Half of its usual part at the first step and one and a half at the last: 0.25 / 0.75 and 0.75 / 1.25.
    assert parts(0) == pytest.approx([1 / 3] * 2, abs=0.01)
    assert parts(1) == pytest.approx([0.6] * 2, abs=0.01)


def test_what_comes_in_depends_on_seed_run_version_and_stretch_alone():
    def drawn(run=0, version=1, number=0):
        made = streams(run=run)
        made.draw(at_share(2_500), 5, 0, 60)  # what else was drawn does not matter
        return made.draw(at_share(2_500, version), number, 60, 60).counted.compared["candidate"]

    assert np.array_equal(drawn(), drawn())
    for other in (drawn(run=1), drawn(version=2), drawn(number=1)):
        assert not np.array_equal(drawn(), other)


# Blocks


@settings(max_examples=100, deadline=None)
@given(
    share_bp=st.sampled_from([100, 1_000, 2_500, 5_000, 7_500, 9_900]),
    stretches=st.lists(
        st.dictionaries(
            st.sampled_from(list(Arm)),
            st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60),
        ),
        max_size=4,
    ),
)
def test_blocks_are_those_of_the_accounting(share_bp, stretches):
    sizes = block_sizes(share_bp)
    assert sizes is not None
    line = Line(sizes)
    closed: list[tuple[int, int]] = []
    labels: list[Label] = []
    for number, stretch in enumerate(stretches):
        given_: dict[Arm, Labels] = {}
        for arm in Arm:
            pairs = sorted(stretch.get(arm, []), key=lambda pair: pair[0])
            wrong = [place for place, (_, right) in enumerate(pairs) if not right]
            n = np.bincount([minute for minute, _ in pairs], minlength=10) if pairs else [0] * 10
            given_[arm] = Labels(10 * number, np.array(n), np.array(wrong, dtype=np.intp))
            for minute, right in pairs:
                labels.append(
                    Label(
                        id=f"{len(labels):06}",
                        rollout="small/1",
                        version=1,
                        intent="refund",
                        arm=arm.value,
                        start=(10 * number + minute) * MINUTE_US,
                        grade_u=MICRO * right,
                    )
                )
        found = line.close("refund", given_)
        values = [found.values_u[place] for place in found.places]
        closed += zip(found.minutes.tolist(), values, strict=True)

    assert closed == [(block.minute, block.value_u) for block, _ in close_blocks(labels, sizes)]


def test_blocks_are_made_only_for_intents_that_a_rule_bets_on():
    critical = streams().draw(at_share(2_500), 0, 0, 60)
    none = streams(plan(rule("escalation_rate"))).draw(at_share(2_500), 0, 0, 60)

    assert [one.intent for one in critical.counted.blocks] == ["refund"]
    assert none.counted.blocks == []
