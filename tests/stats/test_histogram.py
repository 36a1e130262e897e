"""Log buckets: one percent, merging by addition, and nothing dropped."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.histogram import (
    LARGEST,
    SMALLEST,
    ZERO_BUCKET,
    bucket_of,
    buckets_of,
    count_above,
    merge,
    quantile,
    upper_edge,
    value_of,
)

brief = settings(max_examples=100, deadline=None)
sizes = st.one_of(st.just(0.0), st.floats(SMALLEST, LARGEST))
samples = st.lists(sizes, min_size=1, max_size=60)


def histogram(values):
    return Counter(map(bucket_of, values))


@brief
@given(st.floats(SMALLEST, LARGEST))
def test_a_bucket_tells_its_values_within_one_percent(value):
    assert abs(value_of(bucket_of(value)) - value) <= 0.01 * value


@brief
@given(st.lists(sizes, max_size=60))
def test_many_values_are_put_in_the_buckets_of_each(values):
    assert buckets_of(values) == histogram(values)


@pytest.mark.parametrize("values", [[SMALLEST, 1.0], [1.0, LARGEST], [SMALLEST / 2, 1.0], []])
def test_many_values_are_put_in_the_buckets_of_each_to_the_edges(values):
    assert buckets_of(values) == histogram(values)


@pytest.mark.parametrize("wrong", [-1.0, math.nextafter(LARGEST, math.inf), math.nan])
def test_one_value_that_has_no_bucket_leaves_many_without(wrong):
    with pytest.raises(StatisticsError, match=r"^value is"):
        buckets_of([1.0, wrong, 2.0])


@brief
@given(samples, st.floats(0, 1))
def test_a_quantile_is_within_one_percent_of_the_order_statistic(values, q):
    exact = sorted(values)[math.floor(q * (len(values) - 1))]

    assert quantile(histogram(values), q) == pytest.approx(exact, rel=0.01, abs=0)


@brief
@given(samples, samples, st.floats(0, 1))
def test_merging_is_adding(one, two, q):
    merged = merge(histogram(one), histogram(two))

    assert merged == histogram(one + two)
    assert quantile(merged, q) == quantile(histogram(one + two), q)


@brief
@given(samples, st.floats(SMALLEST, LARGEST / 2))
def test_exceedances_are_never_overstated_and_miss_at_most_two_percent_above_the_limit(
    values, limit
):
    found = count_above(histogram(values), limit)

    assert sum(v > 1.0201 * limit for v in values) <= found <= sum(v > limit for v in values)


@brief
@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=60), st.floats(0.01, 5))
def test_a_limit_frozen_at_an_edge_is_counted_exactly(values, limit):
    frozen = upper_edge(bucket_of(limit))
    apart = [v for v in values if abs(v / frozen - 1) > 1e-9]

    if apart:
        assert count_above(histogram(apart), frozen * (1 - 1e-9)) == sum(v > frozen for v in apart)


def test_an_edge_lies_in_the_bucket_that_it_is_of():
    """As a number it lay in the next one for 200 of 2,791 buckets, by the last bit of a logarithm."""
    last = bucket_of(LARGEST)

    assert all(bucket_of(upper_edge(one)) == one for one in range(ZERO_BUCKET, last))


@brief
@given(st.floats(SMALLEST, LARGEST / 10))
def test_larger_values_never_fall_into_smaller_buckets(value):
    assert bucket_of(value) <= bucket_of(value * 1.001)
    assert bucket_of(value * 1.03) > bucket_of(value) > ZERO_BUCKET


def test_zero_and_the_immeasurably_small_share_the_zero_bucket():
    assert bucket_of(0.0) == bucket_of(1e-12) == ZERO_BUCKET
    assert value_of(ZERO_BUCKET) == upper_edge(ZERO_BUCKET) == 0.0
    assert quantile({ZERO_BUCKET: 99, bucket_of(2.0): 1}, 0.5) == 0.0
    assert count_above({ZERO_BUCKET: 99, bucket_of(2.0): 1}, 0.0) == 1


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: bucket_of(-1.0),
        lambda: bucket_of(math.nan),
        lambda: bucket_of(math.inf),
        lambda: value_of(ZERO_BUCKET - 1),
        lambda: value_of(100_000),
        lambda: quantile({}, 0.5),
        lambda: quantile({3: 0}, 0.5),
        lambda: quantile({3: 1}, 1.5),
        lambda: quantile({3: -1, 4: 5}, 0.5),
        lambda: count_above({}, 1.0),
        lambda: count_above({3: 1}, math.nan),
    ],
)
def test_refuses_what_has_no_bucket_or_quantile(attempt):
    with pytest.raises(StatisticsError):
        attempt()


def test_a_rank_that_is_whole_is_that_of_its_value():
    # Ranks count from 0: of two values the first is at 0 and the second at 1.
    two = {1: 1, 2: 1}

    assert [quantile(two, q) for q in (0, 0.5, 0.99, 1)] == [*[value_of(1)] * 3, value_of(2)]
