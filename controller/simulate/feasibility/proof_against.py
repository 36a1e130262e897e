"""When a proof is there, and the figure that has to be shown beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from controller.stats.passage import NEVER, Passage, either


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure that has to be over a limit: of one observation its mean and variance, and of how many there is one."""

    mean: float
    variance: float
    limit: float
    least: int = 0

    def probability(self, n: float) -> float:
        """That it is over the limit, of n observations."""
        over = self.mean - self.limit
        if over <= 0 or not self.variance or n < self.least:
            return float(over > 0 and n >= self.least)
        return NormalDist().cdf(over * math.sqrt(n / self.variance))

    def quantile(self, p: float) -> float:
        """From how many on it is so surely over the limit."""
        over = self.mean - self.limit
        if over <= 0:
            return NEVER
        z = max(NormalDist().inv_cdf(p), 0.0)
        return max(z * z * self.variance / (over * over), self.least)


@dataclass(frozen=True, slots=True)
class ProofAgainst:
    """A proof and, for a loss, the observed figure that has to be over the limit beside it (the guarded form).

    Both are of the same labels and mostly come together, so that both are there is taken to be as likely as the less
    likely of them.
    """

    passage: Passage
    shown: Shown | None = None

    def probability(self, n: float) -> float:
        beside = 1.0 if self.shown is None else self.shown.probability(n)
        return min(self.passage.probability(n), beside)

    def quantile(self, p: float) -> float:
        beside = 0.0 if self.shown is None else self.shown.quantile(p)
        return max(self.passage.quantile(p), beside)


@dataclass(frozen=True, slots=True)
class Soonest:
    """The first of one or two proofs by different grades, each with how many observations it has a minute.

    Grades of the same answers hang together: `correlation` is that of what both proofs go by.
    """

    proofs: tuple[tuple[float, ProofAgainst], ...]
    correlation: float = 0.0

    def probability(self, length_min: float) -> float:
        first, *others = (one.probability(n * length_min) for n, one in self.proofs)
        for other in others:
            first = either(first, other, self.correlation)
        return first

    def quantile(self, p: float, most_min: float) -> float:
        """In minutes; NEVER where it is not so sure within `most_min`."""
        each = [one.quantile(p) / n if n else NEVER for n, one in self.proofs]
        if len(each) == 1:
            return each[0] if each[0] <= most_min else NEVER
        low, high = 0.0, min(*each, most_min)
        if high == most_min and self.probability(high) < p:
            return NEVER
        while high - low > 1e-3 * high:
            middle = (low + high) / 2
            low, high = (low, middle) if self.probability(middle) >= p else (middle, high)
        return high

    def mean(self, most_min: float) -> float:
        """Of those that are caught within so many minutes, as the mean of equally likely quantiles."""
        sure, parts = self.probability(most_min), 20
        found = [self.quantile(sure * (part + 0.5) / parts, most_min) for part in range(parts)]
        return math.fsum(found) / parts
