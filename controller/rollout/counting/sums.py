"""Sums by minute, small enough to keep for ten thousand rollouts: prefix sums in packs, histograms as entries.

Both are sparse: a minute that nothing happened in takes no room. Whole minutes are set, never added to, because a
rollup row is replaced by the next one of its minute.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.metrics import DERIVED

Minutes = NDArray[np.int64]
Table = NDArray[np.int64]
PACK: Final = 64  # rows in a pack: opening one costs some 20 µs
OPEN: Final = 96  # rows that are left open at most; recent minutes change most
FEW: Final = 8  # rows that are looked up one by one, and remembered
SLICE: Final = 8  # rows that are remembered together
SLICES: Final = 6  # as many as windows have different lengths, mostly


LABELS = frozenset(("graded", "correct_u", "e.graded", "e.correct_u", "served", "served_u"))
BY_PEOPLE = ("drawn", "both")


def is_label(key: str) -> bool:
    """Whether a statistic comes of grades alone: only rules on labels look at it."""
    return key in LABELS or key.startswith(("b.", "p.", "pv.", *BY_PEOPLE))


class Layout:
    """The columns of some tables: they grow, and keep their places. The first one is nobody's and always 0."""

    __slots__ = ("_asked", "_firm", "columns")

    def __init__(self) -> None:
        self.columns: dict[str, int] = {"": 0}
        self._asked: dict[tuple[str, ...], list[int]] = {}
        self._firm: list[int] = []

    def widen(self, keys: Iterable[str]) -> None:
        new = [key for key in dict.fromkeys(keys) if key not in self.columns]
        for key in new:
            self.columns[key] = len(self.columns)
        if new:
            self._asked.clear()
            self._firm = [place for key, place in self.columns.items() if not is_label(key)]

    def places(self, keys: tuple[str, ...]) -> list[int]:
        """Where these are; a key that nobody has brought yet is where all is 0.

        LookupError for a derived one that was never made: that it is 0 would be a guess.
        """
        found = self._asked.get(keys)
        if found is None:
            found = self._asked[keys] = [self._place(key) for key in keys]
        return found

    def _place(self, key: str) -> int:
        place = self.columns.get(key, 0)
        if not place and key.startswith(DERIVED):
            raise LookupError(f"{key} is not summed here; it is to be asked for before rows come")
        return place

    @property
    def firm(self) -> list[int]:
        """The columns that are no labels."""
        return self._firm


@dataclass(frozen=True, slots=True)
class _Pack:
    """Neighbouring rows, compressed: their minutes as distances from the first, then their values by column."""

    first: int
    rows: int
    data: bytes

    @classmethod
    def of(cls, minutes: Minutes, values: Table) -> _Pack:
        distances = (minutes - minutes[0]).astype(np.int64)
        data = zlib.compress(distances.tobytes() + values.T.tobytes(), level=6)
        return cls(int(minutes[0]), len(minutes), data)

    def opened(self, width: int) -> tuple[Minutes, Table]:
        """Minutes and values; columns that came later are 0."""
        numbers = np.frombuffer(zlib.decompress(self.data), dtype=np.int64)
        by_column = numbers[self.rows :].reshape(-1, self.rows)
        values = np.zeros((self.rows, width), dtype=np.int64)
        values[:, : len(by_column)] = by_column.T
        return numbers[: self.rows] + self.first, values


class Sums:
    """Prefix sums by minute over the columns of a layout.

    Invariants: minutes ascend, through the packs and then the open rows. `_bases[i]` is the sum of all before pack i;
    `_prefix[i]` is that of all packs and the first i open rows.
    """

    __slots__ = ("_bases", "_lasts", "_layout", "_minutes", "_packs", "_prefix", "_slices")

    def __init__(self, layout: Layout | None = None) -> None:
        self._layout = layout or Layout()
        self._packs: list[_Pack] = []
        self._lasts: list[int] = []
        self._bases: Table = np.zeros((0, 1), dtype=np.int64)
        self._minutes: Minutes = np.empty(0, dtype=np.int64)
        self._prefix: Table = np.zeros((1, 1), dtype=np.int64)
        # What packs were opened for, latest first: rows, their minutes, and the minute before the first of them.
        self._slices: list[tuple[int, Minutes, Table]] = []

    def replace(self, changed: Mapping[int, Mapping[str, int]]) -> set[int]:
        """Set whole minutes to new values. Returns the minutes in which more than labels changed."""
        if not changed:
            return set()
        self._layout.widen(key for stats in changed.values() for key in stats)
        self._fit()
        minutes = np.array(sorted(changed), dtype=np.int64)
        rows = self._table_of(minutes, changed)
        # What lies before the first change stands.
        self._slices = [one for one in self._slices if one[1][-1] <= minutes[0]]
        moved: set[int] = set()
        if not self._lasts or minutes[0] > self._lasts[-1]:
            moved = self._replace_in(len(self._packs), minutes, rows)
        else:
            parts = np.searchsorted(self._lasts, minutes)
            for part in np.unique(parts):
                of = parts == part
                moved |= self._replace_in(int(part), minutes[of], rows[of])
        self._pack_old()
        return moved

    def until(self, minutes: Minutes, keys: Sequence[str]) -> Table:
        """Sums of `keys` over all minutes before each of `minutes`; shape (len(minutes), len(keys))."""
        table: Table = self.before(minutes)[:, self._layout.places(tuple(keys))]
        return table

    def before(self, minutes: Minutes) -> Table:
        """Sums of all columns of the layout over all minutes before each of `minutes`."""
        self._fit()
        if not self._packs or minutes.min(initial=self._lasts[-1] + 1) > self._lasts[-1]:
            return self._prefix[self._minutes.searchsorted(minutes)]
        if len(minutes) <= FEW:
            return np.array([self._row(minute) for minute in minutes.tolist()])
        table = np.empty((len(minutes), self._prefix.shape[1]), dtype=np.int64)
        parts = np.searchsorted(self._lasts, minutes)
        for part in np.unique(parts):
            of = parts == part
            known, prefix = self._opened(int(part))
            table[of] = prefix[known.searchsorted(minutes[of])]
        return table

    def row(self, minute: int) -> Table:
        """The same before one minute; shape (columns,)."""
        self._fit()
        return self._row(minute)

    def until_one(self, minute: int, keys: tuple[str, ...]) -> list[int]:
        """Sums of `keys` over all minutes before one."""
        numbers: list[int] = self.row(minute)[self._layout.places(keys)].tolist()
        return numbers

    def total(self) -> Table:
        """The sum of each column."""
        self._fit()
        last: Table = self._prefix[-1]
        return last

    def minutes_with(self, key: str, start: int, end: int) -> Minutes:
        """The minutes in [start, end) in which a column is not zero."""
        (column,) = self._layout.places((key,))
        found: list[Minutes] = []
        self._fit()
        for part in range(bisect_left(self._lasts, start), len(self._packs) + 1):
            if part < len(self._packs) and self._packs[part].first >= end:
                break
            minutes, prefix = self._opened(part)
            first, last = minutes.searchsorted((start, end))
            grown = np.diff(prefix[first : last + 1, column])
            found.append(minutes[first:last][grown != 0])
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def last_minute_with(self, key: str, end: int) -> int | None:
        """The last minute before `end` in which a column is not zero."""
        (column,) = self._layout.places((key,))
        self._fit()
        # The last part that begins before `end` and in which the column grew.
        for part in range(bisect_left(self._lasts, end), -1, -1):
            after = self._bases[part + 1] if part + 1 < len(self._packs) else self._prefix[0]
            if part < len(self._packs) and after[column] == self._bases[part, column]:
                continue
            minutes, prefix = self._opened(part)
            reached = prefix[: minutes.searchsorted(end) + 1, column]
            if reached[-1] != reached[0]:
                # The first row whose prefix holds all of it: columns only grow, so the search is by halving.
                return int(minutes[reached.searchsorted(reached[-1]) - 1])
        return None

    def _fit(self) -> None:
        """Room for the columns that the layout has got meanwhile."""
        lacking = len(self._layout.columns) - self._prefix.shape[1]
        if lacking:
            self._prefix = np.pad(self._prefix, ((0, 0), (0, lacking)))
            self._bases = np.pad(self._bases, ((0, 0), (0, lacking)))
            self._slices.clear()

    def _table_of(self, minutes: Minutes, changed: Mapping[int, Mapping[str, int]]) -> Table:
        columns = self._layout.columns
        rows = np.zeros((len(minutes), len(columns)), dtype=np.int64)
        for row, minute in zip(rows, minutes.tolist(), strict=True):
            for key, value in changed[minute].items():
                row[columns[key]] = value
        return rows

    def _opened(self, part: int) -> tuple[Minutes, Table]:
        """A pack's minutes and prefix, or those of the open rows."""
        if part == len(self._packs):
            return self._minutes, self._prefix
        minutes, values = self._packs[part].opened(self._prefix.shape[1])
        return minutes, _summed(self._bases[part], values)

    def _row(self, minute: int) -> Table:
        part = bisect_left(self._lasts, minute)
        row: Table
        if part == len(self._packs):
            row = self._prefix[self._minutes.searchsorted(minute)]
        elif minute <= self._packs[part].first:
            row = self._bases[part]
        else:
            row = self._packed_row(part, minute)
        return row

    def _packed_row(self, part: int, minute: int) -> Table:
        """From what is remembered of packs, else from its pack; a few rows more, for windows move on."""
        row: Table
        for place, (before, minutes, prefix) in enumerate(self._slices):
            if before < minute <= minutes[-1]:
                if place:
                    self._slices.insert(0, self._slices.pop(place))
                row = prefix[minutes.searchsorted(minute)]
                return row
        minutes, opened = self._opened(part)
        at = int(minutes.searchsorted(minute))
        few = slice(at, at + SLICE)
        kept = (int(minutes[at - 1]), minutes[few].copy(), opened[at : at + SLICE].copy())
        self._slices.insert(0, kept)
        del self._slices[SLICES:]
        row = kept[2][0]
        return row

    def _replace_in(self, part: int, minutes: Minutes, rows: Table) -> set[int]:
        """Set rows of one part; all that comes after it moves by as much as the part grew."""
        known, prefix = self._opened(part)
        if part == len(self._packs) and (not known.size or minutes[0] > known[-1]):
            return self._append(minutes, rows)
        total = prefix[-1].copy()
        # What lies before the first of them stands.
        first = int(known.searchsorted(minutes[0]))
        later, values, before = _set(known[first:], np.diff(prefix[first:], axis=0), minutes, rows)
        known = np.concatenate([known[:first], later])
        prefix = np.concatenate([prefix[:first], _summed(prefix[first], values)])
        if part == len(self._packs):
            self._minutes, self._prefix = known, prefix
        else:
            self._packs[part] = _Pack.of(known, np.diff(prefix, axis=0))
            grown = prefix[-1] - total
            self._bases[part + 1 :] += grown
            self._prefix = self._prefix + grown
        moved = (rows[:, self._layout.firm] != before[:, self._layout.firm]).any(axis=1)
        return set(minutes[moved].tolist())

    def _append(self, minutes: Minutes, rows: Table) -> set[int]:
        """Rows after all there are, as most are."""
        self._minutes = np.concatenate([self._minutes, minutes])
        added = rows.cumsum(axis=0)
        added += self._prefix[-1]
        self._prefix = np.concatenate([self._prefix, added])
        return set(minutes[rows[:, self._layout.firm].any(axis=1)].tolist())

    def _pack_old(self) -> None:
        while len(self._minutes) > OPEN:
            minutes, prefix = self._minutes[:PACK], self._prefix[: PACK + 1]
            self._packs.append(_Pack.of(minutes, np.diff(prefix, axis=0)))
            self._lasts.append(int(minutes[-1]))
            self._bases = np.concatenate([self._bases, prefix[:1]])
            # Copies, so that what was packed is let go of.
            self._minutes, self._prefix = self._minutes[PACK:].copy(), self._prefix[PACK:].copy()


def _summed(base: Table, values: Table) -> Table:
    """Prefix sums on top of a base, which is the first row."""
    prefix = np.empty((len(values) + 1, values.shape[1]), dtype=np.int64)
    prefix[0] = base
    np.cumsum(values, axis=0, out=prefix[1:])
    prefix[1:] += base
    return prefix


def _set(
    known: Minutes, values: Table, minutes: Minutes, rows: Table
) -> tuple[Minutes, Table, Table]:
    """Known rows with some set, in order, and what those were before: 0 where there were none."""
    if not known.size:
        return minutes, rows, np.zeros_like(rows)
    at = known.searchsorted(minutes)
    there = at < known.size
    there[there] = known[at[there]] == minutes[there]
    before = np.zeros_like(rows)
    before[there] = values[at[there]]
    values[at[there]] = rows[there]
    if there.all():
        return known, values, before
    new = ~there
    known = np.insert(known, at[new], minutes[new])
    return known, np.insert(values, at[new], rows[new], axis=0), before


class Histogram:
    """Counts by minute and bucket, one entry each, in order of minutes."""

    __slots__ = ("_buckets", "_counts", "_minutes")

    def __init__(self) -> None:
        self._minutes: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._buckets: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._counts: NDArray[np.int32] = np.empty(0, dtype=np.int32)

    def replace(self, changed: Mapping[int, Mapping[int, int]]) -> set[int]:
        """Set whole minutes to new counts by bucket. Returns the minutes that changed."""
        if not changed:
            return set()
        first = self._place(min(changed))
        tail = self._by_minute(first)
        moved = {minute for minute, counts in changed.items() if tail.get(minute, {}) != counts}
        tail.update((minute, dict(counts)) for minute, counts in changed.items())
        entries = [
            (minute, bucket, count)
            for minute, counts in sorted(tail.items())
            for bucket, count in counts.items()
        ]
        columns = np.array(entries, dtype=np.int32).reshape(-1, 3)
        self._minutes = np.concatenate([self._minutes[:first], columns[:, 0]])
        self._buckets = np.concatenate([self._buckets[:first], columns[:, 1]])
        self._counts = np.concatenate([self._counts[:first], columns[:, 2]])
        return moved

    def _place(self, minute: int) -> int:
        """Of the first entry from a minute on. Asked as what is kept: else all of that would be converted first."""
        return int(self._minutes.searchsorted(np.int32(minute)))

    def _by_minute(self, first: int) -> dict[int, dict[int, int]]:
        tail: dict[int, dict[int, int]] = {}
        columns = (self._minutes[first:], self._buckets[first:], self._counts[first:])
        for minute, bucket, count in zip(*(one.tolist() for one in columns), strict=True):
            tail.setdefault(minute, {})[bucket] = count
        return tail

    def forget(self, before: int) -> None:
        """Drop the minutes before `before`; windows may no longer start there."""
        first = self._place(before)
        # A copy each time would cost more than the room of a few.
        if first > len(self._minutes) // 8:
            self._minutes = self._minutes[first:].copy()
            self._buckets = self._buckets[first:].copy()
            self._counts = self._counts[first:].copy()

    def between(self, start: int, end: int) -> tuple[NDArray[np.int32], ...]:
        """Minutes, buckets and counts of the entries in [start, end)."""
        first, last = self._place(start), self._place(end)
        return self._minutes[first:last], self._buckets[first:last], self._counts[first:last]


def histogram_sums(
    histograms: Iterable[Histogram], starts: Minutes, ends: Minutes
) -> tuple[tuple[int, ...], Table]:
    """The buckets in any of the windows, ascending, and their sums over each window; (E, buckets)."""
    one = len(ends) == 1
    marks = np.array((starts[0], ends[0])) if one else np.unique(np.concatenate([starts, ends]))
    parts = [part.between(int(marks[0]), int(marks[-1])) for part in histograms]
    if not any(len(part[0]) for part in parts):
        return (), np.zeros((len(ends), 0), dtype=np.int64)
    minutes, buckets, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    low = int(buckets.min())
    places = buckets - low
    width = int(places.max()) + 1
    if one:
        added = np.bincount(places, weights=counts)
        there = added.nonzero()[0]
        return tuple((there + low).tolist()), added[there].astype(np.int64)[None, :]
    # An entry counts from the first mark after its minute on.
    cells = marks.searchsorted(minutes, side="right") * width + places
    added = np.bincount(cells, weights=counts, minlength=len(marks) * width)
    prefix = added.astype(np.int64).reshape(len(marks), width).cumsum(axis=0)
    there = prefix[-1].nonzero()[0]
    prefix = prefix[:, there]
    sums: Table = prefix[marks.searchsorted(ends)] - prefix[marks.searchsorted(starts)]
    return tuple((there + low).tolist()), sums
