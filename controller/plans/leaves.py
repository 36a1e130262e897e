"""The scalars of a plan: how each kind of text becomes a value, and how JSON Schema describes it.

pydantic sees `Scalar` nodes, never bare Python values, so that what was written (`on`, `012`, `"500"`, `1:30`) is
judged as it stands in the file and not as some loader guessed it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from pydantic_core import PydanticCustomError, core_schema

from controller.plans import units
from controller.plans.document import Mapping, Scalar, Sequence, Tag
from controller.plans.nearest import nearest
from controller.plans.units import UnitError, shown
from controller.rollout.metrics import CATALOGUE, MeasureUnit
from controller.rollout.plan import Scope

Json = dict[str, Any]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
PLAN_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
MODEL = r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,127}$"
METRIC = r"^[a-z][a-z0-9_]{0,63}(\.[A-Za-z][A-Za-z0-9_]{0,62})?$"

SCOPES = tuple(scope.value for scope in Scope if scope is not Scope.NAMED)
SCOPE_WORDS = ", ".join(f"`{word}`" for word in SCOPES)


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: typing wants annotations hashable
class Leaf:
    """A kind of scalar: its parser, what it expects in words, and its JSON Schema."""

    parse: Callable[[Scalar], object]
    expects: str
    schema: Json

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, _core: Any, _handler: Any) -> Json:
        return {**self.schema, "x-expects": self.expects}

    def _validate(self, node: object) -> object:
        if not isinstance(node, Scalar):
            raise problem(f"expected {self.expects}, found {describe(node)}")
        if node.tag is Tag.NULL:
            raise problem(f"expected {self.expects}, found nothing{_after_nothing(self)}")
        try:
            return self.parse(node)
        except UnitError as error:
            raise problem(str(error)) from error


def problem(message: str) -> PydanticCustomError:
    """A validation error whose text is our own."""
    return PydanticCustomError("plan", "{message}", {"message": message})


def describe(node: object) -> str:
    """What was found, for a message: a quoted scalar, a list or an object."""
    match node:
        case Scalar(text=text) if isinstance(node, Scalar):
            return shown(text) if text else "nothing"
        case Sequence() | list():
            return "a list"
        case Mapping() | dict():
            return "an object"
        case _:
            return "something else"


def _after_nothing(leaf: Leaf) -> str:
    if leaf is CHANNEL:
        return '; an unquoted `#` starts a comment: write `"#channel"` in quotes'
    return " (null); leave the key out to get its default"


def _by_text(parse: Callable[[str], object]) -> Callable[[Scalar], object]:
    def parse_scalar(scalar: Scalar) -> object:
        if not scalar.text.strip():
            raise UnitError("the text is empty")
        return parse(scalar.text)

    return parse_scalar


def _plain(parse: Callable[[str], object], example: str) -> Callable[[Scalar], object]:
    """A parser of unquoted numbers: quoted, they are text in JSON Schema and everywhere else."""

    def _meant(text: str) -> str:
        try:
            parse(text)
        except UnitError:
            return example
        return text

    def parse_scalar(scalar: Scalar) -> object:
        if scalar.quoted:
            raise UnitError(
                f"{shown(scalar.text)} is text in quotes; write `{_meant(scalar.text)}` without them"
            )
        return parse(scalar.text)

    return parse_scalar


_TAG_WORDS = {
    Tag.TEXT: "text",
    Tag.INTEGER: "an integer",
    Tag.NUMBER: "a number",
    Tag.BOOLEAN: "a boolean",
    Tag.NULL: "nothing",
}


def _text_leaf(what: str, pattern: str, allowed: str, example: str) -> Leaf:
    def parse(scalar: Scalar) -> str:
        if scalar.tag is not Tag.TEXT:
            raise UnitError(
                f"{shown(scalar.text)} is {_TAG_WORDS[scalar.tag]} in YAML, not text; "
                f'write `"{scalar.text[:40]}"` in quotes if it is meant as {what}'
            )
        if not re.fullmatch(pattern, scalar.text):
            raise UnitError(f"{shown(scalar.text)} is not {what}: {allowed}, such as `{example}`")
        return scalar.text

    return Leaf(parse, f"{what} such as `{example}`", {"type": "string", "pattern": pattern})


def choice(kind: type[StrEnum], *, only: tuple[StrEnum, ...] | None = None) -> Leaf:
    """One of a few words."""
    members: dict[str, StrEnum] = {member.value: member for member in only or tuple(kind)}

    def parse(scalar: Scalar) -> StrEnum:
        found = members.get(scalar.text)
        if found is None:
            close = nearest(scalar.text, members)
            hint = f" (did you mean `{close}`?)" if close and len(members) > 1 else ""
            raise UnitError(f"{shown(scalar.text)} is unknown here; expected {words}{hint}")
        return found

    words = " or ".join(f"`{word}`" for word in members)
    return Leaf(parse, words, {"type": "string", "enum": list(members)})


def constant(word: str) -> Leaf:
    """One word and no other."""

    def parse(scalar: Scalar) -> str:
        if scalar.text != word:
            raise UnitError(f"{shown(scalar.text)} is unknown here; expected `{word}`")
        return word

    return Leaf(parse, f"`{word}`", {"type": "string", "enum": [word]})


def _parse_boolean(scalar: Scalar) -> bool:
    if scalar.tag is Tag.BOOLEAN:
        return scalar.text.lower() == "true"
    if scalar.quoted:
        raise UnitError(
            f"{shown(scalar.text)} is text in quotes; write `true` or `false` without them"
        )
    word = scalar.text.lower()
    if word in ("on", "yes", "y", "off", "no", "n"):
        meant = "true" if word in ("on", "yes", "y") else "false"
        raise UnitError(f"{shown(scalar.text)} is text in YAML 1.2, not a boolean; write `{meant}`")
    raise UnitError(f"{shown(scalar.text)} is not a boolean; write `true` or `false`")


def _parse_day(text: str) -> date:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError("another form")
        return date.fromisoformat(text)
    except ValueError as error:
        raise UnitError(f"{shown(text)} is not a date; write it like `2027-01-14`") from error


def _parse_moment(text: str) -> datetime:
    wanted = "write date, time and zone like `2026-12-24T18:00:00Z` or `2026-12-24T18:00:00+01:00`"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UnitError(f"{shown(text)} is not a moment; {wanted}") from error
    if moment.tzinfo is None:
        raise UnitError(f"{shown(text)} has no time zone, so it could be any of 24 hours; {wanted}")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise UnitError(f"{shown(text)} is outside the calendar; {wanted}") from error


def _parse_sentence(scalar: Scalar) -> str:
    if len(scalar.text) > 4_000:
        raise UnitError("more than 4,000 characters of text")
    return scalar.text


def _parse_quantity(text: str) -> str:
    """Kept as text until the metric is known, which says the unit."""
    if not re.match(r"^[-+]?[0-9.€$£]", text):
        raise UnitError(f"{shown(text)} is not a limit; expected {QUANTITY.expects}")
    return text


SHARE = Leaf(
    _by_text(units.parse_share),
    "a share such as `10%`, `0.1%` or `50bp`",
    {"type": "string", "pattern": units.SHARE, "x-unit": "share of traffic, % or bp"},
)
RATE = Leaf(
    _by_text(units.parse_rate),
    "a rate such as `5%` or `0.1%`",
    {"type": "string", "pattern": units.RATE, "x-unit": "% or bp"},
)
DURATION = Leaf(
    _by_text(units.parse_duration),
    "a duration such as `90s`, `15m`, `72h` or `7d`",
    {"type": "string", "pattern": units.DURATION, "x-unit": "s, m, h or d"},
)
LATENCY = Leaf(
    _by_text(lambda text: units.parse_duration(text, sub_second=True)),
    "a latency such as `800ms` or `2s`",
    {"type": "string", "pattern": units.LATENCY, "x-unit": "ms or s"},
)
MONEY = Leaf(
    _by_text(units.parse_money),
    "an amount of money such as `50 USD`",
    {"type": "string", "pattern": units.MONEY, "x-unit": "USD"},
)
COUNT = Leaf(
    _plain(units.parse_count, "500"),
    "a whole number such as `500`",
    {"type": "integer", "minimum": 0},
)
RATIO = Leaf(
    _plain(units.parse_ratio, "1.25"),
    "a plain number such as `1.25`",
    {"type": "number", "minimum": 0},
)
QUANTITY = Leaf(
    _by_text(_parse_quantity),
    "a limit in the metric's unit, such as `1.5pp`, `2%`, `1.25`, `800ms` or `50 USD`",
    {"anyOf": [{"type": "string", "pattern": units.QUANTITY}, {"type": "number"}]},
)
BOOLEAN = Leaf(_parse_boolean, "`true` or `false`", {"type": "boolean"})
DAY = Leaf(
    _by_text(_parse_day),
    "a date such as `2027-01-14`",
    {"type": "string", "format": "date"},
)
MOMENT = Leaf(
    _by_text(_parse_moment),
    "a moment with its zone such as `2026-12-24T18:00:00Z`",
    {"type": "string", "format": "date-time"},
)
NAMED = _text_leaf("a name", NAME, "letters, digits, `_`, `.` and `-`, at most 63", "refund")
PLAN_NAMED = _text_leaf(
    "a plan's name", PLAN_NAME, "lower-case letters, digits and `-`, at most 63", "support-bot"
)
MODEL_NAMED = _text_leaf(
    "a model's name", MODEL, "letters, digits and `_ . : / @ + -`, at most 128", "gpt-4.1-mini"
)
_METRIC_LEAF = _text_leaf(
    "a metric's name", METRIC, "lower case with `_`, or `custom.NAME`", "escalation_rate"
)
_LIMITS: dict[MeasureUnit, str] = {
    MeasureUnit.FRACTION: "`2%` or `95%`",
    MeasureUnit.POINTS: "`1.5pp`",
    MeasureUnit.SECONDS: "`2s` or `800ms`",
    MeasureUnit.USD: "`50 USD`",
    MeasureUnit.RATIO: "`1.25`, of so many times",
    MeasureUnit.PER_SECOND: "`40/s`",
    MeasureUnit.PER_HOUR: "`40/h`",
}
METRIC_NAMED = replace(
    _METRIC_LEAF,
    schema={
        **_METRIC_LEAF.schema,
        "examples": [*CATALOGUE],
        "x-limits": {one.name: _LIMITS[one.unit] for one in CATALOGUE.values()},
    },
)
CHANNEL = _text_leaf(
    "a Slack channel",
    r"^(#[^\s#,]{1,80}|[CGD][A-Z0-9]{6,20})$",
    "`#name` in quotes, or a channel id",
    "#llm-oncall",
)
URL = _text_leaf(
    "a URL", r"^https?://\S{1,2000}$", "http:// or https://", "https://example.com/gate"
)
SENTENCE = Leaf(_parse_sentence, "text", {"type": "string"})
