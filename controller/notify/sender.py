"""The outbox's sender: what is owed is delivered, at least once and to each destination in each rollout's order.

A notice is committed together with the decision that it is about, so none is lost. That an attempt begins is committed
before it is made, and how it ended after it. A notice that is found in between (a crash, a fail-over, a timeout) may
have been delivered: the notifier looks for it at the receiver by `Owed.id`, and it is sent again if it is not there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import structlog

from controller.clock import Clock
from controller.errors import NotFound, Unreachable
from controller.notify.failure import Undelivered, failure_of
from controller.ports import UNTOLD, Notifier, Owed, RolloutStore, Telemetry
from controller.rollout.destinations import LOG, kind_of
from controller.rollout.plan import Plan

FIRST_WAIT: Final = timedelta(seconds=1)
LONGEST_WAIT: Final = timedelta(minutes=2)
FIRST_LASTING_WAIT: Final = timedelta(minutes=1)
LONGEST_LASTING_WAIT: Final = timedelta(minutes=15)
REFRESHED: Final = timedelta(minutes=5)  # how old what is shown of the present may be
_DOUBLINGS: Final = (
    16  # enough to pass the longest wait; keeps the power small however often it failed
)
_OPEN: Final = datetime.min.replace(tzinfo=UTC)

_log = structlog.get_logger(__name__)


def backoff(attempts: int, name: str, *, lasting: bool = False) -> timedelta:
    """How long to wait after so many failed attempts (from 1): 1 s, 2 s, 4 s … 2 min; what lasts, 1 min … 15 min.

    Less up to a quarter of it, by the name: what failed together does not come back together.
    """
    first = FIRST_LASTING_WAIT if lasting else FIRST_WAIT
    longest = LONGEST_LASTING_WAIT if lasting else LONGEST_WAIT
    spread = sha256(f"{attempts}:{name}".encode()).digest()[0] / 255
    return min(first * (1 << min(attempts - 1, _DOUBLINGS)), longest) * (1 - spread / 4)


@dataclass(slots=True)
class _Line:
    """One destination: closed until a moment, after so many failures in a row; and the same for what it shows of the
    present, for which no notice waits."""

    closed_until: datetime = _OPEN
    failures: int = 0
    shown_until: datetime = _OPEN
    show_failures: int = 0


def _always() -> bool:
    return True


class Sender:
    """Delivers what a store owes. `notifiers` by the kind of destination; `may_send` says whether this process leads.

    Several threads may send at a time, each destination in one of them; see `controller.notify.sending`.
    """

    def __init__(
        self,
        store: RolloutStore,
        notifiers: Mapping[str, Notifier],
        clock: Clock,
        *,
        may_send: Callable[[], bool] = _always,
        telemetry: Telemetry = UNTOLD,
    ) -> None:
        self._telemetry = telemetry
        self._store = store
        self._notifiers = notifiers
        self._clock = clock
        self._may_send = may_send
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def send_due(self) -> int:
        """Send all that is due, one destination after the other; how many were delivered.

        A defect in one notice is raised after the others were sent; it was put off, so the next call gets past it.
        """
        delivered = 0
        defects: list[Exception] = []
        for destination in self.due():
            try:
                delivered += self.send_to(destination)
            except Exception as error:
                defects.append(error)
        if defects:
            raise defects[0]
        return delivered

    def due(self) -> Sequence[str]:
        """The destinations that there is something to do for now."""
        if not self._may_send():
            return ()
        now = self._clock.now()
        owing = [one.destination for one in self._store.backlog() if self._free(one.destination)]
        due = [one for one in owing if self._store.owed(now, destination=one, limit=1)]
        behind = filter(self._may_refresh, self._store.behind(now - REFRESHED))
        return list(dict.fromkeys((*due, *behind)))

    def opens_in(self) -> timedelta | None:
        """How long until the first of the closed destinations may be sent to again; None if none is closed."""
        now = self._clock.now()
        with self._lock:
            waits = [
                until - now
                for line in self._lines.values()
                for until in (line.closed_until, line.shown_until)
            ]
        return min((one for one in waits if one > timedelta(0)), default=None)

    def send_to(self, destination: str) -> int:
        """Send what is due to one destination until it is to be left alone; how many were delivered.

        A notifier that does not deliver costs a log line and a later attempt, and keeps back that rollout's later
        notices, so that they arrive in order. Any other error is a defect: it is raised after the notice was put off.
        """
        delivered = 0
        waiting: set[str] = set()
        while batch := self._batch(destination, waiting):
            for owed in batch:
                if not (self._free(destination) and self._may_send()):
                    return delivered
                if self._deliver(owed):
                    delivered += 1
                else:
                    waiting.add(owed.rollout)
        self._refresh(destination)
        return delivered

    def _batch(self, destination: str, waiting: set[str]) -> list[Owed]:
        """What is due and no failure in this round holds up. A store hands out a rollout's notices one by one."""
        due = self._store.owed(self._clock.now(), destination=destination)
        return [one for one in due if one.rollout not in waiting]

    def _free(self, destination: str) -> bool:
        return self._line(destination).closed_until <= self._clock.now()

    def _deliver(self, owed: Owed) -> bool:
        try:
            notifier, plan = self._notifier(owed), self._plan(owed)
            self._close(owed.destination, self._clock.now() + notifier.pace)
            reference = _looked_up(notifier, owed, plan)
            if reference is None:
                begun = self._begin(owed, notifier)
                if begun is None:
                    return False
                owed = begun
                reference = notifier.send(owed, plan)
        except Unreachable as error:
            self._put_off(owed, failure_of(error))
            return False
        except Exception as error:
            self._put_off(owed, failure_of(error))
            raise
        # Marked only now: found unmarked, it is looked for at the receiver before it is sent again.
        self._store.delivered(owed.id, self._clock.now(), reference=reference)
        self._line(owed.destination).failures = 0
        self._tell(owed, reference)
        return True

    def _begin(self, owed: Owed, notifier: Notifier) -> Owed | None:
        """The notice with the attempt that is noted; None if another sender is at it, or this one leads no more."""
        now = self._clock.now()
        # Asked again: to look it up may have taken a while.
        if not self._may_send() or not self._store.sending(owed, now, until=now + notifier.settle):
            return None
        return replace(owed, sending=now)

    def _tell(self, owed: Owed, reference: str) -> None:
        self._telemetry.delivered(owed.destination, failed=False)
        if kind_of(owed.destination) != LOG:  # there the notice itself is the line
            _log.info(
                "notice_delivered",
                notice=owed.id,
                rollout=owed.rollout,
                destination=owed.destination,
                reference=reference,
            )

    def _put_off(self, owed: Owed, failure: Undelivered) -> None:
        line, now = self._line(owed.destination), self._clock.now()
        line.failures += not failure.alone
        tries = owed.attempts + 1 if failure.alone else line.failures
        waits = backoff(tries, owed.id, lasting=failure.lasting)
        settle = self._notifiers[kind_of(owed.destination)].settle if failure.doubtful else waits
        again = now + (max(waits, settle) if failure.wait is None else failure.wait)
        if not failure.alone:
            self._close(owed.destination, now + (waits if failure.wait is None else failure.wait))
        self._store.undelivered(
            owed.id,
            error=str(failure),
            next_attempt=again,
            doubtful=failure.doubtful,
            begun=owed.sending,
        )
        self._telemetry.delivered(owed.destination, failed=True)
        _log.warning(
            "notice_not_delivered",
            notice=owed.id,
            rollout=owed.rollout,
            destination=owed.destination,
            attempt=owed.attempts + 1,
            next_attempt=again.isoformat(),
            doubtful=failure.doubtful,
            error=str(failure),
        )

    def _may_refresh(self, destination: str) -> bool:
        return self._free(destination) and self._line(destination).shown_until <= self._clock.now()

    def _refresh(self, destination: str) -> None:
        """What is shown of the present follows what happened; a failure costs a log line and a later attempt."""
        notifier = self._notifiers.get(kind_of(destination))
        if notifier is None or not (self._may_refresh(destination) and self._may_send()):
            return
        line = self._line(destination)
        line.shown_until = self._clock.now() + 2 * notifier.pace
        try:
            notifier.refresh(destination, self._clock.now() - REFRESHED)
            line.show_failures = 0
        except Unreachable as error:
            failure = failure_of(error)
            line.show_failures += 1
            waits = backoff(line.show_failures, destination, lasting=failure.lasting)
            line.shown_until = self._clock.now() + (failure.wait or waits)
            _log.warning("thread not brought up to date", destination=destination, error=str(error))

    def _line(self, destination: str) -> _Line:
        with self._lock:
            return self._lines.setdefault(destination, _Line())

    def _close(self, destination: str, until: datetime) -> None:
        line = self._line(destination)
        line.closed_until = max(line.closed_until, until)

    def _notifier(self, owed: Owed) -> Notifier:
        kind = kind_of(owed.destination)
        found = self._notifiers.get(kind)
        if found is None:
            known = ", ".join(sorted(self._notifiers))
            raise Undelivered(
                f"nothing here delivers to {owed.destination}: no notifier is named {kind} (known are {known})",
                lasting=True,
            )
        return found

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


def _looked_up(notifier: Notifier, owed: Owed, plan: Plan) -> str | None:
    """As `Notifier.find`, where there is a doubt; what cannot be looked up stays in doubt, whatever is known of the
    looking up."""
    if owed.sending is None:
        return None
    try:
        return notifier.find(owed, plan)
    except Unreachable as error:
        raise failure_of(error).in_doubt() from error
