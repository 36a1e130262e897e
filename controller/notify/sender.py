"""The outbox's sender: what is owed is delivered, at least once and in each rollout's order.

A notice is committed together with the decision that it is about, so none is lost, and sending it never holds a
decision up. Between `send` and `delivered` lies the crash window: a process that ends there has sent a notice that is
still owed, and the next one sends it again. A notifier that can tell repeats apart does so by `Owed.id`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from controller.clock import Clock
from controller.errors import NotFound, Unreachable
from controller.ports import Notifier, Owed, RolloutStore
from controller.rollout.plan import Plan

FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=5)
_DOUBLINGS = 16  # enough to pass LONGEST_WAIT; keeps the power small however often it failed

_log = structlog.get_logger(__name__)


class Busy(Unreachable):
    """A notifier that asks not to be called for a while: it is called again after `wait`, not before."""

    def __init__(self, message: str, *, wait: timedelta) -> None:
        super().__init__(message)
        self.wait = wait


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many failed attempts (from 1): 1 s, 2 s, 4 s … 5 min."""
    return min(FIRST_WAIT * (1 << min(attempts - 1, _DOUBLINGS)), LONGEST_WAIT)


class Sender:
    """Delivers what a store owes, through one notifier. Run by one process at a time: the leader's."""

    def __init__(self, store: RolloutStore, notifier: Notifier, clock: Clock) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock

    def send_due(self) -> int:
        """Send every notice that is due; how many were delivered.

        A notifier that is Unreachable costs a log line and a later attempt, and keeps back that rollout's later
        notices, so that they arrive in order; other rollouts' go out. Any other error is a defect: it is raised,
        after the notice was put off, so that the next call gets past it.
        """
        delivered = 0
        waiting: set[str] = set()
        # A store hands out a rollout's notices one after the other, so it is asked until nothing more goes out.
        while sent := self._send_batch(waiting):
            delivered += sent
        return delivered

    def _send_batch(self, waiting: set[str]) -> int:
        """One round over what is due; rollouts whose notice could not be delivered are added to `waiting`."""
        sent = 0
        for owed in self._store.owed(self._clock.now()):
            if owed.rollout in waiting:
                continue
            if self._deliver(owed):
                sent += 1
            else:
                waiting.add(owed.rollout)
        return sent

    def _deliver(self, owed: Owed) -> bool:
        try:
            self._notifier.send(owed, self._plan(owed))
        except Unreachable as error:
            again = self._put_off(owed, error)
            _log.warning(
                "notice not delivered",
                notice=owed.id,
                rollout=owed.rollout,
                attempt=owed.attempts + 1,
                next_attempt=again.isoformat(),
                error=str(error),
            )
            return False
        except Exception as error:
            self._put_off(owed, error)
            raise
        # Marked only now: a crash before this line sends it twice, one before `send` would not have sent it at all.
        self._store.delivered(owed.id, self._clock.now())
        return True

    def _put_off(self, owed: Owed, error: Exception) -> datetime:
        asked = error.wait if isinstance(error, Busy) else timedelta(0)
        again = self._clock.now() + max(backoff(owed.attempts + 1), asked)
        self._store.undelivered(owed.id, error=str(error) or repr(error), next_attempt=again)
        return again

    def _plan(self, owed: Owed) -> Plan:
        """The revision that the notice was decided under, which need not be the present one."""
        head = self._store.head(owed.rollout)
        if head.state.revision == 1:
            return head.plan
        for sealed in reversed(self._store.records(owed.rollout)):
            if any(one.key == owed.notice.key for one in sealed.value.notices):
                return self._store.plan(sealed.value.plan_digest).value
        raise NotFound(
            f"{owed.rollout} owes notice {owed.id}, but none of its records has it. "
            "Run `canaryctl audit` on this rollout."
        )
