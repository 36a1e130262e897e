"""`decide`: the one place where a rollout's next state is chosen. Pure; everything it knows is in its arguments.

Precedence: rollback > pause > pin > hold > advance. Stops are looked for first, in every phase that can still change;
a command that a stop overtakes is refused as superseded. The share rises only by ADVANCE (which `promote` is too),
RESUME or RETRY, and when RETIRE ends the holdback; each rise needs a positive reason: what is unknown holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from controller.rollout.advance import waits
from controller.rollout.amend import amend
from controller.rollout.codec import text_digest
from controller.rollout.commands import (
    AnyCommand,
    Apply,
    Approve,
    PauseNow,
    PinIntent,
    Promote,
    Resume,
    Retire,
    Retry,
    Rollback,
)
from controller.rollout.decision import (
    Action,
    Decision,
    Notice,
    Refusal,
    Severity,
    Wait,
    Waiting,
)
from controller.rollout.plan import FULL_BP, PauseShare, Plan, Then
from controller.rollout.rules import judge_all
from controller.rollout.state import Cause, Epoch, Failure, Pause, Phase, State
from controller.rollout.verdict import Health, Outcome, Seen, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What one call of `decide` is about."""

    plan: Plan
    state: State
    seen: Seen
    command: AnyCommand | None
    now: datetime
    verdicts: tuple[Verdict, ...]
    waits: tuple[Wait, ...]
    new_failures: tuple[Failure, ...]

    def failures(self, then: Then) -> tuple[Failure, ...]:
        return tuple(one for one in self.new_failures if one.then is then)


def start(command: Apply, now: datetime, *, attempt: int = 1) -> Decision:
    """A rollout's first record: everything on the baseline, waiting for a baseline that answers."""
    state = first_state(command.plan, command.plan.digest, attempt, now)
    notice = Notice(
        key=Action.START.value,
        action=Action.START,
        cause=Cause.COMMAND,
        severity=Severity.INFO,
        at=now,
        share_before_bp=0,
        share_after_bp=0,
        actor=command.actor,
        reason=command.reason,
    )
    return Decision(action=Action.START, cause=Cause.COMMAND, state=state, notices=(notice,))


def decide(
    plan: Plan, state: State, seen: Seen, command: AnyCommand | None, now: datetime
) -> Decision:
    """The decision of one tick, with or without a command. `now` never goes back behind the last record."""
    scene = _scene(plan, state, seen, command, max(now, state.updated_at))
    if not state.phase.judged:
        decision = _expiry(scene) if state.phase is Phase.COMPLETE else None
        decision = decision or (_obey(scene) if command is not None else None) or _hold(scene)
        return _complete(scene, decision)
    stop = _rollback(scene) or _pause(scene) or _pin(scene)
    if stop is not None:
        return _complete(scene, _superseding(stop, command))
    if command is not None:
        return _complete(scene, _obey(scene))
    return _complete(scene, _expiry(scene) or _proceed(scene) or _tell(scene) or _hold(scene))


def _scene(
    plan: Plan, state: State, seen: Seen, command: AnyCommand | None, now: datetime
) -> Scene:
    verdicts = judge_all(plan, state, seen) if state.phase.judged else ()
    return Scene(
        plan=plan,
        state=state,
        seen=seen,
        command=command,
        now=now,
        verdicts=verdicts,
        waits=waits(plan, state, seen, verdicts, now),
        new_failures=_new_failures(plan, state, verdicts, now),
    )


def _new_failures(
    plan: Plan, state: State, verdicts: tuple[Verdict, ...], now: datetime
) -> tuple[Failure, ...]:
    return tuple(
        Failure(
            rule=verdict.rule,
            intent=verdict.intent,
            epoch=verdict.reading.epoch,
            at=now,
            then=_then(plan, verdict),
        )
        for verdict in verdicts
        if verdict.outcome is Outcome.FAIL and not state.failed(verdict)
    )


def _then(plan: Plan, verdict: Verdict) -> Then:
    rule = plan.rule(verdict.rule)
    if rule is None:  # judge_all only judges the plan's own rules
        raise LookupError(f"verdict of rule {verdict.rule!r}, which the plan does not have")
    # "All traffic" cannot be pinned: what fails as a whole pauses as a whole.
    return Then.PAUSE if rule.then is Then.PIN and verdict.intent is None else rule.then


def _complete(scene: Scene, decision: Decision) -> Decision:
    """Add what every decision carries: verdicts, waits, and the moment of the state."""
    state = decision.state
    if decision.recorded:
        state = replace(state, updated_at=scene.now)
    return replace(
        decision,
        state=state,
        verdicts=scene.verdicts,
        waits=scene.waits,
        held=scene.state.paused.held if scene.state.paused else scene.state.held + scene.seen.held,
    )


def _hold(scene: Scene) -> Decision:
    return Decision(action=Action.HOLD, cause=Cause.WAITING, state=scene.state)


# Stops


def _rollback(scene: Scene) -> Decision | None:
    failures = scene.failures(Then.ROLLBACK)
    if failures:
        return _roll_back(scene, Cause.RULE)
    if isinstance(scene.command, Rollback):
        return _roll_back(scene, Cause.COMMAND)
    paused = scene.state.paused
    if paused is not None and scene.now >= paused.deadline:
        return _roll_back(scene, Cause.PAUSE_DEADLINE)
    return None


def _roll_back(scene: Scene, cause: Cause) -> Decision:
    state = replace(
        _with_share(scene, 0, always=True),
        phase=Phase.ROLLED_BACK,
        paused=None,
        failures=scene.state.failures + scene.new_failures,
    )
    return _decision(scene, Action.ROLLBACK, cause, state, Severity.CRITICAL)


def _pause(scene: Scene) -> Decision | None:
    failures = scene.failures(Then.PAUSE)
    if failures:
        return _pause_for(scene, Cause.RULE)
    if scene.state.phase is Phase.PAUSED:
        return None
    if isinstance(scene.command, PauseNow):
        return _pause_for(scene, Cause.COMMAND)
    blind = max((one.blind for one in scene.seen.readings), default=None)
    if blind is not None and blind > scene.plan.max_blind:
        return _pause_for(scene, Cause.BLIND)
    return None


def _pause_for(scene: Scene, cause: Cause) -> Decision:
    """Freeze the share, or note a further failure of a rollout that is paused already."""
    before = scene.state
    severity = Severity.INFO if cause is Cause.COMMAND else Severity.CRITICAL
    failures = before.failures + scene.new_failures
    if before.paused is not None:
        return _decision(scene, Action.PAUSE, cause, replace(before, failures=failures), severity)
    pause = Pause(
        since=scene.now,
        deadline=scene.now + scene.plan.pause_deadline,
        cause=cause,
        phase=before.phase,
        share_bp=before.share_bp,
        held=before.held + scene.seen.held,
    )
    state = replace(
        _with_share(scene, _pause_share(scene)),
        phase=Phase.PAUSED,
        paused=pause,
        failures=failures,
    )
    return _decision(scene, Action.PAUSE, cause, state, severity)


def _pause_share(scene: Scene) -> int:
    match scene.plan.pause_share:
        case PauseShare.HOLD:
            return scene.state.share_bp
        case PauseShare.PREVIOUS:
            return min(scene.state.share_bp, scene.plan.share_at(scene.state.step - 1))
        case PauseShare.ZERO:
            return 0
        case unreachable:
            assert_never(unreachable)


def _pin(scene: Scene) -> Decision | None:
    failures = scene.failures(Then.PIN)
    if not failures:
        return None
    intents = {one.intent for one in failures if one.intent is not None}
    state = replace(
        _pinned(scene.state, intents), failures=scene.state.failures + scene.new_failures
    )
    return _decision(scene, Action.PIN, Cause.RULE, state, Severity.CRITICAL)


def _pinned(state: State, intents: set[str]) -> State:
    return replace(state, pins=tuple(sorted(intents.union(state.pins))), version=state.version + 1)


def _superseding(stop: Decision, command: AnyCommand | None) -> Decision:
    """A stop wins over a command in the same tick, unless it is what the command asked for."""
    asked = {Action.ROLLBACK: Rollback, Action.PAUSE: PauseNow}.get(stop.action)
    if command is None or (asked is not None and isinstance(command, asked)):
        return stop
    return replace(stop, refusal=Refusal.SUPERSEDED, refusal_detail=stop.action.value)


# What happens by itself


def _expiry(scene: Scene) -> Decision | None:
    """A lease ran out and was not yet recorded. Converging puts the committed share back after this record."""
    expired = scene.seen.expired_at
    known = scene.state.expired_at
    if expired is None or (known is not None and expired <= known):
        return None
    state = replace(scene.state, expired_at=expired)
    return _decision(scene, Action.EXPIRE, Cause.LEASE, state, Severity.WARNING)


def _proceed(scene: Scene) -> Decision | None:
    if scene.state.phase is Phase.PAUSED or scene.waits:
        return None
    return _next(scene, _reason_to_advance(scene), Severity.INFO)


def _reason_to_advance(scene: Scene) -> Cause:
    if scene.state.phase is Phase.BAKING:
        return Cause.BAKED
    confident = [one.confident is Outcome.PASS for one in scene.verdicts if one.intent is not None]
    return Cause.PROVEN if confident and all(confident) else Cause.CLEAR


def _next(scene: Scene, cause: Cause, severity: Severity) -> Decision:
    """To the next step, into the bake, or to completion."""
    state, plan = scene.state, scene.plan
    if state.phase is not Phase.BAKING and state.step + 1 < len(plan.steps):
        return _decision(scene, Action.ADVANCE, cause, _at_step(scene, state.step + 1), severity)
    if state.phase is not Phase.BAKING and plan.bake:
        baking = replace(_clock_restarted(state, scene.now), phase=Phase.BAKING)
        return _decision(scene, Action.BAKE, cause, baking, severity)
    return _decision(scene, Action.COMPLETE, cause, replace(state, phase=Phase.COMPLETE), severity)


def _at_step(scene: Scene, step: int) -> State:
    raised = _with_share(scene, scene.plan.share_at(step), always=True)
    return replace(
        _clock_restarted(raised, scene.now),
        phase=Phase.PROGRESSING,
        step=step,
        step_version=raised.version,
        step_started_at=scene.now,
        approved=False,
    )


def _clock_restarted(state: State, now: datetime) -> State:
    return replace(state, hold_from=now, held=now - now, told=())


def _tell(scene: Scene) -> Decision | None:
    """What is said once and moves nothing: advisory failures, a mismatch, an approval asked, a deadline passed."""
    if scene.new_failures:
        state = replace(scene.state, failures=scene.state.failures + scene.new_failures)
        return _decision(scene, Action.NOTIFY, Cause.RULE, state, Severity.WARNING)
    for topic, cause, severity in _topics(scene):
        if topic not in scene.state.told:
            state = replace(scene.state, told=(*scene.state.told, topic))
            return _decision(scene, Action.NOTIFY, cause, state, severity, detail=topic)
    return None


def _topics(scene: Scene) -> list[tuple[str, Cause, Severity]]:
    topics = []
    waiting = {wait.waiting for wait in scene.waits}
    if Waiting.SAMPLE_RATIO in waiting:
        topics.append(("sample_ratio", Cause.MISMATCH, Severity.WARNING))
    if waiting == {Waiting.APPROVAL}:
        topics.append(("approval", Cause.WAITING, Severity.WARNING))
    if _past_deadline(scene):
        topics.append(("deadline", Cause.WAITING, Severity.WARNING))
    return topics


def _past_deadline(scene: Scene) -> bool:
    state = scene.state
    if state.phase is not Phase.PROGRESSING:
        return False
    deadline = scene.plan.steps[state.step].deadline
    return deadline is not None and scene.now >= state.step_started_at + deadline


# Commands


def _obey(scene: Scene) -> Decision:
    """What the command asks, or a refusal with its reason. PauseNow and Rollback of a live rollout never get here."""
    command = scene.command
    match command:
        case Apply():
            return _apply(scene, command)
        case PauseNow():
            live = scene.state.phase is Phase.PAUSED
            return _refuse(scene, Refusal.ALREADY_PAUSED if live else Refusal.NOT_RUNNING)
        case Rollback():
            return _roll_back_complete(scene)
        case Resume():
            return _resume(scene, command)
        case Promote():
            return _promote(scene, command)
        case Approve():
            return _approve(scene)
        case Retry():
            return _retry(scene, command)
        case PinIntent():
            return _pin_by_command(scene, command)
        case Retire():
            return _retire(scene)
        case None:
            return _hold(scene)
        case unreachable:
            assert_never(unreachable)


def _apply(scene: Scene, command: Apply) -> Decision:
    match scene.state.phase:
        case Phase.RETIRED:
            return _anew(scene, Action.START, command.plan)
        case Phase.ROLLED_BACK:
            return _refuse(scene, Refusal.STOPPED, "rolled back: use retry for a new attempt")
        case Phase.COMPLETE:
            return _refuse(scene, Refusal.NOT_RUNNING, "complete: retire it first")
        case _:
            amended = amend(scene.plan, scene.state, command.plan, scene.now)
    if isinstance(amended, State):
        return _decision(scene, Action.AMEND, Cause.COMMAND, amended, Severity.INFO)
    return _refuse(scene, amended.refusal, amended.detail)


def _roll_back_complete(scene: Scene) -> Decision:
    """A complete rollout can still be undone: the baseline holds its route until it is retired."""
    if scene.state.phase is Phase.COMPLETE:
        return _roll_back(scene, Cause.COMMAND)
    return _refuse(scene, Refusal.NOT_RUNNING, scene.state.phase.value)


def _resume(scene: Scene, command: Resume) -> Decision:
    paused = scene.state.paused
    if paused is None:
        return _refuse(scene, Refusal.NOT_PAUSED, scene.state.phase.value)
    if not command.reason:
        return _refuse(scene, Refusal.NEEDS_REASON)
    state = _unpaused(scene, _acknowledged(scene.state, scene.now))
    return _decision(scene, Action.RESUME, Cause.COMMAND, state, Severity.INFO)


def _unpaused(scene: Scene, state: State) -> State:
    """Back to what the pause froze, with the hold's clock running on from now."""
    paused = state.paused
    if paused is None:
        return state
    share = min(paused.share_bp, FULL_BP - scene.plan.holdback_bp)
    moved = share != state.share_bp
    return replace(
        state,
        phase=paused.phase,
        paused=None,
        share_bp=share,
        version=state.version + moved,
        hold_from=scene.now,
        held=paused.held,
    )


def _acknowledged(state: State, now: datetime, *, rules: frozenset[str] | None = None) -> State:
    """Open failures (of `rules`, or all) acknowledged, each of their rules in a new epoch that starts now."""
    open_rules = {one.rule for one in state.open_failures if rules is None or one.rule in rules}
    epochs = dict(state.epochs)
    for rule in open_rules:
        epochs[rule] = Epoch(number=state.epoch(rule).number + 1, start=now)
    failures = tuple(
        replace(one, acknowledged=True) if one.rule in open_rules else one for one in state.failures
    )
    return replace(state, epochs=epochs, failures=failures)


def _promote(scene: Scene, command: Promote) -> Decision:
    refusal = _promotion_refused(scene, command)
    if refusal is not None:
        return refusal
    latched = replace(scene.state, failures=scene.state.failures + scene.new_failures)
    state = _acknowledged(latched, scene.now, rules=frozenset(command.override))
    moved = replace(scene, state=_unpaused(scene, state), command=command)
    decision = _next(moved, Cause.COMMAND, Severity.INFO)
    # The notice tells the way from where the rollout stood, the pause included.
    return replace(
        decision,
        notices=tuple(
            replace(one, share_before_bp=scene.state.share_bp) for one in decision.notices
        ),
    )


def _promotion_refused(scene: Scene, command: Promote) -> Decision | None:
    unknown = [name for name in command.override if scene.plan.rule(name) is None]
    if unknown:
        return _refuse(scene, Refusal.UNKNOWN_RULE, ", ".join(unknown))
    if command.override and not command.reason:
        return _refuse(scene, Refusal.NEEDS_REASON)
    if not scene.state.phase.judged:
        return _refuse(scene, Refusal.NOT_RUNNING, scene.state.phase.value)
    failed = {one.rule for one in scene.verdicts if one.outcome is Outcome.FAIL}
    failed |= {one.rule for one in scene.state.open_failures if one.then is not Then.PIN}
    if failed - set(command.override):
        return _refuse(
            scene, Refusal.RULE_FAILED, ", ".join(sorted(failed - set(command.override)))
        )
    if scene.seen.freeze is not None:
        return _refuse(scene, Refusal.FROZEN, scene.seen.freeze)
    if scene.seen.baseline is Health.FAILING:
        return _refuse(scene, Refusal.BASELINE, scene.seen.baseline.value)
    return None


def _approve(scene: Scene) -> Decision:
    state = scene.state
    running = state.phase in (Phase.PROGRESSING, Phase.PAUSED) and state.step >= 0
    if not running or not scene.plan.steps[state.step].approval or state.approved:
        return _refuse(scene, Refusal.NO_APPROVAL_ASKED)
    return _decision(
        scene, Action.APPROVE, Cause.COMMAND, replace(state, approved=True), Severity.INFO
    )


def _retry(scene: Scene, command: Retry) -> Decision:
    if scene.state.phase is not Phase.ROLLED_BACK:
        return _refuse(scene, Refusal.NOT_ROLLED_BACK, scene.state.phase.value)
    if not command.reason:
        return _refuse(scene, Refusal.NEEDS_REASON)
    return _anew(scene, Action.RETRY, scene.plan)


def _anew(scene: Scene, action: Action, plan: Plan) -> Decision:
    known = scene.state.plan_digest if plan is scene.plan else plan.digest
    state = first_state(plan, known, scene.state.attempt + 1, scene.now)
    return _decision(scene, action, Cause.COMMAND, state, Severity.INFO)


def _pin_by_command(scene: Scene, command: PinIntent) -> Decision:
    intent = scene.plan.intent(command.intent)
    if scene.state.phase in (Phase.ROLLED_BACK, Phase.RETIRED):
        return _refuse(scene, Refusal.NOT_RUNNING, scene.state.phase.value)
    if intent is None:
        return _refuse(scene, Refusal.UNKNOWN_INTENT, command.intent)
    if intent.pinned or intent.name in scene.state.pins:
        return _refuse(scene, Refusal.ALREADY_PINNED, command.intent)
    state = _pinned(scene.state, {command.intent})
    return _decision(scene, Action.PIN, Cause.COMMAND, state, Severity.INFO, detail=command.intent)


def _retire(scene: Scene) -> Decision:
    if scene.state.phase is not Phase.COMPLETE:
        return _refuse(scene, Refusal.NOT_COMPLETE, scene.state.phase.value)
    # The holdback ends: the one rise of the share that no rule can stop any more, asked for by a person.
    state = replace(_with_share(scene, FULL_BP), phase=Phase.RETIRED)
    return _decision(scene, Action.RETIRE, Cause.COMMAND, state, Severity.INFO)


def _refuse(scene: Scene, refusal: Refusal, detail: str = "") -> Decision:
    return Decision(
        action=Action.REFUSE,
        cause=Cause.COMMAND,
        state=scene.state,
        refusal=refusal,
        refusal_detail=detail,
    )


# Making states and notices


def first_state(plan: Plan, plan_digest: str, attempt: int, now: datetime) -> State:
    """A rollout at its very beginning: nothing shifted, a salt of its own."""
    rollout = f"{plan.name}/{attempt}"
    return State(
        rollout=rollout,
        name=plan.name,
        attempt=attempt,
        plan_digest=plan_digest,
        revision=1,
        salt=text_digest(f"{rollout} {plan_digest} {now.isoformat()}")[:16],
        phase=Phase.PENDING,
        step=-1,
        share_bp=0,
        version=1,
        step_version=1,
        started_at=now,
        step_started_at=now,
        hold_from=now,
        updated_at=now,
    )


def _with_share(scene: Scene, share_bp: int, *, always: bool = False) -> State:
    """The state at another share; a new split version if it moved (or `always`: a step is a stratum of its own)."""
    moved = always or share_bp != scene.state.share_bp
    return replace(scene.state, share_bp=share_bp, version=scene.state.version + moved)


def _decision(
    scene: Scene,
    action: Action,
    cause: Cause,
    state: State,
    severity: Severity,
    *,
    detail: str = "",
) -> Decision:
    obeyed = scene.command if cause is Cause.COMMAND else None
    latched = tuple(one for one in scene.new_failures if one in state.failures)
    notice = Notice(
        key=action.value,
        action=action,
        cause=cause,
        severity=severity,
        at=scene.now,
        share_before_bp=scene.state.share_bp,
        share_after_bp=state.share_bp,
        failures=tuple(one for one in scene.verdicts if _of(one, latched)),
        deadline=state.paused.deadline if state.paused is not None else None,
        actor=obeyed.actor if obeyed is not None else "",
        reason=obeyed.reason if obeyed is not None else "",
        detail=detail,
    )
    return Decision(action=action, cause=cause, state=state, failures=latched, notices=(notice,))


def _of(verdict: Verdict, failures: tuple[Failure, ...]) -> bool:
    return any((one.rule, one.intent) == (verdict.rule, verdict.intent) for one in failures)
