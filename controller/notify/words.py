"""Notices in words, for whoever is woken by them. Pure.

Every message says, in this order: what happened and where the traffic is now; why, with the arithmetic; what happens
next by itself, and when; and what to type. Times are UTC. Plain text, so that it reads the same in Slack, in a log
and in a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from controller.notify.arithmetic import title_line, verdict_line
from controller.notify.figures import listed, moment
from controller.notify.waits import wait_line
from controller.rollout.decision import Action, Notice, Wait, Waiting
from controller.rollout.plan import OnLoss, Plan, Severity
from controller.rollout.state import Cause
from controller.rollout.units import format_duration, format_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A notice as a person reads it, in the order of its fields. `title` is one line and makes sense alone.

    `hints` are commands with what they do.
    """

    title: str
    now: str
    why: tuple[str, ...]
    then: tuple[str, ...]
    hints: tuple[tuple[str, str], ...]
    at: datetime
    severity: Severity

    @property
    def body(self) -> str:
        """All but the title, as plain text with lines of its own."""
        why = "\n".join(("Why:", *(f"  {line}" for line in self.why))) if self.why else ""
        paragraphs = (f"{moment(self.at)}: {self.now}", why, *self.then, _commands(self.hints))
        return "\n\n".join(one for one in paragraphs if one)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """What a message is put together from; `hints` are commands with what they do."""

    title: str
    now: str
    then: str = ""
    hints: tuple[tuple[str, str], ...] = ()


def words(notice: Notice, plan: Plan, rollout: str) -> Message:
    """The message of a notice. `plan` is the revision it was decided under, `rollout` is `name/attempt`."""
    name = name_of(rollout)
    draft = _draft(notice, plan, name)
    hints = (*draft.hints, (f"canaryctl describe {name}", "the whole evidence"))
    return Message(
        title=f"{titled(rollout)}: {draft.title}",
        now=draft.now,
        why=_why(notice, plan),
        then=tuple(one for one in (draft.then, _pause_reminder(notice)) if one),
        hints=hints,
        at=notice.at,
        severity=notice.severity,
    )


def _draft(notice: Notice, plan: Plan, name: str) -> _Draft:
    match notice.action:
        case Action.ROLLBACK:
            draft = _rollback(notice, plan, name)
        case Action.PAUSE:
            draft = _pause(notice, plan, name)
        case Action.PIN:
            draft = _pin(notice, plan, name)
        case Action.NOTIFY:
            draft = _notify(notice, plan, name)
        case Action.EXPIRE:
            draft = _expire(notice, plan)
        case Action.START | Action.RETRY | Action.AMEND:
            draft = _beginning(notice, plan, name)
        case Action.ADVANCE | Action.RESUME | Action.APPROVE:
            draft = _going_on(notice, plan, name)
        case Action.BAKE | Action.COMPLETE | Action.RETIRE:
            draft = _ending(notice, plan, name)
        case Action.HOLD | Action.REFUSE | Action.MEASURE:
            draft = _standing_still(notice, plan)
        case unknown:
            assert_never(unknown)
    return draft


# Stops


def _rollback(notice: Notice, plan: Plan, name: str) -> _Draft:
    return _Draft(
        title=f"ROLLED BACK to {plan.baseline.model}, {_short_why(notice, plan)}",
        now=(
            f"{plan.candidate.model} is switched off and all traffic goes to {plan.baseline.model}. "
            f"Until now it had {format_share(notice.share_before_bp) if notice.share_before_bp else 'none'}."
        ),
        then="It stays off. Only a person starts a new attempt, with fresh evidence.",
        hints=((f'canaryctl retry {name} --reason "…"', "start a new attempt"),),
    )


def _pause(notice: Notice, plan: Plan, name: str) -> _Draft:
    deadline = ""
    if notice.deadline is not None:
        left = format_duration(_whole_minutes(notice.deadline - notice.at))
        deadline = f"Decide by {moment(notice.deadline)}, within {left}. If nobody does, it is rolled back."
    if notice.failures and all(_ends_itself(plan, one.rule) for one in notice.failures):
        deadline += " It goes on by itself once the rules behind the pause pass again."
    fresh = "; a failed rule starts on fresh evidence" if notice.failures else ""
    return _Draft(
        title=f"PAUSED at {format_share(notice.share_after_bp)}, {_short_why(notice, plan)}",
        now=f"{_share_now(notice, plan)} Nothing advances.",
        then=deadline,
        hints=(
            (
                f'canaryctl resume {name} --reason "…"',
                f"go on{fresh}",
            ),
            (
                f'canaryctl rollback {name} --reason "…"',
                f"all traffic to {plan.baseline.model}, at once",
            ),
        ),
    )


def _ends_itself(plan: Plan, name: str) -> bool:
    rule = plan.rule(name)
    return rule is not None and rule.auto_resume


def _pin(notice: Notice, plan: Plan, name: str) -> _Draft:
    pinned = sorted({one.intent for one in notice.failures if one.intent}) or [notice.detail]
    intents = listed([one for one in pinned if one] or ["an intent"])
    return _Draft(
        title=f"PINNED {intents} to {plan.baseline.model}, {_short_why(notice, plan)}",
        now=(
            f"{intents} goes back to {plan.baseline.model}. The other intents go on: "
            f"{plan.candidate.model} keeps {format_share(notice.share_after_bp)} of them."
        ),
        then="The pin lasts as long as this attempt.",
        hints=((f'canaryctl rollback {name} --reason "…"', "send the other intents back as well"),),
    )


# What is told and moves nothing


def _notify(notice: Notice, plan: Plan, name: str) -> _Draft:
    share = format_share(notice.share_after_bp)
    stays = f"{_share_now(notice, plan)}"
    match notice.detail:
        case "approval":
            return _Draft(
                title=f"waits for approval to leave {share}",
                now=f"Everything else is met. {stays}",
                then=f"Approved, it goes on by itself: {_following(notice, plan)}",
                hints=(
                    (f'canaryctl approve {name} --reason "…"', "let it go on"),
                    (f'canaryctl rollback {name} --reason "…"', "end it"),
                ),
            )
        case "sample_ratio":
            return _Draft(
                title=f"holds at {share}, the arms' sizes contradict the split",
                now=(
                    "New units do not fall to the arms as the split says. Something routes, drops or counts them "
                    f"unequally, so no comparison of the arms can be trusted. {stays}"
                ),
                then="It holds until the sizes agree again. Look at routing and at lost observations first.",
                hints=((f'canaryctl pause {name} --reason "…"', "freeze it while you look"),),
            )
        case "deadline":
            return _Draft(
                title=f"is past the deadline of its step at {share}",
                now=f"The step takes longer than the plan allows for. {stays}",
                then="It holds until all of that is there; nothing is skipped because it is late.",
                hints=(
                    (
                        f'canaryctl promote {name} --reason "…"',
                        "go on without waiting for hold, samples and proof",
                    ),
                    (f'canaryctl rollback {name} --reason "…"', "end it"),
                ),
            )
        case _:
            return _advice(notice, plan, stays, name)


def _advice(notice: Notice, plan: Plan, stays: str, name: str) -> _Draft:
    said = "" if notice.failures or not notice.detail else f" {notice.detail}"
    return _Draft(
        title=f"warning, {_short_why(notice, plan)}",
        now=f"{stays}{said}",
        then="No traffic was moved: that is all this rule asks for. While it fails, nothing advances."
        if notice.failures
        else "",
        hints=((f'canaryctl pause {name} --reason "…"', "freeze the share while you look"),),
    )


def _expire(notice: Notice, plan: Plan) -> _Draft:
    share = format_share(notice.share_after_bp)
    match plan.on_controller_loss:
        case OnLoss.BASELINE:
            meanwhile = f"Until now all traffic went to {plan.baseline.model}, as the plan asks."
        case OnLoss.HOLD:
            meanwhile = f"The split stayed as it was, as the plan asks (onControllerLoss: {OnLoss.HOLD.value})."
        case unknown:
            assert_never(unknown)
    detail = f" {notice.detail}." if notice.detail else ""
    return _Draft(
        title="lost touch with its traffic target, a split's lease ran out",
        now=f"No controller renewed the split in time.{detail} {meanwhile}",
        then=(
            f"{plan.candidate.model} gets its {share} back now. "
            "The time in between does not count towards the step. "
            "If this comes again, look at the controllers and at the way to the target."
        ),
    )


# Progress


def _beginning(notice: Notice, plan: Plan, name: str) -> _Draft:
    arms = f"{plan.baseline.model} to {plan.candidate.model}"
    steps = listed([format_share(plan.share_at(step)) for step in range(len(plan.steps))])
    if notice.action is Action.AMEND:
        return _Draft(
            title=f"has a new revision of its plan, share {format_share(notice.share_after_bp)}",
            now=f"{_share_now(notice, plan)} Changed rules start on fresh evidence.",
            hints=((f"canaryctl history {name}", "what changed before"),),
        )
    again = "a new attempt" if notice.action is Action.RETRY else "started"
    return _Draft(
        title=f"{again}, {arms}",
        now=f"Steps: {steps} of the traffic. For now all of it goes to {plan.baseline.model}.",
        then="The first step follows once the target has acknowledged the split and the baseline answers.",
        hints=((f"canaryctl watch {name}", "follow it"),),
    )


def _going_on(notice: Notice, plan: Plan, name: str) -> _Draft:
    before, after = format_share(notice.share_before_bp), format_share(notice.share_after_bp)
    hints = ((f'canaryctl pause {name} --reason "…"', "freeze the share"),)
    match notice.action:
        case Action.APPROVE:
            title, then = (
                f"approved to leave {after}",
                "It goes on as soon as nothing else is missing.",
            )
        case Action.RESUME:
            title = f"resumed at {after}"
            then = "Rules that had failed start on fresh evidence; the failures stay on record."
        case _:
            title, then = (
                f"{before} to {after} on {plan.candidate.model}",
                _step_words(notice, plan),
            )
    return _Draft(
        title=title,
        now=f"{_share_now(notice, plan)}",
        then=then,
        hints=hints,
    )


def _ending(notice: Notice, plan: Plan, name: str) -> _Draft:
    share = format_share(notice.share_after_bp)
    rollback = (
        f'canaryctl rollback {name} --reason "…"',
        f"all traffic to {plan.baseline.model}, at once",
    )
    match notice.action:
        case Action.BAKE:
            return _Draft(
                title=f"took its last step, bakes at {share} for {format_duration(plan.bake)}",
                now=f"{_share_now(notice, plan)}",
                then=f"Its rules keep running for {format_duration(plan.bake)}; then it is complete.",
                hints=(rollback,),
            )
        case Action.COMPLETE:
            return _Draft(
                title=f"COMPLETE, {plan.candidate.model} serves {share}",
                now=f"{_share_now(notice, plan)}",
                then=f"The split stays in force; its rules are no longer judged.{_holdback(plan)}",
                hints=(
                    (f'canaryctl retire {name} --reason "…"', "sign it off"),
                    rollback,
                ),
            )
        case _:
            return _Draft(
                title=f"retired, {plan.candidate.model} has taken over",
                now="The migration is signed off.",
                hints=((f"canaryctl history {name}", "every step of the migration"),),
            )


def _standing_still(notice: Notice, plan: Plan) -> _Draft:
    said = f" {notice.detail}" if notice.detail else ""
    return _Draft(
        title=f"unchanged at {format_share(notice.share_after_bp)}",
        now=f"{_share_now(notice, plan)}{said}",
    )


# Why


def _short_why(notice: Notice, plan: Plan) -> str:
    """The reason in a few words, for a title."""
    match notice.cause:
        case Cause.RULE if notice.failures:
            more = len(notice.failures) - 1
            return title_line(notice.failures[0], plan) + (f" (and {more} more)" if more else "")
        case Cause.COMMAND:
            return f"by {notice.actor or 'a person'}"
        case cause:
            return _CAUSES[cause]


_CAUSES = {
    Cause.RULE: "a rule failed",
    Cause.COMMAND: "by a person",
    Cause.BLIND: "quality cannot be measured",
    Cause.PAUSE_DEADLINE: "nobody ended the pause in time",
    Cause.CLEAR: "nothing speaks against it",
    Cause.PROVEN: "every critical intent is proven",
    Cause.BAKED: "the bake is over",
    Cause.RECOVERED: "what paused it passes again",
    Cause.LEASE: "a split's lease ran out",
    Cause.MISMATCH: "the arms' sizes contradict the split",
    Cause.WAITING: "it waits",
}


def _why(notice: Notice, plan: Plan) -> tuple[str, ...]:
    lines = [f"{_rule_words(plan, one.rule)}{verdict_line(one, plan)}" for one in notice.failures]
    lines += [_missing_line(one, notice, plan) for one in notice.waits]
    reason = _reason(notice, plan)
    return (*lines, *_asked(notice)) or ((reason,) if reason else ())


def _missing_line(wait: Wait, notice: Notice, plan: Plan) -> str:
    """One thing that is missing; what a rule lacks with the arithmetic of its verdict."""
    line = wait_line(wait, plan)
    if wait.waiting not in (Waiting.PROOF, Waiting.RULE_FAILED):
        return line
    of_rule = (one for one in notice.lacking if (one.rule, one.intent) == (wait.rule, wait.intent))
    return "; ".join((line, *(verdict_line(one, plan) for one in of_rule)))


def _rule_words(plan: Plan, name: str) -> str:
    """`rule accuracy: `, but not where the rule is called like its metric."""
    rule = plan.rule(name)
    return "" if rule is not None and rule.metric.name == name else f"rule {name}: "


def _asked(notice: Notice) -> list[str]:
    if notice.cause is not Cause.COMMAND:
        return []
    reason = f"“{notice.reason}”" if notice.reason else "no reason was given"
    return [f"{notice.actor or 'somebody'} asked for it: {reason}"]


def _reason(notice: Notice, plan: Plan) -> str:
    """The reason of what no rule and no person caused; empty where the message has said it."""
    match notice.cause:
        case Cause.BLIND:
            return (
                f"for more than {format_duration(plan.max_blind)} (maxBlind) the candidate had traffic whose "
                "quality could not be measured: a source failed, or outcomes did not come. "
                "What is not seen is not taken for good."
            )
        case Cause.PAUSE_DEADLINE:
            return f"it was paused, and nobody ended the pause within {format_duration(plan.pause_deadline)}."
        case Cause.CLEAR if not notice.share_before_bp:
            return "the target has acknowledged the split and the baseline answers."
        case Cause.CLEAR:
            return "the step was held long enough, with enough samples, and no rule fails or is unmeasured."
        case Cause.PROVEN:
            return "the step was held long enough, and every critical intent is proven to keep its limits."
        case Cause.RECOVERED:
            return (
                "every rule behind the pause has `resume: auto` and passes again on windows since."
            )
        case Cause.BAKED:
            return f"the bake of {format_duration(plan.bake)} is over and no rule fails or is unmeasured."
        case _:
            return ""


# Parts


def _pause_reminder(notice: Notice) -> str:
    """What was done to a paused rollout does not end its pause."""
    if notice.deadline is None or notice.action is Action.PAUSE:
        return ""
    return f"It is still paused. If nobody ends the pause by {moment(notice.deadline)}, it is rolled back."


def _share_now(notice: Notice, plan: Plan) -> str:
    """Where the traffic is; with what it was before, if that moved."""
    after, before = format_share(notice.share_after_bp), format_share(notice.share_before_bp)
    moved = "" if after == before else f" (before: {before})"
    if not notice.share_after_bp:
        return f"{plan.candidate.model} gets no traffic now{moved}."
    return f"{plan.candidate.model} gets {after} of the traffic{moved}, {plan.baseline.model} the rest."


def _step_words(notice: Notice, plan: Plan) -> str:
    step = _step_at(plan, notice.share_after_bp)
    if step is None:
        return ""
    this = plan.steps[step]
    until = f", held for at least {format_duration(this.hold)}" if this.hold else ""
    approval = " Leaving it needs an approval." if this.approval else ""
    return f"Step {step + 1} of {len(plan.steps)}{until}.{approval}"


def _following(notice: Notice, plan: Plan) -> str:
    step = _step_at(plan, notice.share_after_bp)
    if step is None or step + 1 >= len(plan.steps):
        return f"the bake of {format_duration(plan.bake)}." if plan.bake else "it is complete."
    return f"step {step + 2} of {len(plan.steps)}, {format_share(plan.share_at(step + 1))}."


def _step_at(plan: Plan, share_bp: int) -> int | None:
    """The last step with this share; steps rise, so it is the only one unless the holdback caps several."""
    steps = (step for step in range(len(plan.steps)) if plan.share_at(step) == share_bp)
    return max(steps, default=None)


def _holdback(plan: Plan) -> str:
    if not plan.holdback_bp:
        return ""
    return f" {format_share(plan.holdback_bp)} stays on {plan.baseline.model} until it is retired."


def _commands(hints: Iterable[tuple[str, str]]) -> str:
    pairs = list(hints)
    width = max(len(command) for command, _ in pairs)
    return "\n".join(f"  {command:<{width}}  # {what}" for command, what in pairs)


def name_of(rollout: str) -> str:
    """The name that commands take: the newest attempt of a name is meant by the name alone."""
    return rollout.partition("/")[0]


def titled(rollout: str) -> str:
    """A rollout as a title names it: an attempt that is not the first is told apart."""
    name, _, attempt = rollout.partition("/")
    return name if attempt in ("", "1") else f"{name} (attempt {attempt})"


def _whole_minutes(span: timedelta) -> timedelta:
    return span - span % timedelta(minutes=1)
