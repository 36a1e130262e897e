"""The way of a rollout: its first state, the next step, the bake, completion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controller.rollout.codec import text_digest
from controller.rollout.deciding.scene import Scene, decided, with_share
from controller.rollout.decision import Action, Decision
from controller.rollout.plan import Plan, Severity
from controller.rollout.state import Cause, Phase, State


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


def go_on(scene: Scene, cause: Cause, severity: Severity) -> Decision:
    """To the next step, into the bake, or to completion."""
    state, plan = scene.state, scene.plan
    if state.phase is not Phase.BAKING and state.step + 1 < len(plan.steps):
        return decided(scene, Action.ADVANCE, cause, _at_step(scene, state.step + 1), severity)
    if state.phase is not Phase.BAKING and plan.bake:
        baking = replace(_clock_restarted(state, scene.now), phase=Phase.BAKING)
        return decided(scene, Action.BAKE, cause, baking, severity)
    return decided(scene, Action.COMPLETE, cause, replace(state, phase=Phase.COMPLETE), severity)


def _at_step(scene: Scene, step: int) -> State:
    raised = with_share(scene, scene.plan.share_at(step), always=True)
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
