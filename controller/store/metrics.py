"""What was counted, and how far it was judged, in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, bindparam, delete, select

from controller.errors import Conflict
from controller.ports import Judged, Note, SplitVersion, VerifiedStretch
from controller.rollout.counting.items import Fate, micros, moment_of
from controller.rollout.observation import Batch, Cohort, Ingested, RollupRow
from controller.rollout.timeline import minute_of, start_of
from controller.store import rules, schema
from controller.store.direct import asked
from controller.store.engine import Database, put
from controller.store.lists import following, following_by_seeks, listed, values
from controller.store.live import Live
from controller.store.locks import Advisory, hold, hold_rollouts
from controller.store.refusals import refused
from controller.store.splits import splits_of

if TYPE_CHECKING:
    from controller.store.partitions import Partition

_VERIFIED = select(schema.verified).where(listed(schema.verified.c.rollout))
_UNVERIFY = delete(schema.verified).where(
    *(column == bindparam(column.name) for column in schema.verified.primary_key)
)
_OF_MINUTES = (schema.minutes, schema.minutes.c.rollout, schema.minutes.c.seq)
_CHANGED: Mapping[str, Select[Any]] = {
    "sqlite": following(*_OF_MINUTES),
    "postgresql": following_by_seeks(*_OF_MINUTES),
}


class SqlMetrics:
    """Ingest and the reads of it. Each read is one consistent view."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._weeks: set[Partition] = set()  # those that were seen, so that not every batch looks
        self._live = Live()

    def ingest(self, batch: Batch, now: datetime) -> Ingested:
        if self._database.engine.dialect.name == "sqlite":
            # An id is a key there, so one that comes twice is noticed when it is written. That is seldom: the batch is
            # counted again then, and no other asks for its ids beforehand. (PostgreSQL's keys hold within a week.)
            with suppress(Conflict):
                return self._ingest(batch, now, all_new=True)
        return self._ingest(batch, now, all_new=False)

    def _ingest(self, batch: Batch, now: datetime, *, all_new: bool) -> Ingested:
        # Whoever only reads starts without its statements.
        from controller.store.ingest import ingest
        from controller.store.rows import SqlRows

        with self._database.noting() as connection:
            hold(connection, Advisory.INGEST)
            rows = SqlRows(connection, self._weeks, self._live, all_new=all_new)
            ingested = ingest(rows, batch, now)
        rows.committed()
        return ingested

    def rollups(self, rollout: str, *, changed_after: int = 0) -> tuple[Sequence[RollupRow], int]:
        present = select(schema.rollouts.c.ingest_seq).where(schema.rollouts.c.rollout == rollout)
        with self._database.reading() as connection:
            rows = changed_rows(connection, {rollout: changed_after})[rollout]
            return rows, connection.scalar(present) or 0

    def refused(self, rollout: str) -> Mapping[str, int]:
        with self._database.reading() as connection:
            counts = refused(connection, rollout)
        return {fate.value: counts[fate] for fate in Fate if fate is not Fate.COUNTED}

    def splits(self, rollout: str) -> Sequence[SplitVersion]:
        with self._database.reading() as connection:
            return splits_of(connection, [rollout])[rollout]

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

    def note(self, notes: Sequence[Note], *, fence: int | None = None) -> None:
        if not notes:
            return
        with self._database.writing() as (connection, present):
            rules.admit_fence(fence, present)
            _require(connection, [one.rollout for one in notes])
            _verify(connection, notes)
            rows = [
                (one.rollout, micros(one.through), one.seq, one.status)
                for one in notes
                if one.through is not None
            ]
            put(connection, schema.judged, rows)


def _require(connection: Connection, rollouts: Sequence[str]) -> None:
    """Wait for their rows; NotFound."""
    there = hold_rollouts(connection, rollouts)
    missing = next((one for one in rollouts if one not in there), None)
    if missing is not None:
        raise rules.no_rollout(missing, connection.scalars(select(schema.rollouts.c.rollout)).all())


def _verify(connection: Connection, notes: Sequence[Note]) -> None:
    """Join each stretch with what is there. Mostly the last one grows: its row, found by its start, is replaced."""
    known: dict[str, list[VerifiedStretch]] = {one.rollout: [] for one in notes if one.verified}
    if not known:
        return
    for row in asked(connection, _VERIFIED, **values(known)):
        known[row.rollout].append(_stretch(row))
    stale: set[tuple[str, int, int]] = set()
    fresh: dict[tuple[str, int, int], int] = {}
    for rollout, stretch in ((note.rollout, one) for note in notes for one in note.verified):
        gone, whole = rules.joined(known[rollout], stretch)
        if whole is None:
            continue
        known[rollout] = [*(one for one in known[rollout] if one not in gone), whole]
        for one in gone:
            key = (rollout, one.version, micros(one.start))
            stale.add(key)
            fresh.pop(key, None)
        fresh[rollout, whole.version, micros(whole.start)] = micros(whole.end)
    for key in stale - fresh.keys():
        connection.execute(_UNVERIFY, dict(zip(("rollout", "version", "start"), key, strict=True)))
    put(connection, schema.verified, [(*key, end) for key, end in fresh.items()])


def _stretches(connection: Connection, rollout: str) -> list[VerifiedStretch]:
    table = schema.verified
    every = select(table).where(table.c.rollout == rollout).order_by(table.c.start, table.c.version)
    return [_stretch(row) for row in connection.execute(every)]


def _stretch(row: Any) -> VerifiedStretch:
    return VerifiedStretch(version=row.version, start=moment_of(row.start), end=moment_of(row.end))


def changed_rows(connection: Connection, after: Mapping[str, int]) -> dict[str, list[RollupRow]]:
    """By rollout, the minute rows with a higher ingest sequence."""
    changed: dict[str, list[RollupRow]] = {rollout: [] for rollout in after}
    wanted = _CHANGED[connection.dialect.name]
    for row in asked(connection, wanted, **values(after.items())) if after else ():
        changed[row.rollout].append(_rollup(row))
    return changed


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


def _first_hour(moment: datetime) -> int:
    """The first minute of the first hour that starts at `moment` or later."""
    hour = minute_of(moment) // 60 * 60
    return hour if start_of(hour) == moment else hour + 60
