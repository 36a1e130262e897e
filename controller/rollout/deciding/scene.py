"""What one call of `decide` is about, and how its answers are made: states at another share, decisions, refusals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from controller.rollout.commands import AnyCommand
from controller.rollout.decision import Action, Decision, Notice, Refusal, Wait
from controller.rollout.plan import Plan, Severity, Then
from controller.rollout.state import Cause, Failure, State
from controller.rollout.verdict import Seen, Verdict


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


def with_share(scene: Scene, share_bp: int, *, always: bool = False) -> State:
    """The state at another share; a new split version if it moved (or `always`: a step is a stratum of its own)."""
    moved = always or share_bp != scene.state.share_bp
    return replace(scene.state, share_bp=share_bp, version=scene.state.version + moved)


def refuse(scene: Scene, refusal: Refusal, detail: str = "") -> Decision:
    return Decision(
        action=Action.REFUSE,
        cause=Cause.COMMAND,
        state=scene.state,
        refusal=refusal,
        refusal_detail=detail,
    )


def decided(
    scene: Scene,
    action: Action,
    cause: Cause,
    state: State,
    severity: Severity,
    *,
    detail: str = "",
    missing: tuple[Wait, ...] = (),
) -> Decision:
    obeyed = scene.command if cause is Cause.COMMAND else None
    latched = tuple(one for one in scene.new_failures if one in state.failures)
    notice = Notice(
        key=action.value,
        action=action,
        cause=cause,
        severity=_severity(scene.plan, cause, latched, severity),
        at=scene.now,
        share_before_bp=scene.state.share_bp,
        share_after_bp=state.share_bp,
        failures=tuple(one for one in scene.verdicts if _of(one, latched)),
        deadline=state.paused.deadline if state.paused is not None else None,
        actor=obeyed.actor if obeyed is not None else "",
        reason=obeyed.reason if obeyed is not None else "",
        detail=detail,
        waits=missing,
        lacking=tuple(one for one in scene.verdicts if _of(one, missing)),
    )
    return Decision(action=action, cause=cause, state=state, failures=latched, notices=(notice,))


def _severity(plan: Plan, cause: Cause, failures: tuple[Failure, ...], usual: Severity) -> Severity:
    """The loudest that the rules behind it ask for; a rule that asks for nothing is told as usual."""
    if cause is not Cause.RULE:
        return usual
    rules = [plan.rule(one.rule) for one in failures]
    asked = {(rule.severity if rule is not None else None) or usual for rule in rules}
    return next((one for one in reversed(Severity) if one in asked), usual)


def _of(verdict: Verdict, found: tuple[Failure | Wait, ...]) -> bool:
    return any((one.rule, one.intent) == (verdict.rule, verdict.intent) for one in found)
