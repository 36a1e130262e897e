"""What only a database can show: it is opened again, shared by processes, cut off in the middle, and migrated."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from controller.errors import Conflict, Refused, SchemaBehind, Unreachable
from controller.ports import Store
from controller.rollout.observation import Cohort
from controller.store import migrate, schema
from controller.store.engine import connect, raw_writing
from controller.store.open import open_store
from tests.accounting.factories import (
    MINUTE,
    NOW,
    ROLLOUT,
    commit,
    contents,
    notice,
    observation,
    outcome,
    pair,
    send,
    started,
    totals,
)
from tests.accounting.stores import DATABASES, commit_in_another_process
from tests.postgres import cluster


@pytest.fixture(params=list(DATABASES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, tmp_path: Path) -> Iterator[str]:
    with DATABASES[kind](tmp_path) as address:
        yield address


@pytest.fixture
def empty_url(kind: str, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/new.db"
        return
    address = cluster().empty()
    yield address
    cluster().drop(address)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url, migrate=False)
    yield opened
    opened.close()


def execute(url: str, statement: str) -> list[Any]:
    """One statement past the store, in a transaction of its own."""
    engine = connect(url)
    try:
        with raw_writing(engine) as connection:
            answer = connection.exec_driver_sql(statement)
            return list(answer) if answer.returns_rows else []
    finally:
        engine.dispose()


def test_a_database_that_is_opened_again_holds_what_it_held(store: Store, url: str):
    started(store)
    store.commit(commit(store.head(ROLLOUT), notices=(notice("one"),)))
    send(store, observation("a"), outcome("b", 1.0))
    store.anchor(NOW)
    fence = store.take_fence()
    before = contents(store)
    store.close()

    again = open_store(url, migrate=False)

    assert contents(again) == before
    assert [sealed.value.seq for sealed in again.anchors()] == [1]
    assert again.take_fence() == fence + 1
    again.close()


@pytest.mark.parametrize("table", schema.APPEND_ONLY)
@pytest.mark.parametrize("change", ["UPDATE {} SET text = 'edited'", "DELETE FROM {}"])
def test_records_plans_and_anchors_can_be_neither_changed_nor_deleted(
    store: Store, url: str, table: str, change: str
):
    started(store)
    store.anchor(NOW)

    with pytest.raises(IntegrityError, match=f"{table} are append-only"):
        execute(url, change.format(table))


def test_an_ingest_that_is_cut_off_leaves_nothing_behind(store: Store, url: str):
    started(store)
    before = contents(store)
    # What ingest changes after all raw rows.
    execute(url, "ALTER TABLE rollouts RENAME COLUMN ingest_seq TO moved")

    with pytest.raises(Unreachable, match="did not answer"):
        send(store, observation("a"), outcome("a", 1.0))

    execute(url, "ALTER TABLE rollouts RENAME COLUMN moved TO ingest_seq")
    assert contents(store) == before
    assert send(store, observation("a"), outcome("a", 1.0)).accepted == 2


def test_a_commit_that_is_cut_off_leaves_nothing_behind(store: Store, url: str):
    started(store)
    before = contents(store)
    execute(url, "ALTER TABLE outbox RENAME TO moved")  # the last table that a commit writes

    with pytest.raises(Unreachable):
        store.commit(commit(store.head(ROLLOUT), notices=(notice("one"),)))

    execute(url, "ALTER TABLE moved RENAME TO outbox")
    assert contents(store) == before


def test_a_controller_and_a_command_line_write_to_one_database_at_once(store: Store, url: str):
    started(store)
    processes = multiprocessing.get_context("spawn")
    results = processes.Queue()
    other = processes.Process(target=commit_in_another_process, args=(url, results))

    other.start()
    sent = 0
    while other.is_alive():
        send(store, observation(str(sent)))
        sent += 1
        other.join(0.01)

    assert results.get(timeout=5) == 3
    assert store.tips() == {ROLLOUT: (4, sent)}
    assert totals(store)["n"] == sent


def test_a_reader_is_not_held_up_by_a_writer(store: Store, url: str):
    started(store)
    engine = connect(url)

    with raw_writing(engine) as writer:
        writer.exec_driver_sql("UPDATE fence SET value = 7")
        writer.exec_driver_sql("UPDATE rollouts SET phase = 'unknown'")

        assert store.head(ROLLOUT).seq == 1
    engine.dispose()


TAKEN = [
    "INSERT INTO plans (digest, name, text) VALUES ('d', 'n', 't'), ('d', 'n', 't')",
    "INSERT INTO anchors (seq, hour, hash, text) VALUES (1, 7, 'h', 't'), (2, 7, 'h', 't')",
    "INSERT INTO minutes (rollout, minute, version, arm, intent, endpoint, cohort, seq, stats) "
    "VALUES ('r', 1, 1, 'a', 'i', 'e', 'c', 1, '{}'), ('r', 1, 1, 'a', 'i', 'e', 'c', 1, '{}')",
]
BROKEN = {
    "NOT.NULL": "INSERT INTO plans (digest, name) VALUES ('d', 'n')",
    "CHECK": "INSERT INTO fence (id, value) VALUES (2, 0)",
    "FOREIGN KEY": "INSERT INTO verified (rollout, version, start, \"end\") VALUES ('nobody/1', 1, 1, 2)",
    "append-only": "DELETE FROM plans",
}


@pytest.mark.parametrize("statement", TAKEN)
def test_a_key_that_is_taken_already_is_a_conflict(url: str, statement: str):
    with pytest.raises(Conflict, match="another writer was first"):
        execute(url, statement)


@pytest.mark.parametrize("broken", BROKEN)
def test_any_other_broken_constraint_is_a_defect_and_stays_one(store: Store, url: str, broken: str):
    started(store)

    with pytest.raises(IntegrityError, match=re.compile(broken, re.IGNORECASE)):
        execute(url, BROKEN[broken])


# Migrations


def tables(url: str) -> set[str]:
    """Tables, indexes and constraints by name."""
    engine = connect(url)
    found = inspect(engine)
    names = set(found.get_table_names())
    for table in tuple(names):
        names |= {str(one["name"]) for one in found.get_indexes(table)}
        names |= {str(one["name"]) for one in found.get_unique_constraints(table)}
        names |= {str(one["name"]) for one in found.get_foreign_keys(table)}
    engine.dispose()
    return names


def test_a_database_goes_forward_back_and_forward_again(store: Store, url: str):
    started(store, sampled_u=300_000, people_u=200_000)
    engine = connect(url)
    at_head = tables(url)

    migrate.downgrade(engine)
    assert migrate.current(engine) is None
    assert {name for name in tables(url) if not name.endswith("_pkc")} == {"alembic_version"}
    migrate.upgrade(engine)

    assert (tables(url), migrate.current(engine)) == (at_head, schema.HEAD)
    engine.dispose()


def test_migrations_lead_to_the_tables_of_the_schema(
    empty_url: str, capsys: pytest.CaptureFixture[str]
):
    assert migrate.main(["check", "--url", empty_url]) == 0
    assert "agree" in capsys.readouterr().out


DRIFT = {
    "judge": "ALTER TABLE pairs ADD COLUMN judge TEXT",
    "ix_minutes_seq": "DROP INDEX ix_minutes_seq",
    "unheard": "CREATE TABLE unheard (id INTEGER)",
}


@pytest.mark.parametrize("drift", DRIFT)
def test_a_difference_between_migrations_and_tables_is_told(
    url: str, capsys: pytest.CaptureFixture[str], drift: str
):
    execute(url, DRIFT[drift])

    assert migrate.main(["check", "--url", url]) == SchemaBehind.exit_code
    assert drift in capsys.readouterr().err


INSERT_OF_THE_RELEASE_BEFORE = """
INSERT INTO rollouts (rollout, name, attempt, phase, seq, head_hash, state, plan_digest, unit, horizon_us, delay_us)
SELECT 'older/1', 'older', 1, phase, seq, head_hash, state, plan_digest, 'request', horizon_us, delay_us FROM rollouts
"""


def grade_of_escalated(store: Store, rollout: str, count: int) -> int:
    """How many of so many escalated answers, none of them graded, count as wrong."""
    names = [f"{rollout} {number}" for number in range(count)]
    sent = (observation(one, rollout=rollout, flags={"escalated": True}) for one in names)
    send(store, *sent)
    return totals(store, rollout).get("graded", 0)


def test_a_rollout_that_the_release_before_writes_has_all_of_its_answers_graded(
    store: Store, url: str
):
    started(store, sampled_u=300_000)
    execute(url, INSERT_OF_THE_RELEASE_BEFORE)

    assert grade_of_escalated(store, "older/1", 50) == 50
    assert 0 < grade_of_escalated(store, ROLLOUT, 50) < 35  # 30%, and six standard deviations


def there_and_back(url: str, revision: str) -> None:
    engine = connect(url)
    try:
        with raw_writing(engine) as connection:
            command.downgrade(migrate._config(connection), revision)
        with raw_writing(engine) as connection:
            command.upgrade(migrate._config(connection), "head")
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("terms", "revision", "lost"),
    [
        ({"people_u": 1_000_000}, "0009", "would lose what people graded"),
        ({"sampled_u": 300_000}, "0008", "would count every escalated answer"),
        ({"sampled_u": 300_000, "people_u": 200_000}, "0001", "support-bot/1 would lose what people graded"),
    ],
)  # fmt: skip
def test_a_schema_that_rollouts_are_counted_by_is_not_taken_from_them(
    store: Store, url: str, terms: dict[str, int], revision: str, lost: str
):
    """There and back they would be counted by other terms, and their rollups be no sum of what is stored."""
    started(store, **terms)  # type: ignore[arg-type] # terms are whole numbers
    send(store, observation("a"), outcome("a", 1.0), outcome("a", 0.5, name="p", source="person"))
    before = totals(store)

    with pytest.raises(Refused, match=lost):
        there_and_back(url, revision)

    send(store, outcome("a", 0.0, name="another", source="person"))
    assert totals(store)["n"] == before["n"]
    engine = connect(url)
    assert migrate.current(engine) == schema.HEAD
    engine.dispose()


def test_what_was_counted_stays_as_it_was_on_the_way_to_the_first_schema_and_back(
    store: Store, url: str
):
    started(store, cost_limits=[0.002])
    costs = {"cost_nusd": 30_000_000, "latency_us": 800_000}
    for number, cohort in enumerate((Cohort.COMPARED, Cohort.COMPARED, Cohort.OUTSIDE)):
        send(store, observation(f"{number}", unit="ann", cohort=cohort, quantities=costs))
    send(
        store,
        outcome("0", 1 / 3),
        outcome("not there", 1.0),
        pair("p", baseline=0.5, candidate=1.0),
    )
    before = contents(store), totals(store)

    there_and_back(url, "0001")

    assert (contents(store), totals(store)) == before
    send(store, outcome("1", 1.0), observation("3", unit="ann", at=NOW + MINUTE))
    found = totals(store)
    assert (found["e"], found["e.graded"], found["graded"]) == (1, 1, 2)


def test_a_rollout_from_before_labels_were_sampled_counts_as_it_did(store: Store, url: str):
    started(store)
    there_and_back(url, "0008")

    assert grade_of_escalated(store, ROLLOUT, 50) == 50


def test_a_rollout_from_before_people_graded_beside_a_judge_counts_as_it_did(
    store: Store, url: str
):
    started(store)
    there_and_back(url, "0009")

    send(store, observation("then"), outcome("then", 1.0, name="p-then", source="person"))

    assert totals(store)["graded"] == 1


def test_a_rollout_that_the_release_before_writes_sums_no_costs_up_to_a_cap_until_its_next_record(
    store: Store, url: str
):
    started(store, cost_limits=[0.002])
    there_and_back(url, "0010")

    send(store, observation("a", quantities={"cost_nusd": 30_000_000}))
    assert "k.cost.20000000" not in totals(store)

    store.commit(commit(store.head(ROLLOUT)))
    send(store, observation("b", quantities={"cost_nusd": 30_000_000}))
    assert totals(store)["k.cost.20000000"] == 20_000_000


def test_the_schema_names_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_dir()))

    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_a_fresh_database_is_made_only_where_that_is_asked_for(empty_url: str):
    with pytest.raises(SchemaBehind, match=r"has no schema yet.*canaryctl db upgrade"):
        open_store(empty_url, migrate=False)
    open_store(empty_url, migrate=True).close()

    open_store(empty_url, migrate=False).close()


def test_a_later_releases_database_is_refused(url: str):
    execute(url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaBehind, match="at schema 9999, later than this release's"):
        open_store(url, migrate=True)


def _upgrade_in_another_process(url: str, ready: Any, go: Any, results: Any) -> None:
    engine = connect(url)
    ready.release()
    go.wait()
    migrate.upgrade(engine)
    results.put(migrate.current(engine))
    engine.dispose()


def test_of_processes_that_upgrade_at_once_one_does_and_the_others_wait(empty_url: str):
    processes = multiprocessing.get_context("spawn")
    ready, go, results = processes.Semaphore(0), processes.Event(), processes.Queue()
    arguments = (empty_url, ready, go, results)
    started_ones = [
        processes.Process(target=_upgrade_in_another_process, args=arguments) for _ in range(3)
    ]
    for one in started_ones:
        one.start()
    for _ in started_ones:
        assert ready.acquire(timeout=50)

    go.set()

    assert [results.get(timeout=50) for _ in started_ones] == [schema.HEAD] * 3
    for one in started_ones:
        one.join()
        assert one.exitcode == 0
    assert execute(empty_url, "SELECT value FROM fence") == [(0,)]
