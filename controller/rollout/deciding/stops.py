"""Stops, in their precedence: rollback, pause, pin. Each says None where nothing asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from controller.rollout.commands import PauseNow, Rollback
from controller.rollout.deciding.scene import Scene, decided, with_share
from controller.rollout.decision import Action, Decision
from controller.rollout.plan import PauseShare, Severity, Then
from controller.rollout.state import Cause, Pause, Phase, State


def rollback(scene: Scene) -> Decision | None:
    failures = scene.failures(Then.ROLLBACK)
    if failures:
        return roll_back(scene, Cause.RULE)
    if isinstance(scene.command, Rollback):
        return roll_back(scene, Cause.COMMAND)
    paused = scene.state.paused
    if paused is not None and scene.now >= paused.deadline:
        return roll_back(scene, Cause.PAUSE_DEADLINE)
    return None


def roll_back(scene: Scene, cause: Cause) -> Decision:
    state = replace(
        with_share(scene, 0, always=True),
        phase=Phase.ROLLED_BACK,
        paused=None,
        failures=scene.state.failures + scene.new_failures,
    )
    return decided(scene, Action.ROLLBACK, cause, state, Severity.CRITICAL)


def pause(scene: Scene) -> Decision | None:
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
        return decided(scene, Action.PAUSE, cause, replace(before, failures=failures), severity)
    pause = Pause(
        since=scene.now,
        deadline=scene.now + scene.plan.pause_deadline,
        cause=cause,
        phase=before.phase,
        share_bp=before.share_bp,
        held=before.held + scene.seen.held,
    )
    state = replace(
        with_share(scene, _pause_share(scene)),
        phase=Phase.PAUSED,
        paused=pause,
        failures=failures,
    )
    return decided(scene, Action.PAUSE, cause, state, severity)


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


def pin(scene: Scene) -> Decision | None:
    failures = scene.failures(Then.PIN)
    if not failures:
        return None
    intents = {one.intent for one in failures if one.intent is not None}
    state = replace(
        pinned(scene.state, intents), failures=scene.state.failures + scene.new_failures
    )
    return decided(scene, Action.PIN, Cause.RULE, state, Severity.CRITICAL)


def pinned(state: State, intents: set[str]) -> State:
    return replace(state, pins=tuple(sorted(intents.union(state.pins))), version=state.version + 1)
