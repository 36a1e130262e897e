"""The store in memory: for tests, simulations and a demo. Held to the same contract suite as SQL."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import RLock

from controller.ports import (
    Backlog,
    Commit,
    Head,
    Judged,
    Leadership,
    Note,
    Owed,
    Pruned,
    Sight,
    SplitVersion,
    Thread,
    VerifiedStretch,
)
from controller.rollout.anchors import next_anchor
from controller.rollout.counting.deltas import RowKey
from controller.rollout.counting.items import Fate, micros, moment_of
from controller.rollout.destinations import destinations
from controller.rollout.observation import Batch, Cohort, Ingested, RollupRow
from controller.rollout.plan import Plan
from controller.rollout.record import Anchor, Record, Sealed
from controller.rollout.timeline import EPOCH
from controller.store import rules
from controller.store.ingest import ingest
from controller.store.memory_rows import MemoryRows, newer

NEVER = datetime.min.replace(tzinfo=UTC)


class MemoryStore:
    """`controller.ports.Store` without a database. One lock makes every call a transaction."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._fence = 0
        self._leadership = rules.NOBODY
        self._rows = MemoryRows()
        self._plans: dict[str, Sealed[Plan]] = {}
        self._records: dict[str, list[Sealed[Record]]] = {}
        self._anchors: list[Sealed[Anchor]] = []
        self._outbox: dict[str, Owed] = {}
        self._undelivered: dict[str, None] = {}  # ids, in the order in which they were owed
        self._notices: defaultdict[str, list[str]] = defaultdict(list)  # ids by rollout
        self._threads: dict[tuple[str, str], Thread] = {}
        self._verified: dict[str, list[VerifiedStretch]] = {}
        self._judged: dict[str, Judged] = {}

    def heads(self) -> Sequence[Head]:
        with self._lock:
            return sorted(
                self._rows.heads.values(), key=lambda one: (one.state.name, one.state.attempt)
            )

    def tips(self) -> Mapping[str, tuple[int, int]]:
        with self._lock:
            ingested = self._rows.ingest_seqs
            return {
                name: (head.seq, ingested.get(name, 0)) for name, head in self._rows.heads.items()
            }

    def head(self, rollout: str) -> Head:
        with self._lock:
            if rollout in self._rows.heads:
                return self._rows.heads[rollout]
            attempts = [one for one in self.heads() if one.state.name == rollout]
            if not attempts:
                raise rules.no_rollout(rollout, self._rows.heads)
            return attempts[-1]

    def commit(self, commit: Commit) -> None:
        record = commit.record.value
        with self._lock:
            head = self._rows.heads.get(record.rollout)
            versions = self._rows.split_versions.get(record.rollout)
            rules.admit(commit, None if head is None else (head.seq, head.hash), self._fence)
            rules.admit_split(commit, versions[-1].version if versions else None)
            plan = self._plans.setdefault(commit.plan.hash, commit.plan).value
            self._records.setdefault(record.rollout, []).append(commit.record)
            self._rows.heads[record.rollout] = Head(
                state=record.state, plan=plan, seq=record.seq, hash=commit.record.hash
            )
            if commit.split is not None:
                self._rows.split_versions[record.rollout].append(commit.split)
            self._owe(commit)

    def records(self, rollout: str, *, after: int = 0) -> Sequence[Sealed[Record]]:
        with self._lock:
            return [one for one in self._records.get(rollout, ()) if one.value.seq > after]

    def plan(self, digest: str) -> Sealed[Plan]:
        with self._lock:
            if digest not in self._plans:
                raise rules.no_plan(digest)
            return self._plans[digest]

    def anchor(self, at: datetime) -> Anchor | None:
        with self._lock:
            last = self._anchors[-1] if self._anchors else None
            heads = {name: (head.seq, head.hash) for name, head in self._rows.heads.items()}
            due = next_anchor(last, heads, at)
            if due is None:
                return None
            self._anchors.append(due)
            return due.value

    def anchors(self) -> Sequence[Sealed[Anchor]]:
        with self._lock:
            return list(self._anchors)

    def take_fence(self) -> int:
        with self._lock:
            self._fence += 1
            return self._fence

    def owed(
        self, now: datetime, *, destination: str | None = None, limit: int = 100
    ) -> Sequence[Owed]:
        with self._lock:
            first: dict[tuple[str, str], Owed] = {}
            for one in map(self._outbox.__getitem__, self._undelivered):
                if destination in (None, one.destination):
                    first.setdefault((one.rollout, one.destination), one)
            return [one for one in first.values() if one.next_attempt <= now][:limit]

    def sending(self, owed: Owed, at: datetime, *, until: datetime) -> bool:
        with self._lock:
            one = self._outbox.get(owed.id)
            if one is None or one.delivered is not None or one.sending != owed.sending:
                return False
            self._outbox[owed.id] = replace(one, sending=at, next_attempt=until)
            return True

    def delivered(self, notice_id: str, at: datetime, *, reference: str = "") -> None:
        with self._lock:
            one = self._notice(notice_id)
            if one.delivered is None:
                self._outbox[notice_id] = replace(
                    one, delivered=at, sending=None, reference=reference
                )
                del self._undelivered[notice_id]

    def undelivered(
        self,
        notice_id: str,
        *,
        error: str,
        next_attempt: datetime,
        doubtful: bool = False,
        begun: datetime | None = None,
    ) -> None:
        with self._lock:
            one = self._notice(notice_id)
            if one.delivered is None and begun in (None, one.sending):
                self._outbox[notice_id] = replace(
                    one,
                    attempts=one.attempts + 1,
                    next_attempt=next_attempt,
                    last_error=error,
                    sending=one.sending if doubtful else None,
                )

    def deliveries(self, rollout: str) -> Sequence[Owed]:
        with self._lock:
            return [self._outbox[one] for one in self._notices.get(rollout, ())]

    def backlog(self) -> Sequence[Backlog]:
        with self._lock:
            created: defaultdict[str, list[datetime]] = defaultdict(list)
            for one in map(self._outbox.__getitem__, self._undelivered):
                created[one.destination].append(one.created)
            return [
                Backlog(destination=destination, count=len(times), oldest=min(times))
                for destination, times in sorted(created.items())
            ]

    def threads(
        self,
        *,
        destination: str | None = None,
        rollout: str | None = None,
        stale: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Thread]:
        with self._lock:
            found = [
                one
                for _, one in sorted(self._threads.items())
                if destination in (None, one.destination) and rollout in (None, one.rollout)
            ]
            if stale is not None:
                behind = [one for one in found if self._behind(one, stale)]
                found = sorted(behind, key=lambda one: (not self._older(one), one.shown or NEVER))
            return found[:limit]

    def behind(self, stale: datetime) -> Sequence[str]:
        return sorted({one.destination for one in self.threads(stale=stale)})

    def note_thread(self, thread: Thread) -> None:
        with self._lock:
            self._require(thread.rollout)
            self._threads[thread.rollout, thread.destination] = thread

    def _behind(self, thread: Thread, stale: datetime) -> bool:
        judged = self._rows.heads[thread.rollout].state.phase.judged
        old = thread.shown is not None and thread.shown < stale and judged
        return thread.ts != "" and (old or self._older(thread))

    def _older(self, thread: Thread) -> bool:
        """Whether it shows an older record than the last."""
        return thread.seq < self._rows.heads[thread.rollout].seq

    def ingest(self, batch: Batch, now: datetime) -> Ingested:
        with self._lock:
            return ingest(self._rows, batch, now)

    def prune(self, before: datetime, now: datetime) -> Pruned:
        with self._lock:
            floor, gone = self._rows.prune(micros(before), micros(now))
            return Pruned(floor=moment_of(floor), finished=True, **gone)

    def rollups(self, rollout: str, *, changed_after: int = 0) -> tuple[Sequence[RollupRow], int]:
        with self._lock:
            changed = newer(self._rows.kept_minutes.get(rollout, {}), changed_after)
            rows = [_row(key, seq, stats) for key, seq, stats in changed]
            return rows, self._rows.ingest_seqs.get(rollout, 0)

    def refused(self, rollout: str) -> Mapping[str, int]:
        with self._lock:
            return {
                fate.value: self._rows.refused("", fate) + self._rows.refused(rollout, fate)
                for fate in Fate
                if fate is not Fate.COUNTED
            }

    def splits(self, rollout: str) -> Sequence[SplitVersion]:
        with self._lock:
            return self._rows.splits([rollout])[rollout]

    def verified(self, rollout: str) -> Sequence[VerifiedStretch]:
        with self._lock:
            return list(self._verified.get(rollout, ()))

    def judged(self, rollout: str) -> Judged | None:
        with self._lock:
            return self._judged.get(rollout)

    def note(self, notes: Sequence[Note], *, fence: int | None = None) -> None:
        with self._lock:
            rules.admit_fence(fence, self._fence)
            for one in notes:
                self._require(one.rollout)
            for one in notes:
                for stretch in one.verified:
                    self._verify(one.rollout, stretch)
                if one.through is not None:
                    self._judged[one.rollout] = Judged(
                        through=one.through, seq=one.seq, status=json.loads(one.status)
                    )

    def sight(self, rollout: str, *, known: Sight | None = None) -> Sight:
        with self._lock:
            self._require(rollout)
            head = self._rows.heads[rollout]
            rows, seq = self.rollups(rollout, changed_after=known.seq if known is not None else 0)
            same = known is not None and known.head.hash == head.hash
            splits = known.splits if known is not None and same else list(self.splits(rollout))
            return Sight(head=head, splits=splits, rows=rows, seq=seq)

    def sights(self, known: Mapping[str, Sight | None]) -> Mapping[str, Sight]:
        with self._lock:
            return {
                rollout: self.sight(rollout, known=before)
                for rollout, before in known.items()
                if rollout in self._rows.heads
            }

    def check(self) -> None:
        """It is there, and has no schema."""

    def when_failing(self, tell: Callable[[], None]) -> None:
        """It never fails."""

    def leadership(self) -> Leadership:
        with self._lock:
            return self._leadership

    def take_lead(self, seen: Leadership, *, holder: str, term: timedelta) -> Leadership:
        with self._lock:
            present = self._leadership
            if (seen.holder, seen.fence, seen.beat) != (
                present.holder,
                present.fence,
                present.beat,
            ):
                raise rules.not_as_seen(seen, present)
            fence = self.take_fence()
            self._leadership = Leadership(
                holder=holder, fence=fence, beat=present.beat + 1, term=term
            )
            return self._leadership

    def renew_lead(self, held: Leadership) -> Leadership:
        with self._lock:
            if not self._leads(held):
                raise rules.not_held(held)
            self._leadership = replace(self._leadership, beat=self._leadership.beat + 1)
            return self._leadership

    def resign_lead(self, held: Leadership) -> None:
        with self._lock:
            if self._leads(held):
                beat = self._leadership.beat + 1
                self._leadership = replace(self._leadership, holder="", beat=beat)

    def _leads(self, held: Leadership) -> bool:
        present = self._leadership
        return (held.holder, held.fence) == (present.holder, present.fence)

    def close(self) -> None:
        """There is nothing to close."""

    def _verify(self, rollout: str, stretch: VerifiedStretch) -> None:
        stretches = self._verified.setdefault(rollout, [])
        gone, whole = rules.joined(stretches, stretch)
        if whole is not None:
            kept = [one for one in stretches if one not in gone]
            self._verified[rollout] = sorted(
                [*kept, whole], key=lambda one: (one.start, one.version)
            )

    def _owe(self, commit: Commit) -> None:
        record = commit.record.value
        for notice in commit.notices:
            for destination in destinations(commit.plan.value, notice):
                one = Owed(
                    id=rules.outbox_id(record.rollout, notice.key, destination),
                    rollout=record.rollout,
                    notice=notice,
                    destination=destination,
                    created=record.at,
                    attempts=0,
                    next_attempt=EPOCH,  # due at once, whatever the clock of who sends it
                )
                if one.id not in self._outbox:
                    self._outbox[one.id] = one
                    self._undelivered[one.id] = None
                    self._notices[one.rollout].append(one.id)

    def _notice(self, notice_id: str) -> Owed:
        if notice_id not in self._outbox:
            raise rules.no_notice(notice_id)
        return self._outbox[notice_id]

    def _require(self, rollout: str) -> None:
        if rollout not in self._rows.heads:
            raise rules.no_rollout(rollout, self._rows.heads)


def _row(key: RowKey, seq: int, stats: Mapping[str, int]) -> RollupRow:
    return RollupRow(
        rollout=key[0],
        minute=key[1],
        version=key[2],
        arm=key[3],
        intent=key[4],
        endpoint=key[5],
        cohort=Cohort(key[6]),
        seq=seq,
        stats=stats,
    )
