"""Live episodes are remembered between ingests: only while the database still has them so, and as many as there is room
for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from controller.errors import Unreachable
from controller.rollout.counting.items import HEARD_US, IDLE_US, Episode, micros
from controller.store.engine import connect
from controller.store.ingest import Reach
from controller.store.live import SLACK_US, Live, Units
from controller.store.sql import SqlStore
from tests.accounting.factories import (
    HOUR,
    MINUTE,
    NOW,
    ROLLOUT,
    observation,
    outcome,
    send,
    started,
    totals,
)
from tests.accounting.stores import DATABASES

AT = micros(NOW)


class Watched:
    """A controller's store, and how often it has asked the database for episodes."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = connect(url)
        self.store = SqlStore(self.engine)
        self.asked = 0
        event.listen(self.engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _k: Any, statement: str, *_: Any) -> None:
        self.asked += statement.startswith("SELECT") and "episodes" in statement

    def ask(self, name: str, unit: str, at: datetime, **what: Any) -> None:
        send(self.store, observation(name, unit=unit, at=at, **what), now=at)

    def close(self) -> None:
        self.engine.dispose()


@pytest.fixture(params=list(DATABASES))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with DATABASES[request.param](tmp_path) as address:
        yield address


@pytest.fixture
def one(url: str) -> Iterator[Watched]:
    with closing(Watched(url)) as opened:
        started(opened.store)
        yield opened


@pytest.fixture
def other(url: str) -> Iterator[Watched]:
    with closing(Watched(url)) as opened:
        yield opened


def test_a_conversation_that_goes_on_is_not_read_again(one: Watched):
    one.ask("first", "ann", NOW)
    assert one.asked == 1

    for minute in range(1, 60):
        one.ask(f"after {minute}", "ann", NOW + minute * MINUTE)

    assert one.asked == 1
    assert totals(one.store)["e"] == 1


def test_what_another_controller_began_is_gone_on_with(one: Watched, other: Watched):
    one.ask("first", "bob", NOW)
    other.ask("second", "ann", NOW)
    one.ask("third", "ann", NOW + MINUTE)

    assert totals(one.store)["e"] == 2


def test_what_another_controller_learnt_is_known(one: Watched, other: Watched):
    one.ask("first", "ann", NOW)
    send(other.store, outcome("first", 1.0), now=NOW)
    one.ask("second", "ann", NOW + MINUTE)
    send(one.store, outcome("second", 0.0), now=NOW + MINUTE)

    found = totals(one.store)
    assert (found["e.graded"], found["e.correct_u"]) == (1, 500_000)


def test_what_two_episodes_exchange_is_known_though_no_row_changes(one: Watched, other: Watched):
    for name, correct in (("a", 1.0), ("b", 0.0)):
        one.ask(name, f"unit of {name}", NOW)
        send(one.store, outcome(name, correct), now=NOW)
    send(other.store, outcome("a", 0.0, name="1"), outcome("b", 1.0, name="2"), now=NOW)

    one.ask("c", "unit of a", NOW + 10 * MINUTE)
    send(one.store, outcome("c", 0.0), now=NOW + 10 * MINUTE)

    assert totals(one.store)["e.correct_u"] == 250_000 + 500_000


def test_what_was_not_written_is_not_remembered(one: Watched):
    one.ask("first", "ann", NOW)
    with pytest.raises(Unreachable), _losing_minutes(one.engine):
        one.ask("lost", "ann", NOW + 6 * MINUTE, flags={"error": True})

    one.ask("lost", "ann", NOW + 6 * MINUTE)

    found = totals(one.store)
    assert (found["n"], found["e"]) == (2, 1)
    assert "ef.error" not in found


class _losing_minutes:  # noqa: N801 # reads as a statement
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        event.listen(self._engine, "before_cursor_execute", self._lose)

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._lose)

    def _lose(self, _c: Any, _k: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO minutes"):
            raise Unreachable("The database was lost.")


def test_a_request_that_comes_late_finds_its_episode(one: Watched):
    """It is earlier than all that is remembered."""
    one.ask("first", "ann", NOW)
    one.ask("much later", "ann", NOW + 5 * HOUR)
    one.ask("late", "ann", NOW + MINUTE)

    assert totals(one.store)["e"] == 2


def test_a_batch_with_a_request_that_is_known_is_counted_but_for_that(one: Watched):
    """SQLite notices it only as it writes."""
    one.ask("first", "ann", NOW)

    received = send(
        one.store,
        observation("new", unit="ann", at=NOW + MINUTE),
        observation("first", unit="ann", at=NOW),
        now=NOW + MINUTE,
    )

    assert (received.accepted, received.duplicate) == (1, 1)
    found = totals(one.store)
    assert (found["n"], found["e"]) == (2, 1)


# What is remembered


def episode(unit: str, start: int, heard: int) -> Episode:
    return Episode(f"first of {unit}", ROLLOUT, unit, "candidate", "refund", 1, "", start, heard)


def reach(*units: str, low: int = AT, active: int = AT) -> Reach:
    return Reach(units, low, low + IDLE_US, active)


def test_only_the_units_that_are_not_known_far_enough_back_are_asked_for():
    units = Units()
    units.learn(reach("ann", "bob"), [episode("ann", AT, AT)])
    units.learn(reach("cleo", low=AT - 5), [])

    assert units.unknown(reach("ann", "bob", "cleo", "dan")) == ["dan"]
    assert units.unknown(reach("ann", "cleo", low=AT - 1)) == ["ann"]
    assert units.unknown(reach("ann", active=AT - 1)) == ["ann"]
    assert units.unknown(reach("ann", low=AT + 1, active=AT + 1)) == []


def test_what_is_asked_for_again_takes_the_place_of_what_was_known():
    units = Units()
    units.learn(reach("ann"), [episode("ann", AT, AT)])
    older, same = episode("ann", AT - 9, AT - 5), episode("ann", AT, AT)
    units.learn(reach("ann", low=AT - 10), [older, same])

    assert units.episodes(["ann"]) == [older, same]


def test_a_new_episode_is_known_of_a_known_unit():
    units, begun = Units(), episode("ann", AT, AT)
    units.learn(reach("ann"), [])
    units.begin(begun)
    units.begin(episode("dan", AT, AT))  # of whom there may be others

    assert units.episodes(["ann"]) == [begun]
    assert units.unknown(reach("dan")) == ["dan"]


def test_units_that_were_not_heard_for_long_are_forgotten_every_five_minutes():
    units = Units(swept=AT)
    silent, heard = episode("ann", AT, AT - 1), episode("bob", AT, AT)
    units.learn(reach("ann", "bob", "cleo"), [silent, heard])

    units.sweep(AT + HEARD_US - 1)
    assert len(units) == 3
    units.sweep(AT + SLACK_US)

    assert units.unknown(reach("ann", "bob", "cleo")) == ["ann", "cleo"]


def test_what_is_known_is_lent_once_and_only_at_its_sequence():
    live, units = Live(), Units(seq=7)
    live.give_back(ROLLOUT, units)

    assert live.take(ROLLOUT, 7) is units
    assert live.take(ROLLOUT, 7) is not units
    live.give_back(ROLLOUT, units)
    assert live.take(ROLLOUT, 8) is not units
    assert live.take(ROLLOUT, 7) is not units


def test_the_rollout_whose_units_were_used_longest_ago_makes_room():
    live = Live(room=5)
    given = {name: Units(seq=1) for name in "abc"}
    for name, units in given.items():
        units.learn(reach(f"{name} 1", f"{name} 2"), [])
    for name in "ab":
        live.give_back(name, given[name])
    live.give_back("a", live.take("a", 1))
    live.give_back("c", given["c"])

    assert [name for name in "abc" if live.take(name, 1) is given[name]] == ["a", "c"]
    for name in "abc":  # and there is as much room again as there was
        live.give_back(name, given[name])
    assert [name for name in "abc" if live.take(name, 1) is given[name]] == ["b", "c"]


def test_one_that_alone_is_too_large_is_not_kept():
    live, units = Live(room=1), Units(seq=1)
    units.learn(reach("ann", "bob"), [])
    live.give_back(ROLLOUT, units)

    assert live.take(ROLLOUT, 1) is not units


def test_what_one_gives_back_takes_the_place_of_what_another_gave_back_meanwhile():
    live, first, second = Live(room=3), Units(seq=1), Units(seq=2)
    for units in (first, second):
        units.learn(reach("ann", "bob"), [])
    live.give_back(ROLLOUT, first)
    live.give_back(ROLLOUT, second)

    assert live.take(ROLLOUT, 2) is second
    live.give_back(ROLLOUT, second)
    assert live.take(ROLLOUT, 2) is second
