"""Commands: what each asks, or a refusal with its reason. Stops have been looked for before any of this."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

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
from controller.rollout.deciding.amend import amend
from controller.rollout.deciding.resume import acknowledged, unpaused
from controller.rollout.deciding.scene import Scene, decided, refuse, with_share
from controller.rollout.deciding.steps import first_state, go_on
from controller.rollout.deciding.stops import pinned, roll_back
from controller.rollout.decision import Action, Decision, Refusal
from controller.rollout.plan import FULL_BP, Plan, Severity, Then
from controller.rollout.state import Cause, Phase, State
from controller.rollout.verdict import Health, Outcome


def obey(scene: Scene, command: AnyCommand) -> Decision:
    """What the command asks, or a refusal with its reason. PauseNow and Rollback of a live rollout never get here."""
    match command:
        case Apply():
            return _apply(scene, command)
        case PauseNow():
            live = scene.state.phase is Phase.PAUSED
            return refuse(scene, Refusal.ALREADY_PAUSED if live else Refusal.NOT_RUNNING)
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
        case unreachable:
            assert_never(unreachable)


def _apply(scene: Scene, command: Apply) -> Decision:
    match scene.state.phase:
        case Phase.RETIRED:
            return _anew(scene, Action.START, command.plan)
        case Phase.ROLLED_BACK:
            return refuse(scene, Refusal.STOPPED, "rolled back: use retry for a new attempt")
        case Phase.COMPLETE:
            return refuse(scene, Refusal.NOT_RUNNING, "complete: retire it first")
        case _:
            amended = amend(scene.plan, scene.state, command.plan, scene.now)
    if isinstance(amended, State):
        return decided(scene, Action.AMEND, Cause.COMMAND, amended, Severity.INFO)
    return refuse(scene, amended.refusal, amended.detail)


def _roll_back_complete(scene: Scene) -> Decision:
    """A complete rollout can still be undone: the baseline holds its route until it is retired."""
    if scene.state.phase is Phase.COMPLETE:
        return roll_back(scene, Cause.COMMAND)
    return refuse(scene, Refusal.NOT_RUNNING, scene.state.phase.value)


def _resume(scene: Scene, command: Resume) -> Decision:
    paused = scene.state.paused
    if paused is None:
        return refuse(scene, Refusal.NOT_PAUSED, scene.state.phase.value)
    if not command.reason:
        return refuse(scene, Refusal.NEEDS_REASON)
    state = unpaused(scene, acknowledged(scene.state, scene.now))
    return decided(scene, Action.RESUME, Cause.COMMAND, state, Severity.INFO)


def _promote(scene: Scene, command: Promote) -> Decision:
    refusal = _promotion_refused(scene, command)
    if refusal is not None:
        return refusal
    latched = replace(scene.state, failures=scene.state.failures + scene.new_failures)
    state = acknowledged(latched, scene.now, rules=frozenset(command.override))
    moved = replace(scene, state=unpaused(scene, state))
    decision = go_on(moved, Cause.COMMAND, Severity.INFO)
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
        return refuse(scene, Refusal.UNKNOWN_RULE, ", ".join(unknown))
    if command.override and not command.reason:
        return refuse(scene, Refusal.NEEDS_REASON)
    if not scene.state.phase.judged:
        return refuse(scene, Refusal.NOT_RUNNING, scene.state.phase.value)
    failed = {one.rule for one in scene.verdicts if one.outcome is Outcome.FAIL}
    failed |= {one.rule for one in scene.state.open_failures if one.then is not Then.PIN}
    if failed - set(command.override):
        return refuse(scene, Refusal.RULE_FAILED, ", ".join(sorted(failed - set(command.override))))
    if scene.seen.freeze is not None:
        return refuse(scene, Refusal.FROZEN, scene.seen.freeze)
    if scene.seen.baseline is Health.FAILING:
        return refuse(scene, Refusal.BASELINE, scene.seen.baseline.value)
    return None


def _approve(scene: Scene) -> Decision:
    state = scene.state
    running = state.phase in (Phase.PROGRESSING, Phase.PAUSED) and state.step >= 0
    if not running or not scene.plan.steps[state.step].approval or state.approved:
        return refuse(scene, Refusal.NO_APPROVAL_ASKED)
    return decided(
        scene, Action.APPROVE, Cause.COMMAND, replace(state, approved=True), Severity.INFO
    )


def _retry(scene: Scene, command: Retry) -> Decision:
    if scene.state.phase is not Phase.ROLLED_BACK:
        return refuse(scene, Refusal.NOT_ROLLED_BACK, scene.state.phase.value)
    if not command.reason:
        return refuse(scene, Refusal.NEEDS_REASON)
    return _anew(scene, Action.RETRY, scene.plan)


def _anew(scene: Scene, action: Action, plan: Plan) -> Decision:
    known = scene.state.plan_digest if plan is scene.plan else plan.digest
    state = first_state(plan, known, scene.state.attempt + 1, scene.now)
    return decided(scene, action, Cause.COMMAND, state, Severity.INFO)


def _pin_by_command(scene: Scene, command: PinIntent) -> Decision:
    intent = scene.plan.intent(command.intent)
    if scene.state.phase in (Phase.ROLLED_BACK, Phase.RETIRED):
        return refuse(scene, Refusal.NOT_RUNNING, scene.state.phase.value)
    if intent is None:
        return refuse(scene, Refusal.UNKNOWN_INTENT, command.intent)
    if intent.pinned or intent.name in scene.state.pins:
        return refuse(scene, Refusal.ALREADY_PINNED, command.intent)
    state = pinned(scene.state, {command.intent})
    return decided(scene, Action.PIN, Cause.COMMAND, state, Severity.INFO, detail=command.intent)


def _retire(scene: Scene) -> Decision:
    if scene.state.phase is not Phase.COMPLETE:
        return refuse(scene, Refusal.NOT_COMPLETE, scene.state.phase.value)
    # The holdback ends: the one rise of the share that no rule can stop any more, asked for by a person.
    state = replace(with_share(scene, FULL_BP), phase=Phase.RETIRED)
    return decided(scene, Action.RETIRE, Cause.COMMAND, state, Severity.INFO)
