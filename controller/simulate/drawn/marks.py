"""Sums before marks that stay, such as full hours: remembered from look to look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.counting.tallies import About
from controller.rollout.observation import BOTH_ARMS, MATCHED


class Marks:
    """Invariant: a table that is remembered is what would be summed now, before each of its marks."""

    def __init__(self) -> None:
        self._tables: dict[About, tuple[Minutes, Table]] = {}

    def at(
        self, marks: Minutes, *, arm: str, about: About, until: Callable[[Minutes], Table]
    ) -> Table:
        """As `MinuteSums.at_marks`."""
        if arm not in (MATCHED, BOTH_ARMS):  # two rows of an array: not worth remembering
            return until(marks)
        remembered = self._tables.get(about) or self._before_frozen(about)
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
        for about, remembered in self._tables.items():
            self._tables[about] = _up_to(since, *remembered)

    def _before_frozen(self, about: About) -> tuple[Minutes, Table] | None:
        """What was added under earlier percentiles, until the last one came into force: it stays as it is."""
        earlier = None if about.earlier is None else self._tables.get(about.earlier)
        if earlier is None:
            return None
        since, _ = about.frozen[-1]
        return _up_to(since, *earlier)


def _up_to(minute: int, marks: Minutes, table: Table) -> tuple[Minutes, Table]:
    standing = int(marks.searchsorted(minute, side="right"))
    return marks[:standing], table[:standing]
