"""What is known of how long answers take: log-normal or counted, and slower."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.plan import Arm
from controller.simulate.usual import Latencies, Usual
from controller.stats.histogram import bucket_of

ONE_BUCKET = 0.02  # how wide a bucket is, and so how far a quantile may be off


def test_a_log_normal_has_the_quantiles_that_it_was_told_by():
    found = Latencies.log_normal(1.2, 3.2)

    assert found.quantile(0.5) == pytest.approx(1.2, rel=ONE_BUCKET)
    assert found.quantile(0.95) == pytest.approx(3.2, rel=ONE_BUCKET)
    # σ = ln(3.2 / 1.2) / 1.6449 = 0.5963; the mean is 1.2 exp(σ² / 2)
    assert found.mean_s == pytest.approx(1.2 * math.exp(0.5963**2 / 2), rel=0.01)
    # Its standard deviation is the mean times √(exp σ² − 1)
    assert found.deviation_s == pytest.approx(
        found.mean_s * math.sqrt(math.expm1(0.5963**2)), rel=0.02
    )


def test_a_histogram_keeps_its_parts():
    found = Latencies.counted({10: 1, 20: 3}, "made")

    assert found.above(9) == 1
    assert found.above(10) == 0.75
    assert found.above(20) == 0
    assert found.quantile_bucket(0.2) == 10
    assert found.quantile_bucket(0.25) == 20


@given(st.floats(0.1, 20.0), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_can_be_put_anywhere(seconds: float, q: float):
    moved = Latencies.log_normal(1.0, 4.0).with_quantile(q, seconds)

    assert moved.quantile(q) == pytest.approx(seconds, rel=1.5 * ONE_BUCKET)
    assert moved.parts.sum() == pytest.approx(1)
    assert moved.parts.min() >= 0


def test_what_is_twice_as_slow_is_above_a_limit_as_often_as_it_was_above_half_of_it():
    usual = Latencies.log_normal(1.0, 4.0)

    twice = usual.slower(2.0)

    assert twice.above(bucket_of(4.0)) == pytest.approx(usual.above(bucket_of(2.0)), abs=0.006)


def test_a_candidate_of_which_nothing_is_known_is_as_quick_as_the_baseline():
    baseline, own = Latencies.log_normal(1.0, 4.0), Latencies.log_normal(0.5, 2.0)

    alone = Usual(sizes={(Arm.BASELINE, "latency"): baseline})
    both = Usual(sizes={(Arm.BASELINE, "latency"): baseline, (Arm.CANDIDATE, "latency"): own})

    assert alone.of(Arm.CANDIDATE, "latency") is baseline
    assert both.of(Arm.CANDIDATE, "latency") is own
    assert alone.of(Arm.CANDIDATE, "ttft") is None
