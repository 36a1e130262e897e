"""E-processes of rules on windows: log E, what it must reach, and where it is furthest.

A rule that names a window is judged from many starts (every full hour for rates, every six hours for accuracy), each
with its share of alpha; a PASS is judged from the epoch's start alone. Bets come from the plan and never change within
a revision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from controller.rollout.metrics import MICRO, Kind, Metric
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import FULL_BP, Plan, Rule, Then
from controller.rollout.rules import alpha_of
from controller.rollout.state import Epoch
from controller.rollout.sums import Minutes
from controller.rollout.tallies import Tallies
from controller.rollout.timeline import minute_of, minutes
from controller.stats import betting
from controller.stats.betting import (
    Bets,
    gain_bets,
    log_e,
    log_threshold,
    loss_bets,
    rate_bets,
    windowed_log_e,
)
from controller.stats.betting import bets as make_bets

Until = Callable[[Minutes], NDArray[np.int64]]
Remembered = dict[
    object, tuple[object, Any]
]  # results by what they are about, with what they are computed from
RATE_NAMES, PAIR_NAMES = ("0", str(MICRO)), (str(-MICRO), "0", str(MICRO))
RATE_START_MIN = 60
LOSS_START_MIN = 360
RATE_ALTERNATIVE = 1.5  # times the limit: the rate worth catching where the plan does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Values that an e-process bets on, and how often each had been seen before given minutes: (M, V)."""

    kind: str  # "episodes", "blocks" or "pairs"
    values: NDArray[np.float64]
    names: tuple[str, ...]  # the values in millionths
    until: Until
    at_marks: Until  # the same, remembered
    remembered: Remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Strongest:
    """For each end the start whose log E lies furthest over its threshold; start −1 where there is none.

    `tally` says how often each value was seen from that start to that end, by value in millionths.
    """

    log_e: NDArray[np.float64]
    margin: NDArray[np.float64]
    start: Minutes
    tally: Callable[[int], dict[str, int]]


def claim_of(rule: Rule) -> float:
    """What a failing rule has disproved: "no loss" for a loss that pauses (the guarded form), else "in the limit"."""
    return 0.0 if rule.metric.kind is Kind.LOSS and rule.then is Then.PAUSE else rule.limit


# The same few plans ask for the same few bets at every tick.
_rate_bets, _loss_bets, _gain_bets, _make_bets = (
    lru_cache(maxsize=4096)(one) for one in (rate_bets, loss_bets, gain_bets, make_bets)
)


def failing_bets(plan: Plan, rule: Rule, kind: str) -> Bets:
    """Bets against the rule's claim."""
    if rule.metric.kind is Kind.RATE:
        alternative = rule.alternative or min(RATE_ALTERNATIVE * rule.limit, 1.0)
        return _rate_bets(limit=rule.limit, alternative=alternative)
    return _loss_bets(
        margin=claim_of(rule),
        effect=rule.alternative or rule.limit,
        variance=_loss_variance(plan, kind),
    )


def passing_bets(plan: Plan, rule: Rule, kind: str) -> Bets:
    """Bets for "within the limit", on the negated values."""
    if rule.metric.kind is Kind.RATE:
        variance = rule.limit * (1 - rule.limit)
        effect = rule.limit * (1 - 1 / RATE_ALTERNATIVE)
        return _make_bets(effect=effect, variance=variance, m=-rule.limit, lo=-1)
    return _gain_bets(
        margin=rule.limit,
        effect=rule.alternative or rule.limit,
        variance=_loss_variance(plan, kind),
    )


def _loss_variance(plan: Plan, kind: str) -> float:
    """Of one pair: the discordance. Of one block: e (1 − e) (1 + 1/k), e the historic error rate, k of the first step.

    One set of bets serves all steps, so that blocks of different shares multiply into one e-process.
    """
    if kind == "pairs":
        return plan.priors.discordance
    share = max(plan.share_at(0), 1) / FULL_BP
    k = max(1, round((1 - share) / share))
    error = 1 - plan.priors.accuracy
    return error * (1 - error) * (1 + 1 / k)


def evidence(rule: Rule, intent: str | None, tallies: Tallies, arm: str) -> tuple[Evidence, ...]:
    """What there is to bet on: episodes for a rate; blocks, and pairs if there are any, for a loss."""
    if rule.metric.kind is Kind.RATE:
        return (_episodes(rule.metric, intent, tallies, arm),)
    found = [_blocks(intent, tallies)]
    pairs = _pairs(intent, tallies)
    if pairs.until(np.array([np.iinfo(np.int64).max])).any():
        found.append(pairs)
    return tuple(one for one in found if len(one.values))


def _episodes(metric: Metric, intent: str | None, tallies: Tallies, arm: str) -> Evidence:
    keys = (metric.known[1], f"ef.{metric.subject}")

    def of(counted: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.stack([counted[:, 0] - counted[:, 1], counted[:, 1]], axis=1)

    return Evidence(
        kind="episodes",
        values=np.array([0.0, 1.0]),
        names=RATE_NAMES,
        remembered=tallies.remembered,
        until=lambda at: of(tallies.until(at, keys, arm=arm, intent=intent)),
        at_marks=lambda at: of(tallies.at_marks(at, keys, arm=arm, intent=intent)),
    )


def _blocks(intent: str | None, tallies: Tallies) -> Evidence:
    keys = tallies.values_of_blocks(intent)
    return Evidence(
        kind="blocks",
        values=np.array([int(key[2:]) / MICRO for key in keys]),
        names=tuple(key[2:] for key in keys),
        remembered=tallies.remembered,
        until=lambda at: tallies.until(at, keys, arm=BOTH_ARMS, intent=intent),
        at_marks=lambda at: tallies.at_marks(at, keys, arm=BOTH_ARMS, intent=intent),
    )


def _pairs(intent: str | None, tallies: Tallies) -> Evidence:
    keys = ("p.11", "p.10", "p.01", "p.00")

    def of(seen: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.stack([seen[:, 2], seen[:, 0] + seen[:, 3], seen[:, 1]], axis=1)

    return Evidence(
        kind="pairs",
        values=np.array([-1.0, 0.0, 1.0]),
        names=PAIR_NAMES,
        remembered=tallies.remembered,
        until=lambda at: of(tallies.until(at, keys, arm=BOTH_ARMS, intent=intent)),
        at_marks=lambda at: of(tallies.at_marks(at, keys, arm=BOTH_ARMS, intent=intent)),
    )


def _tally(found: Evidence, counts: NDArray[np.int64]) -> dict[str, int]:
    """Counts by value in millionths; values not seen are left out."""
    return {name: count for name, count in zip(found.names, counts.tolist(), strict=True) if count}


T = TypeVar("T")


def _recalled(found: Evidence, about: object, of: object, compute: Callable[[], T]) -> T:
    """What was computed of the very same the last time, else computed now: most minutes bring nothing new."""
    known = found.remembered.get(about)
    if known is not None and known[0] == of:
        return cast(T, known[1])
    result = compute()
    found.remembered[about] = (of, result)
    return result


def _every(rule: Rule) -> int:
    return LOSS_START_MIN if rule.metric.kind is Kind.LOSS else RATE_START_MIN


@lru_cache(maxsize=4096)
def _thresholds(alpha: float, first: int, count: int, planned: int) -> NDArray[np.float64]:
    numbers = np.arange(first, first + count)
    return log_threshold(alpha=alpha, start_number=numbers, planned_starts=planned)


def starts_of(rule: Rule, epoch: Epoch, last_end: int) -> Minutes:
    """Where e-processes of this rule start: at the epoch's first minute, then every full hour (six for a loss)."""
    every = _every(rule)
    first = minute_of(epoch.start)
    following = first - first % every + every
    later = np.arange(following - every, max(last_end, following), every, dtype=np.int64)
    later[0] = first
    return later


def failing(
    plan: Plan,
    rule: Rule,
    intent: str | None,
    epoch: Epoch,
    found: Evidence,
    ends: Minutes,
    *,
    forms: int,
) -> Strongest:
    """The strongest window against the claim at each end. `forms`: how many kinds of evidence share the alpha."""
    starts = starts_of(rule, epoch, int(ends[-1]))
    # None that lies before the first window is admissible; a start keeps its number, which is its threshold's.
    passed = int(starts.searchsorted(ends[0] - minutes(rule.window)))
    starts = starts[passed:]
    opened, closed = found.at_marks(starts), found.until(ends)
    alpha = alpha_of(plan, rule, epoch) / forms

    def compute() -> betting.Windows:
        return windowed_log_e(
            opened,
            closed,
            found.values,
            failing_bets(plan, rule, found.kind),
            starts=starts,
            ends=ends,
            window_min=minutes(rule.window),
            min_window_min=1,
            thresholds=_thresholds(
                alpha, passed + 1, len(starts), math.ceil(minutes(plan.horizon) / _every(rule))
            ),
        )

    if len(ends) > 1:
        strongest = compute()
    else:
        # Which starts serve the one end is said by the starts alone: they were chosen by it.
        about = (rule.name, intent, found.kind)
        of = (starts.tobytes(), opened.tobytes(), closed.tobytes(), found.names, alpha, passed)
        strongest = _recalled(found, about, of, compute)

    def tally(i: int) -> dict[str, int]:
        return _tally(found, closed[i] - opened[starts.searchsorted(strongest.start[i])])

    return Strongest(
        log_e=strongest.log_e, margin=strongest.margin, start=strongest.start, tally=tally
    )


def passing(
    plan: Plan, rule: Rule, intent: str | None, epoch: Epoch, found: Evidence, end: int
) -> tuple[float, dict[str, int]]:
    """log E for "within the limit" over the whole epoch up to one end, and what was seen in it."""
    before, after = found.until(np.array([minute_of(epoch.start), end]))
    counts = after - before
    about = (rule.name, intent, found.kind, "passing")
    reached = _recalled(
        found,
        about,
        (counts.tobytes(), found.names),
        lambda: float(log_e(counts[None], -found.values, passing_bets(plan, rule, found.kind))[0]),
    )
    return reached, _tally(found, counts)
