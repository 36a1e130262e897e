"""Notices owed, the ledger of their deliveries, and threads, in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, and_, case, func, or_, select, update

from controller.ports import Backlog, Owed, Thread
from controller.rollout.codec import canonical, decode
from controller.rollout.counting.items import micros, moment_of
from controller.rollout.decision import Notice
from controller.rollout.destinations import destinations
from controller.rollout.plan import Plan
from controller.rollout.state import Phase
from controller.store import rules, schema
from controller.store.engine import Database, ignoring_known, put

_TABLE = schema.outbox
_THREADS = schema.threads
_JUDGED = [phase.value for phase in Phase if phase.judged]


class SqlOutbox:
    """The outbox. A rollout's notices are handed out to each destination one at a time, in their order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owed(
        self, now: datetime, *, destination: str | None = None, limit: int = 100
    ) -> Sequence[Owed]:
        earlier = _TABLE.alias("earlier")
        first = (
            select(func.min(earlier.c.position))
            .where(
                earlier.c.destination == _TABLE.c.destination,
                earlier.c.rollout == _TABLE.c.rollout,
                earlier.c.delivered.is_(None),
            )
            .scalar_subquery()
        )
        due = select(_TABLE).where(
            _TABLE.c.delivered.is_(None),
            _TABLE.c.position == first,
            _TABLE.c.next_attempt <= micros(now),
        )
        if destination is not None:
            due = due.where(_TABLE.c.destination == destination)
        with self._database.reading() as connection:
            rows = connection.execute(due.order_by(_TABLE.c.position).limit(limit))
            return [_owed(row) for row in rows]

    def sending(self, owed: Owed, at: datetime, *, until: datetime) -> bool:
        before = _TABLE.c.sending
        same = before.is_(None) if owed.sending is None else before == micros(owed.sending)
        begun = _open(owed.id).where(same).values(sending=micros(at), next_attempt=micros(until))
        with self._database.noting() as connection:
            return connection.execute(begun).rowcount == 1

    def delivered(self, notice_id: str, at: datetime, *, reference: str = "") -> None:
        done = {"delivered": micros(at), "sending": None, "reference": reference}
        self._note(notice_id, _open(notice_id).values(done))

    def undelivered(
        self,
        notice_id: str,
        *,
        error: str,
        next_attempt: datetime,
        doubtful: bool = False,
        begun: datetime | None = None,
    ) -> None:
        tried = {
            "attempts": _TABLE.c.attempts + 1,
            "next_attempt": micros(next_attempt),
            "last_error": error,
            **({} if doubtful else {"sending": None}),
        }
        failed = _open(notice_id).values(tried)
        if begun is not None:
            failed = failed.where(_TABLE.c.sending == micros(begun))
        self._note(notice_id, failed)

    def deliveries(self, rollout: str) -> Sequence[Owed]:
        every = select(_TABLE).where(_TABLE.c.rollout == rollout).order_by(_TABLE.c.position)
        with self._database.reading() as connection:
            return [_owed(row) for row in connection.execute(every)]

    def backlog(self) -> Sequence[Backlog]:
        open_ones = (
            select(_TABLE.c.destination, func.count(), func.min(_TABLE.c.created))
            .where(_TABLE.c.delivered.is_(None))
            .group_by(_TABLE.c.destination)
            .order_by(_TABLE.c.destination)
        )
        with self._database.reading() as connection:
            return [
                Backlog(destination=destination, count=count, oldest=moment_of(oldest))
                for destination, count, oldest in connection.execute(open_ones)
            ]

    def threads(
        self,
        *,
        destination: str | None = None,
        rollout: str | None = None,
        stale: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Thread]:
        wanted = select(_THREADS) if stale is None else _behind(select(_THREADS), stale)
        if destination is not None:
            wanted = wanted.where(_THREADS.c.destination == destination)
        if rollout is not None:
            wanted = wanted.where(_THREADS.c.rollout == rollout)
        if stale is not None:
            wanted = wanted.order_by(case((_OLDER, 0), else_=1), _THREADS.c.shown)
        wanted = wanted.order_by(_THREADS.c.rollout, _THREADS.c.destination).limit(limit)
        with self._database.reading() as connection:
            return [_thread(row) for row in connection.execute(wanted)]

    def behind(self, stale: datetime) -> Sequence[str]:
        wanted = _behind(select(_THREADS.c.destination).distinct(), stale)
        with self._database.reading() as connection:
            return connection.scalars(wanted.order_by(_THREADS.c.destination)).all()

    def note_thread(self, thread: Thread) -> None:
        row = (
            thread.rollout,
            thread.destination,
            thread.number,
            thread.channel,
            thread.ts,
            thread.seq,
            _micros(thread.shown),
            _micros(thread.sending),
        )
        with self._database.noting() as connection:
            put(connection, _THREADS, [row])

    def _note(self, notice_id: str, statement: Update) -> None:
        with self._database.noting() as connection:
            if connection.execute(statement).rowcount:
                return
            if connection.scalar(select(_TABLE.c.id).where(_TABLE.c.id == notice_id)) is None:
                raise rules.no_notice(notice_id)


def owe(
    connection: Connection, rollout: str, plan: Plan, notices: Iterable[Notice], at: datetime
) -> None:
    """Add notices in their order, each for all its destinations; what is known already is owed once."""
    rows = [
        {
            "id": rules.outbox_id(rollout, notice.key, destination),
            "rollout": rollout,
            "notice": canonical(notice),
            "destination": destination,
            "created": micros(at),
            "attempts": 0,
            # Due at once: who sends it may be on a host whose clock is behind the one that decided.
            "next_attempt": 0,
            "last_error": "",
        }
        for notice in notices
        for destination in destinations(plan, notice)
    ]
    if rows:
        connection.execute(ignoring_known(connection, _TABLE), rows)


_OLDER = _THREADS.c.seq < schema.rollouts.c.seq


def _behind(wanted: Select[Any], stale: datetime) -> Select[Any]:
    heads = schema.rollouts
    old = and_(heads.c.phase.in_(_JUDGED), _THREADS.c.shown < micros(stale))
    joined = wanted.join(heads, heads.c.rollout == _THREADS.c.rollout)
    return joined.where(_THREADS.c.ts != "", or_(_OLDER, old))


def _open(notice_id: str) -> Update:
    return update(_TABLE).where(_TABLE.c.id == notice_id, _TABLE.c.delivered.is_(None))


def _owed(row: Row[Any]) -> Owed:
    return Owed(
        id=row.id,
        rollout=row.rollout,
        notice=decode(Notice, json.loads(row.notice)),
        destination=row.destination,
        created=moment_of(row.created),
        attempts=row.attempts,
        next_attempt=moment_of(row.next_attempt),
        delivered=_moment(row.delivered),
        sending=_moment(row.sending),
        reference=row.reference,
        last_error=row.last_error,
    )


def _thread(row: Row[Any]) -> Thread:
    return Thread(
        rollout=row.rollout,
        destination=row.destination,
        number=row.number,
        channel=row.channel,
        ts=row.ts,
        seq=row.seq,
        shown=_moment(row.shown),
        sending=_moment(row.sending),
    )


def _moment(at: int | None) -> datetime | None:
    return None if at is None else moment_of(at)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)
