"""What is known beforehand of healthy answers: how long they take, what they cost, what is flagged on them.

It comes from a store's history or from what a person says; what neither tells is left out, never assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.plan import Arm
from controller.stats.histogram import GAMMA, bucket_of, value_of

SPREAD: Final = 1.0
"""The standard deviation of what a request costs, as so many times its mean, where nobody has counted it."""

_LOG_GAMMA: Final = math.log(GAMMA)
_NORMAL: Final = NormalDist()
_REACH: Final = 6.0  # standard deviations of a log-normal that are kept on either side


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """How long requests take: which part of them lies in each of some buckets (`stats.histogram`).

    Invariant: buckets rise, no part is negative, and they add up to 1. `source` says in words where it is from.
    """

    buckets: NDArray[np.int64]
    parts: NDArray[np.float64]
    source: str

    @classmethod
    def counted(cls, counts: Mapping[int, int], source: str) -> Latencies:
        """Of a histogram with at least one request."""
        buckets = np.array(sorted(counts), dtype=np.int64)
        n = np.array([counts[bucket] for bucket in buckets.tolist()], dtype=np.float64)
        return cls(buckets, n / n.sum(), source)

    @classmethod
    def log_normal(cls, median_s: float, p95_s: float) -> Latencies:
        """Needs 0 < median < 95% quantile."""
        mean, spread = math.log(median_s), math.log(p95_s / median_s) / _NORMAL.inv_cdf(0.95)
        first = bucket_of(math.exp(mean - _REACH * spread))
        last = bucket_of(math.exp(mean + _REACH * spread))
        edges = (np.arange(first - 1, last + 1) * _LOG_GAMMA - mean) / spread
        parts = np.diff([_NORMAL.cdf(edge) for edge in edges.tolist()])
        told = f"log-normal, median {median_s:g} s, p95 {p95_s:g} s"
        return cls(np.arange(first, last + 1), parts / parts.sum(), told)

    def above(self, bucket: int) -> float:
        """The part that lies in buckets above one."""
        return float(self.parts[self.buckets > bucket].sum())

    def quantile(self, q: float) -> float:
        """In seconds, as rules tell it of many requests."""
        return value_of(self.quantile_bucket(q))

    def quantile_bucket(self, q: float) -> int:
        place = int(self.parts.cumsum().searchsorted(q, side="right"))
        return int(self.buckets[min(place, len(self.buckets) - 1)])

    def slower(self, factor: float) -> Latencies:
        """Where every request takes so many times as long. What lies between two buckets is shared out."""
        moved = math.log(factor) / _LOG_GAMMA
        whole = math.floor(moved)
        buckets = np.arange(self.buckets[0] + whole, self.buckets[-1] + whole + 2)
        parts = np.zeros(len(buckets))
        places = self.buckets - self.buckets[0]
        parts[places] += self.parts * (1 - (moved - whole))
        parts[places + 1] += self.parts * (moved - whole)
        return Latencies(buckets, parts, self.source)

    def with_quantile(self, q: float, seconds: float) -> Latencies:
        """The same shape, so slow that a quantile is at so many seconds."""
        return self.slower(seconds / self.quantile(q))

    @property
    def mean_s(self) -> float:
        return float(self.parts @ self._values)

    @property
    def deviation_s(self) -> float:
        return math.sqrt(float(self.parts @ (self._values - self.mean_s) ** 2))

    @property
    def _values(self) -> NDArray[np.float64]:
        return np.array([value_of(bucket) for bucket in self.buckets.tolist()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What is known of healthy answers beside `Traffic`. By arm, what takes how long: `latency`, `ttft`.

    `flagged` is which part of an arm's known requests has a flag; `request_usd` and `request_tokens` are means of one
    request, `request_spread` the standard deviation of its cost over that mean. `source` names where it was learnt,
    None: told by a person, or nothing is known.
    """

    sizes: Mapping[tuple[Arm, str], Latencies] = field(default_factory=dict)
    flagged: Mapping[tuple[Arm, str], float] = field(default_factory=dict)
    request_usd: Mapping[Arm, float] = field(default_factory=dict)
    request_spread: Mapping[Arm, float] = field(default_factory=dict)
    request_tokens: Mapping[Arm, float] = field(default_factory=dict)
    tokens_per_second: Mapping[Arm, float] = field(default_factory=dict)
    source: str | None = None

    def of(self, arm: Arm, subject: str) -> Latencies | None:
        """How long an arm's answers take: a healthy candidate of which nothing is known, as long as the baseline."""
        known = self.sizes.get((arm, subject))
        return known if known is not None else self.sizes.get((Arm.BASELINE, subject))
