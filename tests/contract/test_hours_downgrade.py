"""A database whose hours are sums of minutes, brought back to the schema that kept them."""

from __future__ import annotations

import json
from pathlib import Path

from alembic import command

from controller.store import migrate
from controller.store.engine import connect, raw_writing, reading
from controller.store.open import open_store
from tests.accounting.factories import DAY, MINUTE, NOW, ROLLOUT, observation, send, started


def test_hours_come_back_as_the_sums_that_were_read(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url, migrate=True)
    started(store)
    for number, minutes in enumerate((0, 1, 59, 60, 61)):
        send(store, observation(str(number), at=NOW + minutes * MINUTE))
    read = store.hours(ROLLOUT, since=NOW - DAY, until=NOW + DAY)
    store.close()
    engine = connect(url)

    with raw_writing(engine) as connection:
        command.downgrade(migrate._config(connection), "0005")

    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT minute, seq, stats FROM hours ORDER BY minute")
        kept = [(row.minute, row.seq, json.loads(row.stats)) for row in rows]
    assert kept == sorted((one.minute, one.seq, dict(one.stats)) for one in read)
    assert [stats["n"] for _, _, stats in kept] == [3, 2]
    with raw_writing(engine) as connection:
        command.upgrade(migrate._config(connection), "head")
    engine.dispose()
    store = open_store(url, migrate=False)
    assert store.hours(ROLLOUT, since=NOW - DAY, until=NOW + DAY) == read
    store.close()
