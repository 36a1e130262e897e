"""Two arms' rates minute by minute: a betting e-process for "the candidate's is no higher than the baseline's".

In a minute n of the candidate's requests have x that count, and k of the baseline's have y. Around a reference rate m,

    E = (1 + s a (1 - m))^x (1 - s a m)^(n - x) (1 - s b (1 - m))^y (1 + s b m)^(k - y),    b = a n / k,  s = 1

Let p and q be the conditional rates of the two arms in that minute, whatever they are and whatever both share. Each
factor is linear in its 0 or 1, so its mean is 1 + a (p - m), or 1 - b (q - m). With b = a n / k what m adds cancels,
and the n + k of them average 1 + a n (p - q) / (n + k); the geometric mean is at most the arithmetic:

    mean of E <= (1 + a n (p - q) / (n + k))^(n + k) <= exp(a n (p - q))

So where p <= q in each minute the product over minutes is a supermartingale (Ville), and reaching 1 / alpha speaks of a
mean of p - q over the minutes, weighted by a n, that is above 0. A load that moves both arms is in p and in q: nothing
is pooled over minutes. Bets may be chosen in each minute, once n and k are known; they are those for a rate,
a = effect / (m (1 - m) (1 + n / k)), for the baseline's share is itself only seen on k requests. s = -1 bets on the
opposite.

For independent requests these are e-variables for two streams in blocks as in Turner, Ly & Grunwald 2024, J. Stat.
Plan. Inference 230:106116 (arXiv:2106.02693).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.errors import StatisticsError
from controller.stats import _require as require
from controller.stats.betting import NO_START, Floats, Ints, Windows

FACTORS: Final = (0.5, 1.0, 2.0)  # times the best bet
NANO: Final = 1e-9

_CAP: Final = 0.95  # of the largest bet that can never lose everything, as in `betting`


def log_wealth_nano(
    n: Ints, x: Ints, k: Ints, y: Ints, *, reference: float, effect: float, sign: int
) -> Ints:
    """ln E of each minute and bet, in billionths, rounded down: their sums are exact, and say no more than they may.

    Four arrays (T,) with 0 <= x <= n and 0 <= y <= k; shape (T, 3). A minute that lacks an arm says nothing: 0.
    `sign` 1 bets on the candidate's rate being higher, -1 on its being lower. Needs 0 < reference < 1, effect > 0.
    """
    sign = require.sign(sign)
    m = require.inside("reference", reference, 0, 1)
    best = require.positive("effect", effect) / (m * (1 - m))
    _check_counts(n, x, k, y)
    both = (n > 0) & (k > 0)
    ratio = np.where(both, n, 0) / np.where(both, k, 1)
    up, down = (
        (1 - m, m) if sign > 0 else (m, 1 - m)
    )  # how far the bets' values may fall for each arm
    cap = _CAP / np.maximum(down, ratio * up)
    bets = np.minimum(np.outer(best / (1 + ratio), FACTORS), cap[:, None])
    ours, theirs = sign * bets, sign * bets * ratio[:, None]
    logs = (
        x[:, None] * np.log1p(ours * (1 - m))
        + (n - x)[:, None] * np.log1p(-ours * m)
        + y[:, None] * np.log1p(-theirs * (1 - m))
        + (k - y)[:, None] * np.log1p(theirs * m)
    )
    rounded: Ints = np.floor(np.where(both[:, None], logs, 0.0) / NANO).astype(np.int64)
    return rounded


def log_e_of_wealth(wealth_nano: Ints) -> Floats:
    """The logarithm of the mean of the bets' wealths: (..., 3) in whole billionths to (...)."""
    wealth = np.asarray(wealth_nano)
    if wealth.shape[-1:] != (len(FACTORS),) or wealth.dtype.kind not in "iu":
        raise StatisticsError(
            f"log wealth has shape {wealth.shape} of {wealth.dtype}; whole billionths of three bets are needed."
        )
    logs = wealth.astype(np.float64) * NANO
    top = logs.max(axis=-1)
    merged: Floats = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return merged


def strongest_windows(
    opened: Ints,
    closed: Ints,
    *,
    starts: Ints,
    ends: Ints,
    window_min: int,
    min_window_min: int,
    thresholds: Floats,
) -> Windows:
    """`betting.windowed_log_e` of log wealth instead of counts: rows (K, 3) before starts and (E, 3) before ends."""
    starts, ends = require.minutes("starts", starts), require.minutes("ends", ends)
    require.windows(starts, window_min, min_window_min)
    for name, wealth, of in (("opened", opened, starts), ("closed", closed, ends)):
        if wealth.shape != (len(of), len(FACTORS)):
            raise StatisticsError(
                f"{name} has shape {wealth.shape}; ({len(of)}, {len(FACTORS)}) is needed."
            )
    needed = require.per_start(thresholds, len(starts))
    log_e, margin = np.full((2, len(ends)), -np.inf)
    chosen = np.full(len(ends), NO_START, dtype=np.int64)
    first = starts.searchsorted(ends - window_min, side="left")
    stop = starts.searchsorted(ends - min_window_min, side="right")
    for i in (stop > first).nonzero()[0].tolist():
        part = slice(int(first[i]), int(stop[i]))
        reached = log_e_of_wealth(closed[i] - opened[part])
        over = reached - needed[part]
        best = int(over.argmax())
        log_e[i], margin[i], chosen[i] = reached[best], over[best], starts[part][best]
    return Windows(log_e=log_e, start=chosen, margin=margin)


def _check_counts(n: Ints, x: Ints, k: Ints, y: Ints) -> None:
    alike = all(one.shape == n.shape for one in (x, k, y))
    if not (alike and all(_is_part(count, of) for count, of in ((x, n), (y, k)))):
        raise StatisticsError(
            "counts of a minute lie from 0 to the number of its requests; one array has others."
        )


def _is_part(count: Ints, of: Ints) -> bool:
    # NaN compares as false.
    return require.are_counts(of) and bool(((count >= 0) & (count <= of)).all())
