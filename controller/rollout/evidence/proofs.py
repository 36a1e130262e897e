"""E-processes of rules on windows: log E, what it must reach, and where it is furthest.

A rule that names a window is judged from many starts (every full hour for rates, every six hours for accuracy), each
with its share of alpha; a PASS is judged from the epoch's start alone. Bets come from the plan and never change within
a revision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes
from controller.rollout.counting.tallies import About
from controller.rollout.evidence.reader import Reader
from controller.rollout.evidence.rules import as_shown, bound_of, kept_limit, shown_bound
from controller.rollout.evidence.starts import starts_and_thresholds
from controller.rollout.metrics import MICRO, Kind, Metric, above
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import FULL_BP, Plan, Rule, Then
from controller.rollout.state import Epoch
from controller.rollout.timeline import minute_of, minutes
from controller.stats.betting import (
    NO_START,
    Bets,
    gain_bets,
    log_e,
    log_e_of,
    loss_bets,
    rate_bets,
    strongest_start,
    windowed_log_e,
)
from controller.stats.betting import bets as make_bets
from controller.stats.histogram import bucket_of

Counts = NDArray[np.int64]
RATE_NAMES, PAIR_NAMES = ("0", str(MICRO)), (str(-MICRO), "0", str(MICRO))
KEPT_FACTORS = (0.5, 0.75, 1.5)
"""Of the bet on "no loss at all", what a pass of a loss bets: docs/adr/032. Hardly any candidate gains a margin."""
RATE_ALTERNATIVE = 1.5  # times the limit: the rate worth catching where the plan does not say
RATES = (
    Kind.RATE,
    Kind.ACCURACY,
    Kind.QUANTILE,
)  # judged by a share: of episodes with a flag, of answers that are right, of requests above a limit


@dataclass(frozen=True, slots=True)
class Evidence:
    """Values that an e-process bets on, and how often each was seen before given minutes.

    `counted` are the statistics that say it; `sort` makes of them, numbers or arrays, one for each value: how often, in
    units of `1 / parts`.
    """

    kind: str  # "episodes", "labels", "requests", "blocks" or "pairs"
    values: NDArray[np.float64]
    names: tuple[str, ...]  # the values in millionths
    reader: Reader
    arm: str
    intent: str | None
    counted: tuple[str, ...]
    sort: Callable[[Sequence[Any]], Sequence[Any]]
    parts: int = 1

    def before(self, minute: int) -> list[int]:
        """Before one minute, of each value."""
        seen = self.reader.before(minute, self.counted, arm=self.arm, intent=self.intent)
        return list(self.sort(seen))

    def until(self, ends: Minutes) -> Counts:
        """Before each end; (E, V)."""
        if len(ends) == 1:
            return np.array([self.before(int(ends[0]))])
        return self._table(ends)

    def at_marks(self, marks: Minutes) -> Counts:
        """The same for marks that stay."""
        about = About(self.counted, self.intent)
        return self.reader.tallies.at_marks(marks, arm=self.arm, about=about, until=self._table)

    def whole(self, counts: NDArray[Any]) -> NDArray[Any]:
        """How often, as the e-process takes it."""
        return counts if self.parts == 1 else counts / self.parts

    def tally(self, counts: Sequence[int]) -> dict[str, int]:
        """Counts by value in millionths; values not seen are left out. Two statistics may have the same value.

        Parts of a right and of a wrong answer are told as one answer with that grade.
        """
        if self.parts != 1:
            return _tally_of_parts(*counts, parts=self.parts)
        return _tally(self.names, counts)

    def _table(self, ends: Minutes) -> Counts:
        tallies = self.reader.tallies
        table = tallies.until(ends, self.counted, arm=self.arm, intent=self.intent)
        return np.stack(self.sort(list(table.T)), axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strongest:
    """For each end the start whose log E lies furthest over its threshold; start −1 where there is none to tell.

    `tally` says how often each value was seen from that start to that end, by value in millionths.
    """

    log_e: NDArray[np.float64]
    margin: NDArray[np.float64]
    start: Minutes
    tally: Callable[[int], dict[str, int]]


_NOTHING = Strongest(
    log_e=np.array([-np.inf]),
    margin=np.array([-np.inf]),
    start=np.array([NO_START]),
    tally=lambda _: {},
)
"""Of one end that no start serves."""


def claim_of(plan: Plan, rule: Rule) -> float:
    """What a failing rule has disproved: "no loss" for a loss that pauses (the guarded form), else "in the limit"."""
    guarded = rule.metric.kind is Kind.LOSS and rule.then is Then.PAUSE
    return 0.0 if guarded else shown_bound(plan, rule)


def bad_side(rule: Rule) -> int:
    """1 where values above the limit are bad, −1 where those below it are: what a failing proof bets on is that times
    the values; a passing one bets on the opposite.
    """
    return -1 if rule.below else 1


# The same few plans ask for the same few bets at every tick.
_rate_bets, _loss_bets, _gain_bets, _make_bets = (
    lru_cache(maxsize=4096)(one) for one in (rate_bets, loss_bets, gain_bets, make_bets)
)


def failing_bets(plan: Plan, rule: Rule, kind: str) -> Bets:
    """Bets against the rule's claim, on `bad_side` × the values."""
    if rule.metric.kind in RATES:
        limit, alternative = shown_bound(plan, rule), as_shown(plan, rule, worth_catching(rule))
        if rule.below:
            return _under_bets(limit, limit - alternative)
        return _rate_bets(limit=limit, alternative=alternative)
    return _loss_bets(
        margin=claim_of(plan, rule),
        effect=rule.alternative or rule.limit,
        variance=_loss_variance(plan, kind),
    )


def passing_bets(plan: Plan, rule: Rule, kind: str) -> Bets:
    """Bets for "within the limit", on −`bad_side` × the values."""
    if rule.metric.kind in RATES:
        limit = kept_limit(plan, rule)
        if rule.below:
            better = _effect_below(limit, 1 - 1 / RATE_ALTERNATIVE)
            return _rate_bets(limit=limit, alternative=limit + better)
        return _under_bets(limit, limit * (1 - 1 / RATE_ALTERNATIVE))
    margin = kept_limit(plan, rule)
    return _gain_bets(
        margin=margin,
        effect=margin * (rule.alternative or rule.limit) / rule.limit,
        variance=_loss_variance(plan, kind),
        factors=KEPT_FACTORS,
    )


def worth_catching(rule: Rule) -> float:
    """The share that a rule on one is tuned to catch: its `alternative`, or 1.5 times a limit that it must not exceed.

    One that it must not fall below is mirrored: 1 − share is 1.5 times what it may be; of a limit under one half it is
    half the limit.
    """
    limit = bound_of(rule)
    if rule.alternative is not None:
        return rule.alternative
    if rule.below:
        return limit - _effect_below(limit, RATE_ALTERNATIVE - 1)
    return min(RATE_ALTERNATIVE * limit, 1.0)


def _effect_below(limit: float, part: float) -> float:
    return part * min(limit, 1 - limit)


def _under_bets(limit: float, effect: float) -> Bets:
    """Against "the mean is at least the limit", on the negated values of 0 to 1."""
    return _make_bets(effect=effect, variance=limit * (1 - limit), m=-limit, lo=-1)


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


RATE_VALUES, PAIR_VALUES = np.array([0.0, 1.0]), np.array([-1.0, 0.0, 1.0])
PAIR_KEYS = ("p.11", "p.10", "p.01", "p.00")


def evidence(rule: Rule, intent: str | None, reader: Reader, arm: str) -> tuple[Evidence, ...]:
    """What there is to bet on against a rule's claim: episodes for a rate; grades for an accuracy; requests for a
    percentile, those past its limit for certain; blocks, and pairs if there are any, for a loss.
    """
    if rule.metric.kind is Kind.RATE:
        return (_episodes(rule.metric, intent, reader, arm),)
    if rule.metric.kind is Kind.ACCURACY:
        return (_grades(intent, reader, arm),)
    if rule.metric.kind is Kind.QUANTILE:
        return (_requests(rule.metric, limit_bucket(rule) - rule.below, intent, reader, arm),)
    found = (_blocks(intent, reader), _pairs(intent, reader))
    return tuple(one for one in found if len(one.values))


def passing_evidence(
    rule: Rule, intent: str | None, reader: Reader, arm: str
) -> tuple[Evidence, ...]:
    """What there is to bet on for a pass: the same, but a request of which the histogram cannot tell on which side of
    the limit it lies counts as on the wrong one.
    """
    if rule.metric.kind is Kind.QUANTILE:
        bucket = limit_bucket(rule) - (not rule.below)
        return (_requests(rule.metric, bucket, intent, reader, arm),)
    return evidence(rule, intent, reader, arm)


def limit_bucket(rule: Rule) -> int:
    """The bucket that a percentile's limit lies in. What is above it exceeds the limit, what is below it does not, and
    what is in it, within 2%, may or may not.
    """
    return bucket_of(rule.limit)


def _episodes(metric: Metric, intent: str | None, reader: Reader, arm: str) -> Evidence:
    counted = (metric.known[1], f"ef.{metric.subject}")
    return Evidence(
        "episodes",
        RATE_VALUES,
        RATE_NAMES,
        reader,
        arm,
        intent,
        counted,
        lambda seen: (seen[0] - seen[1], seen[1]),
    )


def _grades(intent: str | None, reader: Reader, arm: str) -> Evidence:
    """Episodes by their grades, of which only the sum is kept: a grade of 0.3 counts as three tenths of a right answer
    and seven tenths of a wrong one. The logarithm of a bet is concave in the grade, so that is the least that the
    grades can be worth to either proof (Jensen).
    """
    return Evidence(
        "labels",
        RATE_VALUES,
        RATE_NAMES,
        reader,
        arm,
        intent,
        ("e.graded", "e.correct_u"),
        lambda seen: (MICRO * seen[0] - seen[1], seen[1]),
        parts=MICRO,
    )


def _requests(
    metric: Metric, bucket: int, intent: str | None, reader: Reader, arm: str
) -> Evidence:
    counted = (f"c.{metric.subject}_us", above(metric.subject, bucket))
    return Evidence(
        "requests",
        RATE_VALUES,
        RATE_NAMES,
        reader,
        arm,
        intent,
        counted,
        lambda seen: (seen[0] - seen[1], seen[1]),
    )


def _blocks(intent: str | None, reader: Reader) -> Evidence:
    keys = reader.tallies.values_of_blocks(intent)
    values, names = _values_of(keys)
    return Evidence("blocks", values, names, reader, BOTH_ARMS, intent, keys, lambda seen: seen)


@lru_cache(maxsize=4096)
def _values_of(keys: tuple[str, ...]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The values of blocks, and in millionths, from their statistics."""
    names = tuple(key[2:] for key in keys)
    return np.array([int(name) / MICRO for name in names]), names


def _pairs(intent: str | None, reader: Reader) -> Evidence:
    graded = reader.tallies.values_of_pairs(intent)
    there = bool(graded) or reader.tallies.has_any(PAIR_KEYS, arm=BOTH_ARMS, intent=intent)
    values, names = _values_of_pairs(graded) if there else _values_of(())
    return Evidence(
        "pairs",
        values,
        names,
        reader,
        BOTH_ARMS,
        intent,
        PAIR_KEYS + graded,
        lambda seen: (seen[2], seen[0] + seen[3], seen[1], *seen[4:]),
    )


@lru_cache(maxsize=4096)
def _values_of_pairs(graded: tuple[str, ...]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Those of pairs graded right or wrong, then those of `pv.V`."""
    names = tuple(key[3:] for key in graded)
    return np.concatenate([PAIR_VALUES, [int(name) / MICRO for name in names]]), PAIR_NAMES + names


def _tally_of_parts(wrong: int, right: int, *, parts: int) -> dict[str, int]:
    """As many answers, right or wrong but for one, with the same sum of grades."""
    whole, rest = divmod(right, parts)
    told = {"0": wrong // parts, str(MICRO): whole} | (
        {str(rest * MICRO // parts): 1} if rest else {}
    )
    return {name: count for name, count in told.items() if count}


def _tally(names: Sequence[str], counts: Sequence[int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, count in zip(names, counts, strict=True):
        if count:
            found[name] = found.get(name, 0) + count
    return found


def failing(
    plan: Plan,
    rule: Rule,
    epoch: Epoch,
    found: Evidence,
    ends: Minutes,
    *,
    alpha: float,
    horizon_min: int,
) -> Strongest:
    """The strongest window against the claim, at this kind of evidence's part of alpha: at each end that fires or is
    the strongest of all; other ends may be told as having none.
    """
    starts, thresholds = starts_and_thresholds(
        rule, epoch, ends, alpha=alpha, horizon_min=horizon_min
    )
    opened = found.at_marks(starts)
    if len(ends) == 1:
        return _failing_at(plan, rule, found, int(ends[0]), starts, thresholds, opened)
    closed = found.until(ends)
    strongest = windowed_log_e(
        found.whole(opened),
        found.whole(closed),
        bad_side(rule) * found.values,
        failing_bets(plan, rule, found.kind),
        starts=starts,
        ends=ends,
        window_min=minutes(rule.window),
        min_window_min=minutes(rule.least_window),
        thresholds=thresholds,
        strongest_only=True,
    )

    def tally(i: int) -> dict[str, int]:
        since = opened[starts.searchsorted(strongest.start[i])]
        return found.tally((closed[i] - since).tolist())

    return Strongest(
        log_e=strongest.log_e, margin=strongest.margin, start=strongest.start, tally=tally
    )


def _failing_at(
    plan: Plan,
    rule: Rule,
    found: Evidence,
    end: int,
    starts: Minutes,
    thresholds: NDArray[np.float64],
    opened: Counts,
) -> Strongest:
    """The same of one end, as most looks have it: no start lies further back than its longest window."""
    served = int(starts.searchsorted(end - minutes(rule.least_window), side="right"))
    if not served:
        return _NOTHING
    gained = np.array(found.before(end)) - opened[:served]
    bets = failing_bets(plan, rule, found.kind)
    values = found.values if bad_side(rule) > 0 else -found.values
    best, evidence, margin = strongest_start(found.whole(gained), values, bets, thresholds[:served])
    return Strongest(
        log_e=np.array([evidence]),
        margin=np.array([margin]),
        start=starts[best : best + 1],
        tally=lambda _: found.tally(gained[best].tolist()),
    )


def pass_threshold(plan: Plan, kinds: int) -> float:
    """What log E of a passing proof must reach, with so many kinds of evidence.

    Every critical intent must pass, each at alpha: an intersection needs no correction, kinds share the alpha.
    """
    return math.log(kinds / plan.alpha)


def passing(
    plan: Plan, rule: Rule, epoch: Epoch, found: Evidence, end: int, *, missing: int = 0
) -> tuple[float, dict[str, int]]:
    """log E for "within the limit" over the whole epoch up to one end, and what was seen in it.

    `missing` blocks more count as the worst there is, 1 (`coverage.missing_blocks`); pairs are whole.
    """
    opened, closed = found.before(minute_of(epoch.start)), found.before(end)
    counts = [after - before for before, after in zip(opened, closed, strict=True)]
    if missing and found.kind == "blocks":
        found, counts = _with_worst(found), [*counts, missing]
    seen = counts if found.parts == 1 else [count / found.parts for count in counts]
    bets = passing_bets(plan, rule, found.kind)
    return log_e_of(seen, -bad_side(rule) * found.values, bets), found.tally(counts)


def passing_by(
    plan: Plan,
    rule: Rule,
    epoch: Epoch,
    found: Evidence,
    ends: Minutes,
    *,
    missing: Minutes | None = None,
) -> NDArray[np.float64]:
    """log E of `passing` at each of some ends; 0 where the epoch had not begun."""
    start = minute_of(epoch.start)
    counts = found.until(np.maximum(ends, start)) - np.array(found.before(start))
    if missing is not None and found.kind == "blocks":
        found, counts = _with_worst(found), np.column_stack([counts, missing])
    bets = passing_bets(plan, rule, found.kind)
    return log_e(found.whole(counts), -bad_side(rule) * found.values, bets)


def _with_worst(found: Evidence) -> Evidence:
    """With one more value, the worst there is."""
    return replace(found, values=np.append(found.values, 1.0), names=(*found.names, str(MICRO)))
