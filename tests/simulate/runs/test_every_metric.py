"""Whatever a rule is about, `check` says something true of it: numbers in their bounds, or what is lacking."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.evidence.rules import has_confident_form
from controller.rollout.metrics import CATALOGUE, MeasureUnit, custom_rate
from controller.rollout.plan import Arm, Evidence, Intent, Labels, Step, Unit
from controller.simulate.feasibility.outlook import Outlook, feasibility
from controller.simulate.feasibility.prospect import Row, worth_catching
from controller.simulate.scenarios import Traffic
from controller.simulate.usual import Latencies, Usual
from tests.simulate.factories import plan, rule

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
METRICS = {**CATALOGUE, "custom.polite": custom_rate("polite")}
FLAGS = [one.subject for one in METRICS.values() if one.unit is MeasureUnit.FRACTION]
LIMITS = {
    MeasureUnit.FRACTION: 0.05,
    MeasureUnit.POINTS: 0.015,
    MeasureUnit.SECONDS: 3.0,
    MeasureUnit.USD: 20.0,
    MeasureUnit.RATIO: 1.25,
    MeasureUnit.PER_SECOND: 40.0,
    MeasureUnit.PER_HOUR: 1e6,
}
KNOWN = Usual(
    sizes={
        (Arm.BASELINE, "latency"): Latencies.log_normal(1.0, 2.5),
        (Arm.BASELINE, "ttft"): Latencies.log_normal(0.3, 2.0),
    },
    flagged={(arm, flag): 0.01 for arm in Arm for flag in FLAGS},
    request_usd={Arm.BASELINE: 0.018, Arm.CANDIDATE: 0.0036},
    request_tokens=dict.fromkeys(Arm, 6_000.0),
    tokens_per_second=dict.fromkeys(Arm, 60.0),
)
STEPS = (Step(share_bp=1_000, hold=DAY), Step(share_bp=5_000, hold=DAY), Step(share_bp=10_000))
INTENTS = (Intent(name="refund", critical=True), Intent(name="other"))


def outlook(one, usual: Usual = KNOWN, a_minute: float = 20.0, each: float = 2.0) -> Outlook:
    made = plan(
        one,
        intents=INTENTS,
        steps=STEPS,
        holdback_bp=100,
        bake=DAY,
        unit=Unit.CONVERSATION,
        labels=Labels(delay=HOUR),
    )
    traffic = Traffic(
        units_per_minute=a_minute, mix={"refund": 0.3, "other": 0.7}, requests_per_unit=each
    )
    return Outlook(plan=made, traffic=traffic, usual=usual)


def is_sound(row: Row) -> None:
    assert row.by_proof is None or 0 <= row.by_proof <= 1
    if row.stopped is not None:
        assert 0 <= row.stopped.share <= 1
        assert row.stopped.lower <= row.stopped.share + 1e-9
        assert row.stopped.share <= row.stopped.upper + 1e-9
    for catch in row.catches:
        assert math.isfinite(catch.size)
        assert catch.bad_served is None or 0 <= catch.bad_served < math.inf
        written = (None, None) if catch.written is None else catch.written.after
        for median, sure in (catch.after, written, catch.sooner):
            assert sure is None or (median is not None and timedelta(0) <= median <= sure)


@pytest.mark.parametrize("name", METRICS)
def test_a_rule_on_any_metric_is_reckoned_where_everything_is_known(name: str):
    one = replace(rule("error_rate"), metric=METRICS[name], limit=LIMITS[METRICS[name].unit])
    one = replace(one, window=6 * HOUR, min_samples=100)

    found = feasibility(outlook(one), runs=40)

    assert [row.step for row in found.rows] == [0, 1, 2]
    for row in found.rows:
        is_sound(row)
        assert row.figure is not None
        assert row.stopped is not None
        assert row.candidate is not None
        assert row.catches[0].written is not None
        # Where it has a proof, that is reckoned too, or said why not.
        if has_confident_form(one.metric):
            assert row.catches[0].probability is not None or row.lacking is not None


@pytest.mark.parametrize("name", METRICS)
def test_a_rule_on_any_metric_says_what_is_lacking_where_nothing_is_known(name: str):
    one = replace(rule("error_rate"), metric=METRICS[name], limit=LIMITS[METRICS[name].unit])

    found = feasibility(outlook(one, usual=Usual()), runs=20)

    for row in found.rows:
        is_sound(row)
        assert (row.figure is None) is (row.lacking is not None)
        if row.figure is None:
            assert row.stopped is None


@pytest.mark.parametrize("name", METRICS)
def test_a_healthy_candidate_past_any_limit_is_stopped_and_one_far_within_it_is_not(name: str):
    """By the rule as written, at the first step: one that must not be above half of what it shows, or not below."""
    metric = METRICS[name]
    usual = outlook(replace(rule("error_rate"), metric=metric, window=6 * HOUR, min_samples=100))
    shown = usual.row(usual.plan.rules[0], None, 0).figure
    assert shown is not None
    if not shown:
        return  # a loss: none is usual, so no limit is half of it
    strict, mild = (
        replace(usual.plan.rules[0], limit=shown * times, below=below)
        for times, below in ((0.5, False), (0.5, True))
    )

    shares = []
    for one in (strict, mild):
        many = outlook(one, a_minute=400.0) if metric.unit is MeasureUnit.FRACTION else outlook(one)
        row = feasibility(many, runs=40).rows[0]
        assert row.stopped is not None
        shares.append(row.stopped.share)

    assert shares == pytest.approx([1.0, 0.0], abs=0.05)


names = st.sampled_from(sorted(METRICS))


@settings(max_examples=30, deadline=None)
@given(
    names,
    st.floats(0.01, 10.0),
    st.booleans(),
    st.sampled_from(list(Evidence)),
    st.sampled_from([None, DAY, 7 * DAY]),
    st.sampled_from([0.01, 3.0, 100.0]),
    st.sampled_from([1.0, 5.0]),
    st.sampled_from([timedelta(0), HOUR]),
)
def test_any_rule_on_any_traffic_is_answered_in_numbers(
    name: str,
    times: float,
    below: bool,
    evidence: Evidence,
    usual: timedelta | None,
    a_minute: float,
    each: float,
    sustained: timedelta,
):
    metric = METRICS[name]
    limit = LIMITS[metric.unit] * times
    if metric.unit in (MeasureUnit.FRACTION, MeasureUnit.POINTS) and usual is None:
        limit = min(limit, 1.0)
    one = replace(
        rule("error_rate"),
        metric=metric,
        limit=limit if usual is None else 1 + times,
        below=below,
        evidence=evidence if has_confident_form(metric) and usual is None else Evidence.OBSERVED,
        usual=usual,
        sustained=sustained,
        window=6 * HOUR,
        min_samples=100,
    )

    for row in feasibility(outlook(one, a_minute=a_minute, each=each), runs=20).rows:
        is_sound(row)


def test_what_is_asked_to_be_caught_lies_past_the_limit():
    for metric in METRICS.values():
        for below in (False, True):
            one = replace(rule("error_rate"), metric=metric, limit=LIMITS[metric.unit], below=below)
            size = worth_catching(one)
            assert (
                size < one.limit if below and metric.name != "accuracy_delta" else size > one.limit
            )
    assert worth_catching(replace(rule("error_rate"), limit=0.0)) == 0.01
    assert worth_catching(replace(rule("accuracy", below=True), limit=1.0)) == 0.99
