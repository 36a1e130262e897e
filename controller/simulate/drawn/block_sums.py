"""Blocks of simulated labels, in order of their minutes: how many of each value came before some minutes, and what they
have made of a bet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.metrics import MICRO

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Blocks of one intent by their minutes; `places` says where in `values_u` (ascending millionths) each value is."""

    intent: str
    values_u: tuple[int, ...]
    minutes: Minutes
    places: NDArray[np.int64]


def wealth_at(
    wealth: Floats, minutes: Minutes, starts: Minutes, bounds: Minutes
) -> tuple[Floats, Floats]:
    """Of the wealth after none, one, … of some blocks, (bets, blocks + 1), by their ascending minutes: that before some
    starts, and the largest from each bound to the next.
    """
    reached = minutes.searchsorted(bounds)
    largest = np.maximum.reduceat(wealth, reached, axis=1)
    most = np.maximum(largest[:, :-1], wealth.take(reached[1:], axis=1))
    return wealth.take(minutes.searchsorted(starts), axis=1), most


class BlockSums:
    """Blocks of one intent under one split version, of minutes [first, end), in order of their minutes.

    They are few beside minutes, and seldom asked for: what came before some minutes is counted when it is. `places`
    says where the values that were seen are in a row of both arms.
    """

    __slots__ = (
        "_minutes",
        "_of_value",
        "_row_places",
        "_rows",
        "_total",
        "_values_u",
        "_wealth",
        "end",
        "first",
        "places",
        "version",
    )

    def __init__(
        self, version: int, first: int, values_u: tuple[int, ...], row_places: dict[str, int]
    ) -> None:
        self.version = version
        self.first = self.end = first
        self.places: list[int] = []
        self._minutes: Minutes = np.empty(0, dtype=np.int64)
        self._rows: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # of each block
        self._total: Minutes | None = None  # of each value, while nothing changes
        self._wealth: dict[str, tuple[int, Floats]] = {}  # by bets: of how many blocks, and sums
        self._values_u = values_u
        self._of_value = np.full(len(values_u), -1)  # the row of each value; −1: it has none yet
        self._row_places = row_places

    def at(self, minutes: Minutes) -> Table:
        """How many of each value seen came before some minutes; (values, minutes)"""
        asked, back = minutes, None
        if len(minutes) > 1 and (minutes[1:] < minutes[:-1]).any():
            asked, back = np.unique(minutes, return_inverse=True)
        # Each block is counted from the first minute asked for that lies behind it.
        width, reached = len(asked), self._minutes.searchsorted(asked)
        there = int(reached[-1]) if width else 0
        cells = np.repeat(np.arange(width), np.diff(reached, prepend=0))
        cells += self._rows[:there] * width
        counts = np.bincount(cells, minlength=len(self.places) * width)
        table: Table = np.cumsum(counts.reshape(len(self.places), width), axis=1)
        return table if back is None else table[:, back]

    def row(self, minute: int) -> Minutes:
        reached = int(self._minutes.searchsorted(minute))
        if 2 * reached < len(self._rows):
            return np.bincount(self._rows[:reached], minlength=len(self.places))
        if self._total is None or len(self._total) < len(self.places):
            self._total = np.bincount(self._rows, minlength=len(self.places))
        return self._total - np.bincount(self._rows[reached:], minlength=len(self.places))

    def until(self, minutes: Minutes, keys: Sequence[str]) -> Table:
        """As `Sums.until`."""
        known = self.at(minutes)
        rows = {place: row for row, place in enumerate(self.places)}
        table = np.zeros((len(minutes), len(keys)), dtype=np.int64)
        for column, key in enumerate(keys):
            row = rows.get(self._row_places.get(key, 0))
            if row is not None:
                table[:, column] = known[row]
        return table

    def until_one(self, minute: int, keys: tuple[str, ...]) -> list[int]:
        """As `Sums.until_one`."""
        (row,) = self.until(np.array([minute]), keys).tolist()
        return list(row)

    def extend(self, length: int, found: Blocks) -> None:
        """The blocks of the next minutes."""
        self.end += length
        self._total = None
        self._minutes = np.concatenate([self._minutes, found.minutes])
        self._rows = np.concatenate([self._rows, self._rows_of(found.places)])

    def put(self, minutes: Minutes, places: NDArray[np.int64]) -> None:
        """Instead of all that there were, in order of their minutes."""
        self._total = None
        self._wealth.clear()
        self._minutes, self._rows = minutes, self._rows_of(places)

    def cut(self, end: int) -> None:
        """Forget the minutes from `end` on."""
        self.end, self._total = end, None
        kept = int(self._minutes.searchsorted(end))
        self._minutes, self._rows = self._minutes[:kept], self._rows[:kept]
        self._wealth = {about: (min(n, kept), sums) for about, (n, sums) in self._wealth.items()}

    def wealth(
        self, about: str, logs: Callable[[Floats], Floats], starts: Minutes, bounds: Minutes
    ) -> tuple[Floats, Floats]:
        """As `DenseTallies.wealth`."""
        return wealth_at(self._wealth_after(about, logs), self._minutes, starts, bounds)

    def _wealth_after(self, about: str, logs: Callable[[Floats], Floats]) -> Floats:
        """After none, one, … of the blocks; (bets, blocks + 1). What came since the last time is added up."""
        there, known, sums = len(self._rows), *self._wealth.get(about, (0, np.zeros((0, 0))))
        if known < there or not sums.size:
            order = self._of_value.argsort()[len(self._of_value) - len(self.places) :]
            of_each = logs(np.array(self._values_u)[order] / MICRO)
            if sums.shape[1] <= there:
                wider = np.zeros((len(of_each), 2 * there + 1))
                wider[:, : known + 1] = sums[:, : known + 1] if known else 0.0
                sums = wider
            later = sums[:, known + 1 : there + 1]
            np.cumsum(of_each[:, self._rows[known:]], axis=1, out=later)
            later += sums[:, known, None]
            self._wealth[about] = there, sums
        return sums[:, : there + 1]

    def _rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        there = np.bincount(places, minlength=len(self._of_value)) > 0
        for place in (there & (self._of_value < 0)).nonzero()[0].tolist():
            key = f"b.{self._values_u[place]}"
            self._of_value[place] = len(self.places)
            self.places.append(self._row_places.setdefault(key, len(self._row_places)))
        rows: NDArray[np.int64] = self._of_value[places]
        return rows
