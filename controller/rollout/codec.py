"""Values to canonical JSON and back: the form in which plans, states and evidence are hashed and kept.

Canonical means: keys sorted, no white space, UTF-8, no NaN or infinity. `decode(kind, encode(value)) == value` for
every frozen dataclass built of str, int, float, bool, None, enum, datetime, date, timedelta, Fraction, tuple,
mapping with string keys, and unions of dataclasses (told apart by the field `type`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from enum import Enum
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, Union, cast

T = TypeVar("T")
Json = Any  # str | int | float | bool | None | list[Json] | dict[str, Json]


def canonical(value: object) -> str:
    """Canonical JSON of a value; the same value always gives the same text."""
    return json.dumps(
        encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: object) -> str:
    """Hex SHA-256 of the canonical JSON."""
    return text_digest(canonical(value))


def text_digest(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def encode(value: object) -> Json:
    """A JSON-able form of a value. Fields equal to their default are kept: a record explains itself."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | bool | int | float):
        return value
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value)
    if dataclasses.is_dataclass(value):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


_ENCODERS: dict[type, Callable[[Any], Json]] = {
    datetime: lambda moment: moment.isoformat(),
    date: lambda day: day.isoformat(),
    timedelta: lambda span: span.total_seconds(),
    Fraction: lambda fraction: f"{fraction.numerator}/{fraction.denominator}",
}


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
    named = {str(one.__name__): one for one in options if isinstance(one, type) and dataclasses.is_dataclass(one)}
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
    return lambda data: tuple(
        _decoder(item)(one) for item, one in zip(items, data, strict=True)
    )


def _dataclass_decoder(kind: type) -> Callable[[Json], Any]:
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]

    def decode_dataclass(data: Json) -> Any:
        # A field that an older release did not write takes its default.
        return kind(**{name: _decoder(hints[name])(data[name]) for name in names if name in data})

    return decode_dataclass
