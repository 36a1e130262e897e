"""Who leads: one controller at a time, by a lease in the database that knows no moment of time.

The row is (holder, fence, beat, term). The holder raises the beat every third of its term. A standby looks several
times a term and takes the row only after the very same (holder, fence, beat) has stood for the whole term that is
written in it, on the standby's own monotonic clock; by compare-and-set, with a higher fence in the same transaction.

Why two never act at once. The holder counts its term from before it asks for a renewal, and stops a tenth of it early:

    holder    asks at a ---- acts until a + 0.9 term
    row             renewed at r >= a
    standby               sees it at s >= r ---- takes it at s + term or later, if it has not changed since

All of it are differences on one clock, so origins do not matter; rates may differ by a tenth. The tenth is also what
passes between asking whether one leads and acting on it. What is slower than that (a process that was stopped in the
midst of it) is refused by the fence: a write by the store, a split by the gateways.

The functions are pure and take the time as a value. `Contender` is the thread around them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, assert_never

import structlog

from controller.errors import Conflict, Unreachable
from controller.ports import Leadership, LeadershipStore

RENEWALS: Final = 3
"""Renewals in a term: two may be lost."""
EARLY: Final = 0.1
"""The part of its term that a holder gives away; see the module."""
LONGEST_LOOK_S: Final = 1.0
"""How often a standby looks at least: a lead that was resigned is taken that soon."""

_log = structlog.get_logger(__name__)


# The transitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """Does not act. The row has stood as `seen` since `since` or longer; None before the first look."""

    seen: Leadership | None = None
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leading:
    """Acts. `renewed` is when the last renewal that succeeded was asked for, `begun` when the lead was taken."""

    held: Leadership
    renewed: float
    begun: float


Position = Standby | Leading


def looked(before: Standby, row: Leadership, after: float) -> Standby:
    """After a look that was over at `after`: a change began to stand no later than that."""
    return before if before.seen == row else Standby(seen=row, since=after)


def may_take(standby: Standby, me: str, now: float) -> bool:
    """Whether nobody acts under the row that was seen: resigned, one's own of before, or unrenewed for its term."""
    row = standby.seen
    if row is None:
        return False
    return row.holder in ("", me) or now - standby.since >= row.term.total_seconds()


def took(row: Leadership, asked: float) -> Leading:
    return Leading(held=row, renewed=asked, begun=asked)


def renewed(before: Leading, row: Leadership, asked: float) -> Leading:
    return Leading(held=row, renewed=asked, begun=before.begun)


def ends(leading: Leading) -> float:
    """When a holder stops acting by itself, monotonic."""
    return leading.renewed + leading.held.term.total_seconds() * (1 - EARLY)


def may_act(position: Position, now: float) -> bool:
    match position:
        case Leading():
            return now < ends(position)
        case Standby():
            return False
        case unreachable:
            assert_never(unreachable)


def pause_s(position: Position, term: timedelta, now: float) -> float:
    """How long until there is something to do again."""
    match position:
        case Leading():
            return max(0.0, position.renewed + term.total_seconds() / RENEWALS - now)
        case Standby(seen=seen, since=since):
            look = min(term.total_seconds() / (2 * RENEWALS), LONGEST_LOOK_S)
            if seen is None:
                return look
            # To the moment in which it may be taken, where that comes sooner.
            left = since + seen.term.total_seconds() - now
            return min(look, left) if left > 0 else look
        case unreachable:
            assert_never(unreachable)


# The shell


class Role(StrEnum):
    """What a controller is to the others on its database."""

    LEADER = "leader"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadState:
    """Where a controller stands, for whoever looks. Ages are in seconds.

    `holder` is who leads as far as this one knows, empty if nobody was seen to. `unrenewed_s` is how long ago the lead
    was last known to be renewed: by itself for a leader, as seen for a standby; None before the first look.
    """

    role: Role
    name: str
    holder: str
    fence: int
    role_s: float
    unrenewed_s: float | None
    term_s: float


@dataclass(frozen=True, slots=True)
class HeldMandate:
    """`controller.ports.Mandate`: for the tenure under one fence, while its lease runs."""

    contender: Contender
    fence: int

    def holds(self) -> bool:
        return self.contender.holds(self.fence)

    def revoke(self, why: str) -> None:
        self.contender.step_down(self.fence, why)


class Contender:
    """Contends for the lead and keeps it. `run_until` needs a thread of its own: nothing else may hold a renewal up.

    `monotonic` is the machine's, in seconds, and goes on while the host is suspended. `holder` names this process and
    is never used again by another.
    """

    def __init__(
        self,
        store: LeadershipStore,
        *,
        holder: str,
        term: timedelta,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._holder = holder
        self._term = term
        self._monotonic = monotonic
        self._position: Position = Standby()
        self._changed = threading.Condition()
        self._role_since = monotonic()
        self._waits_for = ""
        self._troubled = False

    @property
    def name(self) -> str:
        return self._holder

    # For those who act

    def holds(self, fence: int) -> bool:
        """Whether this controller leads under that fence at this moment."""
        position = self._position
        return (
            isinstance(position, Leading)
            and position.held.fence == fence
            and may_act(position, self._monotonic())
        )

    def mandate(self, within_s: float) -> HeldMandate | None:
        """Wait for at most so long until this controller leads."""
        with self._changed:
            self._changed.wait_for(self._leads, within_s)
            position = self._position
            return HeldMandate(self, position.held.fence) if isinstance(position, Leading) else None

    def _leads(self) -> bool:
        return may_act(self._position, self._monotonic())

    def step_down(self, fence: int, why: str) -> None:
        """Stop acting under a fence, at once; harmless if that was done."""
        with self._changed:
            match self._position:
                case Leading(held=held) if held.fence == fence:
                    self._stand_by()
                    _log.warning("lead_lost", holder=self._holder, fence=fence, why=why)
                case _:
                    return

    def state(self) -> LeadState:
        position, now = self._position, self._monotonic()
        leads = may_act(position, now)
        row: Leadership | None
        unrenewed: float | None
        match position:
            case Leading(held=held, renewed=last):
                row, unrenewed = held, now - last
            case Standby(seen=seen, since=since):
                row, unrenewed = seen, now - since if seen is not None else None
            case unreachable:
                assert_never(unreachable)
        return LeadState(
            role=Role.LEADER if leads else Role.STANDBY,
            name=self._holder,
            holder=row.holder if row is not None else "",
            fence=row.fence if row is not None else 0,
            role_s=now - self._role_since,
            unrenewed_s=unrenewed,
            term_s=self._term.total_seconds(),
        )

    # The thread

    def run_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            stop.wait(self.step())

    def step(self) -> float:
        """Look, take or renew, whichever is due; how many seconds to wait until the next."""
        try:
            self._step()
        except Unreachable as error:
            if not self._troubled:
                _log.warning("lead_unreachable", holder=self._holder, error=str(error))
            self._troubled = True
            return self._term.total_seconds() / (4 * RENEWALS)
        except Exception:
            # The thread's top: without it nobody would ever lead here again.
            _log.exception("lead_failed")
            return self._term.total_seconds() / RENEWALS
        self._troubled = False
        return pause_s(self._position, self._term, self._monotonic())

    def resign(self) -> None:
        """Stop acting and let the next one lead at once. After `run_until` has ended."""
        position = self._position
        if not isinstance(position, Leading):
            return
        with self._changed:
            self._stand_by()
        try:
            self._store.resign_lead(position.held)
        except Unreachable as error:
            _log.warning("lead_not_resigned", error=str(error), for_at_most_s=self._seconds())
            return
        _log.info("lead_resigned", holder=self._holder, fence=position.held.fence)

    def _step(self) -> None:
        position = self._position
        match position:
            case Leading() if self._monotonic() >= ends(position):
                self.step_down(position.held.fence, "not renewed for a term")
            case Leading():
                self._renew(position)
            case Standby():
                self._contend(position)
            case unreachable:
                assert_never(unreachable)

    def _renew(self, leading: Leading) -> None:
        asked = self._monotonic()
        try:
            row = self._store.renew_lead(leading.held)
        except Conflict as error:
            self.step_down(leading.held.fence, str(error))
            return
        with self._changed:
            # It may have been told to step down while it asked.
            if self._position is leading:
                self._position = renewed(leading, row, asked)

    def _contend(self, standby: Standby) -> None:
        row = self._store.leadership()
        standby = self._position = looked(standby, row, self._monotonic())
        asked = self._monotonic()
        if not may_take(standby, self._holder, asked):
            self._say_who_leads(row)
            return
        try:
            taken = self._store.take_lead(row, holder=self._holder, term=self._term)
        except Conflict:
            return  # renewed, or another one was quicker: look again
        with self._changed:
            self._position = took(taken, asked)
            self._role_since = asked
            self._changed.notify_all()
        self._waits_for = ""
        _log.info("leading", holder=self._holder, fence=taken.fence, before=row.holder or "nobody")

    def _say_who_leads(self, row: Leadership) -> None:
        if row.holder == self._waits_for:
            return
        self._waits_for = row.holder
        _log.info(
            "standby",
            leader=row.holder,
            fence=row.fence,
            what="another controller leads, or was ended without notice: then this one leads after its term",
            term_s=row.term.total_seconds(),
        )

    def _stand_by(self) -> None:
        self._position = Standby()
        self._role_since = self._monotonic()
        self._changed.notify_all()

    def _seconds(self) -> float:
        return self._term.total_seconds()
