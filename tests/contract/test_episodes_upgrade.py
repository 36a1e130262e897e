"""Episodes of the release before: their last request's own moment stands where the end of its minutes does now."""

from __future__ import annotations

from pathlib import Path

from controller.store.engine import connect, raw_writing
from controller.store.open import open_store
from tests.accounting.factories import observation, outcome, send, started, totals


def test_an_outcome_reaches_an_episode_of_one_request_from_before(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/old.db"
    store = open_store(url, migrate=True)
    started(store)
    send(store, observation("1", unit="ann"))
    engine = connect(url)
    with raw_writing(engine) as connection:
        connection.exec_driver_sql("UPDATE episodes SET heard = start")
    engine.dispose()

    send(store, outcome("1", 1.0))

    assert (totals(store)["e"], totals(store)["e.graded"]) == (1, 1)
    store.close()
