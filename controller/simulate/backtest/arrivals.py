"""When requests arrive, as seconds since the start of a run, one simulated day at a time.

Two patterns, both at a given mean number of units a day and both deterministic:

- `Poisson`: independent arrivals, by seed.
- `Trace`: a recorded arrival pattern stretched in time to that mean and repeated end to end. What remains of the
  recording is its burstiness, at the stretched scale: an hour of 19,366 requests at 5,000 units a day lasts almost
  four days, so a burst of a minute becomes one of an hour and a half. Neither pattern has a daily rhythm.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from controller.errors import DataError
from controller.simulate.backtest.tables import convert, maybe_meant, number, parse_table, read_text

DAY_S = 86_400.0
DEFAULT_WORKLOAD = "conv"


class Arrivals(Protocol):
    """An arrival pattern."""

    @property
    def units_per_day(self) -> float: ...

    def day(self, number: int) -> NDArray[np.float64]:
        """Rising arrival times in [number, number + 1) days, in seconds since the start of the run."""
        ...

    def describe(self) -> str:
        """What it is, in one sentence, for the run's header."""
        ...

    def with_seed(self, seed: int) -> Arrivals:
        """The same pattern, drawn anew where it is drawn."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Independent arrivals at a constant rate. Each day has a generator of its own, so a day can be drawn alone."""

    units_per_day: float
    seed: int

    def day(self, number: int) -> NDArray[np.float64]:
        random = np.random.default_rng([self.seed, number])
        count = random.poisson(self.units_per_day)
        return np.sort(random.uniform(0.0, DAY_S, count)) + number * DAY_S

    def with_seed(self, seed: int) -> Poisson:
        return replace(self, seed=seed)

    def describe(self) -> str:
        return f"made: Poisson, {self.units_per_day:,.0f} units a day, seed {self.seed}; no daily rhythm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded pattern, stretched and repeated.

    `offsets` are the recording's arrival times in [0, 1) of one pass; the pass ends one mean gap after the last, so
    that its repetition does not start on it.
    """

    units_per_day: float
    offsets: NDArray[np.float64]
    name: str
    recorded_s: float

    @property
    def pass_s(self) -> float:
        """How long one pass takes at the stretched scale."""
        return len(self.offsets) / self.units_per_day * DAY_S

    def day(self, number: int) -> NDArray[np.float64]:
        start, end = number * DAY_S, (number + 1) * DAY_S
        passes = range(math.floor(start / self.pass_s), math.floor(end / self.pass_s) + 1)
        times = np.concatenate([(one + self.offsets) * self.pass_s for one in passes])
        return times[(times >= start) & (times < end)]

    def with_seed(self, seed: int) -> Trace:
        """Itself: what is recorded is the same for every seed."""
        return self

    def describe(self) -> str:
        return (
            f"recorded: {self.name}, {len(self.offsets):,} arrivals in {self.recorded_s:,.0f} s, stretched "
            f"{self.pass_s / self.recorded_s:,.1f} times to {self.units_per_day:,.0f} units a day and repeated every "
            f"{self.pass_s / DAY_S:,.2f} days; its bursts at that scale, no daily rhythm"
        )


def read_trace(path: Path, *, units_per_day: float, workload: str = DEFAULT_WORKLOAD) -> Trace:
    """One workload of a trace file with the columns `workload` and `t_s`, plain or gzip; DataError."""
    return parse_trace(
        read_text(path), file=str(path), units_per_day=units_per_day, workload=workload
    )


def parse_trace(text: str, *, file: str, units_per_day: float, workload: str) -> Trace:
    """One workload of a trace in CSV; `file` is its name in messages."""
    table = parse_table(text, file=file, required=("workload", "t_s"))
    times = convert(
        table, partial(number, column="t_s", kind=float, wanted="seconds, not negative")
    )
    names = [row["workload"] for _, row in table.rows]
    known = Counter(names)
    if workload not in known:
        listed = ", ".join(f"{name} ({count:,})" for name, count in known.items())
        raise DataError(
            f"{file}: no workload {workload!r}{maybe_meant(workload, known)}. Rows per workload: {listed}."
        )
    chosen = [(line, t) for (line, t), name in zip(times, names, strict=True) if name == workload]
    unknown = next((line for line, t in chosen if t is None), None)
    if unknown is not None:
        raise DataError(f"{file}:{unknown}: t_s is empty; wanted seconds, not negative.")
    seconds = np.sort(np.array([t for _, t in chosen if t is not None]))
    seconds -= seconds[0]
    if seconds[-1] <= 0:
        raise DataError(f"{file}: workload {workload!r} has no two different arrival times.")
    recorded_s = float(seconds[-1]) * len(seconds) / (len(seconds) - 1)
    return Trace(
        units_per_day=units_per_day,
        offsets=seconds / recorded_s,
        name=f"{Path(file).name}, {workload}",
        recorded_s=recorded_s,
    )
