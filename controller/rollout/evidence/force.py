"""How much of a stretch of time a split was verified in force."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from controller.rollout.timeline import EPOCH

# What a complete window may lack: the present minute is not over yet, and a change of split takes its replicas seconds.
GAP_MIN = 2.0
GAP_SHARE = 0.01

Stretch = tuple[datetime, datetime]


class InForceTime:
    """Stretches [start, end) of verified time, in any order; overlaps count once."""

    def __init__(self, stretches: Iterable[Stretch]) -> None:
        self._edges = np.array([_minute(edge) for stretch in merged(stretches) for edge in stretch])
        lengths = self._edges[1::2] - self._edges[::2]
        # As much at the end of one as at the start of the next.
        self._held: NDArray[np.float64] = np.repeat([0.0, *np.cumsum(lengths)], 2)[1:-1]
        # The same for a single look, which is many times quicker without arrays.
        self._listed: list[float] = self._edges.tolist()
        self._held_listed: list[float] = self._held.tolist()

    def before(self, minutes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Verified minutes (fractional) before each of `minutes`."""
        if not len(self._edges):
            return np.zeros(len(minutes))
        return np.interp(minutes, self._edges, self._held)

    def within(self, start: datetime, end: datetime) -> timedelta:
        """Verified time in [start, end)."""
        held = self._held_before(_minute(end)) - self._held_before(_minute(start))
        return timedelta(minutes=max(held, 0.0))

    def is_complete(self, end: int, window_min: int, epoch_min: int) -> bool:
        """Whether the window before one end lies in the epoch and was verified throughout."""
        start = end - window_min
        if start < epoch_min:
            return False
        return self._held_before(end) - self._held_before(start) >= window_min - _gap(window_min)

    def _held_before(self, minute: float) -> float:
        place = bisect_right(self._listed, minute)
        if place == 0:
            return 0.0
        held = self._held_listed[place - 1]
        return held + (minute - self._listed[place - 1]) if place % 2 else held

    def complete(
        self, ends: NDArray[np.int64], window_min: int, epoch_min: int
    ) -> NDArray[np.bool_]:
        """Whether each window [end − window_min, end) lies in the epoch and was verified throughout."""
        starts = ends - window_min
        held = self.before(ends) - self.before(starts)
        verified: NDArray[np.bool_] = (starts >= epoch_min) & (
            held >= window_min - _gap(window_min)
        )
        return verified


def _gap(window_min: int) -> float:
    """What a complete window may lack, in minutes."""
    return max(GAP_MIN, GAP_SHARE * window_min)


def _minute(moment: datetime) -> float:
    return (moment - EPOCH) / timedelta(minutes=1)


def merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """In order, those that overlap or touch joined, empty ones left out."""
    joined: list[Stretch] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined
