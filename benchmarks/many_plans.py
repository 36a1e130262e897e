"""Many plans at their first step, with some history, and the requests and grades that come for them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Table, select

from controller.clock import ManualClock
from controller.ports import Head, Note
from controller.reconcile.submit import submit
from controller.rollout.commands import Apply, Promote
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import Batch, Grades, Observation, Outcome
from controller.rollout.plan import (
    Arm,
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
from controller.store import schema
from controller.store.open import open_store

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
INTENTS = ("refund", "order-status")
HISTORY_MIN = 120
BATCH_S = 0.1


def plan(name: str) -> Plan:
    def rule(name: str, metric: str, limit: float, window: timedelta, **rest: object) -> Rule:
        usual = Rule(
            name=name, metric=CATALOGUE[metric], limit=limit, window=window, then=Then.PAUSE
        )
        return replace(usual, **rest)  # type: ignore[arg-type] # the fields differ from rule to rule

    price = Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1600))
    return Plan(
        name=name,
        baseline=ModelRef(model="gpt-4.1", price=price),
        candidate=ModelRef(model="gpt-4.1-mini", price=price),
        match_model=f"gpt-4.1-{name}",
        unit=Unit.REQUEST,
        intents=tuple(Intent(name=one, critical=one == "refund") for one in INTENTS),
        steps=(Step(share_bp=1000, hold=72 * HOUR, min_samples=500), Step(share_bp=10_000)),
        rules=(
            rule(
                "accuracy",
                "accuracy_delta",
                0.015,
                24 * HOUR,
                scope=Scope.CRITICAL,
                evidence=Evidence.CONFIDENT,
            ),
            rule("escalation", "escalation_rate", 0.02, 24 * HOUR, then=Then.ROLLBACK),
            rule("errors", "error_rate", 0.5, HOUR),
            rule("latency", "latency_p95_ratio", 5.0, HOUR, sustained=15 * MINUTE),
        ),
        labels=Labels(delay=MINUTE),
        holdback_bp=100,
        max_blind=timedelta(days=30),
    )


def rollout_of(number: int) -> str:
    return f"plan-{number:05}/1"


def request(
    draw: random.Random, name: str, rollout: str, at: datetime, *, bad: bool = False
) -> Observation:
    return Observation(
        id=name,
        rollout=rollout,
        at=at,
        unit=name,
        arm=Arm.CANDIDATE if bad or draw.random() < 0.1 else Arm.BASELINE,
        intent=INTENTS[draw.random() < 0.5],
        version=2,
        assigned=True,
        flags={"error": False, "escalated": bad},
        quantities={
            "input_tokens": 5_000,
            "output_tokens": 1_000,
            "cost_nusd": 3_600_000,
            "latency_us": 800_000 + draw.randrange(400_000),
        },
    )


# The world before


def populate(url: str, plans: int, begun: datetime) -> None:
    """Plans at their first step, with some requests counted and judged, as the controller before left them.

    One is really applied, promoted and sent its requests; the others are its rows under other names.
    """
    store, first = open_store(url, migrate=False), rollout_of(0)
    clock, one = ManualClock(begun), plan(first.removesuffix("/1"))
    submit(store, clock, one.name, Apply(plan=one, actor="benchmark", reason="scale"))
    submit(store, clock, one.name, Promote(actor="benchmark", reason="scale"))
    draw = random.Random(5)
    for minute in range(HISTORY_MIN):
        at = begun + minute * MINUTE
        sent = (request(draw, f"h{minute}", first, at), request(draw, f"i{minute}", first, at))
        store.ingest(Batch(observations=sent[: 1 + minute % 2]), at)
    seq = store.sight(first).seq
    store.note([Note(rollout=first, through=datetime.now(UTC), seq=seq)])
    with store._database.engine.begin() as connection:
        for table in (schema.plans, schema.rollouts, *COPIED):
            _copy(connection, table, store.head(first), plans)
    store.close()


COPIED = (schema.records, schema.splits, schema.judged, schema.minutes)


def _copy(connection: Connection, table: Table, head: Head, plans: int) -> None:
    """The first plan's rows for every other, with its name, its digest and its hashes exchanged for others'."""
    rows = [dict(row._mapping) for row in connection.execute(select(table))]
    for begin in range(1, plans, 500):
        numbers = range(begin, min(begin + 500, plans))
        copies = [_renamed(row, head, number) for number in numbers for row in rows]
        if copies:
            connection.execute(table.insert(), copies)


def _renamed(row: Mapping[str, Any], head: Head, number: int) -> dict[str, Any]:
    name, digest = head.state.name, head.state.plan_digest
    other = f"{number:05}"
    mark = f"p{other}"  # no hash has a "p": none of the first plan's can be another's

    def renamed(text: str) -> str:
        return text.replace(name, f"plan-{other}").replace(digest, mark + digest[6:])

    copy = {key: renamed(one) if isinstance(one, str) else one for key, one in row.items()}
    for key in ("head_hash", "hash"):
        if key in copy:
            copy[key] = mark + copy[key][6:]
    return copy


# The traffic


class Traffic:
    """Lines of requests, and of grades for those of some seconds ago."""

    def __init__(self, plans: int, rate: int) -> None:
        self._draw = random.Random(11)
        self._plans, self._rate = plans, rate
        self._sent = 0
        self._ungraded: list[str] = []

    def batch(self) -> bytes:
        now = datetime.now(UTC)
        requests = [self._request(now) for _ in range(round(self._rate * BATCH_S))]
        graded, self._ungraded = (
            self._ungraded[: len(requests) // 2],
            self._ungraded[len(requests) // 2 :],
        )
        outcomes = [
            Outcome(
                id=f"o{one}",
                observation=one,
                at=now,
                correct=float(int(one[1:]) % 20 > 0),
                grades=Grades.ATTEMPT,
            )
            for one in (graded if self._sent > 20 * self._rate else ())
        ]
        self._ungraded += [one.id for one in requests[::2]]
        return b"\n".join([*map(_line, requests), *map(_outcome_line, outcomes)])

    def _request(self, now: datetime) -> Observation:
        self._sent += 1
        busy = self._draw.random() < 0.2
        number = self._draw.randrange(max(1, self._plans // 100) if busy else self._plans)
        return request(self._draw, f"r{self._sent}", rollout_of(number), now)

    def bad(self, rollout: str) -> bytes:
        now = datetime.now(UTC)
        names = (f"bad-{rollout}-{i}" for i in range(20))
        return b"\n".join(_line(request(self._draw, one, rollout, now, bad=True)) for one in names)


def _line(one: Observation) -> bytes:
    fields = {
        "kind": "observation",
        "id": one.id,
        "rollout": one.rollout,
        "at": one.at.isoformat(),
        "unit": one.unit,
        "arm": one.arm,
        "intent": one.intent,
        "version": one.version,
        "assigned": one.assigned,
        "flags": dict(one.flags),
        "quantities": dict(one.quantities),
    }
    return json.dumps(fields).encode()


def _outcome_line(one: Outcome) -> bytes:
    fields = {
        "kind": "outcome",
        "id": one.id,
        "observation": one.observation,
        "at": one.at.isoformat(),
        "correct": one.correct,
        "grades": one.grades,
    }
    return json.dumps(fields).encode()
