"""The end of a pause: by a person, or by itself where every rule that paused says so and passes again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controller.rollout.deciding.scene import Scene, decided
from controller.rollout.decision import Action, Decision
from controller.rollout.plan import FULL_BP, Severity, Then
from controller.rollout.state import Cause, Epoch, Failure, State
from controller.rollout.verdict import Health, InForce, Outcome


def recover(scene: Scene) -> Decision | None:
    """End a pause whose open failures are all of rules with `resume: auto`, each of which passes again.

    Rules are judged in a pause as ever, so what passes are windows that end after it. Passing takes a reason: a rule
    that is undecided or unmeasured keeps the pause. The share may rise by this, so whatever keeps an advance from
    raising it keeps the pause too.
    """
    paused, seen = scene.state.paused, scene.seen
    behind = [one for one in scene.state.open_failures if one.then is Then.PAUSE]
    if paused is None or paused.cause is not Cause.RULE or not behind:
        return None
    if not all(one.auto_resume and _passes(scene, one) for one in behind):
        return None
    if (
        seen.in_force is not InForce.VERIFIED
        or seen.freeze is not None
        or seen.baseline is not Health.ANSWERING
    ):
        return None
    rules = frozenset(one.rule for one in behind)
    state = unpaused(scene, acknowledged(scene.state, scene.now, rules=rules))
    return decided(scene, Action.RESUME, Cause.RECOVERED, state, Severity.INFO)


def _passes(scene: Scene, failure: Failure) -> bool:
    return any(
        (one.rule, one.intent) == (failure.rule, failure.intent) and one.outcome is Outcome.PASS
        for one in scene.verdicts
    )


def unpaused(scene: Scene, state: State) -> State:
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


def acknowledged(state: State, now: datetime, *, rules: frozenset[str] | None = None) -> State:
    """Open failures (of `rules`, or all) acknowledged, each of their rules in a new epoch that starts now."""
    open_rules = {one.rule for one in state.open_failures if rules is None or one.rule in rules}
    epochs = dict(state.epochs)
    for rule in open_rules:
        epochs[rule] = Epoch(number=state.epoch(rule).number + 1, start=now)
    failures = tuple(
        replace(one, acknowledged=True) if one.rule in open_rules else one for one in state.failures
    )
    return replace(state, epochs=epochs, failures=failures)
