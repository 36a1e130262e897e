"""Bets, their wealth and what it must reach, by the formulas of docs/evidence.md: three bets, no cleverness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

AS_USUAL, OF_A_PASSING_LOSS = (0.5, 1.0, 2.0), (0.5, 0.75, 1.5)


@dataclass(frozen=True)
class Bets:
    """Against "the mean of v is at most m"; with `sign` −1 the v are the negated values."""

    sign: int
    m: float
    sizes: tuple[float, ...]

    def gains(self, value: float) -> np.ndarray:
        """By bet, what one observation of this value adds to the logarithm of its wealth."""
        return np.array([math.log(1 + one * (self.sign * value - self.m)) for one in self.sizes])


def tuned(
    *,
    sign: int,
    m: float,
    effect: float,
    variance: float,
    least: float,
    factors: tuple[float, ...] = AS_USUAL,
) -> Bets:
    most = 0.95 / (m - least)
    return Bets(sign, m, tuple(min(one * effect / variance, most) for one in factors))


def against_a_share(limit: float, *, below: bool) -> Bets:
    """To fail: one half more than may be; of what is wrong, where a share must not fall below its limit."""
    variance = limit * (1 - limit)
    if below:
        effect = min(limit, 1 - limit) / 2
        return tuned(sign=-1, m=-limit, effect=effect, variance=variance, least=-1)
    effect = min(1.5 * limit, 1.0) - limit
    return tuned(sign=1, m=limit, effect=effect, variance=variance, least=0)


def for_a_share(limit: float, *, below: bool) -> Bets:
    """To pass: two thirds as far on the other side."""
    variance = limit * (1 - limit)
    if below:
        effect = min(limit, 1 - limit) / 3
        return tuned(sign=1, m=limit, effect=effect, variance=variance, least=0)
    return tuned(sign=-1, m=-limit, effect=limit / 3, variance=variance, least=-1)


def against_a_loss(limit: float, variance: float, *, guarded: bool) -> Bets:
    m = 0.0 if guarded else limit
    return tuned(sign=1, m=m, effect=limit, variance=variance, least=-1)


def for_a_loss(limit: float, variance: float) -> Bets:
    return tuned(
        sign=-1, m=-limit, effect=limit, variance=variance, least=-1, factors=OF_A_PASSING_LOSS
    )


def variance_of_a_block(accuracy: float, first_share: float) -> float:
    k = max(1, round((1 - first_share) / first_share))
    return (1 - accuracy) * accuracy * (1 + 1 / k)


def log_e(wealth: np.ndarray) -> np.ndarray:
    """Of the logarithms of the bets' wealth, (…, 3): that of their mean."""
    top = wealth.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(wealth - top).sum(axis=-1) / wealth.shape[-1])


def threshold(number: int, *, alpha: float, planned: int, first: float) -> float:
    """What the start of this number, from 1, must reach: `first` of alpha is the first one's."""
    if planned * first <= 1:
        needed: float = planned if number <= planned else number * (number + 1) / planned
    elif number == 1:
        needed = 1 / first
    elif number <= planned:
        needed = (planned - 1) / (1 - first)
    else:
        needed = number * (number + 1) / ((1 - first) * planned)
    return math.log(needed / alpha)


def starts(epoch: int, last: int, every: int) -> list[int]:
    """The epoch's first minute, then every full hour (or six, by the UTC clock) before `last`."""
    full = epoch - epoch % every + every
    return [epoch, *range(full, last, every)]


def wilson(count: int, n: int, z: float) -> tuple[float, float]:
    p, w = count / n, z * z / n
    middle, width = p + w / 2, z * math.sqrt(p * (1 - p) / n + w / (4 * n))
    return (middle - width) / (1 + w), (middle + width) / (1 + w)


def newcombe(left: tuple[int, int], right: tuple[int, int], z: float) -> tuple[float, float]:
    """Of a difference of two shares (count, of), by the square-and-add of their Wilson intervals."""
    (p, q), (lower, upper) = (one[0] / one[1] for one in (left, right)), wilson(*left, z)
    below, above = wilson(*right, z)
    gap = p - q
    return (
        gap - math.hypot(p - lower, above - q),
        gap + math.hypot(upper - p, q - below),
    )
