"""What was counted, and how far it was judged, in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, tuple_

from controller.ports import Judged, SplitVersion, VerifiedStretch
from controller.rollout.accounting_state import Fate, micros, moment_of
from controller.rollout.codec import dumps
from controller.rollout.observation import Batch, Cohort, Ingested, RollupRow
from controller.rollout.timeline import minute_of, start_of
from controller.store import rules, schema
from controller.store.engine import Database, add, put
from controller.store.splits import splits_of


class SqlMetrics:
    """Ingest and the reads of it. Each read is one consistent view."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ingest(self, batch: Batch, now: datetime) -> Ingested:
        # Whoever only reads starts without its statements.
        from controller.store.ingest import ingest
        from controller.store.rows import SqlRows

        with self._database.writing() as (connection, _):
            return ingest(SqlRows(connection), batch, now)

    def rollups(self, rollout: str, *, changed_after: int = 0) -> tuple[Sequence[RollupRow], int]:
        table = schema.minutes
        changed = select(table).where(table.c.rollout == rollout, table.c.seq > changed_after)
        present = select(schema.rollouts.c.ingest_seq).where(schema.rollouts.c.rollout == rollout)
        with self._database.reading() as connection:
            rows = [_rollup(row) for row in connection.execute(changed)]
            return rows, connection.scalar(present) or 0

    def hours(self, rollout: str, *, since: datetime, until: datetime) -> Sequence[RollupRow]:
        table = schema.hours
        wanted = select(table).where(
            table.c.rollout == rollout,
            table.c.minute >= _first_minute(since),
            table.c.minute < _first_minute(until),
        )
        with self._database.reading() as connection:
            return [_rollup(row) for row in connection.execute(wanted)]

    def refused(self, rollout: str) -> Mapping[str, int]:
        table = schema.outcomes
        # Whose the waiting and the expired are is not known; only what came too late was matched.
        mine = or_(table.c.rollout.is_(None), table.c.rollout == rollout)
        counted = (
            select(table.c.fate, func.count())
            .where(schema.FATE_REFUSED, mine)
            .group_by(table.c.fate)
        )
        with self._database.reading() as connection:
            counts = {row[0]: int(row[1]) for row in connection.execute(counted)}
        return {fate.value: counts.get(fate.value, 0) for fate in Fate if fate is not Fate.COUNTED}

    def splits(self, rollout: str) -> Sequence[SplitVersion]:
        with self._database.reading() as connection:
            return splits_of(connection, rollout)

    def verify(self, rollout: str, stretch: VerifiedStretch) -> None:
        with self._database.writing() as (connection, _):
            _require(connection, rollout)
            gone, whole = rules.joined(_stretches(connection, rollout), stretch)
            if whole is None:
                return
            table = schema.verified
            for one in gone:
                key = (rollout, one.version, micros(one.start))
                connection.execute(delete(table).where(tuple_(*table.primary_key) == tuple_(*key)))
            add(
                connection,
                table,
                [(rollout, whole.version, micros(whole.start), micros(whole.end))],
            )

    def verified(self, rollout: str) -> Sequence[VerifiedStretch]:
        with self._database.reading() as connection:
            return _stretches(connection, rollout)

    def judged(self, rollout: str) -> Judged | None:
        table = schema.judged
        with self._database.reading() as connection:
            row = connection.execute(select(table).where(table.c.rollout == rollout)).one_or_none()
        if row is None:
            return None
        return Judged(through=moment_of(row.through), seq=row.seq, status=json.loads(row.status))

    def note_judged(self, rollout: str, judged: Judged) -> None:
        with self._database.writing() as (connection, _):
            _require(connection, rollout)
            row = (rollout, micros(judged.through), judged.seq, dumps(judged.status))
            put(connection, schema.judged, [row])


def _require(connection: Connection, rollout: str) -> None:
    table = schema.rollouts
    if connection.scalar(select(table.c.seq).where(table.c.rollout == rollout)) is None:
        raise rules.no_rollout(rollout, connection.scalars(select(table.c.rollout)).all())


def _stretches(connection: Connection, rollout: str) -> list[VerifiedStretch]:
    table = schema.verified
    every = select(table).where(table.c.rollout == rollout).order_by(table.c.start, table.c.version)
    return [
        VerifiedStretch(version=row.version, start=moment_of(row.start), end=moment_of(row.end))
        for row in connection.execute(every)
    ]


def _rollup(row: Any) -> RollupRow:
    rollout, minute, version, arm, intent, endpoint, cohort, seq, stats = row
    return RollupRow(
        rollout=rollout,
        minute=minute,
        version=version,
        arm=arm,
        intent=intent,
        endpoint=endpoint,
        cohort=Cohort(cohort),
        seq=seq,
        stats=json.loads(stats),
    )


def _first_minute(moment: datetime) -> int:
    """The first minute that starts at `moment` or later."""
    minute = minute_of(moment)
    return minute if start_of(minute) == moment else minute + 1
