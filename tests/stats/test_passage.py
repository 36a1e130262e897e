"""First passages by the closed form against walks that are drawn, observation by observation, and judged by `log_e`."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.betting import Bets, gain_bets, log_e, log_threshold, loss_bets, rate_bets
from controller.stats.passage import NEVER, Growth, Passage, Values, either, growth

RATE = np.array([0.0, 1.0])
PAIR = np.array([-1.0, 0.0, 1.0])
WALKS = 600
brief = settings(max_examples=60, deadline=None)


def episodes(rate: float) -> Values:
    return Values(RATE, np.array([1 - rate, rate]))


def pairs(only_candidate: float, only_baseline: float) -> Values:
    same = 1 - only_candidate - only_baseline
    return Values(PAIR, np.array([only_candidate, same, only_baseline]))


def passage(of: Values, bets: Bets, threshold: float, **changes) -> Passage:
    return Passage(growth=growth(of, bets), log_threshold=threshold, **changes)


def drawn(of: Values, bets: Bets, threshold: float, longest: int, *, seed: int) -> np.ndarray:
    """When each of many walks passed; infinite if it did not."""
    random = np.random.default_rng(seed)
    passed = np.full(WALKS, np.inf)
    for walk in range(WALKS):
        seen = random.choice(len(of.values), size=longest, p=of.probabilities)
        counts = np.eye(len(of.values), dtype=np.int64)[seen].cumsum(axis=0)
        over = (log_e(counts, of.values, bets) >= threshold).nonzero()[0]
        if over.size:
            passed[walk] = over[0] + 1
    return passed


# H = 312 hours of a 13-day plan, alpha = 5% over two tests; H = 52 six-hour starts for a loss
RATE_NEEDS = log_threshold(alpha=0.025, start_number=1, planned_starts=312, first=0.25)
LOSS_NEEDS = log_threshold(alpha=0.025, start_number=1, planned_starts=52, first=0.75)
TWO_PERCENT = rate_bets(limit=0.02, alternative=0.03)
NO_LOSS = loss_bets(margin=0.0, effect=0.015, variance=0.05)
KEPT = gain_bets(margin=0.015, effect=0.015, variance=0.05)


@pytest.mark.parametrize(
    ("of", "bets", "threshold", "longest"),
    [
        pytest.param(episodes(0.03), TWO_PERCENT, RATE_NEEDS, 16_000, id="the alternative"),
        pytest.param(episodes(0.05), TWO_PERCENT, RATE_NEEDS, 4_000, id="a rate far over it"),
        pytest.param(episodes(0.20), TWO_PERCENT, RATE_NEEDS, 400, id="a rate of 20%"),
        pytest.param(pairs(0.01, 0.04), NO_LOSS, LOSS_NEEDS, 5_000, id="a loss of 3 pp in pairs"),
        pytest.param(
            pairs(0.02, 0.08), NO_LOSS, LOSS_NEEDS, 3_000, id="more discordance than bet on"
        ),
        pytest.param(
            pairs(0.025, 0.025).negated, KEPT, math.log(20), 8_000, id="no loss, to a pass"
        ),
    ],
)
def test_quantiles_are_those_of_drawn_walks(of, bets, threshold, longest):
    passed = drawn(of, bets, threshold, longest, seed=7)

    found = passage(of, bets, threshold)

    for part in (0.5, 0.9):
        drawn_at = np.quantile(passed, part, method="inverted_cdf")
        assert found.quantile(part) == pytest.approx(drawn_at, rel=0.10)


def test_at_the_limit_hardly_a_walk_ever_passes():
    # There the e-process is a martingale: at most 1/20 of the walks ever pass (Ville).
    fair = passage(episodes(0.02), TWO_PERCENT, math.log(20))

    assert fair.quantile(0.5) == NEVER
    assert 0 < fair.probability(1e9) <= 0.05


def test_observations_of_one_kind_are_one_walk_wherever_counting_begins():
    of = pairs(0.01, 0.04)
    fresh = passage(of, NO_LOSS, LOSS_NEEDS)
    median = fresh.quantile(0.5)

    half = passage(of, NO_LOSS, LOSS_NEEDS, before=((median / 2, growth(of, NO_LOSS)),))

    assert half.probability(median / 2) == pytest.approx(fresh.probability(median), abs=0.01)
    assert half.probability(0) == pytest.approx(fresh.probability(median / 2), abs=0.01)
    assert half.quantile(0.5) == pytest.approx(median / 2, rel=0.02)


def test_observations_of_another_kind_before_are_those_of_drawn_walks():
    # A thousand pairs without loss, then a loss of 4 points
    calm, worse, first, longest = pairs(0.025, 0.025), pairs(0.01, 0.05), 1_000, 4_000
    random = np.random.default_rng(5)
    passed = []
    for _ in range(WALKS):
        seen = np.concatenate(
            [
                random.choice(3, size=first, p=calm.probabilities),
                random.choice(3, size=longest, p=worse.probabilities),
            ]
        )
        walk = log_e(np.eye(3, dtype=np.int64)[seen].cumsum(axis=0), PAIR, NO_LOSS)
        passed.append(int((walk >= LOSS_NEEDS).argmax()) + 1 - first)

    found = passage(worse, NO_LOSS, LOSS_NEEDS, before=((first, growth(calm, NO_LOSS)),))

    for part in (0.5, 0.9):
        drawn_at = np.quantile(passed, part, method="inverted_cdf")
        assert found.quantile(part) == pytest.approx(drawn_at, rel=0.10)


@pytest.mark.parametrize("left", [0.05, 0.2, 1.0, 3.0], ids=lambda left: f"{left} to go")
def test_three_bets_that_are_one_pass_as_wald_has_it(left):
    """Near the threshold too, where the first observations decide: the inverse Gaussian law (Wald 1947)."""
    mean, variance = 0.005, 0.01
    one = Growth(mean=(mean,) * 3, variance=(variance,) * 3, overshoot=(0.0,) * 3)
    found = Passage(growth=one, log_threshold=2.0 + left, held=(2.0,) * 3)

    def wald(n: float) -> float:
        spread = math.sqrt(variance * n)
        after = NormalDist().cdf((mean * n - left) / spread)
        return after + math.exp(2 * mean * left / variance) * NormalDist().cdf(
            (-mean * n - left) / spread
        )

    for n in (1, 2, 5, 20, 100, 1_000, 10_000):
        assert found.probability(n) == pytest.approx(wald(n), abs=0.03), n


def test_wealth_that_is_known_shortens_what_is_left():
    of = pairs(0.01, 0.04)

    assert passage(of, NO_LOSS, 8.0, held=(9.0, 9.0, 9.0)).quantile(0.9) == 0
    held = passage(of, NO_LOSS, LOSS_NEEDS, held=(2.0, 2.0, 2.0))
    assert held.quantile(0.5) == pytest.approx(
        passage(of, NO_LOSS, LOSS_NEEDS - 2).quantile(0.5), rel=1e-6
    )


def test_a_certain_gain_passes_at_a_known_observation():
    of = Values(RATE, np.array([0.0, 1.0]))
    counts = np.arange(40)[:, None] * np.array([0, 1])
    first = int((log_e(counts, RATE, TWO_PERCENT) >= RATE_NEEDS).nonzero()[0][0])

    assert passage(of, TWO_PERCENT, RATE_NEEDS).quantile(0.5) == first
    assert passage(episodes(0.0), TWO_PERCENT, RATE_NEEDS).quantile(0.5) == NEVER


@brief
@given(
    st.floats(0.001, 0.6),
    st.floats(0.1, 0.9),
    st.floats(0.01, 0.09),
    st.floats(1.0, 15.0),
)
def test_the_surer_the_later_and_a_larger_threshold_is_later(rate, part, more, threshold):
    one = passage(episodes(rate), TWO_PERCENT, threshold)
    higher = passage(episodes(rate), TWO_PERCENT, threshold + 1)

    assert one.quantile(part + more) >= one.quantile(part)
    assert higher.quantile(part) >= one.quantile(part)


@brief
@given(st.floats(0.0, 1.0), st.floats(0.0, 20.0), st.floats(0.0, 1e6))
def test_a_probability_is_one(rate, threshold, n):
    assert 0 <= passage(episodes(rate), TWO_PERCENT, threshold).probability(n) <= 1


def test_growth_is_mean_and_variance_of_log_wealth():
    found: Growth = growth(episodes(0.5), TWO_PERCENT)

    bet = TWO_PERCENT.lambdas[1]
    up, down = math.log1p(bet * 0.98), math.log1p(-bet * 0.02)
    assert found.mean[1] == pytest.approx((up + down) / 2)
    assert found.variance[1] == pytest.approx(((up - down) / 2) ** 2)
    assert found.overshoot[1] == pytest.approx(up / 3)  # only steps of one size go up


def test_a_walk_that_never_gains_overshoots_nothing():
    found = growth(episodes(0.0), TWO_PERCENT)

    assert found.overshoot == (0.0, 0.0, 0.0)
    assert max(found.mean) < 0


def test_a_walk_in_steps_passes_beyond_its_threshold_and_so_later():
    """By the threshold raised by E(X^3) / (3 E(X^2)) of its upward steps, which are of one size for each bet."""
    each = growth(episodes(0.2), TWO_PERCENT)
    smooth = replace(each, overshoot=(0.0, 0.0, 0.0))

    def median(of: Growth, threshold: float) -> float:
        return Passage(growth=of, log_threshold=threshold).quantile(0.5)

    # Nearly all of the wealth is the largest bet's.
    raised = RATE_NEEDS + each.overshoot[2]
    assert median(each, RATE_NEEDS) > 1.01 * median(smooth, RATE_NEEDS)
    assert median(each, RATE_NEEDS) == pytest.approx(median(smooth, raised), rel=0.01)


def test_values_that_are_no_distribution_are_refused():
    with pytest.raises(StatisticsError, match="each needs one"):
        Values(PAIR, np.array([0.5, 0.5]))
    with pytest.raises(StatisticsError, match="add up to 1"):
        Values(RATE, np.array([0.5, 0.6]))
    with pytest.raises(StatisticsError, match="none may be negative"):
        Values(RATE, np.array([1.1, -0.1]))


def test_one_of_two_events_is_as_likely_as_their_correlation_has_it():
    # Of two events that are as likely as not: 1 - (1/4 + asin(rho) / (2 pi)) (Sheppard 1899)
    for rho in (-0.9, -0.3, 0.0, 0.3, 0.9):
        expected = 0.75 - math.asin(rho) / (2 * math.pi)
        assert either(0.5, 0.5, rho) == pytest.approx(expected, abs=1e-6)
    assert either(0.3, 0.2, 0.0) == pytest.approx(1 - 0.7 * 0.8, abs=1e-9)
    assert either(0.3, 0.2, 0.999) == pytest.approx(0.3, abs=1e-3)
    assert either(0.3, 0.0, 0.5) == 0.3
    assert either(1.0, 0.2, 0.5) == 1.0
    with pytest.raises(StatisticsError, match="correlation is 1"):
        either(0.3, 0.2, 1.0)
    with pytest.raises(StatisticsError, match="correlation is -1"):
        either(0.3, 0.2, -1.0)
    with pytest.raises(StatisticsError, match=r"first is 1\.5"):
        either(1.5, 0.2, 0.0)
    with pytest.raises(StatisticsError, match=r"second is 1\.5"):
        either(0.3, 1.5, 0.0)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-0.999999, 0.999999))
def test_one_of_two_events_is_as_likely_as_each_at_least_and_as_both_together_at_most(p, q, rho):
    found = either(p, q, rho)

    assert max(p, q) <= found <= 1
    assert found <= p + q + 1e-3


def test_rounding_does_not_make_one_of_two_events_less_likely_than_one():
    likely = 0.0009201373255063316

    assert either(likely, 7.69700270584257e-09, 0.9914771887484677) >= likely
    assert either(7.69700270584257e-09, likely, 0.9914771887484677) >= likely
