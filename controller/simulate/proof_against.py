"""When a proof is there, and the figure that has to be shown beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from controller.stats.passage import NEVER, Passage, Values


@dataclass(frozen=True, slots=True)
class ProofAgainst:
    """A proof and, for a loss, the observed figure that has to be over the limit beside it (the guarded form).

    Both are of the same labels and mostly come together, so that both are there is taken to be as likely as the less
    likely of them.
    """

    passage: Passage
    shown: tuple[Values, float] | None = None

    def probability(self, n: float) -> float:
        return min(self.passage.probability(n), self._shown(n))

    def quantile(self, p: float) -> float:
        return max(self.passage.quantile(p), self._shown_from(p))

    def mean(self, most: float) -> float:
        """Of those that are caught within `most` observations, as the mean of equally likely quantiles."""
        sure, parts = self.probability(most), 20
        found = [self.quantile(sure * (part + 0.5) / parts) for part in range(parts)]
        return math.fsum(found) / parts

    def _shown(self, n: float) -> float:
        if self.shown is None:
            return 1.0
        of, limit = self.shown
        over = of.mean - limit
        if over <= 0 or not of.variance:
            return float(over > 0)
        return NormalDist().cdf(over * math.sqrt(n / of.variance))

    def _shown_from(self, p: float) -> float:
        if self.shown is None:
            return 0.0
        of, limit = self.shown
        over = of.mean - limit
        if over <= 0:
            return NEVER
        z = max(NormalDist().inv_cdf(p), 0.0)
        return z * z * of.variance / (over * over)
