"""Where traffic is counted, and how far it was judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from controller.ports.rollouts import SplitVersion
from controller.rollout.observation import Batch, Ingested, RollupRow


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedStretch:
    """A stretch [start, end) in which one split version was verified in force."""

    version: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How far a rollout's windows have been judged: every end up to `through`, every change up to `seq`.

    `status` is what the last tick saw, for `describe` and `get`; a view, not a record.
    """

    through: datetime
    seq: int
    status: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What ticks leave behind besides decisions: stretches verified in force, and how far windows were judged.

    `through`, `seq` and `status`, as canonical JSON, are those of `Judged`; without `through` only stretches are noted.
    """

    rollout: str
    verified: tuple[VerifiedStretch, ...] = ()
    through: datetime | None = None
    seq: int = 0
    status: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What `MetricsStore.prune` let go of, in rows, and the floor below which nothing is taken any more.

    Unless it is `finished`, the same call again goes on.
    """

    floor: datetime
    finished: bool = True
    observations: int = 0
    outcomes: int = 0
    pairs: int = 0
    episodes: int = 0
    labels: int = 0
    by_people: int = 0


class MetricsStore(Protocol):
    """Observations, outcomes and what is counted from them."""

    def ingest(self, batch: Batch, now: datetime) -> Ingested:
        """Count a batch, in one transaction. Idempotent by id; order does not matter (see `Ingested`).

        An outcome before its observation waits for it. An outcome counts in its episode's (its request's) minute; if
        that is more than the plan's labels.horizon before `now`, it is refused and counted. Closes blocks of every
        stratum of a rollout that the batch names, from labels whose episodes started `labels.delay` ago or earlier, in
        order of start; opens one again, a label of which has no grade any more. DataError, and nothing counted, for a
        batch with a value that cannot be. What is earlier than what is kept (`prune`) is refused and counted, known or
        not: nobody can tell any more.
        """
        ...

    def prune(self, before: datetime, now: datetime) -> Pruned:
        """Let go of raw rows earlier than `before`; what they were counted in stays: rollups, blocks, records.

        Never of any within a rollout's labels.horizon before `now`, nor of an episode or a label that later requests,
        outcomes or blocks may need. The floor, up to which everything may be gone, never falls. PostgreSQL lets go of
        whole weeks, so some rows below the floor stay a while, unseen. One call does a part of what may be much, so
        that nobody waits long for it. Harmless to repeat, and to be cut off.
        """
        ...

    def rollups(self, rollout: str, *, changed_after: int = 0) -> tuple[Sequence[RollupRow], int]:
        """Minute rows with seq > changed_after, and the rollout's present ingest sequence, read consistently."""
        ...

    def refused(self, rollout: str) -> Mapping[str, int]:
        """How many outcomes were refused or still wait: too_late; and, of the whole store, because whose they are is
        not known until their observation comes, waiting and expired (waited longer than any rollout's horizon).

        Among too_late is whatever was earlier than what is kept; of its outcomes too it is not known whose they are.
        """
        ...

    def splits(self, rollout: str) -> Sequence[SplitVersion]:
        """Every split committed, by version."""
        ...

    def verified(self, rollout: str) -> Sequence[VerifiedStretch]:
        """All stretches, by start."""
        ...

    def judged(self, rollout: str) -> Judged | None:
        """How far the windows have been judged; None before the first tick."""
        ...

    def note(self, notes: Sequence[Note], *, fence: int | None = None) -> None:
        """For each rollout add its stretches and replace how far it was judged, all in one transaction.

        Stretches of one version that touch are joined. Conflict, and nothing written, if the fence is lower than the
        store's; None is nobody's in particular. NotFound for a rollout that does not exist.
        """
        ...
