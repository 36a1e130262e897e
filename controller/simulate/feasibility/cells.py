"""What arrives in stretches of equal length, drawn for many runs at once: units, their requests, and graded ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.rollout.plan import Arm
from controller.simulate.picks import Picks

Table: TypeAlias = NDArray[np.float64]
"""Of each run in each cell, or of each window in each run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Stretches of equal length: what units are expected of each arm in each, and where the candidate is bad."""

    random: np.random.Generator
    runs: int
    units: dict[Arm, Table]
    outside: Table  # those of pinned intents, on the baseline
    bad: NDArray[np.bool_]
    requests_per_unit: float
    length_min: int

    def poisson(self, mean: Table | float) -> Table:
        shape = (self.runs, len(self.bad))
        drawn: Table = self.random.poisson(np.broadcast_to(mean, shape[1:]), shape).astype(float)
        return drawn

    def requests(self, units: Table | float) -> Table:
        """Of so many units, as expected: each has one and a geometric number more."""
        return self.picked(units, Picks(mean=self.requests_per_unit, rate=1.0))

    def picked(self, units: Table | float, of: Picks) -> Table:
        """Those of their requests that are picked."""
        some = self.poisson(units * of.units)
        return some + self._more(some, of.more)

    def split(self, units: Table, usual: Picks, bad: Picks) -> tuple[Table, Table]:
        """Their requests that are picked, and the others."""
        some, none = (
            self.poisson(units * self.either(one, other))
            for one, other in ((usual.units, bad.units), (1 - usual.units, 1 - bad.units))
        )
        picked = some + self._more(some, self.either(usual.more, bad.more))
        left = self.either(usual.left, bad.left)
        return picked, none + self._more(some + none + picked, left)

    def _more(self, order: Table, mean: Table | float) -> Table:
        """Sums of so many geometric numbers from 0 on, each `mean` on average."""
        if not np.any(mean):
            return np.zeros_like(order)
        found: Table = self.random.poisson(mean * self.random.standard_gamma(order)).astype(float)
        return found

    def scattered(self, n: Table, variance: float) -> Table:
        """Sums of n amounts each, of mean 1 and such a variance, taken for gamma variables."""
        if not variance:
            return n
        found: Table = variance * self.random.standard_gamma(n / variance)
        return found

    def either(self, usual: float, bad: float) -> Table:
        found: Table = np.where(self.bad, bad, usual)
        return found
