"""What a recording says by itself, without any rollout: both models on the same items, as pairs.

Delta is candidate minus baseline. `p` is McNemar's exact test on the pairs. Where an item was run several times its
pairs are not independent and that p is too sure; `p_item` then flips the signs of whole items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from controller.errors import DataError
from controller.rollout.plan import Arm
from controller.simulate.backtest.results import Item, Recording, Result, ResultPair
from controller.stats.paired import PairedTable, mcnemar_exact, mcnemar_midp, sign_flip_p, tango

ALL = "(all)"
SIGN_FLIP_DRAWS = 20_000
SIGN_FLIP_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLine:
    """One intent, or all of them. Ratios are candidate / baseline over the pairs where both sides are known."""

    intent: str
    table: PairedTable
    p: float
    p_midp: float
    interval: tuple[float, float]  # of the delta, 95%, Tango
    p_item: float | None  # None where every item was run once: then `p` is right
    cost_ratio: float | None
    latency_p50_ratio: float | None
    latency_p95_ratio: float | None

    @property
    def delta(self) -> float:
        """Accuracy of the candidate minus that of the baseline, a fraction."""
        return (self.table.only_candidate - self.table.only_baseline) / self.table.pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedReport:
    """The lines of a recording: its intents in the order of the file, then all; `ungraded` pairs are left out."""

    lines: tuple[PairedLine, ...]
    ungraded: int
    draws: int = SIGN_FLIP_DRAWS
    seed: int = SIGN_FLIP_SEED

    @property
    def repeats(self) -> bool:
        """Whether some item was run several times, so that the per-run p is too sure."""
        return any(line.p_item is not None for line in self.lines)


def paired_report(recording: Recording) -> PairedReport:
    """The paired table of a recording; DataError if no pair has both grades."""
    graded = [pair for pair in recording.pairs if _graded(pair)]
    if not graded:
        raise DataError(f"{recording.file}: no pair has a grade for both models.")
    groups = [
        (intent, [item for item in recording.items if item.intent == intent])
        for intent in recording.intents
    ]
    if len(groups) > 1:
        groups.append((ALL, list(recording.items)))
    lines = (_line(intent, items) for intent, items in groups)
    return PairedReport(
        lines=tuple(line for line in lines if line is not None),
        ungraded=len(recording.pairs) - len(graded),
    )


def _line(intent: str, items: Sequence[Item]) -> PairedLine | None:
    pairs = [pair for item in items for pair in item.pairs if _graded(pair)]
    if not pairs:
        return None
    table = _table(pairs)
    latencies = _both(pairs, lambda result: result.latency_s)
    return PairedLine(
        intent=intent,
        table=table,
        # Without a discordant pair nothing was tossed, and "at most 0 heads" is certain.
        p=float(mcnemar_exact(table)) if table.discordant else 1.0,
        p_midp=float(mcnemar_midp(table)) if table.discordant else 1.0,
        interval=_delta_interval(table),
        p_item=_item_p(items),
        cost_ratio=_ratio(_both(pairs, lambda result: result.cost_usd), _mean),
        latency_p50_ratio=_ratio(latencies, lambda values: np.quantile(values, 0.50)),
        latency_p95_ratio=_ratio(latencies, lambda values: np.quantile(values, 0.95)),
    )


def _graded(pair: ResultPair) -> bool:
    return pair.baseline.correct is not None and pair.candidate.correct is not None


def _table(pairs: Sequence[ResultPair]) -> PairedTable:
    right = [(bool(pair.baseline.correct), bool(pair.candidate.correct)) for pair in pairs]
    return PairedTable(
        both=right.count((True, True)),
        only_baseline=right.count((True, False)),
        only_candidate=right.count((False, True)),
        neither=right.count((False, False)),
    )


def _delta_interval(table: PairedTable) -> tuple[float, float]:
    loss = tango(table, level=0.95)
    return (-loss.upper, -loss.lower)


def _item_p(items: Sequence[Item]) -> float | None:
    """The p of "an item's loss is as likely positive as negative", by whole items."""
    if all(len(item.pairs) == 1 for item in items):
        return None
    # Sums, not means: their total is the table's own only_baseline − only_candidate.
    losses = [float(sum(_loss(pair) for pair in item.pairs)) for item in items]
    return sign_flip_p(losses, draws=SIGN_FLIP_DRAWS, seed=SIGN_FLIP_SEED)


def _loss(pair: ResultPair) -> int:
    """1 if only the baseline was right, −1 if only the candidate; an ungraded pair says nothing."""
    return bool(pair.baseline.correct) - bool(pair.candidate.correct) if _graded(pair) else 0


def _both(
    pairs: Sequence[ResultPair], quantity: Callable[[Result], float | None]
) -> tuple[list[float], list[float]]:
    """A quantity of the baseline and of the candidate, over the pairs where both are known."""
    known: tuple[list[float], list[float]] = ([], [])
    for pair in pairs:
        one, two = quantity(pair.of(Arm.BASELINE)), quantity(pair.of(Arm.CANDIDATE))
        if one is not None and two is not None:
            known[0].append(one)
            known[1].append(two)
    return known


def _mean(values: list[float]) -> np.float64:
    return np.float64(np.mean(values))


def _ratio(
    values: tuple[list[float], list[float]], summary: Callable[[list[float]], np.float64]
) -> float | None:
    """The candidate's summary over the baseline's; None where nothing is known, or the baseline's is 0."""
    baseline, candidate = values
    if not baseline or not (below := float(summary(baseline))):
        return None
    return float(summary(candidate)) / below
