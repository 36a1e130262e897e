"""A database without hour rows, brought back to the schema that kept them."""

from __future__ import annotations

import json
from pathlib import Path

from alembic import command

from controller.rollout.timeline import minute_of
from controller.store import migrate
from controller.store.engine import connect, raw_writing, reading
from controller.store.open import open_store
from tests.accounting.factories import MINUTE, NOW, ROLLOUT, observation, send, started


def test_hours_come_back_as_the_sums_of_their_minutes(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url, migrate=True)
    started(store)
    for number, minutes in enumerate((0, 1, 59, 60, 61)):
        send(store, observation(str(number), at=NOW + minutes * MINUTE))
    kept_rows, _ = store.rollups(ROLLOUT)
    store.close()
    engine = connect(url)

    with raw_writing(engine) as connection:
        command.downgrade(migrate._config(connection), "0005")

    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT minute, seq, stats FROM hours ORDER BY minute")
        kept = [(row.minute, row.seq, json.loads(row.stats)) for row in rows]
    # Three requests in the first hour, two in the second; each was a batch of its own.
    first = minute_of(NOW)
    assert [(minute, seq, stats["n"]) for minute, seq, stats in kept] == [
        (first, 3, 3),
        (first + 60, 5, 2),
    ]
    assert {name for _, _, stats in kept for name in stats} == {
        name for row in kept_rows for name in row.stats
    }
    with raw_writing(engine) as connection:
        command.upgrade(migrate._config(connection), "head")
    engine.dispose()
    store = open_store(url, migrate=False)
    assert store.rollups(ROLLOUT)[0] == kept_rows
    store.close()
