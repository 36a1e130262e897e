"""Statements as a driver takes them: what is asked at every tick, and what is written by the thousand."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect


def asked(connection: Connection, statement: Any, **parameters: Any) -> CursorResult[Any]:
    """The rows of one of a few statements that are asked all the time, of plain columns; parameters in its order.

    Where the driver takes tuples its text goes there as it is: to find it anew costs as much as the answer.
    """
    if not connection.dialect.positional:
        return connection.execute(statement, parameters)
    text = text_of(statement, tuple(parameters), connection.dialect)
    return connection.exec_driver_sql(text, tuple(parameters.values()))


@lru_cache(maxsize=256)
def text_of(statement: Any, names: tuple[str, ...], dialect: Dialect) -> str:
    """A statement for a driver that takes tuples. It is one of a few, each made once."""
    compiled = statement.compile(dialect=dialect)
    if list(names) != compiled.positiontup:
        raise AssertionError(f"{names} are not in the order of {compiled}")
    return str(compiled)
