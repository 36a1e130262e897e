"""Mixtures are martingales, confidence sequences hold at every look, and bad input has no answer."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.sequential import (
    Beta,
    asymptotic_halfwidth,
    bernoulli_confidence_sequence,
    beta_binomial_log_e,
    mixture_prior,
    normal_mixture_bound,
    normal_mixture_log_e,
    normal_mixture_rho,
    sample_ratio_log_e,
)

brief = settings(max_examples=60, deadline=None)
shares = st.floats(0.01, 0.99)
ONE = Beta(a=1, b=1)


@brief
@given(st.integers(0, 60), st.integers(0, 60), shares, st.sampled_from([1, 2]))
def test_a_step_under_the_null_gains_nothing_on_average(hits, misses, p0, sides):
    prior = mixture_prior(p0=p0, n_opt=500, sides=sides)

    def e(more):
        return math.exp(
            beta_binomial_log_e(
                hits + more, hits + misses + len(steps), p0=p0, prior=prior, sides=sides
            )
        )

    steps: list[int] = []
    before = e(0)
    steps.append(1)
    assert p0 * e(1) + (1 - p0) * e(0) == pytest.approx(before, rel=1e-9)


@brief
@given(st.integers(0, 3_000), st.integers(0, 3_000), shares)
def test_the_sample_ratio_does_not_care_which_arm_is_called_candidate(one, other, share):
    assert sample_ratio_log_e(one, other, share) == pytest.approx(
        sample_ratio_log_e(other, one, 1 - share), abs=1e-8
    )


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_sample_ratio_alarm_is_false_at_most_as_often_as_promised_at_all_looks(share):
    random = np.random.default_rng(11)
    looks = np.arange(100, 10_001, 100)
    false = 0
    for _ in range(300):
        arrived = random.binomial(100, share, size=looks.size).cumsum()
        false += any(
            sample_ratio_log_e(int(c), int(n - c), share) >= math.log(10)
            for c, n in zip(arrived, looks, strict=True)
        )

    assert false / 300 <= 0.1


def test_a_wrong_split_is_seen():
    # Kohavi, Tang & Xu 2020, ch. 3: 821,588 against 815,482 is a mismatch of a 50% split.
    assert sample_ratio_log_e(821_588, 815_482, 0.5) > math.log(1 / 0.001)
    assert sample_ratio_log_e(5_000, 95_000, 0.10) > math.log(1 / 0.001)
    assert sample_ratio_log_e(10_010, 89_990, 0.10) < 0


def test_no_assignment_yet_is_no_evidence():
    assert sample_ratio_log_e(0, 0, 0.1) == 0.0


@brief
@given(st.integers(1, 5_000), st.data())
def test_a_bernoulli_sequence_encloses_its_estimate_and_mirrors(n, data):
    count = data.draw(st.integers(0, n))

    found = bernoulli_confidence_sequence(count, n, alpha=0.05, n_opt=200)
    mirror = bernoulli_confidence_sequence(n - count, n, alpha=0.05, n_opt=200)

    assert 0 <= found.lower <= count / n <= found.upper <= 1
    assert (found.lower, found.upper) == pytest.approx(
        (1 - mirror.upper, 1 - mirror.lower), abs=1e-8
    )


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_the_bounds_of_a_bernoulli_sequence_are_where_its_e_value_reaches_one_over_alpha(alpha):
    found = bernoulli_confidence_sequence(30, 100, alpha=alpha, n_opt=200)

    for bound in (found.lower, found.upper):
        prior = mixture_prior(p0=bound, n_opt=200, alpha=alpha)
        reached = beta_binomial_log_e(30, 100, p0=bound, prior=prior)
        assert reached == pytest.approx(-math.log(alpha), abs=1e-9)


def test_alpha_is_below_one_and_one_sided_below_a_half():
    assert mixture_prior(p0=0.5, n_opt=90, alpha=0.9, sides=2).a > 0
    assert mixture_prior(p0=0.5, n_opt=90, alpha=0.45, sides=1).a > 0


@pytest.mark.parametrize("n", [1, 2, 13, 10**8])
def test_a_single_event_refutes_no_rate_however_small(n):
    assert bernoulli_confidence_sequence(1, n, alpha=0.05, n_opt=200).lower == 0.0
    assert bernoulli_confidence_sequence(n - 1, n, alpha=0.05, n_opt=200).upper == 1.0


def test_the_one_sided_test_refutes_nothing_from_below():
    prior = mixture_prior(p0=0.02, n_opt=1_000, sides=1)

    assert beta_binomial_log_e(0, 100_000, p0=0.02, prior=prior, sides=1) < -3


@brief
@given(st.floats(0.01, 10), st.integers(2, 10**6), st.sampled_from([1, 2]))
def test_the_halfwidth_scales_with_the_unit(se, n, sides):
    once = asymptotic_halfwidth(se=se, n=n, n_opt=1_000, alpha=0.05, sides=sides)
    thousandfold = asymptotic_halfwidth(se=1_000 * se, n=n, n_opt=1_000, alpha=0.05, sides=sides)

    assert thousandfold == pytest.approx(1_000 * once, rel=1e-9)
    assert once > 1.96 * se  # the price of looking at any time


def test_the_normal_mixture_reaches_its_threshold_exactly_on_its_bound():
    rho = normal_mixture_rho(v_opt=50, alpha=0.05)
    bound = normal_mixture_bound(v=80, rho=rho, alpha=0.05)

    assert normal_mixture_log_e(bound, v=80, rho=rho) == pytest.approx(math.log(20), abs=1e-12)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: sample_ratio_log_e(1, 1, 0.0),
        lambda: sample_ratio_log_e(1, 1, 1.0),
        lambda: sample_ratio_log_e(-1, 1, 0.5),
        lambda: sample_ratio_log_e(1, 2.5, 0.5),  # type: ignore[arg-type]  # what a careless caller does
        lambda: sample_ratio_log_e(1, 1, math.nan),
        lambda: Beta(a=0.0, b=1.0),
        lambda: mixture_prior(p0=0.5, n_opt=0),
        lambda: mixture_prior(p0=0.5, n_opt=10, alpha=0.6, sides=1),
        lambda: mixture_prior(p0=0.5, n_opt=10, sides=3),  # type: ignore[arg-type]  # likewise
        lambda: beta_binomial_log_e(3, 2, p0=0.5, prior=ONE),
        lambda: beta_binomial_log_e(1, 2, p0=0.5, prior=ONE, sides=0),  # type: ignore[arg-type]  # likewise
        lambda: beta_binomial_log_e(1, 2, p0=0.9, prior=Beta(a=1, b=1e5), sides=1),
        lambda: bernoulli_confidence_sequence(0, 0, alpha=0.05, n_opt=10),
        lambda: bernoulli_confidence_sequence(1, 2, alpha=1.0, n_opt=10),
        lambda: asymptotic_halfwidth(se=0.0, n=5, n_opt=10, alpha=0.05),
        lambda: asymptotic_halfwidth(se=1.0, n=0, n_opt=10, alpha=0.05),
        lambda: asymptotic_halfwidth(se=math.inf, n=5, n_opt=10, alpha=0.05),
        lambda: normal_mixture_log_e(math.nan, v=1, rho=1),
        lambda: normal_mixture_bound(v=-1, rho=1, alpha=0.05),
        lambda: normal_mixture_rho(v_opt=0, alpha=0.05),
    ],
)
def test_refuses_what_has_no_e_value(attempt):
    with pytest.raises(StatisticsError):
        attempt()
