"""A rollout as people look at it: its head, what the last tick saw of it, and the moment of looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from controller.cli.output import Document, rough
from controller.errors import NotFound
from controller.ports import Head, Store
from controller.rollout.codec import encode
from controller.rollout.decision import Action
from controller.rollout.state import Phase
from controller.rollout.status import Status, status_of
from controller.rollout.verdict import InForce, Outcome

if TYPE_CHECKING:
    from controller.rollout.decision import Wait
    from controller.rollout.evidence.needs import Needs
    from controller.rollout.plan import Plan, Rule
    from controller.rollout.state import State
    from controller.rollout.verdict import Coverage, Verdict

STALE = timedelta(minutes=5)
"""A status older than this is told to be old: five ticks at the default interval."""

_WORST_FIRST = (
    Outcome.FAIL,
    Outcome.UNMEASURED,
    Outcome.INSUFFICIENT,
    Outcome.PASS,
    Outcome.NOT_APPLICABLE,
)
_UNKNOWN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    head: Head
    status: Status | None  # None before the first tick
    now: datetime

    @property
    def state(self) -> State:
        return self.head.state

    @property
    def plan(self) -> Plan:
        return self.head.plan

    @property
    def step(self) -> str:
        """`2/4`; `-/4` before the first step."""
        number = str(self.state.step + 1) if self.state.step >= 0 else _UNKNOWN
        return f"{number}/{len(self.plan.steps)}"

    @property
    def coverage(self) -> Coverage | None:
        """Of the step's labels, as the last tick saw it; None where none are needed or old enough."""
        return self.status.seen.coverage if self.status is not None else None

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return self.status.verdicts if self.status is not None else ()

    @property
    def settled(self) -> bool:
        """Whether the last tick saw the state as it is now, and decided nothing: what it waited for still holds."""
        if self.status is None:
            return False
        return self.status.at > self.state.updated_at or self.status.action is Action.HOLD

    @property
    def waits(self) -> tuple[Wait, ...]:
        waiting = self.status is not None and self.settled and self.state.phase.judged
        return self.status.waits if waiting and self.status is not None else ()

    @property
    def worst(self) -> Outcome | None:
        """The verdict that matters most, a failure that nobody acknowledged included; None before any."""
        found = {one.outcome for one in self.verdicts}
        if self.state.open_failures:
            found.add(Outcome.FAIL)
        return next((outcome for outcome in _WORST_FIRST if outcome in found), None)

    @property
    def held(self) -> timedelta:
        """How long the present step's (or bake's) clock has run; it stands still in a pause."""
        if self.state.paused is not None:
            return self.state.paused.held
        # What was seen before the clock was restarted was seen of the step before.
        counts = self.status is not None and self.status.at > self.state.hold_from
        return self.state.held + (self.status.seen.held if counts and self.status else timedelta(0))

    @property
    def hold(self) -> timedelta | None:
        """How long it must run; None where nothing is held."""
        if self.state.phase is Phase.BAKING:
            return self.plan.bake
        return self.plan.steps[self.state.step].hold if self.state.step >= 0 else None

    @property
    def in_force(self) -> InForce | None:
        """What the targets said of the present split; None if nobody has asked them since it was committed."""
        return self.status.seen.in_force if self.status is not None and self.settled else None

    @property
    def unwatched(self) -> timedelta | None:
        """How long no controller has looked at a rollout that should be judged; None if one has, lately."""
        if not self.state.phase.judged:
            return None
        last = self.status.at if self.status is not None else self.state.started_at
        return self.now - last if self.now - last > STALE else None

    @property
    def warning(self) -> str | None:
        """What a person should know before trusting the view."""
        if self.unwatched is None:
            return None
        since = rough(self.unwatched)
        seen = f"last judged {since} ago" if self.status is not None else f"not judged for {since}"
        return f"{self.state.rollout}: {seen}. Is `canaryctl run` up?"


def look(store: Store, rollout: str, now: datetime) -> View:
    """One rollout as it stands; NotFound with similar names."""
    return view_of(store, store.head(rollout), now)


def view_of(store: Store, head: Head, now: datetime) -> View:
    judged = store.judged(head.state.rollout)
    status = None
    if judged is not None and judged.status:
        status = status_of(dict(judged.status))
    return View(head=head, status=status, now=max(now, head.state.updated_at))


def summary(view: View) -> dict[str, object]:
    """What `get -o json` says of one rollout. Documented in docs/cli.md; fields are added, never changed."""
    state, plan = view.state, view.plan
    return {
        "rollout": state.rollout,
        "name": state.name,
        "attempt": state.attempt,
        "phase": state.phase.value,
        "step": state.step + 1,
        "steps": len(plan.steps),
        "share_bp": state.share_bp,
        "verdict": view.worst.value if view.worst is not None else None,
        "held_s": view.held.total_seconds(),
        "hold_s": view.hold.total_seconds() if view.hold is not None else None,
        "in_force": view.in_force.value if view.in_force is not None else None,
        "baseline": plan.baseline.model,
        "candidate": plan.candidate.model,
        "match_model": plan.match_model,
        "pins": sorted({*state.pins, *(one.name for one in plan.intents if one.pinned)}),
        "paused": _paused(view),
        "approved": state.approved,
        "revision": state.revision,
        "plan_digest": state.plan_digest,
        "version": state.version,
        "seq": view.head.seq,
        "hash": view.head.hash,
        "started_at": encode(state.started_at),
        "updated_at": encode(state.updated_at),
        "judged_at": encode(view.status.at) if view.status is not None else None,
        "open_failures": len(state.open_failures),
        "waits": [encode_wait(one) for one in view.waits],
    }


def _paused(view: View) -> Document | None:
    paused = view.state.paused
    if paused is None:
        return None
    return {
        "since": encode(paused.since),
        "deadline": encode(paused.deadline),
        "cause": paused.cause.value,
        "phase": paused.phase.value,
        "share_bp": paused.share_bp,
    }


def encode_wait(wait: Wait) -> Document:
    return {key: value for key, value in encode(wait).items() if key != "type"}


def rule_of(plan: Plan, verdict: Verdict) -> Rule:
    rule = plan.rule(verdict.rule)
    if rule is None:
        raise NotFound(
            f"rule {verdict.rule!r} is not in revision {plan.digest[:12]} of {plan.name}"
        )
    return rule


def needs_of(view: View, verdict: Verdict) -> Needs | None:
    """What its proof still needs, where the rule goes by proof, or a step may ask for one."""
    from controller.rollout.evidence.needs import needs
    from controller.rollout.metrics import Kind
    from controller.rollout.plan import Evidence

    rule = rule_of(view.plan, verdict)
    by_proof = rule.evidence is Evidence.CONFIDENT or rule.metric.kind is Kind.LOSS
    return needs(view.plan, view.state, verdict) if by_proof else None


def value_text(plan: Plan, verdict: Verdict) -> str:
    """The last look's value in the metric's unit; `-` where it has none."""
    from controller.notify.figures import value_beside
    from controller.rollout.evidence.rules import limit_in

    latest, rule = verdict.reading.latest, rule_of(plan, verdict)
    if latest is None or latest.value is None:
        return _UNKNOWN
    limit = limit_in(rule, latest)
    return value_beside(rule.metric, latest.value, latest.value if limit is None else limit)


def limit_text(rule: Rule) -> str:
    from controller.rollout.units import format_duration, format_limit, format_number

    if rule.usual is not None:
        return f"max {format_number(rule.limit)} × {format_duration(rule.usual)}"
    return f"{'min' if rule.below else 'max'} {format_limit(rule.metric, rule.limit)}"


def window_text(rule: Rule, verdict: Verdict) -> str:
    """`24h`; `<24h` while the split has not been in force for the whole window."""
    from controller.rollout.units import format_duration

    latest = verdict.reading.latest
    partial = latest is not None and not latest.complete
    return f"{'<' if partial else ''}{format_duration(rule.window)}"


def samples_text(verdict: Verdict) -> str:
    latest = verdict.reading.latest
    return f"{latest.samples:,}" if latest is not None else _UNKNOWN


def share_change(before_bp: int, after_bp: int) -> str:
    from controller.rollout.units import format_share

    if before_bp == after_bp:
        return format_share(after_bp)
    return f"{format_share(before_bp)} → {format_share(after_bp)}"


def intents_pinned(view: View) -> Sequence[str]:
    """Pinned intents with who pinned them."""
    by_plan = [f"{one.name} (plan)" for one in view.plan.intents if one.pinned]
    return [*by_plan, *(f"{name} (rollout)" for name in view.state.pins)]
