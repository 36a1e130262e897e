"""Ratios of means, such as cost per correct answer, by the delta method on sufficient statistics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats.noise import Estimate
from controller.stats.proportions import Interval
from controller.stats.sequential import asymptotic_halfwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioSums:
    """Sums over n units of a numerator x and a denominator y. They add up across minutes and strata.

    Invariant: n >= 2, the sum of y is above 0, squares are not negative.
    """

    n: int
    x: float
    y: float
    xx: float
    yy: float
    xy: float

    def __post_init__(self) -> None:
        require.whole("n", self.n, at_least=2)
        require.finite("sum of x", self.x)
        require.positive("sum of y", self.y)
        require.within("sum of x squared", self.xx, 0, math.inf)
        require.within("sum of y squared", self.yy, 0, math.inf)
        require.finite("sum of x y", self.xy)

    @classmethod
    def of(cls, numerator: Sequence[float], denominator: Sequence[float]) -> "RatioSums":
        x = require.numbers("numerator", numerator, at_least=2)
        y = require.numbers("denominator", denominator, at_least=2)
        if x.size != y.size:
            raise StatisticsError(
                f"{x.size} numerators beside {y.size} denominators; they belong to the same units."
            )
        squares = (float(np.dot(x, x)), float(np.dot(y, y)), float(np.dot(x, y)))
        return cls(
            n=x.size,
            x=float(x.sum()),
            y=float(y.sum()),
            xx=squares[0],
            yy=squares[1],
            xy=squares[2],
        )


def ratio_of_means(sums: RatioSums) -> Estimate:
    """R = sum x / sum y, se = sqrt(sum (x - R y)^2 / ((n - 1) n)) / mean(y).

    Source: delta method; Deng, Knoblich & Lu 2018, KDD.
    """
    ratio = sums.x / sums.y
    residual = max(
        0.0, sums.xx - 2 * ratio * sums.xy + ratio**2 * sums.yy
    )  # rounding may step below 0
    se = math.sqrt(residual / ((sums.n - 1) * sums.n)) / (sums.y / sums.n)
    return Estimate(estimate=ratio, se=se)


def ratio_confidence_sequence(sums: RatioSums, *, alpha: float, n_opt: float) -> Interval:
    """R exp(+-h), h the asymptotic half-width of log R with se(R) / R; for display at any look.

    Needs R > 0 and some variance. Source: delta method on the log; `sequential.asymptotic_halfwidth`.
    """
    ratio = ratio_of_means(sums)
    centre = require.positive("the ratio", ratio.estimate)
    half = asymptotic_halfwidth(se=ratio.se / centre, n=sums.n, n_opt=n_opt, alpha=alpha)
    lower, upper = centre * math.exp(-half), centre * math.exp(half)
    return Interval(
        lower=lower, upper=upper, level=1 - alpha, method="log-ratio confidence sequence"
    )
