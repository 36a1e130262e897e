"""Many rows at once, by the quickest way that each database has.

SQLite: executemany, which costs no round trips there. PostgreSQL: COPY, into the table where rows are new, else into a
temporary one that is then merged. Of the same rows in one run (`python -m benchmarks.ingest --ways`) COPY writes three
to eight times as many a second as psycopg's pipelined executemany, and two to four times with the merge. unnest() of
arrays is beside executemany, INSERT with many VALUES far below: each value is adapted and sent by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Table, Update
from sqlalchemy.exc import DBAPIError

from controller.store.engine import add, conflict_key, is_gone, many, put

FEW: Final = 20
"""Below this a temporary table costs more than it saves."""

Rows = Sequence[tuple[Any, ...]]


def add_many(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert new rows, columns in the table's order."""
    if not _is_copied(connection, rows):
        add(connection, table, rows)
        return
    _copy(connection, table.name, table.c.keys(), rows)


def put_many(connection: Connection, table: Table, rows: Rows) -> None:
    """The same, but a row whose key is there replaces it. No key twice, and once in a transaction for each table."""
    if not _is_copied(connection, rows):
        put(connection, table, rows)
        return
    names = tuple(table.c.keys())
    staged = _stage(connection, table, names, rows)
    rest = ", ".join(f"{_quoted(one)} = excluded.{_quoted(one)}" for one in _rest(table, names))
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({_columns(names)}) SELECT {_columns(names)} FROM {staged} "  # noqa: S608 # our names
        f"ON CONFLICT ({_columns(conflict_key(table, 'postgresql'))}) DO UPDATE SET {rest}"
    )


def change_many(
    connection: Connection, statement: Update, table: Table, names: Sequence[str], rows: Rows
) -> None:
    """Change rows that are there as `statement` does, once in a transaction for each table.

    `names` are of the columns to change, and of those of the key, which in `statement` are parameters with a `_` added.
    """
    key = conflict_key(table, "postgresql")
    if not _is_copied(connection, rows):
        many(connection, statement, [f"{one}_" if one in key else one for one in names], rows)
        return
    staged = _stage(connection, table, tuple(names), rows)
    rest = ", ".join(f"{_quoted(one)} = staged.{_quoted(one)}" for one in _rest(table, names))
    same = " AND ".join(f"{table.name}.{_quoted(one)} = staged.{_quoted(one)}" for one in key)
    connection.exec_driver_sql(
        f"UPDATE {table.name} SET {rest} FROM {staged} AS staged WHERE {same}"  # noqa: S608 # our names
    )


def _is_copied(connection: Connection, rows: Rows) -> bool:
    return len(rows) >= FEW and connection.dialect.name == "postgresql"


def _stage(connection: Connection, table: Table, names: Sequence[str], rows: Rows) -> str:
    """The name of a temporary table that holds the rows until the transaction ends."""
    staged = f"staged_{table.name}_{len(names)}"
    # Kept for the session: making it anew each time would fill the server's catalogue with what is gone.
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS "  # noqa: S608 # our names
        f"AS SELECT {_columns(names)} FROM {table.name} WITH NO DATA"
    )
    _copy(connection, staged, names, rows)
    return staged


def _copy(connection: Connection, name: str, names: Sequence[str], rows: Rows) -> None:
    statement = f"COPY {name} ({_columns(names)}) FROM STDIN"
    driver: Any = connection.connection
    with (
        _told_as_sqlalchemy(connection, statement),
        driver.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for row in rows:
            copy.write_row(row)


@contextmanager
def _told_as_sqlalchemy(connection: Connection, statement: str) -> Iterator[None]:
    """COPY goes past SQLAlchemy; its errors are told, and lost connections left, as those of other statements."""
    dialect = connection.dialect
    driver_error: type[Exception] = dialect.loaded_dbapi.Error
    try:
        yield
    except driver_error as error:
        gone = is_gone(error) or bool(connection.connection.driver_connection.broken)  # type: ignore[union-attr] # psycopg's
        if gone:
            connection.invalidate(error)
        told = DBAPIError.instance(
            statement, None, error, driver_error, connection_invalidated=gone, dialect=dialect
        )
        raise told from error


def _rest(table: Table, names: Sequence[str]) -> list[str]:
    key = conflict_key(table, "postgresql")
    return [one for one in names if one not in key]


def _columns(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return f'"{name}"'
