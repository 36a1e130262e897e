"""What reports add: many rules, noisy judges, ratios, order statistics, sample sizes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats import classical, multiple, noise, power, quantiles, ratio

brief = settings(max_examples=60, deadline=None)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)
judges = st.floats(0.55, 1)


@brief
@given(p_values)
def test_adjusted_p_values_agree_with_statsmodels(ps):
    ours = multiple.benjamini_hochberg(ps, q=0.1)

    assert ours.adjusted == pytest.approx(
        classical.adjusted_p_values(ps, method="fdr_bh"), abs=1e-12
    )


@brief
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=20))
def test_e_bh_is_benjamini_hochberg_on_inverse_e_values(logs):
    inverse = [min(1.0, math.exp(-x)) for x in logs]

    assert multiple.e_bh(logs, q=0.1) == multiple.benjamini_hochberg(inverse, q=0.1).rejected


def test_e_bh_takes_overwhelming_evidence_and_none():
    assert multiple.e_bh([5_000.0, -math.inf], q=0.1) == (0,)


def test_alpha_is_split_over_rules_and_intents():
    assert multiple.alpha_per_rule(0.05, stop_rules=5, critical_intents=2) == pytest.approx(0.005)


@brief
@given(judges, judges, st.floats(0, 1))
def test_rogan_gladen_undoes_the_judge(sensitivity, specificity, rate):
    seen = rate * sensitivity + (1 - rate) * (1 - specificity)

    found = noise.rogan_gladen(
        min(seen, 1.0) * 1_000, 1_000, sensitivity=sensitivity, specificity=specificity
    )

    assert found.estimate == pytest.approx(rate, abs=1e-9)


@brief
@given(st.lists(st.booleans(), min_size=2, max_size=50))
def test_without_weight_the_judge_is_ignored(human):
    labels = [float(h) for h in human]

    found = noise.ppi_mean(labels, [1.0] * len(labels), [1.0, 0.0], weight=0.0)

    assert found.estimate == pytest.approx(np.mean(labels), abs=1e-12)
    assert found.se == pytest.approx(np.std(labels) / math.sqrt(len(labels)), abs=1e-12)


@brief
@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=2, max_size=40),
    st.floats(0.01, 100),
)
def test_a_ratio_scales_with_its_currency(pairs, rate):
    x, y = zip(*pairs, strict=True)
    here = ratio.ratio_of_means(ratio.RatioSums.of(x, y))
    there = ratio.ratio_of_means(ratio.RatioSums.of([rate * v for v in x], y))

    assert there.estimate == pytest.approx(rate * here.estimate, rel=1e-9)
    assert there.se == pytest.approx(rate * here.se, rel=1e-4, abs=1e-6 * rate)


def test_a_ratio_sequence_is_wider_than_one_look():
    random = np.random.default_rng(5)
    sums = ratio.RatioSums.of(list(random.gamma(2, 0.01, 500)), [1.0] * 500)
    point = ratio.ratio_of_means(sums)

    found = ratio.ratio_confidence_sequence(sums, alpha=0.05, n_opt=500)

    assert found.lower < point.estimate - 1.96 * point.se
    assert point.estimate + 1.96 * point.se < found.upper


def test_enclosing_p95_takes_at_least_72_values():
    # The smallest n with 0.95^n <= 0.025 is 72: the largest value must exceed p95.
    with pytest.raises(StatisticsError):
        quantiles.order_statistic_ranks(71, 0.95)
    assert quantiles.order_statistic_ranks(72, 0.95).upper == 72


@brief
@given(st.integers(80, 100_000), st.floats(0.1, 0.95))
def test_order_statistics_cover_at_least_their_level(n, quantile):
    found = quantiles.order_statistic_ranks(n, quantile)

    assert 1 <= found.lower <= n * quantile + 1
    assert n * quantile <= found.upper <= n
    assert 0.95 - 1e-9 <= found.coverage < 1


def test_the_second_largest_of_93_values_exceeds_p95():
    # Wilks 1942: second order, 95%/95%, n = 93.
    assert quantiles.wilks_sample_size(quantile=0.95, confidence=0.95, order=2) == 93


def test_a_smaller_loss_takes_more_labels():
    sizes = [
        power.two_proportions(p1=0.95 - loss, p2=0.95, alpha=0.05, power=0.8, ratio=9)
        for loss in (0.03, 0.015, 0.01)
    ]

    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: multiple.benjamini_hochberg([], q=0.1),
        lambda: multiple.benjamini_hochberg([1.5], q=0.1),
        lambda: multiple.benjamini_hochberg([math.nan], q=0.1),
        lambda: multiple.e_bh([], q=0.1),
        lambda: multiple.e_bh([math.nan], q=0.1),
        lambda: multiple.e_bh([math.inf], q=0.1),
        lambda: multiple.e_bh([1.0], q=1.0),
        lambda: multiple.alpha_per_rule(0.05, stop_rules=0, critical_intents=1),
        lambda: noise.rogan_gladen(1, 0, sensitivity=0.9, specificity=0.9),
        lambda: noise.rogan_gladen(1, 2, sensitivity=0.5, specificity=0.5),
        lambda: noise.on_judge_scale(1.5, sensitivity=0.9, specificity=0.9),
        lambda: noise.ppi_mean([1, 0], [1], [1, 0]),
        lambda: noise.ppi_mean([1, 0], [1, 0, 1], [1, 0]),
        lambda: noise.ppi_mean([1, math.nan], [1, 0], [1, 0]),
        lambda: ratio.RatioSums.of([1.0, 2.0], [1.0]),
        lambda: ratio.RatioSums.of([1.0, 2.0], [0.0, 0.0]),
        lambda: ratio.RatioSums.of([1.0], [1.0]),
        lambda: ratio.ratio_confidence_sequence(
            ratio.RatioSums.of([1.0, 1.0], [1.0, 1.0]), alpha=0.05, n_opt=10
        ),
        lambda: quantiles.order_statistic_ranks(0, 0.5),
        lambda: quantiles.order_statistic_ranks(100, 1.0),
        lambda: quantiles.wilks_sample_size(quantile=0.95, confidence=1.0),
        lambda: power.two_proportions(p1=0.5, p2=0.5, alpha=0.05, power=0.8),
        lambda: power.two_proportions(p1=0.5, p2=0.6, alpha=0.05, power=1.0),
        lambda: power.farrington_manning(p_new=0.7, p_old=0.8, margin=0.05, alpha=0.05, power=0.8),
        lambda: power.mcnemar(p_only_baseline=0.8, p_only_candidate=0.3, alpha=0.05, power=0.8),
    ],
)
def test_refuses_what_has_no_answer(attempt):
    with pytest.raises(StatisticsError):
        attempt()
