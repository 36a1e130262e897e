"""What a tick asks of the database: so many statements, whatever the requests, the minutes and the other plans."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from controller.clock import ManualClock
from controller.reconcile.intake import Intake
from controller.reconcile.submit import submit
from controller.reconcile.tick import Reconciler
from controller.rollout.commands import Apply, Promote
from controller.rollout.observation import Batch, Observation
from controller.rollout.plan import Arm
from controller.store.open import open_store
from controller.store.sql import SqlStore
from controller.traffic.memory import MemoryTarget
from tests.reconcile.world import BEGIN, MINUTE, QUICK

# One row of the rollout; with rows that changed, those too.
QUIET, CHANGED = 1, 2
# For however many: the fence, the rollouts, their stretches; new stretches and judgements, one statement each.
NOTES = 5


class Case:
    """Some plans at their first step, on SQLite."""

    def __init__(self, folder: Path, *, plans: int) -> None:
        self.clock = ManualClock(BEGIN)
        self.store: SqlStore = open_store(f"sqlite:///{folder}/{plans}.db", migrate=True)
        self.reconciler = Reconciler(
            store=self.store,
            target=MemoryTarget(self.clock),
            clock=self.clock,
            fence=self.store.take_fence(),
            lease=timedelta(days=1),
        )
        self.rollouts = [self._started(f"plan-{number}") for number in range(plans)]
        self.sent = 0

    def _started(self, name: str) -> str:
        plan = replace(QUICK, name=name, steps=(replace(QUICK.steps[0], hold=timedelta(days=9)),))
        rollout = submit(self.store, self.clock, name, Apply(plan=plan, actor="a")).state.rollout
        submit(self.store, self.clock, rollout, Promote(actor="a"))
        self.reconciler.tick(rollout)
        return rollout

    def requests(self, rollout: str, count: int) -> None:
        self.sent += count
        sent = tuple(
            Observation(
                id=f"r{number}",
                rollout=rollout,
                at=self.clock.now(),
                unit=f"u{number}",
                arm=Arm.CANDIDATE if number % 2 else Arm.BASELINE,
                intent="chat",
                version=2,
                flags={"error": False, "escalated": False},
            )
            for number in range(self.sent - count, self.sent)
        )
        self.store.ingest(Batch(observations=sent), self.clock.now())

    def judged(self, rollouts: Sequence[str]) -> list[int]:
        """Statements of each tick, and of the flush at the end."""
        spent = []
        for one in rollouts:
            with statements(self.store._database.engine) as seen:
                self.reconciler.judge(one)
            spent.append(len(seen))
        with statements(self.store._database.engine) as seen:
            self.reconciler.flush()
        return [*spent, len(seen)]


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Those that are sent meanwhile, but for the limits of transactions."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("plans", [1, 12])
@pytest.mark.parametrize("requests", [2, 400])
def test_a_tick_asks_the_same_however_much_there_is(tmp_path: Path, plans: int, requests: int):
    case = Case(tmp_path, plans=plans)
    for _ in range(3):
        case.clock.advance(MINUTE)
        case.requests(case.rollouts[0], requests)
        case.judged(case.rollouts)

    case.clock.advance(MINUTE)
    assert case.judged(case.rollouts) == [*[QUIET] * plans, NOTES]

    case.clock.advance(MINUTE)
    case.requests(case.rollouts[0], requests)
    assert case.judged(case.rollouts) == [CHANGED, *[QUIET] * (plans - 1), NOTES]


def test_ticks_that_are_read_for_together_ask_as_much_as_one(tmp_path: Path):
    case = Case(tmp_path, plans=12)
    case.judged(case.rollouts)
    case.clock.advance(MINUTE)
    for rollout in case.rollouts:
        case.requests(rollout, 4)

    with statements(case.store._database.engine) as seen:
        case.reconciler.ahead(case.rollouts)

    assert len(seen) == CHANGED
    assert case.judged(case.rollouts) == [*[0] * 12, NOTES]
    assert case.judged(case.rollouts[:1])[0] == QUIET


def test_after_a_stop_of_hours_a_tick_asks_no_more(tmp_path: Path):
    case = Case(tmp_path, plans=1)
    case.requests(case.rollouts[0], 10)
    case.judged(case.rollouts)

    for _ in range(30):
        case.clock.advance(7 * MINUTE)
        case.requests(case.rollouts[0], 2)

    assert case.judged(case.rollouts) == [CHANGED, NOTES]


def test_a_command_costs_one_look_more(tmp_path: Path):
    case = Case(tmp_path, plans=2)
    case.clock.advance(MINUTE)
    case.judged(case.rollouts)
    submit(case.store, case.clock, case.rollouts[0], Promote(actor="a"))

    first, second, _ = case.judged(case.rollouts)

    # The state, its splits, what was verified of it.
    assert first <= QUIET + 3
    assert second == QUIET


def test_a_rollout_is_looked_up_once_however_often_lines_come(tmp_path: Path):
    case = Case(tmp_path, plans=1)
    intake = Intake(case.store, case.clock, lambda _: None)

    def statements_of(name: str) -> int:
        line = {
            "kind": "observation",
            "id": name,
            "rollout": case.rollouts[0],
            "at": case.clock.now().isoformat(),
            "unit": name,
            "arm": "candidate",
            "intent": "chat",
            "version": 2,
            "flags": {"error": False, "escalated": False},
        }
        with statements(case.store._database.engine) as seen:
            intake(json.dumps(line).encode())
        return len(seen)

    first, second, third = (statements_of(name) for name in "abc")

    assert second == third < first
    assert sum(row.stats["n"] for row in case.store.rollups(case.rollouts[0])[0]) == 3
