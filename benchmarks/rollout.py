"""A rollout that gives a candidate half of one model's traffic, for as long as a benchmark takes."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

from controller.clock import SystemClock
from controller.ports import Store
from controller.reconcile.submit import submit
from controller.rollout.commands import Apply, Promote
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Intent, ModelRef, Plan, Price, Rule, Step, Then, Unit

MODEL = "gpt-4.1"


def plan(
    name: str = "bench",
    model: str = MODEL,
    *,
    unit: Unit = Unit.CONVERSATION,
    rule: Rule | None = None,
) -> Plan:
    """Half of one model's traffic for a candidate, for as long as the benchmark takes."""
    price = Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1600))
    errors = Rule(
        name="errors",
        metric=CATALOGUE["error_rate"],
        limit=0.5,
        window=timedelta(minutes=30),
        then=Then.ROLLBACK,
    )
    return Plan(
        name=name,
        baseline=ModelRef(model=model, price=price),
        candidate=ModelRef(model=f"{model}-mini", price=price),
        match_model=model,
        unit=unit,
        intents=(Intent(name="refund"), Intent(name="other")),
        steps=(Step(share_bp=5_000, hold=timedelta(days=30)), Step(share_bp=10_000)),
        rules=(rule or errors,),
    )


def start(store: Store, made: Plan) -> str:
    """A rollout in its first step."""
    clock = SystemClock()
    rollout = submit(store, clock, made.name, Apply(plan=made, actor="benchmark")).state.rollout
    submit(store, clock, rollout, Promote(actor="benchmark"))
    return rollout
