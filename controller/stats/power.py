"""Sample sizes of fixed designs, to say beforehand what a canary can see.

Real numbers, not rounded up. An any-time test needs about as many in the median and 1.6 times as
many at its 80th percentile.
"""

import math
from statistics import NormalDist
from typing import Literal

from controller.stats import _require as require
from controller.stats._special import poisson_upper_tail
from controller.stats.proportions import restricted_rates

Sides = Literal[1, 2]


def two_proportions(
    *, p1: float, p2: float, alpha: float, power: float, ratio: float = 1.0, sides: Sides = 1
) -> float:
    """Size of group 1 to tell p1 from p2, group 2 being `ratio` times as large.

    n1 = (z_a sqrt(p q (1 + 1/ratio)) + z_b sqrt(p1 q1 + p2 q2 / ratio))^2 / (p1 - p2)^2, p the pooled rate.
    Source: Fleiss, Levin & Paik 2003, ch. 4; equals R's power.prop.test at ratio 1.
    """
    v1, v2 = (require.inside(name, p, 0, 1) * (1 - p) for name, p in (("p1", p1), ("p2", p2)))
    require.positive("the difference of p1 and p2", abs(p1 - p2))
    pooled = (p1 + require.positive("ratio", ratio) * p2) / (1 + ratio)
    null = math.sqrt(pooled * (1 - pooled) * (1 + 1 / ratio))
    return _size(null, math.sqrt(v1 + v2 / ratio), abs(p1 - p2), alpha, power, sides)


def farrington_manning(
    *,
    p_new: float,
    p_old: float,
    margin: float,
    alpha: float,
    power: float,
    ratio_old_to_new: float = 1.0,
) -> float:
    """Size of the new group to show p_new - p_old > -margin, one-sided.

    n = ((z_a s0 + z_b s1) / (p_new - p_old + margin))^2, s0 at the restricted MLE of the true rates.
    Needs p_new - p_old > -margin. Source: Farrington & Manning 1990, Stat. Med. 9:1447.
    """
    truth = _deviation(
        require.inside("p_new", p_new, 0, 1), require.inside("p_old", p_old, 0, 1), ratio_old_to_new
    )
    require.inside("margin", margin, 0, 1)
    new, old = restricted_rates(p_new, p_old, ratio=ratio_old_to_new, difference=-margin)
    return _size(
        _deviation(new, old, ratio_old_to_new), truth, p_new - p_old + margin, alpha, power, 1
    )


def mcnemar(
    *, p_only_baseline: float, p_only_candidate: float, alpha: float, power: float, sides: Sides = 1
) -> float:
    """Pairs to see the loss d = p_only_baseline - p_only_candidate, psi = their sum.

    n = (z_a sqrt(psi) + z_b sqrt(psi - d^2))^2 / d^2. Source: Connor 1987, Biometrics 43:207.
    """
    require.inside("p_only_baseline", p_only_baseline, 0, 1)
    require.inside("p_only_candidate", p_only_candidate, 0, 1)
    psi = require.within("discordance", p_only_baseline + p_only_candidate, 0, 1)
    d = abs(p_only_baseline - p_only_candidate)
    return _size(math.sqrt(psi), math.sqrt(psi - d * d), d, alpha, power, sides)


def _deviation(p_new: float, p_old: float, ratio: float) -> float:
    return math.sqrt(p_new * (1 - p_new) + p_old * (1 - p_old) / require.positive("ratio", ratio))


def _size(
    null: float, alternative: float, effect: float, alpha: float, power: float, sides: Sides
) -> float:
    require.inside("alpha", alpha, 0, 0.5)
    z_alpha = NormalDist().inv_cdf(1 - alpha / require.one_or_two("sides", sides))
    z_power = NormalDist().inv_cdf(require.inside("power", power, alpha, 1))
    return ((z_alpha * null + z_power * alternative) / require.positive("effect", effect)) ** 2


def arrivals_at_least(count: int, expected: float) -> float:
    """P(at least `count` arrive) where `expected` do, independently of one another: a Poisson number's upper tail."""
    require.whole("count", count, at_least=0)
    if count == 0:
        return 1.0
    if require.within("expected", expected, 0, math.inf) == 0:
        return 0.0
    return poisson_upper_tail(count, expected)
