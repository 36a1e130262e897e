"""What an imperfect judge does to a rate, and how to undo it with its known errors or with human labels.

Sensitivity: P(judged right | right). Specificity: P(judged wrong | wrong). Their sum minus 1 is the
judge's discrimination: by that factor every true difference shrinks, which hides a loss from a pass.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats.proportions import Interval, critical_z


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimate with its standard error, in the same unit. Invariant: both are finite, the latter is not negative."""

    estimate: float
    se: float

    def __post_init__(self) -> None:
        require.finite("estimate", self.estimate)
        require.within("se", self.se, 0, math.inf)

    def interval(self, *, level: float = 0.95, method: str) -> Interval:
        """estimate +- z se, for one look."""
        half = critical_z(level) * self.se
        return Interval(
            lower=self.estimate - half, upper=self.estimate + half, level=level, method=method
        )


def discrimination(*, sensitivity: float, specificity: float) -> float:
    """Sensitivity + specificity - 1, in (0, 1]. Raises at 0 or less: such a judge tells nothing."""
    require.within("sensitivity", sensitivity, 0, 1)
    require.within("specificity", specificity, 0, 1)
    return require.positive("sensitivity + specificity - 1", sensitivity + specificity - 1)


def true_rate(observed: float, *, sensitivity: float, specificity: float) -> float:
    """(p + specificity - 1) / (sensitivity + specificity - 1), the true rate behind an observed one.

    Not cut to [0, 1]: an estimate outside says that the assumed errors do not fit. A difference of two observed rates
    stands for that difference divided by the discrimination alone.
    Source: Rogan & Gladen 1978, Am. J. Epidemiol. 107:71.
    """
    factor = discrimination(sensitivity=sensitivity, specificity=specificity)
    return (require.within("observed", observed, 0, 1) + specificity - 1) / factor


def true_difference(observed: float, *, sensitivity: float, specificity: float) -> float:
    """The true difference behind one of two rates that the same judge saw: `on_judge_scale` undone."""
    require.within("observed", observed, -1, 1)
    return observed / discrimination(sensitivity=sensitivity, specificity=specificity)


def rogan_gladen(positive: float, n: int, *, sensitivity: float, specificity: float) -> Estimate:
    """True rate behind an observed one: (p + specificity - 1) / (sensitivity + specificity - 1).

    The standard error takes the judge's errors as known. Not cut to [0, 1]: an estimate outside says
    that the assumed errors do not fit. Source: Rogan & Gladen 1978, Am. J. Epidemiol. 107:71.
    """
    factor = discrimination(sensitivity=sensitivity, specificity=specificity)
    p = require.share_of("positive", positive, n)
    estimate = true_rate(p, sensitivity=sensitivity, specificity=specificity)
    return Estimate(estimate=estimate, se=math.sqrt(p * (1 - p) / n) / factor)


def on_judge_scale(difference: float, *, sensitivity: float, specificity: float) -> float:
    """What a true loss, or a margin, becomes when the judge errs alike on both arms: factor x difference.

    A pass on judged labels must use the margin on this scale, or a true loss hides behind the judge.
    """
    require.within("difference", difference, -1, 1)
    return difference * discrimination(sensitivity=sensitivity, specificity=specificity)


def ppi_mean(
    human: Sequence[float],
    judge_on_same: Sequence[float],
    judge_on_rest: Sequence[float],
    *,
    weight: float = 1.0,
) -> Estimate:
    """Prediction-powered mean: weight mean(judge on rest) + mean(human - weight judge on same).

    Unbiased however bad the judge, if the human sample is random; weight 0 ignores the judge.
    se^2 = weight^2 var(rest) / N + var(human - weight same) / n, variances with 1/n as in ppi_py.
    Needs two labels in each. Source: Angelopoulos et al. 2023, Science 382:669; PPI++, arXiv:2311.01453.
    """
    same, rest = (
        require.numbers("judge labels", x, at_least=2) for x in (judge_on_same, judge_on_rest)
    )
    labels = require.numbers("human", human, at_least=2)
    if labels.size != same.size:
        raise StatisticsError(
            f"{labels.size} human labels beside {same.size} of the judge; they must be of the same items."
        )
    rectifier = labels - require.within("weight", weight, 0, 1) * same
    variance = weight**2 * _variance_of_mean(rest) + _variance_of_mean(rectifier)
    return Estimate(estimate=float(weight * rest.mean() + rectifier.mean()), se=math.sqrt(variance))


def _variance_of_mean(x: NDArray[np.float64]) -> float:
    return float(x.var()) / x.size
