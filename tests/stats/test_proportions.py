"""Intervals for independent proportions: symmetries, agreement with statsmodels, refusals."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats import classical
from controller.stats.proportions import (
    Interval,
    agresti_caffo,
    clopper_pearson,
    farrington_manning,
    jeffreys,
    mee,
    miettinen_nurminen,
    newcombe_difference,
    restricted_mle,
    standardised,
    wilson,
)

brief = settings(max_examples=60, deadline=None)
DIFFERENCES = [newcombe_difference, agresti_caffo, miettinen_nurminen, mee]


@st.composite
def groups(draw, largest=400):
    n = draw(st.integers(1, largest))
    return draw(st.integers(0, n)), n


@brief
@given(groups(largest=10**7), st.floats(0.5, 0.999))
def test_wilson_encloses_the_rate_within_0_and_1(group, level):
    found = wilson(*group, level=level)

    assert 0 <= found.lower <= group[0] / group[1] <= found.upper <= 1


@brief
@given(groups())
def test_wilson_of_failures_mirrors_wilson_of_successes(group):
    count, n = group
    one, other = wilson(count, n), wilson(n - count, n)

    assert (one.lower, one.upper) == pytest.approx((1 - other.upper, 1 - other.lower), abs=1e-12)


@brief
@given(groups())
def test_rates_agree_with_statsmodels(group):
    for ours, theirs in (
        (wilson(*group), classical.proportion_interval(*group, method="wilson")),
        (clopper_pearson(*group), classical.proportion_interval(*group, method="beta")),
        (jeffreys(*group), classical.proportion_interval(*group, method="jeffreys")),
    ):
        assert (ours.lower, ours.upper) == pytest.approx((theirs.lower, theirs.upper), abs=1e-9)


@brief
@given(groups(), groups())
def test_differences_agree_with_statsmodels(one, two):
    four = *one, *two
    for ours, theirs in (
        (newcombe_difference(*four), classical.difference_interval(*four, method="newcomb")),
        (agresti_caffo(*four), classical.difference_interval(*four, method="agresti-caffo")),
    ):
        cut = max(-1.0, theirs.lower), min(1.0, theirs.upper)  # statsmodels does not cut to [-1, 1]
        assert (ours.lower, ours.upper) == pytest.approx(cut, abs=1e-9)


@pytest.mark.parametrize("method", DIFFERENCES)
@settings(max_examples=30, deadline=None)
@given(one=groups(), two=groups())
def test_swapping_the_arms_turns_the_interval_round(method, one, two):
    there, back = method(*one, *two), method(*two, *one)

    assert -1 <= there.lower <= there.upper <= 1
    assert (there.lower, there.upper) == pytest.approx((-back.upper, -back.lower), abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(groups(), groups())
def test_miettinen_nurminen_encloses_mee_and_the_estimate(one, two):
    wide, narrow = miettinen_nurminen(*one, *two), mee(*one, *two)
    estimate = one[0] / one[1] - two[0] / two[1]

    assert wide.lower <= narrow.lower + 1e-7
    assert narrow.lower <= estimate + 1e-7
    assert estimate - 1e-7 <= narrow.upper <= wide.upper + 1e-7


@brief
@given(groups(), groups(), st.floats(-0.95, 0.95))
def test_no_neighbour_is_likelier_than_the_restricted_mle(one, two, difference):
    def likelihood(p1):
        return sum(
            0.0 if k == 0 else (k * math.log(p) if p > 0 else -math.inf)
            for k, p in (
                (one[0], p1),
                (one[1] - one[0], 1 - p1),
                (two[0], p1 - difference),
                (two[1] - two[0], 1 - p1 + difference),
            )
        )

    p1, p2 = restricted_mle(*one, *two, difference=difference)

    low, high = max(0.0, difference), min(1.0, 1 + difference)
    assert low <= p1 <= high
    assert p1 - p2 == pytest.approx(difference, abs=1e-9)
    best = max(likelihood(low + (high - low) * i / 500) for i in range(1, 500))
    inside = min(max(p1, low + 1e-9), high - 1e-9)  # at a corner the logarithm is infinite
    assert likelihood(inside) >= best - 1e-6


def test_an_excess_without_variance_is_infinitely_far_and_none_is_none():
    assert [standardised(excess, 0.0) for excess in (0.1, -0.1, 0.0)] == [math.inf, -math.inf, 0.0]
    assert standardised(3.0, 4.0) == 1.5


def test_a_score_interval_at_both_corners_is_still_one():
    sure = miettinen_nurminen(10, 10, 0, 10)

    assert sure.upper == pytest.approx(1.0)
    assert 0.6 < sure.lower < 0.8


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: wilson(0, 0),
        lambda: wilson(3, 2),
        lambda: wilson(-1, 2),
        lambda: wilson(math.nan, 2),
        lambda: wilson(1, 2, level=1.0),
        lambda: wilson(1, 2.5),  # type: ignore[arg-type]  # what a careless caller does
        lambda: clopper_pearson(0, 0),
        lambda: jeffreys(2, 1),
        lambda: newcombe_difference(1, 2, 1, 0),
        lambda: agresti_caffo(1, 0, 1, 2),
        lambda: miettinen_nurminen(0, 0, 1, 1),
        lambda: miettinen_nurminen(1, 1, 0, 0),
        lambda: mee(1, 2, 3, 2),
        lambda: restricted_mle(1, 2, 1, 2, difference=1.5),
        lambda: farrington_manning(10, 10, 10, 10, margin=0.0),
        lambda: farrington_manning(10, 10, 10, 10, margin=-0.1),
        lambda: Interval(lower=1.0, upper=0.0, level=0.95, method="wrong"),
        lambda: Interval(lower=math.nan, upper=0.0, level=0.95, method="wrong"),
        lambda: classical.proportion_interval(3, 2, method="wilson"),
        lambda: classical.sample_ratio_chi2([1, 2], [1.0, 0.0]),
        lambda: classical.sample_ratio_chi2([0, 0], [0.5, 0.5]),
        lambda: classical.equal_rates([0, 0], [5, 5]),
        lambda: classical.adjusted_p_values([1.5], method="holm"),
    ],
)
def test_refuses_what_has_no_interval(attempt):
    with pytest.raises(StatisticsError):
        attempt()
