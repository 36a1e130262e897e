"""Sufficient statistics of one rollout, kept as prefix sums: any window is a difference of two rows.

Fed with the minute rows that changed since the last tick, so that a tick costs the same at ten requests and at ten
million.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from controller.rollout.counting.sums import (
    Histogram,
    Layout,
    Minutes,
    Sums,
    Table,
    histogram_sums,
    is_label,
)
from controller.rollout.metrics import above
from controller.rollout.observation import BOTH_ARMS, MATCHED, Cohort, RollupRow


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Group:
    """What is summed together."""

    version: int
    arm: str
    intent: str
    endpoint: str
    cohort: Cohort


Limits: TypeAlias = tuple[int, tuple[int, int]]
"""A minute from which on a percentile is in force, and the buckets that it is told by."""


class About(NamedTuple):
    """What is remembered at marks: some statistics, of one intent or of all. What each minute adds may hang on the
    percentile that is in force in it; `frozen` are these, ascending.
    """

    names: tuple[str, ...]
    intent: str | None
    frozen: tuple[Limits, ...] = ()

    @property
    def earlier(self) -> About | None:
        """What was remembered before the last percentile was frozen, which stands up to where that one is in force."""
        return self._replace(frozen=self.frozen[:-1]) if len(self.frozen) > 1 else None


class StratumSums(Protocol):
    """Prefix sums of one stratum by minute, as `Sums` keeps them."""

    def until(self, minutes: Minutes, keys: Sequence[str]) -> Table: ...

    def until_one(self, minute: int, keys: tuple[str, ...]) -> list[int]: ...


class MinuteSums(Protocol):
    """What readings need of the statistics of one rollout. `Tallies` keeps them of what came in."""

    def until(
        self,
        minutes: Minutes,
        keys: Sequence[str],
        *,
        arm: str,
        intent: str | None,
        compared: bool = True,
    ) -> Table:
        """Sums of compared (or of all) traffic before each minute, over versions and endpoints; (len(minutes),
        len(keys)).
        """
        ...

    def row(
        self, minute: int, *, arm: str, intent: str | None, compared: bool = True
    ) -> Sequence[int]:
        """The same before one minute, of all columns; `places` says where they are."""
        ...

    def places(self, keys: tuple[str, ...], arm: str) -> Sequence[int]:
        """Where in a row of an arm these keys are."""
        ...

    def at_marks(
        self, marks: Minutes, *, arm: str, about: About, until: Callable[[Minutes], Table]
    ) -> Table:
        """`until(marks)`, which may be remembered by what it is about."""
        ...

    def strata(self, *, arm: str, intent: str | None) -> Iterable[tuple[int, str, StratumSums]]:
        """(version, intent, sums) of the compared traffic of one arm."""
        ...

    def histogram(
        self, prefix: str, starts: Minutes, ends: Minutes, *, arm: str, intent: str | None
    ) -> tuple[tuple[int, ...], Table]:
        """The buckets of a histogram in any of the windows, ascending, and their sums over each; (E, buckets)."""
        ...

    def values_of_blocks(self, intent: str | None) -> tuple[str, ...]:
        """The keys of every value that a block has, in order of value."""
        ...

    def values_of_pairs(self, intent: str | None) -> tuple[str, ...]:
        """The same of pairs that have a grade between 0 and 1."""
        ...

    def has_any(self, keys: tuple[str, ...], *, arm: str, intent: str | None) -> bool:
        """Whether any of these statistics was ever anything but 0."""
        ...

    def minutes_with(
        self, key: str, start: int, end: int, *, arm: str, intent: str | None
    ) -> Minutes:
        """The minutes of compared traffic in [start, end) in which a statistic is not zero."""
        ...

    def last_minute_with(self, key: str, end: int, *, arm: str, intent: str | None) -> int | None:
        """The last minute of compared traffic before `end` in which a statistic is not zero."""
        ...


class Tallies:
    """All groups of one rollout, and how far its ingest sequence has been read.

    Histograms are wide, so they are kept apart and only as far back as windows on them reach. What proofs need of them
    is how much lies above some buckets, from the epoch's start on: `bounds` names those buckets, by histogram, and
    that is summed like everything else.
    """

    def __init__(
        self,
        keep: Callable[[str], bool] = lambda _: True,
        bounds: Mapping[str, Collection[int]] = MappingProxyType({}),
    ) -> None:
        self._groups: dict[Group, Sums] = {}
        self._histograms: dict[tuple[Group, str], Histogram] = {}
        self._marks: dict[str, dict[About, tuple[Minutes, Table]]] = {}  # by arm
        self._selected: dict[tuple[str, str | None, bool], tuple[Sums, ...]] = {}
        self._selected_histograms: dict[tuple[str, str, str | None], tuple[Histogram, ...]] = {}
        self._arms, self._both = Layout(), Layout()  # blocks and pairs have columns of their own
        self._keep = keep
        self._bounds = {
            f"h.{name}.": [(bucket, above(name, bucket)) for bucket in buckets]
            for name, buckets in bounds.items()
        }
        self._arms.widen(key for bounded in self._bounds.values() for _, key in bounded)
        self._wanted: dict[str, bool] = {}
        self._histograms_from = 0
        self.seq = 0

    def feed(self, rows: Iterable[RollupRow], seq: int) -> set[int]:
        """Take in the rows that changed up to `seq`; the minutes in which more than labels changed."""
        sums: defaultdict[Group, dict[int, Mapping[str, int]]] = defaultdict(dict)
        buckets: defaultdict[tuple[Group, str], dict[int, dict[int, int]]] = defaultdict(dict)
        groups: dict[tuple[object, ...], Group] = {}
        for row in rows:
            names = (row.version, row.arm, row.intent, row.endpoint, row.cohort)
            group = groups.get(names)
            if group is None:
                group = groups[names] = _group(row)
            sums[group][row.minute], found = self._split(row.stats)
            if row.minute >= self._histograms_from:
                for name, counts in found.items():
                    buckets[group, name][row.minute] = counts
        moved: set[int] = set()
        for group, minutes in sums.items():
            more_than_labels = self._sums(group).replace(minutes)
            self._forget_marks(group.arm, minutes, more_than_labels)
            if group.arm != BOTH_ARMS:
                self._forget_marks(MATCHED, minutes, more_than_labels)
            moved |= more_than_labels
        for key, changed in buckets.items():
            moved |= self._histogram(*key).replace(changed)
        self._wanted.clear()  # ten thousand rollouts would each keep theirs
        self.seq = seq
        return moved

    def _forget_marks(self, arm: str, changed: Collection[int], moved: Collection[int]) -> None:
        """A mark counts what comes before it, so those up to the first change stand; `moved` are the minutes in which
        more than labels changed.
        """
        known = self._marks.get(arm)
        if known is None:
            return
        first_changed, first_moved = min(changed), min(moved, default=None)
        for about, (marks, table) in known.items():
            first = first_changed if any(map(is_label, about.names)) else first_moved
            standing = len(marks) if first is None else int(marks.searchsorted(first, side="right"))
            if standing < len(marks):
                known[about] = (marks[:standing], table[:standing])

    def _sums(self, group: Group) -> Sums:
        known = self._groups.get(group)
        if known is None:
            self._selected.clear()
            known = self._groups[group] = Sums(self._layout(group.arm))
        return known

    def _histogram(self, group: Group, name: str) -> Histogram:
        known = self._histograms.get((group, name))
        if known is None:
            self._selected_histograms.clear()
            known = self._histograms[group, name] = Histogram()
        return known

    def _split(self, stats: Mapping[str, int]) -> tuple[dict[str, int], dict[str, dict[int, int]]]:
        """What is summed, and counts by bucket of each histogram."""
        kept: dict[str, int] = {}
        buckets: dict[str, dict[int, int]] = {}
        wanted = self._wanted
        for key, value in stats.items():
            # Looked up, not asked again: the same few keys come with every row.
            if (wants := wanted.get(key)) is None:
                wants = wanted[key] = self._keep(key)
            if not wants:
                continue
            if key.startswith("h."):
                name, _, bucket = key.rpartition(".")
                buckets.setdefault(f"{name}.", {})[int(bucket)] = value
            else:
                kept[key] = value
        for name, counts in buckets.items():
            for bound, key in self._bounds.get(name, ()):
                kept[key] = sum(count for bucket, count in counts.items() if bucket > bound)
        return kept, buckets

    def forget_histograms(self, before: int) -> None:
        """Drop histograms of minutes before `before`, for good: windows that reach there have none from now on."""
        self._histograms_from = max(self._histograms_from, before)
        for histogram in self._histograms.values():
            histogram.forget(self._histograms_from)

    def select(
        self, *, arm: str, intent: str | None = None, compared: bool = True
    ) -> tuple[Sums, ...]:
        """The groups of one arm: of one intent or of all, of compared traffic or of all."""
        asked = (arm, intent, compared)
        found = self._selected.get(asked)
        if found is None:
            found = self._selected[asked] = tuple(
                sums
                for group, sums in self._groups.items()
                if group.arm == arm
                and (intent is None or group.intent == intent)
                and (not compared or group.cohort is Cohort.COMPARED)
            )
        return found

    def until(
        self,
        minutes: Minutes,
        keys: Sequence[str],
        *,
        arm: str,
        intent: str | None,
        compared: bool = True,
    ) -> Table:
        """Sums of compared (or of all) traffic before each minute, over versions and endpoints; (len(minutes),
        len(keys)).
        """
        found = self.select(arm=arm, intent=intent, compared=compared)
        if not found:
            return np.zeros((len(minutes), len(keys)), dtype=np.int64)
        total = found[0].before(minutes)
        for sums in found[1:]:
            total = total + sums.before(minutes)
        table: Table = total[:, self.places(tuple(keys), arm)]
        return table

    def row(
        self, minute: int, *, arm: str, intent: str | None, compared: bool = True
    ) -> Sequence[int]:
        """The same before one minute, of all columns; `places` says where they are."""
        found = self.select(arm=arm, intent=intent, compared=compared)
        if not found:
            return [0] * len(self._layout(arm).columns)
        total = found[0].row(minute)
        for sums in found[1:]:
            total = total + sums.row(minute)
        numbers: list[int] = total.tolist()
        return numbers

    def places(self, keys: tuple[str, ...], arm: str) -> Sequence[int]:
        """Where in a row of an arm these keys are."""
        return self._layout(arm).places(keys)

    def _layout(self, arm: str) -> Layout:
        return self._both if arm == BOTH_ARMS else self._arms

    def at_marks(
        self, marks: Minutes, *, arm: str, about: About, until: Callable[[Minutes], Table]
    ) -> Table:
        """`until(marks)`, remembered: for ascending marks that mostly are those of the last tick, such as the minutes
        at which proofs start. `about` names what `until` sums of the arm.
        """
        of_arm = self._marks.setdefault(arm, {})
        known = of_arm.get(about)
        if known is None:
            of_arm[about] = known = (marks, until(marks))
        elif not (known[0] is marks or np.array_equal(known[0], marks)):
            of_arm[about] = known = _moved_on(*known, marks, until)
        return known[1]

    def strata(self, *, arm: str, intent: str | None) -> Iterator[tuple[int, str, Sums]]:
        """(version, intent, sums) of the compared groups of one arm."""
        for group, sums in self._groups.items():
            compared = group.cohort is Cohort.COMPARED and group.arm == arm
            if compared and (intent is None or group.intent == intent):
                yield group.version, group.intent, sums

    def histogram(
        self, prefix: str, starts: Minutes, ends: Minutes, *, arm: str, intent: str | None
    ) -> tuple[tuple[int, ...], Table]:
        """As `MinuteSums.histogram`; nothing for windows that reach back to what was forgotten."""
        asked = (prefix, arm, intent)
        found = self._selected_histograms.get(asked)
        if found is None:
            found = self._selected_histograms[asked] = tuple(
                histogram
                for (group, name), histogram in self._histograms.items()
                if name == prefix
                and group.arm == arm
                and group.cohort is Cohort.COMPARED
                and (intent is None or group.intent == intent)
            )
        buckets, sums = histogram_sums(found, starts, ends)
        # What is left of a window would be taken for all of it.
        sums[starts < self._histograms_from] = 0
        return buckets, sums

    def values_of_blocks(self, intent: str | None) -> tuple[str, ...]:
        """The keys of every value that a block has, in order of value."""
        return self._values("b.", intent)

    def values_of_pairs(self, intent: str | None) -> tuple[str, ...]:
        """The same of pairs that have a grade between 0 and 1."""
        return self._values("pv.", intent)

    def _values(self, prefix: str, intent: str | None) -> tuple[str, ...]:
        found = self.select(arm=BOTH_ARMS, intent=intent)
        if not found:
            return ()
        total = np.sum([sums.total() for sums in found], axis=0)
        keys = [
            key
            for key, place in self._both.columns.items()
            if key.startswith(prefix) and total[place]
        ]
        return tuple(sorted(keys, key=lambda key: int(key[len(prefix) :])))

    def has_any(self, keys: tuple[str, ...], *, arm: str, intent: str | None) -> bool:
        """Whether any of these statistics was ever anything but 0."""
        places = self.places(keys, arm)
        found = self.select(arm=arm, intent=intent)
        return any(sums.total()[places].any() for sums in found)

    def minutes_with(
        self, key: str, start: int, end: int, *, arm: str, intent: str | None
    ) -> Minutes:
        """The minutes of compared traffic in [start, end) in which a statistic is not zero."""
        found = [sums.minutes_with(key, start, end) for sums in self.select(arm=arm, intent=intent)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)

    def last_minute_with(self, key: str, end: int, *, arm: str, intent: str | None) -> int | None:
        """The last minute of compared traffic before `end` in which a statistic is not zero."""
        found = (sums.last_minute_with(key, end) for sums in self.select(arm=arm, intent=intent))
        return max((minute for minute in found if minute is not None), default=None)


def _moved_on(
    known: Minutes, table: Table, marks: Minutes, until: Callable[[Minutes], Table]
) -> tuple[Minutes, Table]:
    """Other marks and their table, of which only those are looked up that were not known."""
    if not len(known):
        return marks, until(marks)
    at = np.minimum(known.searchsorted(marks), len(known) - 1)
    new = known[at] != marks
    moved = table[at]
    if new.any():
        moved[new] = until(marks[new])
    return marks, moved


def _group(row: RollupRow) -> Group:
    return Group(
        version=row.version,
        arm=sys.intern(row.arm),  # the same few words in every row of every rollout
        intent=sys.intern(row.intent),
        endpoint=sys.intern(row.endpoint),
        cohort=row.cohort,
    )
