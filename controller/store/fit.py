"""What every database can hold, so that a batch is refused by all of them alike, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Final

from controller.errors import DataError
from controller.rollout.observation import Batch

LARGEST: Final = 2**63 - 1
LARGEST_VERSION: Final = 2**31 - 1

_of_observation = attrgetter("id", "rollout", "unit", "intent", "endpoint")
_of_outcome = attrgetter("id", "observation", "source")
_of_pair = attrgetter("id", "rollout", "intent")


def require_fit(batch: Batch) -> None:
    """DataError for a text with NUL or half a surrogate pair, or a number of more than 64 bits (a version: 32)."""
    # All at once: looking for the one that does not fit is for when there is one.
    if _is_text("".join(chain.from_iterable(_texts(batch)))) and _are_numbers(batch):
        return
    for observation in batch.observations:
        _require("observation", observation.id, Batch(observations=(observation,)))
    for outcome in batch.outcomes:
        _require("outcome", outcome.id, Batch(outcomes=(outcome,)))
    for pair in batch.pairs:
        _require("pair", pair.id, Batch(pairs=(pair,)))


def _texts(batch: Batch) -> Iterator[Iterable[str]]:
    yield from map(_of_observation, batch.observations)
    yield from map(_of_outcome, batch.outcomes)
    yield from map(_of_pair, batch.pairs)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _are_numbers(batch: Batch) -> bool:
    versions = [one.version for one in batch.observations] + [one.version for one in batch.pairs]
    quantities = chain.from_iterable([one.quantities.values() for one in batch.observations])
    return max(versions, default=0) <= LARGEST_VERSION and max(quantities, default=0) <= LARGEST


def _require(kind: str, name: str, alone: Batch) -> None:
    for text in chain.from_iterable(_texts(alone)):
        if not _is_text(text):
            raise DataError(
                f"{kind} {name!r}: {text!r} holds NUL or half a surrogate pair, which no database keeps."
            )
    if not _are_numbers(alone):
        raise DataError(
            f"{kind} {name!r}: a number is too large; a version has at most 32 bits, a quantity 64."
        )
