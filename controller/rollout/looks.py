"""A metric's value over windows: one function per kind, all windows of a catch-up at once.

`Measured.values[i]` is the value over the window that closes at `ends[i]`, NaN where it has none (it never leaves this
layer as a number: a `Look` says None).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from controller.rollout.metrics import MICRO, Kind, Metric
from controller.rollout.observation import BOTH_ARMS, Cohort
from controller.rollout.plan import Arm, Rule
from controller.rollout.sums import Minutes
from controller.rollout.tallies import Tallies
from controller.rollout.verdict import (
    Amounts,
    Counts,
    LossCounts,
    PairCounts,
    RateCounts,
    StratumCounts,
)
from controller.stats import histogram

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
USD_PER_NUSD = 1e-9
GRADES = ("e.graded", "e.correct_u")
PAIRS = ("p.11", "p.10", "p.01", "p.00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows [start, end) in minutes, by end; `starts` never lies before the epoch."""

    starts: Minutes
    ends: Minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Values, the smaller arm's samples, and the counts of one window on demand. All of shape (E,)."""

    values: Floats
    samples: Ints
    counts: Callable[[int], Counts]


def measure(rule: Rule, intent: str | None, tallies: Tallies, windows: Windows) -> Measured:
    """The rule's metric over each window, for one intent or (None) all compared traffic."""
    arm = (rule.arm or Arm.CANDIDATE).value
    metric = rule.metric
    match metric.kind:
        case Kind.RATE:
            return _rate(metric, arm, intent, tallies, windows)
        case Kind.LOSS:
            return _loss(intent, tallies, windows, pairs_from=rule.min_samples)
        case Kind.ACCURACY:
            return _ratio_of(*_accuracy_keys(metric), arm, intent, tallies, windows)
        case Kind.COVERAGE:
            return _ratio_of("e.graded", "e", 1.0, arm, intent, tallies, windows)
        case Kind.MEAN:
            return _mean(metric, arm, intent, tallies, windows)
        case Kind.QUANTILE:
            return _quantile(metric, arm, intent, tallies, windows)
        case Kind.QUANTILE_RATIO:
            return _quantile_ratio(metric, intent, tallies, windows)
        case Kind.SAMPLE_RATIO:
            return _sample_ratio(intent, tallies, windows)
        case Kind.COST:
            return _cost(rule, intent, tallies, windows)
        case unreachable:
            assert_never(unreachable)


def known_and_traffic(metric: Metric) -> tuple[str, str]:
    """The statistic that says a request was measured for this metric, and the one that says there was a request."""
    match metric.kind:
        case Kind.RATE:
            return metric.known[0], "n"
        case Kind.LOSS | Kind.ACCURACY | Kind.COVERAGE:
            return ("served" if metric.subject == "served" else "graded"), "n"
        case Kind.QUANTILE | Kind.QUANTILE_RATIO:
            return f"c.{metric.subject}_us", "n"
        case Kind.MEAN:
            return f"c.{metric.subject.split('/')[-1]}", "n"
        case Kind.COST:
            tokens = metric.subject == "tokens_per_hour"
            return ("c.output_tokens" if tokens else "c.cost_nusd"), "n"
        case Kind.SAMPLE_RATIO:
            return "units", "units"
        case unreachable:
            assert_never(unreachable)


def _between(
    keys: tuple[str, ...], arm: str, intent: str | None, tallies: Tallies, windows: Windows
) -> Ints:
    """Sums of `keys` over each window; (E, len(keys))."""
    sums: Ints = tallies.until(windows.ends, keys, arm=arm, intent=intent) - tallies.until(
        windows.starts, keys, arm=arm, intent=intent
    )
    return sums


def _divided(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Floats:
    """Elementwise quotient; NaN where the denominator is 0."""
    quotient: Floats = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)
    return quotient


# Rates, means and shares


def _rate(
    metric: Metric, arm: str, intent: str | None, tallies: Tallies, windows: Windows
) -> Measured:
    known, _ = known_and_traffic(metric)
    sums = _between((f"f.{metric.subject}", known), arm, intent, tallies, windows)
    count, of = sums[:, 0], sums[:, 1]
    return Measured(
        values=_divided(count, of),
        samples=of,
        counts=lambda i: RateCounts(count=int(count[i]), of=int(of[i])),
    )


def _accuracy_keys(metric: Metric) -> tuple[str, str, float]:
    if metric.subject == "served":
        return "served_u", "served", 1 / MICRO
    return "e.correct_u", "e.graded", 1 / MICRO


def _ratio_of(
    numerator: str,
    denominator: str,
    scale: float,
    arm: str,
    intent: str | None,
    tallies: Tallies,
    windows: Windows,
) -> Measured:
    sums = _between((numerator, denominator), arm, intent, tallies, windows)
    values = _divided(sums[:, 0] * scale, sums[:, 1])
    return _amounts(values, None, sums[:, 1], None)


def _mean(
    metric: Metric, arm: str, intent: str | None, tallies: Tallies, windows: Windows
) -> Measured:
    """Mean latency in seconds, or output tokens per second of latency (a ratio of sums)."""
    over, _, under = metric.subject.partition("/")
    known = f"c.{under or over}"
    sums = _between((f"s.{over}", f"s.{under}", known), arm, intent, tallies, windows)
    values = (
        _divided(sums[:, 0] * MICRO, sums[:, 1])
        if under
        else _divided(sums[:, 0] / MICRO, sums[:, 2])
    )
    return _amounts(values, None, sums[:, 2], None)


def _amounts(
    candidate: Floats, baseline: Floats | None, candidate_n: Ints, baseline_n: Ints | None
) -> Measured:
    """A plain figure of the candidate (or of one arm), or its ratio to the baseline's."""
    compared = baseline is not None and baseline_n is not None
    values = _divided(candidate, baseline) if baseline is not None else candidate
    samples = np.minimum(candidate_n, baseline_n) if baseline_n is not None else candidate_n

    def counts(i: int) -> Amounts:
        return Amounts(
            candidate=_number(candidate[i]),
            baseline=_number(baseline[i]) if baseline is not None else None,
            candidate_n=int(candidate_n[i]),
            baseline_n=int(baseline_n[i]) if compared and baseline_n is not None else 0,
        )

    return Measured(values=values, samples=samples, counts=counts)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _sample_ratio(intent: str | None, tallies: Tallies, windows: Windows) -> Measured:
    arms = [_between(("units",), arm.value, intent, tallies, windows)[:, 0] for arm in Arm]
    total = arms[0] + arms[1]
    candidate = arms[list(Arm).index(Arm.CANDIDATE)]
    return _amounts(_divided(candidate, total), None, total, None)


# Loss


def _loss(intent: str | None, tallies: Tallies, windows: Windows, *, pairs_from: int) -> Measured:
    """Post-stratified loss over split versions (and intents, where intent is None); the paired loss where a window
    holds at least `pairs_from` pairs.
    """
    unpaired = _unpaired_loss(intent, tallies, windows)
    sums = _between(PAIRS, BOTH_ARMS, intent, tallies, windows)
    pairs = sums.sum(axis=1)
    use = pairs >= max(pairs_from, 1)
    paired = _divided(sums[:, 1] - sums[:, 2], pairs)

    def counts(i: int) -> Counts:
        if not use[i]:
            return unpaired.counts(i)
        both, only_baseline, only_candidate, neither = (int(one) for one in sums[i])
        return PairCounts(
            both=both,
            only_baseline=only_baseline,
            only_candidate=only_candidate,
            neither=neither,
        )

    return Measured(
        values=np.where(use, paired, unpaired.values),
        samples=np.where(use, pairs, unpaired.samples),
        counts=counts,
    )


def _unpaired_loss(intent: str | None, tallies: Tallies, windows: Windows) -> Measured:
    strata = _strata(intent, tallies, windows)
    shape = len(windows.ends)
    weighted, weight = np.zeros(shape), np.zeros(shape)
    samples = {arm: np.zeros(shape, dtype=np.int64) for arm in Arm}
    for by_arm in strata.values():
        n = {arm: table[:, 0] for arm, table in by_arm.items()}
        comparable = (n[Arm.BASELINE] > 0) & (n[Arm.CANDIDATE] > 0)
        loss = np.nan_to_num(_accuracy(by_arm[Arm.BASELINE]) - _accuracy(by_arm[Arm.CANDIDATE]))
        size = np.where(comparable, n[Arm.BASELINE] + n[Arm.CANDIDATE], 0)
        weighted += size * loss
        weight += size
        for arm in Arm:
            samples[arm] += np.where(comparable, n[arm], 0)
    return Measured(
        values=_divided(weighted, weight),
        samples=np.minimum(samples[Arm.BASELINE], samples[Arm.CANDIDATE]),
        counts=partial(_loss_counts, strata),
    )


Strata = dict[tuple[int, str], dict[Arm, Ints]]


def _strata(intent: str | None, tallies: Tallies, windows: Windows) -> Strata:
    """Graded episodes by (version, intent) and arm: (E, 2) of count and summed grades."""
    strata: Strata = {}
    empty = np.zeros((len(windows.ends), len(GRADES)), dtype=np.int64)
    for arm in Arm:
        for version, name, sums in tallies.strata(arm=arm.value, intent=intent):
            table = sums.until(windows.ends, GRADES) - sums.until(windows.starts, GRADES)
            if table.any():
                stratum = strata.setdefault((version, name), dict.fromkeys(Arm, empty))
                stratum[arm] = stratum[arm] + table
    return strata


def _accuracy(table: Ints) -> Floats:
    return _divided(table[:, 1] / MICRO, table[:, 0])


def _loss_counts(strata: Strata, i: int) -> LossCounts:
    """The strata of one window that have labels in some arm, by version."""
    rows = []
    for (version, intent), by_arm in sorted(strata.items()):
        baseline, candidate = by_arm[Arm.BASELINE][i], by_arm[Arm.CANDIDATE][i]
        if baseline[0] or candidate[0]:
            rows.append(
                StratumCounts(
                    version=version,
                    intent=intent,
                    baseline_n=int(baseline[0]),
                    baseline_correct_u=int(baseline[1]),
                    candidate_n=int(candidate[0]),
                    candidate_correct_u=int(candidate[1]),
                )
            )
    return LossCounts(strata=tuple(rows))


# Quantiles


def _quantile(
    metric: Metric, arm: str, intent: str | None, tallies: Tallies, windows: Windows
) -> Measured:
    values, n = _quantiles(metric, arm, intent, tallies, windows)
    return _amounts(values, None, n, None)


def _quantile_ratio(
    metric: Metric, intent: str | None, tallies: Tallies, windows: Windows
) -> Measured:
    candidate, candidate_n = _quantiles(metric, Arm.CANDIDATE.value, intent, tallies, windows)
    baseline, baseline_n = _quantiles(metric, Arm.BASELINE.value, intent, tallies, windows)
    return _amounts(candidate, baseline, candidate_n, baseline_n)


def _quantiles(
    metric: Metric, arm: str, intent: str | None, tallies: Tallies, windows: Windows
) -> tuple[Floats, Ints]:
    if metric.quantile is None:
        raise LookupError(f"{metric.name} has no quantile in the catalogue")
    buckets, sums = tallies.histogram(
        f"h.{metric.subject}.", windows.starts, windows.ends, arm=arm, intent=intent
    )
    n: Ints = sums.sum(axis=1)
    if not buckets:
        return np.full(len(n), np.nan), n
    # The value of rank floor(q (n - 1)), as `histogram.quantile` has it, for all windows at once.
    rank = metric.quantile * (n - 1)
    place = (np.cumsum(sums, axis=1) <= rank[:, None]).sum(axis=1)
    told = np.array([histogram.value_of(bucket) for bucket in buckets])
    return np.where(n > 0, told[np.minimum(place, len(buckets) - 1)], np.nan), n


# Cost


def _cost(rule: Rule, intent: str | None, tallies: Tallies, windows: Windows) -> Measured:
    """US dollars. A call of unknown cost is taken to cost what the known ones do on average; none known: no value."""
    hours = (windows.ends - windows.starts) / 60
    match rule.metric.subject:
        case "per_hour":
            spent, n = _spent(rule.arm, intent, tallies, windows, outside=rule.arm is None)
            return _amounts(_divided(spent, hours), None, n, None)
        case "tokens_per_hour":
            tokens, n = _tokens(rule.arm, intent, tallies, windows)
            return _amounts(_divided(tokens, hours), None, n, None)
        case "per_1k":
            spent, n = _spent(rule.arm or Arm.CANDIDATE, intent, tallies, windows)
            return _amounts(_divided(spent * 1_000, n), None, n, None)
        case "per_correct":
            return _per_correct(rule.arm or Arm.CANDIDATE, intent, tallies, windows)
        case "ratio":
            candidate, candidate_n = _spent(Arm.CANDIDATE, intent, tallies, windows)
            baseline, baseline_n = _spent(Arm.BASELINE, intent, tallies, windows)
            each = (_divided(candidate, candidate_n), _divided(baseline, baseline_n))
            return _amounts(*each, candidate_n, baseline_n)
        case other:
            raise LookupError(f"no cost metric reads {other!r}")


def _spent(
    arm: Arm | None,
    intent: str | None,
    tallies: Tallies,
    windows: Windows,
    *,
    outside: bool = False,
) -> tuple[Floats, Ints]:
    keys = ("s.cost_nusd", "c.cost_nusd", "n")
    sums = _over_arms(keys, arm, intent, tallies, windows, outside=outside)
    spent = _divided(sums[:, 0] * USD_PER_NUSD * sums[:, 2], sums[:, 1])
    return np.where(sums[:, 2] == 0, 0.0, spent), sums[:, 2]


def _tokens(
    arm: Arm | None, intent: str | None, tallies: Tallies, windows: Windows
) -> tuple[Floats, Ints]:
    keys = ("s.input_tokens", "s.output_tokens", "c.output_tokens", "n")
    sums = _over_arms(keys, arm, intent, tallies, windows, outside=arm is None)
    tokens = _divided((sums[:, 0] + sums[:, 1]) * sums[:, 3], sums[:, 2])
    return np.where(sums[:, 3] == 0, 0.0, tokens), sums[:, 3]


def _over_arms(
    keys: tuple[str, ...],
    arm: Arm | None,
    intent: str | None,
    tallies: Tallies,
    windows: Windows,
    *,
    outside: bool,
) -> Ints:
    total: Ints = np.zeros((len(windows.ends), len(keys)), dtype=np.int64)
    for one in Arm if arm is None else (arm,):
        cohort = None if outside else Cohort.COMPARED
        total += tallies.until(windows.ends, keys, arm=one.value, intent=intent, cohort=cohort)
        total -= tallies.until(windows.starts, keys, arm=one.value, intent=intent, cohort=cohort)
    return total


def _per_correct(arm: Arm, intent: str | None, tallies: Tallies, windows: Windows) -> Measured:
    """C / (N × A): what the arm's requests cost, over how many of them were right at the graded ones' accuracy."""
    spent, n = _spent(arm, intent, tallies, windows)
    grades = _between(GRADES, arm.value, intent, tallies, windows)
    right = n * np.nan_to_num(_accuracy(grades))
    return _amounts(_divided(spent, right), None, grades[:, 0], None)
