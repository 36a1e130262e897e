"""What a database says of itself, for `canaryctl doctor`: whether it answers, can be written to, what time it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, text, update

from controller.errors import CanaryError
from controller.store import schema
from controller.store.engine import connect, raw_writing, reading
from controller.store.migrate import require_current


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`clock` is the server's, None where the database is in this process. A problem is None where there is none."""

    product: str
    size_bytes: int | None
    clock: datetime | None
    schema_problem: str | None
    write_problem: str | None


def diagnose(url: str) -> Diagnosis:
    """Ask the database at a URL. Unreachable if it does not answer. Nothing is changed, and no file is made."""
    engine = connect(url)
    try:
        product, clock, size_bytes = _described(engine)
        schema_problem = _problem(lambda: require_current(engine))
        return Diagnosis(
            product=product,
            size_bytes=size_bytes,
            clock=clock,
            schema_problem=schema_problem,
            write_problem=None if schema_problem else _problem(lambda: _write(engine)),
        )
    finally:
        engine.dispose()


def _described(engine: Engine) -> tuple[str, datetime | None, int | None]:
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            version = connection.scalar(text("SELECT sqlite_version()"))
            path = Path(str(engine.url.database))
            return f"SQLite {version}", None, path.stat().st_size if path.exists() else None
        version = connection.scalar(text("SHOW server_version"))
        size_bytes = connection.scalar(text("SELECT pg_database_size(current_database())"))
        # The one place where SQL reads a clock: it is compared with ours for a person to read, and decides nothing.
        clock = connection.scalar(text("SELECT clock_timestamp()"))
        return f"PostgreSQL {version}", clock, size_bytes


class _TakenBack(Exception):
    """Ends the transaction of a trial."""


def _write(engine: Engine) -> None:
    """Take the row that every writer takes, write it as it is, and take that back."""
    try:
        with raw_writing(engine) as connection:
            connection.execute(update(schema.fence).values(value=schema.fence.c.value))
            raise _TakenBack
    except _TakenBack:
        return


def _problem(trial: Callable[[], None]) -> str | None:
    try:
        trial()
    except CanaryError as error:
        return str(error)
    return None
