"""Sums before each minute of several columns, of each intent and of all of them."""

from __future__ import annotations

import numpy as np

from controller.rollout.sums import Minutes, Table


class Prefix:
    """Sums before each minute: of every intent, then of all of them; (intents + 1, columns, minutes + 1)."""

    __slots__ = ("sums",)

    def __init__(self, intents: int, width: int, room: int) -> None:
        # Room for the longest run: memory that is never written takes none.
        self.sums: Table = np.zeros((intents + 1, width, room + 1), dtype=np.int64)

    def set(self, start: int, counts: Table, first: int = 0) -> None:
        """Columns from the `first` on."""
        if not first:  # that is nobody's
            counts, first = counts[:, 1:], 1
        sums = self.sums[:, first : first + counts.shape[1]]
        span = slice(start + 1, start + 1 + counts.shape[2])
        part = sums[:-1, :, span]
        np.cumsum(counts, axis=2, out=part)
        part += sums[:-1, :, start : start + 1]
        np.add.reduce(part, axis=0, out=sums[-1, :, span])

    def widen(self, width: int, used: int) -> None:
        """Columns more, 0 so far; `used` minutes are there."""
        known, self.sums = (
            self.sums,
            np.zeros((len(self.sums), width, self.sums.shape[2]), dtype=np.int64),
        )
        self.sums[:, : known.shape[1], : used + 1] = known[:, :, : used + 1]

    def amend(self, place: int, column: int, grown: Minutes, start: int) -> None:
        """Add to an intent's sums before each minute after `start`, and to those of all."""
        span = slice(start + 1, start + 1 + len(grown))
        self.sums[place, column, span] += grown
        self.sums[-1, column, span] += grown
