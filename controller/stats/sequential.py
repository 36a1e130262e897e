"""Mixture martingales and confidence sequences: valid at every look at once.

Sources: Howard, Ramdas, McAuliffe & Sekhon 2021, Ann. Stat. 49:1055 (mixtures, confidence sequences);
Waudby-Smith et al. 2021, arXiv:2103.06476 (asymptotic). Logarithms are natural.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from controller.stats import _require as require
from controller.stats._special import beta_upper_tail
from controller.stats.proportions import Interval

Sides = Literal[1, 2]

_RATIO_TUNED_FOR: Final = 10_000  # assignments after which the sample-ratio test is sharpest
_RATIO_ALPHA: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Beta:
    """A Beta(a, b) prior of a mixture. Invariant: a, b > 0 and finite."""

    a: float
    b: float

    def __post_init__(self) -> None:
        require.positive("a", self.a)
        require.positive("b", self.b)


def mixture_prior(*, p0: float, n_opt: float, alpha: float = 0.05, sides: Sides = 2) -> Beta:
    """The prior, with mean p0, whose boundary is tightest after n_opt observations.

    Beta(r / (1 - p0), r / p0), r = p0 (1 - p0) (n_opt / c - 1), c = 2 L + ln(1 + 2 L),
    L = ln(1 / (alpha * (3 - sides))); r is kept above 0.001 p0 (1 - p0). Source: Howard et al. 2021.
    """
    unit = require.inside("p0", p0, 0, 1) * (1 - p0)
    ratio = require.positive("n_opt", n_opt) / _boundary_constant(alpha, sides)
    r = unit * max(ratio - 1, 1e-3)
    return Beta(a=r / (1 - p0), b=r / p0)


def beta_binomial_log_e(count: float, n: int, *, p0: float, prior: Beta, sides: Sides = 2) -> float:
    """Log e-value of `count` events in n against a rate of p0, mixing likelihood ratios over the prior.

        two-sided   against "the rate is p0":       prior on (0, 1)
        one-sided   against "the rate is <= p0":    prior cut to (p0, 1)

    One-sided, -inf where E is below the smallest double. n = 0 gives 0 (E = 1: no evidence).
    """
    require.inside("p0", p0, 0, 1)
    hits = require.within("count", count, 0, require.whole("n", n, at_least=0))
    a, b = prior.a + hits, prior.b + n - hits
    mixed = (
        _log_beta(a, b)
        - _log_beta(prior.a, prior.b)
        - hits * math.log(p0)
        - (n - hits) * math.log1p(-p0)
    )
    if require.one_or_two("sides", sides) == 2:
        return mixed
    cut = require.positive("the prior's mass above p0", beta_upper_tail(p0, prior.a, prior.b))
    return mixed + _log(beta_upper_tail(p0, a, b)) - math.log(cut)


def bernoulli_confidence_sequence(count: float, n: int, *, alpha: float, n_opt: float) -> Interval:
    """All rates that the two-sided beta-binomial mixture has not refuted at 1 / alpha.

    Covers at every n at once with probability 1 - alpha; narrowest near n_opt. Needs n >= 1.
    With one event or one failure the bound is 0 or 1: the prior follows the rate, however extreme.
    """
    estimate = require.share_of("count", count, n)
    limit = -math.log(require.inside("alpha", alpha, 0, 1))

    def refuted(p: float) -> bool:
        prior = mixture_prior(p0=p, n_opt=n_opt, alpha=alpha)
        return beta_binomial_log_e(count, n, p0=p, prior=prior) >= limit

    lower = 0.0 if count <= 0 else _last_refuted(refuted, 0.0, estimate)
    upper = 1.0 if count >= n else _last_refuted(refuted, 1.0, estimate)
    return Interval(lower=lower, upper=upper, level=1 - alpha, method="beta-binomial")


def sample_ratio_log_e(candidate: int, baseline: int, share: float) -> float:
    """Log e-value against "each unit goes to the candidate with probability `share`", 0 < share < 1.

    Two-sided beta-binomial with mean `share`, sharpest near 10,000 units; an alarm at ln(1 / alpha) is
    false with probability <= alpha at all looks together. One call per constant share: over steps,
    the log e-values add. Source: Lindon & Malek 2022, arXiv:2011.03567.
    """
    require.whole("candidate", candidate, at_least=0)
    require.whole("baseline", baseline, at_least=0)
    prior = mixture_prior(p0=share, n_opt=_RATIO_TUNED_FOR, alpha=_RATIO_ALPHA)
    return beta_binomial_log_e(candidate, candidate + baseline, p0=share, prior=prior)


def asymptotic_halfwidth(
    *, se: float, n: int, n_opt: float, alpha: float, sides: Sides = 2
) -> float:
    """Half-width of an asymptotic confidence sequence for a mean, in the metric's unit.

        two-sided   sqrt(2 (V + eta) / V^2 ln(sqrt((V + eta) / eta) / alpha))
        one-sided   sqrt(2 (V + eta) / V^2 ln(1 + sqrt((V + eta) / eta) / (2 alpha)))

    V = 1 / se^2, eta = (V / n) n_opt / c; narrowest near n_opt. Needs se > 0, n >= 1: with no variance
    seen there is no such interval. Source: Waudby-Smith et al. 2021, arXiv:2103.06476, eq. 9.
    """
    information = 1 / require.positive("se", se) ** 2
    per_sample = information / require.whole("n", n, at_least=1)
    eta = per_sample * require.positive("n_opt", n_opt) / _boundary_constant(alpha, sides)
    growth = math.sqrt((information + eta) / eta)
    bound = math.log(growth / alpha) if sides == 2 else math.log1p(growth / (2 * alpha))
    return math.sqrt(2 * (information + eta) * bound) / information


def normal_mixture_rho(*, v_opt: float, alpha: float, sides: Sides = 2) -> float:
    """The mixture parameter whose boundary is tightest at intrinsic time v_opt: v_opt / c."""
    return require.positive("v_opt", v_opt) / _boundary_constant(alpha, sides)


def normal_mixture_log_e(s: float, *, v: float, rho: float) -> float:
    """Two-sided: s^2 / (2 (v + rho)) - ln((v + rho) / rho) / 2, for a sum s of variance v >= 0."""
    require.within("v", v, 0, math.inf)
    total = v + require.positive("rho", rho)
    return require.finite("s", s) ** 2 / (2 * total) - math.log(total / rho) / 2


def normal_mixture_bound(*, v: float, rho: float, alpha: float) -> float:
    """What |s| stays under for all v at once: sqrt((v + rho) (ln((v + rho) / rho) + 2 ln(1 / alpha)))."""
    require.within("v", v, 0, math.inf)
    total = v + require.positive("rho", rho)
    return math.sqrt(
        total * (math.log(total / rho) - 2 * math.log(require.inside("alpha", alpha, 0, 1)))
    )


def _boundary_constant(alpha: float, sides: Sides) -> float:
    limit = require.one_or_two("sides", sides) / 2  # one-sided doubles alpha
    log = -2 * math.log(require.inside("alpha", alpha, 0, limit) * (3 - sides))
    return log + math.log1p(log)


def _last_refuted(refuted: Callable[[float], bool], outside: float, inside: float) -> float:
    """The edge between a refuted rate and the estimate, to 1e-15; `outside` when nothing is refuted."""
    for _ in range(50):
        middle = (outside + inside) / 2
        if middle in {outside, inside}:  # no double lies between them
            break
        outside, inside = (middle, inside) if refuted(middle) else (outside, middle)
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf
