"""What only a database can show: it is opened again, shared by processes, cut off in the middle, and migrated."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError

from controller.errors import Conflict, SchemaBehind, Unreachable
from controller.store import migrate, schema
from controller.store.engine import connect, raw_writing
from controller.store.open import open_store
from controller.store.sql import SqlStore
from tests.accounting.factories import (
    NOW,
    ROLLOUT,
    commit,
    contents,
    notice,
    observation,
    outcome,
    send,
    started,
    totals,
)
from tests.accounting.stores import commit_in_another_process, fresh_database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return fresh_database(tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = open_store(url, migrate=False)
    yield opened
    opened.close()


def raw(url: str) -> sqlite3.Connection:
    return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)


def test_a_database_that_is_opened_again_holds_what_it_held(store: SqlStore, url: str):
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
    store: SqlStore, url: str, table: str, change: str
):
    started(store)
    store.anchor(NOW)

    with pytest.raises(sqlite3.IntegrityError, match=f"{table} are append-only"):
        raw(url).execute(change.format(table))


def test_an_ingest_that_is_cut_off_leaves_nothing_behind(store: SqlStore, url: str):
    started(store)
    raw(url).execute("ALTER TABLE hours RENAME TO moved")  # the last table that ingest writes
    before = contents(store)

    with pytest.raises(Unreachable, match="did not answer"):
        send(store, observation("a"), outcome("a", 1.0))

    assert contents(store) == before
    raw(url).execute("ALTER TABLE moved RENAME TO hours")
    assert send(store, observation("a"), outcome("a", 1.0)).accepted == 2


def test_a_commit_that_is_cut_off_leaves_nothing_behind(store: SqlStore, url: str):
    started(store)
    before = contents(store)
    raw(url).execute("ALTER TABLE outbox RENAME TO moved")  # the last table that a commit writes

    with pytest.raises(Unreachable):
        store.commit(commit(store.head(ROLLOUT), notices=(notice("one"),)))

    raw(url).execute("ALTER TABLE moved RENAME TO outbox")
    assert contents(store) == before


def test_a_controller_and_a_command_line_write_to_one_file_at_once(store: SqlStore, url: str):
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


def test_a_reader_is_not_held_up_by_a_writer(store: SqlStore, url: str):
    started(store)
    writer = raw(url)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE fence SET value = 7")

    assert store.head(ROLLOUT).seq == 1

    writer.execute("ROLLBACK")


TAKEN = [
    "INSERT INTO plans (digest, name, text) VALUES ('d', 'n', 't'), ('d', 'n', 't')",
    "INSERT INTO anchors (seq, hour, hash, text) VALUES (1, 7, 'h', 't'), (2, 7, 'h', 't')",
    "INSERT INTO minutes (rollout, minute, version, arm, intent, endpoint, cohort, seq, stats) "
    "VALUES ('r', 1, 1, 'a', 'i', 'e', 'c', 1, '{}'), ('r', 1, 1, 'a', 'i', 'e', 'c', 1, '{}')",
]
BROKEN = {
    "NOT NULL": "INSERT INTO plans (digest, name) VALUES ('d', 'n')",
    "CHECK": "INSERT INTO fence (id, value) VALUES (2, 0)",
    "FOREIGN KEY": "INSERT INTO verified (rollout, version, start, end) VALUES ('nobody/1', 1, 1, 2)",
    "append-only": "DELETE FROM plans",
}


def execute(url: str, statement: str) -> None:
    engine = connect(url)
    try:
        with raw_writing(engine) as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


@pytest.mark.parametrize("statement", TAKEN)
def test_a_key_that_is_taken_already_is_a_conflict(url: str, statement: str):
    with pytest.raises(Conflict, match="another writer was first"):
        execute(url, statement)


@pytest.mark.parametrize("broken", BROKEN)
def test_any_other_broken_constraint_is_a_defect_and_stays_one(
    store: SqlStore, url: str, broken: str
):
    started(store)

    with pytest.raises(IntegrityError, match=broken):
        execute(url, BROKEN[broken])


def test_reading_needs_neither_numpy_nor_alembic_nor_the_other_database(store: SqlStore, url: str):
    started(store)
    script = f"""
import sys
from controller.store.open import open_store
store = open_store({url!r}, migrate=True)
assert store.heads() and store.tips() and store.judged({ROLLOUT!r}) is None
print([name for name in sys.modules if name in {{"numpy", "alembic", "sqlalchemy.dialects.postgresql"}}])
"""

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_a_file_that_is_no_database_is_unreachable(tmp_path: Path):
    path = tmp_path / "notes.db"
    path.write_text("buy milk" * 200)

    with pytest.raises(Unreachable, match=r"notes\.db did not answer: file is not a database"):
        open_store(f"sqlite:///{path}", migrate=True)


def test_a_folder_that_is_not_there_is_unreachable(tmp_path: Path):
    with pytest.raises(Unreachable, match="unable to open database file"):
        open_store(f"sqlite:///{tmp_path}/missing/store.db", migrate=True)


# Migrations


def tables(url: str) -> set[str]:
    rows = raw(url).execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")
    return {name for (name,) in rows}


def test_a_database_goes_forward_back_and_forward_again(url: str):
    engine = connect(url)
    at_head = tables(url)

    migrate.downgrade(engine)
    assert (tables(url), migrate.current(engine)) == ({"alembic_version"}, None)
    migrate.upgrade(engine)

    assert (tables(url), migrate.current(engine)) == (at_head, schema.HEAD)
    engine.dispose()


def test_migrations_lead_to_the_tables_of_the_schema(capsys: pytest.CaptureFixture[str]):
    assert migrate.main(["check"]) == 0
    assert "agree" in capsys.readouterr().out


def test_a_difference_between_migrations_and_tables_is_told(
    url: str, capsys: pytest.CaptureFixture[str]
):
    raw(url).execute("ALTER TABLE pairs ADD COLUMN judge TEXT")

    assert migrate.main(["check", "--url", url]) == SchemaBehind.exit_code
    assert "judge" in capsys.readouterr().err


def test_the_schema_names_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_dir()))

    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_a_fresh_database_is_made_only_where_that_is_asked_for(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/new.db"

    with pytest.raises(SchemaBehind, match=r"has no schema yet.*canaryctl db upgrade"):
        open_store(url, migrate=False)
    open_store(url, migrate=True).close()

    open_store(url, migrate=False).close()


def test_a_later_releases_database_is_refused(url: str):
    raw(url).execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaBehind, match="at schema 9999, later than this release's"):
        open_store(url, migrate=True)


def test_a_store_in_memory_is_one_store_for_all_threads():
    store = open_store("sqlite:///:memory:", migrate=True)
    started(store)

    assert send(store, observation("a")).accepted == 1
    store.close()
