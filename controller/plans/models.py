"""The dated model table: names, aliases, prices, limits and shutdown dates, each with its source.

The table is data (`models.toml`), so that a new price is a new file and never a new release of the logic.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from importlib import resources
from typing import Any

from controller.errors import DataError
from controller.rollout.plan import ModelRef, Price

_NANO_PER_MILLION = 1_000  # USD per million tokens × 1,000 = nano-USD per token
_SOURCED = ("price", "limits", "shutdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the table knows about one model. `sources` names where price, limits and shutdown come from."""

    name: str
    aliases: tuple[str, ...]
    price: Price
    context_window: int
    output_limit: int
    shutdown: date | None
    sources: Mapping[str, str]

    def ref(self, written: str) -> ModelRef:
        """The model as a plan wrote it (by name or alias), with the facts of the table."""
        return ModelRef(
            model=written,
            price=self.price,
            context_window=self.context_window,
            output_limit=self.output_limit,
            shutdown=self.shutdown,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """Known models as of a day. Every name and alias is in it once."""

    as_of: date
    models: tuple[ModelFacts, ...]

    def find(self, name: str) -> ModelFacts | None:
        """The model of this name or alias; None if the table does not know it."""
        return next((m for m in self.models if name == m.name or name in m.aliases), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name and alias, names first."""
        names = tuple(model.name for model in self.models)
        return names + tuple(alias for model in self.models for alias in model.aliases)


def usd_per_million(*, input: Fraction, cached_input: Fraction, output: Fraction) -> Price:  # noqa: A002  # the price's own words
    """A price from the figures of a price list, USD per million tokens."""
    return Price(
        input=input * _NANO_PER_MILLION,
        cached_input=cached_input * _NANO_PER_MILLION,
        output=output * _NANO_PER_MILLION,
    )


def bundled_models() -> ModelTable:
    """The table that ships with this release."""
    text = resources.files(__package__).joinpath("models.toml").read_text(encoding="utf-8")
    return parse_models(text, file="models.toml")


def parse_models(text: str, *, file: str) -> ModelTable:
    """A model table from TOML. DataError if it is not one: unknown or missing keys, a name given twice."""
    try:
        data = tomllib.loads(text, parse_float=Fraction)
        shared = _sources(data.get("sources", {}), file)
        table = ModelTable(
            as_of=_kind(data["as_of"], date, "as_of"),
            models=tuple(_facts(entry, shared) for entry in data.get("model", [])),
        )
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise DataError(f"{file}: {error}") from error
    except KeyError as error:
        raise DataError(f"{file}: {error} is missing") from error
    _refuse_duplicates(table, file)
    return table


def _sources(data: Mapping[str, str], file: str) -> dict[str, str]:
    if missing := [what for what in _SOURCED if not data.get(what)]:
        raise DataError(
            f"{file}: [sources] does not say where these come from: {', '.join(missing)}"
        )
    return {what: data[what] for what in _SOURCED}


def _facts(entry: dict[str, Any], shared: dict[str, str]) -> ModelFacts:
    shutdown = entry.get("shutdown")
    return ModelFacts(
        name=_kind(entry["name"], str, "name"),
        aliases=tuple(entry.get("aliases", ())),
        price=usd_per_million(
            input=Fraction(entry["input"]),
            cached_input=Fraction(entry["cached_input"]),
            output=Fraction(entry["output"]),
        ),
        context_window=_kind(entry["context_window"], int, "context_window"),
        output_limit=_kind(entry["output_limit"], int, "output_limit"),
        shutdown=None if shutdown is None else _kind(shutdown, date, "shutdown"),
        sources=shared | entry.get("sources", {}),
    )


def _kind(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}; expected {kind.__name__}")
    return value


def _refuse_duplicates(table: ModelTable, file: str) -> None:
    names = table.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{file}: given more than once: {', '.join(twice)}")
