"""Betting e-processes on bounded observations: the primitive every confident rule stands on.

    E = mean_j prod_i (1 + lambda_j (v_i - m)),    lambda in {lambda0 / 2, lambda0, 2 lambda0} unless told

Under "the conditional mean of v is at most m" each product is a non-negative supermartingale that
starts at 1, and so is their mean: P(E ever reaches 1/a) <= a (Ville), at every instant at once and
without independence. Only the counts of how often each value was seen are needed; the order is not.

A swing above m that is made good before is no violation either: prod (1 + lambda_j (mu_i - m)) <= 1
when the conditional means mu_i average at most m (AM-GM), so reaching 1/a speaks of that average.

Of values between lo and hi a sum is enough: log(1 + lambda (v - m)) is concave in v, so counting each as (v - lo) /
(hi - lo) of hi and the rest of lo, in fractional counts, gives a product that is never larger (Jensen).

Source: Waudby-Smith & Ramdas 2023, JRSS B 86:1. Logarithms are natural throughout.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import Final, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from controller.errors import StatisticsError
from controller.stats import _require as require

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Counts: TypeAlias = Ints | Floats

NO_START: Final = -1

Three: TypeAlias = tuple[float, float, float]
AROUND: Final[Three] = (0.5, 1.0, 2.0)
"""Factors of lambda0: for an effect that may be half or twice as large as the one that bets are tuned to."""

_CAP: Final = 0.95  # of the largest bet that can never lose everything
_CHUNK: Final = 1 << 20  # numbers held at once while catching up: 8 MB
_ROUNDING: Final = 1e-9  # of a sum of logarithms: far more than what its terms are rounded by


@dataclass(frozen=True, slots=True, kw_only=True)
class Bets:
    """Three bets against "the mean is at most m".

    Invariant: m is finite, every bet is finite and above 0. A larger bet wins faster against a
    larger effect; policy, frozen before the data are seen.
    """

    m: float
    lambdas: Three

    def __post_init__(self) -> None:
        require.finite("m", self.m)
        if len(self.lambdas) != 3:
            raise StatisticsError(f"{len(self.lambdas)} bets given; three are needed.")
        for bet in self.lambdas:
            require.positive("a bet", bet)


def bets(*, effect: float, variance: float, m: float, lo: float, factors: Three = AROUND) -> Bets:
    """Bets `factors` times lambda0 = effect / variance, each capped at 0.95 / (m - lo).

    `effect` is the excess of the mean over m worth catching, `variance` that of one observation, `lo`
    the smallest value an observation can have. The cap keeps every factor at 0.05 or more.
    Needs effect > 0, variance > 0, m > lo. A wrong guess costs time, never validity.
    """
    best = require.positive("effect", effect) / require.positive("variance", variance)
    cap = _CAP / require.positive("m - lo", m - lo)
    low, middle, high = factors
    return Bets(m=m, lambdas=(min(low * best, cap), min(middle * best, cap), min(high * best, cap)))


def rate_bets(*, limit: float, alternative: float) -> Bets:
    """Bets for the claim "rate > limit" on values in [0, 1], tuned to a rate of `alternative`.

    lambda0 = (p1 - p0) / (p0 (1 - p0)); on 0/1 values the middle bet is the likelihood ratio of
    p1 against p0. Needs 0 < limit < alternative <= 1, as fractions.
    """
    require.inside("limit", limit, 0, 1)
    require.within("alternative", alternative, limit, 1)
    return bets(effect=alternative - limit, variance=limit * (1 - limit), m=limit, lo=0)


def loss_bets(*, margin: float, effect: float, variance: float) -> Bets:
    """Bets for the claim "loss > margin" on values v in [-1, 1], v = baseline - candidate.

    Needs -1 < margin < 1. `variance` is that of one pair (the discordance) or one block.
    """
    require.inside("margin", margin, -1, 1)
    return bets(effect=effect, variance=variance, m=margin, lo=-1)


def gain_bets(*, margin: float, effect: float, variance: float, factors: Three = AROUND) -> Bets:
    """Bets for the claim "loss < margin": the pass side, on the NEGATED values -v in [-1, 1].

    m = -margin: pass `-values` to log_e beside these bets. Needs -1 < margin < 1.
    """
    require.inside("margin", margin, -1, 1)
    return bets(effect=effect, variance=variance, m=-margin, lo=-1, factors=factors)


def log_increments(values: Floats, bets: Bets) -> Floats:
    """log(1 + lambda_j (v - m)): what one sight of each value adds to each bet's log wealth.

    Shape (V,) to (3, V). Raises when a factor is not above 0: that value lies below the `lo` the bets
    were made for, and the product would not be an e-value.
    """
    seen = require.numbers("values", values, at_least=1)
    return _increments(seen.tobytes(), bets)


@lru_cache(maxsize=4096)  # a rule bets on the same few values at every look
def _increments(values: bytes, bets: Bets) -> Floats:
    seen = np.frombuffer(values, dtype=np.float64)
    gains = np.outer(bets.lambdas, seen - bets.m)
    if gains.min() <= -1:
        raise StatisticsError(
            f"the value {seen.min()} lies below what the bets allow; rebuild them with its lo."
        )
    logs: Floats = np.log1p(gains)
    logs.flags.writeable = False
    return logs


def log_e(counts: Counts, values: Floats, bets: Bets) -> Floats:
    """Log of the e-process after `counts[..., i]` sights of `values[i]`; any leading shape, kept.

    No observations give 0 (E = 1: no evidence). Stable: never leaves the log scale.
    Raises on negative, NaN or infinite counts and on a last axis other than V.
    """
    increments = log_increments(values, bets)
    wealth = np.einsum("...v,jv->...j", _checked(counts, increments.shape[1]), increments)
    top = np.maximum.reduce(wealth, axis=-1)
    gained = np.add.reduce(np.exp(wealth - top[..., None]), axis=-1)
    merged: Floats = top + np.log(gained / len(increments))
    return merged


def log_e_of(counts: Sequence[float], values: Floats, bets: Bets) -> float:
    """`log_e` of one row of counts, without arrays: many times quicker for the few values of a rule."""
    increments: list[list[float]] = log_increments(values, bets).tolist()
    fits = all(len(counts) == len(row) for row in increments)
    # A NaN may be neither the least nor the largest, but it is the sum.
    if not (fits and min(counts) >= 0 and sum(counts) < math.inf):
        raise StatisticsError(
            f"counts are {counts}; one finite number from 0 up for each of {len(increments[0])} values is needed."
        )
    wealth: list[float] = [sum(map(mul, counts, row)) for row in increments]
    top = max(wealth)
    return top + math.log(sum(math.exp(one - top) for one in wealth) / len(wealth))


def _checked(counts: Counts, width: int) -> Floats:
    seen = np.asarray(counts, dtype=np.float64)
    if seen.ndim == 0 or seen.shape[-1] != width:
        raise StatisticsError(
            f"counts have shape {seen.shape}; the last axis must hold {width} values."
        )
    # The extremes of what holds a NaN are NaN, and compare as false.
    if not (seen.min(initial=0.0) >= 0 and seen.max(initial=0.0) < math.inf):
        raise StatisticsError(
            "counts contain a negative, NaN or infinite number; prefix sums must not decrease."
        )
    return seen


@overload
def log_threshold(
    *, alpha: float, start_number: int, planned_starts: int, first: float
) -> float: ...
@overload
def log_threshold(
    *, alpha: float, start_number: Ints, planned_starts: int, first: float
) -> Floats: ...
def log_threshold(
    *, alpha: float, start_number: int | Ints, planned_starts: int, first: float
) -> float | Floats:
    """What log E of the k-th start (1-based) must reach; H = planned_starts, c = `first`, the first start's part.

        ln(1 / (c alpha))                  for k = 1: most of what is wrong is wrong from the beginning
        ln((H - 1) / ((1 - c) alpha))      for 1 < k <= H
        ln(k (k + 1) / ((1 - c) H alpha))  for k > H: overtime, which spends (1 - c) sum H alpha / (k (k + 1)),
                                           at most (1 - c) alpha H / (H + 1), however long it lasts

    A union bound over starts, whose parts are fixed beforehand: a planned migration keeps alpha, one that overruns
    without end keeps less than (2 - c) alpha. Where H <= 1 / c the first start has no less by an even split:
    ln(H / alpha) for each, and c = 0 in overtime. Never falls with k.
    """
    require.inside("alpha", alpha, 0, 1)
    require.inside("first", first, 0, 1)
    planned = require.whole("planned_starts", planned_starts, at_least=1)
    k = np.asarray(start_number, dtype=np.float64)
    if not ((k >= 1) & (k < np.inf) & (k == np.floor(k))).all():
        raise StatisticsError(
            f"start_number is {start_number}; starts are numbered 1, 2, 3 and so on."
        )
    uneven = planned * first > 1
    most = 1 / first if uneven else planned
    left = 1 - first if uneven else 1.0
    others = (planned - 1) / left if uneven else planned
    overtime = np.log(k) + np.log1p(k) - math.log(planned * left)
    spent = np.where(k <= planned, math.log(others), overtime)
    needed: Floats = np.where(k == 1, math.log(most), spent) - math.log(alpha)
    return needed if k.ndim else float(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The strongest window that closes at each end; all arrays have shape (E,).

    Where no start is admissible: log_e = margin = -inf and start = NO_START.
    """

    log_e: Floats  # of the chosen start
    start: Ints  # its minute
    margin: Floats  # log_e minus the threshold of that start: the largest over admissible starts

    @property
    def fires(self) -> NDArray[np.bool_]:
        return self.margin >= 0


def windowed_log_e(
    opened: Counts,
    closed: Counts,
    values: Floats,
    bets: Bets,
    *,
    starts: Ints,
    ends: Ints,
    window_min: int,
    min_window_min: int,
    thresholds: float | Floats,
    strongest_only: bool = False,
) -> Windows:
    """The sliding-window rule: one e-process per start, kept for the window's length.

    `starts` (K,), ascending, and `ends` (E,) are minutes; row k of `opened` (K, V) and row e of
    `closed` (E, V) hold the counts of each value in all minutes before starts[k] and before ends[e].
    A start serves an end when end - window_min <= start <= end - min_window_min. `thresholds`, one
    number or (K,), as from log_threshold. Picks the largest log E - threshold; of equals the earliest.
    Costs E x (starts in one window), and V for those starts that may be the best, in chunks of 8 MB.

    With `strongest_only`, ends that neither fire nor have the largest margin of all may be told as if nothing served
    them: for one that looks for just those it costs E x V.

    When it fires, the mean in [start, end) exceeds m, with the probability the thresholds spend.
    """
    starts, ends = require.minutes("starts", starts), require.minutes("ends", ends)
    before = _cumulative("opened", opened, starts.size, len(values))
    after = _cumulative("closed", closed, ends.size, len(values))
    require.windows(starts, window_min, min_window_min)
    needed = require.per_start(thresholds, starts.size)
    first = starts.searchsorted(ends - window_min, side="left")
    stop = starts.searchsorted(ends - min_window_min, side="right")
    width = int((stop - first).max(initial=0))
    if width <= 0:
        return _none(ends.size)
    if ends.size == 1:
        part = slice(int(first[0]), int(stop[0]))
        best, evidence, margin = strongest_start(
            after[0] - before[part], values, bets, needed[part]
        )
        return Windows(
            log_e=np.array([evidence]), start=starts[part][[best]], margin=np.array([margin])
        )
    _check_rising(before, after, first, stop)
    told = np.arange(ends.size)
    if strongest_only:
        told = _close_to_strongest(before, after, values, bets, needed, first, stop)
    after, first, stop = after[told], first[told], stop[told]
    parts = [
        _strongest(
            before, after[part], values, bets, starts, needed, first[part], stop[part], width
        )
        for part in _chunks(len(told), width * max(len(values), len(bets.lambdas)))
    ]
    return _among(_joined(parts), told, ends.size)


def _strongest(
    before: Floats,
    after: Floats,
    values: Floats,
    bets: Bets,
    starts: Ints,
    needed: Floats,
    first: NDArray[np.intp],
    stop: NDArray[np.intp],
    width: int,
) -> Windows:
    """One chunk: admissible starts of an end are neighbours, so a (C, width) gather holds them all."""
    row, slot = _contenders(before, after, values, bets, needed, first, stop, width)
    evidence = log_e(after[row] - before[slot], values, bets)
    margin = evidence - needed[slot]
    best = np.full(len(after), -np.inf)
    np.maximum.at(best, row, margin)
    largest = (margin == best[row]).nonzero()[0]
    there, earliest = np.unique(row[largest], return_index=True)
    chosen = largest[earliest]
    found = _none(len(after))
    found.log_e[there], found.margin[there] = evidence[chosen], margin[chosen]
    found.start[there] = starts[slot[chosen]]
    return found


def _close_to_strongest(
    before: Floats,
    after: Floats,
    values: Floats,
    bets: Bets,
    needed: Floats,
    first: NDArray[np.intp],
    stop: NDArray[np.intp],
) -> NDArray[np.intp]:
    """The ends that may fire, or may have the largest margin of all.

    No margin of an end is larger than if each bet had the start with the least wealth to itself: neighbouring ends have
    the same starts, so there are few leasts to look for. Of the end for which that is the largest the margin itself is
    a lower bound for the largest of all. Exponentials are left to those whose largest logarithm could do.
    """
    opened, closed, room = _wealth(before, after, values, bets, needed)
    moved = (np.diff(first) != 0) | (np.diff(stop) != 0)
    heads = np.concatenate([[0], moved.nonzero()[0] + 1])
    of = np.concatenate([[0], np.cumsum(moved)])
    gained = closed - least(opened, first[heads], stop[heads]).take(of, axis=1)
    top = gained.max(axis=0)
    close = (top >= min(0.0, float(top.max()) - math.log(len(opened))) - room).nonzero()[0]
    largest = top.take(close)
    bound = largest + np.log(np.exp(gained.take(close, axis=1) - largest).mean(axis=0))
    likely = close[bound.argmax()]
    served = slice(first[likely], stop[likely])
    margins = log_e(after[likely] - before[served], values, bets) - needed[served]
    found: NDArray[np.intp] = close[bound >= min(0.0, float(margins.max())) - room]
    return found


def least(opened: Floats, first: NDArray[np.intp], stop: NDArray[np.intp]) -> Floats:
    """The least wealth of each bet among starts first .. stop - 1; infinite where there are none."""
    bounded = np.column_stack([opened, np.full(len(opened), np.inf)])
    # Reduced from each index to the next where that is larger; between a stop and the next first lies nothing asked.
    ranges = np.column_stack([first, stop]).ravel()
    found: Floats = np.minimum.reduceat(bounded, ranges, axis=1)[:, ::2]
    found[:, first >= stop] = np.inf
    return found


def _wealth(
    before: Floats, after: Floats, values: Floats, bets: Bets, needed: Floats
) -> tuple[Floats, Floats, float]:
    """Log wealth of each bet before starts, what each needs added, and before ends, both (bets, ·) and from one base;
    and how much rounding may have changed a difference of two.
    """
    increments = log_increments(values, bets)
    opened = increments @ (before - before[0]).T + needed
    closed = increments @ (after - before[0]).T
    largest = np.abs(opened).max(initial=0) + np.abs(closed).max(initial=0)
    return opened, closed, float(_ROUNDING * (1 + largest))


def _contenders(
    before: Floats,
    after: Floats,
    values: Floats,
    bets: Bets,
    needed: Floats,
    first: NDArray[np.intp],
    stop: NDArray[np.intp],
    width: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ends and starts, ascending for each end, that may have the largest margin of their end: mostly one for each.

    Wealth is linear in counts, so that of a window is a difference of two products: no counts of windows are needed.
    The log of a mean of three lies in [top - ln 3, top], top the largest logarithm, so a start whose upper bound is
    less than another's lower bound needs no exponentials. What products are rounded by is left room for, and what
    remains is for exact sums to choose from.
    """
    opened, closed, room = _wealth(before, after, values, bets, needed)
    # By start and then end: it is several times quicker to look for the largest of each column than of each row.
    slot = first + np.arange(width)[:, None]
    beyond = slot >= stop if (stop - first < width).any() else None
    if beyond is not None:
        slot = np.minimum(slot, len(before) - 1)
    top = closed[0] - opened[0].take(slot)
    for wealth, spent in zip(closed[1:], opened[1:], strict=True):
        np.maximum(top, wealth - spent.take(slot), out=top)
    if beyond is not None:
        top[beyond] = -np.inf
    near = top >= top.max(axis=0) - (math.log(len(opened)) + room)
    if beyond is not None:
        near &= ~beyond
    place, row = near.nonzero()
    slot = slot[place, row]
    gained = closed[:, row] - opened[:, slot]
    most = gained.max(axis=0)
    margin = most + np.log(np.exp(gained - most).sum(axis=0) / len(opened))
    best = np.full(len(after), -np.inf)
    np.maximum.at(best, row, margin)
    near = margin >= best[row] - room
    return row[near], slot[near]


def strongest_start(
    gained: Counts, values: Floats, bets: Bets, thresholds: Floats
) -> tuple[int, float, float]:
    """Of e-processes that end in the same minute, the one furthest over its threshold: which, log E, log E - threshold.

    Row k of `gained` (K, V), K >= 1, holds the counts of each value since the k-th start, `thresholds` (K,) what each
    must reach. Of equals the first. What `windowed_log_e` tells of one end, its admissible starts known.
    """
    evidence = log_e(gained, values, bets)
    if evidence.ndim != 1 or not evidence.size:
        raise StatisticsError(
            f"evidence has shape {evidence.shape}; one row of at least one start is needed."
        )
    margin = evidence - require.per_start(thresholds, len(evidence))
    best = int(margin.argmax())
    return best, float(evidence[best]), float(margin[best])


def _cumulative(name: str, counts: Counts, rows: int, width: int) -> Floats:
    sums = np.asarray(counts, dtype=np.float64)
    if sums.shape != (rows, width):
        raise StatisticsError(f"{name} has shape {sums.shape}; ({rows}, {width}) is needed.")
    return sums


def _check_rising(
    before: Floats, after: Floats, first: NDArray[np.intp], stop: NDArray[np.intp]
) -> None:
    """No window has a negative count: starts rise, and no end lies below the last start that serves it."""
    _checked(np.diff(before, axis=0), before.shape[1])
    served = stop > first
    last = stop - 1
    if not served.all():
        after, last = after[served], last[served]
    _checked(after - before.take(last, axis=0), before.shape[1])


def _chunks(ends: int, numbers_per_end: int) -> Iterator[slice]:
    step = max(1, _CHUNK // numbers_per_end)
    return (slice(i, i + step) for i in range(0, ends, step))


def _none(ends: int) -> Windows:
    log_e, margin = np.full((2, ends), -np.inf)
    return Windows(log_e=log_e, start=np.full(ends, NO_START, dtype=np.int64), margin=margin)


def _joined(parts: list[Windows]) -> Windows:
    return Windows(
        log_e=np.concatenate([part.log_e for part in parts]),
        start=np.concatenate([part.start for part in parts]),
        margin=np.concatenate([part.margin for part in parts]),
    )


def _among(found: Windows, at: NDArray[np.intp], ends: int) -> Windows:
    """What was found at some of the ends, among all of them."""
    whole = _none(ends)
    whole.log_e[at], whole.start[at], whole.margin[at] = found.log_e, found.start, found.margin
    return whole
