"""The database: connections, transactions, and how its errors are told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from operator import eq
from typing import Any, Final

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    create_engine,
    event,
    make_url,
    select,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql import column as column_
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from controller.errors import Conflict, Unreachable
from controller.store import schema

BUSY_TIMEOUT_S: Final = 10
_WRITING: Final = "canaryctl_writing"
# A read transaction of SQLite sees one state by itself.
_READING: Final = {"postgresql": {"isolation_level": "REPEATABLE READ"}}


def connect(url: str) -> Engine:
    """An engine whose connections are set up for several processes at once."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}, **_pool(url)
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _pool(url: str) -> dict[str, Any]:
    """A database in memory lives in its one connection, for which threads queue."""
    if make_url(url).database not in (None, "", ":memory:"):
        return {}
    return {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}


class Database:
    """Transactions on one engine.

    Writers queue: SQLite takes its write lock at BEGIN IMMEDIATE and waits for it up to BUSY_TIMEOUT_S; PostgreSQL
    locks the fence's row. So what a writer has read is still true when it writes, and no commit needs a retry.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent view of the database."""
        return reading(self.engine)

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, int]]:
        """A connection that alone may write, with the present fence; committed at the end or not at all."""
        with raw_writing(self.engine) as connection:
            held = connection.scalar(select(schema.fence.c.value).with_for_update())
            yield connection, int(held or 0)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the database."""
    options = _READING.get(engine.dialect.name, {})
    with _told(engine), engine.connect() as connection:
        yield connection.execution_options(**options)


@contextmanager
def raw_writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction that asks for no table, for those who make them."""
    with _told(engine), engine.connect() as plain:
        connection = plain.execution_options(**{_WRITING: True})
        with connection.begin():
            yield connection


def put(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, columns in the table's order; a row whose primary key is there replaces it."""
    many(connection, _upsert(table, connection.dialect.name), table.c.keys(), rows)


def add(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert new rows, columns in the table's order."""
    many(connection, table.insert(), table.c.keys(), rows)


def ignoring_known(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves rows alone that are there already."""
    return _dialect_insert(table, connection.dialect.name).on_conflict_do_nothing()


def listed(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the column is among `values(...)`: one parameter whatever their number, so statements stay prepared."""
    return column.in_(select(_texts(_VALUES).table_valued("value").c.value))


def keyed(table: Table) -> Select[Any]:
    """The table's rows whose primary keys are among `values(...)`, each a list."""
    items = listed_rows(*(column.type for column in table.primary_key))
    matches = map(eq, table.primary_key, items.columns)
    return select(table).select_from(items.rows).join(table, and_(*matches))


@dataclass(frozen=True)
class ListedRows:
    """Rows to select from, and their columns."""

    rows: FromClause
    columns: Sequence[ColumnElement[Any]]


def listed_rows(*kinds: type[TypeEngine[Any]] | TypeEngine[Any]) -> ListedRows:
    """`values(...)` as rows, each a list of values of these types."""
    items = _items(_VALUES).table_valued(column_("value", JSON))
    columns = [cast(items.c.value.op("->>")(place), kind) for place, kind in enumerate(kinds)]
    return ListedRows(items, columns)


def values(some: Iterable[str | tuple[str | int, ...]]) -> dict[str, str]:
    """The parameter that `listed` and `keyed` ask for."""
    return {"values": json.dumps(list(some))}


_VALUES: Final = bindparam("values", type_=Text)


class _texts(FunctionElement[str]):  # noqa: N801 # a function of SQL
    """The members of a JSON array of texts."""

    inherit_cache = True


class _items(FunctionElement[Any]):  # noqa: N801 # a function of SQL
    """The members of a JSON array, as JSON."""

    inherit_cache = True


@compiles(_texts, "sqlite")
@compiles(_items, "sqlite")
def _in_sqlite(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_texts, "postgresql")
def _texts_in_postgresql(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"


@compiles(_items, "postgresql")
def _items_in_postgresql(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    return f"json_array_elements(CAST({compiler.process(element.clauses, **options)} AS json))"


def _dialect_insert(table: Table, dialect: str) -> Any:
    # The other dialect is not loaded: that costs more than a read.
    module = import_module(f"sqlalchemy.dialects.{dialect}")
    return module.insert(table)


@cache
def _upsert(table: Table, dialect: str) -> Any:
    insert = _dialect_insert(table, dialect)
    rest = {one.name: insert.excluded[one.name] for one in table.c if not one.primary_key}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest)


def many(
    connection: Connection, statement: Any, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """executemany; `names` are the statement's parameters in their order.

    Where the driver takes tuples they go to it as they are: naming every value would cost as much as inserting it.
    """
    if not rows:
        return
    if not connection.dialect.positional:
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
        return
    compiled = statement.compile(dialect=connection.dialect)
    if list(names) != compiled.positiontup:
        raise AssertionError(f"{names} are not in the order of {compiled}")
    connection.exec_driver_sql(str(compiled), list(rows))


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = (
        None  # the driver starts no transactions by itself; `_begin_sqlite` does
    )
    for setting in (
        "journal_mode = WAL",  # readers see a consistent state while a writer writes
        "synchronous = FULL",  # a committed rollback survives a power cut
        "foreign_keys = ON",
        "cache_size = -32768",  # KiB; ingest touches pages all over the key space
        "wal_autocheckpoint = 8000",  # pages, 32 MiB: not after every batch
    ):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _told(engine: Engine) -> Iterator[None]:
    """Turn SQLAlchemy's errors into words. A broken constraint is a defect of ours and stays what it is, unless it is
    about a key that another writer took first.
    """
    database = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except IntegrityError as error:
        if not _is_taken(error):
            raise
        raise Conflict(
            f"{database}: another writer was first ({error.orig}). Read again, and repeat if it still makes sense."
        ) from error
    except DBAPIError as error:
        raise Unreachable(
            f"The database {database} did not answer: {error.orig}. Nothing was written; it is tried again."
        ) from error
    except SQLAlchemyError as error:
        raise Unreachable(f"The database {database} could not be used: {error}") from error


# https://www.sqlite.org/rescode.html: SQLITE_CONSTRAINT_PRIMARYKEY, _ROWID and _UNIQUE
_SQLITE_TAKEN: Final = frozenset((1555, 2579, 2067))
_POSTGRESQL_TAKEN: Final = "23505"  # unique_violation


def _is_taken(error: IntegrityError) -> bool:
    """Whether a unique or primary key was there already."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code in _SQLITE_TAKEN or getattr(error.orig, "sqlstate", None) == _POSTGRESQL_TAKEN
