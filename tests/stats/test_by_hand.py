"""Cases that a pencil does, and what is meant where nothing is said: 95%, one look, equal groups."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats import (
    _special,
    betting,
    classical,
    multiple,
    noise,
    paired,
    passage,
    power,
    proportions,
    quantiles,
    ratio,
    sequential,
    stratified,
)

Z_95, Z_80 = NormalDist().inv_cdf(0.95), NormalDist().inv_cdf(0.8)
TABLE = paired.PairedTable(both=70, only_baseline=12, only_candidate=5, neither=13)
STRATA = [
    stratified.Stratum(baseline_n=90, baseline_correct=81, candidate_n=10, candidate_correct=7),
    stratified.Stratum(baseline_n=40, baseline_correct=30, candidate_n=20, candidate_correct=16),
]
SUMS = ratio.RatioSums.of([1.0, 2.0, 4.0], [1.0, 1.0, 2.0])
FOUR = (56, 70, 48, 80)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (lambda **level: proportions.wilson(7, 50, **level), "wilson"),
        (lambda **level: proportions.clopper_pearson(7, 50, **level), "clopper-pearson"),
        (lambda **level: proportions.jeffreys(7, 50, **level), "jeffreys"),
        (lambda **level: proportions.newcombe_difference(*FOUR, **level), "newcombe"),
        (lambda **level: proportions.agresti_caffo(*FOUR, **level), "agresti-caffo"),
        (lambda **level: proportions.miettinen_nurminen(*FOUR, **level), "miettinen-nurminen"),
        (lambda **level: proportions.mee(*FOUR, **level), "mee"),
        (lambda **level: paired.tango(TABLE, **level), "tango"),
        (lambda **level: paired.newcombe_paired(TABLE, **level), "newcombe-paired"),
        (lambda **level: paired.bonett_price(TABLE, **level), "bonett-price"),
        (
            lambda **level: stratified.post_stratified(STRATA).interval(**level),
            "post-stratified",
        ),
        (
            lambda **level: stratified.mantel_haenszel(STRATA).interval(**level),
            "mantel-haenszel",
        ),
        (
            lambda **level: noise.Estimate(estimate=0.1, se=0.02).interval(method="ppi", **level),
            "ppi",
        ),
        (
            lambda **level: classical.proportion_interval(7, 50, method="wilson", **level),
            "wilson",
        ),
        (
            lambda **level: classical.difference_interval(*FOUR, method="newcomb", **level),
            "newcomb",
        ),
        (
            lambda **level: classical.mantel_haenszel_odds_ratio(STRATA, **level).interval,
            "mantel-haenszel",
        ),
    ],
)
def test_an_interval_says_how_it_was_made_and_is_one_of_95_percent_unless_asked(method, said):
    usual, wide = method(), method(level=0.99)

    assert usual == method(level=0.95)
    assert (usual.level, wide.level) == (0.95, 0.99)
    assert usual.method == wide.method == said
    assert wide.lower < usual.lower < usual.upper < wide.upper


def test_ranks_are_of_95_percent_unless_asked():
    assert quantiles.order_statistic_ranks(200, 0.5) == quantiles.order_statistic_ranks(
        200, 0.5, level=0.95
    )


def test_a_confidence_sequence_says_its_level():
    found = sequential.bernoulli_confidence_sequence(7, 50, alpha=0.05, n_opt=50)
    of_ratio = ratio.ratio_confidence_sequence(SUMS, alpha=0.1, n_opt=50)

    assert (found.level, found.method) == (0.95, "beta-binomial")
    assert (of_ratio.level, of_ratio.method) == (0.9, "log-ratio confidence sequence")


def test_a_mixture_is_tuned_at_5_percent_and_two_sided_unless_asked():
    assert sequential.mixture_prior(p0=0.3, n_opt=90) == sequential.mixture_prior(
        p0=0.3, n_opt=90, alpha=0.05, sides=2
    )
    prior = sequential.mixture_prior(p0=0.3, n_opt=90)
    assert sequential.beta_binomial_log_e(
        40, 90, p0=0.3, prior=prior
    ) == sequential.beta_binomial_log_e(40, 90, p0=0.3, prior=prior, sides=2)
    given_: dict[str, Any] = {"se": 0.1, "n": 50, "n_opt": 50, "alpha": 0.05}
    assert sequential.asymptotic_halfwidth(**given_) == sequential.asymptotic_halfwidth(
        **given_, sides=2
    )
    assert sequential.normal_mixture_rho(v_opt=9, alpha=0.05) == sequential.normal_mixture_rho(
        v_opt=9, alpha=0.05, sides=2
    )


@pytest.mark.parametrize("sides", [1, 2])
def test_the_half_width_is_its_formula(sides):
    # Waudby-Smith et al. 2021, eq. 9 (two-sided) and its one-sided form, as the docstring writes them
    se, n, n_opt, alpha = 0.02, 400, 900, 0.05
    log = -2 * math.log(alpha * (3 - sides))
    c = log + math.log1p(log)
    v = 1 / se**2
    eta = v / n * n_opt / c
    if sides == 2:
        inner = math.log(math.sqrt((v + eta) / eta) / alpha)
    else:
        inner = math.log(1 + math.sqrt((v + eta) / eta) / (2 * alpha))

    found = sequential.asymptotic_halfwidth(se=se, n=n, n_opt=n_opt, alpha=alpha, sides=sides)

    assert found == pytest.approx(math.sqrt(2 * (v + eta) / v**2 * inner), rel=1e-12)


def test_a_share_far_from_the_planned_one_is_judged_by_a_prior_with_that_share_as_its_mean():
    prior = sequential.mixture_prior(p0=0.1, n_opt=10_000, alpha=0.05)

    assert prior.a / (prior.a + prior.b) == pytest.approx(0.1)
    assert sequential.sample_ratio_log_e(130, 870, 0.1) == sequential.beta_binomial_log_e(
        130, 1_000, p0=0.1, prior=prior
    )


def test_few_observations_get_a_prior_that_is_hardly_one():
    # r is kept above 0.001 p0 (1 - p0), so a = 0.001 p0 and b = 0.001 (1 - p0)
    prior = sequential.mixture_prior(p0=0.3, n_opt=0.5)

    assert (prior.a, prior.b) == pytest.approx((0.0003, 0.0007))


def test_evidence_too_small_for_a_double_is_none():
    prior = sequential.Beta(a=1, b=1)

    assert sequential.beta_binomial_log_e(0, 10**7, p0=0.5, prior=prior, sides=1) == -math.inf


def test_a_judge_that_errs_hides_part_of_a_loss_and_the_rest_tells_it():
    errs = {"sensitivity": 0.95, "specificity": 0.9}

    # 0.015 x (0.95 + 0.9 - 1)
    assert noise.on_judge_scale(0.015, **errs) == pytest.approx(0.01275)
    assert noise.true_difference(0.01275, **errs) == pytest.approx(0.015)


def test_two_rates_are_equal_or_not_by_the_textbook():
    # (p1 - p2)^2 / (p q (1/n1 + 1/n2)), p = 20/100: 0.2^2 / (0.16 x 0.04)
    found = classical.equal_rates([15, 5], [50, 50])

    assert found.chi2 == pytest.approx(6.25)
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(6.25 / 2)))
    for counts, sizes in (([1, 2, 3], [5, 5]), ([1, 2], [5, 5, 5]), ([1], [5, 5])):
        with pytest.raises(StatisticsError, match="two groups are needed"):
            classical.equal_rates(counts, sizes)


def test_two_counts_are_held_against_shares_of_any_sum():
    # Expected 100 and 900: 30^2/100 + 30^2/900
    found = classical.sample_ratio_chi2([130, 870], [1, 9])

    assert found.chi2 == pytest.approx(10.0)
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(5)))
    for counts, shares in (
        ([1, 2, 3], [0.5, 0.5]),
        ([1, 2], [0.2, 0.3, 0.5]),
        ([-1, 2], [0.5, 0.5]),
        ([1, 2], [1.0, 0.0]),
        ([1, 2], [-0.5, 0.5]),
    ):
        with pytest.raises(StatisticsError, match="two arms, each with a share"):
            classical.sample_ratio_chi2(counts, shares)
    assert classical.sample_ratio_chi2([0, 8], [1, 3]).chi2 == pytest.approx(2 + 4 / 6)


def test_strata_that_cancel_out_have_unequal_odds_all_the_same():
    # Odds 2.25 in one and 1/2.25 in the other: pooled 1, so 25 are expected in each cell, of variance 25/4.
    there, back = (
        stratified.Stratum(
            baseline_n=50, baseline_correct=right, candidate_n=50, candidate_correct=50 - right
        )
        for right in (30, 20)
    )

    found = classical.mantel_haenszel_odds_ratio([there, back])

    assert found.odds_ratio == pytest.approx(1.0)
    assert found.equal_odds_chi2 == pytest.approx(2 * 5**2 / 6.25)
    assert found.equal_odds_tarone_chi2 == pytest.approx(8.0)
    assert found.equal_odds_p == pytest.approx(math.erfc(math.sqrt(8 / 2)))
    assert classical.mantel_haenszel_odds_ratio([there, there]).equal_odds_chi2 == pytest.approx(
        0, abs=1e-12
    )


def test_a_stratum_in_which_nobody_errs_says_nothing_of_odds():
    sure = stratified.Stratum(baseline_n=9, baseline_correct=9, candidate_n=4, candidate_correct=4)

    lost = stratified.Stratum(baseline_n=3, baseline_correct=0, candidate_n=3, candidate_correct=0)
    rare = stratified.Stratum(baseline_n=3, baseline_correct=1, candidate_n=3, candidate_correct=0)
    found = classical.mantel_haenszel_odds_ratio([*STRATA, sure, lost])
    more = classical.mantel_haenszel_odds_ratio([*STRATA, rare])

    assert found.equal_odds_chi2 == classical.mantel_haenszel_odds_ratio(STRATA).equal_odds_chi2
    assert found.equal_odds_p == classical.mantel_haenszel_odds_ratio(STRATA).equal_odds_p
    # One right answer is enough to have odds.
    assert more.equal_odds_chi2 > found.equal_odds_chi2
    with pytest.raises(StatisticsError, match="right and wrong"):
        classical.mantel_haenszel_odds_ratio([STRATA[0], sure])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(1, 60)] * 4), min_size=2, max_size=5))
def test_a_table_with_one_odds_ratio_is_the_one_that_is_expected(cells):
    """Cells a, b, c, d of strata: a (d) / (b c) of what is expected is the pooled ratio in each."""
    strata = [
        stratified.Stratum(
            baseline_n=a + b, baseline_correct=a, candidate_n=c + d, candidate_correct=c
        )
        for a, b, c, d in cells
    ]
    ratio_ = sum(a * d / (a + b + c + d) for a, b, c, d in cells) / sum(
        b * c / (a + b + c + d) for a, b, c, d in cells
    )
    chi2, over, variances = 0.0, 0.0, 0.0
    for a, b, c, d in cells:
        low, high = max(0.0, a - d), float(min(a + b, a + c))
        x = (low + high) / 2
        for _ in range(200):
            too_few = x * (d - a + x) < ratio_ * (a + b - x) * (a + c - x)
            low, high = (x, high) if too_few else (low, x)
            x = (low + high) / 2
        variance = 1 / (1 / x + 1 / (a + b - x) + 1 / (a + c - x) + 1 / (d - a + x))
        chi2 += (a - x) ** 2 / variance
        over += a - x
        variances += variance

    found = classical.mantel_haenszel_odds_ratio(strata)

    assert found.odds_ratio == pytest.approx(ratio_)
    assert found.equal_odds_chi2 == pytest.approx(chi2, rel=1e-6, abs=1e-9)
    tarone = chi2 - over**2 / variances
    assert found.equal_odds_tarone_chi2 == pytest.approx(tarone, rel=1e-6, abs=1e-8)


def test_mcnemar_by_hand():
    one = paired.PairedTable(both=3, only_baseline=1, only_candidate=0, neither=0)
    even = paired.PairedTable(both=0, only_baseline=4, only_candidate=4, neither=0)

    assert paired.mcnemar_asymptotic(one).chi2 == 1
    assert paired.mcnemar_asymptotic(one, corrected=True).chi2 == 0
    assert paired.mcnemar_asymptotic(even).chi2 == 0
    assert paired.mcnemar_asymptotic(even, corrected=True).p_value == 1
    assert paired.mcnemar_asymptotic(TABLE).chi2 == pytest.approx(49 / 17)
    assert paired.mcnemar_asymptotic(TABLE, corrected=True).chi2 == pytest.approx(36 / 17)
    assert paired.mcnemar_exact(one) == 1


def test_sizes_are_of_equal_groups_and_one_sided_unless_asked():
    two: dict[str, Any] = {"p1": 0.9, "p2": 0.8, "alpha": 0.05, "power": 0.8}
    only: dict[str, Any] = {
        "p_only_baseline": 0.04,
        "p_only_candidate": 0.01,
        "alpha": 0.05,
        "power": 0.8,
    }
    new: dict[str, Any] = {"p_new": 0.9, "p_old": 0.9, "margin": 0.05, "alpha": 0.05, "power": 0.8}

    assert power.two_proportions(**two) == power.two_proportions(**two, ratio=1, sides=1)
    assert power.two_proportions(**two) < power.two_proportions(**two, sides=2)
    assert power.mcnemar(**only) == power.mcnemar(**only, sides=1)
    assert power.mcnemar(**only) < power.mcnemar(**only, sides=2)
    assert power.farrington_manning(**new) == power.farrington_manning(**new, ratio_old_to_new=1)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.55, 0.95), st.floats(0.55, 0.95), st.floats(0.02, 0.3), st.sampled_from([0.5, 3.0])
)
def test_a_non_inferiority_size_rests_on_the_likeliest_rates_that_just_miss_it(
    p_new, p_old, margin, ratio_
):
    """The rates under the null by looking for the largest likelihood, p_new - p_old = -margin, on a fine grid."""
    if p_new - p_old + margin < 0.02:
        return
    grid = np.linspace(margin + 1e-6, 1 - 1e-6, 200_001)
    lower = grid - margin
    likelihood = (
        p_new * np.log(lower)
        + (1 - p_new) * np.log1p(-lower)
        + ratio_ * (p_old * np.log(grid) + (1 - p_old) * np.log1p(-grid))
    )
    old = float(grid[likelihood.argmax()])
    new = old - margin
    null = math.sqrt(new * (1 - new) + old * (1 - old) / ratio_)
    truth = math.sqrt(p_new * (1 - p_new) + p_old * (1 - p_old) / ratio_)
    expected = ((Z_95 * null + Z_80 * truth) / (p_new - p_old + margin)) ** 2

    found = power.farrington_manning(
        p_new=p_new, p_old=p_old, margin=margin, alpha=0.05, power=0.8, ratio_old_to_new=ratio_
    )

    assert found == pytest.approx(expected, rel=1e-4)


def test_one_is_expected_and_none_may_come():
    assert power.arrivals_at_least(1, 1.0) == pytest.approx(1 - math.exp(-1))


def test_a_binomial_number_is_counted_up_to_its_edges():
    # B ~ Binomial(3, 1/2): 1/8, 4/8, 7/8, 1
    found = [_special.binomial_cdf(k, 3, 0.5) for k in (-1, 0, 1, 2, 3, 4)]

    assert found == pytest.approx([0, 1 / 8, 4 / 8, 7 / 8, 1, 1])


def test_ranks_enclose_a_quantile_where_the_probability_is_exactly_theirs():
    # Two values: both below the median with 1/4, both above with 1/4.
    assert quantiles.order_statistic_ranks(2, 0.5, level=0.5) == quantiles.Ranks(
        lower=1, upper=2, coverage=0.5
    )
    # B ~ Binomial(10, 0.9): P(B <= 8) = 0.264, P(B <= 9) = 0.651
    assert quantiles.order_statistic_ranks(10, 0.9, level=0.01).lower == 9
    # As p95 does, p5 takes 72 values: the smallest must lie below it.
    with pytest.raises(StatisticsError, match="71 values cannot enclose"):
        quantiles.order_statistic_ranks(71, 0.05)
    assert quantiles.order_statistic_ranks(72, 0.05).lower == 1
    with pytest.raises(StatisticsError, match="1 values cannot enclose"):
        quantiles.order_statistic_ranks(1, 0.5)


@pytest.mark.parametrize(
    ("quantile", "confidence", "n"),
    [
        (0.95, 0.95, 59),  # Wilks 1941
        (0.99, 0.9, 230),  # ln 0.1 / ln 0.99 = 229.1
        (0.9, 0.99, 44),  # ln 0.01 / ln 0.9 = 43.7
        (0.5, 0.75, 2),  # 1 - 1/4, exactly
        (0.5, 0.4, 1),
    ],
)
def test_the_largest_of_n_exceeds_a_quantile_where_its_power_says_so(quantile, confidence, n):
    assert quantiles.wilks_sample_size(quantile=quantile, confidence=confidence) == n


def test_an_e_value_that_is_exactly_enough_is_a_discovery():
    # K / (k q) = 1 / 0.5
    assert multiple.e_bh([math.log(2)], q=0.5) == (0,)
    assert multiple.benjamini_hochberg([0.1], q=0.1).rejected == (0,)


def test_flips_in_several_batches_are_as_many_as_were_asked_for():
    # Nothing differs, so every flip is as extreme; half a million values fit twice into a batch.
    assert paired.sign_flip_p([0.0] * (1 << 19), draws=5, seed=0) == 1.0


def test_half_a_judge_counts_by_the_formula():
    human, same, rest = [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]

    found = noise.ppi_mean(human, same, rest, weight=0.5)
    whole = noise.ppi_mean(human, same, rest)

    # 0.5 x 1/2 + mean(0.5, -0.5, 1); variances with 1/n: rest 1/4, rectifier 7/18
    assert found.estimate == pytest.approx(0.25 + 1 / 3)
    assert found.se == pytest.approx(math.sqrt(0.25 * 0.25 / 4 + 7 / 18 / 3))
    assert whole == noise.ppi_mean(human, same, rest, weight=1.0)


def test_an_odds_ratio_takes_two_strata_with_both_arms():
    empty = stratified.Stratum(baseline_n=9, baseline_correct=4, candidate_n=0, candidate_correct=0)

    for strata in ([STRATA[0]], [*STRATA, empty]):
        with pytest.raises(StatisticsError, match="two or more"):
            classical.mantel_haenszel_odds_ratio(strata)


@pytest.mark.parametrize(
    "cells",
    [
        (1, 0, 0, 1),  # ad - bc = 1: less than half a pair, so no correlation
        (10, 2, 0, 0),  # an empty margin: no correlation either
        (5, 9, 8, 2),  # bc > ad: a negative one, which is not shrunk
        (70, 12, 5, 13),
        (3, 1, 1, 4),
    ],
)
@pytest.mark.parametrize("level", [0.9, 0.999])
def test_a_paired_interval_is_made_of_its_margins_and_their_correlation(cells, level):
    """Newcombe 1998, Stat. Med. 17:2635, method 10, from statsmodels' Wilson intervals of the margins."""
    both, b, c, neither = cells
    n, loss = sum(cells), (b - c) / sum(cells)
    product, margins = (
        both * neither - b * c,
        (both + b) * (c + neither) * (both + c) * (b + neither),
    )
    shrunk = max(product - n / 2, 0) if product > 0 else product
    phi = shrunk / math.sqrt(margins) if margins else 0.0
    one, two = (
        classical.proportion_interval(both + only, n, method="wilson", level=level)
        for only in (b, c)
    )
    p1, p2 = (both + b) / n, (both + c) / n

    def span(x: float, y: float) -> float:
        return math.sqrt(x * x - 2 * phi * x * y + y * y)

    found = paired.newcombe_paired(
        paired.PairedTable(both=both, only_baseline=b, only_candidate=c, neither=neither),
        level=level,
    )

    assert found.lower == pytest.approx(loss - span(p1 - one.lower, two.upper - p2), abs=1e-9)
    assert found.upper == pytest.approx(loss + span(one.upper - p1, p2 - two.lower), abs=1e-9)


@pytest.mark.parametrize("level", [0.8, 0.999])
def test_differences_agree_with_statsmodels_at_any_level(level):
    for ours, theirs in (
        (
            proportions.newcombe_difference(*FOUR, level=level),
            classical.difference_interval(*FOUR, method="newcomb", level=level),
        ),
        (
            proportions.agresti_caffo(*FOUR, level=level),
            classical.difference_interval(*FOUR, method="agresti-caffo", level=level),
        ),
    ):
        assert (ours.lower, ours.upper) == pytest.approx((theirs.lower, theirs.upper), abs=1e-9)


def test_a_difference_of_rates_is_never_more_than_all():
    only = paired.PairedTable(both=0, only_baseline=1, only_candidate=0, neither=0)
    other = paired.PairedTable(both=0, only_baseline=0, only_candidate=1, neither=0)

    # (b - c) +- z sqrt((b + c - (b - c)^2) / (n + 2)) with b = 2/3, c = 1/3 would reach 1.4
    assert paired.bonett_price(only).upper == 1
    assert paired.bonett_price(other).lower == -1
    assert proportions.agresti_caffo(1, 1, 0, 1, level=0.99).upper == 1
    assert proportions.agresti_caffo(0, 1, 1, 1, level=0.99).lower == -1


def test_a_certain_gain_goes_on_from_what_was_seen_before():
    bets = betting.rate_bets(limit=0.02, alternative=0.03)
    hits = passage.Values(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    each = passage.growth(hits, bets)
    alone = passage.Passage(growth=each, log_threshold=9.0)
    needed = alone.quantile(0.5)

    after = passage.Passage(growth=each, log_threshold=9.0, before=((4, each), (2, each)))

    assert needed > 6
    assert (alone.probability(needed - 1), alone.probability(needed)) == (0, 1)
    assert after.quantile(0.5) == needed - 6


@pytest.mark.parametrize("needed", [7.0, 8.0, 9.0, 10.0, 11.0, 12.0])
def test_a_certain_gain_of_hardly_anything_takes_very_many(needed):
    bets = betting.rate_bets(limit=0.02, alternative=0.03)
    # All bets gain about lambda x 0.0001 each time; the largest is twice the middle one.
    slow = passage.Values(np.array([0.0201]), np.array([1.0]))
    wealth = [math.log1p(bet * 0.0001) for bet in bets.lambdas]
    low, high = 0.0, 1e9
    for _ in range(100):
        n = (low + high) / 2
        enough = math.log(sum(math.exp(min(n * one, 700)) for one in wealth) / 3) >= needed
        low, high = (low, n) if enough else (n, high)

    found = passage.Passage(growth=passage.growth(slow, bets), log_threshold=needed).quantile(0.5)

    assert high > 50_000
    assert high <= found <= 1.06 * high
