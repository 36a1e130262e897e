"""Lists as one parameter of a statement, whatever their length, so that statements stay prepared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import eq
from typing import Any, Final

from sqlalchemy import (
    JSON,
    ColumnElement,
    Delete,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    select,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import column as column_
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


def listed(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the column is among `values(...)`: one parameter whatever their number, so statements stay prepared."""
    return column.in_(select(_texts(_VALUES).table_valued("value").c.value))


def keyed(table: Table) -> Select[Any]:
    """The table's rows whose primary keys are among `values(...)`, each a list."""
    items = listed_rows(*(column.type for column in table.primary_key))
    matches = map(eq, table.primary_key, items.columns)
    return select(table).select_from(items.rows).join(table, and_(*matches))


def keyed_delete(table: Table) -> Delete:
    """The same rows, to be deleted."""
    items = listed_rows(*(column.type for column in table.primary_key))
    wanted = select(*items.columns).select_from(items.rows)
    return delete(table).where(tuple_(*table.primary_key).in_(wanted))


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
