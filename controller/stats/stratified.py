"""Loss compared inside strata (intent x step), so that a changed mix or share cannot pose as a loss.

A stratum in which an arm has no label says nothing about the difference: it is left out and named,
never counted as zero. For display; the any-time form is blocks with `betting.loss_bets`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats.proportions import Interval, critical_z


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Labels of both arms in one stratum. Invariant: 0 <= correct <= n, in Python's own numbers, which never overflow.

    `correct` may be fractional: a sum of per-episode mean outcomes, whose variance is then at most
    the binomial one.
    """

    baseline_n: int
    baseline_correct: float
    candidate_n: int
    candidate_correct: float

    def __post_init__(self) -> None:
        for arm, n, correct in (
            ("baseline", self.baseline_n, self.baseline_correct),
            ("candidate", self.candidate_n, self.candidate_correct),
        ):
            object.__setattr__(self, f"{arm}_n", require.whole(f"{arm}_n", n, at_least=0))
            right = float(require.within(f"{arm}_correct", correct, 0, n))
            object.__setattr__(self, f"{arm}_correct", right)

    @property
    def comparable(self) -> bool:
        return self.baseline_n > 0 and self.candidate_n > 0

    @property
    def n(self) -> int:
        return self.baseline_n + self.candidate_n

    @property
    def loss(self) -> float:
        """Accuracy of baseline minus candidate. Needs a comparable stratum."""
        return self.baseline_correct / self.baseline_n - self.candidate_correct / self.candidate_n

    @property
    def variance(self) -> float:
        """Of the loss: p (1 - p) / n of one arm plus that of the other."""
        return _binomial(self.baseline_correct, self.baseline_n) + _binomial(
            self.candidate_correct, self.candidate_n
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StratifiedLoss:
    """A weighted loss, as a fraction, with the strata (by position) that could not be compared.

    Invariant: the loss is finite, the variance too, and not negative.
    """

    loss: float
    variance: float
    excluded: tuple[int, ...]
    method: str

    def __post_init__(self) -> None:
        require.finite("loss", self.loss)
        require.within("variance", self.variance, 0, math.inf)

    def interval(self, *, level: float = 0.95) -> Interval:
        """loss +- z sqrt(variance), for one look."""
        half = critical_z(level) * math.sqrt(self.variance)
        return Interval(
            lower=self.loss - half, upper=self.loss + half, level=level, method=self.method
        )


def post_stratified(strata: Sequence[Stratum]) -> StratifiedLoss:
    """sum_k (N_k / N) (p_baseline,k - p_candidate,k), variance sum w^2 v: the loss on the mix seen.

    Raises when no stratum has labels in both arms. Source: Holt & Smith 1979, JRSS A 142:33.
    """
    return _weighted(strata, lambda s: float(s.n), "post-stratified")


def mantel_haenszel(strata: Sequence[Stratum]) -> StratifiedLoss:
    """Risk difference with weights n_b n_c / (n_b + n_c), variance sum w^2 v / (sum w)^2.

    For sparse strata with one common loss. Raises when no stratum has labels in both arms.
    Source: Greenland & Robins 1985, Biometrics 41:55.
    """
    return _weighted(strata, lambda s: s.baseline_n * s.candidate_n / s.n, "mantel-haenszel")


def sato_variance(strata: Sequence[Stratum]) -> float:
    """Variance of the Mantel-Haenszel loss, consistent with many small strata as well as few large.

    (loss sum P_k + sum Q_k) / (sum w)^2. Source: Sato 1989, Biometrics 45:1323.
    """
    used = _comparable(strata)
    weight = sum(s.baseline_n * s.candidate_n / s.n for s in used)
    sparse = mantel_haenszel(used).loss * math.fsum(map(_sato_p, used))
    return (sparse + math.fsum(map(_sato_q, used))) / weight**2


def _sato_p(s: Stratum) -> float:
    n1, n2, x1, x2 = s.baseline_n, s.candidate_n, s.baseline_correct, s.candidate_correct
    return (n1**2 * x2 - n2**2 * x1 + n1 * n2 * (n2 - n1) / 2) / s.n**2


def _sato_q(s: Stratum) -> float:
    n1, n2, x1, x2 = s.baseline_n, s.candidate_n, s.baseline_correct, s.candidate_correct
    return (x1 * (n2 - x2) + x2 * (n1 - x1)) / (2 * s.n)


def _weighted(
    strata: Sequence[Stratum], weight: Callable[[Stratum], float], method: str
) -> StratifiedLoss:
    used = _comparable(strata)
    weights = [weight(s) for s in used]
    total = math.fsum(weights)
    return StratifiedLoss(
        loss=math.fsum(w * s.loss for w, s in zip(weights, used, strict=True)) / total,
        variance=math.fsum(w * w * s.variance for w, s in zip(weights, used, strict=True))
        / total**2,
        excluded=tuple(i for i, s in enumerate(strata) if not s.comparable),
        method=method,
    )


def _comparable(strata: Sequence[Stratum]) -> list[Stratum]:
    used = [s for s in strata if s.comparable]
    if not used:
        raise StatisticsError(
            f"none of {len(strata)} strata has labels in both arms; there is nothing to compare."
        )
    return used


def _binomial(correct: float, n: int) -> float:
    p = correct / n
    return p * (1 - p) / n
