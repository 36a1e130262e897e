"""Judging: from a reading to a verdict, in both evidence forms.

observed   FAIL when the value over a complete window with enough samples passes the limit; PASS while the last
           complete window with enough samples keeps it; INSUFFICIENT otherwise.
confident  FAIL when the e-process disproves that all is well and, for a loss, the observed size passes the limit
           (the guarded form with `then: pause`); PASS when the opposite e-process proves that the limit is kept.
           A percentile keeps its limit if no more than its share of requests lies above it: p95, 5%; a ratio of two,
           if no more of the candidate's than of the baseline's do (`comparison`). What a right answer costs keeps its
           limit if the mean cost is at most the limit times the mean grade (`spending`). A rule with `below` has the
           same two proofs with their sides changed. Where the arms' label coverage differs, a loss PASSES only if it
           also does with every missing label against it. Where people grade some answers beside a judge, a loss
           PASSES by their grades alone (`powered`), and FAILS by either's.

A rule with `evidence: observed` fails by either form, the confident one being sooner; with `evidence: confident`
only by proof. Where the last window has nothing to measure it is UNMEASURED, unless another one fails it.
"""

from __future__ import annotations

from math import fsum
from typing import Final, assert_never

from controller.rollout.metrics import PER_CORRECT, SERVED, Kind, Metric
from controller.rollout.plan import Evidence, Plan, Rule
from controller.rollout.state import Epoch, State
from controller.rollout.verdict import Availability, Look, Outcome, Proof, Reading, Seen, Verdict

CONFIDENT_KINDS = (Kind.RATE, Kind.ACCURACY, Kind.QUANTILE, Kind.QUANTILE_RATIO, Kind.LOSS)
_ONE_SIDED = (Kind.QUANTILE_RATIO, Kind.LOSS, Kind.COST)
ROUNDING: Final = 1 + 1e-12
"""Of so many times a quotient, which is rounded twice: three times 38 of 119 are 114 of 119, and not a little less."""
PROVABLE_USD = (1e-9, 10_000.0)
"""Limits of a cost between which it is proven: costs are whole billionths of a dollar, and their sums have to fit."""


def judge_all(plan: Plan, state: State, seen: Seen) -> tuple[Verdict, ...]:
    """The verdict of every rule on every intent that it is judged on, in the plan's order.

    A rule without a reading is UNMEASURED: what was not looked at is not good.
    """
    readings = {(reading.rule, reading.intent): reading for reading in seen.readings}
    mismatched = seen.sample_ratio is not None and seen.sample_ratio.mismatched
    verdicts = []
    for rule in plan.rules:
        for intent in plan.judged_intents(rule):
            if intent in state.pins:
                continue
            reading = readings.get((rule.name, intent)) or _unread(rule, intent, state)
            verdict = judge(rule, reading)
            verdicts.append(
                _distrusted(verdict) if mismatched and rule.metric.comparing else verdict
            )
    return tuple(verdicts)


def judge(rule: Rule, reading: Reading) -> Verdict:
    """One rule on one intent."""
    missing = _missing(reading.availability)
    observed = _unless(missing, _observed(rule, reading))
    confident = _unless(missing, _confident(rule, reading))
    return Verdict(
        rule=rule.name,
        intent=reading.intent,
        outcome=_outcome(rule.evidence, observed, confident),
        observed=observed,
        confident=confident,
        reading=reading,
    )


def _unless(missing: Outcome | None, found: Outcome) -> Outcome:
    """What was found, or that the last window has nothing to find.

    A FAIL is of some window that had to be judged, mostly again: after downtime, or with what was learnt late, traffic
    may have stopped since. It is judged once, so it would be lost for good.
    """
    if missing is None or (found is Outcome.FAIL and missing is Outcome.UNMEASURED):
        return found
    return missing


def has_confident_form(metric: Metric) -> bool:
    """Whether a rule on it can be judged by proof.

    Grades of served answers are kept by request alone, and those of one conversation are no independent samples. What
    is spent is accounting, but for what a right answer costs.
    """
    if metric.kind is Kind.COST:
        return metric.subject == PER_CORRECT
    return metric.kind in CONFIDENT_KINDS and metric.subject != SERVED


def is_provable(rule: Rule) -> bool:
    """Whether the rule can fail by proof. Others spend no alpha.

    A share at most 0 or at least 1 is disproved by a single observation or by none: there is nothing to bet on.
    """
    # That the candidate is not better by enough: nobody asks for it.
    turned = rule.below and rule.metric.kind in _ONE_SIDED
    if turned or rule.usual is not None or not has_confident_form(rule.metric):
        return False
    if rule.metric.kind is Kind.COST:
        least, most = PROVABLE_USD
        return least <= rule.limit <= most
    return 0 < bound_of(rule) < 1


def bound_of(rule: Rule) -> float:
    """What the mean of a proof's values is held against: the limit; for a percentile, or a ratio of two, the share that
    lies above it.
    """
    if rule.metric.quantile is not None:
        return round(1 - rule.metric.quantile, 9)
    return rule.limit


def kept_limit(plan: Plan, rule: Rule) -> float:
    """What a pass proves the mean of values to be on the right side of: the limit, as the labels' judge shows it.

    A judge that errs shows a true loss smaller than it is, so a pass by its labels needs as much smaller a margin. A
    fail needs no other: what it sees is too little already. Where people grade beside it, a pass is proven by their
    grades, and the margin is the limit.
    """
    judge = plan.labels.judge
    if judge is not None and rule.metric.kind is Kind.LOSS and not plan.labels.people_u:
        return bound_of(rule) * judge.discrimination
    return shown_bound(plan, rule)


def shown_bound(plan: Plan, rule: Rule) -> float:
    """`bound_of`; an accuracy as the labels' judge shows one that lies at the limit."""
    return as_shown(plan, rule, bound_of(rule))


def as_shown(plan: Plan, rule: Rule, share: float) -> float:
    """What the labels of an erring judge make of a true accuracy, of which any other share stays as it is.

    It calls a right answer right with probability Se and a wrong one with 1 − Sp: a Se + (1 − a)(1 − Sp). That rises
    with a, so a true accuracy is below a limit exactly when the shown one is below the shown limit.
    """
    judge = plan.labels.judge
    if judge is None or rule.metric.kind is not Kind.ACCURACY:
        return share
    return share * judge.sensitivity + (1 - share) * (1 - judge.specificity)


def alpha_of(plan: Plan, rule: Rule, epoch: Epoch) -> float:
    """The rule's part of the plan's alpha, on one intent, halved with every epoch.

    A rule's own `alpha` is spread over its intents. Of what those leave, every other (rule, intent) that can stop the
    rollout by proof gets an equal share. Over all of epoch 0 that is at most the plan's alpha (union bound).
    """
    if not is_provable(rule):
        raise LookupError(f"rule {rule.name} on {rule.metric.name} has no confident form")
    alike = [rule] if rule.alpha is not None else sharing(plan)
    tests = sum(len(plan.judged_intents(one)) for one in alike)
    together = rule.alpha if rule.alpha is not None else alpha_left(plan)
    return float(together / (max(tests, 1) * 2**epoch.number))


def sharing(plan: Plan) -> list[Rule]:
    """The rules that have no `alpha` of their own and share what the others leave."""
    return [one for one in plan.rules if is_provable(one) and one.alpha is None]


def alpha_left(plan: Plan) -> float:
    """What the rules with an `alpha` of their own leave of the plan's."""
    return plan.alpha - fsum(one.alpha for one in plan.rules if one.alpha is not None)


def limit_in(rule: Rule, look: Look | None) -> float | None:
    """What a look's value is held against: the limit, or for a spike so many times the usual; None: not known."""
    if rule.usual is None:
        return rule.limit
    return None if look is None or look.usual is None else rule.limit * look.usual


def passes_limit(rule: Rule, look: Look) -> bool:
    """Whether a look lies on the wrong side of the rule's limit; exactly on it is still right."""
    limit = limit_in(rule, look)
    if look.value is None or limit is None:
        return False
    if rule.usual is not None:
        return look.value > limit * ROUNDING
    return look.value < limit if rule.below else look.value > limit


def _missing(availability: Availability) -> Outcome | None:
    match availability:
        case Availability.MEASURED:
            return None
        case Availability.NO_CONTROL:
            return Outcome.NOT_APPLICABLE
        case (
            Availability.NO_TRAFFIC
            | Availability.NOT_DUE
            | Availability.NO_DATA
            | Availability.MISMATCHED
        ):
            return Outcome.UNMEASURED
        case unreachable:
            assert_never(unreachable)


def _observed(rule: Rule, reading: Reading) -> Outcome:
    worst = reading.worst
    if worst is not None and passes_limit(rule, worst):
        return Outcome.FAIL
    return Outcome.PASS if _is_full(rule, reading.latest) else Outcome.INSUFFICIENT


def _is_full(rule: Rule, look: Look | None) -> bool:
    return (
        look is not None
        and look.value is not None
        and limit_in(rule, look) is not None
        and look.complete
        and look.samples >= rule.min_samples
    )


def _confident(rule: Rule, reading: Reading) -> Outcome:
    failing, passing = reading.failing, reading.passing
    # Before these had proofs they were recorded without any; such a record still says what it said.
    unproven = failing is None and passing is None and rule.evidence is Evidence.OBSERVED
    if rule.usual is not None or not has_confident_form(rule.metric):
        return Outcome.NOT_APPLICABLE
    if unproven and rule.metric.kind in _LATER_PROVEN:
        return Outcome.NOT_APPLICABLE
    if failing is not None and fails_by(rule, failing):
        return Outcome.FAIL
    worst = reading.worst_case
    holds = passing is not None and passing.reached and (worst is None or worst.proof.reached)
    return Outcome.PASS if holds else Outcome.INSUFFICIENT


_LATER_PROVEN = (Kind.QUANTILE, Kind.ACCURACY, Kind.QUANTILE_RATIO, Kind.COST)


def fails_by(rule: Rule, failing: Proof) -> bool:
    """Whether a proof against the rule's claim fails it: by itself, and with the figure that stands beside it."""
    return failing.reached and _is_past(rule, failing)


def _is_past(rule: Rule, failing: Proof) -> bool:
    # A proof against "no loss" alone says nothing of the size (the guarded form). One against the limit itself needs no
    # second look, and a figure on its right side would be a contradiction worth no stop.
    observed = failing.look.value
    match rule.metric.kind:
        case Kind.ACCURACY:
            bound = failing.claim
        case Kind.QUANTILE_RATIO:
            bound = 0.0  # the figure is a difference of shares
        case Kind.COST if observed is None:
            return True  # something was spent, and nothing is right
        case _:
            bound = bound_of(rule)
    return observed is not None and (observed < bound if rule.below else observed > bound)


def _outcome(evidence: Evidence, observed: Outcome, confident: Outcome) -> Outcome:
    match evidence:
        case Evidence.CONFIDENT:
            return confident
        case Evidence.OBSERVED:
            return Outcome.FAIL if confident is Outcome.FAIL else observed
        case unreachable:
            assert_never(unreachable)


def _unread(rule: Rule, intent: str | None, state: State) -> Reading:
    return Reading(
        rule=rule.name,
        intent=intent,
        epoch=state.epoch(rule.name).number,
        availability=Availability.NO_DATA,
    )


def _distrusted(verdict: Verdict) -> Verdict:
    """A comparison of arms whose sizes contradict the split proves nothing good; a FAIL stays, it errs to safety."""
    if verdict.outcome in (Outcome.FAIL, Outcome.NOT_APPLICABLE):
        return verdict
    return Verdict(
        rule=verdict.rule,
        intent=verdict.intent,
        outcome=Outcome.UNMEASURED,
        observed=verdict.observed,
        confident=Outcome.UNMEASURED,
        reading=verdict.reading,
    )
