"""From tallies to readings: what every rule saw, over every window that has to be judged.

Normally one window closes per tick. After downtime, or when a late outcome changed an old minute, each window that the
change touches is judged again, so "any 24-hour window" is literally true.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.columns import at
from controller.rollout.counting.sums import Minutes
from controller.rollout.evidence import proofs
from controller.rollout.evidence.availability import availability, blind, counted
from controller.rollout.evidence.comparison import Comparison, frozen_by, reference_key
from controller.rollout.evidence.comparison import shares as shares_above
from controller.rollout.evidence.coverage import (
    coverage_between,
    is_doubtful,
    missing_blocks,
    uneven,
)
from controller.rollout.evidence.looks import Measured, measure, with_usual
from controller.rollout.evidence.powered import Powered
from controller.rollout.evidence.reader import Windows
from controller.rollout.evidence.rules import fails_by, is_provable, kept_limit, limit_in
from controller.rollout.evidence.spending import Spending
from controller.rollout.evidence.starts import ends_served
from controller.rollout.evidence.view import Span, View, whole_windows
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import Arm, Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import Window, minute_of, minutes
from controller.rollout.verdict import (
    Amounts,
    Counts,
    Coverage,
    Look,
    Proof,
    RateCounts,
    Reading,
    WorstCase,
)


def read_all(view: View) -> Iterator[Reading]:
    """The reading of every rule on every intent that it is judged on."""
    for rule in view.plan.rules:
        for intent in view.plan.judged_intents(rule):
            if intent not in view.state.pins:
                yield read(view, rule, intent)


def read(view: View, rule: Rule, intent: str | None) -> Reading:
    """One rule on one intent."""
    epoch = view.state.epoch(rule.name)
    span = view.span(rule, epoch)
    measured = measure(
        rule, intent, view.reader, span.windows, sampled_u=view.plan.labels.sampled_u
    )
    if rule.usual is not None:
        earliest = minute_of(view.state.started_at)
        measured = with_usual(measured, rule, intent, view.reader, span.windows, earliest)
    latest = _look(measured, span.windows, len(span.windows.ends) - 1, span.complete[-1])
    there = counted(view, rule, intent, minute_of(epoch.start))
    found, for_passing = _evidence(view, rule, intent), _passing_evidence(view, rule, intent)
    compared = _comparison(view, rule, intent, epoch)
    spent = _spending(view, rule, intent, epoch)
    powered = Powered.of(view.plan, rule, intent, view.reader, epoch)
    by_people = () if powered is None else (powered,)
    end = int(span.ends[-1])
    bounded = tuple(one for one in spent if one.can_pass)
    for_pass = by_people or for_passing or compared or bounded
    passing = _passing(view, rule, intent, epoch, end, for_pass, latest)
    return Reading(
        rule=rule.name,
        intent=intent,
        epoch=epoch.number,
        availability=availability(view, rule, there),
        latest=latest,
        worst=_worst(rule, measured, span, latest),
        failing=_failing(
            view,
            rule,
            intent,
            epoch,
            span.ends,
            (*(found or compared or spent), *by_people),
            latest,
        ),
        passing=passing,
        worst_case=_worst_case(view, rule, epoch, by_people or for_passing, passing, intent),
        by_people=None if powered is None else powered.look(_opened(rule, epoch, end), end),
        step_samples=min(one.in_step for one in there),
        blind=blind(view, rule, intent),
    )


# Looks


def _look(measured: Measured, windows: Windows, i: int, complete: bool | np.bool_) -> Look:
    value = float(at(measured.values, i))
    usual = math.nan if measured.usual is None else float(at(measured.usual, i))
    start, end = windows.one or (int(windows.starts[i]), int(windows.ends[i]))
    return Look(
        window=Window.of_minutes(start, end),
        value=None if math.isnan(value) else value,
        counts=measured.counts(i),
        samples=int(at(measured.samples, i)),
        complete=bool(complete),
        usual=None if math.isnan(usual) else usual,
    )


def _worst(rule: Rule, measured: Measured, span: Span, latest: Look) -> Look | None:
    """The look furthest past the limit among those that count: complete, with enough samples, and with a value.

    With `for`, an end counts by the mildest look of the stretch before it, which must count throughout.
    """
    if span.windows.one is not None:
        counts_alone = latest.complete and latest.samples >= rule.min_samples
        known = latest.value is not None and limit_in(rule, latest) is not None
        return latest if counts_alone and known else None
    values = np.asarray(measured.values, dtype=np.float64)
    if measured.usual is not None:  # by how much each is above its own limit
        values = values - rule.limit * np.asarray(measured.usual, dtype=np.float64)
    counts = span.complete & (measured.samples >= rule.min_samples) & ~np.isnan(values)
    severity = np.where(counts, -values if rule.below else values, -np.inf)
    if sustained := minutes(rule.sustained):
        stretches = np.lib.stride_tricks.sliding_window_view(severity, sustained + 1)
        i = int(stretches.min(axis=1).argmax())
        i += int(stretches[i].argmin())
    else:
        i = int(severity.argmax())
    if not np.isfinite(severity[i]):
        return None
    is_latest = i == len(severity) - 1
    return latest if is_latest else _look(measured, span.windows, i, span.complete[i])


# Proofs


def _failing(
    view: View,
    rule: Rule,
    intent: str | None,
    epoch: Epoch,
    ends: Minutes,
    found: Sequence[Found],
    latest: Look,
) -> Proof | None:
    """The strongest proof against the rule's claim, of those that fail the rule if there are any: a judge may be surer
    of a small loss than people are of one over the limit. None where there is nothing to bet on.
    """
    made: list[Proof] = []
    ends = ends_served(rule, epoch, ends)
    # Kinds of evidence share the alpha; people's grades are one beside others, whether those are there yet or not.
    kinds = max(len(found), 2 if any(isinstance(one, Powered) for one in found) else 1)
    for one in found:
        alpha = view.alpha(rule, epoch) / kinds
        strongest = strongest_of(view, rule, epoch, one, ends, alpha)
        if np.isfinite(strongest.margin).any():
            made.append(_strongest(view, rule, intent, epoch, ends, one, strongest, latest))
    return max(made, key=lambda proof: (fails_by(rule, proof), _margin(proof)), default=None)


Found: TypeAlias = proofs.Evidence | Comparison | Spending | Powered
BY_MINUTE = (Kind.QUANTILE_RATIO, Kind.COST)


def against(view: View, rule: Rule, intent: str | None, epoch: Epoch) -> tuple[Found, ...]:
    """What there is to bet on against a rule's claim, but for people's grades."""
    return (
        _evidence(view, rule, intent)
        or _comparison(view, rule, intent, epoch)
        or _spending(view, rule, intent, epoch)
    )


def strongest_of(
    view: View, rule: Rule, epoch: Epoch, one: Found, ends: Minutes, alpha: float
) -> proofs.Strongest:
    """The strongest window against the rule's claim, at each end."""
    horizon_min = view.horizon_min
    if isinstance(one, Comparison | Spending | Powered):
        return one.failing(epoch, ends, alpha=alpha, horizon_min=horizon_min)
    return proofs.failing(view.plan, rule, epoch, one, ends, alpha=alpha, horizon_min=horizon_min)


def _evidence(view: View, rule: Rule, intent: str | None) -> tuple[proofs.Evidence, ...]:
    if not is_provable(rule) or rule.metric.kind in BY_MINUTE:
        return ()
    return proofs.evidence(rule, intent, view.reader, (rule.arm or Arm.CANDIDATE).value)


def _passing_evidence(view: View, rule: Rule, intent: str | None) -> tuple[proofs.Evidence, ...]:
    if not is_provable(rule) or rule.metric.kind in BY_MINUTE:
        return ()
    return proofs.passing_evidence(rule, intent, view.reader, (rule.arm or Arm.CANDIDATE).value)


def _comparison(view: View, rule: Rule, intent: str | None, epoch: Epoch) -> tuple[Comparison, ...]:
    """What a ratio of percentiles is proven on; nothing where none of the baseline's is frozen yet."""
    if rule.metric.kind is not Kind.QUANTILE_RATIO or not is_provable(rule):
        return ()
    frozen = view.state.references.get(reference_key(rule, intent))
    if not frozen:
        return ()
    return (Comparison.of(rule, intent, view.reader, epoch, frozen),)


def _spending(view: View, rule: Rule, intent: str | None, epoch: Epoch) -> tuple[Spending, ...]:
    """What a cost per correct answer is proven on."""
    if rule.metric.kind is not Kind.COST or not is_provable(rule):
        return ()
    return (Spending.of(view.plan, rule, intent, view.reader, epoch),)


def _strongest(
    view: View,
    rule: Rule,
    intent: str | None,
    epoch: Epoch,
    ends: Minutes,
    one: Found,
    strongest: proofs.Strongest,
    latest: Look,
) -> Proof:
    """The proof furthest over its threshold; for a loss, among those that fire, at an end where the observed size is
    past the limit too, if there is one.
    """
    order = strongest.margin
    if len(ends) > 1 and rule.metric.kind is Kind.LOSS and (order >= 0).any():
        values = _values_beside(view, rule, intent, epoch, ends, one)
        both = (order >= 0) & (values > rule.limit)
        order = np.where(both, order, -np.inf) if both.any() else order
    i = int(order.argmax())
    start, end = int(strongest.start[i]), int(ends[i])
    tally = strongest.tally(i)
    return Proof(
        window=Window.of_minutes(start, end),
        claim=_claim(view, rule, intent, end, proofs.claim_of(view.plan, rule)),
        log_e=float(strongest.log_e[i]),
        log_threshold=float(strongest.log_e[i] - strongest.margin[i]),
        tally=tally,
        look=_look_beside(view, rule, intent, epoch, one, start, end, tally, latest),
    )


def _values_beside(
    view: View, rule: Rule, intent: str | None, epoch: Epoch, ends: Minutes, one: Found
) -> NDArray[np.float64]:
    """The figure of a loss before each end, by whose grades it is proven."""
    windows = whole_windows(rule, minute_of(epoch.start), ends)
    if isinstance(one, Powered):
        return one.figures(windows.starts, windows.ends)
    return np.asarray(measure(rule, intent, view.reader, windows).values, dtype=np.float64)


def _opened(rule: Rule, epoch: Epoch, end: int) -> int:
    """Where the rule's whole window before an end begins."""
    return min(max(end - minutes(rule.window), minute_of(epoch.start)), end)


def _claim(view: View, rule: Rule, intent: str | None, end: int, usual: float) -> float:
    """What a proof is against; of a ratio, the baseline's frozen percentile in seconds."""
    if rule.metric.kind is not Kind.QUANTILE_RATIO:
        return usual
    return frozen_by(view.state.references[reference_key(rule, intent)], end)


def _margin(proof: Proof) -> float:
    return proof.log_e - proof.log_threshold


def _look_beside(
    view: View,
    rule: Rule,
    intent: str | None,
    epoch: Epoch,
    one: Found,
    start: int,
    end: int,
    tally: Mapping[str, int],
    latest: Look,
) -> Look:
    """The figure to a proof: of the very window for a rate or an accuracy (a percentile's is the share above its limit,
    a cost's that of a right answer as the proof counts it), of the rule's whole window for a loss, by whose grades it
    is proven.
    """
    if isinstance(one, Powered):
        return one.look(_opened(rule, epoch, end), end)
    if isinstance(one, Spending):
        return one.look(start, end, tally)
    if rule.metric.kind is Kind.LOSS:
        if minute_of(latest.window.end) == end:
            return replace(latest, complete=False)
        windows = whole_windows(rule, minute_of(epoch.start), np.array([end]))
        return _look(measure(rule, intent, view.reader, windows), windows, 0, complete=False)
    if rule.metric.kind is Kind.QUANTILE_RATIO:
        return _share_beside(start, end, tally)
    of, count = sum(tally.values()), tally.get(str(MICRO), 0)
    counts: Counts = RateCounts(count=count, of=of)
    value = count / of if of else None
    if rule.metric.kind is Kind.ACCURACY:
        value = sum(int(name) * n for name, n in tally.items()) / MICRO / of if of else None
        counts = Amounts(candidate=value, baseline=None, candidate_n=of, baseline_n=0)
    window = Window.of_minutes(start, end)
    return Look(window=window, value=value, counts=counts, samples=of, complete=False)


def _share_beside(start: int, end: int, tally: Mapping[str, int]) -> Look:
    """The share of the candidate's requests above its limit, and what it would be if they were as the baseline's."""
    shares = shares_above(tally)
    candidate, baseline = shares or (None, None)
    n, of_baseline = tally.get("candidate", 0), tally.get("baseline", 0)
    return Look(
        window=Window.of_minutes(start, end),
        value=shares[0] - shares[1] if shares else None,
        counts=Amounts(
            candidate=candidate, baseline=baseline, candidate_n=n, baseline_n=of_baseline
        ),
        samples=min(n, of_baseline),
        complete=False,
    )


def _passing(
    view: View,
    rule: Rule,
    intent: str | None,
    epoch: Epoch,
    end: int,
    found: Sequence[Found],
    latest: Look,
) -> Proof | None:
    """The proof that the limit is kept, over the whole epoch; None where there is nothing to bet on."""
    starts = [one.start if isinstance(one, Comparison) else minute_of(epoch.start) for one in found]
    start = max(starts, default=end)
    if end <= start:
        return None
    (reached, tally), by = max(
        ((_passed(view, rule, epoch, one, end), one) for one in found), key=lambda pair: pair[0][0]
    )
    return Proof(
        window=Window.of_minutes(start, end),
        claim=_claim(view, rule, intent, end, kept_limit(view.plan, rule)),
        log_e=reached,
        log_threshold=proofs.pass_threshold(view.plan, len(found)),
        tally=tally,
        look=_look_beside(view, rule, intent, epoch, by, start, end, tally, latest),
    )


def _passed(
    view: View, rule: Rule, epoch: Epoch, one: Found, end: int
) -> tuple[float, dict[str, int]]:
    if isinstance(one, Comparison | Spending | Powered):
        return one.passing(end)
    return proofs.passing(view.plan, rule, epoch, one, end)


def _worst_case(
    view: View,
    rule: Rule,
    epoch: Epoch,
    found: Sequence[proofs.Evidence] | Sequence[Powered],
    passing: Proof | None,
    intent: str | None,
) -> WorstCase | None:
    """The same proof with every missing label against it; None where coverage gives no reason for it.

    Of people's grades: where not all that is drawn is graded. Where it is the judge's that are missing, there is none.
    """
    if passing is None or rule.metric.kind is not Kind.LOSS:
        return None
    start, end = minute_of(passing.window.start), minute_of(passing.window.end)
    sampled_u = view.plan.labels.sampled_u
    coverage = coverage_between(view.reader, intent, start, end, sampled_u=sampled_u)
    powered = [one for one in found if isinstance(one, Powered)]
    if powered:
        return _worst_by_people(powered[0], passing, end, coverage)
    if not is_doubtful(coverage):
        return None
    (missing,) = missing_blocks(
        view.reader, intent, start, np.array([end]), sampled_u=sampled_u
    ).tolist()
    reached, tally = max(
        (
            proofs.passing(view.plan, rule, epoch, one, end, missing=missing)
            for one in found
            if isinstance(one, proofs.Evidence)
        ),
        key=lambda pair: pair[0],
    )
    return WorstCase(coverage=coverage, proof=replace(passing, log_e=reached, tally=tally))


def _worst_by_people(
    one: Powered, passing: Proof, end: int, by_judge: Coverage
) -> WorstCase | None:
    if is_doubtful(by_judge):
        # What neither has graded could be anything: nothing is proven.
        return WorstCase(coverage=by_judge, proof=replace(passing, log_e=0.0))
    coverage = one.coverage(end)
    if not coverage.differs:
        return None
    return WorstCase(coverage=coverage, proof=replace(passing, log_e=one.at_worst(end)))


def proven(view: View, rule: Rule, intent: str | None, ends: Minutes) -> NDArray[np.bool_]:
    """Whether a reading up to each of some ends holds a proof that the limit is kept.

    A reading has it for its last end alone: a proof of this kind may be gone again at the next one.
    """
    epoch = view.state.epoch(rule.name)
    powered = Powered.of(view.plan, rule, intent, view.reader, epoch)
    if powered is not None:
        return _proven_by_people(view, powered, intent, ends)
    found = _passing_evidence(view, rule, intent)
    if not found:
        return np.zeros(len(ends), dtype=np.bool_)
    reached = [proofs.passing_by(view.plan, rule, epoch, one, ends) for one in found]
    there: NDArray[np.bool_] = np.max(reached, axis=0) >= proofs.pass_threshold(
        view.plan, len(found)
    )
    if rule.metric.kind is Kind.LOSS and there.any():
        there[there] = _proven_at_worst(view, rule, intent, epoch, ends[there], found)
    return there


def _proven_by_people(
    view: View, one: Powered, intent: str | None, ends: Minutes
) -> NDArray[np.bool_]:
    needed = proofs.pass_threshold(view.plan, 1)
    there: NDArray[np.bool_] = (one.passing_by(ends) >= needed) & (ends > one.start)
    if not there.any():
        return there
    sampled_u = view.plan.labels.sampled_u
    there[there] = ~uneven(view.reader, intent, one.start, ends[there], sampled_u=sampled_u)
    short = one.fall_short(ends)
    holds: NDArray[np.bool_] = there & (~short | (one.at_worst_by(ends) >= needed))
    return holds


def _proven_at_worst(
    view: View,
    rule: Rule,
    intent: str | None,
    epoch: Epoch,
    ends: Minutes,
    found: Sequence[proofs.Evidence],
) -> NDArray[np.bool_]:
    """Of ends that hold a proof by the labels that came: whether it holds with those that are missing, if it must."""
    start, sampled_u = minute_of(epoch.start), view.plan.labels.sampled_u
    differs = uneven(view.reader, intent, start, ends, sampled_u=sampled_u)
    if not differs.any():
        return ~differs
    missing = missing_blocks(view.reader, intent, start, ends, sampled_u=sampled_u)
    reached = [
        proofs.passing_by(view.plan, rule, epoch, one, ends, missing=missing) for one in found
    ]
    holds: NDArray[np.bool_] = np.max(reached, axis=0) >= proofs.pass_threshold(
        view.plan, len(found)
    )
    return holds | ~differs
