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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from fractions import Fraction
from functools import cache
from json.encoder import encode_basestring as _quoted  # what JSONEncoder(ensure_ascii=False) calls
from operator import attrgetter
from typing import Any, TypeVar, Union, cast

T = TypeVar("T")
Json = Any  # str | int | float | bool | None | list[Json] | dict[str, Json]


def canonical(value: object) -> str:
    """Canonical JSON of a value; the same value always gives the same text: `dumps(encode(value))`.

    Written in one go, for it is done at every tick of every rollout; what a value holds twice is written once.
    """
    return _writers[type(value)](value, {})


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


class _Writers(dict[type, Writer]):
    """By type; found when it is first asked for."""

    def __missing__(self, kind: type) -> Writer:
        found = self[kind] = _find_writer(kind)
        return found


_writers = _Writers()


def _find_writer(kind: type) -> Writer:
    for base, writer in _WRITERS:
        if issubclass(kind, base):
            return writer
    if dataclasses.is_dataclass(kind):
        return _dataclass_writer(cast(type, kind))
    raise TypeError(f"{kind.__name__} has no canonical form")


def _dataclass_writer(kind: type) -> Writer:
    names = sorted(field.name for field in dataclasses.fields(kind))
    texts = dict.fromkeys(names, "%s") | {"type": _quoted(kind.__name__)}
    # `%s` where a field's text goes.
    whole = f"{{{','.join(f'{_quoted(name)}:{texts[name]}' for name in sorted(texts))}}}"
    fields = _getter(names)
    writers = _writers

    def write_dataclass(value: Any, written: dict[int, str]) -> str:
        # Its identity is its own for as long as the root holds it, which outlives the writing.
        text = written.get(id(value))
        if text is None:
            told = [
                "null" if one is None else writers[type(one)](one, written) for one in fields(value)
            ]
            text = written[id(value)] = whole % tuple(told)
        return text

    return write_dataclass


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """All of these attributes as a tuple; `attrgetter` gives one by itself, and takes no none."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _write_float(number: float, _: object) -> str:
    if not math.isfinite(number):
        raise ValueError(f"{number} has no canonical form")
    return float.__repr__(number)


def _write_mapping(items: Mapping[object, object], written: dict[int, str]) -> str:
    named = sorted({str(key): item for key, item in items.items()}.items())
    pairs = (f"{_quoted(key)}:{_writers[type(item)](item, written)}" for key, item in named)
    return f"{{{','.join(pairs)}}}"


def _write_list(items: Iterable[object], written: dict[int, str]) -> str:
    return f"[{','.join([_writers[type(item)](item, written) for item in items])}]"


# As `_ENCODERS`.
_WRITERS: tuple[tuple[type, Writer], ...] = (
    (Enum, lambda member, written: _writers[type(member._value_)](member._value_, written)),
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
