"""Where rollouts, their records and what is owed about them are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.rollout.decision import Notice
from controller.rollout.plan import Plan
from controller.rollout.record import Anchor, Record, Sealed
from controller.rollout.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A rollout as its last record left it. `hash` is the compare-and-set token."""

    state: State
    plan: Plan
    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitVersion:
    """A split that was committed: the shares per intent from `since` on. Blocks and strata are formed by it."""

    version: int
    shares: Mapping[str, int]
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One decision, to be written in one transaction or not at all.

    `expected` is the head's hash that the decision was taken on, None for a rollout's first record. `split` is given
    when the shares changed. `fence` must not be lower than the store's (invariant 7); None for a command, which commits
    by `expected` alone, whether or not a controller is up.
    """

    record: Sealed[Record]
    plan: Sealed[Plan]
    expected: str | None
    notices: tuple[Notice, ...]
    split: SplitVersion | None
    fence: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A notice owed to one destination: a row of the outbox, and of the ledger of deliveries once it is delivered.

    `id` is the delivery's dedupe key. `attempts` counts those that failed. `sending` is when an attempt began whose
    fate is not known: the receiver may have it. `reference` is what the receiver calls it. `last_error` stays
    after a delivery that took several attempts.
    """

    id: str
    rollout: str
    notice: Notice
    destination: str
    created: datetime
    attempts: int
    next_attempt: datetime
    delivered: datetime | None = None
    sending: datetime | None = None
    reference: str = ""
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is owed to one destination and not delivered: how much, and since when the oldest."""

    destination: str
    count: int
    oldest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """The one message per rollout and channel under which its events stand.

    `number` counts the messages that took this place, from 1: a deleted one is replaced. `channel` and `ts` are the
    receiver's, empty until it is known to be there. `sending` is as in `Owed`. `seq` is the record that it shows, and
    `shown` when it was last brought up to date.
    """

    rollout: str
    destination: str
    number: int
    channel: str = ""
    ts: str = ""
    seq: int = 0
    shown: datetime | None = None
    sending: datetime | None = None


class RolloutStore(Protocol):
    """Records, plans, heads and the outbox. Safe to use from several threads and processes."""

    def heads(self) -> Sequence[Head]:
        """All rollouts, newest attempt of each name last, by name and attempt."""
        ...

    def tips(self) -> Mapping[str, tuple[int, int]]:
        """By rollout, its last record's number and its ingest sequence: they change when anything does. Cheap."""
        ...

    def head(self, rollout: str) -> Head:
        """One rollout (`name/attempt`, or a bare name for its newest attempt); NotFound with similar names."""
        ...

    def commit(self, commit: Commit) -> None:
        """Write the record, the new head, the plan if new, the split and the notices together.

        Conflict if the head is not `expected` or the fence is lower than the store's; nothing is written then.
        """
        ...

    def records(self, rollout: str, *, after: int = 0) -> Sequence[Sealed[Record]]:
        """A rollout's records with seq > after, oldest first."""
        ...

    def plan(self, digest: str) -> Sealed[Plan]:
        """A plan revision by its digest; NotFound."""
        ...

    def anchor(self, at: datetime) -> Anchor | None:
        """Chain all present heads into an anchor if none was written in `at`'s hour; the new anchor or None."""
        ...

    def anchors(self) -> Sequence[Sealed[Anchor]]:
        """All anchors, oldest first."""
        ...

    def take_fence(self) -> int:
        """A fence higher than every one before it; from now on lower ones are refused. For who has no rival: where
        several controllers may run, a fence comes with the lead."""
        ...

    def owed(
        self, now: datetime, *, destination: str | None = None, limit: int = 100
    ) -> Sequence[Owed]:
        """Undelivered notices whose next attempt is due, oldest first: of each rollout and destination the first.

        A commit owes each of its notices to every destination of `controller.rollout.destinations`, on its own.
        """
        ...

    def sending(self, owed: Owed, at: datetime, *, until: datetime) -> bool:
        """Note that an attempt begins. False, and nothing noted, if somebody else did or delivered it since.

        Until it is noted how the attempt ended, the notice is not due before `until`.
        """
        ...

    def delivered(self, notice_id: str, at: datetime, *, reference: str = "") -> None:
        """Mark a notice as delivered; harmless if it was."""
        ...

    def undelivered(
        self,
        notice_id: str,
        *,
        error: str,
        next_attempt: datetime,
        doubtful: bool = False,
        begun: datetime | None = None,
    ) -> None:
        """Count a failed attempt and put the notice off. `doubtful` if the receiver may have it all the same.

        With `begun` only if the attempt that was noted last is the one of that moment: what is told late of an attempt
        must not settle the doubt about another sender's.
        """
        ...

    def deliveries(self, rollout: str) -> Sequence[Owed]:
        """The ledger: every notice of a rollout to every destination, delivered or not, oldest first."""
        ...

    def backlog(self) -> Sequence[Backlog]:
        """What is not delivered, by destination; only destinations that are owed something. Cheap."""
        ...

    def threads(
        self,
        *,
        destination: str | None = None,
        rollout: str | None = None,
        stale: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Thread]:
        """Threads, by rollout and destination; at most `limit`.

        With `stale` those that are there and behind: first that show an older record than the last, then that were last
        brought up to date before this moment while their rollout is being judged; of each kind the longest first.
        """
        ...

    def behind(self, stale: datetime) -> Sequence[str]:
        """The destinations of all threads that are behind, as in `threads`."""
        ...

    def note_thread(self, thread: Thread) -> None:
        """Keep a thread, in the place of what was kept of its rollout and destination."""
        ...
