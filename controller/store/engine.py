"""The database: connections, transactions, and how its errors are told."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib import import_module
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import DataError as UnfitError
from sqlalchemy.pool import QueuePool

from controller.errors import Conflict, DataError, SettingsError, Unreachable
from controller.store import schema
from controller.store.direct import text_of
from controller.store.locks import hold_fence

BUSY_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_S: Final = 60  # a batch of any size takes a fraction of it
_WRITING: Final = "canaryctl_writing"
# A read transaction of SQLite sees one state by itself.
_READING: Final[Mapping[str, dict[str, Any]]] = {
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
}


def connect(url: str) -> Engine:
    """An engine whose connections are set up for several processes at once. SettingsError for an unusable address."""
    if not url.startswith("sqlite"):
        return _connect_postgresql(url)
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


# As the server names them, times in milliseconds but for keepalives.
_SESSION: Final = {
    "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
    "lock_timeout": BUSY_TIMEOUT_S
    * 1000,  # a stuck lock fails a tick, which is repeated; it hangs none
    "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT_S * 1000,  # nor does a stopped process
    # What we join is a list with a table, by an index. The planner does not know how short the list is, and would read
    # a week of requests for it.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # For the same reason it takes a seek for each of a list to be dear enough to compile, which takes a hundred times
    # as long as the seek.
    "jit": "off",
    # The server lets go of the locks of a host that is gone.
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}
# As libpq names them, times in seconds unless the name says otherwise. An address that names one itself keeps its own.
_POSTGRESQL: Final = {
    "application_name": "canaryctl",
    "connect_timeout": 5,  # for each host
    # A host that is gone without a word is noticed within half a minute, also while an answer is awaited.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
    "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
}


def _connect_postgresql(url: str) -> Engine:
    address = _postgresql_address(url)
    own = {name: value for name, value in _POSTGRESQL.items() if name not in address.query}
    try:
        engine = create_engine(
            address,
            connect_args=own,
            isolation_level="READ COMMITTED",  # of writers; see `controller.store.locks`
            pool_size=5,
            max_overflow=10,
            pool_timeout=BUSY_TIMEOUT_S,
            # After a restart of the database the first call already gets a new connection.
            pool_pre_ping=True,
        )
    except ImportError as error:
        raise SettingsError(
            "CANARY_DATABASE_URL names PostgreSQL, whose driver is not installed: "
            f"`pip install 'canaryctl[postgres]'` ({error})."
        ) from error
    event.listen(engine, "handle_error", _leave_a_standby)
    return engine


def _postgresql_address(url: str) -> URL:
    """With the one driver that is supported, and several hosts (a:5432,b:5432) as SQLAlchemy takes them."""
    scheme, _, rest = url.partition("://")
    authority = re.match(r"(?P<user>[^/?]*@)?(?P<hosts>[^/?]*)", rest)
    assert authority is not None  # noqa: S101 # it matches the empty text
    hosts = authority["hosts"].split(",")
    if len(hosts) > 1:
        path, mark, query = rest[authority.end() :].partition("?")
        asked = "&".join(f"host={quote(host, safe=':')}" for host in hosts)
        rest = f"{authority['user'] or ''}{path}?{asked}{'&' if mark else ''}{query}"
    try:
        return make_url(f"{scheme}://{rest}").set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:
        raise SettingsError(
            "CANARY_DATABASE_URL cannot be read. Wanted is postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            "with special characters of the password in percent encoding (@ is %40)."
        ) from error


def _leave_a_standby(context: Any) -> None:
    """A server that became a standby takes no writes: leave it, the next connections look for the primary."""
    if is_gone(context.original_exception):
        context.is_disconnect = True


def is_gone(error: BaseException) -> bool:
    """Whether a server says that it takes no writes any more."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


class Database:
    """Transactions on one engine. What they lock, and in which order: `controller.store.locks`.

    Writers of SQLite queue, for up to BUSY_TIMEOUT_S; those of PostgreSQL wait as long for what they lock. What is read
    under a lock is still true when it is written, so no commit needs a retry.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent view of the database."""
        return reading(self.engine)

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, int]]:
        """A transaction under the present fence, which it is handed; committed at the end or not at all.

        Many write at once, but nobody takes a fence meanwhile.
        """
        with raw_writing(self.engine) as connection:
            yield connection, hold_fence(connection, alone=False)

    @contextmanager
    def fencing(self) -> Iterator[tuple[Connection, int]]:
        """The same, and nobody else writes under a fence: those before have ended, those after see what it did."""
        with raw_writing(self.engine) as connection:
            yield connection, hold_fence(connection, alone=True)

    def noting(self) -> AbstractContextManager[Connection]:
        """A write transaction for what needs no fence; it locks nothing before its first statement."""
        return raw_writing(self.engine)


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
        with connection.begin() as transaction:
            yield connection
            with _in_doubt(engine):
                transaction.commit()


def put(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, columns in the table's order; a row whose primary key is there replaces it."""
    many(connection, _upsert(table, connection.dialect.name), table.c.keys(), rows)


def adding(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """The same, but where the key is there the last column's number is added to its own."""
    many(connection, _sum(table, connection.dialect.name), table.c.keys(), rows)


def add(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert new rows, columns in the table's order."""
    many(connection, _insert(table), table.c.keys(), rows)


def ignoring_known(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves rows alone that are there already."""
    return _dialect_insert(table, connection.dialect.name).on_conflict_do_nothing()


def _dialect_insert(table: Table, dialect: str) -> Any:
    # The other dialect is not loaded: that costs more than a read.
    module = import_module(f"sqlalchemy.dialects.{dialect}")
    return module.insert(table)


def conflict_key(table: Table, dialect: str) -> list[str]:
    """The columns of the primary key as it is in that database."""
    key = [one.name for one in table.primary_key]
    if dialect == "postgresql" and table.name in schema.PARTITIONED:
        key = list(dict.fromkeys((*key, schema.PARTITIONED[table.name])))
    return key


@cache
def _insert(table: Table) -> Any:
    return table.insert()


@cache
def _upsert(table: Table, dialect: str) -> Any:
    insert, key = _dialect_insert(table, dialect), conflict_key(table, dialect)
    rest = {one.name: insert.excluded[one.name] for one in table.c if one.name not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=rest)


@cache
def _sum(table: Table, dialect: str) -> Any:
    insert, last = _dialect_insert(table, dialect), list(table.c)[-1]
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={last.name: last + insert.excluded[last.name]},
    )


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
    connection.exec_driver_sql(text_of(statement, tuple(names), connection.dialect), list(rows))


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = (
        None  # the driver starts no transactions by itself; `_begin_sqlite` does
    )
    write_ahead(connection)
    for setting in (
        "synchronous = FULL",  # a committed rollback survives a power cut
        "foreign_keys = ON",
        "cache_size = -32768",  # KiB; ingest touches pages all over the key space
        "wal_autocheckpoint = 8000",  # pages, 32 MiB: not after every batch
    ):
        connection.execute(f"PRAGMA {setting}")


def write_ahead(connection: sqlite3.Connection) -> None:
    """Readers see a consistent state while a writer writes.

    The first process on a new file turns it on for all. Whoever comes in that moment is told at once that the file is
    locked, whatever patience the connection has: https://www.sqlite.org/wal.html, section 9.
    """
    try:
        connection.execute(_WRITE_AHEAD)
    except sqlite3.OperationalError as error:
        if not _is_busy(error):
            raise
    else:
        return
    import stamina  # only here: it costs more than a read

    tries = stamina.retry_context(
        on=_is_busy, attempts=None, timeout=BUSY_TIMEOUT_S, wait_initial=0.01, wait_max=0.1
    )
    for attempt in tries:
        with attempt:
            connection.execute(_WRITE_AHEAD)


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) == _SQLITE_BUSY


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def name_of(engine: Engine) -> str:
    """The database's address as anybody may see it."""
    secrets = ("password", "passfile", "sslpassword")
    return engine.url.difference_update_query(secrets).render_as_string(hide_password=True)


@contextmanager
def _told(engine: Engine) -> Iterator[None]:
    """Turn SQLAlchemy's errors into words. A broken constraint is a defect of ours and stays what it is, unless it is
    about a key that another writer took first.
    """
    database = name_of(engine)
    try:
        yield
    except IntegrityError as error:
        if not _is_taken(error):
            raise
        raise Conflict(
            f"{database}: another writer was first ({_words(error)}). "
            "Read again, and repeat if it still makes sense."
        ) from error
    except UnfitError as error:
        raise DataError(f"{database} cannot hold a value: {_words(error)}") from error
    except DBAPIError as error:
        raise Unreachable(
            f"The database {database} did not answer: {_words(error)}. Nothing was written; a controller tries "
            "again, a command does not."
        ) from error
    except SQLAlchemyError as error:
        raise Unreachable(f"The database {database} could not be used: {error}") from error


@contextmanager
def _in_doubt(engine: Engine) -> Iterator[None]:
    """A connection that is lost while it commits leaves open whether it did."""
    try:
        yield
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise Unreachable(
            f"The database {name_of(engine)} was lost while it committed: {_words(error)}. "
            "Whether that was written shows when it is back; to repeat it does no harm."
        ) from error


def _words(error: DBAPIError) -> str:
    """What the driver said, in one line, without what ends it."""
    return " ".join(str(error.orig).split()).rstrip(".?")


# https://www.sqlite.org/rescode.html: SQLITE_CONSTRAINT_PRIMARYKEY, _ROWID and _UNIQUE
_SQLITE_BUSY: Final = 5
_WRITE_AHEAD: Final = "PRAGMA journal_mode = WAL"
_SQLITE_TAKEN: Final = frozenset((1555, 2579, 2067))
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_TAKEN: Final = "23505"  # unique_violation
_READ_ONLY: Final = "25006"  # read_only_sql_transaction


def _is_taken(error: IntegrityError) -> bool:
    """Whether a unique or primary key was there already."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code in _SQLITE_TAKEN or getattr(error.orig, "sqlstate", None) == _POSTGRESQL_TAKEN
