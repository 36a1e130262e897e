"""Units drawn from a recording: an item with equal chances and with replacement, then one of its trials.

Or each item once, in an order that is drawn: then a run has no more evidence than the recording itself.

Intents therefore come in the recording's proportions of items. One draw is one unit with one request; which arm it
gets, and so which of the pair's two results counts, is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from controller.simulate.backtest.results import Item, ResultPair

_UNITS, _ORDER = (
    1,
    2,
)  # beside the day; the arrivals' generators of the same seed have the day alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One unit: when it arrives, what it asks, and when its label comes in.

    Who grades a part of the answers picks those whose `pick`, uniform in [0, 1), is below it.
    """

    number: int  # from 1
    at: datetime
    labelled_at: datetime
    item: Item
    pair: ResultPair
    pick: float

    @property
    def unit(self) -> str:
        return f"draw-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Draws by seed. Labels come at a uniform delay in [0, label_delay]; each day has a generator of its own."""

    items: tuple[Item, ...]
    start: datetime
    seed: int
    label_delay: timedelta
    once: bool = False

    def day(self, number: int, arrivals: NDArray[np.float64], *, first: int) -> Sequence[Draw]:
        """The draws of one day, by arrival; `arrivals` in seconds since the start, `first` is the first's number."""
        random = np.random.default_rng([self.seed, number, _UNITS])
        if self.once:
            arrivals = arrivals[: max(len(self.items) - first + 1, 0)]
        count = len(arrivals)
        chosen = random.integers(0, len(self.items), count)
        if self.once:
            order = np.random.default_rng([self.seed, 0, _ORDER]).permutation(len(self.items))
            chosen = order[first - 1 : first - 1 + count]
        trials = random.random(count)
        delays = random.random(count) * self.label_delay.total_seconds()
        picks = random.random(count)
        columns = [one.tolist() for one in (arrivals, chosen, trials, delays, picks)]
        return [
            self._draw(first + index, *values)
            for index, values in enumerate(zip(*columns, strict=True))
        ]

    def _draw(
        self, number: int, arrival_s: float, item: int, trial: float, delay_s: float, pick: float
    ) -> Draw:
        at = self.start + timedelta(seconds=arrival_s)
        asked = self.items[item]
        return Draw(
            number=number,
            at=at,
            labelled_at=at + timedelta(seconds=delay_s),
            item=asked,
            pair=asked.pairs[int(trial * len(asked.pairs))],
            pick=pick,
        )
