"""Once a day raw rows that are older than the retention go, in parts, and a database that is away is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.clock import ManualClock
from controller.errors import Unreachable
from controller.ports import Store
from controller.reconcile.housekeeping import Housekeeping
from controller.reconcile.loop import Loop
from controller.store import retention
from controller.store.engine import connect, raw_writing
from controller.store.memory import MemoryStore
from controller.store.open import open_store
from tests.accounting.factories import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    observation,
    send,
    started,
    totals,
)
from tests.accounting.stores import fresh_database
from tests.reconcile.world import World


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return fresh_database(tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url, migrate=False)
    started(opened)
    yield opened
    opened.close()


def is_refused(store: Store, clock: ManualClock, name: str = "a") -> bool:
    """Whether what happened at NOW is too late."""
    return send(store, observation(name), now=clock.now()).too_late == 1


def test_it_is_done_at_the_start_and_once_a_day(store: Store, clock: ManualClock):
    house = Housekeeping(store, clock, keep=30 * DAY)
    house.look()
    clock.advance(DAY - SECOND)
    send(store, observation("kept", at=NOW - 29 * DAY - 2 * HOUR), now=clock.now())

    house.look()
    assert send(store, observation("b", at=NOW - 29 * DAY - 2 * HOUR)).accepted == 1
    clock.advance(SECOND)
    house.look()

    assert send(store, observation("c", at=NOW - 29 * DAY - 2 * HOUR)).too_late == 1
    assert totals(store)["n"] == 2


def test_much_is_done_in_parts_one_a_look(
    store: Store, url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "CHUNK", 2)  # a size of work, not a clock
    send(store, *(observation(str(number)) for number in range(20)))
    clock.advance(40 * DAY)
    house = Housekeeping(store, clock, keep=30 * DAY)

    left = []
    for _ in range(6):
        house.look()
        left.append(
            execute(url, "SELECT (SELECT count(*) FROM episodes) + count(*) FROM observations")
        )

    per_look = retention.CHUNK * retention.CHUNKS
    assert left == [[(max(0, 40 - per_look * look),)] for look in range(1, 7)]
    assert totals(store)["n"] == 20


def test_a_database_that_is_away_is_tried_again_in_an_hour(
    store: Store, url: str, clock: ManualClock
):
    clock.advance(40 * DAY)
    house = Housekeeping(store, clock, keep=30 * DAY)
    execute(url, "ALTER TABLE retention RENAME TO away")
    with pytest.raises(Unreachable):
        house.look()
    execute(url, "ALTER TABLE away RENAME TO retention")

    clock.advance(HOUR - SECOND)
    house.look()
    assert not is_refused(store, clock)
    clock.advance(SECOND)
    house.look()

    assert is_refused(store, clock, "b")


def test_the_loop_keeps_house():
    world = World()
    world.settle()
    old = MemoryStore()
    started(old)
    house = Housekeeping(old, world.clock, keep=DAY)
    loop = Loop(
        reconciler=world.reconciler,
        sender=Silent(),
        store=world.store,
        clock=world.clock,
        interval_s=60,
        housekeeping=house,
    )

    loop.work(timeout_s=0)

    late = observation("a", at=world.clock.now() - 8 * DAY - MINUTE)
    assert send(old, late, now=world.clock.now()).too_late == 1


class Silent:
    """There is nothing to send."""

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


def execute(url: str, statement: str) -> list[Any]:
    engine = connect(url)
    with raw_writing(engine) as connection:
        answer = connection.exec_driver_sql(statement)
        rows = list(answer) if answer.returns_rows else []
    engine.dispose()
    return rows
