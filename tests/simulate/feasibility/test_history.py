"""What is learnt from a store's rows: traffic, answers and how long they took, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.observation import Cohort, RollupRow
from controller.rollout.plan import Arm, Intent, Judge, Labels, Plan, Unit
from controller.rollout.timeline import start_of
from controller.simulate.feasibility.history import REACH, History, learn
from tests.simulate.factories import plan, rule

HOUR = timedelta(hours=1)
FIRST = 30_000_000  # a minute in 2027


OF_BASELINE = {
    "n": 18,
    "e": 9,
    "e.graded": 6,
    "e.correct_u": 5_400_000,
    "graded": 9,
    "d.retry": 18,
    "f.retry": 3,
    "c.latency_us": 18,
    "h.latency.10": 12,
    "h.latency.40": 6,
    "s.latency_us": 9_000_000,
    "s.input_tokens": 1_800,
    "c.input_tokens": 18,
    "s.output_tokens": 900,
    "c.output_tokens": 18,
    "c.cost_nusd": 18,
    "s.cost_nusd": 180_000_000,
}


def planned(**changes) -> Plan:
    usual = {
        "intents": (Intent(name="refund"), Intent(name="legal", pinned=True)),
        "unit": Unit.CONVERSATION,
        "labels": Labels(delay=HOUR),
    }
    return plan(rule("error_rate"), **{**usual, **changes})


def row(
    minute: int,
    arm: str = "baseline",
    intent: str = "refund",
    cohort: Cohort = Cohort.COMPARED,
    stats: Mapping[str, int] | None = None,
    **others: int,
) -> RollupRow:
    return RollupRow(
        rollout="small/1",
        minute=FIRST + minute,
        version=1,
        arm=arm,
        intent=intent,
        endpoint="",
        cohort=cohort,
        seq=1,
        stats={**(stats or {}), **others},
    )


def test_how_much_costs_scatter_is_told_by_minutes_that_cost_more_than_as_many_requests_do():
    """Costs of one to nine thousand nano-USD, drawn: their spread comes back, whatever the load of a minute is."""
    random = np.random.default_rng(3)
    rows, every = [], []
    for minute in range(2_000):
        costs = random.integers(1_000, 9_001, random.poisson(4)).tolist()
        every += costs
        if costs:
            stats = {"n": len(costs), "e": len(costs), "c.cost_nusd": len(costs)}
            rows.append(row(minute, stats=stats, **{"s.cost_nusd": sum(costs)}))

    found = learn("small/1", rows, planned())

    assert found is not None
    spread = np.std(every) / np.mean(every)
    assert found.usual.request_spread[Arm.BASELINE] == pytest.approx(spread, rel=0.05)
    assert Arm.CANDIDATE not in found.usual.request_spread


def test_a_judges_grades_are_learnt_without_its_errors():
    """90% of right answers called right and 80% of wrong ones wrong: 83% called right are 90% that are."""
    judge = Judge(model="gpt-5", sensitivity=0.9, specificity=0.8)
    stats = {"n": 100, "e": 100, "e.graded": 100, "e.correct_u": 83_000_000}
    rows = [row(minute, stats=stats) for minute in range(180)]

    found = learn("small/1", rows, planned(labels=Labels(delay=HOUR, judge=judge)))

    assert found is not None
    assert found.accuracy == pytest.approx(0.9)


def hours(count: int = 4) -> list[RollupRow]:
    """By minute: nine units of the baseline with 18 requests, one of the candidate with two, two of a pinned intent."""
    rows = []
    for minute in range(60 * count):
        rows += [
            row(minute, stats=OF_BASELINE),
            row(minute, "candidate", stats={"n": 2, "e": 1, "ed.escalated": 1}),
            row(minute, intent="legal", cohort=Cohort.OUTSIDE, n=4, e=2),
        ]
    return rows


def learnt(rows: list[RollupRow], of: Plan | None = None) -> History:
    found = learn("small/1", rows, of or planned())
    assert found is not None
    return found


def test_traffic_is_what_was_counted():
    found = learnt(hours())

    assert found.units_per_minute == pytest.approx(12)
    assert found.requests_per_unit == pytest.approx(2)
    assert found.mix == pytest.approx({"refund": 10 / 12, "legal": 2 / 12})
    assert found.requests == 24 * 240
    assert (found.since, found.until) == (start_of(FIRST), start_of(FIRST + 240))


def test_minutes_without_traffic_count():
    # Four hours, of which the third and fourth are empty but for one minute
    found = learnt([*hours(2), row(239, n=1, e=1)])

    assert found.units_per_minute == pytest.approx((12 * 120 + 1) / 240)


def test_labels_are_learnt_of_minutes_whose_labels_should_be_there():
    late = [one for one in hours() if one.minute < FIRST + 180]
    unlabelled = [row(minute, n=18, e=9) for minute in range(180, 240)]

    found = learnt([*late, *unlabelled])

    # Of answers: two in three conversations have a grade, and half of the answers.
    assert found.label_rate == pytest.approx(9 / 18)
    assert found.accuracy == pytest.approx(0.9)


def test_answers_are_learnt_by_arm():
    found = learnt(hours())

    assert found.escalation == 0
    assert (found.input_tokens, found.output_tokens) == (100, 50)
    baseline = found.usual.of(Arm.BASELINE, "latency")
    assert baseline is not None
    assert baseline.above(10) == pytest.approx(1 / 3)
    # Nothing is known of the candidate's own: it is taken to be as quick
    assert found.usual.of(Arm.CANDIDATE, "latency") is baseline
    assert found.usual.request_usd == pytest.approx({Arm.BASELINE: 0.01})
    assert found.usual.flagged[Arm.BASELINE, "retry"] == pytest.approx(1 / 6)
    assert (Arm.BASELINE, "refusal") not in found.usual.flagged
    # 900 tokens in 9 s
    assert found.usual.tokens_per_second == pytest.approx({Arm.BASELINE: 100})


def test_a_plan_on_requests_has_one_a_unit():
    assert learnt(hours(), planned(unit=Unit.REQUEST)).requests_per_unit == 1


def test_traffic_of_intents_that_the_plan_no_longer_has_is_left_out():
    found = learnt([*hours(), *(row(minute, intent="old", n=9, e=9) for minute in range(240))])

    assert found.units_per_minute == pytest.approx(12)


def test_what_is_long_ago_is_left_out():
    long_ago = row(-int(REACH.total_seconds() // 60), n=10**6, e=10**6)

    assert learnt([long_ago, *hours()]).units_per_minute < 13


@pytest.mark.parametrize(
    "rows",
    [[], hours(4)[:100], [row(0, n=1, e=1), row(300, n=1, e=1)]],
    ids=["none", "half an hour", "two units"],
)
def test_too_little_teaches_nothing(rows: list[RollupRow]):
    assert learn("small/1", rows, planned()) is None
