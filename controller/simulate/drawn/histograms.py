"""How long simulated requests take, by minute: each one's log bucket, in order of their minutes.

Requests of one arm and intent are one array, so a window is a part of it: its histogram is counted when it is asked
for, and how much lies above a bucket when it is drawn. Where there are many more requests than buckets in a minute,
those of one bucket are one entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table

NEAR = 32
"""Buckets on either side of a percentile of a whole stretch, 88% up or 47% down, in which those of its windows are
looked for first.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Of some minutes: `until` tells how many entries there are up to the end of each. An entry is as many requests
    of one bucket as `times` says; None: one.
    """

    until: Minutes
    buckets: NDArray[np.int16]
    times: NDArray[np.int64] | None

    @classmethod
    def counted(
        cls, requests: NDArray[np.int64], buckets: NDArray[np.int16], first: int, width: int
    ) -> Buckets:
        """Of so many requests a minute, in their order; all buckets lie in [first, first + width)."""
        until = requests.cumsum()
        if len(buckets) < 2 * width * len(requests):
            return cls(until, buckets, None)
        cells = np.repeat(np.arange(len(requests)) * width - first, requests) + buckets
        counts = np.bincount(cells, minlength=len(requests) * width)
        there = counts.nonzero()[0]
        ends = np.arange(1, len(requests) + 1) * width
        return cls(
            there.searchsorted(ends), (there % width + first).astype(np.int16), counts[there]
        )

    @classmethod
    def joined(cls, parts: Sequence[Buckets]) -> Buckets:
        """Of minutes that follow one another."""
        if len(parts) == 1:
            return parts[0]
        begins = np.cumsum([0, *(len(one.buckets) for one in parts)])
        until = [one.until + begin for one, begin in zip(parts, begins.tolist(), strict=False)]
        times = None
        if any(one.times is not None for one in parts):
            times = np.concatenate([_times(one) for one in parts])
        return cls(np.concatenate(until), np.concatenate([one.buckets for one in parts]), times)

    def up_to(self, length: int) -> Buckets:
        """Of the first minutes alone."""
        entries = int(self.until[length - 1]) if length else 0
        times = None if self.times is None else self.times[:entries]
        return Buckets(self.until[:length], self.buckets[:entries], times)


def _times(of: Buckets) -> NDArray[np.int64]:
    return np.ones(len(of.buckets), dtype=np.int64) if of.times is None else of.times


class BucketSums:
    """The requests of one arm and intent, from minute 0 on."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[Buckets] = []

    def extend(self, found: Buckets) -> None:
        """The next minutes."""
        self._parts.append(found)

    def cut(self, end: int) -> None:
        """Forget the minutes from `end` on."""
        self._parts = [self._whole().up_to(end)] if self._parts else []

    def between(self, first: int, end: int) -> Buckets:
        """Of minutes [first, end), which are there."""
        whole = self._whole()
        opened = int(whole.until[first - 1]) if first else 0
        closed = int(whole.until[end - 1]) if end else 0
        times = None if whole.times is None else whole.times[opened:closed]
        return Buckets(whole.until[first:end] - opened, whole.buckets[opened:closed], times)

    def _whole(self) -> Buckets:
        if len(self._parts) > 1:
            self._parts = [Buckets.joined(self._parts)]
        return self._parts[0] if self._parts else _NOTHING


_NOTHING = Buckets(
    np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int16), np.empty(0, dtype=np.int64)
)


def counts_above(of: Buckets, bucket: int) -> NDArray[np.int64]:
    """How many requests of each minute lie in buckets above one."""
    there = of.buckets > bucket
    before = np.concatenate([[0], (there if of.times is None else there * of.times).cumsum()])
    found: NDArray[np.int64] = np.diff(before[of.until], prepend=0)
    return found


def over_windows(
    sums: Sequence[BucketSums], starts: Minutes, ends: Minutes
) -> tuple[tuple[int, ...], Table]:
    """As `MinuteSums.histogram`, of all of these together."""
    first, end = int(starts.min()), int(ends.max())
    parts = [one.between(first, end) for one in sums]
    low = min((int(one.buckets.min()) for one in parts if len(one.buckets)), default=0)
    high = max((int(one.buckets.max()) for one in parts if len(one.buckets)), default=-1)
    table = _windows(parts, starts - first, ends - first, low, high)
    seen = table.sum(axis=0).nonzero()[0]
    return tuple((seen + low).tolist()), table[:, seen]


def quantile_buckets(
    sums: Sequence[BucketSums], q: float, starts: Minutes, ends: Minutes
) -> tuple[NDArray[np.int64], Minutes]:
    """In which bucket the value of rank floor(q (n − 1)) of each window lies, any where there is none; and n."""
    first, end = int(starts.min()), int(ends.max())
    parts = [one.between(first, end) for one in sums]
    every = np.concatenate([one.buckets for one in parts])
    if not len(every):
        return np.zeros(len(ends), dtype=np.int64), np.zeros(len(ends), dtype=np.int64)
    opened, closed = starts - first, ends - first
    low, high = int(every.min()), int(every.max())
    usual = _usual(parts, q)
    # What lies beyond is counted in the outermost of these; where a percentile is there, it is looked for in all.
    near = (max(usual - NEAR, low), min(usual + NEAR, high))
    places, n = _places(parts, q, opened, closed, *near)
    beyond = ((places == near[0]) & (near[0] > low)) | ((places == near[1]) & (near[1] < high))
    if np.any(beyond & (n > 0)):
        places, n = _places(parts, q, opened, closed, low, high)
    return places, n


def _usual(parts: Sequence[Buckets], q: float) -> int:
    """About where a percentile of all of these is."""
    buckets = np.concatenate([one.buckets for one in parts])
    times = np.concatenate([_times(one) for one in parts])
    low = int(buckets.min())
    counts = np.bincount(buckets - np.int64(low), weights=times).cumsum()
    return low + int(counts.searchsorted(q * counts[-1]))


def _places(
    parts: Sequence[Buckets], q: float, opened: Minutes, closed: Minutes, low: int, high: int
) -> tuple[NDArray[np.int64], Minutes]:
    """The first bucket of each window up to which there are more than q (n − 1), by halving; and n."""
    summed, (opened, closed) = _summed(parts, low, high, opened, closed)
    np.cumsum(summed, axis=1, out=summed)
    n = summed[closed, -1] - summed[opened, -1]
    rank = q * (n - 1)
    first, last = np.zeros_like(n), np.full_like(n, high - low)
    while (first < last).any():
        middle = (first + last) // 2
        short = summed[closed, middle] - summed[opened, middle] <= rank
        first, last = (
            np.where(short, np.minimum(middle + 1, last), first),
            np.where(short, last, middle),
        )
    return first + low, n


def _windows(
    parts: Sequence[Buckets], opened: Minutes, closed: Minutes, low: int, high: int
) -> Table:
    """Sums over windows of the parts' minutes by bucket from `low` to `high`, the outermost ones with all beyond."""
    width = high - low + 1
    if width <= 0:
        return np.zeros((len(closed), 0), dtype=np.int64)
    if len(closed) == 1:
        at = int(opened[0]), int(closed[0])
        return sum(
            (row[None, :] for row in _in_window(parts, *at, low, high)),
            start=np.zeros((1, width), dtype=np.int64),
        )
    summed, (opened, closed) = _summed(parts, low, high, opened, closed)
    table: Table = summed[closed] - summed[opened]
    return table


def _in_window(
    parts: Sequence[Buckets], opened: int, closed: int, low: int, high: int
) -> Iterator[NDArray[np.int64]]:
    for one in parts:
        first = int(one.until[opened - 1]) if opened else 0
        end = int(one.until[closed - 1]) if closed else 0
        times = None if one.times is None else one.times[first:end]
        classes = np.clip(one.buckets[first:end], low, high) - np.int64(low)
        yield np.bincount(classes, weights=times, minlength=high - low + 1).astype(np.int64)


def _summed(
    parts: Sequence[Buckets], low: int, high: int, *minutes: Minutes
) -> tuple[Table, Sequence[Minutes]]:
    """Sums before each of some minutes by bucket from `low` to `high`, the outermost with all beyond, (rows, buckets);
    and in which rows the minutes are.
    """
    asked, rows = np.unique(np.concatenate(minutes), return_inverse=True)
    width, length = high - low + 1, len(parts[0].until)
    # A minute counts before the first one asked for that comes after it.
    first = asked.searchsorted(np.arange(length), side="right") * width - low
    cells = [
        np.repeat(first, np.diff(one.until, prepend=0)) + np.clip(one.buckets, low, high)
        for one in parts
    ]
    weights = None
    if any(one.times is not None for one in parts):
        weights = np.concatenate([_times(one) for one in parts])
    counts = np.bincount(np.concatenate(cells), weights, (len(asked) + 1) * width)
    table: Table = counts.astype(np.int64, copy=False).reshape(len(asked) + 1, width)[:-1]
    np.cumsum(table, axis=0, out=table)
    return table, np.split(rows, np.cumsum([len(one) for one in minutes[:-1]]))
