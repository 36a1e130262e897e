"""The one row that says who leads, in SQL.

It is not the fence's row, which every write locks: on PostgreSQL a renewal waits for nobody, on SQLite for the one
write lock there is. Who takes the lead locks the fence's row first, so from that moment every write of the one before
is refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, and_, select, update

from controller.ports import Leadership
from controller.store import rules, schema
from controller.store.engine import Database

_ROW = schema.leadership.c
_MICROSECOND = timedelta(microseconds=1)


class SqlLeadership:
    """`controller.ports.LeadershipStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def leadership(self) -> Leadership:
        with self._database.reading() as connection:
            return _present(connection)

    def take_lead(self, seen: Leadership, *, holder: str, term: timedelta) -> Leadership:
        with self._database.fencing() as (connection, present):
            fence = present + 1
            taken = update(schema.leadership).where(_is(seen), _ROW.beat == seen.beat)
            row = {"holder": holder, "fence": fence, "term_us": term // _MICROSECOND}
            if not _changed(connection, taken.values(**row, beat=_ROW.beat + 1)):
                raise rules.not_as_seen(seen, _present(connection))
            connection.execute(update(schema.fence).values(value=fence))
            return _present(connection)

    def renew_lead(self, held: Leadership) -> Leadership:
        with self._database.noting() as connection:
            renewed = update(schema.leadership).where(_is(held)).values(beat=_ROW.beat + 1)
            if not _changed(connection, renewed):
                raise rules.not_held(held)
            return _present(connection)

    def resign_lead(self, held: Leadership) -> None:
        with self._database.noting() as connection:
            left = update(schema.leadership).where(_is(held))
            connection.execute(left.values(holder="", beat=_ROW.beat + 1))


def _is(one: Leadership) -> ColumnElement[bool]:
    return and_(_ROW.holder == one.holder, _ROW.fence == one.fence)


def _changed(connection: Connection, statement: Update) -> bool:
    return connection.execute(statement).rowcount == 1


def _present(connection: Connection) -> Leadership:
    row: Any = connection.execute(select(schema.leadership)).one()
    return Leadership(
        holder=row.holder,
        fence=row.fence,
        beat=row.beat,
        term=timedelta(microseconds=row.term_us),
    )
