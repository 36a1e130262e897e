"""How long the requests of one simulated rollout take, by arm and intent, of minutes from `first` on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.evidence.reader import Windows
from controller.simulate.drawn.histograms import (
    Buckets,
    BucketSums,
    counts_above,
    over_windows,
    quantile_buckets,
)

About: TypeAlias = tuple[str, str]
"""An arm, and what takes how long: `latency`, `ttft`."""


class Times:
    """Invariant: of what is there, there are as many minutes of every intent."""

    def __init__(self, intents: Sequence[str], first: int) -> None:
        self._first = self._end = first
        self._place = {name: place for place, name in enumerate(intents)}
        self._sums: dict[About, list[BucketSums]] = {}

    def extend(self, length: int, found: Mapping[About, Sequence[Buckets]]) -> None:
        """The next minutes, by intent."""
        self._end += length
        for about, buckets in found.items():
            if about not in self._sums:
                self._sums[about] = [BucketSums() for _ in self._place]
            for sums, one in zip(self._sums[about], buckets, strict=True):
                sums.extend(one)

    def cut(self, end: int) -> None:
        """Forget the minutes from `end` on."""
        self._end = end
        for every in self._sums.values():
            for sums in every:
                sums.cut(end - self._first)

    def above(self, derived: Sequence[tuple[str, int]], start: int, end: int, *, arm: str) -> Table:
        """How many requests of an arm lie above some buckets, in minutes from one to another since the first; (intents,
        buckets, minutes).
        """
        counts = np.zeros((len(self._place), len(derived), end - start), dtype=np.int64)
        for name in {name for name, _ in derived}:
            for place, sums in enumerate(self._sums.get((arm, name), ())):
                found = sums.between(start, end)
                for column, (of, bucket) in enumerate(derived):
                    if of == name:
                        counts[place, column] = counts_above(found, bucket)
        return counts

    def histogram(
        self, prefix: str, starts: Minutes, ends: Minutes, *, arm: str, intent: str | None
    ) -> tuple[tuple[int, ...], Table]:
        """As `MinuteSums.histogram`."""
        sums = self._of((arm, prefix.split(".")[1]), intent)
        return over_windows(sums, self._places(starts), self._places(ends))

    def quantile_buckets(
        self, name: str, q: float, windows: Windows, *, arm: str, intent: str | None
    ) -> tuple[NDArray[np.int64], Minutes]:
        """In which bucket the value of rank floor(q (n − 1)) of each window lies, any where there is none; and n."""
        sums = self._of((arm, name), intent)
        return quantile_buckets(sums, q, self._places(windows.starts), self._places(windows.ends))

    def _of(self, about: About, intent: str | None) -> Sequence[BucketSums]:
        every = self._sums.get(about, [])
        return every if intent is None or not every else [every[self._place[intent]]]

    def _places(self, minutes: Minutes) -> Minutes:
        found: Minutes = np.minimum(np.maximum(minutes, self._first), self._end) - self._first
        return found
