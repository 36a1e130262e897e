"""How answers are written: data to stdout, in the form that was asked for; nothing is ever cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from controller.cli.context import Context

API_VERSION = "canaryctl.dev/v1alpha1"
PIPE_WIDTH = 100_000
"""Columns of something that is not a terminal: nobody wraps there but the reader."""

Document = Mapping[str, Any]


class Output(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def emit(
    context: Context,
    output: Output,
    *,
    document: Callable[[], Document],
    names: Callable[[], Iterable[str]],
    table: Callable[[], object],
) -> None:
    """Write one answer. Only the form that was asked for is computed; `table` prints by itself."""
    match output:
        case Output.JSON:
            print(as_json(document()), file=context.stdout)
        case Output.YAML:
            write_yaml(document(), context.stdout)
        case Output.NAME:
            for name in names():
                print(name, file=context.stdout)
        case _:
            table()


def as_json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def write_yaml(document: object, out: TextIO) -> None:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.representer.sort_base_mapping_type_on_output = False
    yaml.dump(document, out)


def listing(kind: str, items: Sequence[Document]) -> Document:
    """A list as kubectl writes it."""
    return {"apiVersion": API_VERSION, "kind": f"{kind}List", "items": list(items)}


def console(context: Context, *, stderr: bool = False) -> Console:
    """A console on one of the context's streams, that follows NO_COLOR, FORCE_COLOR and COLUMNS."""
    from rich.console import Console

    environ = context.environ
    stream = context.stderr if stderr else context.stdout
    coloured = bool(environ.get("FORCE_COLOR")) and not environ.get("NO_COLOR")
    columns = environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) else None
    return Console(
        file=stream,
        width=width or (None if stream.isatty() else PIPE_WIDTH),
        force_terminal=True if coloured else None,
        no_color=bool(environ.get("NO_COLOR")),
        color_system="auto" if stream.isatty() else ("standard" if coloured else None),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def grid(header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> list[Text]:
    """Aligned lines, the header in bold; columns are as wide as their widest cell."""
    from rich.text import Text

    head = [Text(cell, style="bold") for cell in header]
    body = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(head, *body, strict=True)]
    return [_line(row, widths) for row in (head, *body)]


def _line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    from rich.text import Text

    line = Text()
    for cell, width in zip(cells, widths, strict=True):
        line.append_text(cell).append(" " * (width - cell.cell_len + 2))
    line.rstrip()
    return line


def wrapped(text: str, *, width: int, indent: str) -> list[str]:
    """A sentence on as many lines as it needs; no word is broken, however narrow it is."""
    import textwrap

    return textwrap.wrap(
        text,
        width=max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_table(
    context: Context, header: Sequence[str], rows: Sequence[Sequence[str | Text]]
) -> None:
    out = console(context)
    for line in grid(header, rows):
        out.print(line)


def moment(at: datetime) -> str:
    """A moment as people read it, always UTC: `2026-11-21 03:14Z`."""
    return f"{at:%Y-%m-%d %H:%M}Z"


def precise(at: datetime) -> str:
    """A moment to the second: `2026-11-21 03:14:07Z`."""
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def rough(span: timedelta) -> str:
    """A span as kubectl shows ages, in at most two units: `45s`, `12m`, `3h20m`, `26h`, `5d3h`, `40d`."""
    seconds = max(0, int(span.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    match seconds:
        case _ if minutes < 2:
            return f"{seconds}s"
        case _ if hours < 1:
            return f"{minutes}m"
        case _ if hours < 10:
            return _two(hours, "h", minutes % 60, "m")
        case _ if hours < 100:
            return f"{hours}h"
        case _ if days < 10:
            return _two(days, "d", hours % 24, "h")
        case _:
            return f"{days}d"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
