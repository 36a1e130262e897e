"""What moves traffic, and how it and a controller speak with one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from controller.rollout.plan import OnLoss
from controller.rollout.route import Route

LEASE = timedelta(minutes=5)
"""How long a split is in force without a word from the controller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The shares in force per intent, as a lease: a target refuses a lower (fence, version).

    `settled` is, by intent, the lowest share that was committed within the longest time a unit lives: a unit that is
    under way but new to a replica is the candidate's for certain only below it.
    """

    rollout: str
    fence: int
    version: int
    shares: Mapping[str, int]
    settled: Mapping[str, int]
    salt: str
    expires: datetime
    route: Route
    on_expiry: OnLoss = OnLoss.BASELINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a target says of a rollout's split, over all its replicas.

    `split` is the lowest in force at any replica, None only if no replica has one. `since` is when those very shares
    came into force at every replica, None while some replica serves others. `expired_at` is set while a lease that ran
    out has not been renewed; `expired_fence` is the one it was granted under, for moments of different leaders are not
    comparable.
    """

    split: Split | None
    since: datetime | None
    expired_at: datetime | None = None
    expired_fence: int = field(default=0, compare=False)


class Target(Protocol):
    """Where a split is put in force. All calls are idempotent."""

    def read(self, rollout: str) -> Standing:
        """What is in force now, by every replica's own word. Unreachable if that cannot be known."""
        ...

    def set(self, split: Split) -> None:
        """Put a split in force, or renew its lease. Conflict if its (fence, version) is lower than the present one."""
        ...

    def off(self, split: Split) -> None:
        """Put the candidate off for a rollout, whatever its split says."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one replica says of one rollout: the split it holds, and how it stands by its own clock.

    `expires` is the controller's, handed back: it names the lease. It says nothing to a controller on another host,
    whose clock may differ; `left_s` does, how long the lease still runs (negative: how long ago it ran out). `age_s` is
    how long these very shares have been in force there, None if they are not. `expired_at` is the `expires` of the
    last lease that ran out, for as long as the replica remembers the rollout: the controller knows which of them it
    has recorded. It is a moment of the controller that granted that lease, so it is known by `expired_fence` as well.
    """

    rollout: str
    fence: int
    version: int
    shares: Mapping[str, int]
    salt: str
    expires: datetime
    left_s: float
    on_expiry: OnLoss
    age_s: float | None
    expired_at: datetime | None = None
    expired_fence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A replica's word: who it is, what it holds, what it lost. Acknowledgement and heartbeat in one.

    `leaving` is its last word: it serves nothing from now on. `lost` counts the lines that its full spool dropped and
    that the controller refused, since it started.
    """

    replica: str
    held: tuple[Held, ...] = ()
    leaving: bool = False
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A split for a replica, with its term in seconds from the answer on: hosts need not agree on the time."""

    split: Split
    term_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """The answer to a report: splits that the replica does not hold yet, or whose leases are renewed.

    `waited_s` is how long the controller held the report back: a term starts when the report was sent, plus this.
    """

    granted: tuple[Granted, ...]
    waited_s: float


class Link(Protocol):
    """What a gateway asks of a controller; the only thing that it asks of anybody but the models.

    In one process a function call, else HTTP. Unreachable when there is no answer, or none that makes sense.
    """

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        """Hand in a report; the answer comes at once if there is something to say, else after at most `wait_s`."""
        ...

    async def ingest(self, lines: bytes) -> None:
        """Have observations and outcomes counted: JSON lines as in `controller.sources.feed`, whole ones.

        Idempotent. DataError if a line can never be counted; then none of these was.
        """
        ...

    async def close(self) -> None: ...
