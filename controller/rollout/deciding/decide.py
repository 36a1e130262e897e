"""`decide`: the one place where a rollout's next state is chosen. Pure; everything it knows is in its arguments.

Precedence: rollback > pause > pin > hold > advance. Stops are looked for first, in every phase that can still change;
a command that a stop overtakes is refused as superseded. The share rises only by ADVANCE (which `promote` is too),
RESUME (by a person, or by itself where every rule that paused says so) or RETRY, and when RETIRE ends the holdback;
each rise needs a positive reason: what is unknown holds.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controller.rollout.commands import AnyCommand, Apply, PauseNow, Rollback
from controller.rollout.deciding.advance import waits
from controller.rollout.deciding.obey import obey
from controller.rollout.deciding.resume import recover
from controller.rollout.deciding.scene import Scene, decided
from controller.rollout.deciding.steps import first_state, go_on
from controller.rollout.deciding.stops import pause, pin, rollback
from controller.rollout.decision import Action, Decision, Notice, Refusal, Waiting
from controller.rollout.evidence.comparison import renewed
from controller.rollout.evidence.rules import judge_all
from controller.rollout.plan import Plan, Severity, Then
from controller.rollout.state import Cause, Failure, Phase, State
from controller.rollout.verdict import Outcome, Seen, Verdict


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
        return _complete(scene, _at_rest(scene))
    stop = rollback(scene) or pause(scene) or pin(scene)
    if stop is not None:
        return _complete(scene, _superseding(stop, command))
    if command is not None:
        return _complete(scene, obey(scene, command))
    proceeding = _expiry(scene) or recover(scene) or _proceed(scene) or _tell(scene)
    return _complete(scene, proceeding or _measure(scene) or _hold(scene))


def _at_rest(scene: Scene) -> Decision:
    """In a state that does not change by itself: commands, and the lease of a complete rollout's split."""
    if scene.command is not None:
        return obey(scene, scene.command)
    expired = _expiry(scene) if scene.state.phase is Phase.COMPLETE else None
    return expired or _hold(scene)


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
        _failure(plan, verdict, now)
        for verdict in verdicts
        if verdict.outcome is Outcome.FAIL and not state.failed(verdict)
    )


def _failure(plan: Plan, verdict: Verdict, now: datetime) -> Failure:
    rule = plan.rule(verdict.rule)
    if rule is None:  # judge_all only judges the plan's own rules
        raise LookupError(f"verdict of rule {verdict.rule!r}, which the plan does not have")
    # "All traffic" cannot be pinned: what fails as a whole pauses as a whole.
    whole = rule.then is Then.PIN and verdict.intent is None
    return Failure(
        rule=verdict.rule,
        intent=verdict.intent,
        epoch=verdict.reading.epoch,
        at=now,
        then=Then.PAUSE if whole else rule.then,
        auto_resume=rule.auto_resume,
    )


def _complete(scene: Scene, decision: Decision) -> Decision:
    """Add what every decision carries: verdicts, waits, and the moment of the state."""
    state = decision.state
    if decision.recorded:
        new_step = decision.action is Action.ADVANCE
        state = replace(
            state,
            updated_at=scene.now,
            references=renewed(state.references, scene.seen.references, scene.now, anew=new_step),
        )
    return replace(
        decision,
        state=state,
        verdicts=scene.verdicts,
        waits=scene.waits,
        held=scene.state.paused.held if scene.state.paused else scene.state.held + scene.seen.held,
    )


def _hold(scene: Scene) -> Decision:
    return Decision(action=Action.HOLD, cause=Cause.WAITING, state=scene.state)


def _superseding(stop: Decision, command: AnyCommand | None) -> Decision:
    """A stop wins over a command in the same tick, unless it is what the command asked for."""
    asked = {Action.ROLLBACK: Rollback, Action.PAUSE: PauseNow}.get(stop.action)
    if command is None or (asked is not None and isinstance(command, asked)):
        return stop
    return replace(stop, refusal=Refusal.SUPERSEDED, refusal_detail=stop.action.value)


def _expiry(scene: Scene) -> Decision | None:
    """A lease ran out and was not yet recorded. Converging puts the committed share back after this record."""
    expired, fence = scene.seen.expired_at, scene.seen.expired_fence
    known = scene.state.expired_at
    if expired is None:
        return None
    if known is not None and (fence, expired) <= (scene.state.expired_fence, known):
        return None
    state = replace(scene.state, expired_at=expired, expired_fence=fence)
    return decided(scene, Action.EXPIRE, Cause.LEASE, state, Severity.WARNING)


def _proceed(scene: Scene) -> Decision | None:
    if scene.state.phase is Phase.PAUSED or scene.waits:
        return None
    return go_on(scene, _reason_to_advance(scene), Severity.INFO)


def _reason_to_advance(scene: Scene) -> Cause:
    if scene.state.phase is Phase.BAKING:
        return Cause.BAKED
    confident = [one.confident is Outcome.PASS for one in scene.verdicts if one.intent is not None]
    return Cause.PROVEN if confident and all(confident) else Cause.CLEAR


def _tell(scene: Scene) -> Decision | None:
    """What is said once and moves nothing: advisory failures, a mismatch, an approval asked, a deadline passed."""
    if scene.new_failures:
        state = replace(scene.state, failures=scene.state.failures + scene.new_failures)
        return decided(scene, Action.NOTIFY, Cause.RULE, state, Severity.WARNING)
    for topic, cause, severity in _topics(scene):
        if topic not in scene.state.told:
            state = replace(scene.state, told=(*scene.state.told, topic))
            missing = scene.waits if topic == "deadline" else ()
            return decided(
                scene, Action.NOTIFY, cause, state, severity, detail=topic, missing=missing
            )
    return None


def _measure(scene: Scene) -> Decision | None:
    """A percentile of the baseline is known that was not when the step began: it is frozen from now on."""
    if scene.state.step < 0 or scene.seen.references.keys() <= scene.state.references.keys():
        return None
    return Decision(action=Action.MEASURE, cause=Cause.WAITING, state=scene.state)


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
