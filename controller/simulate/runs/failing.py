"""In which minutes of a stretch a rule may fail: all of them at once, without a look at each.

Whether a window is over its limit, and whether a proof fires, the rules' own functions tell of many ends together. Most
rules of most stretches need not even that: of rates on all their intents, and of losses, bounds tell that nothing can
fire. What is named here is then read, as a look in that minute would; what is not named fails in no such look. That it
leaves out nothing is held by `tests/simulate/runs/test_failing.py`, and by trials that look in every minute.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.columns import divided
from controller.rollout.counting.sums import Minutes
from controller.rollout.evidence import proofs
from controller.rollout.evidence.availability import by_chance, expected_rate
from controller.rollout.evidence.by_minute import HOUR_MIN, ByMinute
from controller.rollout.evidence.looks import known_and_traffic, measure, with_usual
from controller.rollout.evidence.powered import Powered
from controller.rollout.evidence.reader import Windows
from controller.rollout.evidence.readings import against, strongest_of
from controller.rollout.evidence.rules import ROUNDING, is_provable
from controller.rollout.evidence.starts import RATE_START_MIN, ends_served, starts_and_thresholds
from controller.rollout.evidence.view import Span, View, whole_windows
from controller.rollout.metrics import Kind, above
from controller.rollout.plan import FULL_BP, Arm, Evidence, Rule
from controller.rollout.timeline import MINUTE, minute_of, minutes
from controller.simulate.drawn.block_sums import Floats
from controller.simulate.drawn.dense import DenseTallies
from controller.simulate.runs.bounds import told_bucket
from controller.stats.betting import Bets, least, log_increments
from controller.stats.histogram import value_of

Flags: TypeAlias = NDArray[np.bool_]
Suspect: TypeAlias = tuple[int, str, str | None]
"""A minute in which a rule may fail on an intent."""

SLACK: Final = 1e-6  # of a sum of logarithms: far more than what it is rounded by
BOUNDED: Final = (Kind.RATE, Kind.QUANTILE)
OVER: Final = 1 - 1e-12  # of a limit: far more than what a rate is rounded by


def suspects(view: View, tallies: DenseTallies, in_time: Set[str]) -> Iterator[Suspect]:
    """The minutes up to `view.now`, since those that were judged, in which a look may find a failure that is new, or
    nothing measured for longer than the plan bears; ascending. Failures are those of some rules, whose windows do not
    change once they are there.
    """
    if view.state.step < 0:
        return iter(())
    found: list[Iterator[Suspect]] = []
    for rule in view.plan.rules:
        if rule.metric.comparing and view.state.share_bp >= FULL_BP:
            continue
        ahead = minute_of(view.now) - view.watermark(rule)
        judged = [one for one in view.plan.judged_intents(rule) if one not in view.state.pins]
        new = [one for one in judged if rule.name in in_time and not _has_failed(view, rule, one)]
        for intent, ends in (
            *_failing(view, tallies, rule, new),
            *_blind(view, tallies, rule, judged),
        ):
            if len(ends):
                found.append(_at(ends + ahead, rule, intent))
    return heapq.merge(*found, key=lambda one: one[0])


def _at(moments: Minutes, rule: Rule, intent: str | None) -> Iterator[Suspect]:
    for moment in moments.tolist():
        yield moment, rule.name, intent


def _has_failed(view: View, rule: Rule, intent: str | None) -> bool:
    epoch = view.state.epoch(rule.name).number
    return any(
        (one.rule, one.intent, one.epoch) == (rule.name, intent, epoch)
        for one in view.state.failures
    )


def _failing(
    view: View, tallies: DenseTallies, rule: Rule, intents: Sequence[str | None]
) -> Iterator[tuple[str | None, Minutes]]:
    """Of each intent the ends at which the rule may fail."""
    if not intents:
        return
    span = view.span(rule, view.state.epoch(rule.name))
    may = np.ones(len(intents), dtype=np.bool_)
    if rule.metric.kind in BOUNDED and rule.usual is None and len(span.ends) > 1:
        may = _rates_may_fail(view, tallies, rule, intents, span)
    elif rule.metric.kind is Kind.LOSS and rule.evidence is Evidence.CONFIDENT:
        may = _losses_may_fire(view, tallies, rule, intents, span)
    for place in may.nonzero()[0].tolist():
        yield intents[place], failing_ends(view, tallies, rule, intents[place], span)
    for intent in intents:
        yield intent, ends_failing_by_people(view, rule, intent, span)


# By the rules' own functions


def failing_ends(
    view: View, tallies: DenseTallies, rule: Rule, intent: str | None, span: Span
) -> Minutes:
    """The ends of a span at which a look at each alone would find the rule failing, as far as windows and proofs go."""
    found = np.zeros(len(span.ends), dtype=np.bool_)
    if rule.evidence is Evidence.OBSERVED:
        found |= _is_over(view, tallies, rule, intent, span)
    if is_provable(rule):
        found |= _is_disproved(view, rule, intent, span)
    ends: Minutes = span.ends[found]
    return ends


def _is_over(
    view: View, tallies: DenseTallies, rule: Rule, intent: str | None, span: Span
) -> Flags:
    """Whether the rule as written fails at each end."""
    lasts = minutes(rule.sustained) + 1
    if lasts > 1:
        # It fails where so many ends in a row are over; of these one is looked at here.
        some = slice(lasts - 1, None, lasts)
        windows = Windows.of(span.windows.starts[some], span.windows.ends[some])
        if not _over_limit(view, tallies, rule, intent, windows, span.complete[some]).any():
            return np.zeros(len(span.ends), dtype=np.bool_)
    over = _over_limit(view, tallies, rule, intent, span.windows, span.complete)
    lasting = np.lib.stride_tricks.sliding_window_view(over, lasts)
    return np.asarray(lasting.all(axis=1))


def _over_limit(
    view: View,
    tallies: DenseTallies,
    rule: Rule,
    intent: str | None,
    windows: Windows,
    complete: Flags,
) -> Flags:
    """Whether the rule is over its limit in each window that counts."""
    limit: Floats | float = rule.limit
    if rule.usual is None and rule.metric.kind is Kind.QUANTILE_RATIO:
        values, samples = _ratios(tallies, rule, intent, windows)
    else:
        sampled_u = view.plan.labels.sampled_u
        found = measure(rule, intent, view.reader, windows, sampled_u=sampled_u)
        if rule.usual is not None:
            earliest = minute_of(view.state.started_at)
            found = with_usual(found, rule, intent, view.reader, windows, earliest)
            usual = np.atleast_1d(np.asarray(found.usual, dtype=np.float64))
            limit = rule.limit * usual * ROUNDING
        values, samples = np.atleast_1d(found.values), np.atleast_1d(found.samples)
    over = np.asarray(values < limit if rule.below else values > limit, dtype=np.bool_)
    over[~complete | (samples < rule.min_samples)] = False
    return over


def _ratios(
    tallies: DenseTallies, rule: Rule, intent: str | None, windows: Windows
) -> tuple[Floats, Minutes]:
    """Of percentiles, as `looks.measure` has it; and the samples of the arm with fewer."""
    metric, told = rule.metric, []
    if metric.quantile is None:
        raise LookupError(f"{metric.name} has no quantile in the catalogue")
    for arm in (Arm.CANDIDATE, Arm.BASELINE):
        buckets, n = tallies.times.quantile_buckets(
            metric.subject, metric.quantile, windows, arm=arm.value, intent=intent
        )
        shown, places = np.unique(buckets, return_inverse=True)
        values = np.array([value_of(bucket) for bucket in shown.tolist()])[places]
        told.append((np.where(n > 0, values, np.nan), n))
    (ours, m), (theirs, n) = told
    return np.asarray(divided(ours, theirs)), np.minimum(m, n)


def _is_disproved(view: View, rule: Rule, intent: str | None, span: Span) -> Flags:
    """Whether there is a proof against the rule's claim at each end."""
    epoch = view.state.epoch(rule.name)
    kinds = against(view, rule, intent, epoch)
    ends = ends_served(rule, epoch, span.ends)
    fires = np.zeros(len(ends), dtype=np.bool_)
    by_people = Powered.of(view.plan, rule, intent, view.reader, epoch)
    for one in kinds:
        alpha = view.alpha(rule, epoch) / (len(kinds) + (by_people is not None))
        if isinstance(one, ByMinute) and not _may_fire(view, rule, one, span):
            continue
        fires |= strongest_of(view, rule, epoch, one, ends, alpha).margin >= 0
    if rule.metric.kind is Kind.LOSS and fires.any():
        windows = whole_windows(rule, minute_of(epoch.start), ends[fires])
        lost = np.atleast_1d(measure(rule, intent, view.reader, windows).values)
        fires[fires] = lost > rule.limit
    return _at_every(span.ends, ends, fires)


def ends_failing_by_people(view: View, rule: Rule, intent: str | None, span: Span) -> Minutes:
    """The same of people's grades beside a judge's.

    What they prove changes only as an hour ends, or as a start begins or ceases to serve.
    """
    epoch = view.state.epoch(rule.name)
    by_people = Powered.of(view.plan, rule, intent, view.reader, epoch)
    if by_people is None:
        return span.ends[:0]
    race = Race.of(view, rule, span.ends)
    ends = race.ends
    heads = np.union1d(race.heads, np.diff(ends // HOUR_MIN).nonzero()[0] + 1)
    kinds = proofs.evidence(rule, intent, view.reader, Arm.CANDIDATE.value)
    strongest = by_people.failing(
        epoch,
        ends[heads],
        alpha=view.alpha(rule, epoch) / max(len(kinds) + 1, 2),
        horizon_min=view.horizon_min,
    )
    fires = np.repeat(strongest.margin >= 0, np.diff(np.append(heads, len(ends))))
    if fires.any():
        windows = whole_windows(rule, minute_of(epoch.start), ends[fires])
        fires[fires] = by_people.figures(windows.starts, windows.ends) > rule.limit * OVER
    found: Minutes = span.ends[_at_every(span.ends, ends, fires)]
    return found


def _at_every(every: Minutes, served: Minutes, fires: Flags) -> Flags:
    """Whether it fires at each of all ends, from those that a start serves."""
    if np.array_equal(served, every):
        return fires
    # What was proven at an end that a start serves holds for a while: the first of those is right.
    there = served[fires]
    return every >= (there[0] if len(there) else np.inf)


# Bounds


def _rates_may_fail(
    view: View, tallies: DenseTallies, rule: Rule, intents: Sequence[str | None], span: Span
) -> Flags:
    """Whether a rule on a rate may fail on each intent at any end. Needs ends that follow one another."""
    ends, window = span.ends, minutes(rule.window)
    epoch_min = minute_of(view.state.epoch(rule.name).start)
    first = max(int(ends[0]) - window - RATE_START_MIN, epoch_min)
    keys = _rate_keys(rule) if rule.metric.kind is Kind.RATE else _percentile_keys(rule)
    of, count, episodes, flagged = tallies.stretch(
        first, int(ends[-1]), keys, arm=(rule.arm or Arm.CANDIDATE).value, intents=intents
    )
    may = np.zeros(len(intents), dtype=np.bool_)
    if rule.evidence is Evidence.OBSERVED and span.complete.any():
        opened = np.maximum(ends - window, epoch_min) - first
        closed = slice(int(ends[0]) - first, None)
        count = count[:, closed] - count.take(opened, axis=1)
        of = of[:, closed] - of.take(opened, axis=1)
        over = _over(rule, count, of)
        over &= of >= max(rule.min_samples, 1)
        complete = span.complete[-len(ends) :]  # without those of `for`
        may |= (over & complete).any(axis=1)
    if is_provable(rule):
        bets = proofs.failing_bets(view.plan, rule, "episodes")
        logs = log_increments(proofs.bad_side(rule) * proofs.RATE_VALUES, bets)[:, :, None, None]
        race = Race.of(view, rule, span.ends)

        def wealth(at: NDArray[np.int64] | slice) -> Floats:
            n, hits = episodes[:, at] - episodes[:, :1], flagged[:, at] - flagged[:, :1]
            each: Floats = logs[:, 0] * n + (logs[:, 1] - logs[:, 0]) * hits
            return each.reshape(len(logs) * len(intents), -1)

        heads = race.ends[race.heads] - race.ends[0]
        closed = slice(int(race.ends[0]) - first, int(race.ends[-1]) + 1 - first)
        best = np.maximum.reduceat(wealth(closed), heads, axis=1)
        margins = race.margins(wealth(race.starts - first), best)
        may |= (margins.reshape(len(logs), -1) >= -SLACK).any(axis=0)
    return may


def _rate_keys(rule: Rule) -> tuple[str, str, str, str]:
    """What the rule as written counts, and how many of it are hits; and what its proof counts."""
    metric = rule.metric
    return metric.known[0], f"f.{metric.subject}", metric.known[1], f"ef.{metric.subject}"


def _percentile_keys(rule: Rule) -> tuple[str, str, str, str]:
    """The same of requests past the limit: as rules tell them, and for certain."""
    subject, known = rule.metric.subject, f"c.{rule.metric.subject}_us"
    for_certain = above(subject, proofs.limit_bucket(rule) - rule.below)
    return known, above(subject, told_bucket(rule)), known, for_certain


def _over(rule: Rule, count: NDArray[np.int64], of: NDArray[np.int64]) -> Flags:
    """Whether so many hits are, or may be by rounding, past the limit of the rule as written."""
    found: Flags
    if rule.metric.quantile is not None:
        # The value of rank floor(q (n − 1)) is past the limit where no more than so many are not.
        past = of - count <= rule.metric.quantile * (of - 1)
        found = ~past if rule.below else past
    elif rule.below:
        found = count <= of * (rule.limit / OVER)
    else:
        found = count >= of * (rule.limit * OVER)
    return found


def _losses_may_fire(
    view: View, tallies: DenseTallies, rule: Rule, intents: Sequence[str | None], span: Span
) -> Flags:
    """Whether a proof of a loss may fire on each intent at any end."""
    race = Race.of(view, rule, span.ends)
    logs = partial(_increments, rule, proofs.failing_bets(view.plan, rule, "blocks"))
    bounds = np.append(race.ends[race.heads], race.ends[-1])
    may = np.zeros(len(intents), dtype=np.bool_)
    for place, intent in enumerate(intents):
        opened, best = tallies.wealth(intent, rule.name, logs, race.starts, bounds)
        may[place] = (race.margins(opened, best) >= -SLACK).any()
    return may


def _may_fire(view: View, rule: Rule, one: ByMinute, span: Span) -> bool:
    """Whether a proof that goes minute by minute may fire at any end."""
    race = Race.of(view, rule, span.ends)
    wealth = one.wealth(np.concatenate([race.starts, race.ends]))
    opened, closed = wealth[:, : len(race.starts)], wealth[:, len(race.starts) :]
    best = np.maximum.reduceat(closed, race.heads, axis=1)
    return bool((race.margins(opened, best) >= -SLACK).any())


def _increments(rule: Rule, bets: Bets, values: Floats) -> Floats:
    return log_increments(proofs.bad_side(rule) * values, bets)


@dataclass(frozen=True, slots=True)
class Race:
    """The starts of a rule's e-processes that serve some ends, what each needs, and which ends are served alike: from
    each of `heads` to the next by starts `first` .. `stop` − 1.
    """

    ends: Minutes
    starts: Minutes
    needed: Floats
    heads: NDArray[np.intp]
    first: NDArray[np.intp]
    stop: NDArray[np.intp]

    @classmethod
    def of(cls, view: View, rule: Rule, ends: Minutes) -> Race:
        epoch = view.state.epoch(rule.name)
        ends = ends_served(rule, epoch, ends)
        starts, needed = starts_and_thresholds(
            rule, epoch, ends, alpha=view.alpha(rule, epoch), horizon_min=view.horizon_min
        )
        first = starts.searchsorted(ends - minutes(rule.window), side="left")
        stop = starts.searchsorted(ends - minutes(rule.least_window), side="right")
        moved = (first[1:] != first[:-1]) | (stop[1:] != stop[:-1])
        heads = np.concatenate([[0], moved.nonzero()[0] + 1])
        return cls(ends, starts, needed, heads, first[heads], stop[heads])

    def margins(self, opened: Floats, best: Floats) -> Floats:
        """At most how far over its threshold each bet is at any end; (rows,).

        By its wealth at starts, and the largest at ends that are served alike; as if it alone were the mean of all
        bets, and each end had the start with the least to itself.
        """
        margins: Floats = (best - least(opened + self.needed, self.first, self.stop)).max(axis=1)
        return margins


# Blindness


def _blind(
    view: View, tallies: DenseTallies, rule: Rule, intents: Sequence[str | None]
) -> Iterator[tuple[str | None, Minutes]]:
    """Of each intent the ends up to which it is blind for longer than `maxBlind` (`availability.blind`)."""
    keys = known_and_traffic(rule.metric)
    measured, every = tallies.places(keys, Arm.CANDIDATE.value)
    if measured == every or rule.metric.kind is Kind.SAMPLE_RATIO or not view.state.share_bp:
        return
    since, most = minute_of(view.state.hold_from), view.plan.max_blind // MINUTE
    ends = view.span(rule, view.state.epoch(rule.name)).ends
    ends = ends[ends - since > most]
    if not len(ends) or not intents:
        return
    # Nowhere blind for so long where something was measured in the minutes before each end.
    apart = most + 1
    (known,) = tallies.stretch(
        int(ends[0]) - apart, int(ends[-1]), keys[:1], arm=Arm.CANDIDATE.value, intents=intents
    )
    nothing = known[:, apart:] == known[:, :-apart]
    intents = [intents[place] for place in nothing.any(axis=1).nonzero()[0].tolist()]
    if not intents:
        return
    at = np.arange(since, int(ends[-1]) + 1, dtype=np.int64)
    expected = expected_rate(view.plan, rule)
    for intent in intents:
        known, traffic = view.tallies.until(at, keys, arm=Arm.CANDIDATE.value, intent=intent).T
        seen = np.concatenate([[0], np.cumsum(np.diff(traffic) > 0)])  # minutes with traffic
        end = ends - since
        start = known.searchsorted(known[end])  # after the last minute in which one was measured
        unmeasured = seen[end] - seen[start]
        missed = traffic[end] - traffic[start]
        blind = (unmeasured > most) & ~by_chance(
            known[start], traffic[start], missed, expected=expected
        )
        yield intent, ends[blind]
