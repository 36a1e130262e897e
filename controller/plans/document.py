"""YAML text -> a tree of nodes that know their place in the file. The only module that knows ruamel.yaml.

YAML 1.2, core schema. What could surprise is refused here, each with its position: duplicate keys, anchors, aliases,
tags, merge keys, directives, tabs, control and invisible characters, deep nesting, oversized files.
The tree is built from parser events without recursion, so nesting cannot exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from controller.errors import Problem
from controller.plans.units import shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 10_000


class Tag(StrEnum):
    """What a scalar is in YAML 1.2's core schema."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A one-based line and column, in characters as an editor counts them."""

    line: int
    column: int


@dataclass(slots=True)
class Scalar:
    """A single value as it was written; `quoted` text is never anything but text."""

    place: Place
    text: str
    quoted: bool
    path: str = ""

    @property
    def tag(self) -> Tag:
        return Tag.TEXT if self.quoted else _tag_of(self.text)


@dataclass(slots=True)
class Sequence:
    """A list."""

    place: Place
    items: list[Node] = field(default_factory=list)
    path: str = ""


@dataclass(slots=True)
class Entry:
    """A key's place and its value."""

    key_place: Place
    value: Node


@dataclass(slots=True)
class Mapping:
    """Keys and values in the order of the file; keys are unique text."""

    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)
    path: str = ""


Node = Scalar | Sequence | Mapping


class Problems:
    """What is wrong with one file, collected while it is read and given out in the order of the file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: set[Problem] = set()
        self._settled: set[Place] = set()

    def add(self, place: Place, path: str, message: str) -> None:
        if place in self._settled:
            return
        self._found.add(
            Problem(
                file=self.file, line=place.line, column=place.column, path=path, message=message
            )
        )

    def settle(self, place: Place) -> None:
        """Take no further problem at a place where one has said all there is to say."""
        self._settled.add(place)

    def __bool__(self) -> bool:
        return bool(self._found)

    def sorted(self) -> tuple[Problem, ...]:
        return tuple(sorted(self._found))


def parse(text: str, problems: Problems) -> list[Node]:
    """The documents of a file. Empty when nothing could be read; then `problems` says why."""
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        problems.add(
            _START, "", "more than 1 MiB; a plan is a few kilobytes. Is this the right file?"
        )
        return []
    if _refuse_characters(text, problems):
        return []
    documents: list[Node] = []
    try:
        documents.extend(_documents(text, problems))
    except MarkedYAMLError as error:
        problems.add(*_syntax_problem(error, text))
    except _TooMuch as error:
        problems.add(error.place, "", str(error))
    except (YAMLError, ValueError, OverflowError) as error:
        # The scanner lets some escapes through to chr(); there is no mark to point at.
        problems.add(_START, "", f"not readable as YAML: {_one_line(str(error))}")
    return documents


_START = Place(1, 1)


class _TooMuch(Exception):
    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


# C0 and C1 controls, line separators that editors do not count, bidirectional overrides, lone surrogates.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ufeff\ufffe\uffff\ud800-\udfff]"
)


def _refuse_characters(text: str, problems: Problems) -> bool:
    # A file full of them is binary: the first few places are enough.
    found = [match for match, _ in zip(_FORBIDDEN.finditer(text), range(5), strict=False)]
    for match in found:
        what = f"U+{ord(match[0]):04X}"
        problems.add(
            _place_at(text, match.start()),
            "",
            f"invisible or control character {what}; delete it, or write it as an escape in quotes",
        )
    return bool(found)


def _place_at(text: str, offset: int) -> Place:
    lines = re.split(r"\r\n|\r|\n", text[:offset])
    return Place(len(lines), len(lines[-1]) + 1)


def _syntax_problem(error: MarkedYAMLError, text: str) -> tuple[Place, str, str]:
    mark = error.problem_mark or error.context_mark
    place = _START if mark is None else _place(mark)
    what = _one_line(str(error.problem or error.context or "not readable as YAML"))
    at = text[mark.index : mark.index + 1] if mark is not None else ""
    if "\\t" in what or at == "\t":
        return place, "", "a tab; YAML is indented and separated with spaces: replace it by spaces"
    for pattern, words in _SYNTAX_WORDS:
        if re.search(pattern, what):
            return place, "", words
    context = _one_line(str(error.context)) if error.context and error.problem else ""
    return place, "", f"not readable as YAML: {what}" + (f" ({context})" if context else "")


_SYNTAX_WORDS = (
    (
        "mapping values are not allowed here",
        "a `:` where no key can stand; check the indentation, or quote text that contains `: `",
    ),
    (
        "could not find expected ':'",
        "expected `key: value`, and the `:` after the key is missing; "
        "check the indentation and the line before",
    ),
    (
        "found undefined alias",
        "aliases (`*name`) are not used in plans; write the value out",
    ),
    (
        "cannot start any token|found character .%",
        "this character cannot start a value; quote the text",
    ),
    (
        "expected ',' or '[\\]}]'",
        "expected `,` or the closing bracket of this list or object",
    ),
    (
        "unexpected end of stream",
        "the quoted text that starts before is not closed by the end of the file",
    ),
)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _documents(text: str, problems: Problems) -> Iterator[Node]:
    composer: _Composer | None = None
    for event in YAML(typ="safe", pure=True).parse(text):
        match event:
            case DocumentStartEvent():
                if event.version or event.tags:
                    problems.add(
                        _place(event.start_mark),
                        "",
                        "directives (`%YAML`, `%TAG`) are not used in plans; "
                        "a plan is YAML 1.2: remove the line",
                    )
                composer = _Composer(problems)
            case DocumentEndEvent():
                if composer is not None and composer.root is not None:
                    yield composer.root
            case _ if composer is not None:
                composer.feed(event)


class _Composer:
    """Builds one document's tree from its events, on its own stack."""

    def __init__(self, problems: Problems) -> None:
        self.root: Node | None = None
        self._problems = problems
        self._open: list[Sequence | Mapping] = []
        self._keys: list[Scalar | None] = []  # per open mapping the key that waits for its value
        self._skipped = 0  # depth inside a key that is itself a list or an object
        self._nodes = 0

    def feed(self, event: Any) -> None:
        place = _place(event.start_mark)
        match event:
            case SequenceEndEvent() | MappingEndEvent():
                self._close()
            case AliasEvent():
                alias = shown("*" + event.anchor)
                self._refuse(place, f"aliases ({alias}) are not used in plans; write the value out")
                self._problems.settle(place)
                self._add(Scalar(place, "", quoted=True))
            case ScalarEvent():
                self._check_properties(event, place)
                self._add(Scalar(place, event.value, quoted=event.style is not None))
            case SequenceStartEvent():
                self._check_properties(event, place)
                self._enter(Sequence(place))
            case MappingStartEvent():
                self._check_properties(event, place)
                self._enter(Mapping(place))

    def _check_properties(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self._refuse(
                place, f"anchors ({shown('&' + event.anchor)}) are not used in plans; remove it"
            )
        if event.tag is not None:
            self._refuse(place, f"tags ({shown(str(event.tag))}) are not used in plans; remove it")

    def _refuse(self, place: Place, message: str) -> None:
        self._problems.add(place, self._path_here(), message)

    def _path_here(self) -> str:
        if not self._open:
            return ""
        container, key = self._open[-1], self._keys[-1]
        if isinstance(container, Sequence):
            return f"{container.path}[{len(container.items)}]"
        return _child_path(container.path, key.text) if key is not None else container.path

    def _enter(self, node: Sequence | Mapping) -> None:
        if len(self._open) + self._skipped >= MAX_DEPTH:
            raise _TooMuch(node.place, f"nested deeper than {MAX_DEPTH} levels; a plan needs 6")
        if self._skipped or self._awaits_key():
            if not self._skipped:
                self._refuse(node.place, "a key must be plain text, not a list or an object")
            self._skipped += 1
            return
        self._attach(node)
        self._open.append(node)
        self._keys.append(None)

    def _close(self) -> None:
        if self._skipped:
            self._skipped -= 1
            if not self._skipped:  # the value that follows belongs to a key nobody can name
                self._keys[-1] = Scalar(self._open[-1].place, "", quoted=True, path="\0")
            return
        self._open.pop()
        self._keys.pop()

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], Mapping) and self._keys[-1] is None

    def _add(self, scalar: Scalar) -> None:
        if self._skipped:
            return
        if self._awaits_key():
            self._keys[-1] = scalar
        else:
            self._attach(scalar)

    def _attach(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooMuch(node.place, f"more than {MAX_NODES:,} values; is this the right file?")
        node.path = self._path_here()
        if isinstance(node, Scalar) and not node.text and not node.quoted and self._open:
            # The parser places nothing where the next token stands; what is empty is the key.
            key = self._keys[-1]
            node.place = key.place if key is not None else self._open[-1].place
        if not self._open:
            self.root = node
            return
        container = self._open[-1]
        if isinstance(container, Sequence):
            container.items.append(node)
            return
        key = self._keys[-1]
        self._keys[-1] = None
        if key is not None:
            self._put(container, key, node)

    def _put(self, container: Mapping, key: Scalar, node: Node) -> None:
        if key.path == "\0":
            return
        known = container.entries.get(key.text)
        if known is not None:
            first = f"{known.key_place.line}:{known.key_place.column}"
            message = f"duplicate key {shown(key.text)}, first given at {first}; keep one of them"
            self._problems.add(key.place, node.path, message)
        elif key.text == "<<" and not key.quoted:
            self._problems.add(
                key.place,
                container.path,
                "merge keys (`<<`) are not used in plans; write the keys out",
            )
        else:
            container.entries[key.text] = Entry(key.place, node)


def _child_path(parent: str, key: str) -> str:
    name = key if re.fullmatch(r"[\w.-]{1,60}", key, re.ASCII) else shown(key)
    return f"{parent}.{name}" if parent else name


_CORE_SCHEMA = (
    (Tag.NULL, re.compile(r"~|null|Null|NULL|")),
    (Tag.BOOLEAN, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (Tag.INTEGER, re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (
        Tag.NUMBER,
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
    ),
)


def _tag_of(text: str) -> Tag:
    return next((tag for tag, pattern in _CORE_SCHEMA if pattern.fullmatch(text)), Tag.TEXT)
