"""The special functions the standard library lacks; the only place that knows scipy.

Imported inside the functions: scipy.special costs 100 ms, and the gateway never needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def beta_quantile(probability: float, a: float, b: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))


def beta_upper_tail(x: float, a: float, b: float) -> float:
    """P(B > x) for B ~ Beta(a, b)."""
    from scipy.special import betaincc

    return float(betaincc(a, b, x))


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(B <= k) for B ~ Binomial(n, p); 0 for k < 0 and 1 for k >= n."""
    from scipy.special import bdtr

    if k < 0:
        return 0.0
    return 1.0 if k >= n else float(bdtr(k, n, p))


def poisson_upper_tail(k: int, mean: float) -> float:
    """P(N >= k) for N ~ Poisson(mean), k >= 1: the regularised incomplete gamma function P(k, mean)."""
    from scipy.special import gammainc

    return float(gammainc(k, mean))


def normal_cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Φ of each."""
    from scipy.special import ndtr

    found: NDArray[np.float64] = ndtr(z)
    return found
