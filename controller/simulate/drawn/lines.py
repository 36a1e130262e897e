"""Labels of one intent and split version in line, and the blocks they make, as `blocks` forms them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.blocks import Sizes
from controller.rollout.counting.items import rounded
from controller.rollout.counting.sums import Minutes
from controller.rollout.metrics import MICRO
from controller.rollout.plan import Arm
from controller.simulate.drawn.block_sums import Blocks

Grades = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Labels:
    """Graded answers of one arm in order of their minutes: how many each minute from `first` on has, and which of all,
    counted from 0, are wrong.
    """

    first: int
    n: Minutes
    wrong: NDArray[np.intp]

    @property
    def minutes(self) -> Minutes:
        return np.repeat(np.arange(self.first, self.first + len(self.n)), self.n)

    def and_then(self, later: Labels) -> Labels:
        """With those of the minutes that follow."""
        wrong = np.concatenate([self.wrong, later.wrong + self.n.sum()])
        return Labels(self.first, np.concatenate([self.n, later.n]), wrong)

    def after(self, used: int) -> Labels:
        """Without the first so many."""
        reached = self.n.cumsum()
        over = int(reached.searchsorted(used, side="right"))
        n = self.n[over:].copy()
        if len(n):
            n[0] = reached[over] - used
        return Labels(self.first + over, n, self.wrong[self.wrong.searchsorted(used) :] - used)


NOTHING: Final = np.empty(0, dtype=np.int64)


class Values:
    """The values that blocks of these sizes may have: `millionths`, ascending; `places` says which of them, by how many
    labels of the baseline and of the candidate are right.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = {arm: sizes.of(arm.value) for arm in Arm}
        baseline, candidate = self.sizes[Arm.BASELINE], self.sizes[Arm.CANDIDATE]
        by_grades = np.array(
            [
                [
                    rounded(MICRO * (candidate * b - baseline * c), baseline * candidate)
                    for c in range(candidate + 1)
                ]
                for b in range(baseline + 1)
            ]
        )
        values, places = np.unique(by_grades, return_inverse=True)
        self.millionths: tuple[int, ...] = tuple(values.tolist())
        self.places: NDArray[np.int64] = places.reshape(by_grades.shape)


values_of = lru_cache(maxsize=256)(Values)  # the same few sizes in every run


class Line:
    """Where no label comes late.

    All are mature when they are looked at, so blocks take the arms' labels in order of their minutes; those of one
    minute stand as they were drawn, which is as good an order as any.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._values = values_of(sizes)
        self._waiting: dict[Arm, Labels] = {}

    def close(self, intent: str, labels: Mapping[Arm, Labels]) -> Blocks:
        """The blocks that there are enough labels for, with those that have waited."""
        for arm, later in labels.items():
            before = self._waiting.get(arm)
            self._waiting[arm] = later if before is None else before.and_then(later)
        sizes = self._values.sizes
        minutes = {arm: self._waiting[arm].minutes for arm in Arm}
        count = min(len(minutes[arm]) // sizes[arm] for arm in Arm)
        right, last = {}, {}
        for arm, size in sizes.items():
            waiting, used = self._waiting[arm], count * size
            wrong = waiting.wrong[: waiting.wrong.searchsorted(used)]
            right[arm] = size - np.bincount(wrong // size, minlength=count)
            last[arm] = minutes[arm][size - 1 : used : size]
            self._waiting[arm] = waiting.after(used)
        return Blocks(
            intent=intent,
            values_u=self._values.millionths,
            minutes=np.maximum(*last.values()),
            places=self._values.places[right[Arm.BASELINE], right[Arm.CANDIDATE]],
        )


_MINUTE_BITS, _RIGHT_BITS = 33, 1


@dataclass(slots=True)
class _Coming:
    """Labels of one arm by the minute in which they may be used first, and those that stand in line.

    A label is a number: its minute, the order in which it was drawn, and whether it is right.
    """

    usable: Minutes
    codes: Minutes
    waiting: list[int]
    drawn: int = 0

    def add(self, usable: Minutes, codes: Minutes) -> None:
        usable = np.concatenate([self.usable, usable])
        order = usable.argsort(kind="stable")
        self.usable, self.codes = usable[order], np.concatenate([self.codes, codes])[order]

    def keep(self, kept: NDArray[np.bool_]) -> None:
        self.usable, self.codes = self.usable[kept], self.codes[kept]


class LateLine:
    """Where labels may come late: blocks are closed minute by minute, of those that are mature and have come.

    One that comes after its time joins where its minute belongs. Invariant: `through` is the last minute whose blocks
    are closed, and no label that could be used by then is still to come.
    """

    def __init__(self, values: Values, *, delay_min: int, first: int) -> None:
        self.values = values
        self._delay_min = delay_min
        self.through = first - 1
        self._first = first
        self._coming = {arm: _Coming(NOTHING, NOTHING, []) for arm in Arm}
        self._all: dict[Arm, list[tuple[Minutes, Minutes]]] = {arm: [] for arm in Arm}

    def add(self, arm: Arm, minutes: Minutes, right: Grades, known: Minutes) -> None:
        """Labels of episodes of these minutes, which come in the minutes `known`."""
        coming = self._coming[arm]
        numbers = np.arange(coming.drawn, coming.drawn + len(minutes))
        coming.drawn += len(minutes)
        codes = (minutes << _MINUTE_BITS) | (numbers << _RIGHT_BITS) | right
        usable = np.maximum(known, minutes + self._delay_min)
        coming.add(usable, codes)
        self._all[arm].append((usable, codes))

    def advance(self, minute: int) -> tuple[Minutes, Minutes, Minutes]:
        """Close what can be by a minute: when each block was closed, its own minute, and its value's place."""
        self.through = max(self.through, minute)
        usable, codes = {}, {}
        for arm, coming in self._coming.items():
            reached = int(coming.usable.searchsorted(minute, side="right"))
            usable[arm], codes[arm] = coming.usable[:reached], coming.codes[:reached].tolist()
            coming.usable, coming.codes = coming.usable[reached:], coming.codes[reached:]
        moments = np.unique(np.concatenate(list(usable.values())))
        until = {arm: usable[arm].searchsorted(moments, side="right").tolist() for arm in Arm}
        closed, counts, taken = self._close(moments.tolist(), until, codes)
        if not closed:
            return NOTHING, NOTHING, NOTHING
        right, last = {}, []
        for arm, size in self.values.sizes.items():
            members = np.array(taken[arm], dtype=np.int64).reshape(-1, size)
            right[arm] = (members & 1).sum(axis=1)
            last.append(members[:, -1] >> _MINUTE_BITS)
        places = self.values.places[right[Arm.BASELINE], right[Arm.CANDIDATE]]
        return np.repeat(closed, counts), np.maximum(*last), places

    def _close(
        self,
        moments: Sequence[int],
        until: Mapping[Arm, Sequence[int]],
        codes: Mapping[Arm, Sequence[int]],
    ) -> tuple[list[int], list[int], dict[Arm, list[int]]]:
        """The moments in which blocks close, how many do in each, and their labels, block after block."""
        closed, counts = [], []
        taken: dict[Arm, list[int]] = {arm: [] for arm in Arm}
        done = dict.fromkeys(Arm, 0)
        # Two arms by name: this runs once for every minute of a rollout.
        (one, of_one), (other, of_other) = self.values.sizes.items()
        first, second = self._coming[one].waiting, self._coming[other].waiting
        for number, moment in enumerate(moments):
            first += codes[one][done[one] : until[one][number]]
            second += codes[other][done[other] : until[other][number]]
            done[one], done[other] = until[one][number], until[other][number]
            count = min(len(first) // of_one, len(second) // of_other)
            if count:
                first.sort()
                second.sort()
                taken[one] += first[: count * of_one]
                taken[other] += second[: count * of_other]
                del first[: count * of_one], second[: count * of_other]
                closed.append(moment)
                counts.append(count)
        return closed, counts, taken

    def cut(self, end: int) -> bool:
        """Forget labels of the minutes from `end` on. Whether what was closed in those minutes is closed anew."""
        for arm, every in self._all.items():
            self._all[arm] = [
                (usable[kept], codes[kept])
                for usable, codes in every
                for kept in [codes >> _MINUTE_BITS < end]
            ]
        if self.through < end + self._delay_min:  # none of them was mature
            for coming in self._coming.values():
                coming.keep(coming.codes >> _MINUTE_BITS < end)
            return False
        for arm, coming in self._coming.items():
            self._coming[arm] = again = _Coming(NOTHING, NOTHING, [], coming.drawn)
            for usable, codes in self._all[arm]:
                again.add(usable, codes)
        self.advance(end - 1)
        self.through = end - 1
        return True
