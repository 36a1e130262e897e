"""What requests cost against how many answers are right, minute by minute, from sums: an e-process for "the mean cost
is at most the mean grade".

Costs x are in units of what a right answer may cost. In a minute n requests cost so much in all, and g answers are
graded y. Around a reference rate r, one bet on the costs and one against the grades,

    F = prod_i (1 + s a' (x_i - r)),    G = prod_j (1 - s b' (y_j - r)),    E = F^t G^(1 - t)

with s = 1, a' = a / t, b' = b / (1 - t) and b = a n / g. Let p and q be the conditional means of x and y in that
minute. Of costs that are independent of each other mean F <= exp(a' n (p - r)), of such grades mean G <=
exp(-b' g (q - r)). Whatever a request's cost and its own grade have to do with each other (Hoelder),

    mean of E <= (mean of F)^t (mean of G)^(1 - t) <= exp(a n (p - r) - b g (q - r)) = exp(a n (p - q))

So where p <= q in each minute the product over minutes is a supermartingale (Ville), and reaching 1 / alpha speaks of a
mean of p - q over the minutes, weighted by a n, that is above 0; what r adds cancels. A plain product F G would not do:
an answer that is escalated costs more and is wrong, and -a b cov(x, y) would be added for each request. t weighs the
two by their standard deviations, which makes a' and b' as large as they may be for the same variance.

Sums are enough. ln(1 + u) is concave, so of n costs from 0 to K with sum S the least that F can be worth is S / K of K
and the rest of 0, and the same of grades between their least and largest value (Jensen). The variances are those of
such costs and grades. s = -1 bets on the opposite.

Source: Waudby-Smith & Ramdas 2023, JRSS B 86:1, for the bets; the rest follows from the lines above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats.betting import Floats, Ints

FACTORS: Final = (0.5, 1.0, 2.0)  # times the best bet, as in `matched`
NANO: Final = 1e-9

_CAP: Final = 0.95  # of the largest bet that can never lose everything, as in `betting`


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What is bet, frozen before the data: costs lie from 0 to `most`, grades from `low` to `high`.

    Invariant: low < reference < high, 0 < reference < most, effect > 0. `effect` is the difference of means worth
    finding; a wrong one costs time, never validity.
    """

    most: float
    reference: float
    effect: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        for name in ("most", "low", "high"):
            require.finite(name, getattr(self, name))
        require.inside("reference", self.reference, max(self.low, 0.0), min(self.high, self.most))
        require.positive("effect", self.effect)


def log_wealth_nano(
    n: Ints, spent: Floats, graded: Ints, right: Floats, *, balance: Balance, sign: int
) -> Ints:
    """ln E of each minute and bet, in billionths, rounded down; four arrays (T,) to (T, 3).

    `spent` is the sum of n costs as so many times the largest, 0 to n; `right` how much of the grades is of the highest
    value, the rest being of the lowest: 0 to graded. A minute without requests or grades says nothing: 0. `sign` 1 bets
    on costs being higher than grades, -1 on their being lower.
    """
    sign = require.sign(sign)
    _check_counts(n, spent, graded, right)
    both = (n > 0) & (graded > 0)
    whole = np.where(both, spent, 0.0)
    good = np.where(both, right, 0.0)
    costs, grades = np.where(both, n, 0).astype(float), np.where(both, graded, 0).astype(float)
    _check_parts(whole, costs, good, grades)
    m, most, low, high = balance.reference, balance.most, balance.low, balance.high
    ratio = np.where(both, costs, 1.0) / np.where(both, grades, 1.0)
    of_costs = math.sqrt(m * (most - m))
    of_grades = np.sqrt(ratio * (m - low) * (high - m))
    part = of_costs / (of_costs + of_grades)
    # How far what is bet on may fall: costs when they are bet to be high, grades when they are bet to be low.
    cost_falls, grade_falls = (m, high - m) if sign > 0 else (most - m, m - low)
    cap = _CAP * np.minimum(part / cost_falls, (1 - part) / (ratio * grade_falls))
    bets = np.minimum(np.outer(balance.effect / (of_costs + of_grades) ** 2, FACTORS), cap[:, None])
    ours = sign * bets / part[:, None]
    theirs = sign * bets * (ratio / (1 - part))[:, None]
    on_costs = _mixed(whole, costs, ours * (most - m), -ours * m)
    on_grades = _mixed(good, grades, -theirs * (high - m), theirs * (m - low))
    logs = part[:, None] * on_costs + (1 - part)[:, None] * on_grades
    rounded: Ints = np.floor(np.where(both[:, None], logs, 0.0) / NANO).astype(np.int64)
    return rounded


def _mixed(of_highest: Floats, of_all: Floats, at_highest: Floats, at_lowest: Floats) -> Floats:
    logs: Floats = of_highest[:, None] * np.log1p(at_highest)
    logs += (of_all - of_highest)[:, None] * np.log1p(at_lowest)
    return logs


def _check_counts(n: Ints, spent: Floats, graded: Ints, right: Floats) -> None:
    alike = all(one.shape == n.shape for one in (spent, graded, right))
    if not (alike and require.are_counts(n) and require.are_counts(graded)):
        raise StatisticsError(
            "how many there are in a minute is a number from 0 up, one for each of its sums; one array has others."
        )


def _check_parts(whole: Floats, n: Floats, good: Floats, graded: Floats) -> None:
    for part, of in ((whole, n), (good, graded)):
        # NaN compares as false.
        if not ((part >= 0) & (part <= of)).all():
            raise StatisticsError(
                "sums of a minute lie from 0 to as many times the largest value as there are; one array has others."
            )
