"""Intervals for one proportion and for the difference of two independent ones.

Fixed-sample methods: valid at one look, so they are for reports and displays, never for a stop.
Counts may be fractional (sums of per-episode means): the binomial variance then bounds the true one.
Differences are p1 - p2; with group 1 the baseline that is the loss.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats._special import beta_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A two-sided interval in the unit of its estimate. Invariant: lower <= upper, 0 < level < 1."""

    lower: float
    upper: float
    level: float
    method: str

    def __post_init__(self) -> None:
        require.inside("level", self.level, 0, 1)
        if not self.lower <= self.upper:
            raise StatisticsError(
                f"{self.method}: the interval [{self.lower}, {self.upper}] is not one."
            )


def critical_z(level: float) -> float:
    """The normal quantile that leaves (1 - level) / 2 above it: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + require.inside("level", level, 0, 1)) / 2)


def wilson(count: float, n: int, *, level: float = 0.95) -> Interval:
    """Score interval: all p with |p_hat - p| <= z sqrt(p (1 - p) / n).

    Source: Wilson 1927; Newcombe 1998, Stat. Med. 17:857, method 3.
    """
    p, z, n = require.share_of("count", count, n), critical_z(level), int(n)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    lower = (
        0.0 if count <= 0 else max(0.0, centre - half)
    )  # exact at the edges, where rounding is not
    upper = 1.0 if count >= n else min(1.0, centre + half)
    return Interval(lower=lower, upper=upper, level=level, method="wilson")


def clopper_pearson(count: float, n: int, *, level: float = 0.95) -> Interval:
    """Exact interval from Beta quantiles; covers at least `level`.

    Source: Clopper & Pearson 1934.
    """
    require.share_of("count", count, n)
    tail = (1 - require.inside("level", level, 0, 1)) / 2
    lower = 0.0 if count <= 0 else beta_quantile(tail, count, n - count + 1)
    upper = 1.0 if count >= n else beta_quantile(1 - tail, count + 1, n - count)
    return Interval(lower=lower, upper=upper, level=level, method="clopper-pearson")


def jeffreys(count: float, n: int, *, level: float = 0.95) -> Interval:
    """Equal-tailed interval of the Beta(count + 1/2, n - count + 1/2) posterior.

    Source: Brown, Cai & DasGupta 2001, Stat. Sci. 16:101.
    """
    require.share_of("count", count, n)
    tail = (1 - require.inside("level", level, 0, 1)) / 2
    a, b = count + 0.5, n - count + 0.5
    return Interval(
        lower=beta_quantile(tail, a, b),
        upper=beta_quantile(1 - tail, a, b),
        level=level,
        method="jeffreys",
    )


def newcombe_difference(
    count1: float, n1: int, count2: float, n2: int, *, level: float = 0.95
) -> Interval:
    """p1 - p2 by squaring and adding the two Wilson intervals.

    Source: Newcombe 1998, Stat. Med. 17:873, method 10.
    """
    p1, p2 = require.share_of("count1", count1, n1), require.share_of("count2", count2, n2)
    one, two = wilson(count1, n1, level=level), wilson(count2, n2, level=level)
    lower = p1 - p2 - math.hypot(p1 - one.lower, two.upper - p2)
    upper = p1 - p2 + math.hypot(one.upper - p1, p2 - two.lower)
    return Interval(lower=lower, upper=upper, level=level, method="newcombe")


def agresti_caffo(
    count1: float, n1: int, count2: float, n2: int, *, level: float = 0.95
) -> Interval:
    """Wald interval for p1 - p2 after adding one success and one failure to each group, cut to [-1, 1].

    Source: Agresti & Caffo 2000, Am. Stat. 54:280.
    """
    require.share_of("count1", count1, n1)
    require.share_of("count2", count2, n2)
    p1, p2 = (count1 + 1) / (n1 + 2), (count2 + 1) / (n2 + 2)
    half = critical_z(level) * math.sqrt(p1 * (1 - p1) / (n1 + 2) + p2 * (1 - p2) / (n2 + 2))
    lower, upper = max(-1.0, p1 - p2 - half), min(1.0, p1 - p2 + half)
    return Interval(lower=lower, upper=upper, level=level, method="agresti-caffo")


def miettinen_nurminen(
    count1: float, n1: int, count2: float, n2: int, *, level: float = 0.95
) -> Interval:
    """Score interval for p1 - p2, variance at the restricted MLE times N / (N - 1).

    Source: Miettinen & Nurminen 1985, Stat. Med. 4:213; Newcombe 1998, method 5.
    """
    n1, n2 = require.whole("n1", n1, at_least=1), require.whole("n2", n2, at_least=1)
    inflation = (n1 + n2) / (n1 + n2 - 1)
    return _score_interval(count1, n1, count2, n2, level, inflation, "miettinen-nurminen")


def mee(count1: float, n1: int, count2: float, n2: int, *, level: float = 0.95) -> Interval:
    """Score interval for p1 - p2, variance at the restricted MLE. Source: Mee 1984; Newcombe 1998, method 6."""
    return _score_interval(count1, n1, count2, n2, level, 1.0, "mee")


def restricted_mle(
    count1: float, n1: int, count2: float, n2: int, *, difference: float
) -> tuple[float, float]:
    """The most likely (p1, p2) among those with p1 - p2 = difference, -1 <= difference <= 1."""
    p1, p2 = require.share_of("count1", count1, n1), require.share_of("count2", count2, n2)
    return restricted_rates(p1, p2, ratio=n2 / n1, difference=difference)


def restricted_rates(
    p1: float, p2: float, *, ratio: float, difference: float
) -> tuple[float, float]:
    """The same from observed rates and ratio = n2 / n1; the sizes themselves do not matter.

    The middle root of a cubic in p1, in closed form.
    Source: Farrington & Manning 1990, Stat. Med. 9:1447, appendix.
    """
    t, delta = require.positive("ratio", ratio), require.within("difference", difference, -1, 1)
    require.within("p1", p1, 0, 1)
    require.within("p2", p2, 0, 1)
    a, b = 1 + t, -(1 + t + p1 + t * p2 + delta * (t + 2))
    c, d = delta * delta + delta * (2 * p1 + t + 1) + p1 + t * p2, -p1 * delta * (1 + delta)
    root = min(max(_middle_root(a, b, c, d), max(0.0, delta)), min(1.0, 1 + delta))
    return root, min(max(root - delta, 0.0), 1.0)


def _middle_root(a: float, b: float, c: float, d: float) -> float:
    """The root of a x^3 + b x^2 + c x + d that is a maximum of the likelihood; all three are real."""
    v = (b / (3 * a)) ** 3 - b * c / (6 * a * a) + d / (2 * a)
    u = math.copysign(math.sqrt(max(0.0, (b / (3 * a)) ** 2 - c / (3 * a))), v)
    if u == 0:
        return -b / (3 * a)
    angle = math.acos(min(1.0, max(-1.0, v / u**3)))  # rounding may step out by 1e-16
    return 2 * u * math.cos((math.pi + angle) / 3) - b / (3 * a)


@dataclass(frozen=True, slots=True, kw_only=True)
class NonInferiority:
    """A one-sided score test of "the new rate is lower than the old by the margin or more"."""

    z: float
    p_value: float
    p_new_null: float
    p_old_null: float


def farrington_manning(
    count_new: float, n_new: int, count_old: float, n_old: int, *, margin: float
) -> NonInferiority:
    """Test of H0: p_new - p_old <= -margin, variance at the restricted MLE under H0; 0 <= margin < 1.

    z = (p_new - p_old + margin) / sqrt(pn (1 - pn) / n_new + po (1 - po) / n_old). One look only.
    Raises when that variance is 0. Source: Farrington & Manning 1990, Stat. Med. 9:1447.
    """
    require.within("margin", margin, 0, 1)
    p_new, p_old = (
        require.share_of("count_new", count_new, n_new),
        require.share_of("count_old", count_old, n_old),
    )
    new, old = restricted_mle(count_new, n_new, count_old, n_old, difference=-margin)
    variance = new * (1 - new) / n_new + old * (1 - old) / n_old
    z = (p_new - p_old + margin) / math.sqrt(require.positive("variance under H0", variance))
    return NonInferiority(z=z, p_value=NormalDist().cdf(-z), p_new_null=new, p_old_null=old)


def standardised(excess: float, variance: float) -> float:
    """excess / sqrt(variance), with its limit where the variance is 0 or rounded below: signed infinity, or 0 for 0."""
    require.finite("excess", excess)
    if require.finite("variance", variance) > 0:
        return excess / math.sqrt(variance)
    return math.copysign(math.inf, excess) if excess else 0.0


def invert(
    score: Callable[[float], float], estimate: float, *, level: float, method: str
) -> Interval:
    """The differences in [-1, 1] whose score is within +-z; `score` falls and is 0 at the estimate.

    By bisection to 1e-15: score equations are flat near the corners, where Newton steps out.
    """
    z = critical_z(level)
    require.within("estimate", estimate, -1, 1)
    lower = _crossing(lambda d: score(d) > z, -1.0, estimate)
    upper = _crossing(lambda d: score(d) > -z, estimate, 1.0)
    return Interval(lower=lower, upper=upper, level=level, method=method)


def _crossing(above: Callable[[float], bool], low: float, high: float) -> float:
    """Where a falling condition turns false, between low and high."""
    for _ in range(52):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return high


def _score_interval(
    count1: float, n1: int, count2: float, n2: int, level: float, inflation: float, method: str
) -> Interval:
    estimate = require.share_of("count1", count1, n1) - require.share_of("count2", count2, n2)

    def score(difference: float) -> float:
        p1, p2 = restricted_mle(count1, n1, count2, n2, difference=difference)
        variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * inflation
        return standardised(estimate - difference, variance)

    return invert(score, estimate, level=level, method=method)
