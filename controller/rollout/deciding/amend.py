"""A new revision of a running plan: what may change, and what that does to the state.

Salt, share and pause stay. Changed and new rules start a new epoch. Arms, unit, route and the set of free intents are
immutable: changing them would move traffic without a step. So are the sampled part of labels and the share that people
grade: what is counted was counted by them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from controller.rollout.decision import Refusal
from controller.rollout.evidence.rules import alpha_of, is_provable
from controller.rollout.evidence.spending import policy_of
from controller.rollout.metrics import Kind
from controller.rollout.plan import FULL_BP, Plan, Rule
from controller.rollout.state import Epoch, Pause, State
from controller.rollout.timeline import EPOCH
from controller.rollout.units import format_percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Unamendable:
    refusal: Refusal
    detail: str


def amend(old: Plan, state: State, new: Plan, now: datetime) -> State | Unamendable:
    """The state under the new revision, or why there is none."""
    if new == old:
        return Unamendable(refusal=Refusal.EXISTS, detail=f"revision {state.revision}")
    changed = _immutable(old, new)
    if changed:
        return Unamendable(refusal=Refusal.IMMUTABLE, detail=changed)
    if state.step >= len(new.steps):
        return Unamendable(
            refusal=Refusal.IMMUTABLE,
            detail=f"the rollout stands at step {state.step + 1}, the new plan has {len(new.steps)}",
        )
    return _amended(old, state, new, now)


def _immutable(old: Plan, new: Plan) -> str:
    for field in ("name", "unit", "match_model", "target"):
        if getattr(old, field) != getattr(new, field):
            return f"{field} was {getattr(old, field)}, would be {getattr(new, field)}"
    for arm in ("baseline", "candidate"):
        if getattr(old, arm).model != getattr(new, arm).model:
            return f"{arm} was {getattr(old, arm).model}, would be {getattr(new, arm).model}"
    for field in ("sampled", "people"):
        was, instead = (format_percent(getattr(one.labels, field)) for one in (old, new))
        if getattr(old.labels, f"{field}_u") != getattr(new.labels, f"{field}_u"):
            return (
                f"labels.{field} was {was}, would be {instead}: answers are counted by it already"
            )
    freed = _free(new) - _free(old)
    return (
        f"intents {', '.join(sorted(freed))} would get candidate traffic without a step"
        if freed
        else ""
    )


def _free(plan: Plan) -> set[str]:
    return {intent.name for intent in plan.intents if not intent.pinned}


def _amended(old: Plan, state: State, new: Plan, now: datetime) -> State:
    cap = FULL_BP - new.holdback_bp
    share = min(state.share_bp, cap)
    moved = share != state.share_bp or _free(old) != _free(new)
    return replace(
        state,
        plan_digest=new.digest,
        revision=state.revision + 1,
        share_bp=share,
        version=state.version + moved,
        epochs=_epochs(old, state, new, now),
        paused=_capped(state.paused, cap),
    )


def _capped(paused: Pause | None, cap: int) -> Pause | None:
    return None if paused is None else replace(paused, share_bp=min(paused.share_bp, cap))


def _epochs(old: Plan, state: State, new: Plan, now: datetime) -> dict[str, Epoch]:
    epochs = dict(state.epochs)
    for rule in new.rules:
        was = old.rule(rule.name)
        if (
            was is None
            or _evidence(was) != _evidence(rule)
            or _judged_otherwise(old, was, new, rule)
        ):
            # A rule that comes back under an old name must not inherit a latched failure's epoch.
            epochs[rule.name] = Epoch(number=state.epoch(rule.name).number + 1, start=now)
    return epochs


def judged_anew(old: Plan, new: Plan) -> tuple[str, ...]:
    """The rules that start a new epoch though nothing of their own evidence changed: what they are proven on did."""
    kept = [(was, rule) for rule in new.rules if (was := old.rule(rule.name)) is not None]
    return tuple(
        rule.name
        for was, rule in kept
        if _evidence(was) == _evidence(rule) and _judged_otherwise(old, was, new, rule)
    )


def _evidence(rule: Rule) -> Rule:
    """A rule without what its evidence does not depend on: how loudly its failure is told, how a pause that it causes
    ends, and its part of alpha, of which only more of it matters.
    """
    return replace(rule, severity=None, auto_resume=False, alpha=None)


def _judged_otherwise(old: Plan, was: Rule, new: Plan, rule: Rule) -> bool:
    """Whether the same rule would be judged by other statistics: bets, alpha and horizon are frozen for an epoch.

    A smaller part of alpha (a rule was added) only makes a proof harder; it keeps the epoch.
    """
    if old.labels.delay != new.labels.delay and rule.metric.labelled:
        return True
    if not is_provable(rule):
        return False
    if rule.metric.kind is Kind.LOSS and _loss_bets_on(old) != _loss_bets_on(new):
        return True
    if rule.metric.kind is Kind.ACCURACY and old.labels.judge != new.labels.judge:
        return True
    if rule.metric.kind is Kind.COST and policy_of(old, was) != policy_of(new, rule):
        return True
    first = Epoch(number=0, start=EPOCH)
    return old.horizon != new.horizon or alpha_of(new, rule, first) > alpha_of(old, was, first)


def _loss_bets_on(plan: Plan) -> tuple[object, ...]:
    """What the bets of a loss depend on, beside the rule."""
    return plan.priors, plan.share_at(0), plan.labels.judge
