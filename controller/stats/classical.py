"""Typed wrappers over statsmodels, for reports. Importing this module costs about a second.

Nothing else of this package imports it, and the gateway never does. Only what statsmodels 0.15 gets
right is wrapped: not its score interval for a difference (upstream issue #10269), nor its test of
equal odds, which divides 0 by 0 where the pooled ratio is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import chdtrc
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.gof import chisquare
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportions_chisquare,
)

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats.paired import ChiSquared
from controller.stats.proportions import Interval
from controller.stats.stratified import Stratum


def proportion_interval(
    count: int,
    n: int,
    *,
    method: Literal["wilson", "beta", "jeffreys", "agresti_coull"],
    level: float = 0.95,
) -> Interval:
    """proportion_confint; "beta" is Clopper-Pearson. Needs 0 <= count <= n, n >= 1."""
    require.share_of("count", count, n)
    alpha = 1 - require.inside("level", level, 0, 1)
    lower, upper = proportion_confint(count, n, alpha=alpha, method=method)
    return Interval(lower=float(lower), upper=float(upper), level=level, method=method)


def difference_interval(
    count1: int,
    n1: int,
    count2: int,
    n2: int,
    *,
    method: Literal["newcomb", "agresti-caffo"],
    level: float = 0.95,
) -> Interval:
    """confint_proportions_2indep of p1 - p2; statsmodels spells it "newcomb"."""
    require.share_of("count1", count1, n1)
    require.share_of("count2", count2, n2)
    alpha = 1 - require.inside("level", level, 0, 1)
    lower, upper = confint_proportions_2indep(
        count1, n1, count2, n2, method=method, compare="diff", alpha=alpha
    )
    return Interval(lower=float(lower), upper=float(upper), level=level, method=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class OddsRatio:
    """A Mantel-Haenszel odds ratio of being right, baseline over candidate, with its tests."""

    odds_ratio: float
    interval: Interval
    no_association: ChiSquared  # Cochran-Mantel-Haenszel
    no_association_corrected: ChiSquared
    equal_odds_chi2: float  # Breslow-Day; degrees of freedom: strata with right and wrong - 1
    equal_odds_p: float
    equal_odds_tarone_chi2: float  # with Tarone's adjustment


def mantel_haenszel_odds_ratio(strata: Sequence[Stratum], *, level: float = 0.95) -> OddsRatio:
    """StratifiedTable over two or more strata with labels in both arms, Robins-Breslow-Greenland interval.

    A stratum in which everything is right, or wrong, has odds of no kind: it counts for nothing. Raises when fewer
    than two are left, when a stratum is empty in an arm, and when the pooled ratio is 0 or infinite.
    """
    tables = StratifiedTable([_two_by_two(s) for s in _at_least_two(strata)])
    ratio = require.positive("the pooled odds ratio", float(tables.oddsratio_pooled))
    lower, upper = tables.oddsratio_pooled_confint(alpha=1 - require.inside("level", level, 0, 1))
    telling = [s for s in strata if 0 < s.baseline_correct + s.candidate_correct < s.n]
    equal, tarone = _equal_odds(_at_least_two(telling), ratio)
    return OddsRatio(
        odds_ratio=ratio,
        interval=Interval(
            lower=float(lower), upper=float(upper), level=level, method="mantel-haenszel"
        ),
        no_association=_no_association(tables, corrected=False),
        no_association_corrected=_no_association(tables, corrected=True),
        equal_odds_chi2=equal,
        equal_odds_p=float(chdtrc(len(telling) - 1, equal)),
        equal_odds_tarone_chi2=tarone,
    )


def sample_ratio_chi2(counts: Sequence[int], shares: Sequence[float]) -> ChiSquared:
    """Chi-squared test of two arm counts against their shares. One look; see sequential for any time."""
    seen = require.numbers("counts", counts, at_least=2)
    wanted = require.numbers("shares", shares, at_least=2)
    if seen.size != 2 or wanted.size != 2 or seen.min() < 0 or wanted.min() <= 0:
        raise StatisticsError(
            f"counts {counts} against shares {shares}; two arms, each with a share, are needed."
        )
    total = require.positive("the total count", float(seen.sum()))
    chi2, p = chisquare(seen, f_exp=total * wanted / wanted.sum())
    return ChiSquared(chi2=float(chi2), p_value=float(p))


def equal_rates(counts: Sequence[int], n: Sequence[int]) -> ChiSquared:
    """Chi-squared test that two independent rates are equal; raises when nothing varies."""
    if len(counts) != 2 or len(n) != 2:
        raise StatisticsError(f"{len(counts)} counts and {len(n)} sizes; two groups are needed.")
    for count, size in zip(counts, n, strict=True):
        require.share_of("count", count, size)
    require.inside("the pooled rate", sum(counts) / sum(n), 0, 1)
    chi2, p, _ = proportions_chisquare(np.asarray(counts), np.asarray(n))
    return ChiSquared(chi2=float(chi2), p_value=float(p))


def adjusted_p_values(
    p_values: Sequence[float], *, method: Literal["holm", "fdr_bh", "bonferroni"]
) -> tuple[float, ...]:
    """multipletests: adjusted p-values in the order given, each from 0 to 1."""
    p = require.numbers("p_values", p_values, at_least=1)
    for value in p:
        require.within("a p-value", float(value), 0, 1)
    return tuple(float(x) for x in multipletests(p, method=method)[1])


def _at_least_two(strata: Sequence[Stratum]) -> Sequence[Stratum]:
    if len(strata) < 2 or not all(s.comparable for s in strata):
        raise StatisticsError(
            f"{len(strata)} strata; two or more, with labels in both arms, right and wrong, are needed."
        )
    return strata


def _two_by_two(s: Stratum) -> list[list[float]]:
    return [
        [s.baseline_correct, s.baseline_n - s.baseline_correct],
        [s.candidate_correct, s.candidate_n - s.candidate_correct],
    ]


def _equal_odds(strata: Sequence[Stratum], ratio: float) -> tuple[float, float]:
    """Breslow-Day statistic, and with Tarone's adjustment: how far the strata's tables lie from one odds ratio.

    Source: Breslow & Day 1980, IARC 32, ch. 4; Tarone 1985, Biometrika 72:91.
    """
    seen = np.array([s.baseline_correct for s in strata], dtype=np.float64)
    row = np.array([s.baseline_n for s in strata], dtype=np.float64)
    column = np.array([s.baseline_correct + s.candidate_correct for s in strata])
    rest = np.array([s.n for s in strata]) - row - column
    # (1 - R) x^2 + b x - R row column = 0: the root between the margins, in the form without a difference.
    b = rest + ratio * (row + column)
    root = np.sqrt(b**2 + 4 * (1 - ratio) * ratio * row * column)
    expected = 2 * ratio * row * column / (b + root)
    variance = 1 / (
        1 / expected + 1 / (row - expected) + 1 / (column - expected) + 1 / (rest + expected)
    )
    chi2 = float(((seen - expected) ** 2 / variance).sum())
    return chi2, chi2 - float((seen - expected).sum() ** 2 / variance.sum())


def _no_association(tables: StratifiedTable, *, corrected: bool) -> ChiSquared:
    test = tables.test_null_odds(correction=corrected)
    return ChiSquared(chi2=float(test.statistic), p_value=float(test.pvalue))
