"""What the controller needs from the world, as Protocols. Each has an in-memory and a real implementation, held to
one contract suite (`tests/contract`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from controller.rollout.decision import Notice
from controller.rollout.observation import Batch, Ingested, RollupRow
from controller.rollout.plan import OnLoss, Plan
from controller.rollout.record import Anchor, Record, Sealed
from controller.rollout.route import Route
from controller.rollout.state import State
from controller.rollout.status import Status


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
class Sight:
    """A rollout as one consistent read found it: see `Store.sight`."""

    head: Head
    splits: Sequence[SplitVersion]
    rows: Sequence[RollupRow]
    seq: int  # the present ingest sequence


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


class MetricsStore(Protocol):
    """Observations, outcomes and what is counted from them."""

    def ingest(self, batch: Batch, now: datetime) -> Ingested:
        """Count a batch, in one transaction. Idempotent by id; order does not matter (see `Ingested`).

        An outcome before its observation waits for it. An outcome counts in its episode's (its request's) minute; if
        that is more than the plan's labels.horizon before `now`, it is refused and counted. Closes blocks of every
        stratum of a rollout that the batch names, from labels whose episodes started `labels.delay` ago or earlier, in
        order of start. DataError, and nothing counted, for a batch with a value that cannot be. What is earlier than
        what is kept (`prune`) is refused and counted, known or not: nobody can tell any more.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """Who leads, as the one row about it says.

    `holder` is empty where nobody does: before the first, and after one that resigned. `fence` is the one that was
    taken with the lead. `beat` rises with every renewal. `term` is how long the lead lasts without one; the holder
    chose it.
    """

    holder: str
    fence: int
    beat: int
    term: timedelta


class LeadershipStore(Protocol):
    """The lease by which one controller leads. It holds no moment of time: every contender counts on its own clock."""

    def leadership(self) -> Leadership:
        """The row as it is. Cheap."""
        ...

    def take_lead(self, seen: Leadership, *, holder: str, term: timedelta) -> Leadership:
        """Lead from now on, under a fence higher than every one before; lower ones are refused from now on.

        Compare-and-set: Conflict, and nothing changes, unless the row is still what was seen. Whether it may be taken
        is for the caller to know (`controller.reconcile.lead`).
        """
        ...

    def renew_lead(self, held: Leadership) -> Leadership:
        """Raise the beat. Conflict if holder and fence are not in the row any more. Never waits for an ingest."""
        ...

    def resign_lead(self, held: Leadership) -> None:
        """Leave it to whoever comes next; harmless if it was lost."""
        ...


class Mandate(Protocol):
    """A controller's permission to act: to tick, to grant, to send. Once it is gone it does not come back.

    It is asked before every act, and after those that take long. What is under way when it ends, the fence refuses.
    """

    def holds(self) -> bool:
        """Whether one may act at this moment. Cheap; asks nobody."""
        ...

    def revoke(self, why: str) -> None:
        """It was learnt that another controller leads: nothing more is done under this one."""
        ...


class Ending(Protocol):
    """Whether it is time to end: an event, or a reason of another kind."""

    def is_set(self) -> bool:
        """Once it is, it stays so."""
        ...


class Unrivalled:
    """The mandate of a controller that is alone with its store (in memory, say), until it learns otherwise."""

    def __init__(self) -> None:
        self._rival = ""

    def holds(self) -> bool:
        return not self._rival

    def revoke(self, why: str) -> None:
        self._rival = why


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


class Notifier(Protocol):
    """Delivers notices to the destinations of one kind. Called in several threads, for each destination in one.

    `pace` is the least time between two sends to one destination. One of unknown fate is left alone for `settle`.
    """

    @property
    def pace(self) -> timedelta: ...

    @property
    def settle(self) -> timedelta: ...

    def send(self, owed: Owed, plan: Plan) -> str:
        """Deliver, and say what the receiver calls it. `plan` is the revision that the notice was decided under.

        Unreachable if it was not delivered: `controller.notify.failure.Undelivered` says what is known of it; of any
        other error nothing is, so the receiver may have it.
        """
        ...

    def find(self, owed: Owed, plan: Plan) -> str | None:
        """What the receiver calls it, if an earlier attempt of unknown fate did reach it.

        None if it did not, or if the receiver tells repeats apart by `Owed.id` itself: then it is sent (again).
        """
        ...

    def refresh(self, destination: str, stale: datetime) -> None:
        """Bring up to date what is shown of the present at a destination: one thread that is behind (`Store.threads`).

        Errors as for `send`.
        """
        ...


class Ticked(StrEnum):
    """How one tick ended."""

    HELD = "held"  # nothing to decide
    DECIDED = "decided"  # a record was committed
    OVERTAKEN = "overtaken"  # somebody else committed first
    UNREACHABLE = "unreachable"  # the database or a target did not answer
    FAILED = "failed"  # a defect


class Telemetry:
    """Is told what the controller does, as it does it: for metrics, probes and log lines. This one does nothing.

    No call raises, blocks or decides anything; they come from any thread.
    """

    def turned(self) -> None:
        """The worker came round: it is not stuck."""

    def running(self, rollouts: Iterable[str]) -> None:
        """These are ticked from now on; what is known of others is out of date."""

    def ticked(self, rollout: str, ended: Ticked, *, took_s: float, waited_s: float | None) -> None:
        """A tick ended. `waited_s`: from the wake that it answered to its end; None if its minute had come."""

    def decided(self, record: Sealed[Record], *, took_s: float) -> None:
        """A decision was committed, so long after its tick began."""

    def judged(self, head: Head, status: Status, standing: Standing | None) -> None:
        """What a tick saw, and what its target said; None where that could not be had."""

    def ingested(self, received: Ingested) -> None:
        """A batch was counted."""

    def refused(self, lines: int) -> None:
        """Lines that can never be counted were sent."""

    def scheduled(self, job: str, what: str) -> None:
        """A job of the scheduler did not run as it should: missed, overrun or failed."""

    def delivered(self, destination: str, *, failed: bool) -> None:
        """A notice was handed to a destination, or could not be."""

    def database_failed(self) -> None:
        """The database did not answer a call."""


UNTOLD = Telemetry()


class Wakeable(Protocol):
    """Something that can be told that a rollout should be judged now rather than at the next minute."""

    def wake(self, rollouts: Iterable[str]) -> None: ...


LEASE = timedelta(minutes=5)
