"""Distribution-free intervals for a quantile: which order statistics enclose it, whatever the shape.

With B ~ Binomial(n, q) the number of values below the quantile, P(X_(k) <= quantile) = P(B >= k).
Source: David & Nagaraja, Order Statistics, 7.1. Ranks count from 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats._special import binomial_cdf


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The quantile lies between the lower-th and upper-th smallest value with probability `coverage`."""

    lower: int
    upper: int
    coverage: float


def order_statistic_ranks(n: int, quantile: float, *, level: float = 0.95) -> Ranks:
    """l = max{k: P(B <= k-1) <= a/2}, u = min{k: P(B <= k-1) >= 1 - a/2}, a = 1 - level.

    Raises when n values cannot enclose the quantile at this level (p95 at 0.95 needs 72 values).
    """
    n = require.whole("n", n, at_least=1)
    require.inside("quantile", quantile, 0, 1)
    tail = (1 - require.inside("level", level, 0, 1)) / 2
    lower = _first(lambda k: binomial_cdf(k - 1, n, quantile) > tail, n + 1) - 1
    upper = _first(lambda k: binomial_cdf(k - 1, n, quantile) >= 1 - tail, n + 1)
    if lower < 1 or upper > n:
        raise StatisticsError(
            f"{n} values cannot enclose the {quantile} quantile at level {level}; collect more."
        )
    coverage = binomial_cdf(upper - 1, n, quantile) - binomial_cdf(lower - 1, n, quantile)
    return Ranks(lower=lower, upper=upper, coverage=coverage)


def wilks_sample_size(*, quantile: float, confidence: float, order: int = 1) -> int:
    """The smallest n whose order-th largest value exceeds the quantile with this confidence.

    P(B <= n - order) >= confidence: 59 values for p95 at 0.95. Source: Wilks 1941, Ann. Math. Stat. 12:91.
    """
    order = require.whole("order", order, at_least=1)
    inside = (
        require.inside("quantile", quantile, 0, 1),
        require.inside("confidence", confidence, 0, 1),
    )
    ceiling = order
    while binomial_cdf(ceiling - order, ceiling, inside[0]) < inside[1]:
        ceiling *= 2
    return _first(lambda n: binomial_cdf(n - order, n, quantile) >= confidence, ceiling)


def _first(holds: Callable[[int], bool], last: int) -> int:
    """The smallest k in 1 .. last where a condition that stays true once true holds; it holds at last."""
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
