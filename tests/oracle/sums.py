"""Numbers by minute, and how much of them lies in a window."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

Key = tuple[Any, ...]


class ByMinute:
    """Under keys, numbers of `size` minutes from the minute `first` on."""

    def __init__(self, first: int, size: int) -> None:
        self.first, self.size = first, size
        self._columns: dict[Key, np.ndarray] = defaultdict(lambda: np.zeros(size, dtype=np.int64))
        self._before: dict[Key, np.ndarray] = {}

    def add(self, key: Key, minute: int, amount: int = 1) -> None:
        self._columns[key][minute - self.first] += amount

    def column(self, key: Key) -> np.ndarray:
        """By minute; nothing where there is nothing under the key."""
        return self._columns.get(key, np.zeros(self.size, dtype=np.int64))

    def fill(self, key: Key, column: np.ndarray) -> None:
        self._columns[key] += column

    @property
    def keys(self) -> list[Key]:
        return list(self._columns)

    def over(self, key: Key, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The sum of the minutes in [start, end), for each pair."""
        if key not in self._before:
            column = self._columns[key] if key in self._columns else np.zeros(self.size, np.int64)
            self._before[key] = np.concatenate([[0], np.cumsum(column)])
        before = self._before[key]
        return before[self._place(ends)] - before[self._place(starts)]

    def changed_from(self, other: ByMinute | None) -> list[int]:
        """The minutes in which any number is another one."""
        if other is None:
            return []
        differs = np.zeros(self.size, dtype=bool)
        nothing = np.zeros(self.size, dtype=np.int64)
        for key in {*self._columns, *other._columns}:
            differs |= self._columns.get(key, nothing) != other._columns.get(key, nothing)
        return [self.first + int(i) for i in differs.nonzero()[0]]

    def _place(self, minutes: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(minutes - self.first, 0), self.size)
