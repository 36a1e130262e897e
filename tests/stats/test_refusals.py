"""A refusal begins with the name of what was refused, and the bounds are where the docstrings say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from controller.errors import StatisticsError
from controller.stats import (
    balanced,
    betting,
    classical,
    histogram,
    matched,
    multiple,
    noise,
    paired,
    passage,
    power,
    powered,
    proportions,
    quantiles,
    ratio,
    sequential,
    stratified,
)

NAN = math.nan
TWO_BETS = betting.rate_bets(limit=0.02, alternative=0.03)
UNIFORM = sequential.Beta(a=1, b=1)
TABLE = paired.PairedTable(both=5, only_baseline=3, only_candidate=1, neither=2)
LIKE = paired.PairedTable(both=5, only_baseline=0, only_candidate=0, neither=2)
COIN = passage.Values(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
ONCE = passage.Passage(growth=passage.growth(COIN, TWO_BETS), log_threshold=3.0)
SIZES: dict[str, Any] = {"p1": 0.9, "p2": 0.8, "alpha": 0.05, "power": 0.8}
NEW: dict[str, Any] = {"p_new": 0.9, "p_old": 0.9, "margin": 0.1, "alpha": 0.05, "power": 0.8}
ONLY: dict[str, Any] = {
    "p_only_baseline": 0.04,
    "p_only_candidate": 0.01,
    "alpha": 0.05,
    "power": 0.8,
}
JUDGE: dict[str, Any] = {"sensitivity": 0.9, "specificity": 0.9}
SUMS: dict[str, Any] = {"n": 2, "x": 1.0, "y": 2.0, "xx": 1.0, "yy": 2.0, "xy": 1.0}
STRATUM: dict[str, Any] = {
    "baseline_n": 2,
    "baseline_correct": 1,
    "candidate_n": 2,
    "candidate_correct": 1,
}
BOTH = [stratified.Stratum(**STRATUM), stratified.Stratum(**STRATUM)]


HALF = {"accuracy": 0.9, "sensitivity": 0.9, "specificity": 0.9, "share": 0.5}
WEIGHED = powered.Policy(weight=0.5, drawn=0.5, judge=0.7, variance=0.05)
ANSWERS = powered.Graded(np.ones((1, 4)), np.ones((1, 2)))
ONE = np.array([1])


def by_people(by: powered.Policy = WEIGHED, **changes: float) -> object:
    usual = {"margin": 0.1, "effect": 0.1}
    return powered.log_wealth_nano(ANSWERS, ANSWERS, by, sign=1, **(usual | changes))


def by_minute(**changes: float) -> object:
    usual = {"reference": 0.1, "effect": 0.1}
    return matched.log_wealth_nano(ONE, ONE, ONE, ONE, sign=1, **(usual | changes))


def balance(**changes: float) -> balanced.Balance:
    return balanced.Balance(**({"most": 2.0, "reference": 0.5, "effect": 0.1} | changes))


def pairs(**changes: int) -> paired.PairedTable:
    usual = {"both": 5, "only_baseline": 3, "only_candidate": 1, "neither": 2}
    return paired.PairedTable(**(usual | changes))


def windowed(**changes) -> betting.Windows:
    usual: dict[str, Any] = {
        "opened": np.array([[0, 0]]),
        "closed": np.array([[2, 2]]),
        "values": np.array([0.0, 1.0]),
        "bets": TWO_BETS,
        "starts": np.array([0]),
        "ends": np.array([1]),
        "window_min": 2,
        "min_window_min": 1,
        "thresholds": 3.0,
    }
    return betting.windowed_log_e(**(usual | changes))


def bets(**changes) -> betting.Bets:
    return betting.bets(**({"effect": 0.1, "variance": 0.1, "m": 0.1, "lo": 0.0} | changes))


def losing(**changes) -> betting.Bets:
    return betting.loss_bets(**({"margin": 0.1, "effect": 0.1, "variance": 0.1} | changes))


def gaining(**changes) -> betting.Bets:
    return betting.gain_bets(**({"margin": 0.1, "effect": 0.1, "variance": 0.1} | changes))


def threshold(**changes) -> float:
    usual = {"alpha": 0.05, "start_number": 1, "planned_starts": 1, "first": 0.25}
    return betting.log_threshold(**(usual | changes))


def halfwidth(**changes) -> float:
    usual = {"se": 1.0, "n": 1, "n_opt": 10, "alpha": 0.05}
    return sequential.asymptotic_halfwidth(**(usual | changes))


def mixed(count: float = 1, n: int = 2, *, p0: float = 0.5, **changes) -> float:
    return sequential.beta_binomial_log_e(count, n, p0=p0, **({"prior": UNIFORM} | changes))


def sequence(count: float = 1, n: int = 2, *, alpha: float = 0.05, n_opt: float = 10):
    return sequential.bernoulli_confidence_sequence(count, n, alpha=alpha, n_opt=n_opt)


def minutes(**changes) -> betting.Windows:
    usual: dict[str, Any] = {
        "opened": np.array([[0, 0, 0]]),
        "closed": np.array([[1, 1, 1]]),
        "starts": np.array([0]),
        "ends": np.array([2]),
        "window_min": 2,
        "min_window_min": 1,
        "thresholds": np.array([3.0]),
    }
    return matched.strongest_windows(**(usual | changes))


def weighed(**changes: float) -> powered.Policy:
    return powered.Policy(
        **({"weight": 0.5, "drawn": 0.5, "judge": 0.7, "variance": 0.05} | changes)
    )


def grown(**changes) -> passage.Growth:
    nothing = (0.0, 0.0, 0.0)
    usual = {"mean": nothing, "variance": nothing, "overshoot": nothing}
    return passage.Growth(**(usual | changes))


def passing(**changes) -> passage.Passage:
    usual: dict[str, Any] = {"growth": ONCE.growth, "log_threshold": 3.0}
    return passage.Passage(**(usual | changes))


def lost(**changes: float) -> stratified.StratifiedLoss:
    usual = {"loss": 0.1, "variance": 0.1}
    return stratified.StratifiedLoss(**(usual | changes), excluded=(), method="any")


def inverted(estimate: float) -> proportions.Interval:
    return proportions.invert(lambda d: estimate - d, estimate, level=0.9, method="any")


def strongest(**changes) -> tuple[int, float, float]:
    usual: dict[str, Any] = {
        "gained": np.array([[1, 1]]),
        "values": np.array([0.0, 1.0]),
        "bets": TWO_BETS,
    }
    return betting.strongest_start(**(usual | {"thresholds": np.array([3.0])} | changes))


def of_minute(module, **changes) -> object:
    """One minute of `balanced` or `matched`."""
    arms = ("n", "spent", "graded", "right") if module is balanced else ("n", "x", "k", "y")
    usual = dict.fromkeys(arms, ONE) | {"sign": 1}
    more = {"balance": balance()} if module is balanced else {"reference": 0.1, "effect": 0.1}
    return module.log_wealth_nano(**(usual | more | changes))


TWO = np.array([1, 1])
THREE: Any = 3
REFUSED: dict[str, list[Callable[[], object]]] = {
    # numbers that no function takes
    "sides is": [
        lambda: power.two_proportions(**(SIZES | {"sides": 3})),
        lambda: power.mcnemar(**(ONLY | {"sides": 0})),
        lambda: mixed(sides=3),
        lambda: sequential.mixture_prior(p0=0.5, n_opt=10, sides=THREE),
    ],
    "sign is": [
        lambda: of_minute(balanced, sign=0),
        lambda: of_minute(matched, sign=2),
        lambda: powered.log_wealth_nano(ANSWERS, ANSWERS, WEIGHED, margin=0, effect=1, sign=0),
    ],
    "start_number is": [
        lambda: threshold(start_number=0),
        lambda: threshold(start_number=1.5),
        lambda: threshold(start_number=math.inf),
    ],
    "window_min is": [lambda: minutes(window_min=0), lambda: windowed(window_min=1.5)],
    "min_window_min is": [lambda: minutes(min_window_min=3), lambda: windowed(min_window_min=0)],
    "thresholds have": [
        lambda: minutes(thresholds=np.array([NAN])),
        lambda: strongest(thresholds=np.array([3.0, 3.0])),
    ],
    "evidence has": [lambda: strongest(gained=np.zeros((0, 2)), thresholds=np.array([]))],
    "counts are": [
        lambda: betting.log_e_of([1.0, NAN], np.array([0.0, 1.0]), TWO_BETS),
        lambda: betting.log_e_of([1.0, math.inf], np.array([0.0, 1.0]), TWO_BETS),
    ],
    "log wealth has": [
        lambda: matched.log_e_of_wealth(np.array([1, 2])),
        lambda: matched.log_e_of_wealth(np.array([1.0, 2.0, 3.0])),
    ],
    "counts of": [
        lambda: of_minute(matched, x=TWO),
        lambda: of_minute(matched, k=TWO, y=TWO),
        lambda: of_minute(matched, n=np.array([math.inf])),
    ],
    "how many": [
        lambda: of_minute(balanced, right=TWO),
        lambda: of_minute(balanced, graded=TWO, right=TWO),
        lambda: of_minute(balanced, graded=np.array([-1])),
        lambda: of_minute(balanced, n=np.array([-1])),
    ],
    "estimate is": [
        lambda: noise.Estimate(estimate=NAN, se=0.1),
        lambda: inverted(1.5),
        lambda: inverted(-1.5),
    ],
    "loss is": [lambda: lost(loss=NAN)],
    "most is": [lambda: balance(most=math.inf)],
    "low is": [lambda: balance(low=-math.inf)],
    "high is": [lambda: balance(high=math.inf)],
    "drawn is": [lambda: weighed(drawn=NAN)],
    "judge is": [lambda: weighed(judge=1.1), lambda: weighed(judge=-0.1)],
    "right is": [
        lambda: powered.chances(right=1.1, **JUDGE),
        lambda: powered.chances(right=-0.1, **JUDGE),
    ],
    "drawn has": [
        lambda: powered.Graded(np.ones((1, 3)), np.ones((1, 2))),
        lambda: powered.Graded(-np.ones((1, 4)), np.ones((1, 2))),
    ],
    "others has": [
        lambda: powered.Graded(np.ones((1, 4)), np.ones((2, 2))),
        lambda: powered.Graded(np.ones((1, 4)), np.full((1, 2), math.inf)),
    ],
    "looks_every is": [
        lambda: powered.powered_growth(
            ANSWERS, ANSWERS, WEIGHED, margin=0, effect=1, sign=1, looks_every=-1
        )
    ],
    "mean is": [lambda: grown(mean=(0.0, NAN, 0.0))],
    "overshoot is": [lambda: grown(overshoot=(0.0, 0.0, math.inf))],
    "gains have": [lambda: passage.growth_of(np.ones((3, 2)), np.ones(3))],
    "log_threshold is": [lambda: passing(log_threshold=NAN)],
    "held has": [lambda: passing(held=(0.0, 0.0))],
    "held contains": [lambda: passing(held=(0.0, 0.0, NAN))],
    "before is": [lambda: passing(before=((-1.0, ONCE.growth),))],
    "excess is": [lambda: proportions.standardised(NAN, 1)],
    # betting
    "m is": [lambda: betting.Bets(m=NAN, lambdas=(1, 1, 1))],
    "a bet is": [lambda: betting.Bets(m=0, lambdas=(1, 0, 1))],
    "effect is": [
        lambda: by_people(effect=0),
        lambda: by_minute(effect=0),
        lambda: balance(effect=0),
        lambda: bets(effect=0),
        lambda: power.mcnemar(**(ONLY | {"p_only_candidate": 0.04})),
        lambda: power.farrington_manning(**(NEW | {"p_new": 0.7})),
    ],
    "variance is": [
        lambda: weighed(variance=-0.1),
        lambda: lost(variance=-0.1),
        lambda: grown(variance=(NAN, 0.0, 0.0)),
        lambda: proportions.standardised(1, NAN),
        lambda: bets(variance=0),
        lambda: by_people(replace(WEIGHED, variance=0.0)),
    ],
    "m - lo is": [lambda: bets(m=0, lo=0)],
    "limit is": [
        lambda: betting.rate_bets(limit=0, alternative=0.5),
        lambda: betting.rate_bets(limit=1, alternative=1),
    ],
    "alternative is": [
        lambda: betting.rate_bets(limit=0.5, alternative=1.01),
        lambda: betting.rate_bets(limit=0.5, alternative=0.49),
    ],
    "margin is": [
        lambda: by_people(margin=-1),
        lambda: by_people(margin=1),
        lambda: losing(margin=-1),
        lambda: losing(margin=1),
        lambda: gaining(margin=-1),
        lambda: gaining(margin=1),
        lambda: power.farrington_manning(**(NEW | {"margin": 0})),
        lambda: power.farrington_manning(**(NEW | {"margin": 1})),
        lambda: proportions.farrington_manning(9, 10, 9, 10, margin=-0.1),
        lambda: proportions.farrington_manning(9, 10, 9, 10, margin=1.1),
    ],
    "values has": [
        lambda: betting.log_increments(np.array([]), TWO_BETS),
        lambda: passage.Values(np.array([]), np.array([1.0])),
    ],
    "alpha is": [
        lambda: threshold(alpha=0),
        lambda: threshold(alpha=1),
        lambda: sequential.mixture_prior(p0=0.5, n_opt=10, alpha=0),
        lambda: sequential.mixture_prior(p0=0.5, n_opt=10, alpha=1),
        lambda: sequential.mixture_prior(p0=0.5, n_opt=10, alpha=0.5, sides=1),
        lambda: sequence(alpha=0),
        lambda: sequence(alpha=1),
        lambda: halfwidth(alpha=1),
        lambda: sequential.normal_mixture_bound(v=1, rho=1, alpha=0),
        lambda: sequential.normal_mixture_bound(v=1, rho=1, alpha=1),
        lambda: sequential.normal_mixture_rho(v_opt=1, alpha=1),
        lambda: power.mcnemar(**(ONLY | {"alpha": 0})),
        lambda: power.mcnemar(**(ONLY | {"alpha": 0.5})),
        lambda: multiple.alpha_per_rule(0, stop_rules=1, critical_intents=1),
        lambda: multiple.alpha_per_rule(1, stop_rules=1, critical_intents=1),
    ],
    "planned_starts is": [lambda: threshold(planned_starts=0)],
    "starts has": [
        lambda: windowed(starts=np.array([[0]])),
        lambda: minutes(starts=np.array([0.5])),
    ],
    "ends has": [lambda: windowed(ends=np.array([[1]])), lambda: minutes(ends=np.array([[1]]))],
    "opened has": [
        lambda: windowed(opened=np.array([0, 0])),
        lambda: minutes(opened=np.array([[0, 0]])),
    ],
    "closed has": [
        lambda: windowed(closed=np.array([2, 2])),
        lambda: minutes(closed=np.zeros((2, 3), dtype=np.int64)),
    ],
    # sequential
    "a is": [lambda: sequential.Beta(a=0, b=1)],
    "b is": [lambda: sequential.Beta(a=1, b=0)],
    "p0 is": [
        lambda: sequential.mixture_prior(p0=0, n_opt=10),
        lambda: sequential.mixture_prior(p0=1, n_opt=10),
        lambda: mixed(p0=0),
        lambda: mixed(p0=1),
    ],
    "n_opt is": [
        lambda: sequential.mixture_prior(p0=0.5, n_opt=0),
        lambda: halfwidth(n_opt=0),
    ],
    "count is": [
        lambda: mixed(3, 2),
        lambda: mixed(-1, 2),
        lambda: sequence(3, 2),
        lambda: proportions.wilson(3, 2),
        lambda: proportions.clopper_pearson(3, 2),
        lambda: proportions.jeffreys(3, 2),
        lambda: classical.proportion_interval(3, 2, method="wilson"),
        lambda: classical.equal_rates([3, 1], [2, 2]),
        lambda: power.arrivals_at_least(-1, 1.0),
    ],
    "n of count is": [lambda: sequence(0, 0), lambda: proportions.wilson(0, 0)],
    "n is": [
        lambda: mixed(0, -1),
        lambda: halfwidth(n=0),
        lambda: ONCE.probability(-0.5),
        lambda: quantiles.order_statistic_ranks(0, 0.5),
        lambda: ratio.RatioSums(**(SUMS | {"n": 1})),
        lambda: histogram.quantile({}, 0.5),
    ],
    "the prior's mass above p0 is": [
        lambda: mixed(p0=0.9, prior=sequential.Beta(a=1, b=1e5), sides=1)
    ],
    "candidate is": [lambda: sequential.sample_ratio_log_e(-1, 1, 0.5)],
    "baseline is": [lambda: sequential.sample_ratio_log_e(1, -1, 0.5)],
    "se is": [lambda: halfwidth(se=0), lambda: noise.Estimate(estimate=0, se=-0.1)],
    "v_opt is": [lambda: sequential.normal_mixture_rho(v_opt=0, alpha=0.05)],
    "v is": [
        lambda: sequential.normal_mixture_log_e(1, v=-0.5, rho=1),
        lambda: sequential.normal_mixture_bound(v=-0.5, rho=1, alpha=0.05),
    ],
    "rho is": [
        lambda: sequential.normal_mixture_log_e(1, v=1, rho=0),
        lambda: sequential.normal_mixture_bound(v=1, rho=0, alpha=0.05),
    ],
    "s is": [lambda: sequential.normal_mixture_log_e(NAN, v=1, rho=1)],
    # paired
    "both is": [lambda: pairs(both=-1)],
    "only_baseline is": [lambda: pairs(only_baseline=-1)],
    "only_candidate is": [lambda: pairs(only_candidate=-1)],
    "neither is": [lambda: pairs(neither=-1)],
    "pairs is": [lambda: pairs(both=0, only_baseline=0, only_candidate=0, neither=0)],
    "discordant pairs is": [
        lambda: paired.mcnemar_exact(LIKE),
        lambda: paired.mcnemar_midp(LIKE),
        lambda: paired.mcnemar_asymptotic(LIKE),
    ],
    "differences has": [lambda: paired.sign_flip_p([], draws=1, seed=0)],
    "draws is": [lambda: paired.sign_flip_p([1.0], draws=0, seed=0)],
    "seed is": [lambda: paired.sign_flip_p([1.0], draws=1, seed=-1)],
    # passage
    "probabilities has": [lambda: passage.Values(np.array([1.0]), np.array([]))],
    "probability is": [lambda: ONCE.quantile(0), lambda: ONCE.quantile(1)],
    # power
    "p1 is": [
        lambda: proportions.restricted_rates(1.1, 0.5, ratio=1, difference=0),
        lambda: proportions.restricted_rates(-0.1, 0.5, ratio=1, difference=0),
        lambda: power.two_proportions(**(SIZES | {"p1": 0})),
        lambda: power.two_proportions(**(SIZES | {"p1": 1})),
    ],
    "p2 is": [
        lambda: power.two_proportions(**(SIZES | {"p2": 1})),
        lambda: proportions.restricted_rates(0.5, 1.1, ratio=1, difference=0),
        lambda: proportions.restricted_rates(0.5, -0.1, ratio=1, difference=0),
    ],
    "the difference of p1 and p2 is": [lambda: power.two_proportions(**(SIZES | {"p2": 0.9}))],
    "ratio is": [
        lambda: power.two_proportions(**SIZES, ratio=0),
        lambda: power.farrington_manning(**NEW, ratio_old_to_new=0),
        lambda: proportions.restricted_rates(0.5, 0.5, ratio=0, difference=0),
    ],
    "power is": [
        lambda: power.two_proportions(**(SIZES | {"power": 1})),
        lambda: power.two_proportions(**(SIZES | {"power": 0.05})),
    ],
    "p_new is": [
        lambda: power.farrington_manning(**(NEW | {"p_new": 0})),
        lambda: power.farrington_manning(**(NEW | {"p_new": 1})),
    ],
    "p_old is": [
        lambda: power.farrington_manning(**(NEW | {"p_old": 0})),
        lambda: power.farrington_manning(**(NEW | {"p_old": 1})),
    ],
    "p_only_baseline is": [
        lambda: power.mcnemar(**(ONLY | {"p_only_baseline": 0})),
        lambda: power.mcnemar(**(ONLY | {"p_only_baseline": 1})),
    ],
    "p_only_candidate is": [
        lambda: power.mcnemar(**(ONLY | {"p_only_candidate": 0})),
        lambda: power.mcnemar(**(ONLY | {"p_only_candidate": 1})),
    ],
    "discordance is": [
        lambda: power.mcnemar(**(ONLY | {"p_only_baseline": 0.6, "p_only_candidate": 0.5}))
    ],
    "expected is": [lambda: power.arrivals_at_least(1, -0.5)],
    # proportions
    "level is": [
        lambda: proportions.critical_z(0),
        lambda: proportions.critical_z(1),
        lambda: proportions.clopper_pearson(1, 2, level=0),
        lambda: proportions.clopper_pearson(1, 2, level=1),
        lambda: proportions.jeffreys(1, 2, level=0),
        lambda: proportions.jeffreys(1, 2, level=1),
        lambda: proportions.Interval(lower=0, upper=1, level=0, method="any"),
        lambda: proportions.Interval(lower=0, upper=1, level=1, method="any"),
        lambda: quantiles.order_statistic_ranks(100, 0.5, level=0),
        lambda: quantiles.order_statistic_ranks(100, 0.5, level=1),
        lambda: classical.proportion_interval(1, 2, method="wilson", level=1),
        lambda: classical.difference_interval(1, 2, 1, 2, method="newcomb", level=1),
        lambda: classical.mantel_haenszel_odds_ratio(BOTH, level=1),
    ],
    "count1 is": [
        lambda: proportions.newcombe_difference(3, 2, 1, 2),
        lambda: proportions.agresti_caffo(3, 2, 1, 2),
        lambda: proportions.restricted_mle(3, 2, 1, 2, difference=0),
        lambda: proportions.mee(3, 2, 1, 2),
        lambda: classical.difference_interval(3, 2, 1, 2, method="newcomb"),
    ],
    "count2 is": [
        lambda: proportions.newcombe_difference(1, 2, 3, 2),
        lambda: proportions.agresti_caffo(1, 2, 3, 2),
        lambda: proportions.restricted_mle(1, 2, 3, 2, difference=0),
        lambda: proportions.mee(1, 2, 3, 2),
        lambda: classical.difference_interval(1, 2, 3, 2, method="newcomb"),
    ],
    "n1 is": [lambda: proportions.miettinen_nurminen(0, 0, 1, 1)],
    "n2 is": [lambda: proportions.miettinen_nurminen(1, 1, 0, 0)],
    "difference is": [
        lambda: proportions.restricted_rates(0.5, 0.5, ratio=1, difference=1.1),
        lambda: proportions.restricted_rates(0.5, 0.5, ratio=1, difference=-1.1),
        lambda: noise.on_judge_scale(1.1, **JUDGE),
        lambda: noise.on_judge_scale(-1.1, **JUDGE),
    ],
    "count_new is": [lambda: proportions.farrington_manning(3, 2, 1, 2, margin=0.1)],
    "count_old is": [lambda: proportions.farrington_manning(1, 2, 3, 2, margin=0.1)],
    "variance under H0 is": [lambda: proportions.farrington_manning(2, 2, 2, 2, margin=0)],
    # balanced, matched, powered
    "reference is": [
        lambda: by_minute(reference=0),
        lambda: by_minute(reference=1),
        lambda: balance(reference=0, low=-0.5),
        lambda: balance(reference=0.2, low=0.2),
        lambda: balance(reference=1),
        lambda: balance(reference=1.5, high=1.5),
        lambda: balance(reference=0.9, most=0.9),
    ],
    "accuracy is": [
        lambda: powered.policy(**(HALF | {"accuracy": 0})),
        lambda: powered.policy(**(HALF | {"accuracy": 1})),
    ],
    "share is": [
        lambda: powered.policy(**(HALF | {"share": 0})),
        lambda: powered.policy(**(HALF | {"share": 1.1})),
    ],
    # quantiles
    "quantile is": [
        lambda: quantiles.order_statistic_ranks(100, 0),
        lambda: quantiles.order_statistic_ranks(100, 1),
        lambda: quantiles.wilks_sample_size(quantile=0, confidence=0.95),
        lambda: quantiles.wilks_sample_size(quantile=1, confidence=0.95),
    ],
    "confidence is": [
        lambda: quantiles.wilks_sample_size(quantile=0.95, confidence=0),
        lambda: quantiles.wilks_sample_size(quantile=0.95, confidence=1),
    ],
    "order is": [lambda: quantiles.wilks_sample_size(quantile=0.95, confidence=0.95, order=0)],
    # ratio
    "sum of x is": [lambda: ratio.RatioSums(**(SUMS | {"x": NAN}))],
    "sum of y is": [lambda: ratio.RatioSums(**(SUMS | {"y": 0}))],
    "sum of x squared is": [lambda: ratio.RatioSums(**(SUMS | {"xx": -0.5}))],
    "sum of y squared is": [lambda: ratio.RatioSums(**(SUMS | {"yy": -0.5}))],
    "sum of x y is": [lambda: ratio.RatioSums(**(SUMS | {"xy": NAN}))],
    "numerator has": [lambda: ratio.RatioSums.of([1.0], [1.0, 2.0])],
    "denominator has": [lambda: ratio.RatioSums.of([1.0, 2.0], [1.0])],
    "the ratio is": [
        lambda: ratio.ratio_confidence_sequence(
            ratio.RatioSums(**(SUMS | {"x": 0.0})), alpha=0.05, n_opt=10
        )
    ],
    # stratified
    "baseline_n is": [lambda: stratified.Stratum(**(STRATUM | {"baseline_n": -1}))],
    "baseline_correct is": [
        lambda: stratified.Stratum(**(STRATUM | {"baseline_correct": 3})),
        lambda: stratified.Stratum(**(STRATUM | {"baseline_correct": -1})),
    ],
    "candidate_n is": [lambda: stratified.Stratum(**(STRATUM | {"candidate_n": -1}))],
    "candidate_correct is": [lambda: stratified.Stratum(**(STRATUM | {"candidate_correct": 3}))],
    # multiple
    "q is": [
        lambda: multiple.benjamini_hochberg([0.1], q=0),
        lambda: multiple.benjamini_hochberg([0.1], q=1),
        lambda: multiple.e_bh([0.1], q=0),
        lambda: multiple.e_bh([0.1], q=1),
        lambda: histogram.quantile({1: 1}, -0.5),
        lambda: histogram.quantile({1: 1}, 1.5),
    ],
    "p_values has": [
        lambda: multiple.benjamini_hochberg([], q=0.1),
        lambda: classical.adjusted_p_values([], method="holm"),
    ],
    "p-values reach": [
        lambda: multiple.benjamini_hochberg([-0.5], q=0.1),
        lambda: multiple.benjamini_hochberg([1.5], q=0.1),
    ],
    "stop_rules is": [lambda: multiple.alpha_per_rule(0.05, stop_rules=0, critical_intents=1)],
    "critical_intents is": [
        lambda: multiple.alpha_per_rule(0.05, stop_rules=1, critical_intents=0)
    ],
    # noise
    "sensitivity is": [
        lambda: noise.discrimination(sensitivity=1.1, specificity=0.9),
        lambda: noise.discrimination(sensitivity=-0.1, specificity=1.0),
    ],
    "specificity is": [
        lambda: noise.discrimination(sensitivity=0.9, specificity=1.1),
        lambda: noise.discrimination(sensitivity=1.0, specificity=-0.1),
    ],
    "sensitivity + specificity - 1 is": [
        lambda: noise.discrimination(sensitivity=0.5, specificity=0.5)
    ],
    "observed is": [
        lambda: noise.true_rate(-0.1, **JUDGE),
        lambda: noise.true_rate(1.1, **JUDGE),
        lambda: noise.true_difference(-1.1, **JUDGE),
        lambda: noise.true_difference(1.1, **JUDGE),
    ],
    "positive is": [lambda: noise.rogan_gladen(3, 2, **JUDGE)],
    "judge labels has": [
        lambda: noise.ppi_mean([1.0, 0.0], [1.0], [1.0, 0.0]),
        lambda: noise.ppi_mean([1.0, 0.0], [1.0, 0.0], [1.0]),
    ],
    "human has": [lambda: noise.ppi_mean([1.0], [1.0, 0.0], [1.0, 0.0])],
    "weight is": [
        lambda: weighed(weight=1.1),
        lambda: weighed(weight=-0.1),
        lambda: powered.powered_accuracy(ANSWERS, 1.1),
        lambda: powered.powered_accuracy(ANSWERS, -0.1),
        lambda: powered.powered_accuracies(ANSWERS, 1.1),
        lambda: powered.powered_accuracies(ANSWERS, -0.1),
        lambda: noise.ppi_mean([1.0, 0.0], [1.0, 0.0], [1.0, 0.0], weight=-0.1),
        lambda: noise.ppi_mean([1.0, 0.0], [1.0, 0.0], [1.0, 0.0], weight=1.1),
    ],
    # histogram
    "value is": [lambda: histogram.bucket_of(-1e-12), lambda: histogram.bucket_of(1.1e15)],
    "bucket is": [lambda: histogram.upper_edge(histogram.ZERO_BUCKET - 1)],
    "the count of bucket 1 is": [lambda: histogram.quantile({1: -1, 2: 5}, 0.5)],
    # classical
    "counts has": [lambda: classical.sample_ratio_chi2([1], [0.5, 0.5])],
    "the pooled odds ratio is": [
        lambda: classical.mantel_haenszel_odds_ratio(
            [stratified.Stratum(**(STRATUM | {"candidate_correct": 2}))] * 2
        )
    ],
    "shares has": [lambda: classical.sample_ratio_chi2([1, 2], [0.5])],
    "the total count is": [lambda: classical.sample_ratio_chi2([0, 0], [0.5, 0.5])],
    "the pooled rate is": [
        lambda: classical.equal_rates([0, 0], [5, 5]),
        lambda: classical.equal_rates([5, 5], [5, 5]),
    ],
    "a p-value is": [
        lambda: classical.adjusted_p_values([-0.1], method="holm"),
        lambda: classical.adjusted_p_values([1.1], method="holm"),
    ],
}


@pytest.mark.parametrize(
    ("begins", "attempt"),
    [
        pytest.param(begins, attempt, id=f"{begins} ({number})")
        for begins, attempts in REFUSED.items()
        for number, attempt in enumerate(attempts, 1)
    ],
)
def test_a_refusal_begins_with_the_name_of_what_was_refused(begins, attempt):
    with pytest.raises(StatisticsError) as refused:
        attempt()

    assert str(refused.value).startswith(f"{begins} ")


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: weighed(weight=0, judge=0, variance=0),
        lambda: weighed(weight=1, judge=1),
        lambda: powered.chances(right=0, **JUDGE),
        lambda: powered.chances(right=1, **JUDGE),
        lambda: powered.powered_accuracy(ANSWERS, 0),
        lambda: powered.powered_accuracy(ANSWERS, 1),
        lambda: powered.powered_accuracies(ANSWERS, 0),
        lambda: powered.powered_accuracies(ANSWERS, 1),
        lambda: powered.powered_growth(
            ANSWERS, ANSWERS, WEIGHED, margin=0, effect=1, sign=-1, looks_every=0
        ),
        lambda: passing(before=((0.0, ONCE.growth),)),
        lambda: noise.Estimate(estimate=0, se=0),
        lambda: lost(variance=0),
        lambda: inverted(1),
        lambda: inverted(-1),
        lambda: proportions.restricted_rates(0, 1, ratio=1, difference=0),
        lambda: proportions.restricted_rates(1, 0, ratio=1, difference=0),
        lambda: minutes(window_min=1, min_window_min=1),
        lambda: power.mcnemar(**ONLY, sides=2),
        lambda: bets(m=-0.5, lo=-1),
        lambda: betting.rate_bets(limit=0.5, alternative=1),
        lambda: losing(margin=-0.999),
        lambda: gaining(margin=0.999),
        lambda: betting.log_increments(np.array([1.0]), TWO_BETS),
        lambda: windowed(window_min=1),
        lambda: mixed(0, 0),
        lambda: sequential.sample_ratio_log_e(0, 0, 0.5),
        lambda: halfwidth(n=1),
        lambda: sequential.normal_mixture_log_e(0, v=0, rho=1),
        lambda: sequential.normal_mixture_bound(v=0, rho=1, alpha=0.05),
        lambda: pairs(both=0, only_baseline=0, only_candidate=1, neither=0),
        lambda: paired.sign_flip_p([1.0], draws=1, seed=0),
        lambda: passage.Values(np.array([1.0]), np.array([1.0])),
        lambda: power.mcnemar(**(ONLY | {"p_only_baseline": 0.6, "p_only_candidate": 0.4})),
        lambda: proportions.Interval(lower=1, upper=1, level=0.5, method="any"),
        lambda: proportions.restricted_rates(0.5, 0.5, ratio=1, difference=1),
        lambda: proportions.restricted_rates(0.5, 0.5, ratio=1, difference=-1),
        lambda: proportions.miettinen_nurminen(0, 1, 1, 1),
        lambda: ratio.RatioSums(n=2, x=0.0, y=1.0, xx=0.0, yy=0.0, xy=0.0),
        lambda: stratified.Stratum(
            baseline_n=0, baseline_correct=0, candidate_n=0, candidate_correct=0
        ),
        lambda: multiple.benjamini_hochberg([0.0, 1.0], q=0.1),
        lambda: multiple.alpha_per_rule(0.05, stop_rules=1, critical_intents=1),
        lambda: noise.discrimination(sensitivity=1, specificity=1),
        lambda: noise.true_difference(-1, **JUDGE),
        lambda: noise.true_difference(1, **JUDGE),
        lambda: noise.on_judge_scale(-1, **JUDGE),
        lambda: noise.on_judge_scale(1, **JUDGE),
        lambda: noise.ppi_mean([1.0, 0.0], [1.0, 0.0], [1.0, 0.0], weight=0),
        lambda: histogram.bucket_of(0),
        lambda: histogram.bucket_of(1e15),
        lambda: histogram.quantile({1: 1}, 0),
        lambda: histogram.quantile({1: 0, 2: 1}, 1),
        lambda: classical.adjusted_p_values([0.0, 1.0], method="holm"),
        lambda: classical.mantel_haenszel_odds_ratio(BOTH),
    ],
)
def test_a_bound_that_belongs_to_the_range_is_taken(attempt):
    assert attempt() is not None
