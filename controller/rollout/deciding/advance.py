"""What an advance still waits for. Empty means: go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from controller.rollout.decision import Wait, Waiting
from controller.rollout.metrics import Kind
from controller.rollout.plan import Advance, Plan
from controller.rollout.state import Phase, State
from controller.rollout.verdict import Health, InForce, Outcome, Seen, Verdict

PROVEN_ABOVE_BP = 5_000
UNSAMPLED = (Kind.COST, Kind.SAMPLE_RATIO, Kind.COVERAGE)  # accounting: no sample size to wait for


def waits(
    plan: Plan, state: State, seen: Seen, verdicts: tuple[Verdict, ...], now: datetime
) -> tuple[Wait, ...]:
    """Everything that keeps the rollout from its next phase or step, in the order a person would look at it."""
    match state.phase:
        case Phase.PENDING:
            return (*_safe_to_raise(plan, state, seen, now),)
        case Phase.PROGRESSING if state.step + 1 < len(plan.steps):
            return (
                *_step_done(plan, state, seen, verdicts),
                *_safe_to_raise(plan, state, seen, now),
            )
        case Phase.PROGRESSING:
            return (*_step_done(plan, state, seen, verdicts),)
        case Phase.BAKING:
            return (*_baked(plan, state, seen, verdicts),)
        case Phase.PAUSED:
            return (Wait(waiting=Waiting.PAUSED),)
        case _:
            return ()


def requirement(plan: Plan, step: int) -> Advance:
    """What leaving a step asks for: its own word, else proof where the next share is above 50%."""
    asked = plan.steps[step].advance
    if asked is not None:
        return asked
    following = plan.share_at(step + 1) if step + 1 < len(plan.steps) else 0
    return Advance.PROVEN if following > PROVEN_ABOVE_BP else Advance.CLEAR


def _step_done(
    plan: Plan, state: State, seen: Seen, verdicts: tuple[Verdict, ...]
) -> Iterator[Wait]:
    step = plan.steps[state.step]
    yield from _in_force(seen)
    yield from _time(state.held + seen.held, step.hold)
    yield from _samples(plan, step.min_samples, seen, verdicts)
    yield from _clear(seen, verdicts)
    if requirement(plan, state.step) is Advance.PROVEN:
        yield from _unproven(plan, state, verdicts)
    if step.approval and not state.approved:
        yield Wait(waiting=Waiting.APPROVAL)


def _baked(plan: Plan, state: State, seen: Seen, verdicts: tuple[Verdict, ...]) -> Iterator[Wait]:
    yield from _in_force(seen)
    yield from _time(state.held + seen.held, plan.bake)
    yield from _clear(seen, verdicts)


def _in_force(seen: Seen) -> Iterator[Wait]:
    if seen.in_force is not InForce.VERIFIED:
        yield Wait(waiting=Waiting.IN_FORCE, detail=seen.in_force.value)


def _time(held: timedelta, needed: timedelta) -> Iterator[Wait]:
    if held < needed:
        yield Wait(
            waiting=Waiting.HOLD_TIME, have=held.total_seconds(), need=needed.total_seconds()
        )


def _samples(plan: Plan, needed: int, seen: Seen, verdicts: tuple[Verdict, ...]) -> Iterator[Wait]:
    """`minSamples` of a step: candidate requests, and samples of every rule that has a sample size."""
    if seen.samples < needed:
        yield Wait(waiting=Waiting.SAMPLES, have=seen.samples, need=needed)
    for verdict in verdicts:
        rule = plan.rule(verdict.rule)
        if (
            rule is None
            or rule.metric.kind in UNSAMPLED
            or verdict.outcome is Outcome.NOT_APPLICABLE
        ):
            continue
        if verdict.reading.step_samples < needed:
            yield Wait(
                waiting=Waiting.SAMPLES,
                rule=verdict.rule,
                intent=verdict.intent,
                have=verdict.reading.step_samples,
                need=needed,
            )


def _clear(seen: Seen, verdicts: tuple[Verdict, ...]) -> Iterator[Wait]:
    for verdict in verdicts:
        match verdict.outcome:
            case Outcome.FAIL:
                yield Wait(waiting=Waiting.RULE_FAILED, rule=verdict.rule, intent=verdict.intent)
            case Outcome.UNMEASURED:
                yield Wait(
                    waiting=Waiting.UNMEASURED,
                    rule=verdict.rule,
                    intent=verdict.intent,
                    detail=verdict.reading.availability.value,
                )
    if seen.sample_ratio is not None and seen.sample_ratio.mismatched:
        yield Wait(waiting=Waiting.SAMPLE_RATIO)
    if seen.coverage is not None and seen.coverage.differs:
        yield Wait(waiting=Waiting.COVERAGE)


def _unproven(plan: Plan, state: State, verdicts: tuple[Verdict, ...]) -> Iterator[Wait]:
    """Critical intents without a confident PASS of a loss rule. One that no such rule covers is unproven too."""
    losses = {rule.name for rule in plan.rules if rule.metric.kind is Kind.LOSS}
    for intent in plan.intents:
        if not intent.critical or intent.pinned or intent.name in state.pins:
            continue
        own = [one for one in verdicts if one.intent == intent.name and one.rule in losses]
        lacking = [one for one in own if one.confident is not Outcome.PASS]
        for verdict in lacking:
            yield Wait(waiting=Waiting.PROOF, rule=verdict.rule, intent=intent.name)
        if not own:
            yield Wait(
                waiting=Waiting.PROOF, intent=intent.name, detail="no accuracy rule covers it"
            )


def _safe_to_raise(plan: Plan, state: State, seen: Seen, now: datetime) -> Iterator[Wait]:
    if state.phase is Phase.PENDING:
        yield from _in_force(seen)
    if seen.freeze is not None:
        yield Wait(waiting=Waiting.FREEZE, detail=seen.freeze)
    if seen.baseline is not Health.ANSWERING:
        yield Wait(waiting=Waiting.BASELINE, detail=seen.baseline.value)
    if retires_during_next_step(plan, state, now):
        yield Wait(waiting=Waiting.BASELINE, detail=f"shuts down on {plan.baseline.shutdown}")


def retires_during_next_step(plan: Plan, state: State, now: datetime) -> bool:
    """Whether the baseline's API ends before the next step could: a rollback would have nowhere to go."""
    if plan.baseline.shutdown is None:
        return False
    step = state.step + 1
    stay = plan.steps[step].hold if step < len(plan.steps) else timedelta(0)
    if step >= len(plan.steps) - 1:  # the bake follows the last step's hold
        stay += plan.bake
    return (now + stay).date() >= plan.baseline.shutdown
