"""CSV files, plain or gzip, read strictly: one header, rows of its width, every problem with its line."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from controller.errors import DataError
from controller.plans.nearest import nearest

SHOWN_PROBLEMS = 20
_GZIP_MAGIC = b"\x1f\x8b"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A header and its rows, each with the line of the file it ends on. Cells are stripped; empty means unknown."""

    file: str
    header: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]


class CellError(ValueError):
    """A cell that is not what its column holds; the text says what was found and wanted."""


def read_table(path: Path, *, required: Sequence[str]) -> Table:
    """The table in a file; DataError with the first 20 problems, each at file:line."""
    return parse_table(read_text(path), file=str(path), required=required)


def read_text(path: Path) -> str:
    """A UTF-8 text file, unpacked if it is gzip (by its content, whatever its name)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file{_similar_files(path)}.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    if data.startswith(_GZIP_MAGIC):
        data = _unpack(data, path)
    elif path.suffix == ".gz":
        raise DataError(f"{path}: not gzip, although its name ends in .gz.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}.") from error


def parse_table(text: str, *, file: str, required: Sequence[str]) -> Table:
    """The table in a text. A blank line is skipped; a row of another width than the header is a problem."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    problems: list[str] = []
    rows: list[tuple[int, Mapping[str, str]]] = []
    header: tuple[str, ...] = ()
    try:
        header = _header(reader, file=file, required=required)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                problems.append(
                    f"{file}:{reader.line_num}: {len(cells)} cells under {len(header)} columns."
                )
                continue
            stripped = (cell.strip() for cell in cells)
            rows.append((reader.line_num, dict(zip(header, stripped, strict=True))))
    except csv.Error as error:
        problems.append(f"{file}:{reader.line_num}: not CSV: {error}.")
    raise_problems(problems)
    if not rows:
        raise DataError(f"{file}: a header and no rows.")
    return Table(file=file, header=header, rows=tuple(rows))


def convert(table: Table, build: Callable[[Mapping[str, str]], T]) -> tuple[tuple[int, T], ...]:
    """Each row built into a value, with its line; the CellErrors of all rows together as one DataError."""
    problems: list[str] = []
    built: list[tuple[int, T]] = []
    for line, row in table.rows:
        try:
            built.append((line, build(row)))
        except CellError as error:
            problems.append(f"{table.file}:{line}: {error}")
    raise_problems(problems)
    return tuple(built)


def raise_problems(problems: Sequence[str]) -> None:
    """DataError with the first 20 of them, and how many more there are; nothing if there is none."""
    if not problems:
        return
    shown = list(problems[:SHOWN_PROBLEMS])
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"… and {len(problems) - SHOWN_PROBLEMS:,} more.")
    raise DataError("\n".join(shown))


def number(
    row: Mapping[str, str], column: str, kind: Callable[[str], T], *, wanted: str, least: float = 0
) -> T | None:
    """A cell as a finite number of at least `least`; None where the cell or the column is missing."""
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = kind(text)
        in_range = least <= float(text) < float("inf")
    except ValueError:
        in_range = False
    else:
        if in_range:
            return value
    raise CellError(f"{column} is {text!r}; wanted {wanted}.")


def maybe_meant(name: str, known: Iterable[str]) -> str:
    """` (did you mean `x`?)` for the nearest known name, or nothing."""
    near = nearest(name, known)
    return f" (did you mean `{near}`?)" if near else ""


def _header(reader: Iterator[list[str]], *, file: str, required: Sequence[str]) -> tuple[str, ...]:
    header = tuple(cell.strip() for cell in next(reader, []))
    if not any(header):
        raise DataError(f"{file}: empty; wanted a header with {', '.join(required)}.")
    twice = sorted({name for name in header if header.count(name) > 1})
    missing = [name for name in required if name not in header]
    problems = [f"{file}:1: column {name!r} occurs twice." for name in twice] + [
        f"{file}:1: no column {name!r}{maybe_meant(name, header)}." for name in missing
    ]
    if missing:
        problems.append(f"The columns are {', '.join(header)}.")
    raise_problems(problems)
    return header


def _unpack(data: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut-off gzip: {error}.") from error


def _similar_files(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return maybe_meant(path.name, names)
