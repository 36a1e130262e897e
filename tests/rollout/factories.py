"""Small factories: a test names only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from controller.rollout.commands import AnyCommand, Apply
from controller.rollout.deciding.decide import start
from controller.rollout.decision import Decision
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import (
    Evidence,
    Intent,
    Labels,
    ModelRef,
    Plan,
    Price,
    Rule,
    Scope,
    Step,
    Then,
    Unit,
)
from controller.rollout.record import Record
from controller.rollout.state import Phase, State
from controller.rollout.timeline import Window
from controller.rollout.verdict import (
    Availability,
    Health,
    InForce,
    Look,
    Proof,
    RateCounts,
    Reading,
    Seen,
)

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

GPT_41 = ModelRef(
    model="gpt-4.1",
    price=Price(input=Fraction(2000), cached_input=Fraction(500), output=Fraction(8000)),
)
MINI = ModelRef(
    model="gpt-4.1-mini",
    price=Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1600)),
)

ACCURACY = Rule(
    name="accuracy",
    metric=CATALOGUE["accuracy_delta"],
    limit=0.015,
    window=timedelta(hours=72),
    then=Then.PAUSE,
    evidence=Evidence.CONFIDENT,
    scope=Scope.CRITICAL,
)
ESCALATION = Rule(
    name="escalation",
    metric=CATALOGUE["escalation_rate"],
    limit=0.02,
    window=timedelta(hours=24),
    then=Then.ROLLBACK,
)
STEPS = (
    Step(share_bp=1000, hold=timedelta(hours=72), min_samples=500),
    Step(share_bp=2500, hold=timedelta(hours=48)),
    Step(share_bp=5000, hold=timedelta(hours=24), approval=True),
    Step(share_bp=10_000),
)


def plan(**changes) -> Plan:
    usual = Plan(
        name="support-bot",
        baseline=GPT_41,
        candidate=MINI,
        match_model="gpt-4.1",
        unit=Unit.CONVERSATION,
        intents=(
            Intent(name="refund", critical=True),
            Intent(name="order-status"),
            Intent(name="legal", pinned=True),
        ),
        steps=STEPS,
        rules=(ACCURACY, ESCALATION),
        labels=Labels(delay=timedelta(hours=6)),
        holdback_bp=100,
        bake=timedelta(days=7),
    )
    return replace(usual, **changes)


def started(of: Plan | None = None, at: datetime = NOW) -> State:
    return start(Apply(plan=of or plan(), actor="ann", reason="cheaper"), at).state


def at_step(step: int, of: Plan | None = None, **changes) -> State:
    """Progressing at a step since NOW, as an advance would leave it."""
    of = of or plan()
    state = replace(
        started(of, NOW - DAY),
        phase=Phase.PROGRESSING,
        step=step,
        share_bp=of.share_at(step),
        version=step + 2,
        step_version=step + 2,
        step_started_at=NOW,
        hold_from=NOW,
        updated_at=NOW,
    )
    return replace(state, **changes)


WINDOW = Window(start=NOW - DAY, end=NOW)


def look(value: float | None, *, samples: int = 5_000, complete: bool = True) -> Look:
    of = max(samples, 1)
    return Look(
        window=WINDOW,
        value=value,
        counts=RateCounts(count=round((value or 0) * of), of=of),
        samples=samples,
        complete=complete,
    )


def proof(log_e: float, *, needs: float = 5.0, observed: float | None = None) -> Proof:
    return Proof(
        window=WINDOW,
        claim=0.0,
        log_e=log_e,
        log_threshold=needs,
        tally={"0": 99, "1000000": 1},
        look=look(observed),
    )


def reading(rule: Rule, intent: str | None = None, **changes) -> Reading:
    """A quiet one: measured, well under the limit, proven to be."""
    quiet = rule.limit / 2
    usual = Reading(
        rule=rule.name,
        intent=intent,
        epoch=0,
        availability=Availability.MEASURED,
        latest=look(quiet),
        worst=look(quiet),
        failing=proof(-1.0, observed=quiet),
        passing=proof(9.0, observed=quiet),
        step_samples=5_000,
    )
    return replace(usual, **changes)


def bad(rule: Rule, intent: str | None = None, **changes) -> Reading:
    """One that fails in both forms."""
    loud = rule.limit * 2
    return reading(
        rule,
        intent,
        latest=look(loud),
        worst=look(loud),
        failing=proof(9.0, observed=loud),
        passing=proof(-9.0, observed=loud),
        **changes,
    )


def seen(*readings: Reading, **changes) -> Seen:
    """Everything as one would wish, for the usual plan; `readings` replace those of the same rule."""
    quiet = {
        ("accuracy", "refund"): reading(ACCURACY, "refund"),
        ("escalation", None): reading(ESCALATION),
    }
    for one in readings:
        quiet[one.rule, one.intent] = one
    usual = Seen(
        through=NOW,
        readings=tuple(quiet.values()),
        in_force=InForce.VERIFIED,
        held=timedelta(days=30),
        baseline=Health.ANSWERING,
        samples=50_000,
    )
    return replace(usual, **changes)


def record(
    seq: int,
    prev: str,
    share_before_bp: int,
    world: Seen,
    command: AnyCommand | None,
    decision: Decision,
    at: datetime,
) -> Record:
    """What is kept of a decision."""
    return Record(
        rollout=decision.state.rollout,
        seq=seq,
        at=at,
        actor="ann",
        reason="",
        action=decision.action,
        cause=decision.cause,
        plan_digest=decision.state.plan_digest,
        fence=1,
        command=command,
        seen=world,
        verdicts=decision.verdicts,
        notices=tuple(replace(one, key=f"{seq}/{one.key}") for one in decision.notices),
        share_before_bp=share_before_bp,
        state=decision.state,
        prev=prev,
    )
