"""Values to canonical JSON and back: the form in which plans, states and evidence are hashed and kept.

Canonical means: keys sorted, no white space, UTF-8, no NaN or infinity. `decode(kind, encode(value)) == value` for
every frozen dataclass built of str, int, float, bool, None, enum, datetime, date, timedelta, Fraction, tuple,
mapping with string keys, and unions of dataclasses (told apart by the field `type`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from fractions import Fraction
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, Union, cast

T = TypeVar("T")
Json = Any  # str | int | float | bool | None | list[Json] | dict[str, Json]


def canonical(value: object) -> str:
    """Canonical JSON of a value; the same value always gives the same text: `dumps(encode(value))`.

    Written in one go, for it is done at every tick of every rollout; what a value holds twice is written once.
    """
    return _writer(type(value))(value, {})


def dumps(data: Json) -> str:
    """Canonical JSON of what `encode` gave."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: object) -> str:
    """Hex SHA-256 of the canonical JSON."""
    return text_digest(canonical(value))


def text_digest(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def encode(value: object) -> Json:
    """A JSON-able form of a value. Fields equal to their default are kept: a record explains itself."""
    return _encoder(cast(Any, type(value)))(value)


Encoder = Callable[[Any], Json]


@cache
def _encoder(kind: type) -> Encoder:
    for base, encoder in _ENCODERS:
        if issubclass(kind, base):
            return encoder
    if dataclasses.is_dataclass(kind):
        return _dataclass_encoder(cast(type, kind))
    raise TypeError(f"{kind.__name__} has no canonical form")


def _dataclass_encoder(kind: type) -> Encoder:
    names = tuple(field.name for field in dataclasses.fields(kind))
    tag = kind.__name__

    def encode_dataclass(value: Any) -> Json:
        fields = {name: encode(getattr(value, name)) for name in names}
        fields["type"] = tag
        return fields

    return encode_dataclass


def _itself(value: Any) -> Json:
    return value


# The first that fits: an enum may be a str, a bool is an int, a datetime is a date.
_ENCODERS: tuple[tuple[type, Encoder], ...] = (
    (Enum, lambda member: member.value),
    (str, _itself),
    (int, _itself),
    (float, _itself),
    (type(None), _itself),
    (datetime, datetime.isoformat),
    (date, date.isoformat),
    (timedelta, timedelta.total_seconds),
    (Fraction, lambda fraction: f"{fraction.numerator}/{fraction.denominator}"),
    (Mapping, lambda items: {str(key): encode(item) for key, item in items.items()}),
    (tuple, lambda items: [encode(item) for item in items]),
    (list, lambda items: [encode(item) for item in items]),
)


Writer = Callable[[Any, dict[int, str]], str]  # by the identity of what was written: its text
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def _find_writer(kind: type) -> Writer:
    for base, writer in _WRITERS:
        if issubclass(kind, base):
            return writer
    if dataclasses.is_dataclass(kind):
        return _dataclass_writer(cast(type, kind))
    raise TypeError(f"{kind.__name__} has no canonical form")


_writer: Callable[[Any], Writer] = cache(_find_writer)


def _dataclass_writer(kind: type) -> Writer:
    names = sorted(field.name for field in dataclasses.fields(kind))
    texts = dict.fromkeys(names, "%s") | {"type": _quoted(kind.__name__)}
    # `%s` where a field's text goes.
    whole = f"{{{','.join(f'{_quoted(name)}:{texts[name]}' for name in sorted(texts))}}}"
    fields = [attrgetter(name) for name in names]

    def write_dataclass(value: Any, written: dict[int, str]) -> str:
        # Its identity is its own for as long as the root holds it, which outlives the writing.
        text = written.get(id(value))
        if text is None:
            held = [field(value) for field in fields]
            text = whole % tuple([_writer(type(one))(one, written) for one in held])
            written[id(value)] = text
        return text

    return write_dataclass


def _write_float(number: float, _: object) -> str:
    if not math.isfinite(number):
        raise ValueError(f"{number} has no canonical form")
    return float.__repr__(number)


def _write_mapping(items: Mapping[object, object], written: dict[int, str]) -> str:
    named = sorted({str(key): item for key, item in items.items()}.items())
    pairs = (f"{_quoted(key)}:{_writer(type(item))(item, written)}" for key, item in named)
    return f"{{{','.join(pairs)}}}"


def _write_list(items: Iterable[object], written: dict[int, str]) -> str:
    return f"[{','.join([_writer(type(item))(item, written) for item in items])}]"


# As `_ENCODERS`.
_WRITERS: tuple[tuple[type, Writer], ...] = (
    (Enum, lambda member, written: _writer(type(member.value))(member.value, written)),
    (str, lambda text, _: _quoted(text)),
    (bool, lambda truth, _: "true" if truth else "false"),
    (int, lambda number, _: int.__repr__(number)),
    (float, _write_float),
    (type(None), lambda *_: "null"),
    (datetime, lambda moment, _: f'"{moment.isoformat()}"'),
    (date, lambda day, _: f'"{day.isoformat()}"'),
    (timedelta, lambda span, _: float.__repr__(span.total_seconds())),
    (Fraction, lambda fraction, _: f'"{fraction.numerator}/{fraction.denominator}"'),
    (Mapping, _write_mapping),
    (tuple, _write_list),
    (list, _write_list),
)


def decode(kind: type[T], data: Json) -> T:
    """The value of type `kind` that `encode` turned into `data`. ValueError or KeyError if it did not."""
    return cast(T, _decoder(cast(Any, kind))(data))


@cache
def _decoder(kind: Any) -> Callable[[Json], Any]:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union_decoder(typing.get_args(kind))
    if origin is tuple:
        return _tuple_decoder(typing.get_args(kind))
    if origin is not None and issubclass(origin, Mapping):
        _, item = typing.get_args(kind)
        return lambda data: {key: _decoder(item)(one) for key, one in data.items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass_decoder(cast(type, kind))
    return _SCALARS.get(kind) or cast(Callable[[Json], Any], kind)


_SCALARS: dict[Any, Callable[[Json], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    timedelta: lambda seconds: timedelta(seconds=seconds),
    type(None): lambda _: None,
}


def _union_decoder(options: tuple[Any, ...]) -> Callable[[Json], Any]:
    named = {
        str(one.__name__): one
        for one in options
        if isinstance(one, type) and dataclasses.is_dataclass(one)
    }
    plain = [one for one in options if one.__name__ not in named and one is not type(None)]

    def decode_union(data: Json) -> Any:
        if data is None and type(None) in options:
            return None
        if isinstance(data, dict) and "type" in data:
            return _decoder(named[str(data["type"])])(data)
        return _decoder(plain[0])(data)

    return decode_union


def _tuple_decoder(items: tuple[Any, ...]) -> Callable[[Json], Any]:
    if len(items) == 2 and items[1] is Ellipsis:
        return lambda data: tuple(_decoder(items[0])(one) for one in data)
    return lambda data: tuple(_decoder(item)(one) for item, one in zip(items, data, strict=True))


def _dataclass_decoder(kind: type) -> Callable[[Json], Any]:
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]

    def decode_dataclass(data: Json) -> Any:
        # A field that an older release did not write takes its default.
        return kind(**{name: _decoder(hints[name])(data[name]) for name in names if name in data})

    return decode_dataclass
