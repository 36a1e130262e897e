"""`canaryctl diff`: what changes between two revisions of a plan, and what applying the new one would do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from controller.rollout.deciding.amend import judged_anew
from controller.rollout.evidence.rules import alpha_of, is_provable
from controller.rollout.plan import (
    Freeze,
    Intent,
    Judge,
    Labels,
    ModelRef,
    Plan,
    Price,
    Priors,
    Rule,
    Scope,
    Severity,
    Slack,
    Step,
    Webhook,
)
from controller.rollout.state import Epoch
from controller.rollout.timeline import EPOCH
from controller.rollout.units import (
    format_duration,
    format_limit,
    format_number,
    format_percent,
    format_share,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference; `old` or `new` is None where the thing is not there. `effect` is what applying does."""

    path: str
    old: str | None
    new: str | None
    effect: str


_REFUSED = (
    "refused: {} cannot change while a rollout runs; retire it or roll back, then start a new one"
)
_NEW_EPOCH = "starts a new epoch of this rule: its evidence so far no longer counts"
_ANEW = "starts a new epoch of {} too: with this a proof is another one, and evidence so far no longer counts"
_HARDER = "its evidence so far counts, and a proof asks for more of it"
_OTHERS = (
    "rules without an alpha share what is left, and one whose part grows starts a new epoch too"
)
_FIRST = Epoch(number=0, start=EPOCH)
_NOW = "in force from the next tick"
_NOTICES = "for notices from now on; what is owed already goes where it was owed to"
_LATER_PAUSES = "for pauses from now on; how one that is there ends does not change"
_BETS = "the bets and thresholds of every rule change with it"


def diff(old: Plan, new: Plan) -> tuple[Change, ...]:
    """What differs, in the order of the plan's file. Empty when the digests are equal."""
    return tuple(_changes(old, new))


def _changes(old: Plan, new: Plan) -> Iterator[Change]:
    yield from _one(
        "metadata.name", old.name, new.name, "another plan: starts a rollout of its own"
    )
    yield from _model("spec.baseline", old.baseline, new.baseline)
    yield from _model("spec.candidate", old.candidate, new.candidate)
    route = _REFUSED.format("the route")
    yield from _one("spec.match.model", old.match_model, new.match_model, route)
    yield from _one("spec.assignment.unit", old.unit, new.unit, _REFUSED.format("the unit"))
    yield from _intents(old, new)
    yield from _labels(old.labels, new.labels)
    yield from _one("spec.traffic", old.target, new.target, _REFUSED.format("the target"))
    yield from _steps(old, new)
    yield from _holdback(old, new)
    yield from _one("spec.bake", old.bake, new.bake, _NOW)
    yield from _rules(old, new)
    yield from _rest(old, new)
    if anew := _judged_anew(old, new):
        yield Change(path="spec.rules", old=None, new=None, effect=_ANEW.format(", ".join(anew)))


def _judged_anew(old: Plan, new: Plan) -> list[str]:
    """Of the rules that start a new epoch those of which nothing was said yet."""
    told = {one.name for one in new.rules if old.rule(one.name) != one}
    return [name for name in judged_anew(old, new) if name not in told]


def _one(path: str, old: object, new: object, effect: str) -> Iterator[Change]:
    if old != new:
        yield Change(path=path, old=_words(old), new=_words(new), effect=effect)


def _words(value: object) -> str | None:
    match value:
        case None:
            return None
        case StrEnum():
            return value.value
        case bool():
            return str(value).lower()
        case timedelta():
            return format_duration(value)
        case datetime() | date():
            return value.isoformat()
        case Price():
            per_million = (value.input, value.cached_input, value.output)
            parts = "/".join(f"{float(nano / 1000):g}" for nano in per_million)
            return f"{parts} USD per million in/cached/out"
        case _:
            return str(value)


def _model(path: str, old: ModelRef, new: ModelRef) -> Iterator[Change]:
    yield from _one(f"{path}.model", old.model, new.model, _REFUSED.format("an arm"))
    if old.model != new.model:
        return
    cost = f"later costs are computed with it, {_NOW}; what was recorded stays"
    yield from _one(f"{path}.price", old.price, new.price, cost)
    yield from _one(f"{path}.contextWindow", old.context_window, new.context_window, _NOW)
    yield from _one(f"{path}.outputLimit", old.output_limit, new.output_limit, _NOW)
    yield from _one(f"{path}.shutdown", old.shutdown, new.shutdown, _NOW)


def _intents(old: Plan, new: Plan) -> Iterator[Change]:
    before, after = ({one.name: one for one in plan.intents} for plan in (old, new))
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name), after.get(name)
        if was != now:
            yield Change(
                path=f"spec.intents[{name}]",
                old=_intent_words(was),
                new=_intent_words(now),
                effect=_intent_effect(was, now),
            )


def _intent_words(intent: Intent | None) -> str | None:
    if intent is None:
        return None
    words = [
        word for word, yes in (("critical", intent.critical), ("pinned", intent.pinned)) if yes
    ]
    return ", ".join(words) or "ordinary"


def _intent_effect(was: Intent | None, now: Intent | None) -> str:
    if now is None:
        return f"its requests go to the baseline as an unknown intent, {_NOW}"
    if not now.pinned and (was is None or was.pinned):
        return "refused: it would get candidate traffic without a step; roll back and start anew"
    if was is None or was.pinned != now.pinned:
        return f"the intent stays on the baseline, {_NOW}"
    verb = "judge" if now.critical else "no longer judge"
    return f"rules over critical intents {verb} it, {_NOW}"


def _labels(old: Labels, new: Labels) -> Iterator[Change]:
    later = f"windows of labelled rules end at another time, {_NOW}"
    yield from _one("spec.labels.delay", old.delay, new.delay, later)
    yield from _one(
        "spec.labels.horizon", old.horizon, new.horizon, f"for outcomes that come, {_NOW}"
    )
    errors = f"what its errors hide is reckoned with anew, {_NOW}"
    yield from _one("spec.labels.judge", _judge(old.judge), _judge(new.judge), errors)
    was, now = (format_percent(one.sampled) for one in (old, new))
    yield from _one("spec.labels.sampled", was, now, _REFUSED.format("the sampled part"))
    share, instead = (format_percent(one.people) if one.people_u else None for one in (old, new))
    yield from _one(
        "spec.labels.people.share", share, instead, _REFUSED.format("the share that people grade")
    )


def _judge(judge: Judge | None) -> str | None:
    if judge is None:
        return None
    sensitivity, specificity = map(format_percent, (judge.sensitivity, judge.specificity))
    named = f"{judge.model}, " if judge.model is not None else ""
    return f"{named}sensitivity {sensitivity}, specificity {specificity}"


def _steps(old: Plan, new: Plan) -> Iterator[Change]:
    for index in range(max(len(old.steps), len(new.steps))):
        was = old.steps[index] if index < len(old.steps) else None
        now = new.steps[index] if index < len(new.steps) else None
        path = f"spec.steps[{index}]"
        if was is None or now is None:
            added = "added; the share in force stays as it is"
            effect = (
                added if was is None else "removed; refused if the rollout already stands there"
            )
            yield Change(path=path, old=_step_words(was), new=_step_words(now), effect=effect)
        elif was != now:
            yield from _step(path, was, now)


def _step(path: str, was: Step, now: Step) -> Iterator[Change]:
    if was.share_bp != now.share_bp:
        yield Change(
            path=f"{path}.share",
            old=format_share(was.share_bp),
            new=format_share(now.share_bp),
            effect="the share in force stays as it is; this one comes with an advance to the step",
        )
    leaving = "asked when this step is next left; time already held counts"
    yield from _one(f"{path}.hold", was.hold, now.hold, leaving)
    yield from _one(f"{path}.minSamples", was.min_samples, now.min_samples, leaving)
    yield from _one(f"{path}.approval", was.approval, now.approval, leaving)
    yield from _one(f"{path}.advance", was.advance, now.advance, leaving)
    told = "counts from when the step began; what was told in this step is not told again"
    yield from _one(f"{path}.deadline", was.deadline, now.deadline, told)


def _step_words(step: Step | None) -> str | None:
    return (
        None if step is None else f"{format_share(step.share_bp)} for {format_duration(step.hold)}"
    )


def _holdback(old: Plan, new: Plan) -> Iterator[Change]:
    if old.holdback_bp != new.holdback_bp:
        yield Change(
            path="spec.holdback",
            old=format_share(old.holdback_bp),
            new=format_share(new.holdback_bp),
            effect="a larger one lowers a share above it at once; a smaller one raises nothing by itself",
        )


def _rules(old: Plan, new: Plan) -> Iterator[Change]:
    before, after = ({one.name: one for one in plan.rules} for plan in (old, new))
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        path = f"spec.rules[{name}]"
        if was is None or now is None:
            gone = "no longer judged; a pause or rollback that it caused stays"
            effect = gone if now is None else "judged from the next tick, on evidence from then on"
            yield Change(path=path, old=_rule_words(was), new=_rule_words(now), effect=effect)
        else:
            yield from _rule(path, was, now)
            yield from _alpha(path, old, was, new, now)


def _rule(path: str, was: Rule, now: Rule) -> Iterator[Change]:
    yield from _one(path, _rule_words(was), _rule_words(now), _NEW_EPOCH)
    yield from _one(f"{path}.intents", _scope_words(was), _scope_words(now), _NEW_EPOCH)
    for name, key in _RULE_KEYS.items():
        yield from _one(f"{path}.{key}", getattr(was, name), getattr(now, name), _NEW_EPOCH)
    yield from _one(f"{path}.severity", was.severity, now.severity, _NOTICES)
    yield from _one(f"{path}.resume", _resume_word(was), _resume_word(now), _LATER_PAUSES)


def _resume_word(rule: Rule) -> str:
    return "auto" if rule.auto_resume else "manual"


def _alpha(path: str, old: Plan, was: Rule, new: Plan, now: Rule) -> Iterator[Change]:
    if was.alpha == now.alpha:
        return
    # Another change of the rule starts a new epoch whatever its part of alpha.
    told = replace(was, alpha=now.alpha, severity=now.severity, auto_resume=now.auto_resume)
    alone = told == now and is_provable(now)
    keeps = alone and alpha_of(new, now, _FIRST) <= alpha_of(old, was, _FIRST)
    yield Change(
        path=f"{path}.alpha",
        old=None if was.alpha is None else format_percent(was.alpha),
        new=None if now.alpha is None else format_percent(now.alpha),
        effect=f"{_HARDER if keeps else _NEW_EPOCH}; {_OTHERS}",
    )


_RULE_KEYS = {
    "evidence": "evidence",
    "sustained": "for",
    "min_samples": "minSamples",
    "min_window": "minWindow",
    "arm": "arm",
    "alternative": "alternative",
}


def _scope_words(rule: Rule) -> str:
    return ", ".join(rule.intents) if rule.scope is Scope.NAMED else rule.scope.value


def _rule_words(rule: Rule | None) -> str | None:
    if rule is None:
        return None
    side = "below" if rule.below else "above"
    limit = format_limit(rule.metric, rule.limit)
    if rule.usual is not None:
        limit = f"{format_number(rule.limit)} × its {format_duration(rule.usual)} before"
    window = format_duration(rule.window)
    return f"{rule.metric.name} {side} {limit} over {window}, then {rule.then.value}"


def _rest(old: Plan, new: Plan) -> Iterator[Change]:
    if old.alpha != new.alpha:
        alphas = format_percent(old.alpha), format_percent(new.alpha)
        yield Change(path="spec.alpha", old=alphas[0], new=alphas[1], effect=_BETS)
    if old.priors != new.priors:
        words = _prior_words(old.priors), _prior_words(new.priors)
        yield Change(path="spec.priors", old=words[0], new=words[1], effect=_BETS)
    yield from _one(
        "spec.freeze", _freezes(old), _freezes(new), f"{_NOW}; rollbacks are never frozen"
    )
    yield from _one("spec.maxBlind", old.max_blind, new.max_blind, _NOW)
    paused = f"{_NOW}, also for a pause that holds; it does not end a pause"
    yield from _one("spec.pauseShare", old.pause_share, new.pause_share, paused)
    yield from _one("spec.pauseDeadline", old.pause_deadline, new.pause_deadline, paused)
    lease = "with the next lease that gateways take"
    yield from _one("spec.onControllerLoss", old.on_controller_loss, new.on_controller_loss, lease)
    accepted = "none on a rollout that runs"
    yield from _one(
        "spec.acceptCostIncrease", old.accept_cost_increase, new.accept_cost_increase, accepted
    )
    yield from _one("spec.notify.slack", _slack(old.slack), _slack(new.slack), _NOTICES)
    yield from _one("spec.notify.webhook", _webhook(old.webhook), _webhook(new.webhook), _NOTICES)


def _prior_words(priors: Priors) -> str:
    accuracy, discordance = format_percent(priors.accuracy), format_percent(priors.discordance)
    return f"accuracy {accuracy}, discordance {discordance}"


def _freezes(plan: Plan) -> str | None:
    return "; ".join(_freeze_words(one) for one in plan.freezes) or None


def _freeze_words(freeze: Freeze) -> str:
    if freeze.cron is not None:
        span = format_duration(freeze.duration) if freeze.duration is not None else "?"
        return f"{freeze.cron} for {span} ({freeze.zone})"
    return f"{_words(freeze.start)} to {_words(freeze.end)}"


def _slack(slack: Slack | None) -> str | None:
    if slack is None:
        return None
    own = ((one, getattr(slack, one.value)) for one in Severity)
    routed = [f"{one.value} to {channel}" for one, channel in own if channel]
    return ", ".join((slack.channel, *routed)) + _from(slack.least)


def _webhook(webhook: Webhook | None) -> str | None:
    return None if webhook is None else webhook.url + _from(webhook.least)


def _from(least: Severity) -> str:
    return "" if least is Severity.INFO else f", from {least.value}"
