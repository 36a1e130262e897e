"""NaN, infinity, truth values, empty rows and wrong shapes, in place of every number of every public function of the
package: each is refused, and numpy's numbers count like Python's.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import controller.stats
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

NAN, INF = math.nan, math.inf
BETS = betting.rate_bets(limit=0.02, alternative=0.03)
TABLE = paired.PairedTable(both=5, only_baseline=3, only_candidate=1, neither=2)
STRATA = [
    stratified.Stratum(baseline_n=2, baseline_correct=1, candidate_n=2, candidate_correct=1)
] * 2
BALANCE = balanced.Balance(most=2.0, reference=0.5, effect=0.1)
POLICY = powered.Policy(weight=0.5, drawn=0.5, judge=0.7, variance=0.05)
GRADED = powered.Graded(np.ones((1, 4)), np.ones((1, 2)))
GROWTH = passage.growth(passage.Values(np.array([0.0, 1.0]), np.array([0.5, 0.5])), BETS)
PASSAGE = passage.Passage(growth=GROWTH, log_threshold=3.0)
SUMS = ratio.RatioSums(n=3, x=3.0, y=6.0, xx=4.0, yy=14.0, xy=6.0)
JUDGE: dict[str, Any] = {"sensitivity": 0.9, "specificity": 0.9}
TWO: dict[str, Any] = {"count1": 3, "n1": 10, "count2": 4, "n2": 10, "level": 0.9}
VALUES = np.array([0.0, 1.0])


def ints(*numbers: Any) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


WORKING: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (balanced.Balance, {"most": 2.0, "reference": 0.5, "effect": 0.1, "low": 0.0, "high": 1.0}),
    (
        balanced.log_wealth_nano,
        {
            "n": ints(3),
            "spent": np.array([1.0]),
            "graded": ints(3),
            "right": np.array([2.0]),
            "balance": BALANCE,
            "sign": 1,
        },
    ),
    (betting.Bets, {"m": 0.1, "lambdas": (1.0, 1.0, 1.0)}),
    (betting.bets, {"effect": 0.1, "variance": 0.1, "m": 0.1, "lo": 0.0}),
    (betting.rate_bets, {"limit": 0.02, "alternative": 0.03}),
    (betting.loss_bets, {"margin": 0.1, "effect": 0.1, "variance": 0.1}),
    (betting.gain_bets, {"margin": 0.1, "effect": 0.1, "variance": 0.1}),
    (betting.log_increments, {"values": VALUES, "bets": BETS}),
    (betting.log_e, {"counts": ints(1, 2), "values": VALUES, "bets": BETS}),
    (betting.log_e_of, {"counts": [1, 2], "values": VALUES, "bets": BETS}),
    (
        betting.log_threshold,
        {"alpha": 0.05, "start_number": 1, "planned_starts": 10, "first": 0.25},
    ),
    (
        betting.windowed_log_e,
        {
            "opened": ints([0, 0]),
            "closed": ints([2, 2]),
            "values": VALUES,
            "bets": BETS,
            "starts": ints(0),
            "ends": ints(1),
            "window_min": 2,
            "min_window_min": 1,
            "thresholds": 3.0,
        },
    ),
    (
        betting.strongest_start,
        {
            "gained": ints([1, 2]),
            "values": VALUES,
            "bets": BETS,
            "thresholds": np.array([3.0]),
        },
    ),
    (classical.proportion_interval, {"count": 3, "n": 10, "method": "wilson", "level": 0.9}),
    (classical.difference_interval, {**TWO, "method": "newcomb"}),
    (classical.mantel_haenszel_odds_ratio, {"strata": STRATA, "level": 0.9}),
    (classical.sample_ratio_chi2, {"counts": [1, 2], "shares": [0.5, 0.5]}),
    (classical.equal_rates, {"counts": [1, 2], "n": [5, 5]}),
    (classical.adjusted_p_values, {"p_values": [0.1, 0.2], "method": "holm"}),
    (histogram.bucket_of, {"value": 1.0}),
    (histogram.buckets_of, {"values": [1.0, 2.0]}),
    (histogram.value_of, {"bucket": 3}),
    (histogram.upper_edge, {"bucket": 3}),
    (histogram.quantile, {"counts": {1: 2, 3: 4}, "q": 0.5}),
    (histogram.count_above, {"counts": {1: 2, 3: 4}, "limit": 1.0}),
    (
        matched.log_wealth_nano,
        {
            "n": ints(3),
            "x": ints(1),
            "k": ints(3),
            "y": ints(1),
            "reference": 0.1,
            "effect": 0.1,
            "sign": 1,
        },
    ),
    (matched.log_e_of_wealth, {"wealth_nano": ints([1, 2, 3])}),
    (
        matched.strongest_windows,
        {
            "opened": ints([0, 0, 0]),
            "closed": ints([1, 2, 3]),
            "starts": ints(0),
            "ends": ints(1),
            "window_min": 2,
            "min_window_min": 1,
            "thresholds": np.array([3.0]),
        },
    ),
    (multiple.benjamini_hochberg, {"p_values": [0.1, 0.2], "q": 0.1}),
    (multiple.e_bh, {"log_e": [0.1, 0.2], "q": 0.1}),
    (multiple.alpha_per_rule, {"alpha": 0.05, "stop_rules": 2, "critical_intents": 2}),
    (noise.Estimate, {"estimate": 0.5, "se": 0.1}),
    (noise.discrimination, JUDGE),
    (noise.true_rate, {"observed": 0.5, **JUDGE}),
    (noise.true_difference, {"observed": 0.5, **JUDGE}),
    (noise.rogan_gladen, {"positive": 3, "n": 10, **JUDGE}),
    (noise.on_judge_scale, {"difference": 0.1, **JUDGE}),
    (
        noise.ppi_mean,
        {
            "human": [1.0, 0.0],
            "judge_on_same": [1.0, 0.0],
            "judge_on_rest": [1.0, 0.0],
            "weight": 0.5,
        },
    ),
    (paired.PairedTable, {"both": 5, "only_baseline": 3, "only_candidate": 1, "neither": 2}),
    *((method, {"table": TABLE}) for method in (paired.mcnemar_exact, paired.mcnemar_midp)),
    (paired.mcnemar_asymptotic, {"table": TABLE}),
    *(
        (method, {"table": TABLE, "level": 0.9})
        for method in (paired.tango, paired.newcombe_paired, paired.bonett_price)
    ),
    (paired.sign_flip_p, {"differences": [1.0, 2.0], "draws": 10, "seed": 0}),
    (passage.Values, {"values": VALUES, "probabilities": np.array([0.5, 0.5])}),
    (passage.growth_of, {"gained": np.ones((3, 2)), "probabilities": np.array([0.5, 0.5])}),
    (passage.Passage, {"growth": GROWTH, "log_threshold": 3.0, "held": (0.0, 0.0, 0.0)}),
    (PASSAGE.probability, {"n": 10.0}),
    (PASSAGE.quantile, {"probability": 0.5}),
    (passage.either, {"first": 0.5, "second": 0.5, "correlation": 0.5}),
    (
        power.two_proportions,
        {"p1": 0.9, "p2": 0.8, "alpha": 0.05, "power": 0.8, "ratio": 1.0, "sides": 1},
    ),
    (
        power.farrington_manning,
        {
            "p_new": 0.9,
            "p_old": 0.9,
            "margin": 0.1,
            "alpha": 0.05,
            "power": 0.8,
            "ratio_old_to_new": 1.0,
        },
    ),
    (
        power.mcnemar,
        {
            "p_only_baseline": 0.04,
            "p_only_candidate": 0.01,
            "alpha": 0.05,
            "power": 0.8,
            "sides": 1,
        },
    ),
    (power.arrivals_at_least, {"count": 3, "expected": 4.0}),
    (powered.Policy, {"weight": 0.5, "drawn": 0.5, "judge": 0.7, "variance": 0.05}),
    (powered.policy, {"accuracy": 0.9, "share": 0.5, **JUDGE}),
    (powered.chances, {"right": 0.9, **JUDGE}),
    (powered.Graded, {"drawn": np.ones((1, 4)), "others": np.ones((1, 2))}),
    (
        powered.log_wealth_nano,
        {
            "candidate": GRADED,
            "baseline": GRADED,
            "by": POLICY,
            "margin": 0.1,
            "effect": 0.1,
            "sign": 1,
        },
    ),
    (
        powered.powered_growth,
        {
            "candidate": GRADED,
            "baseline": GRADED,
            "by": POLICY,
            "margin": 0.1,
            "effect": 0.1,
            "sign": 1,
            "looks_every": 1.0,
        },
    ),
    (powered.powered_accuracy, {"of": GRADED, "weight": 0.5}),
    (powered.powered_accuracies, {"of": GRADED, "weight": 0.5}),
    (proportions.critical_z, {"level": 0.9}),
    *(
        (method, {"count": 3, "n": 10, "level": 0.9})
        for method in (proportions.wilson, proportions.clopper_pearson, proportions.jeffreys)
    ),
    *(
        (method, TWO)
        for method in (
            proportions.newcombe_difference,
            proportions.agresti_caffo,
            proportions.miettinen_nurminen,
            proportions.mee,
        )
    ),
    (
        proportions.restricted_mle,
        {"count1": 3, "n1": 10, "count2": 4, "n2": 10, "difference": 0.1},
    ),
    (proportions.restricted_rates, {"p1": 0.3, "p2": 0.4, "ratio": 1.0, "difference": 0.1}),
    (
        proportions.farrington_manning,
        {"count_new": 3, "n_new": 10, "count_old": 4, "n_old": 10, "margin": 0.1},
    ),
    (proportions.standardised, {"excess": 1.0, "variance": 1.0}),
    (
        proportions.invert,
        {"score": lambda d: 0.1 - d, "estimate": 0.1, "level": 0.9, "method": "any"},
    ),
    (quantiles.order_statistic_ranks, {"n": 100, "quantile": 0.5, "level": 0.9}),
    (quantiles.wilks_sample_size, {"quantile": 0.95, "confidence": 0.95, "order": 1}),
    (ratio.RatioSums, {"n": 2, "x": 1.0, "y": 2.0, "xx": 1.0, "yy": 2.0, "xy": 1.0}),
    (ratio.RatioSums.of, {"numerator": [1.0, 2.0], "denominator": [1.0, 2.0]}),
    (ratio.ratio_confidence_sequence, {"sums": SUMS, "alpha": 0.05, "n_opt": 10.0}),
    (sequential.Beta, {"a": 1.0, "b": 1.0}),
    (sequential.mixture_prior, {"p0": 0.5, "n_opt": 10.0, "alpha": 0.05, "sides": 2}),
    (
        sequential.beta_binomial_log_e,
        {"count": 3, "n": 10, "p0": 0.5, "prior": sequential.Beta(a=1, b=1), "sides": 2},
    ),
    (
        sequential.bernoulli_confidence_sequence,
        {"count": 3, "n": 10, "alpha": 0.05, "n_opt": 10.0},
    ),
    (sequential.sample_ratio_log_e, {"candidate": 3, "baseline": 5, "share": 0.5}),
    (
        sequential.asymptotic_halfwidth,
        {"se": 0.1, "n": 10, "n_opt": 10.0, "alpha": 0.05, "sides": 2},
    ),
    (sequential.normal_mixture_rho, {"v_opt": 10.0, "alpha": 0.05, "sides": 2}),
    (sequential.normal_mixture_log_e, {"s": 1.0, "v": 1.0, "rho": 1.0}),
    (sequential.normal_mixture_bound, {"v": 1.0, "rho": 1.0, "alpha": 0.05}),
    (
        stratified.Stratum,
        {"baseline_n": 2, "baseline_correct": 1, "candidate_n": 2, "candidate_correct": 1},
    ),
    (
        stratified.StratifiedLoss,
        {"loss": 0.1, "variance": 0.1, "excluded": (), "method": "any"},
    ),
    *(
        (method, {"strata": STRATA})
        for method in (
            stratified.post_stratified,
            stratified.mantel_haenszel,
            stratified.sato_variance,
        )
    ),
]

ELSEWHERE = {
    # Their numbers are in what they are given, which was refused when it was made.
    "Discoveries",
    "Windows",
    "ChiSquared",
    "OddsRatio",
    "NonInferiority",
    "Ranks",
    "Growth",
    "growth",
    "ratio_of_means",
    # An end may be infinite; NaN and a wrong order are refused (test_proportions).
    "Interval",
    # Arithmetic of whole columns, whose results are refused where they are used.
    "least",
    "corners",
    "merge",
}

TAKEN = {
    # A value that is never, and one that costs time at the quickest place of all.
    ("e_bh", "log_e", "-inf"),
    ("bucket_of", "value", "True"),
    ("value_of", "bucket", "True"),
    ("upper_edge", "bucket", "True"),
    ("count_above", "limit", "True"),
    # Equal to a number, which is all that they are asked for.
    ("log_wealth_nano", "sign", "True"),
    ("powered_growth", "sign", "True"),
    ("log_threshold", "start_number", "True"),
    ("windowed_log_e", "thresholds", "True"),
    # Nothing to count, or to look at, is nothing found.
    ("buckets_of", "values", "empty"),
    ("log_e_of_wealth", "wealth_nano", "empty"),
    ("log_e", "counts", "deeper"),
    ("log_e_of_wealth", "wealth_nano", "deeper"),
}


def bad(good: Any) -> Iterator[tuple[str, Any]]:
    """Bad numbers, and bad shapes, in place of a good argument."""
    if isinstance(good, np.ndarray):
        yield "empty", good[:0]
        yield "deeper", good[None]
        for number in (NAN, INF, -INF):
            with_it = good.astype(np.float64)
            with_it.flat[0] = number
            yield str(number), with_it
    elif isinstance(good, list | tuple):
        yield "empty", type(good)()
        if good and isinstance(good[0], int | float):
            yield from ((str(one), type(good)((one, *good[1:]))) for one in (NAN, INF, -INF))
    elif isinstance(good, Mapping):
        yield "empty", {}
        yield from ((str(one), {**good, 1: one}) for one in (NAN, INF, -INF, -1, 1.5))
    elif isinstance(good, int | float):
        yield from ((str(one), one) for one in (NAN, INF, -INF, True))


def cases() -> Iterator[Any]:
    for function, arguments in WORKING:
        name = function.__name__
        for argument, good in arguments.items():
            for label, worse in bad(good):
                # A loss without strata is left out of nothing; a prior before stages is one of none.
                if (name, argument, label) in TAKEN or (argument, label) == ("excluded", "empty"):
                    continue
                changed = {**arguments, argument: worse}
                yield pytest.param(function, changed, id=f"{name} {argument} {label}")


@pytest.mark.parametrize(("function", "arguments"), [*cases()])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy warns of what is then refused
def test_a_bad_number_or_shape_is_refused(function, arguments):
    with pytest.raises((StatisticsError, ValueError)):
        function(**arguments)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [pytest.param(*one, id=f"{one[0].__module__}.{one[0].__name__}") for one in WORKING],
)
def test_the_good_ones_are_taken(function, arguments):
    assert function(**arguments) is not None


def test_every_public_function_is_tried():
    modules = [one.name for one in pkgutil.iter_modules(controller.stats.__path__)]
    public = {
        name
        for module in modules
        if not module.startswith("_")
        for name, one in vars(importlib.import_module(f"controller.stats.{module}")).items()
        if "__" not in f"_{name}"
        and (inspect.isfunction(one) or inspect.isclass(one))
        and one.__module__ == f"controller.stats.{module}"
    }
    tried = {function.__qualname__.split(".")[0] for function, _ in WORKING}

    assert public == tried | ELSEWHERE


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_numpy_counts_give_what_pythons_give(kind):
    whole = {"both": 100, "only_baseline": 90, "only_candidate": 80, "neither": 70}
    alike = {name: kind(n) for name, n in whole.items()}
    arms = {
        "baseline_n": 200,
        "baseline_correct": 180,
        "candidate_n": 150,
        "candidate_correct": 110,
    }
    of_numpy = stratified.Stratum(**{name: kind(n) for name, n in arms.items()})

    assert paired.PairedTable(**alike).pairs == 340
    assert paired.newcombe_paired(paired.PairedTable(**alike)) == paired.newcombe_paired(
        paired.PairedTable(**whole)
    )
    assert of_numpy.n == 350
    assert stratified.sato_variance([of_numpy]) == stratified.sato_variance(
        [stratified.Stratum(**arms)]
    )
    assert proportions.wilson(kind(100), kind(200)) == proportions.wilson(100, 200)
    four = (100, 200, 120, 250)
    for method in (proportions.newcombe_difference, proportions.miettinen_nurminen):
        assert method(*map(kind, four)) == method(*four)


def test_numpy_counts_do_not_overflow():
    """Products of four counts of 100,000 are beyond 64 bits, and of two beyond 32."""
    whole = {
        "both": 100_000,
        "only_baseline": 90_000,
        "only_candidate": 80_000,
        "neither": 70_000,
    }
    of_numpy: dict[str, Any] = {name: np.int64(n) for name, n in whole.items()}
    table = paired.PairedTable(**of_numpy)
    arms = {
        "baseline_n": 4_000_000,
        "baseline_correct": 3_000_000,
        "candidate_n": 3_000_000,
        "candidate_correct": 2_000_000,
    }
    arms_of_numpy: dict[str, Any] = {name: np.int64(n) for name, n in arms.items()}
    stratum = stratified.Stratum(**arms_of_numpy)
    rare: Any = np.int32(1)
    many: Any = np.int32(100_000)

    assert paired.newcombe_paired(table) == paired.newcombe_paired(paired.PairedTable(**whole))
    assert stratified.sato_variance([stratum]) == stratified.sato_variance(
        [stratified.Stratum(**arms)]
    )
    assert proportions.wilson(rare, many) == proportions.wilson(1, 100_000)
