"""Loss within strata: nothing from an empty arm, no Simpson's paradox, refusals."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.stratified import (
    Stratum,
    mantel_haenszel,
    post_stratified,
    sato_variance,
)

brief = settings(max_examples=60, deadline=None)
METHODS = [post_stratified, mantel_haenszel]


def stratum(*, baseline, candidate):
    """Each arm as (correct, n)."""
    return Stratum(
        baseline_n=baseline[1],
        baseline_correct=baseline[0],
        candidate_n=candidate[1],
        candidate_correct=candidate[0],
    )


@st.composite
def arms(draw):
    n = draw(st.integers(1, 200))
    return draw(st.floats(0, n)), n


strata_of = st.lists(
    st.builds(lambda b, c: stratum(baseline=b, candidate=c), arms(), arms()), min_size=1, max_size=5
)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(strata=strata_of)
def test_swapping_the_arms_turns_the_loss_round(method, strata):
    swapped = [
        stratum(
            baseline=(s.candidate_correct, s.candidate_n),
            candidate=(s.baseline_correct, s.baseline_n),
        )
        for s in strata
    ]

    assert method(strata).loss == pytest.approx(-method(swapped).loss, abs=1e-12)
    assert method(strata).variance == pytest.approx(method(swapped).variance, abs=1e-12)
    assert sato_variance(strata) == pytest.approx(sato_variance(swapped), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(strata=strata_of)
def test_a_stratum_without_one_arm_is_named_and_changes_nothing(method, strata):
    empty = stratum(baseline=(90, 100), candidate=(0, 0))

    found = method([empty, *strata, empty])

    assert found.excluded == (0, len(strata) + 1)
    assert (found.loss, found.variance) == (method(strata).loss, method(strata).variance)


@brief
@given(arms(), arms())
def test_one_stratum_is_the_plain_difference(baseline, candidate):
    only = stratum(baseline=baseline, candidate=candidate)

    for method in METHODS:
        assert method([only]).loss == pytest.approx(only.loss, abs=1e-12)
        assert method([only]).variance == pytest.approx(only.variance, abs=1e-12)


def test_a_changed_mix_is_not_a_loss():
    # Both arms answer easy questions 99% and hard ones 80% right; the candidate gets the hard ones.
    strata = [
        stratum(baseline=(891, 900), candidate=(99, 100)),
        stratum(baseline=(80, 100), candidate=(720, 900)),
    ]

    for method in METHODS:
        assert method(strata).loss == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: post_stratified([]),
        lambda: mantel_haenszel([stratum(baseline=(0, 0), candidate=(1, 2))]),
        lambda: sato_variance([stratum(baseline=(1, 2), candidate=(0, 0))]),
        lambda: stratum(baseline=(3, 2), candidate=(1, 2)),
        lambda: stratum(baseline=(-1, 2), candidate=(1, 2)),
        lambda: stratum(baseline=(math.nan, 2), candidate=(1, 2)),
        lambda: stratum(baseline=(1, -2), candidate=(1, 2)),
    ],
)
def test_refuses_strata_that_cannot_be_compared(attempt):
    with pytest.raises(StatisticsError):
        attempt()
