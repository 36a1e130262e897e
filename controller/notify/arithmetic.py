"""The words of evidence: one place for Slack, `describe`, `history` and the backtest. Pure.

A line never says only that something failed. It names the metric, what was seen, the limit, the window and the
counts; where the two evidence forms disagree it names both, and where something is missing it says what.
"""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from controller.errors import NotFound
from controller.notify.coverage import coverage_words
from controller.notify.figures import (
    arm_of,
    by_people_words,
    counts_words,
    data_of,
    disproved,
    feared,
    interval_words,
    on,
    proof_words,
    ratio_counts_words,
    ratio_words,
    share_above,
    spent_words,
    traffic_of,
    value_beside,
    window_words,
    without_errors,
)
from controller.rollout.evidence.comparison import LEAST
from controller.rollout.evidence.needs import Needs
from controller.rollout.evidence.powered import is_by_people
from controller.rollout.evidence.proofs import claim_of
from controller.rollout.evidence.rules import kept_limit
from controller.rollout.metrics import Kind
from controller.rollout.plan import Evidence, Judge, Plan, Rule
from controller.rollout.timeline import Window
from controller.rollout.units import (
    counted,
    format_duration,
    format_limit,
    format_number,
    format_value,
    rounded_up,
)
from controller.rollout.verdict import (
    Availability,
    Look,
    Outcome,
    Proof,
    Reading,
    Verdict,
)


def verdict_line(verdict: Verdict, plan: Plan) -> str:
    """One verdict with its arithmetic, on one line.

    `plan` is the revision that the verdict was given under; NotFound if it has no such rule.
    """
    rule = _rule(verdict.rule, plan)
    judge = plan.labels.judge
    match verdict.outcome:
        case Outcome.FAIL:
            return _sentence(_failed(verdict, rule), _corrected(verdict, rule, judge))
        case Outcome.PASS:
            return _sentence(_passed(verdict, rule), _corrected(verdict, rule, judge))
        case Outcome.INSUFFICIENT:
            return _sentence(_undecided(verdict, rule), _corrected(verdict, rule, judge))
        case Outcome.UNMEASURED | Outcome.NOT_APPLICABLE:
            return _unavailable(verdict, rule, plan)
        case unknown:
            assert_never(unknown)


def _corrected(verdict: Verdict, rule: Rule, judge: Judge | None) -> str:
    """The figure that the line begins with as people's grades correct it (or, where it is theirs, the judge's); without
    those, as it would be by labels that never err.
    """
    reading = verdict.reading
    if is_by_people(reading.failing) and _is_by_proof(verdict, rule):
        judged = reading.latest.value if reading.latest else None
        shown = "no figure" if judged is None else format_value(rule.metric, judged)
        return f"by the judge's grades {shown}"
    if reading.by_people is not None:
        return by_people_words(rule, reading.by_people)
    value = _headline_value(verdict, rule)
    return without_errors(rule.metric, value, judge) if judge and value is not None else ""


def title_line(verdict: Verdict, plan: Plan) -> str:
    """The same in a few words, for a title: `escalation_rate 2.41% above 2%`."""
    rule = _rule(verdict.rule, plan)
    value = _headline_value(verdict, rule)
    failing = verdict.reading.failing
    if rule.metric.kind is Kind.QUANTILE_RATIO and failing and _is_by_proof(verdict, rule):
        return f"{rule.metric.name} {ratio_words(rule, failing, verdict.intent)}"
    if value is not None and _is_headed_by_share(verdict, rule):
        over = f"{share_above(rule, value)}{on(verdict.intent)}"
        return f"{rule.metric.name} {over} above {format_limit(rule.metric, rule.limit)}"
    if value is None and rule.metric.kind is Kind.COST and _is_by_proof(verdict, rule):
        return f"{_subject(rule, verdict.intent)} above {_told_limit(rule)}, for no answer is right"
    if value is None:
        return f"{_subject(rule, verdict.intent)} {verdict.outcome.value.replace('_', ' ')}"
    usual = _headline_usual(verdict, rule)
    shown = f"{value_beside(rule.metric, value, _limit(rule, usual))}{on(verdict.intent)}"
    return f"{rule.metric.name} {shown} {_relation(rule, value, usual)}"


# FAIL


def failed_look(verdict: Verdict, plan: Plan) -> Look | None:
    """What a failure's line begins with, as a look: of the window that the observed form blames, else beside the proof.

    A proof of a percentile counts shares, which are no figure of its metric: then the last look.
    """
    rule = _rule(verdict.rule, plan)
    look, proof = _deciding_look(verdict, rule), verdict.reading.failing
    in_its_unit = rule.metric.kind not in (Kind.QUANTILE, Kind.QUANTILE_RATIO)
    if look is None and proof is not None and in_its_unit:
        return proof.look
    return look or verdict.reading.latest


def _failed(verdict: Verdict, rule: Rule) -> str:
    reading = verdict.reading
    look = _deciding_look(verdict, rule)
    if look is not None:
        return _sentence(_seen(rule, verdict, look), _failing_proof(verdict, rule, look.window))
    if reading.failing is not None:
        return _sentence(_proven(rule, verdict, reading.failing), _observed_form(verdict, rule))
    return f"{_subject(rule, verdict.intent)}: FAIL, but its record holds no measurement"


def _deciding_look(verdict: Verdict, rule: Rule) -> Look | None:
    """The window that the observed form blames; None where the proof is what the plan goes by, or all there is."""
    if verdict.observed is not Outcome.FAIL:
        return None
    by_proof = rule.evidence is Evidence.CONFIDENT and verdict.reading.failing is not None
    return None if by_proof else verdict.reading.worst


def _proven(rule: Rule, verdict: Verdict, proof: Proof) -> str:
    """A failure that the confident form found: the figure beside the proof, and the stretch that proves it."""
    name, look = rule.metric.name, proof.look
    against = f"{proof_words(proof)} against {disproved(rule, proof.claim)}"
    if rule.metric.kind is Kind.QUANTILE_RATIO:
        figure = f"{ratio_words(rule, proof, verdict.intent)} in {window_words(proof.window)}"
        return f"{name} {figure}; {ratio_counts_words(proof)}; {against}"
    if rule.metric.kind is Kind.QUANTILE:
        counts, figure = counts_words(rule, look.counts), _share_figure(rule, look, verdict.intent)
    elif rule.metric.kind is Kind.COST:
        counts, figure = spent_words(rule, proof), _spent_figure(rule, look, verdict.intent)
    else:
        counts = counts_words(rule, look.counts, "episodes")
        figure = _figure(rule, look, verdict.intent)
    where = "" if proof.window == look.window else f" in {window_words(proof.window)}"
    return f"{name} {figure}; {counts}; {against}{where}"


def _failing_proof(verdict: Verdict, rule: Rule, seen: Window) -> str:
    """How far the confident form has come, beside what was seen in the window `seen`."""
    proof = verdict.reading.failing
    if proof is None:
        return ""
    against = f"{proof_words(proof)} against {disproved(rule, proof.claim)}"
    where = "" if proof.window == seen else f" in {window_words(proof.window)}"
    return f"{'' if verdict.confident is Outcome.FAIL else 'not proven: '}{against}{where}"


def _observed_form(verdict: Verdict, rule: Rule) -> str:
    """What the observed form says where only the confident one fails."""
    look = verdict.reading.latest
    match verdict.observed:
        case Outcome.FAIL:
            return ""
        case Outcome.INSUFFICIENT if rule.evidence is Evidence.CONFIDENT:
            return ""  # the plan does not ask it, and it does not object
        case Outcome.INSUFFICIENT:
            return f"observed form undecided: {_missing(look, rule)}"
        case Outcome.PASS if look is not None and look.value is not None:
            shown = value_beside(rule.metric, look.value, _limit(rule, look.usual))
            return f"observed form passes: {shown} in {window_words(look.window)}"
        case outcome:
            return f"observed form {outcome.value.replace('_', ' ')}"


# PASS and INSUFFICIENT


def _passed(verdict: Verdict, rule: Rule) -> str:
    look = verdict.reading.latest
    seen = _seen(rule, verdict, look) if look else _subject(rule, verdict.intent)
    return _sentence(seen, _passing_proof(verdict, rule), _other_failure(verdict))


def _passing_proof(verdict: Verdict, rule: Rule) -> str:
    against = _kept(verdict.reading, rule)
    if not against:
        return ""
    return against if verdict.confident is Outcome.PASS else f"not proven: {against}"


def _kept(reading: Reading, rule: Rule) -> str:
    """How far the proof that the limit is kept has come, by the labels that came and by the missing ones if it must."""
    proof, worst = reading.passing, reading.worst_case
    if proof is None:
        return ""
    against = f"{proof_words(proof)} against {feared(rule, proof.claim)}"
    if worst is None:
        return against
    joined = "but" if proof.reached and not worst.proof.reached else "and"
    who = " by people" if worst.coverage.by_people else ""
    return (
        f"{against}, {joined} {proof_words(worst.proof)} with every missing label against it "
        f"(graded{who}: {coverage_words(worst.coverage)})"
    )


def _other_failure(verdict: Verdict) -> str:
    """A FAIL of the form that the plan does not go by must not be hidden."""
    if verdict.outcome is not Outcome.FAIL and verdict.observed is Outcome.FAIL:
        return "observed form fails"
    return ""


def _undecided(verdict: Verdict, rule: Rule) -> str:
    reading, subject = verdict.reading, _subject(rule, verdict.intent)
    if rule.evidence is Evidence.CONFIDENT:
        lacking = [_unproven(reading, rule)]
    else:
        lacking = [_missing(reading.latest, rule)]
    missing = ", ".join(part for part in lacking if part)
    look = reading.latest
    if look is None or look.value is None:
        return f"{subject} undecided: {missing}"
    so_far = f"so far {_look(rule, look)}"
    return _sentence(f"{subject} undecided: {missing}", so_far, _other_failure(verdict))


def _missing(look: Look | None, rule: Rule) -> str:
    """What the observed form lacks."""
    if look is None:
        return f"no samples yet, {rule.min_samples:,} are needed"
    window = format_duration(rule.window)
    lacking = (
        _samples(look, rule),
        "" if look.complete else f"window not complete: not all of its {window} were in force",
        "no figure in its window" if look.value is None and look.samples else "",
        _unusual(look, rule),
    )
    return ", ".join(part for part in lacking if part)


def _samples(look: Look | None, rule: Rule) -> str:
    have = look.samples if look else 0
    return f"{have:,} of {rule.min_samples:,} samples" if have < rule.min_samples else ""


def _unproven(reading: Reading, rule: Rule) -> str:
    """How far each proof has come."""
    proofs = []
    if reading.failing is not None:
        proofs.append(
            f"{proof_words(reading.failing)} against {disproved(rule, reading.failing.claim)}"
        )
    if reading.passing is not None:
        proofs.append(_kept(reading, rule))
    elif rule.metric.kind is Kind.COST and reading.failing is not None:
        proofs.append(_UNBOUNDED)
    return (
        f"{_so_far_proven(reading, rule)} ({'; '.join(proofs)})" if proofs else _nothing_yet(rule)
    )


def _so_far_proven(reading: Reading, rule: Rule) -> str:
    """The guarded form may have proven a loss, and see one that is within the limit."""
    if rule.metric.kind is Kind.LOSS and reading.failing is not None and reading.failing.reached:
        return "a loss is proven, but the loss seen is within the limit, and that it keeps the limit is not proven"
    return "not proven either way"


_UNBOUNDED = (
    "that it is kept cannot be proven: the plan does not know what a request can cost at most, "
    "which takes price, contextWindow and outputLimit of the models"
)


def _nothing_yet(rule: Rule) -> str:
    if rule.metric.kind is not Kind.QUANTILE_RATIO:
        return "nothing to prove it with yet"
    return (
        f"nothing to prove it with yet: it takes {LEAST} requests of the baseline to freeze its percentile, "
        "and requests of both arms after that"
    )


def needs_line(lacking: Needs, rule: Rule, plan: Plan) -> str:
    """`needs about 1,400 more labels ≈ 23h at the present rate, or 600 shadow pairs, to disprove "…"`."""
    noun = _NOUNS[lacking.kind]
    if lacking.observations is None:
        return f"as it goes, no number of {noun} proves it either way: what is seen is too near the limit"
    failing = lacking.proof is Outcome.FAIL
    claim = (
        disproved(rule, claim_of(plan, rule)) if failing else feared(rule, kept_limit(plan, rule))
    )
    pairs = f", or {counted(rounded_up(lacking.pairs), 'shadow pairs')}" if lacking.pairs else ""
    several, by, people = noun.partition(" ")
    more = f"{counted(rounded_up(lacking.observations), f'more {several}')}{by}{people}"
    return (
        f"needs about {more}{_time(lacking.after)}{pairs}, "
        f"to disprove {claim} if it goes on as seen"
    )


_NOUNS = {
    "episodes": "episodes",
    "labels": "labels",
    "requests": "requests",
    "blocks": "labels",
    "pairs": "pairs",
    "people": "grades by people",
}


def _time(after: timedelta | None) -> str:
    if after is None:
        return ""
    hours = after / timedelta(hours=1)
    span = f"{rounded_up(60 * hours)} min" if hours < 1 else f"{rounded_up(hours):,} h"
    return f" ≈ {span} at the present rate"


# UNMEASURED and NOT_APPLICABLE


def _unavailable(verdict: Verdict, rule: Rule, plan: Plan) -> str:
    subject = _subject(rule, verdict.intent)
    word = "not applicable" if verdict.outcome is Outcome.NOT_APPLICABLE else "not measured"
    return f"{subject} {word}: {_why_unavailable(verdict.reading, rule, plan)}"


def _why_unavailable(reading: Reading, rule: Rule, plan: Plan) -> str:
    match reading.availability:
        case Availability.NO_TRAFFIC:
            arms = "one of the arms" if rule.metric.comparing else f"the {arm_of(rule)}"
            return f"{arms} had no traffic"
        case Availability.NOT_DUE:
            return f"its labels come after {format_duration(plan.labels.delay)}"
        case Availability.NO_DATA:
            return f"no {data_of(rule)}{_for(reading.blind)}, though {traffic_of(rule)}{_due(rule, plan)}"
        case Availability.NO_CONTROL:
            return (
                "no control at this share: no concurrent baseline to compare with "
                "(holdback or shadow pairs would be one)"
            )
        case Availability.MISMATCHED:
            return _UNTRUSTED
        case Availability.MEASURED:
            # There are figures, and `judge` did not trust them: the sample-ratio check failed.
            return _UNTRUSTED
        case unknown:
            assert_never(unknown)


_UNTRUSTED = (
    "the arms' sizes contradict the split (sample-ratio mismatch), so comparing them means nothing"
)


def _for(blind: timedelta) -> str:
    return f" for {format_duration(blind)}" if blind else ""


def _due(rule: Rule, plan: Plan) -> str:
    if not rule.metric.labelled or not plan.labels.delay:
        return ""
    return f" (they are due after {format_duration(plan.labels.delay)})"


# Parts of a sentence


def _seen(rule: Rule, verdict: Verdict, look: Look) -> str:
    return f"{rule.metric.name} {_look(rule, look, verdict.intent)}"


def _look(rule: Rule, look: Look, intent: str | None = None) -> str:
    return f"{_figure(rule, look, intent)}; {counts_words(rule, look.counts)}"


def _figure(rule: Rule, look: Look, intent: str | None) -> str:
    """`3.1 pp on refund (95% CI …) above 1.5 pp in A..B`."""
    where = window_words(look.window)
    if look.value is None:
        return f"without a figure{on(intent)} in {where}"
    shown = f"{value_beside(rule.metric, look.value, _limit(rule, look.usual))}{on(intent)}"
    interval = interval_words(rule, look.counts)
    bracket = f" ({interval})" if interval else ""
    return f"{shown}{bracket} {_relation(rule, look.value, look.usual)} in {where}"


def _spent_figure(rule: Rule, look: Look, intent: str | None) -> str:
    """As `_figure`; of what a right answer costs where none is right, that this is so."""
    if look.value is not None:
        return _figure(rule, look, intent)
    return f"above {_told_limit(rule)}{on(intent)}, for no answer is right, in {window_words(look.window)}"


def _told_limit(rule: Rule) -> str:
    return format_limit(rule.metric, rule.limit)


def _unusual(look: Look, rule: Rule) -> str:
    if rule.usual is None or look.usual is not None:
        return ""
    return (
        f"what is usual is not known yet: it takes {format_duration(rule.window)} before the window, "
        f"with {counted(rule.min_samples, 'samples')} and a figure above 0"
    )


def _share_figure(rule: Rule, look: Look, intent: str | None) -> str:
    """`7.31% of requests on refund (95% CI …) above 4s in A..B`: what the proof of a percentile counts."""
    shown = (
        f"{share_above(rule, look.value or 0.0)}{on(intent)} ({interval_words(rule, look.counts)})"
    )
    return f"{shown} above {format_limit(rule.metric, rule.limit)} in {window_words(look.window)}"


def _relation(rule: Rule, value: float, usual: float | None) -> str:
    if rule.usual is not None and usual is None:
        return "beside nothing usual"
    side, limit = "below" if rule.below else "above", _limit(rule, usual)
    told = format_limit(rule.metric, limit)
    if rule.usual is not None and usual is not None:
        of = f"{format_number(rule.limit)} × its usual {format_value(rule.metric, usual)}"
        told = f"{of} in the {format_duration(rule.usual)} before"
    if not (value < limit if rule.below else value > limit):
        return f"not {side} {told}"
    lasting = f" for {format_duration(rule.sustained)}" if rule.sustained else ""
    return f"{side} {told}{lasting}"


def _limit(rule: Rule, usual: float | None) -> float:
    return rule.limit if usual is None else rule.limit * usual


def _is_headed_by_share(verdict: Verdict, rule: Rule) -> bool:
    """Whether that figure is the share of requests above a percentile's limit, as its proof has it."""
    return rule.metric.kind is Kind.QUANTILE and _is_by_proof(verdict, rule)


def _is_by_proof(verdict: Verdict, rule: Rule) -> bool:
    return verdict.outcome is Outcome.FAIL and _deciding_look(verdict, rule) is None


def _headline_value(verdict: Verdict, rule: Rule) -> float | None:
    """The figure that the verdict's line begins with."""
    reading = verdict.reading
    if verdict.outcome is not Outcome.FAIL:
        return reading.latest.value if reading.latest else None
    look = _deciding_look(verdict, rule)
    if look is not None or reading.failing is None:
        return look.value if look else None
    return reading.failing.look.value


def _headline_usual(verdict: Verdict, rule: Rule) -> float | None:
    """What is usual beside that figure, for a spike."""
    failed = _deciding_look(verdict, rule) if verdict.outcome is Outcome.FAIL else None
    look = failed or verdict.reading.latest
    return look.usual if look else None


def _subject(rule: Rule, intent: str | None) -> str:
    return f"{rule.metric.name}{on(intent)}"


def _sentence(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _rule(name: str, plan: Plan) -> Rule:
    rule = plan.rule(name)
    if rule is None:
        known = ", ".join(one.name for one in plan.rules) or "none"
        raise NotFound(
            f"rule {name} is not in revision {plan.digest[:12]} of {plan.name}; its rules: {known}. "
            "A verdict is read with the revision that it was given under."
        )
    return rule
