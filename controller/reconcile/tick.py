"""One tick of one rollout: observe, decide, record, converge. A crash anywhere heals on the next tick."""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.clock import Clock, elapsed
from controller.errors import Unreachable
from controller.ports import (
    LEASE,
    UNTOLD,
    Head,
    Judged,
    Split,
    Standing,
    Store,
    Target,
    Telemetry,
    VerifiedStretch,
)
from controller.reconcile.commit import commit
from controller.reconcile.observe import Observer, in_force
from controller.rollout.accounting_state import LONGEST
from controller.rollout.codec import encode
from controller.rollout.decide import decide
from controller.rollout.decision import Decision
from controller.rollout.route import route_of, settled_shares
from controller.rollout.state import Phase, shares
from controller.rollout.status import Status
from controller.rollout.verdict import InForce, Seen


class Reconciler:
    """Makes the world follow the records. Effects, in this order:

    1. the stretch in force is noted   2. the decision is committed   3. the judgement is noted   4. the target is set

    Nothing moves before it is committed; each effect may be lost or repeated without harm.
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

    def tick(self, rollout: str) -> Decision:
        """Judge a rollout once and act on it. Conflict if somebody committed meanwhile; Unreachable if the target
        could not be set, with everything else done.
        """
        begun = elapsed()
        head = self._store.head(rollout)
        rollout = head.state.rollout  # a bare name stands for its newest attempt
        now = max(self._clock.now(), head.state.updated_at)
        standing = self._standing(head, now)
        seen, seq = self._observer.observe(head, standing, now)
        decision = decide(head.plan, head.state, seen, None, now)
        if decision.recorded:
            record = commit(
                self._store, head, decision, seen=seen, command=None, now=now, fence=self._fence
            )
            self._telemetry.decided(record, took_s=elapsed() - begun)
            head = self._store.head(rollout)
        status = _status(decision, seen, now)
        self._note(rollout, status, seq)
        self._telemetry.judged(head, status, standing)
        self.converge(head)
        return decision

    def converge(self, head: Head) -> None:
        """Put the committed split in force, or renew its lease; after a rollback, put the candidate off."""
        state, now = head.state, self._clock.now()
        split = Split(
            rollout=state.rollout,
            fence=self._fence,
            version=state.version,
            shares=shares(head.plan, state),
            settled=settled_shares(self._store.splits(state.rollout), now - LONGEST),
            salt=state.salt,
            expires=now + self._lease,
            route=route_of(head.plan, state),
            on_expiry=head.plan.on_controller_loss,
        )
        if state.phase is Phase.ROLLED_BACK:
            self._target.off(split)
        else:
            self._target.set(split)

    def _standing(self, head: Head, now: datetime) -> Standing | None:
        """The target's word, noted as verified time where it is the committed split. None if it cannot be had."""
        try:
            standing = self._target.read(head.state.rollout)
        except Unreachable:
            return None  # in_force then says UNVERIFIED: nothing advances on it
        if in_force(head.plan, head.state, standing) is InForce.VERIFIED and standing.since:
            start = max(standing.since, head.state.started_at)
            if start < now:
                stretch = VerifiedStretch(version=head.state.version, start=start, end=now)
                self._store.verify(head.state.rollout, stretch)
        return standing

    def _note(self, rollout: str, status: Status, seq: int) -> None:
        judged = Judged(through=status.at, seq=seq, status=encode(status))
        self._store.note_judged(rollout, judged)
        self._observer.judged(rollout)


def _status(decision: Decision, seen: Seen, now: datetime) -> Status:
    return Status(
        at=now,
        action=decision.action,
        seen=seen,
        verdicts=decision.verdicts,
        waits=decision.waits,
    )
