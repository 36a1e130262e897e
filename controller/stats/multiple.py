"""Many rules, many intents: how errors add up, and what may still be said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.errors import StatisticsError
from controller.stats import _require as require


@dataclass(frozen=True, slots=True, kw_only=True)
class Discoveries:
    """Which hypotheses are rejected, by position and ascending, and every adjusted p-value."""

    rejected: tuple[int, ...]
    adjusted: tuple[float, ...]


def benjamini_hochberg(p_values: Sequence[float], *, q: float) -> Discoveries:
    """Step-up procedure: adjusted p_(i) = min over j >= i of m p_(j) / j, rejected when <= q.

    Controls the false discovery rate at q for independent (or positively dependent) p-values.
    Source: Benjamini & Hochberg 1995, JRSS B 57:289.
    """
    require.inside("q", q, 0, 1)
    p = _unit(require.numbers("p_values", p_values, at_least=1))
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return Discoveries(rejected=_positions(adjusted <= q), adjusted=tuple(map(float, adjusted)))


def e_bh(log_e: Sequence[float], *, q: float) -> tuple[int, ...]:
    """Rejects the k* largest e-values, k* = max{k : e_(k) >= K / (k q)}; positions, ascending.

    Controls the false discovery rate at q under any dependence and at any stopping time. Takes LOG
    e-values; -inf is allowed, NaN and +inf are not. Source: Wang & Ramdas 2022, JRSS B 84:822.
    """
    require.inside("q", q, 0, 1)
    logs = np.asarray(log_e, dtype=np.float64)
    if logs.ndim != 1 or not logs.size or np.isnan(logs).any() or (logs == np.inf).any():
        raise StatisticsError(
            f"log e-values {log_e!r}; one row of numbers below infinity is needed."
        )
    order = np.argsort(-logs, kind="stable")
    needed = math.log(logs.size / q) - np.log(np.arange(1, logs.size + 1))
    enough = np.flatnonzero(logs[order] >= needed)
    return tuple(sorted(int(i) for i in order[: enough[-1] + 1])) if enough.size else ()


def alpha_per_rule(alpha: float, *, stop_rules: int, critical_intents: int) -> float:
    """alpha / (stop rules x critical intents): a fail of any is a union, so the parts must add up to alpha."""
    require.inside("alpha", alpha, 0, 1)
    parts = require.whole("stop_rules", stop_rules, at_least=1)
    return alpha / (parts * require.whole("critical_intents", critical_intents, at_least=1))


def _unit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    if p.min() < 0 or p.max() > 1:
        raise StatisticsError(f"p-values reach from {p.min()} to {p.max()}; they lie from 0 to 1.")
    return p


def _positions(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(chosen))
