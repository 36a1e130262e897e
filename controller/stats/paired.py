"""Paired accuracy: both models answered the same prompt, so only the discordant pairs speak.

Fixed-sample methods for reports; the any-time form is `betting.loss_bets` on v in {-1, 0, 1}.
Several runs of one prompt are not independent pairs: aggregate them per prompt, then `sign_flip_p`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.stats import _require as require
from controller.stats.proportions import Interval, critical_z, invert, standardised, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTable:
    """Pairs by who was right. Invariant: four whole counts, at least one pair, in Python's own ints: no overflow."""

    both: int
    only_baseline: int
    only_candidate: int
    neither: int

    def __post_init__(self) -> None:
        for name in ("both", "only_baseline", "only_candidate", "neither"):
            object.__setattr__(self, name, require.whole(name, getattr(self, name), at_least=0))
        require.whole("pairs", self.pairs, at_least=1)

    @property
    def pairs(self) -> int:
        return self.both + self.only_baseline + self.only_candidate + self.neither

    @property
    def discordant(self) -> int:
        return self.only_baseline + self.only_candidate

    @property
    def loss(self) -> float:
        """Accuracy of the baseline minus that of the candidate, a fraction: (b - c) / n."""
        return (self.only_baseline - self.only_candidate) / self.pairs


def mcnemar_exact(table: PairedTable) -> float:
    """Two-sided exact p-value: twice P(B <= min(b, c)), B ~ Binomial(b + c, 1/2), at most 1.

    Needs a discordant pair. Exact but for rounding (1e-10) at any size; below 1e-300 it is 0.
    Source: McNemar 1947; Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91.
    """
    tail, _ = _lower_tail(table)
    return min(1.0, 2 * tail)


def mcnemar_midp(table: PairedTable) -> float:
    """Two-sided mid-p value: the exact one minus P(B = min(b, c)), and 1 - P(B = b) / 2 when b = c.

    Needs a discordant pair. Close to its level where the exact test is too shy.
    Source: Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91.
    """
    tail, point = _lower_tail(table)
    if table.only_baseline == table.only_candidate:
        return 1 - point / 2
    return 2 * tail - point


@dataclass(frozen=True, slots=True, kw_only=True)
class ChiSquared:
    """A chi-squared statistic with one degree of freedom and its p-value."""

    chi2: float
    p_value: float


def mcnemar_asymptotic(table: PairedTable, *, corrected: bool = False) -> ChiSquared:
    """(|b - c| - k)^2 / (b + c), k = 1 with Edwards' continuity correction, else 0.

    Needs a discordant pair; for 25 of them or more. Source: McNemar 1947; Edwards 1948.
    """
    discordant = require.whole("discordant pairs", table.discordant, at_least=1)
    gap = abs(table.only_baseline - table.only_candidate)
    chi2 = max(0, gap - corrected) ** 2 / discordant
    return ChiSquared(chi2=chi2, p_value=math.erfc(math.sqrt(chi2 / 2)))


def tango(table: PairedTable, *, level: float = 0.95) -> Interval:
    """Score interval for the paired loss: all D with |b - c - n D| <= z sqrt(n (2 q + D (1 - D))).

    q is the restricted MLE of the candidate-only probability. Source: Tango 1998, Stat. Med. 17:891.
    """
    n, b, c = table.pairs, table.only_baseline, table.only_candidate

    def score(d: float) -> float:
        linear, constant = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
        q = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
        return standardised(b - c - n * d, n * (2 * q + d * (1 - d)))

    return invert(score, table.loss, level=level, method="tango")


def newcombe_paired(table: PairedTable, *, level: float = 0.95) -> Interval:
    """Paired loss from the two marginal Wilson intervals and their correlation phi.

    Source: Newcombe 1998, Stat. Med. 17:2635, method 10 (phi with continuity correction).
    """
    n, phi = table.pairs, _phi(table)
    right_b, right_c = table.both + table.only_baseline, table.both + table.only_candidate
    one, two = wilson(right_b, n, level=level), wilson(right_c, n, level=level)
    lower = table.loss - _span(right_b / n - one.lower, two.upper - right_c / n, phi)
    upper = table.loss + _span(one.upper - right_b / n, right_c / n - two.lower, phi)
    return Interval(lower=lower, upper=upper, level=level, method="newcombe-paired")


def bonett_price(table: PairedTable, *, level: float = 0.95) -> Interval:
    """Wald interval for the paired loss with (b + 1) / (n + 2) and (c + 1) / (n + 2), cut to [-1, 1].

    Source: Bonett & Price 2012, Stat. Methods Med. Res. 21:479.
    """
    total = table.pairs + 2
    b, c = (table.only_baseline + 1) / total, (table.only_candidate + 1) / total
    half = critical_z(level) * math.sqrt((b + c - (b - c) ** 2) / total)
    return Interval(
        lower=max(-1.0, b - c - half),
        upper=min(1.0, b - c + half),
        level=level,
        method="bonett-price",
    )


def sign_flip_p(differences: Sequence[float], *, draws: int, seed: int) -> float:
    """Two-sided p-value of "differences are symmetric about 0", one difference per prompt.

    (1 + #{|flipped sum| >= |sum|}) / (draws + 1) over random sign flips: valid at any `draws`, and never
    0. The seed makes it repeatable. Source: Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39.
    """
    values = require.numbers("differences", differences, at_least=1)
    draws = require.whole("draws", draws, at_least=1)
    seen = (
        abs(values.sum()) - 1e-12 * np.abs(values).sum()
    )  # sums in another order must still count as equal
    random = np.random.default_rng(require.whole("seed", seed, at_least=0))
    rows = max(1, (1 << 20) // values.size)
    batches = (min(rows, draws - done) for done in range(0, draws, rows))
    return (1 + sum(_as_extreme(values, seen, random, batch) for batch in batches)) / (draws + 1)


def _as_extreme(
    values: NDArray[np.float64], seen: float, random: np.random.Generator, draws: int
) -> int:
    signs = 2 * random.integers(0, 2, size=(draws, values.size), dtype=np.int8) - 1
    return int((np.abs(signs @ values) >= seen).sum())


def _phi(table: PairedTable) -> float:
    """Correlation of the margins, shrunk by n / 2 when positive; 0 when a margin is empty."""
    b, c = table.only_baseline, table.only_candidate
    margins = (table.both + b) * (c + table.neither) * (table.both + c) * (b + table.neither)
    product = table.both * table.neither - b * c
    shrunk = max(product - table.pairs / 2, 0) if product > 0 else product
    return shrunk / math.sqrt(margins) if margins else 0.0


def _span(one: float, two: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * two + two * two))


def _lower_tail(table: PairedTable) -> tuple[float, float]:
    """P(B <= m) and P(B = m) for B ~ Binomial(b + c, 1/2), m = min(b, c).

    Terms relative to the central one, outwards by ratios: nothing overflows, and past 38 standard
    deviations they are 0 in double precision, so 20 sqrt(n) of them are all there are.
    """
    n = require.whole("discordant pairs", table.discordant, at_least=1)
    steps = np.arange(min(n // 2, 20 * math.isqrt(n) + 64))
    centre = n // 2
    ratios = (centre - steps) / (n - centre + 1 + steps)
    terms = np.concatenate([[1.0], np.cumprod(ratios)])  # terms[i] belongs to B = centre - i
    total = 2 * math.fsum(terms) - (terms[0] if n % 2 == 0 else 0.0)
    below = centre - min(table.only_baseline, table.only_candidate)
    return math.fsum(terms[below:]) / total, math.fsum(terms[below : below + 1]) / total
