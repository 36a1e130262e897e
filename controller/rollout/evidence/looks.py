"""A metric's value over windows: one function per kind, all windows of a catch-up at once.

`Measured.values` holds the value over each window, NaN where it has none (it never leaves this layer as a number: a
`Look` says None).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import assert_never

import numpy as np

from controller.rollout import metrics
from controller.rollout.counting.columns import (
    Column,
    at,
    divided,
    lesser,
    to_the_trillionth,
    where,
    zero_if_nan,
)
from controller.rollout.evidence.reader import Reader, Windows
from controller.rollout.metrics import MICRO, SERVED, Kind, Metric
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Arm, Rule
from controller.rollout.timeline import minutes
from controller.rollout.verdict import (
    Amounts,
    Counts,
    LossCounts,
    PairCounts,
    RateCounts,
    StratumCounts,
)
from controller.stats import histogram

USD_PER_NUSD = 1e-9
GRADES = ("e.graded", "e.correct_u")
PAIRS = ("p.11", "p.10", "p.01", "p.00")


@dataclass(frozen=True, slots=True)
class Measured:
    """Values, the smaller arm's samples, and the counts of one window on demand."""

    values: Column
    samples: Column
    counts: Callable[[int], Counts]
    usual: Column | None = None  # of a spike


def measure(
    rule: Rule, intent: str | None, reader: Reader, windows: Windows, *, sampled_u: int = MICRO
) -> Measured:
    """The rule's metric over each window, for one intent or (None) all compared traffic.

    Coverage is relative to the part of answers that is to be graded, `sampled_u` millionths.
    """
    arm = (rule.arm or Arm.CANDIDATE).value
    metric = rule.metric
    match metric.kind:
        case Kind.RATE:
            return _rate(metric, arm, intent, reader, windows)
        case Kind.LOSS:
            return _exact(_loss(intent, reader, windows, pairs_from=rule.min_samples))
        case Kind.ACCURACY:
            keys = _accuracy_keys(metric)
            return _ratio_of(keys, (1, MICRO), arm, intent, reader, windows)
        case Kind.COVERAGE:
            keys = ("graded", "n") if sampled_u < MICRO else ("e.graded", "e")
            return _ratio_of(keys, (MICRO, sampled_u), arm, intent, reader, windows)
        case Kind.MEAN:
            return _mean(metric, arm, intent, reader, windows)
        case Kind.QUANTILE:
            return _quantile(metric, arm, intent, reader, windows)
        case Kind.QUANTILE_RATIO:
            return _quantile_ratio(metric, intent, reader, windows)
        case Kind.SAMPLE_RATIO:
            return _sample_ratio(intent, reader, windows)
        case Kind.COST:
            return _exact(_cost(rule, intent, reader, windows))
        case unreachable:
            assert_never(unreachable)


def _exact(measured: Measured) -> Measured:
    """A figure of several steps, that may be held against a limit which it exactly is."""
    return replace(measured, values=to_the_trillionth(measured.values))


def with_usual(
    measured: Measured,
    rule: Rule,
    intent: str | None,
    reader: Reader,
    windows: Windows,
    earliest: int,
) -> Measured:
    """What was measured, with what is usual: the metric over `rule.usual` before each window, no further back than the
    minute `earliest`, the rollout's first.

    It is known once that stretch is as long as the window and has as many samples as the rule asks of one. A rate that
    was 0 is taken for one request in as many: nothing is so many times nothing. What comes late to it alone has no
    window judged again.
    """
    if rule.usual is None:
        raise LookupError(f"rule {rule.name} has no usual figure")
    reached = np.maximum(windows.starts - minutes(rule.usual), earliest)
    before = Windows.of(np.minimum(reached, windows.starts), windows.starts)
    found = measure(rule, intent, reader, before)
    long_enough = before.length_min >= windows.length_min
    known = long_enough & (found.samples >= rule.min_samples) & (before.length_min > 0)
    usual = found.values
    if rule.metric.kind is Kind.RATE:
        usual = where(usual == 0, divided(1, found.samples), usual)
    usual = where(known & (usual != 0), usual, math.nan)
    return replace(measured, usual=usual)


def known_and_traffic(metric: Metric) -> tuple[str, str]:
    """The statistic that says a request was measured for this metric, and the one that says there was a request."""
    match metric.kind:
        case Kind.RATE:
            return metric.known[0], "n"
        case Kind.LOSS | Kind.ACCURACY | Kind.COVERAGE:
            return ("served" if metric.subject == SERVED else "graded"), "n"
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


# Rates, means and shares


def _rate(
    metric: Metric, arm: str, intent: str | None, reader: Reader, windows: Windows
) -> Measured:
    known, _ = known_and_traffic(metric)
    count, of = reader.over(windows, (f"f.{metric.subject}", known), arm=arm, intent=intent)
    return Measured(
        divided(count, of),
        of,
        lambda i: RateCounts(count=int(at(count, i)), of=int(at(of, i))),
    )


def _accuracy_keys(metric: Metric) -> tuple[str, str]:
    if metric.subject == SERVED:
        return "served_u", "served"
    return "e.correct_u", "e.graded"


def _ratio_of(
    keys: tuple[str, str],
    times: tuple[int, int],
    arm: str,
    intent: str | None,
    reader: Reader,
    windows: Windows,
) -> Measured:
    """The first over the second, each so many times: one division of whole numbers, so it is exact where it can be."""
    over, under = reader.over(windows, keys, arm=arm, intent=intent)
    return _amounts(divided(over * times[0], under * times[1]), None, under, None)


def _mean(
    metric: Metric, arm: str, intent: str | None, reader: Reader, windows: Windows
) -> Measured:
    """Mean latency in seconds, or output tokens per second of latency (a ratio of sums)."""
    over, _, under = metric.subject.partition("/")
    keys = (f"s.{over}", f"s.{under}", f"c.{under or over}")
    total, divisor, known = reader.over(windows, keys, arm=arm, intent=intent)
    values = divided(total * MICRO, divisor) if under else divided(total, known * MICRO)
    return _amounts(values, None, known, None)


def _amounts(
    candidate: Column, baseline: Column | None, candidate_n: Column, baseline_n: Column | None
) -> Measured:
    """A plain figure of the candidate (or of one arm), or its ratio to the baseline's."""

    def counts(i: int) -> Amounts:
        return Amounts(
            candidate=_number(candidate, i),
            baseline=_number(baseline, i) if baseline is not None else None,
            candidate_n=int(at(candidate_n, i)),
            baseline_n=int(at(baseline_n, i)) if baseline_n is not None else 0,
        )

    return Measured(
        divided(candidate, baseline) if baseline is not None else candidate,
        lesser(candidate_n, baseline_n) if baseline_n is not None else candidate_n,
        counts,
    )


def _number(column: Column, i: int) -> float | None:
    value = float(at(column, i))
    return None if math.isnan(value) else value


def _sample_ratio(intent: str | None, reader: Reader, windows: Windows) -> Measured:
    candidate, baseline = (
        reader.over(windows, ("units",), arm=arm.value, intent=intent)[0]
        for arm in (Arm.CANDIDATE, Arm.BASELINE)
    )
    total = candidate + baseline
    return _amounts(divided(candidate, total), None, total, None)


# Loss


def _loss(intent: str | None, reader: Reader, windows: Windows, *, pairs_from: int) -> Measured:
    """Post-stratified loss over split versions (and intents, where intent is None); the paired loss where a window
    holds at least `pairs_from` pairs.
    """
    unpaired = _unpaired_loss(intent, reader, windows)
    graded = reader.tallies.values_of_pairs(intent)
    table = reader.over(windows, PAIRS + graded, arm=BOTH_ARMS, intent=intent)
    pairs = sum(table[1:], start=table[0])
    use = pairs >= max(pairs_from, 1)
    lost: Column = table[1] - table[2]
    for key, count in zip(graded, table[len(PAIRS) :], strict=True):
        lost = lost + count * (int(key[3:]) / MICRO)
    paired = divided(lost, pairs)

    def counts(i: int) -> Counts:
        if at(pairs, i) < max(pairs_from, 1):
            return unpaired.counts(i)
        right, baseline, candidate, wrong, *partly = (int(at(one, i)) for one in table)
        return PairCounts(
            both=right,
            only_baseline=baseline,
            only_candidate=candidate,
            neither=wrong,
            graded={key[3:]: n for key, n in zip(graded, partly, strict=True) if n},
        )

    return Measured(
        where(use, paired, unpaired.values), where(use, pairs, unpaired.samples), counts
    )


def _unpaired_loss(intent: str | None, reader: Reader, windows: Windows) -> Measured:
    strata = _strata(intent, reader, windows)
    nothing = _nothing(windows)
    weighted, weight = nothing * 0.0, nothing
    samples = dict.fromkeys(Arm, nothing)
    for graded in strata.values():
        n = {arm: one.n for arm, one in graded.items()}
        comparable = (n[Arm.BASELINE] > 0) & (n[Arm.CANDIDATE] > 0)
        loss = graded[Arm.BASELINE].accuracy - graded[Arm.CANDIDATE].accuracy
        size = where(comparable, n[Arm.BASELINE] + n[Arm.CANDIDATE], 0)
        weighted = weighted + size * zero_if_nan(loss)
        weight = weight + size
        for arm in Arm:
            samples[arm] = samples[arm] + where(comparable, n[arm], 0)
    return Measured(
        divided(weighted, weight),
        lesser(samples[Arm.BASELINE], samples[Arm.CANDIDATE]),
        partial(_loss_counts, strata),
    )


@dataclass(frozen=True, slots=True)
class _Graded:
    """Graded episodes, and their grades summed in millionths."""

    n: Column
    right_u: Column

    @property
    def accuracy(self) -> Column:
        return divided(self.right_u / MICRO, self.n)


Strata = dict[tuple[int, str], dict[Arm, _Graded]]


def _strata(intent: str | None, reader: Reader, windows: Windows) -> Strata:
    """Graded episodes by (version, intent) and arm; strata that no window has any of are left out.

    In order: what is summed over them must not hang on which came first, to the last bit.
    """
    strata: Strata = {}
    nothing = _nothing(windows)
    for arm in Arm:
        for version, name, sums in reader.tallies.strata(arm=arm.value, intent=intent):
            n, right_u = reader.over_stratum(sums, windows, GRADES)
            if np.any(n) if windows.one is None else n:
                none = dict.fromkeys(Arm, _Graded(nothing, nothing))
                stratum = strata.setdefault((version, name), none)
                known = stratum[arm]
                stratum[arm] = _Graded(known.n + n, known.right_u + right_u)
    return {key: strata[key] for key in sorted(strata)}


def _nothing(windows: Windows) -> Column:
    return np.zeros(len(windows.ends), dtype=np.int64) if windows.one is None else 0


def _loss_counts(strata: Strata, i: int) -> LossCounts:
    """The strata of one window that have labels in some arm, by version."""
    rows = []
    for (version, intent), graded in strata.items():
        baseline, candidate = graded[Arm.BASELINE], graded[Arm.CANDIDATE]
        if at(baseline.n, i) or at(candidate.n, i):
            rows.append(
                StratumCounts(
                    version=version,
                    intent=intent,
                    baseline_n=int(at(baseline.n, i)),
                    baseline_correct_u=int(at(baseline.right_u, i)),
                    candidate_n=int(at(candidate.n, i)),
                    candidate_correct_u=int(at(candidate.right_u, i)),
                )
            )
    return LossCounts(strata=tuple(rows))


# Quantiles

_value_of = lru_cache(maxsize=8192)(histogram.value_of)  # the same few hundred at every tick


def _quantile(
    metric: Metric, arm: str, intent: str | None, reader: Reader, windows: Windows
) -> Measured:
    values, n = quantiles(metric, arm, intent, reader, windows)
    return _amounts(values, None, n, None)


def _quantile_ratio(
    metric: Metric, intent: str | None, reader: Reader, windows: Windows
) -> Measured:
    candidate, candidate_n = quantiles(metric, Arm.CANDIDATE.value, intent, reader, windows)
    baseline, baseline_n = quantiles(metric, Arm.BASELINE.value, intent, reader, windows)
    return _amounts(candidate, baseline, candidate_n, baseline_n)


def quantiles(
    metric: Metric, arm: str, intent: str | None, reader: Reader, windows: Windows
) -> tuple[Column, Column]:
    """One arm's quantile over each window, NaN where it has none, and of how many requests."""
    if metric.quantile is None:
        raise LookupError(f"{metric.name} has no quantile in the catalogue")
    buckets, sums = reader.tallies.histogram(
        f"h.{metric.subject}.", windows.starts, windows.ends, arm=arm, intent=intent
    )
    n = sums.sum(axis=1)
    if buckets:
        # The value of rank floor(q (n - 1)), as `histogram.quantile` has it, for all windows at once.
        rank = metric.quantile * (n - 1)
        place = (np.cumsum(sums, axis=1) <= rank[:, None]).sum(axis=1)
        told = np.array([_value_of(bucket) for bucket in buckets])
        values = np.where(n > 0, told[place], np.nan)
    else:
        values = np.full(len(n), np.nan)
    return (values, n) if windows.one is None else (at(values, 0), at(n, 0))


# Cost


def _cost(rule: Rule, intent: str | None, reader: Reader, windows: Windows) -> Measured:
    """US dollars. A call of unknown cost is taken to cost what the known ones do on average; none known: no value."""
    hours = windows.length_min / 60
    match rule.metric.subject:
        case "per_hour":
            spent, n = _spent(rule.arm, intent, reader, windows)
            return _amounts(divided(spent, hours), None, n, None)
        case "tokens_per_hour":
            tokens, n = _tokens(rule.arm, intent, reader, windows)
            return _amounts(divided(tokens, hours), None, n, None)
        case "per_1k":
            spent, n = _spent(rule.arm or Arm.CANDIDATE, intent, reader, windows)
            return _amounts(divided(spent * 1_000, n), None, n, None)
        case metrics.PER_CORRECT:
            return _per_correct(rule.arm or Arm.CANDIDATE, intent, reader, windows)
        case "ratio":
            candidate, candidate_n = _spent(Arm.CANDIDATE, intent, reader, windows)
            baseline, baseline_n = _spent(Arm.BASELINE, intent, reader, windows)
            each = (divided(candidate, candidate_n), divided(baseline, baseline_n))
            return _amounts(*each, candidate_n, baseline_n)
        case other:
            raise LookupError(f"no cost metric reads {other!r}")


def _spent(
    arm: Arm | None, intent: str | None, reader: Reader, windows: Windows
) -> tuple[Column, Column]:
    """What the calls of one arm cost; with `arm` None those of both, traffic that is not compared included."""
    cost, known, n = _over_arms(("s.cost_nusd", "c.cost_nusd", "n"), arm, intent, reader, windows)
    return where(n == 0, 0.0, divided(cost * USD_PER_NUSD * n, known)), n


def _tokens(
    arm: Arm | None, intent: str | None, reader: Reader, windows: Windows
) -> tuple[Column, Column]:
    keys = ("s.input_tokens", "s.output_tokens", "c.output_tokens", "n")
    read, written, known, n = _over_arms(keys, arm, intent, reader, windows)
    return where(n == 0, 0.0, divided((read + written) * n, known)), n


def _over_arms(
    keys: tuple[str, ...], arm: Arm | None, intent: str | None, reader: Reader, windows: Windows
) -> list[Column]:
    tables = [
        reader.over(windows, keys, arm=one.value, intent=intent, compared=arm is not None)
        for one in (Arm if arm is None else (arm,))
    ]
    return [sum(columns[1:], start=columns[0]) for columns in zip(*tables, strict=True)]


def _per_correct(arm: Arm, intent: str | None, reader: Reader, windows: Windows) -> Measured:
    """C / (N × A): what the arm's requests cost, over how many of them were right at the graded ones' accuracy."""
    spent, n = _spent(arm, intent, reader, windows)
    graded = _Graded(*reader.over(windows, GRADES, arm=arm.value, intent=intent))
    right = n * zero_if_nan(graded.accuracy)
    return _amounts(divided(spent, right), None, graded.n, None)
