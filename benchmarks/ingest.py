"""Rows per second of ingest beside a bare bulk insert of the same observations, in one database and one run.

    python -m benchmarks.ingest [--batches N] [--json] [--database-url URL] [--ways]

On SQLite in a temporary file and, if its programs are there, on a PostgreSQL server of its own in a temporary folder
(durability off, as for tests); or on the empty database at an address, which is filled and emptied again. `--ways`
measures the ways to write the same rows to PostgreSQL instead.

The bare insert is SQLAlchemy Core's executemany of rows that are ready, into a table like `observations`, one batch of
1,000 a transaction; ingest looks for duplicates, follows episodes, counts, closes blocks and keeps the rollups besides.
The two take turns, so that a busy machine slows both alike. `driver` is the same bare insert past SQLAlchemy.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table

from controller.cli.background import collect_seldom
from controller.rollout.counting.account import request_of
from controller.rollout.observation import Batch, Observation, Outcome
from controller.rollout.plan import Arm, Unit
from controller.store import schema
from controller.store.bulk import add_many, put_many
from controller.store.engine import add, connect, put
from controller.store.migrate import downgrade, upgrade
from controller.store.rows import flags_json, request_row
from controller.store.sql import SqlStore
from tests.accounting.factories import started
from tests.postgres import WANTED, Cluster, programs

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
BATCH = 1_000
PER_SECOND = 100
REQUESTS_PER_CONVERSATION = 4
LIVE_CONVERSATIONS = 5_000
INTENTS = {"refund": 1_000, "order-status": 1_000, "other": 1_000}
BUDGET = 0.5

Rows = list[tuple[Any, ...]]


class Traffic:
    """100 requests a second in conversations of about four, a tenth of them on the candidate."""

    def __init__(self, rollout: str) -> None:
        self._rollout = rollout
        self._draw = random.Random(7)
        self._count = 0
        self._live: list[str] = []

    def observations(self) -> list[Observation]:
        return [self._observation() for _ in range(BATCH)]

    def outcomes(self, observations: Sequence[Observation]) -> list[Outcome]:
        return [
            Outcome(
                id=f"{one.id}/grade",
                observation=one.id,
                at=one.at,
                correct=float(self._draw.random() < 0.95),
            )
            for one in observations
        ]

    def _observation(self) -> Observation:
        draw, tokens = self._draw, self._draw.randint(200, 4_000)
        self._count += 1
        unit, is_new = self._unit()
        place = zlib.crc32(unit.encode())
        candidate = place % 10_000 < 1_000
        return Observation(
            id=f"{draw.getrandbits(128):032x}",
            rollout=self._rollout,
            at=START + timedelta(seconds=self._count / PER_SECOND),
            unit=unit,
            arm=Arm.CANDIDATE if candidate else Arm.BASELINE,
            intent=list(INTENTS)[place // 10_000 % 3],
            version=1,
            assigned=is_new,
            flags={
                "error": draw.random() < 0.005,
                "escalated": candidate and draw.random() < 0.01,
                "schema_failure": draw.random() < 0.01,
            },
            quantities={
                "input_tokens": tokens,
                "cached_tokens": tokens // 3,
                "output_tokens": draw.randint(20, 600),
                "cost_nusd": tokens * 2_000,
                "latency_us": int(draw.lognormvariate(0, 0.6) * 900_000),
                "ttft_us": int(draw.lognormvariate(0, 0.5) * 300_000),
            },
        )

    def _unit(self) -> tuple[str, bool]:
        is_new = len(self._live) < LIVE_CONVERSATIONS or (
            self._draw.random() < 1 / REQUESTS_PER_CONVERSATION
        )
        if not is_new:
            return self._draw.choice(self._live), False
        unit = f"{self._draw.getrandbits(64):016x}"
        self._live.append(unit)
        del self._live[:-LIVE_CONVERSATIONS]
        return unit, True


class Bare:
    """The bulk insert that ingest is compared with, through SQLAlchemy Core and past it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tables = [_table_like_observations("bare"), _table_like_observations("bare_driver")]
        with engine.begin() as connection:
            for table in self._tables:
                table.create(connection)
        self._names = [column.name for column in schema.observations.c]

    def core(self, rows: Rows) -> Callable[[], object]:
        ready = [dict(zip(self._names, row, strict=True)) for row in rows]
        return lambda: self._insert(lambda one: one.execute(self._tables[0].insert(), ready))

    def driver(self, rows: Rows) -> Callable[[], object]:
        return lambda: self._insert(lambda one: add(one, self._tables[1], rows))

    def _insert(self, insert: Callable[[Connection], object]) -> None:
        with self._engine.begin() as connection:
            insert(connection)


@dataclass
class Measured:
    """Seconds for all rows."""

    core: float = 0.0
    driver: float = 0.0
    ingest: float = 0.0
    outcomes: float = 0.0


def measure(url: str, batches: int, unit: Unit) -> Measured:
    with closing(_Fresh(url)) as fresh:
        engine = fresh.engine
        store, bare = SqlStore(engine), Bare(engine)
        traffic = Traffic(started(store, unit=unit, shares=INTENTS))
        total = Measured()
        for _ in range(batches):
            observations = traffic.observations()
            outcomes = traffic.outcomes(observations)
            rows, now = _rows(observations), observations[-1].at
            sent = Batch(observations=tuple(observations)), Batch(outcomes=tuple(outcomes))
            total.core += _seconds(bare.core(rows))
            total.driver += _seconds(bare.driver(rows))
            total.ingest += _seconds(lambda: store.ingest(sent[0], now))  # noqa: B023 # called at once
            total.outcomes += _seconds(lambda: store.ingest(sent[1], now))  # noqa: B023 # called at once
        return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--database-url", help="an empty database")
    parser.add_argument("--ways", action="store_true", help="ways to write to PostgreSQL")
    given = parser.parse_args()
    collect_seldom()  # as `canaryctl run` does
    if given.ways:
        with _database("PostgreSQL", given.database_url) as url:
            print(json.dumps({"rows_per_s": ways(url, given.batches)}, indent=2))
        return
    kinds = ("the database given",) if given.database_url else ("SQLite", "PostgreSQL")
    rows = [row for kind in kinds for row in _measured(kind, given.database_url, given.batches)]
    if given.json:
        print(json.dumps({"budget": BUDGET, "measured": rows}, indent=2))
        return
    print(
        f"ingest beside a bare bulk insert, {given.batches} batches of {BATCH:,}; budget {BUDGET:.0%}"
    )
    print(
        f"{'database':<20}{'unit':<14}{'bare':>9}{'driver':>9}{'ingest':>9}{'ratio':>8}{'+ outcomes':>12}   rows/s"
    )
    for one in rows:
        if "skipped" in one:
            print(f"{one['database']:<20}{one['skipped']}")
            continue
        print(
            f"{one['database']:<20}{one['unit']:<14}{one['bare']:>9,}{one['driver']:>9,}{one['ingest']:>9,}"
            f"{one['ratio']:>8.0%}{one['with_outcomes']:>12,}"
        )


def _measured(kind: str, address: str | None, batches: int) -> list[dict[str, Any]]:
    if kind == "PostgreSQL" and programs() is None:
        return [{"database": kind, "skipped": WANTED}]
    with _database(kind, address) as url:
        return [
            {"database": kind, **_figures(measure(url, batches, unit), unit, batches)}
            for unit in (Unit.CONVERSATION, Unit.REQUEST)
        ]


def _figures(total: Measured, unit: Unit, batches: int) -> dict[str, Any]:
    rows = batches * BATCH
    return {
        "unit": unit.value,
        "bare": round(rows / total.core),
        "driver": round(rows / total.driver),
        "ingest": round(rows / total.ingest),
        "ratio": total.core / total.ingest,
        "outcomes": round(rows / total.outcomes),
        # Every observation with its outcome: two rows.
        "with_outcomes": round(2 * rows / (total.ingest + total.outcomes)),
        "ratio_with_outcomes": 2 * total.core / (total.ingest + total.outcomes),
    }


def _rows(observations: Sequence[Observation]) -> Rows:
    """As ingest writes them; only `episode` is empty."""
    requests = map(request_of, observations)
    return [request_row(one, flags_json(one.flags)) for one in requests]


def _table_like_observations(name: str) -> Table:
    table = schema.observations.to_metadata(MetaData(), name=name)
    table.primary_key.name = f"pk_{name}"  # PostgreSQL's names of constraints are the schema's
    return table


class _Fresh:
    """An engine on an empty database, at the present schema until it is closed."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        upgrade(self.engine)

    def close(self) -> None:
        with self.engine.begin() as connection:
            for name in ("bare", "bare_driver"):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        downgrade(self.engine)
        self.engine.dispose()


@contextmanager
def _database(kind: str, address: str | None) -> Iterator[str]:
    """The address of an empty database."""
    if address is not None:
        yield address
    elif kind == "SQLite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/ingest.db"
    else:
        bindir = programs()
        if bindir is None:
            raise SystemExit(WANTED)
        with closing(Cluster(bindir)) as server:
            server.start()
            yield server.empty()


# Ways to write the same rows to PostgreSQL


def ways(url: str, batches: int) -> dict[str, int]:
    """Rows a second of each way, in turns."""
    with closing(_Fresh(url)) as fresh, fresh.engine.connect() as connection:
        kinds = {name: _table_like_observations(f"way_{name}") for name in _WAYS}
        for table in kinds.values():
            table.create(connection)
        connection.commit()
        traffic, taken = Traffic("nobody/1"), dict.fromkeys(_WAYS, 0.0)
        for _ in range(batches):
            rows = _rows(traffic.observations())
            for name, write in _WAYS.items():

                def act(
                    write: Callable[[Connection, Table, Rows], object] = write,
                    table: Table = kinds[name],
                    rows: Rows = rows,
                ) -> None:
                    write(connection, table, rows)
                    connection.commit()

                taken[name] += _seconds(act)
        for table in kinds.values():
            table.drop(connection)
        connection.commit()
    return {name: round(batches * BATCH / seconds) for name, seconds in taken.items()}


def _values(connection: Connection, table: Table, rows: Rows) -> None:
    names = table.c.keys()
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        connection.execute(
            table.insert().values([dict(zip(names, one, strict=True)) for one in some])
        )


def _unnest(connection: Connection, table: Table, rows: Rows) -> None:
    kinds = [str(column.type).lower() for column in table.c]
    arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
    given = tuple(list(column) for column in zip(*rows, strict=True))
    connection.exec_driver_sql(f"INSERT INTO {table.name} SELECT * FROM unnest({arrays})", given)  # noqa: S608 # our names


_WAYS: dict[str, Callable[[Connection, Table, Rows], object]] = {
    "executemany": add,
    "values": _values,
    "unnest": _unnest,
    "copy": add_many,
    "executemany_merged": put,
    "copy_merged": put_many,
}


def _seconds(act: Callable[[], object]) -> float:
    gc.collect()  # a full collection takes as long as a batch, and would fall on whoever comes by chance
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
