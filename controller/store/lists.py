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
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import column as column_
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


def listed(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the column is among `values(...)`: one parameter whatever their number, so statements stay prepared."""
    return _among(column, _VALUES)


def keyed(table: Table) -> Select[Any]:
    """The table's rows whose primary keys are among `values(...)`, each a list."""
    items = listed_rows(*(column.type for column in table.primary_key))
    matches = map(eq, table.primary_key, items.columns)
    return select(table).select_from(items.rows).join(table, and_(*matches))


def seeking(wanted: Select[Any], column: ColumnElement[Any]) -> Select[Any]:
    """For PostgreSQL: what is wanted of each of `values(...)`, which `column` equals, by one seek in an index.

    Left to itself the planner may read the whole table instead: it knows nothing of how long the list is.
    """
    items = _texts(_VALUES).table_valued("value")
    # OFFSET 0 keeps it a query for each.
    one = wanted.where(column == items.c.value).offset(0).lateral("one")
    return select(one).select_from(items.join(one, true()))


def following(table: Table, key: ColumnElement[Any], number: ColumnElement[Any]) -> Select[Any]:
    """The table's rows of each of `values(...)`, pairs of a key and a number, in which the number is larger."""
    items = listed_rows(key.type, number.type)
    since, least = items.columns
    return select(table).select_from(items.rows).join(table, and_(key == since, number > least))


def following_by_seeks(
    table: Table, key: ColumnElement[Any], number: ColumnElement[Any]
) -> Select[Any]:
    """The same for PostgreSQL, by a seek for each pair: see `seeking`."""
    items = listed_rows(key.type, number.type)
    since, least = items.columns
    one = select(table).where(key == since, number > least).offset(0).lateral("one")
    return select(one).select_from(items.rows.join(one, true()))


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
    columns = [
        cast(items.c.value.op("->>")(literal_column(str(place))), kind)
        for place, kind in enumerate(kinds)
    ]
    return ListedRows(items, columns)


def values(some: Iterable[str | tuple[str | int, ...]]) -> dict[str, str]:
    """The parameter that `listed` and `keyed` ask for."""
    return {"values": json.dumps(list(some))}


_VALUES: Final = bindparam("values", type_=Text)


class _among(FunctionElement[bool]):  # noqa: N801 # an operator of SQL
    """Whether a column is a member of a JSON array of texts.

    It has no type: of a Boolean, SQLite would be asked whether it is 1, and find no index for that.
    """

    inherit_cache = True


class _texts(FunctionElement[str]):  # noqa: N801 # a function of SQL
    """The members of a JSON array of texts."""

    inherit_cache = True


class _items(FunctionElement[Any]):  # noqa: N801 # a function of SQL
    """The members of a JSON array, as JSON."""

    inherit_cache = True


@compiles(_among, "sqlite")
def _among_in_sqlite(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    column, given = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({given}))"  # noqa: S608 # a parameter


@compiles(_among, "postgresql")
def _among_in_postgresql(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
    # An array is looked up in the index; a join may be planned as a look at the whole table.
    column, given = (compiler.process(one, **options) for one in element.clauses)
    return f"{column} = ANY (ARRAY(SELECT json_array_elements_text(CAST({given} AS json))))"


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
