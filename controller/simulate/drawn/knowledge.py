"""What is known at a moment of labels that come late: the sums of a simulated rollout as they were then.

A label that comes after its minute was judged changes that minute, and so does a block that it makes possible. Each
such change is put into the sums when the moment passes it, and taken out again on the way back: the first minute with
a decision is found by halving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes
from controller.rollout.metrics import MICRO
from controller.rollout.plan import Arm
from controller.simulate.drawn.dense import GRADED, REQUESTS_GRADED, RIGHT_U, DenseTallies
from controller.simulate.drawn.lines import NOTHING, LateLine, Values
from controller.simulate.drawn.people import ByPeople, Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """All labels of one arm's units of one intent that arrived together, in order of their minutes.

    `known` is when each comes, never before its minute; `requests` is how many requests each grades. `values` are those
    of the blocks they make; None: no rule bets on any. `by_people` are those that people grade too, if they do.
    """

    arm: Arm
    intent: str
    minutes: Minutes
    right: NDArray[np.bool_]
    requests: NDArray[np.int64]
    known: Minutes
    values: Values | None
    by_people: ByPeople | None = None

    def changes(self, requests_right_u: int | None) -> Iterator[Change]:
        """`requests_right_u` is the column of grades by request, where those are summed apart."""
        right_u = MICRO * self.right
        of_judge = {GRADED: np.ones_like(right_u), RIGHT_U: right_u, REQUESTS_GRADED: self.requests}
        if requests_right_u is not None:
            of_judge[requests_right_u] = right_u * self.requests
        yield self.minutes, self.known, of_judge
        if self.by_people is not None:
            yield from self.by_people.changes()


@dataclass(frozen=True, slots=True)
class ComingBlocks:
    """Blocks of one intent and split version, and when each comes to be known; `places` says where in `values`."""

    values: Values
    minutes: Minutes
    places: NDArray[np.int64]
    known: Minutes


class _Changes:
    """Changes of old minutes, in order of when they come to be known; the first `told` of them are in the sums."""

    def __init__(self, width: int) -> None:
        self.known = NOTHING
        self.rows = np.empty(
            (width, 0), dtype=np.int64
        )  # the first row: the minutes that are changed
        self.told = 0

    def add(self, known: Minutes, rows: NDArray[np.int64]) -> None:
        """None of them known before those that are told."""
        known = np.concatenate([self.known[self.told :], known])
        rows = np.concatenate([self.rows[:, self.told :], rows], axis=1)
        order = known.argsort(kind="stable")
        self.known = np.concatenate([self.known[: self.told], known[order]])
        self.rows = np.concatenate([self.rows[:, : self.told], rows[:, order]], axis=1)

    def move(self, minute: int) -> tuple[NDArray[np.int64], int]:
        """What is to be put in (+1) or taken out (−1) for the sums to be those of a minute."""
        before, self.told = self.told, int(self.known.searchsorted(minute, side="right"))
        if self.told >= before:
            return self.rows[:, before : self.told], +1
        return self.rows[:, self.told : before], -1

    def there(self) -> NDArray[np.int64]:
        """Those that are in the sums."""
        return self.rows[:, : self.told]

    def changed(self, since: int, until: int) -> Minutes:
        """The minutes that changed after one minute and up to another."""
        first, last = self.known.searchsorted([since, until], side="right")
        minutes: Minutes = self.rows[0, first:last]
        return minutes

    def forget(self, kept: NDArray[np.bool_]) -> None:
        """Keep some of those that are not told yet, and all that are."""
        kept = kept | (np.arange(len(kept)) < self.told)
        self.known, self.rows = self.known[kept], self.rows[:, kept]


class Knowledge:
    """Keeps the sums of a rollout as they were known at the end of a minute.

    Invariant: the sums hold every label and block that came up to that minute, and none that came later, of all the
    minutes whose windows can be judged by then.
    """

    def __init__(self, tallies: DenseTallies, *, delay_min: int) -> None:
        self._tallies = tallies
        self._delay_min = delay_min
        self._grades: dict[
            tuple[str, str, tuple[int, ...]], _Changes
        ] = {}  # by arm, intent and columns
        self._lines: dict[tuple[int, str], LateLine] = {}  # by split version and intent
        self._blocks: dict[tuple[int, str], _Changes] = {}

    def take(self, version: int, coming: Coming) -> None:
        """Labels of units that arrived after the minute that the sums are of."""
        for minutes, known, added in coming.changes(self._tallies.columns.requests_right_u):
            late = known > minutes + self._delay_min
            there = {
                column: amounts
                for column, amounts in added.items()
                if column in self._tallies.columns.counted
            }
            rows = np.stack([minutes, *there.values()])
            key = (coming.arm.value, coming.intent, tuple(there))
            changes = self._grades.setdefault(key, _Changes(len(rows)))
            changes.add(known[late], rows[:, late])
        if coming.values is not None:
            line = self._line(version, coming.intent, coming.values)
            line.add(coming.arm, coming.minutes, coming.right, coming.known)

    def _line(self, version: int, intent: str, values: Values) -> LateLine:
        key = (version, intent)
        if key not in self._lines:
            self._lines[key] = LateLine(
                values, delay_min=self._delay_min, first=self._tallies.first
            )
            self._blocks[key] = _Changes(2)
        return self._lines[key]

    def know(self, minute: int) -> None:
        """Make the sums those of a minute: a later or an earlier one."""
        for (arm, intent, columns), changes in self._grades.items():
            (minutes, *amounts), sign = changes.move(minute)
            if len(minutes):
                added = dict(zip(columns, amounts, strict=True))
                self._tallies.amend(arm, intent, minutes, added, sign)
        self.close(minute)
        for key, blocks in self._blocks.items():
            (changed, _), _ = blocks.move(minute)
            if len(changed):
                minutes, places = blocks.there()
                order = minutes.argsort(kind="stable")
                self._tallies.put_blocks(*key, minutes[order], places[order])

    def close(self, minute: int) -> None:
        """Form the blocks of labels that come up to a minute; the sums stay as they are."""
        for key, line in self._lines.items():
            if line.through < minute:
                known, minutes, places = line.advance(minute)
                self._blocks[key].add(known, np.stack([minutes, places]))

    def blocks(self, intent: str | None) -> Iterator[ComingBlocks]:
        """Those of one intent or of all that were formed, by split version."""
        for key, blocks in self._blocks.items():
            if intent is None or key[1] == intent:
                minutes, places = blocks.rows
                yield ComingBlocks(self._lines[key].values, minutes, places, blocks.known)

    def first_changed(self, since: int, until: int) -> int:
        """The first minute of which something came to be known after one minute and up to another; `until` if none."""
        every = (*self._grades.values(), *self._blocks.values())
        return min(
            (int(one.changed(since, until).min(initial=until)) for one in every), default=until
        )

    def changed(self, since: int, until: int) -> list[int]:
        """The minutes of which something came to be known after one minute and up to another, ascending."""
        found = [
            one.changed(since, until) for one in (*self._grades.values(), *self._blocks.values())
        ]
        if not found:
            return []
        minutes: list[int] = np.unique(np.concatenate(found)).tolist()
        return minutes

    def cut(self, end: int) -> None:
        """Forget what arrives from a minute on, as of the minute before it."""
        self.know(end - 1)
        for changes in self._grades.values():
            changes.forget(changes.rows[0] < end)
        for key, line in self._lines.items():
            if line.cut(end):
                # What comes to be known from there on is closed anew.
                self._blocks[key].forget(self._blocks[key].known < end)
