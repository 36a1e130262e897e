"""The tallies of a rollout as one tick reads them: what several rules ask for is added up once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.rollout.counting.columns import Column
from controller.rollout.counting.sums import Minutes
from controller.rollout.counting.tallies import MinuteSums, StratumSums


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows [start, end) in minutes, by end; `starts` never lies before the epoch. `one`: if there is but one."""

    starts: Minutes
    ends: Minutes
    one: tuple[int, int] | None

    @classmethod
    def of(cls, starts: Minutes, ends: Minutes) -> Windows:
        one = (int(starts[0]), int(ends[0])) if len(ends) == 1 else None
        return cls(starts, ends, one)

    @classmethod
    def single(cls, start: int, end: int) -> Windows:
        return cls(np.array([start]), np.array([end]), (start, end))

    @property
    def length_min(self) -> Column:
        """Of each window, in minutes."""
        return self.ends - self.starts if self.one is None else self.one[1] - self.one[0]


class Reader:
    """For one tick: nothing is fed meanwhile, and rows are not kept for longer."""

    def __init__(self, tallies: MinuteSums) -> None:
        self.tallies = tallies
        self._rows: dict[tuple[int, str, str | None, bool], Sequence[int]] = {}

    def before(
        self,
        minute: int,
        keys: tuple[str, ...],
        *,
        arm: str,
        intent: str | None,
        compared: bool = True,
    ) -> list[int]:
        """Sums of `keys` over all minutes before one, of compared traffic or of all."""
        asked = (minute, arm, intent, compared)
        row = self._rows.get(asked)
        if row is None:
            row = self._rows[asked] = self.tallies.row(
                minute, arm=arm, intent=intent, compared=compared
            )
        return [row[place] for place in self.tallies.places(keys, arm)]

    def between(
        self,
        start: int,
        end: int,
        keys: tuple[str, ...],
        *,
        arm: str,
        intent: str | None,
        compared: bool = True,
    ) -> list[int]:
        """Sums of `keys` over [start, end)."""
        opened = self.before(start, keys, arm=arm, intent=intent, compared=compared)
        closed = self.before(end, keys, arm=arm, intent=intent, compared=compared)
        return [after - before for before, after in zip(opened, closed, strict=True)]

    def over(
        self,
        windows: Windows,
        keys: tuple[str, ...],
        *,
        arm: str,
        intent: str | None,
        compared: bool = True,
    ) -> list[Column]:
        """The sum of each key over each window."""
        if windows.one is not None:
            return [*self.between(*windows.one, keys, arm=arm, intent=intent, compared=compared)]
        opened, closed = (
            self.tallies.until(at, keys, arm=arm, intent=intent, compared=compared)
            for at in (windows.starts, windows.ends)
        )
        return list((closed - opened).T)

    def over_stratum(
        self, sums: StratumSums, windows: Windows, keys: tuple[str, ...]
    ) -> list[Column]:
        """The same of one stratum (`Tallies.strata`)."""
        if windows.one is not None:
            opened, closed = (sums.until_one(minute, keys) for minute in windows.one)
            return [after - before for before, after in zip(opened, closed, strict=True)]
        return list((sums.until(windows.ends, keys) - sums.until(windows.starts, keys)).T)
