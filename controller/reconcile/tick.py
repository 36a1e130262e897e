"""One tick of one rollout: observe, decide, record, converge. A crash anywhere heals on the next tick."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from controller.clock import Clock, elapsed
from controller.errors import Unreachable
from controller.ports import (
    LEASE,
    UNTOLD,
    Head,
    Note,
    Sight,
    Split,
    Standing,
    Store,
    Target,
    Telemetry,
    VerifiedStretch,
)
from controller.reconcile.commit import commit
from controller.reconcile.observe import Memory, Observer, in_force
from controller.rollout.counting.items import LONGEST
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Decision
from controller.rollout.route import route_of, settled_shares
from controller.rollout.state import Phase, shares
from controller.rollout.status import Status, status_text
from controller.rollout.verdict import InForce, Outcome, Seen


class Reconciler:
    """Makes the world follow the records. Effects, in this order:

    1. the stretch in force is noted   2. the decision is committed   3. the target is set   4. the judgement is noted

    Nothing moves before it is committed; each effect may be lost or repeated without harm. Without a decision there is
    no second, and the first waits for the fourth: notes of many rollouts are written in one transaction. What a crash
    takes of them is judged again, and verified time is never more than was noted.

    One reconciler is one term of leadership: its fence is fixed, and so is what it may remember.
    """

    def __init__(
        self,
        *,
        store: Store,
        target: Target,
        clock: Clock,
        fence: int,
        lease: timedelta = LEASE,
        telemetry: Telemetry = UNTOLD,
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._target = target
        self._clock = clock
        self._fence = fence
        self._lease = lease
        self._observer = Observer(store)
        self._notes: dict[str, Note] = {}

    @property
    def fence(self) -> int:
        """The fence that everything is written under."""
        return self._fence

    def tick(self, rollout: str) -> Decision:
        """Judge a rollout once, act on it and note it. Conflict if somebody committed meanwhile; Unreachable if the
        target could not be set, with everything else done.
        """
        try:
            decision = self.judge(rollout)
        except Unreachable:
            self.flush()
            raise
        self.flush()
        return decision

    def ahead(self, rollouts: Collection[str]) -> None:
        """Read together what the next ticks of these rollouts read; they are to come at once. Unreachable."""
        self._observer.ahead(rollouts)

    def judge(self, rollout: str) -> Decision:
        """A tick whose note is left to the next `flush`."""
        begun = elapsed()
        memory = self._observer.look(rollout)
        head = memory.sight.head
        rollout = head.state.rollout  # a bare name stands for its newest attempt
        now = max(self._clock.now(), head.state.updated_at)
        standing = self._standing(memory, now)
        seen = self._observer.seen(memory, standing, now)
        decision = decide(head.plan, head.state, seen, None, now)
        if decision.recorded:
            self.flush()
            record = commit(
                self._store, head, decision, seen=seen, command=None, now=now, fence=self._fence
            )
            self._telemetry.decided(record, took_s=elapsed() - begun)
        status = _status(decision, seen, now)
        if not _leaves_out_a_failure(decision):
            self._note(rollout, status, memory)
        if decision.recorded:
            memory = self._observer.look(rollout)
        self._telemetry.judged(memory.sight.head, status, standing)
        self._converge(memory.sight)
        return decision

    def flush(self) -> None:
        """Write the notes of what was judged, in one transaction. Conflict if another controller leads."""
        if self._notes:
            self._store.note(list(self._notes.values()), fence=self._fence)
            self._notes.clear()

    def tip(self, rollout: str) -> tuple[int, int] | None:
        """Number of the last record, and ingest sequence, that a tick has seen; None if none has. From any thread."""
        return self._observer.tip(rollout)

    def forget(self, rollout: str) -> None:
        """Keep nothing of a rollout that is not ticked any more; if it is once more, it is read anew."""
        self._observer.forget(rollout)

    def converge(self, head: Head) -> None:
        """Put the committed split in force, or renew its lease; after a rollback, put the candidate off."""
        self._converge(self._observer.look(head.state.rollout).sight)

    def _converge(self, sight: Sight) -> None:
        head, state, now = sight.head, sight.head.state, self._clock.now()
        split = Split(
            rollout=state.rollout,
            fence=self._fence,
            version=state.version,
            shares=shares(head.plan, state),
            settled=settled_shares(sight.splits, now - LONGEST),
            salt=state.salt,
            expires=now + self._lease,
            route=route_of(head.plan, state),
            on_expiry=head.plan.on_controller_loss,
        )
        if state.phase is Phase.ROLLED_BACK:
            self._target.off(split)
        else:
            self._target.set(split)

    def _standing(self, memory: Memory, now: datetime) -> Standing | None:
        """The target's word, noted as verified time where it is the committed split. None if it cannot be had."""
        head = memory.sight.head
        try:
            standing = self._target.read(head.state.rollout)
        except Unreachable:
            return None  # in_force then says UNVERIFIED: nothing advances on it
        if in_force(head.plan, head.state, standing) is InForce.VERIFIED and standing.since:
            start = max(standing.since, _committed(memory.sight))
            if start < now:
                stretch = VerifiedStretch(version=head.state.version, start=start, end=now)
                memory.verify(stretch)
                note = self._pending(head.state.rollout)
                self._notes[note.rollout] = replace(note, verified=_with(note.verified, stretch))
        return standing

    def _note(self, rollout: str, status: Status, memory: Memory) -> None:
        self._notes[rollout] = replace(
            self._pending(rollout),
            through=status.at,
            seq=memory.sight.seq,
            status=status_text(status),
        )
        memory.judged(status.at)

    def _pending(self, rollout: str) -> Note:
        return self._notes.get(rollout) or Note(rollout=rollout)


def _leaves_out_a_failure(decision: Decision) -> bool:
    """Whether a rule fails that the decision was not about, as where a lease ran out in the same tick.

    Then the windows do not count as judged: the next tick finds the failure again, and decides on it.
    """
    failed = (one for one in decision.verdicts if one.outcome is Outcome.FAIL)
    return any(not decision.state.failed(one) for one in failed)


def _committed(sight: Sight) -> datetime:
    """When the present split was committed: it was in force nowhere before, whatever this host's clock says."""
    state = sight.head.state
    since = (one.since for one in sight.splits if one.version == state.version)
    return max(state.started_at, next(since, state.started_at))


def _status(decision: Decision, seen: Seen, now: datetime) -> Status:
    return Status(
        at=now,
        action=decision.action,
        seen=seen,
        verdicts=decision.verdicts,
        waits=decision.waits,
    )


def _with(
    stretches: tuple[VerifiedStretch, ...], new: VerifiedStretch
) -> tuple[VerifiedStretch, ...]:
    """With another stretch, which mostly makes the last one longer."""
    if stretches and stretches[-1].version == new.version:
        last = stretches[-1]
        if last.start <= new.start <= last.end <= new.end:
            return (*stretches[:-1], replace(last, end=new.end))
    return (*stretches, new)
