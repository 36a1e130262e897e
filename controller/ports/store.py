"""One database with all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.ports.leadership import LeadershipStore
from controller.ports.metrics import MetricsStore
from controller.ports.rollouts import Head, RolloutStore, SplitVersion
from controller.rollout.observation import RollupRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A rollout as one consistent read found it: see `Store.sight`."""

    head: Head
    splits: Sequence[SplitVersion]
    rows: Sequence[RollupRow]
    seq: int  # the present ingest sequence


class Store(RolloutStore, MetricsStore, LeadershipStore, Protocol):
    """All of it, in one database."""

    def sight(self, rollout: str, *, known: Sight | None = None) -> Sight:
        """All that a tick reads of one rollout (`name/attempt`), in one consistent view; NotFound.

        `rows` are the minute rows that changed after `known`, all of them without it. Of a head that is still the
        known one, it and its splits are handed back as they are: only a commit changes either.
        """
        ...

    def sights(self, known: Mapping[str, Sight | None]) -> Mapping[str, Sight]:
        """The same of many, in one consistent view; those that do not exist are left out.

        `known` says whose, each with what is known of it.
        """
        ...

    def check(self) -> None:
        """Unreachable if the database does not answer, SchemaBehind if its schema is not this release's."""
        ...

    def when_failing(self, tell: Callable[[], None]) -> None:
        """Have somebody told of every call that the database did not answer, from any thread."""
        ...

    def close(self) -> None:
        """Let go of connections; harmless if it was done."""
        ...
