"""JSON lines of observations, outcomes and pairs -> a `Batch`, or every problem of the file with its line.

Strict: an unknown field, a missing one, a value of another kind or a naive time is a problem. What is optional and
absent stays unknown; nothing is guessed, except what the store itself knows: `version`, the split that was in force
at the observation's time.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from controller.errors import DataError, NotFound
from controller.ports import Head, SplitVersion
from controller.rollout.metrics import FLAGS
from controller.rollout.observation import (
    PERSON,
    QUANTITIES,
    Batch,
    Cohort,
    Grades,
    Observation,
    Outcome,
    Pair,
)
from controller.rollout.plan import Arm

MOST_PROBLEMS = 50
"""Problems that are printed one by one; the rest is counted."""

LARGEST = 2**53
"""A number beyond is no measurement, and a few of them summed fit in no database."""

_OTHER_WORDS_FOR_A_PERSON = {"human", "humans", "people", "persons", PERSON}

_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class Splits(Protocol):
    """What the reader asks of the store."""

    def head(self, rollout: str) -> Head: ...

    def splits(self, rollout: str) -> Sequence[SplitVersion]: ...


class _Wrong(Exception):
    """One thing wrong with one line."""


Parser = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    parse: Parser
    required: bool = True


def read_feed(
    lines: Iterable[str], *, file: str, store: Splits, known: set[str] | None = None
) -> Batch:
    """Everything in the file, in its order. DataError with all problems; then nothing of it may be ingested.

    `known` are full names of rollouts that were found before, and gets those that are found: none ever goes away.
    """
    reader = _Reader(store, known if known is not None else set())
    observations: list[Observation] = []
    outcomes: list[Outcome] = []
    pairs: list[Pair] = []
    problems: list[str] = []
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            match reader.read(raw):
                case Observation() as one:
                    observations.append(one)
                case Outcome() as one:
                    outcomes.append(one)
                case Pair() as one:
                    pairs.append(one)
        except _Wrong as wrong:
            problems.append(f"{file}:{number}: {wrong}")
    if problems:
        raise DataError(_writable(_listed(problems)))
    return Batch(observations=tuple(observations), outcomes=tuple(outcomes), pairs=tuple(pairs))


def outcome_of(fields: Mapping[str, Any]) -> Outcome:
    """An outcome from its fields, without `kind`. DataError with everything that is wrong with them."""
    try:
        return Outcome(**_fields(fields, OUTCOME))
    except _Wrong as wrong:
        raise DataError(_writable(str(wrong))) from wrong


def is_unicode(text: str) -> bool:
    """Whether a text can be written down: JSON may escape half of a surrogate pair, which no encoding has."""
    return _HALF_A_PAIR.search(text) is None


def _writable(text: str) -> str:
    """A text about what was found, in a form that can be printed and sent."""
    return text.encode(errors="backslashreplace").decode()


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - MOST_PROBLEMS
    rest = [f"… and {more} more lines with problems"] if more > 0 else []
    return "\n".join([*problems[:MOST_PROBLEMS], *rest, "Nothing was ingested."])


class _Reader:
    """Lines to values. Rollouts and their splits are read from the store once each."""

    def __init__(self, store: Splits, known: set[str]) -> None:
        self._store = store
        self._known = known
        self._rollouts: dict[str, str | _Wrong] = {}
        self._splits: dict[str, Sequence[SplitVersion]] = {}

    def read(self, raw: str) -> Observation | Outcome | Pair:
        entry = _object(raw)
        kind = entry.pop("kind", None)
        match kind:
            case "observation":
                return Observation(**self._located(_fields(entry, OBSERVATION)))
            case "outcome":
                return Outcome(**_fields(entry, OUTCOME))
            case "pair":
                return Pair(**self._located(_fields(entry, PAIR)))
            case None:
                raise _Wrong("no `kind`; expected observation, outcome or pair")
            case _:
                raise _Wrong(f"kind: {kind!r} is not observation, outcome or pair")

    def _located(self, fields: dict[str, Any]) -> dict[str, Any]:
        """With the rollout's full name and, where the line has none, the split's version."""
        rollout = self._rollout(fields["rollout"])
        version = fields.get("version")
        if version is None:
            version = self._version(rollout, fields["at"])
        return {**fields, "rollout": rollout, "version": version}

    def _rollout(self, name: str) -> str:
        if name in self._known:
            return name
        if name not in self._rollouts:
            try:
                rollout = self._rollouts[name] = self._store.head(name).state.rollout
                self._known.add(rollout)
            except NotFound as error:
                self._rollouts[name] = _Wrong(f"rollout: {error}")
        found = self._rollouts[name]
        if isinstance(found, _Wrong):
            raise found
        return found

    def _version(self, rollout: str, at: datetime) -> int:
        if rollout not in self._splits:
            self._splits[rollout] = self._store.splits(rollout)
        before = [one for one in self._splits[rollout] if one.since <= at]
        if not before:
            raise _Wrong(f"at: {at.isoformat()} is before the first split of {rollout}")
        return before[-1].version


def _object(raw: str) -> dict[str, Any]:
    try:
        entry = json.loads(raw, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise _Wrong(f"not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"not readable: {error}") from error
    if not isinstance(entry, dict):
        raise _Wrong("expected an object")
    return entry


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Wrong(f"{twice}: given twice")
    return entry


def _fields(entry: Mapping[str, Any], known: Mapping[str, Field]) -> dict[str, Any]:
    """The values by name; all problems of the line at once."""
    wrong = [_unknown(name, known) for name in entry if name not in known]
    values = {}
    for name, field in known.items():
        if name not in entry:
            wrong += [f"{name}: missing"] if field.required else []
            continue
        try:
            values[name] = field.parse(entry[name])
        except _Wrong as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        raise _Wrong("; ".join(wrong))
    return values


def _unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name}: unknown field" + (f"; did you mean {close[0]}?" if close else "")


# Values


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f"{_shown(value)} is not a text of at least one character")
    if not is_unicode(value):
        raise _Wrong(f"{_shown(value)} has half of a surrogate pair, which is no character")
    return value


def _source(value: Any) -> str:
    """Free, but a person's grade must not pass for the judge's because it is called by another word."""
    source = _text(value)
    if source != PERSON and source.strip().lower() in _OTHER_WORDS_FOR_A_PERSON:
        raise _Wrong(f"{_shown(value)}: write a person's grade as {_shown(PERSON)}")
    return source


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Wrong(f"{_shown(value)} is not a time such as 2026-11-21T03:14:07Z") from None
    if moment.tzinfo is None:
        raise _Wrong(f"{_shown(value)} has no time zone; write it as 2026-11-21T03:14:07Z")
    return moment.astimezone(UTC)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Wrong(f"{_shown(value)} is not a whole number of 0 or more")
    if value > LARGEST:
        raise _Wrong(f"{_shown(value)} is more than {LARGEST}, which nothing measures")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{_shown(value)} is not true or false")
    return value


def _grade(value: Any) -> float:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _Wrong(f"{_shown(value)} is not a grade: true, false, or a number from 0 to 1")
    return float(value)


def _one_of(kind: type[Arm] | type[Cohort] | type[Grades]) -> Parser:
    def parse(value: Any) -> object:
        try:
            return kind(value)
        except ValueError:
            raise _Wrong(f"{_shown(value)} is not one of {', '.join(kind)}") from None

    return parse


def _flags(value: Any) -> Mapping[str, bool]:
    return _mapping(value, _flag, lambda name: name in FLAGS or name.startswith("custom."), FLAGS)


def _request_flags(value: Any) -> Mapping[str, bool]:
    """`error` and `escalated` must be spoken of; null says that it is not known."""
    told = value if isinstance(value, dict) else {}
    missing = [name for name in ("error", "escalated") if name not in told]
    if isinstance(value, dict) and missing:
        raise _Wrong(
            f"{' and '.join(missing)} must be given: true or false for every request, null where it is not known"
        )
    unknown = {name for name in ("error", "escalated") if told.get(name, False) is None}
    return _flags(
        {name: one for name, one in told.items() if name not in unknown} if told else value
    )


def _quantities(value: Any) -> Mapping[str, int]:
    return _mapping(value, _whole, lambda name: name in QUANTITIES, QUANTITIES)


def _mapping(
    value: Any, parse: Parser, accepts: Callable[[str], bool], known: Sequence[str]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{_shown(value)} is not an object")
    parsed = {}
    for name, one in value.items():
        _text(name)
        if not accepts(name):
            close = difflib.get_close_matches(name, known, n=1)
            raise _Wrong(
                f"{name} is not known; "
                + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}")
            )
        try:
            parsed[name] = parse(one)
        except _Wrong as error:
            raise _Wrong(f"{name}: {error}") from None
    return parsed


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


OBSERVATION = {
    "id": Field(_text),
    "rollout": Field(_text),
    "at": Field(_moment),
    "unit": Field(_text),
    "arm": Field(_one_of(Arm)),
    "intent": Field(_text),
    "version": Field(_whole, required=False),
    "cohort": Field(_one_of(Cohort), required=False),
    "assigned": Field(_flag, required=False),
    "endpoint": Field(_text, required=False),
    "flags": Field(_request_flags),
    "quantities": Field(_quantities, required=False),
}
OUTCOME = {
    "id": Field(_text),
    "observation": Field(_text),
    "at": Field(_moment),
    "correct": Field(_grade, required=False),
    "grades": Field(_one_of(Grades), required=False),
    "flags": Field(_flags, required=False),
    "source": Field(_source, required=False),
}
PAIR = {
    "id": Field(_text),
    "rollout": Field(_text),
    "at": Field(_moment),
    "intent": Field(_text),
    "version": Field(_whole, required=False),
    "baseline_correct": Field(_grade),
    "candidate_correct": Field(_grade),
}
