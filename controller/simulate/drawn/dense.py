"""Simulated statistics by minute, as dense prefix sums: the same answers as `Tallies`, without rows and packs.

A run of the simulation has something in nearly every minute, one split version at a time, and forgets all of it when
it ends. So a window's sum is a difference of two rows of one array, and a stratum is a part of it.
`tests/simulate/drawn/test_dense.py` holds it against `Tallies`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table, is_label
from controller.rollout.counting.tallies import About, StratumSums
from controller.rollout.metrics import DERIVED, above
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Arm
from controller.simulate.drawn.block_sums import Blocks, BlockSums, Floats
from controller.simulate.drawn.histograms import Buckets
from controller.simulate.drawn.marks import Marks
from controller.simulate.drawn.prefix import Prefix
from controller.simulate.drawn.times import Times

UNITS, ESCALATED, RIGHT_U, FAILED, GRADED = range(1, 6)
REQUESTS, REQUESTS_ESCALATED, REQUESTS_FAILED, REQUESTS_GRADED = range(6, 10)
DRAWN, DRAWN_JUDGE_U, BOTH, BOTH_JUDGE_U, BOTH_PERSON_U, PRODUCT_U = range(10, 16)
_OF_UNITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("e", "units", "ed.escalated", "ed.error"), UNITS),
    "ef.escalated": ESCALATED,
    "ef.error": FAILED,
    "e.graded": GRADED,
    "e.correct_u": RIGHT_U,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Where a statistic is. Of each answer it is known whether it failed; what is nowhere is always 0."""

    width: int
    places: Mapping[str, int]

    @property
    def requests(self) -> int:
        return self.places["n"]

    @property
    def failed(self) -> int:
        return self.places.get("ef.error", 0)

    @property
    def graded(self) -> int:
        return self.places["e.graded"]

    @property
    def requests_right_u(self) -> int | None:
        """Where the grades of requests are summed, if apart from those of units."""
        return self.places.get("correct_u") if self.requests == REQUESTS else None

    def with_more(self, sums: Sequence[str], of_requests: Sequence[str] = ()) -> Columns:
        """With columns for more sums; and statistics that are the number of requests, for it is known of each."""
        new = {key: self.width + place for place, key in enumerate(sums)}
        every = dict.fromkeys(of_requests, self.requests)
        return Columns(width=self.width + len(new), places={**self.places, **every, **new})

    @property
    def counted(self) -> frozenset[int]:
        """The columns of grades that there are."""
        return frozenset(place for key, place in self.places.items() if is_label(key))


ONE_REQUEST: Final = Columns(
    width=6,
    places={
        **_OF_UNITS,
        **dict.fromkeys(("n", "d.escalated", "d.error"), UNITS),
        "f.escalated": ESCALATED,
        "f.error": FAILED,
        "graded": GRADED,
        "correct_u": RIGHT_U,
    },
)
"""A unit has one request."""
ALL_GRADED: Final = Columns(
    width=4,
    places={
        **{key: UNITS if place == GRADED else place for key, place in ONE_REQUEST.places.items()},
        **dict.fromkeys(("ef.error", "f.error"), 0),
    },
)
"""And each is graded, by the time that its label is due, and none fails: fewer sums to keep."""
REQUESTS_APART: Final = Columns(
    width=10,
    places={
        **_OF_UNITS,
        **dict.fromkeys(("n", "d.escalated", "d.error"), REQUESTS),
        "f.escalated": REQUESTS_ESCALATED,
        "f.error": REQUESTS_FAILED,
        "graded": REQUESTS_GRADED,
    },
)
"""A unit has several, which are counted beside it. Their grades are summed by unit alone; few plans read others."""


@lru_cache(maxsize=8)
def with_people(columns: Columns) -> Columns:
    """And people grade some units beside the judge."""
    of_people = {
        "drawn": DRAWN,
        "drawn.judge_u": DRAWN_JUDGE_U,
        "both": BOTH,
        "both.judge_u": BOTH_JUDGE_U,
        "both.person_u": BOTH_PERSON_U,
        "both.product_u": PRODUCT_U,
    }
    return Columns(width=16, places={**columns.places, **of_people})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What came in over some minutes; tables are (intents, columns, minutes), in the order of `DenseTallies`'s.

    `outside` is what is never compared: pinned intents, on the baseline. None: there is none. `times` is how long
    requests take, by arm and what (`latency`, `ttft`), of each intent.
    """

    length: int
    compared: Mapping[str, Table]  # of each arm
    outside: Table | None
    blocks: Sequence[Blocks]
    times: Mapping[tuple[str, str], Sequence[Buckets]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stratum:
    """One arm's sums of one intent under one split version: those of minutes [first, end)."""

    sums: Table  # (columns, minutes), before each minute from `origin` on
    columns: Columns
    origin: int
    first: int
    end: int

    def until(self, minutes: Minutes, keys: Sequence[str]) -> Table:
        """As `Sums.until`."""
        places = list(_places(tuple(keys), self.columns))
        before = self.sums[places, self.first - self.origin]
        if len(minutes) and minutes.min() >= self.end:
            total = self.sums[places, self.end - self.origin] - before
            return np.broadcast_to(total, (len(minutes), len(keys)))
        if len(minutes) and minutes.max() <= self.first:
            return np.broadcast_to(np.int64(0), (len(minutes), len(keys)))
        at = np.minimum(np.maximum(minutes, self.first), self.end) - self.origin
        return _columns(self.sums, places, at) - before

    def until_one(self, minute: int, keys: tuple[str, ...]) -> list[int]:
        """As `Sums.until_one`."""
        at = min(max(minute, self.first), self.end) - self.origin
        grown = (self.sums[:, at] - self.sums[:, self.first - self.origin]).tolist()
        return [grown[place] for place in _places(keys, self.columns)]


@lru_cache(maxsize=1024)  # the same few at every look
def _places(keys: tuple[str, ...], columns: Columns) -> tuple[int, ...]:
    """LookupError for a derived one that was never made, as `Layout.places`."""
    for key in keys:
        if key.startswith(DERIVED) and key not in columns.places:
            raise LookupError(f"{key} is not summed here; it is to be asked for before it is read")
    return tuple(columns.places.get(key, 0) for key in keys)


def _columns(sums: Table, places: Sequence[int], at: Minutes) -> Table:
    """Some columns at some minutes; (minutes, columns)."""
    table = np.empty((len(places), len(at)), dtype=np.int64)
    for row, place in zip(table, places, strict=True):
        np.take(sums[place], at, out=row)
    return table.T


@dataclass(slots=True)
class _Version:
    number: int
    first: int
    end: int
    compared: tuple[str, ...]


class DenseTallies:
    """The statistics of one simulated rollout, of minutes [first, end); `room` is how many there may well be."""

    def __init__(
        self,
        intents: Sequence[str],
        *,
        first: int,
        room: int,
        columns: Columns = ONE_REQUEST,
        spare: int = 0,
    ) -> None:
        """`spare` is how many columns more there will be, as far as that is known: making room later takes long."""
        self.first = self.end = first
        self.columns = columns
        self._place = {name: place for place, name in enumerate(intents)}
        self._room, self._width = room, columns.width + spare
        self._compared = {
            arm.value: Prefix(len(intents), columns.width + spare, room) for arm in Arm
        }
        self._outside: Prefix | None = None
        self._versions: list[_Version] = []
        self._blocks: dict[str, list[BlockSums]] = {}
        self._block_places: dict[str, int] = {"": 0}  # in a row of both arms
        self.times = Times(intents, first)
        self._summed = columns.width  # as many columns are counted by whoever adds to them
        # What the others count: of what, above which bucket.
        self._derived: list[tuple[str, int]] = []
        self._marks = Marks()

    # Filling

    def begin(self, version: int, compared: Sequence[str]) -> None:
        """From the next minute on a split version is in force, and these intents are compared."""
        self._versions.append(_Version(version, self.end, self.end, tuple(compared)))

    def add(self, counted: Counted) -> None:
        """The next minutes, under the present version."""
        self._marks.forget(self.end)
        start = self.end - self.first
        for arm, table in counted.compared.items():
            self._compared[arm].set(start, table)
        if counted.outside is not None and self._outside is None:
            self._outside = Prefix(len(self._place), self._width, self._room, start)
        if self._outside is not None:
            table = np.zeros((len(self._place), self.columns.width, counted.length), dtype=np.int64)
            if counted.outside is not None:  # of which nobody counts what lies above a bucket
                table[:, : self._summed] = counted.outside
            self._outside.set(start, table)
        for found in counted.blocks:
            self._block_sums(found).extend(counted.length, found)
        self.times.extend(counted.length, counted.times)
        self._derive(start, start + counted.length, self._derived)
        self.end += counted.length
        self._versions[-1].end = self.end

    def widen(self, bounds: Mapping[str, Collection[int]], since: int) -> None:
        """Sum how much lies above some buckets too, by histogram: of minutes from `since` on, for what is new. Nobody
        asks about earlier ones: what is frozen is for what comes.
        """
        wanted = [(name, bucket) for name in bounds for bucket in sorted(bounds[name])]
        new = [one for one in wanted if above(*one) not in self.columns.places]
        if not new:
            return
        first, self.columns = (
            self.columns.width,
            self.columns.with_more([above(*one) for one in new]),
        )
        self._width = max(self._width, self.columns.width)
        for prefix in self._prefixes():
            prefix.begin(first, self._width, self.end - self.first)
        self._derived += new
        self._derive(since - self.first, self.end - self.first, new, first)

    def _derive(
        self, start: int, end: int, derived: Sequence[tuple[str, int]], first: int | None = None
    ) -> None:
        """Sum what lies above buckets in minutes from one to another, into columns from the `first` on."""
        if derived and start < end:
            for arm, prefix in self._compared.items():
                counts = self.times.above(derived, start, end, arm=arm)
                prefix.set(start, counts, self._summed if first is None else first)

    def _prefixes(self) -> Iterator[Prefix]:
        yield from self._compared.values()
        if self._outside is not None:
            yield self._outside

    def amend(
        self, arm: str, intent: str, minutes: Minutes, added: Mapping[int, Minutes], sign: int
    ) -> None:
        """Put in (+1) or take out (−1) what is added to columns in minutes that are there."""
        self._marks.forget(int(minutes.min()))
        start = int(minutes.min()) - self.first
        at, length = minutes - self.first - start, self.end - self.first - start
        prefix, place = self._compared[arm], self._place[intent]
        for column, amounts in added.items():
            counts = np.bincount(at, weights=amounts, minlength=length).astype(np.int64)
            prefix.amend(place, column, sign * np.cumsum(counts), start)

    def put_blocks(self, version: int, intent: str, minutes: Minutes, places: Minutes) -> None:
        """Instead of all blocks of a split version that there were, in order of their minutes."""
        self._marks.forget(self.first)
        kept = next(one for one in self._blocks[intent] if one.version == version)
        kept.put(minutes, places)

    def cut(self, end: int) -> None:
        """Forget the minutes from `end` on: they will be under another split."""
        version = self._versions[-1]
        self._marks.forget(end)
        self.end = version.end = end
        for kept in self._blocks.values():
            if kept[-1].first >= version.first:
                kept[-1].cut(end)
        self.times.cut(end)
        self._marks.forget(end)

    def _block_sums(self, found: Blocks) -> BlockSums:
        kept = self._blocks.setdefault(found.intent, [])
        version = self._versions[-1]
        if not kept or kept[-1].first < version.first:
            kept.append(
                BlockSums(version.number, version.first, found.values_u, self._block_places)
            )
        return kept[-1]

    # Reading, many at once

    def stretch(
        self,
        first: int,
        last: int,
        keys: Sequence[str],
        *,
        arm: str,
        intents: Sequence[str | None],
    ) -> Table:
        """Sums of compared traffic before each minute of first .. last, which lie in those that there are; (keys,
        intents, minutes).
        """
        rows = [self._place[one] if one is not None else -1 for one in intents]
        places = _places(tuple(keys), self.columns)
        span = slice(first - self.first, last + 1 - self.first)
        sums = self._compared[arm].sums
        table = np.empty((len(places), len(rows), span.stop - span.start), dtype=np.int64)
        for key, place in enumerate(places):
            for intent, row in enumerate(rows):
                table[key, intent] = sums[row, place, span]
        return table

    def wealth(
        self,
        intent: str | None,
        about: str,
        logs: Callable[[Floats], Floats],
        starts: Minutes,
        bounds: Minutes,
    ) -> tuple[Floats, Floats]:
        """What blocks have made of each bet: the logarithm of its wealth before some minutes, (bets, starts); and at
        most the largest from each bound to the next, (bets, bounds − 1).

        `logs` tells what one block of each value adds to it, and `about` is its name.
        """
        opened, largest = np.zeros((1, len(starts))), np.zeros((1, len(bounds) - 1))
        for kept in self._kept_blocks(intent):
            if kept.places:
                before, most = kept.wealth(about, logs, starts, bounds)
                opened, largest = opened + before, largest + most
        return opened, largest

    # Reading: as `Tallies`

    def until(
        self,
        minutes: Minutes,
        keys: Sequence[str],
        *,
        arm: str,
        intent: str | None,
        compared: bool = True,
    ) -> Table:
        if arm == BOTH_ARMS:
            return self._blocks_until(minutes, keys, intent)
        places = self.places(tuple(keys), arm)
        at = np.minimum(np.maximum(minutes, self.first), self.end) - self.first
        place = self._place[intent] if intent is not None else -1
        table = _columns(self._compared[arm].sums[place], places, at)
        for prefix in self._outside_of(arm, compared):
            table += _columns(prefix.sums[place], places, at)
        return table

    def row(
        self, minute: int, *, arm: str, intent: str | None, compared: bool = True
    ) -> Sequence[int]:
        if arm == BOTH_ARMS:
            row = np.zeros(len(self._block_places), dtype=np.int64)
            for kept in self._kept_blocks(intent):
                row[kept.places] += kept.row(minute)
            of_both: list[int] = row.tolist()
            return of_both
        at = min(max(minute, self.first), self.end) - self.first
        place = self._place[intent] if intent is not None else -1
        total: list[int] = self._compared[arm].sums[place, : self.columns.width, at].tolist()
        for prefix in self._outside_of(arm, compared):
            more = prefix.sums[place, : self.columns.width, at].tolist()
            total = [one + other for one, other in zip(total, more, strict=True)]
        return total

    def places(self, keys: tuple[str, ...], arm: str) -> Sequence[int]:
        if arm != BOTH_ARMS:
            return _places(keys, self.columns)
        return [self._block_places.get(key, 0) for key in keys]

    def at_marks(
        self, marks: Minutes, *, arm: str, about: About, until: Callable[[Minutes], Table]
    ) -> Table:
        return self._marks.at(marks, arm=arm, about=about, until=until)

    def strata(self, *, arm: str, intent: str | None) -> Iterator[tuple[int, str, StratumSums]]:
        if arm == BOTH_ARMS:
            for name, kept in self._blocks.items():
                if intent is None or name == intent:
                    yield from ((one.version, name, one) for one in kept)
            return
        prefix = self._compared[arm]
        for version in self._versions:
            for name in version.compared:
                if intent is None or name == intent:
                    sums = prefix.sums[self._place[name], : self.columns.width]
                    yield (
                        version.number,
                        name,
                        Stratum(sums, self.columns, self.first, version.first, version.end),
                    )

    def histogram(
        self, prefix: str, starts: Minutes, ends: Minutes, *, arm: str, intent: str | None
    ) -> tuple[tuple[int, ...], Table]:
        return self.times.histogram(prefix, starts, ends, arm=arm, intent=intent)

    def values_of_blocks(self, intent: str | None) -> tuple[str, ...]:
        row = self.row(self.end, arm=BOTH_ARMS, intent=intent)
        seen = [key for key, place in self._block_places.items() if row[place]]
        return tuple(sorted(seen, key=lambda key: int(key[2:])))

    def values_of_pairs(self, intent: str | None) -> tuple[str, ...]:
        """None: pairs are not simulated."""
        return ()

    def has_any(self, keys: tuple[str, ...], *, arm: str, intent: str | None) -> bool:
        row = self.row(self.end, arm=arm, intent=intent)
        return any(row[place] for place in self.places(keys, arm))

    def minutes_with(
        self, key: str, start: int, end: int, *, arm: str, intent: str | None
    ) -> Minutes:
        first, last = max(start, self.first), min(end, self.end)
        if first >= last:
            return np.empty(0, dtype=np.int64)
        column = self._column(key, arm, intent)
        grown = np.diff(column[first - self.first : last - self.first + 1])
        return grown.nonzero()[0] + first

    def last_minute_with(self, key: str, end: int, *, arm: str, intent: str | None) -> int | None:
        column = self._column(key, arm, intent)
        reached = column[: max(min(end, self.end) - self.first, 0) + 1]
        if reached[-1] == 0:
            return None
        # The first minute after which all of it is there: sums only rise, so the search is by halving.
        return int(reached.searchsorted(reached[-1])) - 1 + self.first

    def _outside_of(self, arm: str, compared: bool) -> Iterator[Prefix]:
        if not compared and arm == Arm.BASELINE.value and self._outside is not None:
            yield self._outside

    def _column(self, key: str, arm: str, intent: str | None) -> NDArray[np.int64]:
        place = self._place[intent] if intent is not None else -1
        column: NDArray[np.int64] = self._compared[arm].sums[place, self.columns.places.get(key, 0)]
        return column

    def _kept_blocks(self, intent: str | None) -> Iterator[BlockSums]:
        for name, kept in self._blocks.items():
            if intent is None or name == intent:
                yield from kept

    def _blocks_until(self, minutes: Minutes, keys: Sequence[str], intent: str | None) -> Table:
        asked = {place: row for row, place in enumerate(self.places(tuple(keys), BOTH_ARMS))}
        table = np.zeros((len(keys), len(minutes)), dtype=np.int64)
        if not any(asked):  # no value of a block: pairs, of which there are none
            return table.T
        for kept in self._kept_blocks(intent):
            for place, sums in zip(kept.places, kept.at(minutes), strict=True):
                if place in asked:
                    table[asked[place]] += sums
        return table.T
