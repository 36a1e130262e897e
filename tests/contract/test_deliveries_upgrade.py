"""A database of the release before deliveries had destinations, and that release beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import Connection

from controller.rollout.codec import canonical
from controller.rollout.counting.items import micros
from controller.store import migrate
from controller.store.engine import connect, raw_writing
from controller.store.open import open_store
from tests.accounting.factories import NOW, ROLLOUT, commit, notice

OLD_INSERT = (
    "INSERT INTO outbox (id, rollout, notice, created, attempts, next_attempt, delivered, last_error) "
    "VALUES (?, ?, ?, ?, 0, ?, ?, '')"
)


def old_row(connection: Connection, key: str, delivered: int | None) -> None:
    """As the earlier release writes it."""
    at = micros(NOW)
    row = (f"{ROLLOUT}:{key}", ROLLOUT, canonical(notice(key)), at, at, delivered)
    connection.exec_driver_sql(OLD_INSERT, row)


def test_what_an_earlier_release_owed_went_to_the_log_or_still_does(tmp_path: Path):
    engine = connect(f"sqlite:///{tmp_path}/old.db")
    with raw_writing(engine) as connection:
        command.upgrade(migrate._config(connection), "0001")
    with raw_writing(engine) as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql("INSERT INTO plans VALUES ('d', 'support-bot', '{}')")
        connection.exec_driver_sql(
            "INSERT INTO rollouts (rollout, name, attempt, phase, seq, head_hash, state, plan_digest, unit, "
            f"horizon_us, delay_us) VALUES ('{ROLLOUT}', 'support-bot', 1, 'p', 1, 'h', '', 'd', 'request', 1, 1)"
        )
        old_row(connection, "1/start", micros(NOW))
        old_row(connection, "2/advance", None)
    engine.dispose()

    store = open_store(f"sqlite:///{tmp_path}/old.db", migrate=True)

    rows = store.deliveries(ROLLOUT)
    assert [(one.destination, one.delivered, one.reference) for one in rows] == [
        ("log", NOW, ""),
        ("log", None, ""),
    ]
    assert [one.id for one in store.owed(NOW)] == [f"{ROLLOUT}:2/advance"]
    store.close()


def test_the_release_before_still_writes_while_it_is_replaced(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/new.db"
    store = open_store(url, migrate=True)
    store.commit(commit())
    engine = connect(url)

    with raw_writing(engine) as connection:
        old_row(connection, "2/advance", None)

    assert [(one.destination, one.sending) for one in store.owed(NOW)] == [("log", None)]
    engine.dispose()
    store.close()
