"""Sufficient statistics of one rollout, kept as prefix sums: any window is a difference of two rows.

Fed with the minute rows that changed since the last tick, so that a tick costs the same at ten requests and at ten
million. A minute that nothing happened in takes no room.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.rollout.observation import BOTH_ARMS, Cohort, RollupRow

Minutes = NDArray[np.int64]
Table = NDArray[np.int64]


LABELS = frozenset(("graded", "correct_u", "e.graded", "e.correct_u", "served", "served_u"))


def is_label(key: str) -> bool:
    """Whether a statistic comes of grades alone: only rules on labels look at it."""
    return key in LABELS or key.startswith(("b.", "p."))


class Sums:
    """Prefix sums by minute over named columns, sparse in minutes.

    Invariant: `_minutes` ascends; `_prefix[i]` is the sum of the first i rows, and of all that was forgotten.
    """

    def __init__(self) -> None:
        self._columns: dict[str, int] = {"": 0}  # one at least, so that no lookup is out of bounds
        self._size = 0
        # Rooms are larger than what is in them, so that a new minute at the end moves nothing.
        self._minutes_room: Minutes = np.empty(0, dtype=np.int64)
        self._values_room: Table = np.empty((0, 1), dtype=np.int64)
        self._prefix_room: Table = np.zeros((1, 1), dtype=np.int64)

    @property
    def _minutes(self) -> Minutes:
        return self._minutes_room[: self._size]

    @property
    def _values(self) -> Table:
        return self._values_room[: self._size]

    @property
    def _prefix(self) -> Table:
        return self._prefix_room[: self._size + 1]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def replace(self, changed: Mapping[int, Mapping[str, int]]) -> set[int]:
        """Set whole minutes to new values (a rollup row is replaced, never added to).

        Returns the minutes in which more than labels changed.
        """
        if not changed:
            return set()
        self._widen(key for stats in changed.values() for key in stats)
        minutes = np.array(sorted(changed), dtype=np.int64)
        self._open(minutes)
        rows = np.searchsorted(self._minutes, minutes)
        values = self._values
        before = values[rows]
        values[rows] = 0
        for row, minute in zip(rows, minutes, strict=True):
            for key, value in changed[int(minute)].items():
                values[row, self._columns[key]] = value
        self._resum(int(rows[0]))
        firm = [place for key, place in self._columns.items() if not is_label(key)]
        moved = (values[rows][:, firm] != before[:, firm]).any(axis=1)
        return {int(minute) for minute in minutes[moved]}

    def _widen(self, keys: Iterable[str]) -> None:
        new = [key for key in dict.fromkeys(keys) if key not in self._columns]
        if new:
            for key in new:
                self._columns[key] = len(self._columns)
            self._values_room = np.pad(self._values_room, ((0, 0), (0, len(new))))
            self._prefix_room = np.pad(self._prefix_room, ((0, 0), (0, len(new))))

    def _open(self, minutes: Minutes) -> None:
        """Make room for minutes that have no row yet."""
        known = self._minutes
        at = np.searchsorted(known, minutes)
        there = at < known.size
        there[there] = known[at[there]] == minutes[there]
        new, at = minutes[~there], at[~there]
        if not new.size:
            return
        if self._size + new.size > len(self._minutes_room):
            self._enlarge(2 * (self._size + new.size))
        first, last = int(at[0]), self._size + new.size
        # What lies behind the first new minute moves up; at the end, where minutes usually come, nothing does.
        self._minutes_room[first:last] = np.insert(known[first:], at - first, new)
        self._values_room[first:last] = np.insert(self._values[first:], at - first, 0, axis=0)
        self._size = last

    def _enlarge(self, rows: int) -> None:
        minutes = np.zeros(rows, dtype=np.int64)
        minutes[: self._size] = self._minutes
        self._minutes_room = minutes
        self._values_room = _taller(self._values_room, rows)
        self._prefix_room = _taller(self._prefix_room, rows + 1)

    def _resum(self, first: int) -> None:
        """Prefix sums from a row on; those before it stand."""
        tail = self._prefix[first + 1 :]
        np.cumsum(self._values[first:], axis=0, out=tail)
        tail += self._prefix[first]

    def until(self, minutes: Minutes, keys: Sequence[str]) -> Table:
        """Sums of `keys` over all minutes before each of `minutes`; shape (len(minutes), len(keys))."""
        rows = np.searchsorted(self._minutes, minutes)
        columns = [self._columns.get(key, -1) for key in keys]
        table: Table = self._prefix[rows[:, None], columns]
        # An unknown key took the last column; it has no sums.
        return np.where(np.array(columns) >= 0, table, 0) if -1 in columns else table

    def forget(self, before: int) -> None:
        """Drop the minutes before `before`; windows may no longer start there."""
        first = int(np.searchsorted(self._minutes, before))
        if first:
            self._minutes_room = self._minutes_room[first:]
            self._values_room = self._values_room[first:]
            # The sums of what is dropped stay in all the others: only differences are ever asked for.
            self._prefix_room = self._prefix_room[first:]
            self._size -= first

    def minutes_with(self, key: str, start: int, end: int) -> Minutes:
        """The minutes in [start, end) in which a column is not zero."""
        column = self._columns.get(key)
        if column is None:
            return np.empty(0, dtype=np.int64)
        first, last = np.searchsorted(self._minutes, [start, end])
        held: Minutes = self._minutes[first:last][self._values[first:last, column] != 0]
        return held

    def last_minute_with(self, key: str, end: int) -> int | None:
        """The last minute before `end` in which a column is not zero."""
        column = self._columns.get(key)
        if column is None:
            return None
        total = self._prefix[np.searchsorted(self._minutes, end), column]
        if total == 0:
            return None
        # The first row whose prefix holds all of it; columns only grow, so the search is by halving.
        return int(self._minutes[np.searchsorted(self._prefix[:, column], total) - 1])


def _taller(table: Table, rows: int) -> Table:
    """The same rows with zeros below."""
    room: Table = np.zeros((rows, table.shape[1]), dtype=np.int64)
    room[: len(table)] = table
    return room


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Group:
    """What is summed together."""

    version: int
    arm: str
    intent: str
    endpoint: str
    cohort: Cohort


Changes = dict[Group, dict[int, Mapping[str, int]]]


class Tallies:
    """All groups of one rollout, and how far its ingest sequence has been read.

    Histograms are wide, so they are kept apart and only as far back as windows on them reach.
    """

    def __init__(self, keep: Callable[[str], bool] = lambda _: True) -> None:
        self._groups: dict[Group, Sums] = {}
        self._histograms: dict[Group, Sums] = {}
        self._keep = keep
        self._histograms_from = 0
        self.seq = 0

    def feed(self, rows: Iterable[RollupRow], seq: int) -> set[int]:
        """Take in the rows that changed up to `seq`; the minutes in which more than labels changed."""
        sums: Changes = defaultdict(dict)
        histograms: Changes = defaultdict(dict)
        for row in rows:
            group = _group(row)
            sums[group][row.minute], buckets = self._split(row.stats)
            if buckets and row.minute >= self._histograms_from:
                histograms[group][row.minute] = buckets
        moved: set[int] = set()
        for kept, changes in ((self._groups, sums), (self._histograms, histograms)):
            for group, minutes in changes.items():
                moved |= kept.setdefault(group, Sums()).replace(minutes)
        self.seq = seq
        return moved

    def _split(self, stats: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
        kept = {key: value for key, value in stats.items() if self._keep(key)}
        buckets = {key: kept.pop(key) for key in list(kept) if key.startswith("h.")}
        return kept, buckets

    def forget_histograms(self, before: int) -> None:
        """Drop histograms of minutes before `before`, for good."""
        self._histograms_from = max(self._histograms_from, before)
        for sums in self._histograms.values():
            sums.forget(self._histograms_from)

    def select(
        self,
        *,
        arm: str,
        intent: str | None = None,
        cohort: Cohort | None = Cohort.COMPARED,
        since_version: int = 0,
    ) -> Iterator[tuple[int, Sums]]:
        """(version, sums) of the groups of one arm: of one intent or of all, of one cohort or of both."""
        for group, sums in self._groups.items():
            if (
                group.arm == arm
                and (intent is None or group.intent == intent)
                and (cohort is None or group.cohort == cohort)
                and group.version >= since_version
            ):
                yield group.version, sums

    def until(
        self, minutes: Minutes, keys: Sequence[str], *, arm: str, intent: str | None
    ) -> Table:
        """Sums of compared traffic before each minute, over versions and endpoints; (len(minutes), len(keys))."""
        total = np.zeros((len(minutes), len(keys)), dtype=np.int64)
        for _, sums in self.select(arm=arm, intent=intent):
            total += sums.until(minutes, keys)
        return total

    def strata(self, *, arm: str, intent: str | None) -> Iterator[tuple[int, str, Sums]]:
        """(version, intent, sums) of the compared groups of one arm."""
        for group, sums in self._groups.items():
            compared = group.cohort is Cohort.COMPARED and group.arm == arm
            if compared and (intent is None or group.intent == intent):
                yield group.version, group.intent, sums

    def histogram(
        self, prefix: str, starts: Minutes, ends: Minutes, *, arm: str, intent: str | None
    ) -> tuple[tuple[int, ...], Table]:
        """The buckets seen under `prefix`, ascending, and their sums over each window; (E, buckets)."""
        found = [
            sums
            for group, sums in self._histograms.items()
            if group.arm == arm
            and group.cohort is Cohort.COMPARED
            and (intent is None or group.intent == intent)
        ]
        keys = {key for sums in found for key in sums.columns if key.startswith(prefix)}
        buckets = tuple(sorted(int(key.removeprefix(prefix)) for key in keys))
        columns = [f"{prefix}{bucket}" for bucket in buckets]
        total = np.zeros((len(ends), len(columns)), dtype=np.int64)
        for sums in found:
            total += sums.until(ends, columns) - sums.until(starts, columns)
        return buckets, total

    def values_of_blocks(self, intent: str | None) -> tuple[str, ...]:
        """Every block value key seen, in order of value."""
        keys = {
            key
            for _, sums in self.select(arm=BOTH_ARMS, intent=intent)
            for key in sums.columns
            if key.startswith("b.")
        }
        return tuple(sorted(keys, key=lambda key: int(key[2:])))

    def minutes_with(
        self, key: str, start: int, end: int, *, arm: str, intent: str | None
    ) -> Minutes:
        """The minutes of compared traffic in [start, end) in which a statistic is not zero."""
        found = [
            sums.minutes_with(key, start, end) for _, sums in self.select(arm=arm, intent=intent)
        ]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)

    def last_minute_with(self, key: str, end: int, *, arm: str, intent: str | None) -> int | None:
        """The last minute of compared traffic before `end` in which a statistic is not zero."""
        found = (sums.last_minute_with(key, end) for _, sums in self.select(arm=arm, intent=intent))
        return max((minute for minute in found if minute is not None), default=None)


def _group(row: RollupRow) -> Group:
    return Group(
        version=row.version,
        arm=row.arm,
        intent=row.intent,
        endpoint=row.endpoint,
        cohort=row.cohort,
    )
