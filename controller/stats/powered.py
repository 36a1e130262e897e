"""Two arms' accuracies by people's grades of a random few answers and a judge's grades of all of them.

A person grades n answers that were drawn at random (h), a judge those too (f) and N others. With any weight w

    mean of h  =  w (mean of f over the others)  +  mean of (h - w f) over the drawn

however bad the judge is, for the drawn and the others are alike (prediction-powered inference: Angelopoulos et al.
2023, Science 382:669; the weight: Angelopoulos, Duchi & Zrnic 2023, arXiv:2311.01453). A bet on that for the loss is

    E = prod (1 + s a (-(h - w f - r) - m))   drawn answers of the candidate
        prod (1 + s b (h - w f - r))          drawn answers of the baseline,    b = a n_c / n_b
        prod (1 - s a w n_c/N_c (f - q))      the candidate's others
        prod (1 + s a w n_c/N_b (f - q))      the baseline's others

over one hour of one stratum; s = 1 bets that the loss is above m, s = -1 that it is below. Each factor is linear in
the grades of one answer. Their means add up to s a n_c (loss - m): w f cancels between the drawn and the others of
each arm, the references r and q between the arms. A product of independent factors whose means 1 + x_i have sum x_i
<= 0 is at most 1 in the mean (1 + x <= exp x). So the product over hours and strata is a supermartingale wherever the
claim holds (Ville; Waudby-Smith & Ramdas 2023, JRSS B 86:1; with predictions: Csillag, Struchiner & Goedert 2025,
arXiv:2502.04294). Bets may follow the counts of the hour, which are known before what was answered; w, r and q are
chosen before the data, and a wrong choice costs time, never validity.

Grades between 0 and 1 are taken for a mixture of four right-or-wrong answers with the same means and product: the
logarithm of a factor is concave in its grade, so that says no more than they do (Jensen), and sums are enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats.betting import Floats, Ints
from controller.stats.matched import FACTORS, NANO
from controller.stats.noise import Estimate, discrimination
from controller.stats.passage import Growth

_CAP: Final = 0.95  # of the largest bet that can never lose everything, as in `betting`
_PERSON: Final = np.array([1.0, 1.0, 0.0, 0.0])  # of the corners of `Graded.drawn`
_JUDGE: Final = np.array([1.0, 0.0, 1.0, 0.0])
_OVERSHOOT: Final = 4 / (3 * math.sqrt(2 * math.pi))
_OTHERS: Final = np.array([0.0, 1.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is chosen before the data: the judge's weight, what is expected of grades, and how much they vary.

    `drawn` is the expected mean of h − w f, `judge` that of f; `variance` is that of one drawn answer together with the
    others that come with it, of one arm. Invariant: all are finite, weight and judge lie from 0 to 1, the variance is
    not negative.
    """

    weight: float
    drawn: float
    judge: float
    variance: float

    def __post_init__(self) -> None:
        require.within("weight", self.weight, 0, 1)
        require.finite("drawn", self.drawn)
        require.within("judge", self.judge, 0, 1)
        require.within("variance", self.variance, 0, math.inf)


def policy(*, accuracy: float, sensitivity: float, specificity: float, share: float) -> Policy:
    """The best weight and bets if answers are right so often, the judge errs so on both arms, and `share` are drawn.

    The weight is cov(h, f) / var(f) × (1 − share), as in PPI++ with n/N = share / (1 − share). With `share` 1 there
    are no others, and the judge weighs nothing. Needs 0 < accuracy < 1 and 0 < share <= 1.
    """
    right = require.inside("accuracy", accuracy, 0, 1)
    drawn = require.within("share", require.positive("share", share), 0, 1)
    factor = discrimination(sensitivity=sensitivity, specificity=specificity)
    judged = right * sensitivity + (1 - right) * (1 - specificity)
    of_person, of_judge = right * (1 - right), judged * (1 - judged)
    both = of_person * factor
    # A judge that always says the same (which it does only at the ends of its rates) says nothing.
    weight = min((1 - drawn) * both / of_judge, 1.0) if of_judge > 0 else 0.0
    others = weight**2 * of_judge * drawn / (1 - drawn) if drawn < 1 else 0.0
    return Policy(
        weight=weight,
        drawn=right - weight * judged,
        judge=judged,
        variance=of_person - 2 * weight * both + weight**2 * of_judge + others,
    )


def chances(*, right: float, sensitivity: float, specificity: float) -> Floats:
    """Of one drawn answer, to be in each corner of `Graded.drawn`, where the judge errs so; `right` from 0 to 1."""
    require.within("right", right, 0, 1)
    discrimination(sensitivity=sensitivity, specificity=specificity)
    return np.array(
        [
            right * sensitivity,
            right * (1 - sensitivity),
            (1 - right) * (1 - specificity),
            (1 - right) * specificity,
        ]
    )


@dataclass(frozen=True, slots=True)
class Graded:
    """One arm's answers, in each of T stretches.

    `drawn` (T, 4): those graded by both, as parts that the person and the judge call right, the person alone, the judge
    alone, neither. `others` (T, 2): those graded by the judge alone, wrong and right. Invariant: as many stretches of
    both, and counts are finite and not negative.
    """

    drawn: Floats
    others: Floats

    def __post_init__(self) -> None:
        for name, counts, width in (("drawn", self.drawn, 4), ("others", self.others, 2)):
            if counts.shape != (len(self.drawn), width):
                raise StatisticsError(f"{name} has shape {counts.shape}; (T, {width}) is needed.")
            if not require.are_counts(counts):
                raise StatisticsError(f"{name} has a negative, NaN or infinite count.")

    @property
    def drawn_n(self) -> Floats:
        n: Floats = self.drawn.sum(axis=1)
        return n

    @property
    def others_n(self) -> Floats:
        n: Floats = self.others.sum(axis=1)
        return n


N = TypeVar("N", Ints, Floats)


def corners(n: N, person: N, judge: N, product: N) -> N:
    """(T, 4) as in `Graded.drawn`, from how many were graded by both and the sums of h, f and h f.

    Exact in integers.
    """
    return np.stack([product, person - product, judge - product, n - person - judge + product], 1)


def log_wealth_nano(
    candidate: Graded, baseline: Graded, by: Policy, *, margin: float, effect: float, sign: int
) -> Ints:
    """ln E of each stretch and bet, in billionths, rounded down; shape (T, 3).

    `sign` 1 bets that the loss is above `margin`, -1 that it is below; `effect` is by how much, if it is. A stretch
    that lacks drawn answers of an arm, or (unless the judge weighs nothing) others, says nothing: 0.
    """
    there, parts = _parts(candidate, baseline, by, margin=margin, effect=effect, sign=sign)
    logs = np.zeros((len(there), len(FACTORS)))
    for counts, added in parts:
        logs += (added * counts[:, None, :]).sum(axis=2)
    rounded: Ints = np.floor(np.where(there[:, None], logs, 0.0) / NANO).astype(np.int64)
    return rounded


def powered_growth(
    candidate: Graded,
    baseline: Graded,
    by: Policy,
    *,
    margin: float,
    effect: float,
    sign: int,
    looks_every: float,
) -> Growth:
    """What one stretch adds to each bet's log wealth, if it has so many answers and they are of each kind so often.

    Looked at every so many stretches, 0 or more, wealth moves in nearly normal steps, which overshoot by
    4 s / (3 sqrt(2 pi)) on average, s their standard deviation.
    """
    _, parts = _parts(candidate, baseline, by, margin=margin, effect=effect, sign=sign)
    mean, variance = np.zeros((2, len(FACTORS)))
    for (counts,), (added,) in parts:
        n = max(float(counts.sum()), 1e-300)
        mean += added @ counts
        variance += added**2 @ counts - (added @ counts) ** 2 / n
    spread = np.sqrt(np.maximum(variance, 0.0))
    every = require.within("looks_every", looks_every, 0, math.inf)
    overshoot = _OVERSHOOT * spread * math.sqrt(max(every, 1.0))
    one, two, three = zip(mean.tolist(), variance.tolist(), overshoot.tolist(), strict=True)
    means, variances, beyond = zip(one, two, three, strict=True)
    return Growth(mean=means, variance=variances, overshoot=beyond)


def _parts(
    candidate: Graded, baseline: Graded, by: Policy, *, margin: float, effect: float, sign: int
) -> tuple[NDArray[np.bool_], list[tuple[Floats, Floats]]]:
    """Which stretches say something; then counts (T, V) of each kind of answer, and what one adds to bets (T, 3, V)."""
    require.inside("margin", margin, -1, 1)
    sign = require.sign(sign)
    n, k = candidate.drawn_n, baseline.drawn_n
    there = (n > 0) & (k > 0)
    if by.weight:
        there &= (candidate.others_n > 0) & (baseline.others_n > 0)
    best = require.positive("effect", effect) / require.positive("variance", by.variance)
    ratio = _divided(n, k, there)
    residual = _PERSON - by.weight * _JUDGE - by.drawn
    others = _OTHERS - by.judge
    gains = [
        (candidate.drawn, sign * (-residual - margin), np.ones_like(ratio)),
        (baseline.drawn, sign * residual, ratio),
    ]
    if by.weight:
        for arm, side in ((candidate, -sign), (baseline, sign)):
            gains.append((arm.others, side * others, by.weight * _divided(n, arm.others_n, there)))
    deepest = np.max([-each.min() * scale for _, each, scale in gains], axis=0)
    bets = np.minimum(np.outer(best / (1 + ratio), FACTORS), _CAP / deepest[:, None])
    return there, [
        (counts, np.log1p((bets * scale[:, None])[:, :, None] * each))
        for counts, each, scale in gains
    ]


def powered_accuracy(of: Graded, weight: float) -> Estimate | None:
    """Prediction-powered accuracy of one arm over all stretches; None with fewer than two answers of a needed kind.

    As `noise.ppi_mean` of the same grades where they are right or wrong; for grades between, its error is no smaller.
    """
    require.within("weight", weight, 0, 1)
    drawn, others = of.drawn.sum(axis=0), of.others.sum(axis=0)
    n, of_others = float(drawn.sum()), float(others.sum())
    if n < 2 or (weight and of_others < 2):
        return None
    residual, variance = _mean_of(drawn, _PERSON - weight * _JUDGE)
    variance /= n
    if weight:
        judged, spread = _mean_of(others, _OTHERS)
        residual += weight * judged
        variance += weight**2 * spread / of_others
    return Estimate(estimate=residual, se=math.sqrt(max(variance, 0.0)))


def powered_accuracies(of: Graded, weight: float) -> Floats:
    """The estimate of `powered_accuracy` in each stretch by itself; NaN where it has none. Shape (T,)."""
    require.within("weight", weight, 0, 1)
    n, of_others = of.drawn_n, of.others_n
    there = n >= 2
    found = _divided(of.drawn @ (_PERSON - weight * _JUDGE), n, there)
    if weight:
        there = there & (of_others >= 2)
        found = found + weight * _divided(of.others @ _OTHERS, of_others, there)
    accuracies: Floats = np.where(there, found, np.nan)
    return accuracies


def _mean_of(counts: Floats, values: Floats) -> tuple[float, float]:
    n = counts.sum()
    mean = float(counts @ values / n)
    return mean, float(counts @ (values - mean) ** 2 / n)


def _divided(over: Floats, under: Floats, there: NDArray[np.bool_]) -> Floats:
    quotient: Floats = np.divide(over, under, out=np.zeros(len(over)), where=there)
    return quotient
