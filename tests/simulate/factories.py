"""Small recordings and plans that name only what matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from controller.plans.load import load_file
from controller.plans.models import bundled_models
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import Observation
from controller.rollout.plan import (
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
from controller.simulate.backtest.results import Recording, pair_up, parse_results
from controller.simulate.drawn.knowledge import Coming
from tests.accounting.factories import observation

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the recorded results of other sources are not in {SHARED}"
)
HEADER = "source,intent,item_id,trial,model,correct"
BY_BOTH = f"{HEADER},correct_by_person"
PRICE = Price(input=Fraction(2_000), cached_input=Fraction(500), output=Fraction(8_000))


def csv_of(*rows: str, header: str = HEADER) -> str:
    return "\n".join((header, *rows)) + "\n"


def graded(
    baseline: Sequence[int], candidate: Sequence[int], *, intent: str = "refund", trials: int = 1
) -> tuple[str, ...]:
    """Rows of both models: the n-th grade of each is that of item n // trials in trial n % trials + 1."""
    return tuple(
        f"made,{intent},{intent}-{index // trials},{index % trials + 1},{model},{grade}"
        for model, grades in (("old", baseline), ("new", candidate))
        for index, grade in enumerate(grades)
    )


def graded_by_both(
    baseline: Sequence[tuple[int | str, int | str]],
    candidate: Sequence[tuple[int | str, int | str]],
) -> tuple[str, ...]:
    """Rows of both models under `BY_BOTH`, one an item: what the judge says and what a person does; "" for nothing."""
    return tuple(
        f"made,refund,refund-{index},1,{model},{judge},{person}"
        for model, grades in (("old", baseline), ("new", candidate))
        for index, (judge, person) in enumerate(grades)
    )


def recording(*rows: str, header: str = HEADER) -> Recording:
    results = parse_results(csv_of(*rows, header=header), file="made.csv")
    return pair_up(results, baseline="old", candidate="new")


def rule(metric: str, *, limit: float = 0.02, **changes: object) -> Rule:
    base = Rule(
        name=metric,
        metric=CATALOGUE[metric],
        limit=limit,
        window=timedelta(hours=24),
        then=Then.PAUSE,
        scope=Scope.ALL,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a factory's keywords are the rule's own


def plan(*rules: Rule, price: Price | None = PRICE, **changes: object) -> Plan:
    base = Plan(
        name="small",
        baseline=ModelRef(model="old", price=price),
        candidate=ModelRef(model="new", price=price),
        match_model="old",
        unit=Unit.REQUEST,
        intents=(Intent(name="refund", critical=True),),
        steps=(Step(share_bp=5_000, hold=timedelta(hours=2)),),
        rules=rules,
        labels=Labels(delay=timedelta(hours=1)),
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a factory's keywords are the plan's own


def shipped_plan(path: str) -> Plan:
    return load_file(ROOT / "rollout_plans" / path, today=date(2026, 1, 5), models=bundled_models())


def requests_of(
    unit: str, of_arm: Coming, count: int, *, at: datetime, escalated: bool
) -> Iterator[Observation]:
    """The requests of one simulated unit, as a gateway tells of them."""
    for number in range(count):
        yield observation(
            f"{unit}-{number}",
            at=at,
            unit=unit,
            arm=of_arm.arm,
            intent=of_arm.intent,
            assigned=number == 0,
            flags={"escalated": escalated, "error": False},
        )
