"""Notices owed, in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Update, func, select, update

from controller.ports import Owed
from controller.rollout.accounting_state import micros, moment_of
from controller.rollout.codec import canonical, decode
from controller.rollout.decision import Notice
from controller.store import rules, schema
from controller.store.engine import Database, ignoring_known

_TABLE = schema.outbox


class SqlOutbox:
    """The outbox. A rollout's notices are handed out one at a time, in the order in which they were owed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owed(self, now: datetime, *, limit: int = 100) -> Sequence[Owed]:
        earlier = _TABLE.alias("earlier")
        first = (
            select(func.min(earlier.c.position))
            .where(earlier.c.rollout == _TABLE.c.rollout, earlier.c.delivered.is_(None))
            .scalar_subquery()
        )
        due = (
            select(_TABLE)
            .where(
                _TABLE.c.delivered.is_(None),
                _TABLE.c.position == first,
                _TABLE.c.next_attempt <= micros(now),
            )
            .order_by(_TABLE.c.position)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_owed(row) for row in connection.execute(due)]

    def delivered(self, notice_id: str, at: datetime) -> None:
        self._note(notice_id, _open(notice_id).values(delivered=micros(at), last_error=""))

    def undelivered(self, notice_id: str, *, error: str, next_attempt: datetime) -> None:
        tried = {
            "attempts": _TABLE.c.attempts + 1,
            "next_attempt": micros(next_attempt),
            "last_error": error,
        }
        self._note(notice_id, _open(notice_id).values(tried))

    def deliveries(self, rollout: str) -> Sequence[Owed]:
        every = select(_TABLE).where(_TABLE.c.rollout == rollout).order_by(_TABLE.c.position)
        with self._database.reading() as connection:
            return [_owed(row) for row in connection.execute(every)]

    def _note(self, notice_id: str, statement: Update) -> None:
        with self._database.writing() as (connection, _):
            if connection.execute(statement).rowcount:
                return
            if connection.scalar(select(_TABLE.c.id).where(_TABLE.c.id == notice_id)) is None:
                raise rules.no_notice(notice_id)


def owe(connection: Connection, rollout: str, notices: Iterable[Notice], at: datetime) -> None:
    """Add notices in their order; one that is known already is owed once."""
    rows = [
        {
            "id": rules.outbox_id(rollout, notice.key),
            "rollout": rollout,
            "notice": canonical(notice),
            "created": micros(at),
            "attempts": 0,
            "next_attempt": micros(at),
            "last_error": "",
        }
        for notice in notices
    ]
    if rows:
        connection.execute(ignoring_known(connection, _TABLE), rows)


def _open(notice_id: str) -> Update:
    return update(_TABLE).where(_TABLE.c.id == notice_id, _TABLE.c.delivered.is_(None))


def _owed(row: Row[Any]) -> Owed:
    return Owed(
        id=row.id,
        rollout=row.rollout,
        notice=decode(Notice, json.loads(row.notice)),
        created=moment_of(row.created),
        attempts=row.attempts,
        next_attempt=moment_of(row.next_attempt),
        delivered=None if row.delivered is None else moment_of(row.delivered),
        last_error=row.last_error,
    )
