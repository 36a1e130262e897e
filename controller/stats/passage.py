"""When a betting e-process will reach its threshold: the first passage of a random walk.

On independent values each bet's log wealth is a random walk. The three walks see the same values, and by the central
limit theorem they move as one Brownian motion Y in the clock V of its own variance:

    log W_j = M_j + r_j Y(V),    M_j the mean gained, r_j a bet's standard deviation over the middle one's

(one motion exactly for 0/1 values, nearly for others). So log E reaches b where Y reaches a boundary y, at which the
log of the mean of the three wealths is b. The law of the first passage T follows from Fortet's equation: who is beyond
the boundary at V has passed it once, and went on from there,

    P(Y(V) > y(V)) = ∫ P(T ∈ dU) Φ((y(U) − y(V)) / √(V − U))

which is solved on a grid (Durbin 1971, J. Appl. Prob. 8:431); a straight boundary has the inverse Gaussian law (Wald).
A walk in steps passes a little beyond b: on average by E(X₊³)/(3 E(X₊²)), the overshoot of a walk without drift whose
steps are small (after Siegmund 1985, Sequential Analysis, ch. VIII), which is added to b.

Quantiles are within some 3% of drawn walks. Passages that only a rare run of luck brings, as where the claim is true,
are more than the normal limit says; Ville's bound is what counts there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats._special import normal_cdf
from controller.stats.betting import Bets, Floats, log_increments

Three: TypeAlias = tuple[float, float, float]
"""One number for each bet."""

NOTHING: Final[Three] = (0.0, 0.0, 0.0)
NEVER: Final = math.inf

_MOST: Final = 1e9  # observations: what is not there by then never is
_POINTS: Final = 24 * 9  # at which the law is told, 24 in each tenfold
_BEFORE: Final = 48  # the same for what comes before
_FEW: Final = 10_000
_RUNS_AWAY: Final = 1e-3
_MIDDLE: Final = 1
_LN_3: Final = math.log(3)
_NORMAL: Final = NormalDist()
_REACH: Final = 9.0  # standard deviations, beyond which there is nothing
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, slots=True)
class Values:
    """What one observation is like: the values it can have, and how likely each is.

    Invariant: as many probabilities as values, none negative, adding up to 1.
    """

    values: Floats
    probabilities: Floats

    def __post_init__(self) -> None:
        values = require.numbers("values", self.values, at_least=1)
        likely = require.numbers("probabilities", self.probabilities, at_least=1)
        if values.shape != likely.shape:
            raise StatisticsError(
                f"{values.size} values have {likely.size} probabilities; each needs one."
            )
        if likely.min() < -1e-12 or abs(likely.sum() - 1) > 1e-9:
            raise StatisticsError(
                f"probabilities run from {likely.min()} and add up to {likely.sum()}; "
                "none may be negative, and they must add up to 1."
            )

    @property
    def mean(self) -> float:
        return float(self.probabilities @ self.values)

    @property
    def variance(self) -> float:
        return float(self.probabilities @ (self.values - self.mean) ** 2)

    @property
    def negated(self) -> Values:
        """For the opposite claim."""
        return Values(-self.values, self.probabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one observation adds to each bet's log wealth: mean, variance, and by how much a passage overshoots.

    Invariant: all are finite.
    """

    mean: Three
    variance: Three
    overshoot: Three

    def __post_init__(self) -> None:
        for name in ("mean", "variance", "overshoot"):
            for one in getattr(self, name):
                require.finite(name, one)


def growth(of: Values, bets: Bets) -> Growth:
    """Of one observation. Raises where a value lies below what the bets allow."""
    return growth_of(log_increments(of.values, bets), of.probabilities)


def growth_of(gained: Floats, probabilities: Floats) -> Growth:
    """Of what each bet may gain, (3, N), and how likely each of the N is."""
    if gained.shape != (3, *probabilities.shape):
        raise StatisticsError(
            f"gains have shape {gained.shape}; three rows of {probabilities.size} are needed."
        )
    mean = gained @ probabilities
    variance = (gained - mean[:, None]) ** 2 @ probabilities
    up = np.maximum(gained, 0)
    cubes, squares = up**3 @ probabilities, up**2 @ probabilities
    overshoot = np.divide(cubes, 3 * squares, out=np.zeros(3), where=squares > 0)
    return Growth(
        mean=_three(mean.tolist()),
        variance=_three(variance.tolist()),
        overshoot=_three(overshoot.tolist()),
    )


@dataclass(frozen=True, kw_only=True)
class Passage:
    """When an e-process first reaches a threshold, in observations from here on, as real numbers.

    Each of them adds `growth`. `held` is the log wealth of each bet that is known. To it come observations that will
    be made `before` those that are counted, of other kinds (at another share): how many, and what each adds.
    Invariant: numbers are finite, and how many is from 0 up.
    """

    growth: Growth
    log_threshold: float
    held: Three = NOTHING
    before: tuple[tuple[float, Growth], ...] = ()

    def __post_init__(self) -> None:
        require.finite("log_threshold", self.log_threshold)
        require.numbers("held", self.held, at_least=3)
        for n, _ in self.before:
            require.within("before", n, 0, math.inf)

    def probability(self, n: float) -> float:
        """That the threshold was reached within `n` observations."""
        require.within("n", n, 0, math.inf)
        if self._is_certain:
            return float(n >= self._certainly_after())
        counts, passed = self._law
        return float(np.interp(n, counts, passed))

    def quantile(self, probability: float) -> float:
        """The least number of observations within which the threshold is reached so surely; NEVER if there is none."""
        require.inside("probability", probability, 0, 1)
        if self._is_certain:
            return self._certainly_after()
        counts, passed = self._law
        place = int(passed.searchsorted(probability))
        if place == len(passed):
            return NEVER
        if place == 0:
            return 0.0
        return float(
            np.interp(probability, passed[place - 1 : place + 1], counts[place - 1 : place + 1])
        )

    @property
    def _is_certain(self) -> bool:
        return self.growth.variance[_MIDDLE] <= 0

    def _certainly_after(self) -> float:
        """Where every observation is the same: the least whole number that is enough; above 10,000 up to 6% more."""
        mean = _rows(self.held) + sum(n * _rows(gained.mean) for n, gained in self.before)
        counts = np.concatenate([np.arange(_FEW), np.geomspace(_FEW, _MOST, _POINTS)])
        wealth = mean + np.outer(self.growth.mean, counts)
        reached = (_log_mean_exp(wealth) >= self.log_threshold).nonzero()[0]
        return float(counts[reached[0]]) if reached.size else NEVER

    @cached_property
    def _law(self) -> tuple[Floats, Floats]:
        """Counts of observations, rising from 0, and the probability that the threshold was reached within each."""
        counts = np.geomspace(1.0, _MOST, _POINTS)
        if _log_mean_exp(_rows(self.held))[0] >= self.log_threshold:
            return counts, np.ones_like(counts)
        stages = [(np.geomspace(n / 1e3, n, _BEFORE), gained) for n, gained in self.before if n > 0]
        level, clock = self._path([*stages, (counts, self.growth)])
        passed = np.concatenate([[0.0], _passed(level, clock)])[-len(counts) - 1 :]
        return np.concatenate([[0.0], counts]), passed

    def _path(self, stages: Sequence[tuple[Floats, Growth]]) -> tuple[Floats, Floats]:
        """Where Y must be at points along all stages, and its clock there."""
        mean, variance, beyond = _rows(self.held), np.zeros((3, 1)), []
        means, variances = [], []
        for counts, gained in stages:
            means.append(mean + np.outer(gained.mean, counts))
            variances.append(variance + np.outer(gained.variance, counts))
            beyond.append(np.tile(_rows(gained.overshoot), len(counts)))
            mean, variance = means[-1][:, -1:], variances[-1][:, -1:]
        wealth, spread = np.hstack(means), np.hstack(variances)
        clock = spread[_MIDDLE]
        swings = np.sqrt(spread / clock)
        needed = np.full(clock.shape, self.log_threshold)
        _, weights = _boundary(wealth, swings, needed)
        level, _ = _boundary(wealth, swings, needed + (weights * np.hstack(beyond)).sum(axis=0))
        return level, clock


def either(first: float, second: float, correlation: float) -> float:
    """P(at least one of two events) that a normal variable each decides, with such a correlation between the two.

    1 - P(X > a, Y > b) where P(X <= a) and P(Y <= b) are those of the events: the integral over x above a of
    phi(x) Phi((rho x - b) / sqrt(1 - rho^2)), by Gauss and Legendre. Needs a correlation inside (-1, 1).
    """
    for name, likely in (("first", first), ("second", second)):
        require.within(name, likely, 0, 1)
    rho = require.inside("correlation", correlation, -1, 1)
    if max(first, second) >= 1 or min(first, second) <= 0:
        return max(first, second)
    a, b = (_NORMAL.inv_cdf(likely) for likely in (first, second))
    middle, half = (a + _REACH) / 2, (_REACH - a) / 2
    x = middle + half * _NODES
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    neither = half * _WEIGHTS @ (density * normal_cdf((rho * x - b) / math.sqrt(1 - rho**2)))
    return max(1 - float(neither), first, second)


def _boundary(mean: Floats, swings: Floats, log_threshold: Floats) -> tuple[Floats, Floats]:
    """Where Y must be for log E to be at the threshold, (N,), and each bet's part of the wealth there, (3, N).

    The log of a mean of exponentials rises and is convex in Y, so Newton's steps from above come down to it.
    """
    level = ((log_threshold + _LN_3 - mean) / swings).min(axis=0)
    while True:
        wealth = mean + swings * level
        merged = _log_mean_exp(wealth)
        weights = np.exp(wealth - merged - _LN_3)
        step = (merged - log_threshold) / (weights * swings).sum(axis=0)
        if not (step > 1e-9 * (1 + np.abs(level))).any():
            return level, weights
        level = level - step


def _passed(level: Floats, clock: Floats) -> Floats:
    """P(a Brownian motion from 0 has been at the boundary by each moment of a rising clock), (N,).

    Fortet's equation, the passages of a stretch of the grid taken to be in its middle.
    """
    before = np.concatenate([[0.0], clock[:-1]])
    middle = (before + clock) / 2
    there = (np.concatenate([level[:1], level[:-1]]) + level) / 2
    left = np.maximum(clock[:, None] - middle, np.finfo(float).tiny)
    beyond = np.tril(normal_cdf((there - level[:, None]) / np.sqrt(left)))
    seen = normal_cdf(-level / np.sqrt(clock))
    parts = np.zeros_like(seen)
    for i, within in enumerate(beyond.diagonal().tolist()):
        # Where the boundary runs away, nobody who passes it stays beyond, and hardly anybody passes it.
        if within > _RUNS_AWAY:
            parts[i] = max((seen[i] - beyond[i, :i] @ parts[:i]) / within, 0.0)
    passed: Floats = np.minimum(parts.cumsum(), 1.0)
    return passed


def _log_mean_exp(wealth: Floats) -> Floats:
    top = wealth.max(axis=0)
    merged: Floats = top + np.log(np.exp(wealth - top).sum(axis=0)) - _LN_3
    return merged


def _rows(three: Three) -> Floats:
    return np.array(three)[:, None]


def _three(numbers: Iterable[float]) -> Three:
    one, two, three = numbers
    return one, two, three
