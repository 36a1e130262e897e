"""What only SQLite can show: it is a file, and what reads it starts quickly."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select

from controller.errors import Unreachable
from controller.store import rows
from controller.store.engine import connect, reading, write_ahead
from controller.store.lists import values
from controller.store.open import open_store
from tests.accounting.factories import ROLLOUT, observation, send, started
from tests.accounting.stores import fresh_database


def test_reading_needs_neither_numpy_nor_alembic_nor_the_other_database(tmp_path: Path):
    url = fresh_database(tmp_path)
    store = open_store(url, migrate=False)
    started(store)
    store.close()
    script = f"""
import sys
from controller.store.open import open_store
store = open_store({url!r}, migrate=True)
assert store.heads() and store.tips() and store.judged({ROLLOUT!r}) is None
unwanted = {{"numpy", "alembic", "psycopg", "sqlalchemy.dialects.postgresql"}}
print([name for name in sys.modules if name in unwanted])
"""

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("wanted", ["observations", "outcomes", "pairs", "episodes"])
def test_what_a_batch_names_is_looked_up_in_an_index(tmp_path: Path, wanted: str):
    engine = connect(fresh_database(tmp_path))
    statements: dict[str, Select[Any]] = {str(kind): one for kind, one in rows._KNOWN.items()}
    statements["episodes"] = rows._EPISODES["sqlite"]
    bound = {"rollout": "r", "low": 0, "high": 0, "active": 0, **values(["a"])}

    with reading(engine) as connection:
        compiled = statements[wanted].compile(dialect=engine.dialect)
        given = tuple(bound[name] for name in compiled.positiontup or ())
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", given).all()

    details = [str(row[-1]) for row in plan]
    assert any(one.startswith(f"SEARCH {wanted} USING") for one in details), details
    assert not any(one.startswith(f"SCAN {wanted}") for one in details), details
    by = "rollout=? AND unit=?" if wanted == "episodes" else "id=?"
    assert any(by in one for one in details), details
    engine.dispose()


def test_a_file_that_is_no_database_is_unreachable(tmp_path: Path):
    path = tmp_path / "notes.db"
    path.write_text("buy milk" * 200)

    with pytest.raises(Unreachable, match=r"notes\.db did not answer: file is not a database"):
        open_store(f"sqlite:///{path}", migrate=True)


def test_a_folder_that_is_not_there_is_unreachable(tmp_path: Path):
    with pytest.raises(Unreachable, match="unable to open database file"):
        open_store(f"sqlite:///{tmp_path}/missing/store.db", migrate=True)


def test_a_store_in_memory_is_one_store_for_all_threads():
    store = open_store("sqlite:///:memory:", migrate=True)
    started(store)

    assert send(store, observation("a")).accepted == 1
    store.close()


class BusyAtFirst(sqlite3.Connection):
    """Says what SQLite says to those who come while another process turns write-ahead on."""

    refusals = 2

    def execute(self, sql, *arguments):
        if self.refusals:
            self.refusals -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return super().execute(sql, *arguments)


def test_who_comes_while_another_process_turns_write_ahead_on_tries_again(tmp_path: Path):
    connection = sqlite3.connect(tmp_path / "new.db", factory=BusyAtFirst)

    write_ahead(connection)

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
