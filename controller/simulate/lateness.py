"""When the labels of simulated answers come: log-normally, as people's answers to a question do.

Half of them within one span and nine in ten within another one; the last of a thousand takes long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.timeline import MINUTE

_NORMAL: Final = NormalDist()
_TENTH: Final = _NORMAL.inv_cdf(0.9)
NEVER_MIN: Final = 1 << 40
"""No label takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """The delay of a label after its answer: log-normal. Needs 0 < `median` < `most`."""

    median: timedelta
    most: timedelta  # 90% quantile

    @property
    def sigma(self) -> float:
        """Standard deviation of the delay's natural logarithm."""
        return math.log(self.most / self.median) / _TENTH

    def within(self, span: timedelta) -> float:
        """The part of the labels that come within a span after their answers."""
        if span <= timedelta(0):
            return 0.0
        return _NORMAL.cdf(math.log(span / self.median) / self.sigma)

    def delays_min(self, random: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Of so many labels, in minutes, rounded up."""
        delays = self.median / MINUTE * np.exp(self.sigma * random.standard_normal(count))
        return np.minimum(np.ceil(delays), NEVER_MIN).astype(np.int64)
