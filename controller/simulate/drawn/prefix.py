"""Sums before each minute of several columns, of each intent and of all of them."""

from __future__ import annotations

import numpy as np

from controller.rollout.counting.sums import Minutes, Table


class Prefix:
    """Sums before each minute: of every intent, then of all of them; (intents + 1, columns, minutes + 1)."""

    __slots__ = ("sums",)

    def __init__(self, intents: int, width: int, room: int, begun: int = 0) -> None:
        """Room for some minutes, and for more when they come; before minute `begun` there is nothing."""
        # What is not there yet is not written: an array of noughts costs about as much as what goes into it.
        self.sums: Table = np.empty((intents + 1, width, max(room, begun) + 1), dtype=np.int64)
        self.sums[:, :, : begun + 1] = 0

    def set(self, start: int, counts: Table, first: int = 0) -> None:
        """Columns from the `first` on, of the minutes after `start`, before which all is there."""
        end = start + counts.shape[2]
        if end >= self.sums.shape[2]:
            self._make_room(self.sums.shape[1], max(2 * self.sums.shape[2], end + 1), start)
        span = slice(start + 1, end + 1)
        if not first:  # that is nobody's
            self.sums[:, 0, span] = 0
            counts, first = counts[:, 1:], 1
        sums = self.sums[:, first : first + counts.shape[1]]
        part = sums[:-1, :, span]
        np.cumsum(counts, axis=2, out=part)
        part += sums[:-1, :, start : start + 1]
        np.add.reduce(part, axis=0, out=sums[-1, :, span])

    def begin(self, first: int, width: int, used: int) -> None:
        """Columns from the `first` on are nought so far, where `used` minutes are there; `width` are there in all."""
        if width > self.sums.shape[1]:
            self._make_room(width, self.sums.shape[2], used)
        self.sums[:, first:, : used + 1] = 0

    def _make_room(self, width: int, length: int, used: int) -> None:
        known, self.sums = self.sums, np.empty((len(self.sums), width, length), dtype=np.int64)
        self.sums[:, : known.shape[1], : used + 1] = known[:, :, : used + 1]

    def amend(self, place: int, column: int, grown: Minutes, start: int) -> None:
        """Add to an intent's sums before each minute after `start`, and to those of all."""
        span = slice(start + 1, start + 1 + len(grown))
        self.sums[place, column, span] += grown
        self.sums[-1, column, span] += grown
