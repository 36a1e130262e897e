"""Letting go of raw rows, in SQL. What they were counted in stays.

The floor rises first, in a transaction of its own: from then on nothing below it is counted, so it does not matter
when the rows are gone, nor whether this is cut off in the middle. PostgreSQL drops whole weeks; elsewhere, and for
labels and people's grades, rows are looked for without any lock and deleted some thousands at a time, so that no
writer waits long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, delete, exists, func, select, update

from controller.ports import Pruned
from controller.rollout.counting.items import MINUTE_US, Fate, micros, moment_of
from controller.store import partitions, rules, schema
from controller.store.engine import Database
from controller.store.lists import keyed_delete, listed, values
from controller.store.locks import Advisory, hold
from controller.store.refusals import floor_of, refuse

CHUNK: Final = 5_000
CHUNKS: Final = 4
"""What one call does at most, in chunks of rows or in weeks."""
WEEKS_AHEAD: Final = 2


class SqlRetention:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._clean: dict[
            str, int
        ] = {}  # by table, up to where nothing is left: looked for once, not in every part

    def prune(self, before: datetime, now: datetime) -> Pruned:
        floor = self._raise_floor(micros(before), micros(now))
        if self._is_partitioned:
            self._make_ahead(micros(now))
        gone, finished = Counter[str](), True
        for number, (table, rows) in enumerate(self._parts(floor), start=1):
            gone[table] += rows
            if number == CHUNKS:
                finished = False
                break
        return Pruned(floor=moment_of(floor), finished=finished, **gone)

    def _parts(self, floor: int) -> Iterator[tuple[str, int]]:
        """Delete part by part; of each the table, and how many rows went."""
        for table in (*schema.PARTITIONED, "labels", "by_people"):
            kept_from = rules.kept_from(table, floor)
            if self._clean.get(table) == kept_from:
                continue
            if table == "labels":
                parts = self._prune_labels(kept_from)
            elif self._is_partitioned and table in schema.PARTITIONED:
                parts = self._drop_ended(table, kept_from)
            else:
                parts = self._prune(table, kept_from)
            for rows in parts:
                yield table, rows
            self._clean[table] = kept_from

    @property
    def _is_partitioned(self) -> bool:
        return self._database.engine.dialect.name == "postgresql"

    def _raise_floor(self, before: int, now: int) -> int:
        with self._database.noting() as connection:
            hold(connection, Advisory.INGEST)
            longest = connection.scalar(select(func.max(schema.rollouts.c.horizon_us))) or 0
            floor = rules.floor_for(before, now, int(longest), floor_of(connection))
            connection.execute(update(schema.retention).values(floor=floor))
            return floor

    def _prune(self, name: str, kept_from: int) -> Iterator[int]:
        table = schema.metadata.tables[name]
        by = {**schema.PARTITIONED, "by_people": "episode"}[name]
        old = select(*table.primary_key).where(table.c[by] < kept_from)
        for rows in self._chunks(old.limit(CHUNK)):
            yield self._delete(table, rows)

    def _drop_ended(self, name: str, kept_from: int) -> Iterator[int]:
        with self._database.reading() as connection:
            ended = partitions.ended(connection, name, kept_from)
        for one in ended:
            yield self._drop(schema.metadata.tables[name], one)

    def _chunks(self, wanted: Select[Any]) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Until none is found; whoever takes a chunk deletes it before it asks for the next."""
        while True:
            with self._database.reading() as connection:
                rows = [tuple(row) for row in connection.execute(wanted)]
            if rows:
                yield rows
            if len(rows) < CHUNK:
                return

    def _delete(self, table: Table, keys: Sequence[tuple[Any, ...]]) -> int:
        with self._database.noting() as connection:
            hold(connection, Advisory.INGEST)
            if table is schema.outcomes:
                mine = listed(schema.outcomes.c.id)
                _remember_refused(
                    connection, select(schema.outcomes).where(mine), values(row[0] for row in keys)
                )
            return connection.execute(keyed_delete(table), values(keys)).rowcount

    def _drop(self, table: Table, one: partitions.Partition) -> int:
        column = table.c[schema.PARTITIONED[one.table]]
        inside = column.between(one.week * partitions.WEEK_US, one.end - 1)
        with self._database.reading() as connection:  # nothing is added to what is below the floor
            count = connection.scalar(select(func.count()).select_from(table).where(inside)) or 0
        with self._database.noting() as connection:
            hold(connection, Advisory.INGEST)
            if table is schema.outcomes:
                _remember_refused(connection, select(schema.outcomes).where(inside), {})
            partitions.drop(connection, one)
        return count

    def _prune_labels(self, kept_from: int) -> Iterator[int]:
        """Those of blocks all of whose members are earlier. One that is still in line is needed, however old, and so is
        one whose block may yet be amended."""
        labels, blocks = schema.labels, schema.blocks
        old = (
            select(blocks.c.id)
            # A block's minute is that of its latest member.
            .where(blocks.c.minute < kept_from // MINUTE_US)
            .where(exists().where(labels.c.block == blocks.c.id))
            .limit(CHUNK)
        )
        for rows in self._chunks(old):
            with self._database.noting() as connection:
                hold(connection, Advisory.INGEST)
                members = delete(labels).where(listed(labels.c.block))
                gone = connection.execute(members, values(row[0] for row in rows)).rowcount
            yield gone

    def _make_ahead(self, now: int) -> None:
        with self._database.noting() as connection:
            hold(connection, Advisory.INGEST)
            partitions.add_missing(connection, partitions.ahead(now, WEEKS_AHEAD), set())


def _remember_refused(connection: Connection, gone: Select[Any], parameters: Any) -> None:
    """Count the refused ones of these outcomes, which are about to go; nobody waits for one that is."""
    rows = gone.where(schema.FATE_REFUSED).subquery()
    counted = select(func.coalesce(rows.c.rollout, ""), rows.c.fate, func.count()).group_by(
        rows.c.rollout, rows.c.fate
    )
    counts = Counter[tuple[str, Fate]]()
    for rollout, fate, number in connection.execute(counted, parameters):
        kept = Fate(fate)
        counts[rollout, Fate.EXPIRED if kept is Fate.WAITING else kept] += int(number)
    refuse(connection, counts)
