"""Sums before marks that stay, such as full hours: remembered from look to look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from controller.rollout.observation import BOTH_ARMS, MATCHED
from controller.rollout.sums import Minutes, Table
from controller.rollout.tallies import About


class Marks:
    """Invariant: a table that is remembered is what would be summed now, before each of its marks."""

    def __init__(self, first: int) -> None:
        self._frozen_min = first
        self._tables: dict[About, tuple[Minutes, Table]] = {}

    def at(
        self, marks: Minutes, *, arm: str, about: About, until: Callable[[Minutes], Table]
    ) -> Table:
        """As `MinuteSums.at_marks`."""
        if arm not in (MATCHED, BOTH_ARMS):  # two rows of an array: not worth remembering
            return until(marks)
        remembered = self._tables.get(about)
        if remembered is None and arm == MATCHED:
            remembered = self._before_frozen(about)
        known, table = (marks[:0], until(marks[:0])) if remembered is None else remembered
        there = min(len(known), len(marks))
        if not np.array_equal(known[:there], marks[:there]):
            there = 0
        if there < len(marks):
            table = np.concatenate([table[:there], until(marks[there:])])
            self._tables[about] = marks, table
        return table[: len(marks)]

    def forget(self, since: int) -> None:
        """A mark counts what comes before it: those up to a minute stand when what came from it on has changed."""
        for about, (marks, table) in self._tables.items():
            standing = int(marks.searchsorted(since, side="right"))
            self._tables[about] = marks[:standing], table[:standing]

    def freeze(self, minute: int) -> None:
        """A percentile is frozen, and is for what comes after a minute."""
        self._frozen_min = minute

    def _before_frozen(self, about: About) -> tuple[Minutes, Table] | None:
        """What was added until a percentile was frozen, under those before it, which stays as it is. A percentile is
        named after those before it, and before the length of the sums (`Comparison`).
        """
        names, intent = about
        remembered = self._tables.get(((*names[:-2], *names[-1:]), intent))
        if remembered is None:
            return None
        marks, table = remembered
        standing = int(marks.searchsorted(self._frozen_min, side="right"))
        return marks[:standing], table[:standing]
