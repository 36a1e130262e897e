"""Counts, intervals, e-values and windows as they stand in a sentence. Pure.

An interval here is for the reader: a fixed-sample 95% interval of what is shown. No stop is ever decided by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import assert_never

from controller.rollout.evidence.caps import NUSD, cap_nusd
from controller.rollout.evidence.comparison import limit_of
from controller.rollout.evidence.powered import LEAST, estimate_of
from controller.rollout.evidence.rules import bound_of
from controller.rollout.metrics import (
    MICRO,
    PER_CORRECT,
    PER_HOUR,
    SERVED,
    Kind,
    MeasureUnit,
    Metric,
)
from controller.rollout.plan import Arm, Judge, Rule
from controller.rollout.timeline import Window
from controller.rollout.units import (
    counted,
    format_limit,
    format_percent,
    format_points,
    format_seconds,
    format_usd,
    format_value,
    places_of,
)
from controller.rollout.verdict import (
    Amounts,
    Counts,
    Look,
    LossCounts,
    PairCounts,
    PoweredCounts,
    Proof,
    RateCounts,
    StratumCounts,
)
from controller.stats.noise import true_difference, true_rate
from controller.stats.paired import PairedTable, tango
from controller.stats.proportions import Interval, newcombe_difference, wilson
from controller.stats.stratified import Stratum, post_stratified

_HUGE = math.log(1e6)
_STRATA_SHOWN = 3
_MOST_PLACES = 12


def moment(at: datetime) -> str:
    """An aware UTC moment to the minute: `2026-11-21 03:14Z`."""
    return f"{at:%Y-%m-%d %H:%M}Z"


def window_words(window: Window) -> str:
    """`2026-11-20 03:14..2026-11-21 03:14Z`, half-open."""
    return f"{window.start:%Y-%m-%d %H:%M}..{moment(window.end)}"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def value_beside(metric: Metric, value: float, limit: float) -> str:
    """A measured value, with as many digits as it takes to be on its own side of the limit, if it is not the limit."""
    if math.isclose(value, limit, rel_tol=1e-9):
        return format_value(metric, value)
    digits = (round(value, places) for places in range(places_of(metric, value), _MOST_PLACES))
    told = next((one for one in digits if one != limit and (one > limit) == (value > limit)), value)
    return format_limit(metric, told)


# E-values


def e_value(log_e: float) -> str:
    """exp(log_e) for the eye: `0.03`, `3.1`, `19.9`, `1,240`, `>10^6`. Cut, not rounded: it never looks reached."""
    if log_e >= _HUGE:
        return ">10^6"
    value = math.exp(log_e) * (1 + 1e-9)  # the way to the logarithm and back must not cost a digit
    if value < 0.01:
        return "<0.01"
    if value >= 100:
        return f"{math.floor(value):,}"
    places = 1 if value >= 1 else 2
    return f"{math.floor(value * 10**places) / 10**places:g}"


def proof_words(proof: Proof) -> str:
    """`e-value 1,240 ≥ 20`, or `<` while it is not reached; powers of ten where both are huge."""
    sign = "≥" if proof.reached else "<"
    if proof.log_threshold >= _HUGE:
        return f"e-value {_power(proof.log_e)} {sign} {_power(proof.log_threshold)}"
    return f"e-value {e_value(proof.log_e)} {sign} {e_value(proof.log_threshold)}"


def _power(log_e: float) -> str:
    return f"10^{log_e / math.log(10):.1f}"


def share_above(rule: Rule, share: float) -> str:
    """What a percentile's proof counts, before its limit: `7.31% of requests`. Never looks like the share allowed."""
    return f"{value_beside(_SHARE, share, bound_of(rule))} of requests"


_SHARE = Metric(name="share", kind=Kind.RATE, unit=MeasureUnit.FRACTION)


def disproved(rule: Rule, claim: float) -> str:
    """What a failing proof speaks against, in quotes: `"no loss"`, `"at most 2%"`, `"at most 5% above 4s"`."""
    most = "least" if rule.below else "most"
    if rule.metric.kind is Kind.QUANTILE_RATIO:
        return f'"above {_ratio_limit(rule, claim)} no more often than the baseline above {_seconds(claim)}"'
    if rule.metric.kind is Kind.QUANTILE:
        return f'"at {most} {format_percent(claim)} above {format_limit(rule.metric, rule.limit)}"'
    if rule.metric.kind is not Kind.LOSS:
        limit = format_limit(rule.metric, rule.limit)
        return f'"at {most} {limit}"{_as_shown(rule, claim)}'
    if math.isclose(claim, 0, abs_tol=1e-12):
        return '"no loss"'
    return f'"a loss of at most {format_points(claim)}"'


def feared(rule: Rule, claim: float) -> str:
    """What a passing proof speaks against, in quotes: `"a loss of 1.5 pp or more"`, `"2% or more"`, `"5% or more
    above 4s"`; of a rule with `below`, `"90% or less"`.
    """
    more = "less" if rule.below else "more"
    if rule.metric.kind is Kind.QUANTILE_RATIO:
        return f'"above {_ratio_limit(rule, claim)} as often as the baseline above {_seconds(claim)}, or more"'
    if rule.metric.kind is Kind.QUANTILE:
        share = format_percent(bound_of(rule))
        return f'"{share} or {more} above {format_limit(rule.metric, rule.limit)}"'
    size = f"{format_limit(rule.metric, rule.limit)} or {more}"
    loss = "a loss of " if rule.metric.kind is Kind.LOSS else ""
    return f'"{loss}{size}"{_as_shown(rule, claim)}'


def ratio_words(rule: Rule, proof: Proof, intent: str | None) -> str:
    """What the proof of a percentile ratio counts: `9.2% of requests on refund above 2.523s (1.25 × the baseline's p95
    of 2.019s when it was frozen), where 4.9% of the baseline's are above that`.
    """
    counts, on = proof.look.counts, f" on {intent}" if intent else ""
    if not isinstance(counts, Amounts) or counts.candidate is None or counts.baseline is None:
        return f"without a figure{on}"
    percentile = f"p{100 * (rule.metric.quantile or 0):g}"
    frozen = f"the baseline's {percentile} of {_seconds(proof.claim)} when it was frozen"
    return (
        f"{percent(counts.candidate)} of requests{on} above {_ratio_limit(rule, proof.claim)} "
        f"({format_limit(rule.metric, rule.limit)} × {frozen}), where {percent(counts.baseline)} of the baseline's "
        f"are above that {percentile}"
    )


def spent_words(rule: Rule, proof: Proof) -> str:
    """`4,120 candidate requests at 12.36 USD, each counted up to 0.02 USD (12 of unknown cost as 0); 1,100 of 1,204
    graded answers right`: what a failing proof of a cost per correct answer counts.
    """
    tally = proof.tally
    arm = arm_of(rule)
    cost, cap = (
        format_usd(round(one / NUSD, 6)) for one in (tally.get("cost_nusd", 0), cap_nusd(rule))
    )
    unknown = tally.get("unknown", 0)
    as_nothing = f" ({unknown:,} of unknown cost as 0)" if unknown else ""
    right = f"{round(tally.get('correct_u', 0) / MICRO, 1):,g}"
    return (
        f"{tally.get('requests', 0):,} {arm} requests at {cost}, each counted up to {cap}{as_nothing}; "
        f"{right} of {tally.get('graded', 0):,} graded answers right"
    )


def ratio_counts_words(proof: Proof) -> str:
    """`380 of 4,120 candidate and 1,817 of 37,080 baseline requests, by minute`."""
    tally = proof.tally
    return (
        f"{tally.get('candidate.above', 0):,} of {tally.get('candidate', 0):,} candidate and "
        f"{tally.get('baseline.above', 0):,} of {tally.get('baseline', 0):,} baseline requests, by minute"
    )


def _ratio_limit(rule: Rule, claim: float) -> str:
    return _seconds(limit_of(rule, claim))


def _seconds(seconds: float) -> str:
    return format_seconds(round(seconds, 3))


def _as_shown(rule: Rule, claim: float) -> str:
    """What the labels' judge makes of a limit, where that is something else."""
    of_labels = rule.metric.kind in (Kind.LOSS, Kind.ACCURACY)
    if not of_labels or math.isclose(claim, rule.limit, rel_tol=1e-9):
        return ""
    return f" ({format_limit(rule.metric, round(claim, 6))} as its judge sees it)"


# Estimates and intervals


def without_errors(metric: Metric, value: float, judge: Judge) -> str:
    """`corrected for its judge's errors: 1.76 pp`: the Rogan–Gladen estimate; empty where a judge grades nothing.

    Cut to what can be, which it says, where chance or other errors than the plan states of the judge lead beyond it.
    Source: Rogan & Gladen 1978, Am. J. Epidemiol. 107:71, which cuts a rate to [0, 1].
    """
    errors = {"sensitivity": judge.sensitivity, "specificity": judge.specificity}
    match metric.kind:
        case Kind.LOSS:
            true, least = true_difference(value, **errors), -1.0
        case Kind.ACCURACY:
            true, least = true_rate(value, **errors), 0.0
        case _:
            return ""
    shown = min(max(true, least), 1.0)
    cut = "" if math.isclose(shown, true, abs_tol=1e-9) else f" ({_CUT})"
    return f"corrected for its judge's errors: {format_value(metric, shown)}{cut}"


_CUT = "cut there: by chance, or because it errs otherwise than labels.judge says"


def by_people_words(rule: Rule, look: Look) -> str:
    """`by people's grades 2.1 pp (95% CI 0.88..3.32, prediction-powered; people and judge: baseline 430 of 440 drawn,
    candidate …)`; how many are there, where that is too few for a figure.
    """
    if look.value is None:
        needed = f"nearly all of them are needed, and {LEAST} of each arm"
        return f"by people's grades no figure yet: {counts_words(rule, look.counts)}; {needed}"
    shown = value_beside(rule.metric, look.value, rule.limit)
    return (
        f"by people's grades {shown} "
        f"({interval_words(rule, look.counts)}; {counts_words(rule, look.counts)})"
    )


def estimate(counts: Counts) -> float | None:
    """The figure that the counts themselves give; None where they give none."""
    match counts:
        case RateCounts():
            return counts.count / counts.of if counts.of else None
        case LossCounts():
            strata = [_stratum(one) for one in counts.strata]
            return post_stratified(strata).loss if any(s.comparable for s in strata) else None
        case PairCounts():
            return counts.loss if counts.total else None
        case PoweredCounts():
            found = estimate_of(counts)
            return None if found is None else found.estimate
        case Amounts():
            return counts.candidate
        case unknown:
            assert_never(unknown)


def interval_words(rule: Rule, counts: Counts) -> str:
    """`95% CI 2.09..2.77, Wilson` in percent or points; empty for figures that have none."""
    interval = _interval(rule, counts)
    if interval is None:
        return ""
    lower, upper = 100 * interval.lower, 100 * interval.upper
    # Two digits of a narrow one.
    places = max(2, 1 - math.floor(math.log10(upper - lower))) if upper > lower else 2
    # Nothing has no sign.
    ends = (f"{round(end, places) + 0.0:.{places}f}" for end in (lower, upper))
    return f"95% CI {'..'.join(ends)}, {_METHODS[interval.method]}"


_METHODS = {
    "wilson": "Wilson",
    "newcombe": "Newcombe",
    "post-stratified": "post-stratified",
    "tango": "Tango",
    "prediction-powered": "prediction-powered",
}


def _interval(rule: Rule, counts: Counts) -> Interval | None:
    match counts:
        case RateCounts():
            return wilson(counts.count, counts.of) if counts.of else None
        case LossCounts():
            return _loss_interval([_stratum(one) for one in counts.strata])
        case PairCounts():
            table = _table(counts)
            return tango(table) if table else None
        case PoweredCounts():
            powered = estimate_of(counts)
            return None if powered is None else powered.interval(method="prediction-powered")
        case Amounts():
            # A mean of grades from 0 to 1 varies no more than a share of right answers does.
            of_grades = rule.metric.kind is Kind.ACCURACY and counts.candidate is not None
            n = counts.candidate_n
            return wilson((counts.candidate or 0.0) * n, n) if of_grades and n else None
        case unknown:
            assert_never(unknown)


def _loss_interval(strata: Sequence[Stratum]) -> Interval | None:
    usable = [stratum for stratum in strata if stratum.comparable]
    if not usable:
        return None
    if len(usable) > 1:
        return post_stratified(usable).interval()
    (only,) = usable
    return newcombe_difference(
        only.baseline_correct, only.baseline_n, only.candidate_correct, only.candidate_n
    )


def _stratum(counts: StratumCounts) -> Stratum:
    return Stratum(
        baseline_n=counts.baseline_n,
        baseline_correct=counts.baseline_correct_u / MICRO,
        candidate_n=counts.candidate_n,
        candidate_correct=counts.candidate_correct_u / MICRO,
    )


def _table(counts: PairCounts) -> PairedTable | None:
    """None where there is nothing to count, or there are grades between 0 and 1, which are not right or wrong."""
    if not counts.plain or counts.graded:
        return None
    return PairedTable(
        both=counts.both,
        only_baseline=counts.only_baseline,
        only_candidate=counts.only_candidate,
        neither=counts.neither,
    )


# Counts


def counts_words(rule: Rule, counts: Counts, noun: str = "requests") -> str:
    """What a figure was counted from; `noun` is what a rate counts. Accuracy always counts episodes."""
    match counts:
        case RateCounts():
            arm = arm_of(rule)
            return f"{counts.count:,} of {counted(counts.of, f'{arm} {noun}')}"
        case LossCounts():
            return _strata_words(counts.strata)
        case PairCounts():
            return _pair_words(counts)
        case PoweredCounts():
            return _people_words(counts)
        case Amounts():
            return _amount_words(rule, counts)
        case unknown:
            assert_never(unknown)


def _strata_words(strata: Sequence[StratumCounts]) -> str:
    """One stratum by its arms; several by name, largest first, the small ones only counted."""
    usable = [one for one in strata if one.baseline_n and one.candidate_n]
    if not usable:
        return _ungraded_words(strata)
    if len(usable) == 1:
        return _arms_words(usable[0])
    by_size = sorted(usable, key=lambda one: -min(one.baseline_n, one.candidate_n))
    name = _stratum_naming(usable)
    shown = [f"{name(one)}: {_arms_words(one)}" for one in by_size[:_STRATA_SHOWN]]
    rest = len(by_size) - len(shown)
    return "; ".join([*shown, *([f"and {rest} smaller"] if rest else [])])


def _stratum_naming(strata: Sequence[StratumCounts]) -> Callable[[StratumCounts], str]:
    """By what tells the strata apart: the intent, the split's version, or both."""
    if len({one.intent for one in strata}) == 1:
        return lambda one: f"split {one.version}"
    if len({one.version for one in strata}) == 1:
        return lambda one: one.intent
    return lambda one: f"{one.intent} under split {one.version}"


def _ungraded_words(strata: Sequence[StratumCounts]) -> str:
    baseline = sum(one.baseline_n for one in strata)
    candidate = sum(one.candidate_n for one in strata)
    return f"graded episodes: {baseline:,} of the baseline, {candidate:,} of the candidate"


def _arms_words(one: StratumCounts) -> str:
    baseline = percent(one.baseline_correct_u / MICRO / one.baseline_n)
    candidate = percent(one.candidate_correct_u / MICRO / one.candidate_n)
    return (
        f"baseline {baseline} of {one.baseline_n:,}, candidate {candidate} of {one.candidate_n:,}"
    )


def _people_words(counts: PoweredCounts) -> str:
    """How many of the drawn episodes people have graded."""
    baseline = [one.baseline for one in counts.strata]
    candidate = [one.candidate for one in counts.strata]
    told = (
        f"{sum(one.both for one in arm):,} of {sum(one.drawn for one in arm):,}"
        for arm in (baseline, candidate)
    )
    return "graded by people {} drawn baseline and {} drawn candidate episodes".format(*told)


def _pair_words(pairs: PairCounts) -> str:
    said = (
        f"of {counted(pairs.total, 'pairs')} only the baseline was right in {pairs.only_baseline:,}, "
        f"only the candidate in {pairs.only_candidate:,}"
    )
    if not pairs.graded:
        return said
    better = sum(n for value_u, n in pairs.graded.items() if int(value_u) > 0)
    worse = sum(n for value_u, n in pairs.graded.items() if int(value_u) < 0)
    return f"{said}; of those run several times the baseline was the better in {better:,}, the candidate in {worse:,}"


def _amount_words(rule: Rule, amounts: Amounts) -> str:
    if rule.metric.kind is Kind.SAMPLE_RATIO:
        total = amounts.candidate_n + amounts.baseline_n
        return f"{amounts.candidate_n:,} of {counted(total, 'newly assigned units')} went to the candidate"
    noun = _sample_noun(rule)
    if amounts.candidate is not None and amounts.baseline is not None:
        arms = (amounts.candidate, amounts.baseline)
        candidate, baseline = (_amount(rule.metric, one) for one in arms)
        return (
            f"candidate {candidate} of {amounts.candidate_n:,} {noun}, "
            f"baseline {baseline} of {amounts.baseline_n:,}"
        )
    if rule.arm is None and amounts.candidate_n and amounts.baseline_n:
        return f"{amounts.candidate_n:,} candidate and {amounts.baseline_n:,} baseline {noun}"
    if rule.arm is None and rule.metric.subject in PER_HOUR:
        return f"{counted(amounts.candidate_n, noun)} of the whole rollout"
    # The first figure is the named arm's, whichever that is.
    return counted(amounts.candidate_n, f"{arm_of(rule)} {noun}")


def _sample_noun(rule: Rule) -> str:
    if rule.metric.kind is Kind.COVERAGE:
        return "samples"  # episodes, or of a sample of labels answers: a rule does not know which
    if rule.metric.kind is not Kind.ACCURACY and rule.metric.subject != PER_CORRECT:
        return "requests"
    return "graded requests" if rule.metric.subject == SERVED else "graded episodes"


def _amount(metric: Metric, value: float) -> str:
    """One arm's figure behind a metric; a ratio is made of seconds or of dollars."""
    match metric.kind:
        case Kind.QUANTILE_RATIO:
            return f"p{100 * (metric.quantile or 0):g} {format_seconds(round(value, 3))}"
        case Kind.COST if metric.comparing:
            return format_usd(round(value, 6))
        case _:
            return format_value(metric, value)


def percent(fraction: float) -> str:
    """A fraction in percent, to a hundredth."""
    return format_percent(round(fraction, 4))


def on(intent: str | None) -> str:
    return f" on {intent}" if intent else ""


def arm_of(rule: Rule) -> str:
    """The arm that a rule is about, of one that compares none."""
    return (rule.arm or Arm.CANDIDATE).value


def traffic_of(rule: Rule) -> str:
    """Who has traffic where it is data alone that a rule lacks."""
    return "both arms have traffic" if rule.metric.comparing else f"the {arm_of(rule)} has traffic"


def data_of(rule: Rule) -> str:
    return "outcomes" if rule.metric.labelled else "data"
