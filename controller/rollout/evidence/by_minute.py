"""Proofs that are a product over minutes: each minute adds to the wealth of three bets, and sums of that are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.counting.tallies import About
from controller.rollout.evidence.proofs import Strongest
from controller.rollout.evidence.reader import Reader
from controller.rollout.evidence.starts import starts_and_thresholds
from controller.rollout.observation import MATCHED
from controller.rollout.plan import Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import minutes
from controller.stats.betting import Floats
from controller.stats.matched import NANO, log_e_of_wealth, strongest_windows

HOUR_MIN: Final = 60
FAILING, PASSING = slice(0, 3), slice(3, 6)
"""Where in a minute's row the two proofs' wealth is, in billionths; what comes after it is what was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByMinute(ABC):
    """One rule on one intent, from the minute `start` on."""

    width: ClassVar[int]  # of a minute's row
    rule: Rule
    reader: Reader
    intent: str | None
    start: int
    # Both proofs of a tick ask for the same minutes.
    _known: dict[tuple[int, int], Table] = field(default_factory=dict, compare=False, repr=False)

    @abstractmethod
    def _about(self) -> About:
        """What its sums are remembered by. Names a statistic of grades if they are made of grades too."""

    @abstractmethod
    def _in_minutes(self, first: int, end: int) -> Table:
        """What each minute of [first, end) adds; (end − first, width)."""

    @abstractmethod
    def _tally(self, row: Table, *, failing: bool) -> dict[str, int]:
        """What a proof tells of the minutes that a row is the sum of."""

    def failing(self, epoch: Epoch, ends: Minutes, *, alpha: float, horizon_min: int) -> Strongest:
        """As `proofs.failing`: the strongest window against the rule's claim."""
        return strongest_since(
            self.rule,
            epoch,
            ends,
            # What was before its start says nothing: it is 0 there.
            before=lambda marks: self._before(np.maximum(marks, self.start)),
            tally=lambda row: self._tally(row, failing=True),
            alpha=alpha,
            horizon_min=horizon_min,
        )

    def wealth(self, marks: Minutes) -> Floats:
        """The logarithm of each failing bet's wealth before each of some minutes; (bets, marks)."""
        table = self._before(np.maximum(marks, self.start))
        return NANO * table[:, FAILING].T.astype(np.float64)

    def passing(self, end: int) -> tuple[float, dict[str, int]]:
        """As `proofs.passing`: log E for "the limit is kept", and what was seen."""
        row = self._before(np.array([max(end, self.start)]))[0]
        return float(log_e_of_wealth(row[PASSING])), self._tally(row, failing=False)

    def _before(self, asked: Minutes) -> Table:
        """Sums since `start` before each minute, none of which lies before it; (M, width)."""
        hours = full_hours(self.start, int(asked.max()))
        place = hours.searchsorted(asked, side="right")
        begun = np.concatenate([[self.start], hours])[place]
        rest = asked > begun
        if not rest.any():
            summed: Table = from_zero(self._added(hours, HOUR_MIN))
            return summed[place]
        first = int(begun[rest].min())
        # Before the hours: those that are not remembered mostly lie in these minutes.
        within = self._within(first, int(asked.max()))
        table: Table = from_zero(self._added(hours, HOUR_MIN))[place]
        table[rest] += within[asked[rest] - first] - within[begun[rest] - first]
        return table

    def _within(self, first: int, end: int) -> Table:
        """Running sums before each m in [first, end], of use for their differences; (end − first + 1, width)."""
        if end - first > HOUR_MIN:
            return self._summed(first, end)
        # The hour that a tick is in: most of its minutes are those of the last tick.
        return from_zero(self._added(np.arange(first + 1, end + 1, dtype=np.int64), 1))

    def _added(self, marks: Minutes, length: int) -> Table:
        """Sums of so many minutes before each mark, no further back than `start`: nothing that comes after a mark, so
        those up to the first change stand.
        """
        about = self._about()
        return self.reader.tallies.at_marks(
            marks,
            arm=MATCHED,
            about=about._replace(names=(*about.names, f"{length} min")),
            until=lambda asked: self._over(asked, length),
        )

    def _over(self, marks: Minutes, length: int) -> Table:
        if not len(marks):
            return np.zeros((0, self.width), dtype=np.int64)
        opened = np.maximum(marks - length, self.start)
        first = int(opened.min())
        summed = self._summed(first, int(marks.max()))
        table: Table = summed[marks - first] - summed[opened - first]
        return table

    def _summed(self, first: int, end: int) -> Table:
        """Running sums before each m in [first, end], of use for their differences; (end − first + 1, width)."""
        for (since, until), known in self._known.items():
            if since <= first and end <= until:
                part: Table = known[first - since : end - since + 1]
                return part
        found = self._known[first, end] = from_zero(self._in_minutes(first, end))
        return found


def strongest_since(
    rule: Rule,
    epoch: Epoch,
    ends: Minutes,
    *,
    before: Callable[[Minutes], Table],
    tally: Callable[[Table], dict[str, int]],
    alpha: float,
    horizon_min: int,
) -> Strongest:
    """The strongest window against a rule's claim, by sums of log wealth (their columns `FAILING`) `before` minutes."""
    starts, thresholds = starts_and_thresholds(
        rule, epoch, ends, alpha=alpha, horizon_min=horizon_min
    )
    table = before(np.concatenate([starts, ends]))
    opened, closed = table[: len(starts)], table[len(starts) :]
    strongest = strongest_windows(
        opened[:, FAILING],
        closed[:, FAILING],
        starts=starts,
        ends=ends,
        window_min=minutes(rule.window),
        min_window_min=minutes(rule.least_window),
        thresholds=thresholds,
    )
    return Strongest(
        log_e=strongest.log_e,
        margin=strongest.margin,
        start=strongest.start,
        tally=lambda i: tally(closed[i] - opened[starts.searchsorted(strongest.start[i])]),
    )


def full_hours(start: int, end: int) -> Minutes:
    """After `start`, up to `end`."""
    return np.arange(start - start % HOUR_MIN + HOUR_MIN, end + 1, HOUR_MIN, dtype=np.int64)


def from_zero(added: Table) -> Table:
    """Running sums, and 0 before the first."""
    return np.concatenate([np.zeros((1, added.shape[1]), dtype=np.int64), added.cumsum(axis=0)])
