"""PostgreSQL's partitions: the raw tables are kept by week, so that what is old goes with its table and not row by row.

Only whoever holds the ingest lock makes or drops one, so no two processes do at once and none is missing when it is
written to. A week starts on a Thursday, as 1970 did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text

from controller.errors import DataError
from controller.rollout.counting.items import micros, moment_of
from controller.store.schema import PARTITIONED

WEEK_US: Final = 7 * 24 * 3600 * 1_000_000
MOST: Final = 100
"""Weeks that one batch may begin: each takes locks, of which a server has so many."""

_PARTITIONS: Final = text(
    "SELECT child.relname, parent.relname FROM pg_inherits "
    "JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent "
    "WHERE parent.relkind = 'p' AND child.relkind = 'r' AND pg_table_is_visible(parent.oid)"
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Partition:
    """One table's rows of one week, [week, week + 1) since 1970."""

    table: str
    week: int

    @property
    def name(self) -> str:
        return f"{self.table}_{moment_of(self.week * WEEK_US):%Y%m%d}"

    @property
    def end(self) -> int:
        """In microseconds, exclusive."""
        return (self.week + 1) * WEEK_US


def partitions(connection: Connection) -> Mapping[str, str]:
    """All there are, with their tables; none in SQLite."""
    if connection.dialect.name != "postgresql":
        return {}
    return {child: parent for child, parent in connection.execute(_PARTITIONS)}  # noqa: C416 # rows are no pairs


def week_of(at: int) -> int:
    """The week of a moment in microseconds."""
    return at // WEEK_US


def add_missing(connection: Connection, wanted: Iterable[Partition], known: set[Partition]) -> None:
    """Make the partitions that are not there; those that are become `known`. Under the ingest lock."""
    unknown = {one for one in wanted if one not in known}
    if not unknown:
        return
    there = partitions(connection)
    missing = sorted(one for one in unknown if one.name not in there)
    if len({one.week for one in missing}) > MOST:
        raise DataError(
            f"The batch begins {len({one.week for one in missing})} weeks; at most {MOST} may. Send it in the order of "
            "time, in smaller parts."
        )
    for one in missing:
        _add(connection, one)
    # Those made just now may yet be rolled back.
    known.update(unknown.difference(missing))


def _add(connection: Connection, one: Partition) -> None:
    # Made apart and attached: CREATE TABLE .. PARTITION OF would hold up every reader of the table.
    start = one.week * WEEK_US
    # The room left in each page is for what is written again and again while its unit lives: no index changes then.
    room = "WITH (fillfactor = 70)" if one.table == "episodes" else ""
    connection.exec_driver_sql(
        f"CREATE TABLE {one.name} (LIKE {one.table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) {room}"
    )
    connection.exec_driver_sql(
        f"ALTER TABLE {one.table} ATTACH PARTITION {one.name} FOR VALUES FROM ({start}) TO ({one.end})"
    )


def ended(connection: Connection, table: str, before: int) -> list[Partition]:
    """A table's partitions that hold nothing of this moment or later, oldest first."""
    found = (
        Partition(table=table, week=_week_of_name(name, table))
        for name, parent in partitions(connection).items()
        if parent == table
    )
    return sorted(one for one in found if one.end <= before)


def drop(connection: Connection, one: Partition) -> None:
    """With all that is in it. Under the ingest lock: nobody writes there meanwhile."""
    connection.exec_driver_sql(f"DROP TABLE {one.name}")


def _week_of_name(name: str, table: str) -> int:
    day = datetime.strptime(name.removeprefix(f"{table}_"), "%Y%m%d").replace(tzinfo=UTC)
    return week_of(micros(day))


def ahead(now: int, weeks: int) -> list[Partition]:
    """Of every table, this week's and the next ones."""
    first = week_of(now)
    return [
        Partition(table=table, week=week)
        for table in PARTITIONED
        for week in range(first, first + weeks + 1)
    ]
