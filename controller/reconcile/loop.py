"""The controller's loop: APScheduler wakes, one worker ticks.

A rollout is ticked when it was not for an interval, and at once when something that could change a verdict was accepted
or when somebody committed a command. One worker, so that no rollout is ever ticked twice at a time; it takes what was
woken and what is due in turn, so that neither waits for all of the other. Notes of many ticks are written together.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol
from zlib import crc32

import structlog
from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    SchedulerEvent,
)
from apscheduler.schedulers.background import BackgroundScheduler

from controller.clock import Clock, elapsed
from controller.errors import Conflict, Fenced, Unreachable
from controller.ports import UNTOLD, Ending, Mandate, Store, Telemetry, Ticked, Unrivalled
from controller.reconcile.housekeeping import Housekeeping
from controller.rollout.decision import Decision

_TROUBLES = {
    EVENT_JOB_MISSED: "missed",
    EVENT_JOB_MAX_INSTANCES: "overrun",
    EVENT_JOB_ERROR: "failed",
}
POLL_S = 1.0  # how soon a command or an outcome committed by another process is noticed
FLUSH_S = 0.5  # how long what was judged may wait to be noted; each flush waits for the disk
FLUSH = 200  # so many ticks are noted together at most: other writers wait meanwhile
AHEAD = 16  # so many ticks are read for together: what they see is as old as they take
EARLIEST, LATEST = 0.85, 0.95
"""After which parts of the interval a rollout is due again: those of one burst come apart, and where ticks take a while
there is an end of the interval left for them."""

log = structlog.get_logger(__name__)


class Ticking(Protocol):
    """What the loop wakes: a `Reconciler`."""

    def ahead(self, rollouts: Collection[str]) -> None: ...

    def judge(self, rollout: str) -> Decision: ...

    def flush(self) -> None: ...

    def tip(self, rollout: str) -> tuple[int, int] | None: ...

    def forget(self, rollout: str) -> None: ...


class Sends(Protocol):
    """What delivers notices, beside the loop: a `controller.notify.sending.Sending`. No call waits for a delivery but
    `stop`, and that not for long."""

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


class Loop:
    """Wakes ticks until it is told to stop; then finishes what was woken and sends what is owed.

    What is merely due is left to whoever leads next: of thousands that would take a minute.
    """

    def __init__(
        self,
        *,
        reconciler: Ticking,
        sender: Sends,
        store: Store,
        clock: Clock,
        interval_s: float,
        poll_s: float = POLL_S,
        telemetry: Telemetry = UNTOLD,
        mandate: Mandate | None = None,
        housekeeping: Housekeeping | None = None,
    ) -> None:
        self._housekeeping = housekeeping
        self._mandate = mandate or Unrivalled()
        self._telemetry = telemetry
        self._reconciler = reconciler
        self._sender = sender
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._poll_s = poll_s
        self._woken: dict[str, float] = {}  # since when, by `elapsed`; oldest first
        self._due: dict[str, float] = {}
        self._tips: dict[str, tuple[int, int]] = {}
        self._next_due: dict[str, float] = {}  # of every plan's newest attempt, by `elapsed`
        self._ending: Ending = threading.Event()
        self._unnoted = 0
        self._flushed = elapsed()
        self._signal = threading.Condition()

    def wake(self, rollouts: Iterable[str]) -> None:
        """Tick these as soon as the worker is free. From any thread."""
        with self._signal:
            _note(self._woken, rollouts)
            self._signal.notify()

    def run_until(self, stop: Ending) -> None:
        """Run in this thread until `stop` is set."""
        self._ending = stop
        scheduler = BackgroundScheduler(timezone="UTC")
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        often = min(self._interval_s, self._poll_s)
        scheduler.add_job(self._wake_due, "interval", id="minute", seconds=often, **defaults)
        scheduler.add_job(
            self._wake_changed, "interval", id="changes", seconds=self._poll_s, **defaults
        )
        scheduler.add_listener(self._troubled, sum(_TROUBLES))
        scheduler.add_job(self.wake_all, id="start", misfire_grace_time=None)  # once, at once
        scheduler.start()
        self._sender.start()
        try:
            while not stop.is_set():
                self.work(timeout_s=min(self._poll_s, 1.0))
        finally:
            # Drain: no new wakes, the last ticks that somebody asked for, and what they owe.
            # Without jobs first: else one may come due while the executor that should take it is shut down.
            scheduler.remove_all_jobs()
            scheduler.shutdown(wait=True)
            self.work(timeout_s=0)
            self._sender.stop()

    def work(self, timeout_s: float) -> None:
        """Tick what is due and have sent what is owed; wait for something to be due for at most so long."""
        self._telemetry.turned()
        with self._signal:
            if not (self._woken or self._due):
                self._signal.wait(min(timeout_s, FLUSH_S) if self._unnoted else timeout_s)
            # No more than this: where wakes come faster than ticks, it would never end.
            most = len(self._woken) + len(self._due)
        while most > 0:
            turns = self._next(most)
            if not turns:
                break
            most -= len(turns)
            self._read_ahead(turns)
            self._take_turns(turns)
            if not self._mandate.holds():
                return
        if self._mandate.holds():
            self._flush_if_due(at_once=not timeout_s)
            self._anchor()
            self._keep_house()

    def _next(self, most: int) -> dict[str, float | None]:
        """Those that were woken and those that are due, in turn, with when they were woken; what is both comes once."""
        turns: dict[str, float | None] = {}
        with self._signal:
            lines = [self._woken] if self._ending.is_set() else [self._woken, self._due]
            while len(turns) < min(most, AHEAD) and any(lines):
                for line in lines:
                    if line:
                        self._pop(next(iter(line)), turns)
        return turns

    def _pop(self, rollout: str, turns: dict[str, float | None]) -> None:
        turns[rollout] = self._woken.pop(rollout, None)
        self._due.pop(rollout, None)

    def _read_ahead(self, rollouts: Collection[str]) -> None:
        try:
            self._reconciler.ahead(rollouts)
        except Unreachable as error:
            # Each of the ticks then tries by itself, and says so.
            log.warning("store_unreachable", error=str(error))

    def _take_turns(self, turns: dict[str, float | None]) -> None:
        """Tick these and, between them, who is woken meanwhile; as long as the mandate holds."""
        while turns:
            now = self._woken_meanwhile(turns)
            if turns:
                rollout = next(iter(turns))
                now[rollout] = turns.pop(rollout)
            for one, woken in now.items():
                if not self._mandate.holds():
                    return
                if woken is None and self._ending.is_set():
                    continue  # merely due
                self._flush_if_due()
                # What was decided is told while the rest is judged: that may take a while.
                if self._tick(one, woken):
                    self._sender.wake()

    def _woken_meanwhile(self, turns: dict[str, float | None]) -> dict[str, float | None]:
        """The first that was woken, if any, read by itself: what was read for its turn, if it has one, is older."""
        woken: dict[str, float | None] = {}
        with self._signal:
            if self._woken:
                first = next(iter(self._woken))
                self._pop(first, woken)
                turns.pop(first, None)
        if woken:
            self._read_ahead(woken)
        return woken

    def lag_s(self) -> float:
        """For how long the oldest of what should be ticked has waited; 0 if nothing waits. From any thread."""
        with self._signal:
            oldest = [next(iter(line.values())) for line in (self._woken, self._due) if line]
        return elapsed() - min(oldest) if oldest else 0.0

    def _troubled(self, event: SchedulerEvent) -> None:
        self._telemetry.scheduled(event.job_id, _TROUBLES[event.code])

    def _flush_if_due(self, *, at_once: bool = False) -> None:
        """Write the notes of what was judged. What cannot be noted now is noted with the next."""
        waited = at_once or elapsed() - self._flushed > FLUSH_S
        if self._unnoted < FLUSH and not (self._unnoted and waited):
            return
        self._unnoted, self._flushed = 0, elapsed()
        try:
            self._reconciler.flush()
        except Fenced as error:
            self._mandate.revoke(str(error))
        except Unreachable as error:
            log.warning("store_unreachable", error=str(error))
        except Exception:
            # The loop's top: a defect in one note must not end the judging of every rollout.
            log.exception("flush_failed")

    def _anchor(self) -> None:
        try:
            self._store.anchor(self._clock.now())
        except Unreachable as error:
            log.warning("store_unreachable", error=str(error))
        except Exception:
            # The loop's top: a defect in an anchor must not end the judging of every rollout.
            log.exception("anchor_failed")

    def _keep_house(self) -> None:
        if self._housekeeping is None:
            return
        try:
            self._housekeeping.look()
        except Unreachable as error:
            log.warning("housekeeping_put_off", error=str(error))
        except Exception:
            # The loop's top: a defect here must not end the judging of every rollout.
            log.exception("housekeeping_failed")

    def _tick(self, rollout: str, woken: float | None) -> bool:
        """Whether something was decided and recorded."""
        begun = elapsed()
        # Whatever is logged within says which rollout it is about.
        with structlog.contextvars.bound_contextvars(rollout=rollout):
            ended = self._ticked(rollout)
        done = elapsed()
        self._unnoted += 1
        self._put_off(rollout, done)
        waited_s = done - woken if woken is not None else None
        self._telemetry.ticked(rollout, ended, took_s=done - begun, waited_s=waited_s)
        self._telemetry.turned()
        return ended is Ticked.DECIDED

    def _ticked(self, rollout: str) -> Ticked:
        try:
            decision = self._reconciler.judge(rollout)
        except Fenced as error:
            self._mandate.revoke(str(error))
            log.info("tick_overtaken", error=str(error))
            return Ticked.OVERTAKEN
        except Conflict as error:
            # A command was committed while we judged: its record changes the tip, and the next poll wakes us.
            log.info("tick_overtaken", error=str(error))
            return Ticked.OVERTAKEN
        except Unreachable as error:
            log.warning("tick_unreachable", error=str(error))
            return Ticked.UNREACHABLE
        except Exception:
            # The loop's top: a defect that one rollout meets must not end the judging of the others.
            log.exception("tick_failed")
            return Ticked.FAILED
        return Ticked.DECIDED if decision.recorded else Ticked.HELD

    def _put_off(self, rollout: str, now: float) -> None:
        """It is due again a little sooner than in an interval, each at its own distance."""
        with self._signal:
            if rollout in self._next_due:
                own = crc32(rollout.encode()) % 1_000 / 1_000
                part = EARLIEST + own * (LATEST - EARLIEST)
                self._next_due[rollout] = now + self._interval_s * part
            elif self._next_due:
                self._reconciler.forget(rollout)  # an attempt of the past, woken once more

    def wake_all(self) -> None:
        """Every plan's newest attempt is due: who serves a newer one asks no more for those before."""
        tips = self._read_tips()
        if tips is not None:
            self._take(tips, due_at=0.0)
            self._tips = tips
            self._wake_due()

    def _wake_due(self) -> None:
        now = elapsed()
        # A rolled-back, complete or retired one is ticked too: its lease must be renewed.
        with self._signal:
            due = [rollout for rollout, at in self._next_due.items() if at <= now]
            _note(self._due, due)
            if due:
                self._signal.notify()

    def _wake_changed(self) -> None:
        tips = self._read_tips()
        if tips is None:
            return
        moved = [rollout for rollout, tip in tips.items() if self._tips.get(rollout) != tip]
        if any(rollout not in self._tips for rollout in moved):
            self._take(tips, due_at=None)
        self._tips = tips
        # What a tick has seen already, woken by who brought it, needs no other.
        self.wake(one for one in moved if self._reconciler.tip(one) != tips[one])

    def _read_tips(self) -> dict[str, tuple[int, int]] | None:
        try:
            return dict(self._store.tips())
        except Unreachable as error:
            log.warning("store_unreachable", error=str(error))
            return None

    def _take(self, tips: Mapping[str, tuple[int, int]], *, due_at: float | None) -> None:
        """Tick the newest attempt of each plan from now on: those that are new at once, or all at `due_at`."""
        newest: dict[str, tuple[int, str]] = {}
        for rollout in tips:
            name, _, attempt = rollout.rpartition("/")
            newest[name] = max(newest.get(name, (0, "")), (int(attempt), rollout))
        rollouts = [rollout for _, rollout in newest.values()]
        with self._signal:
            known = self._next_due
            self._next_due = {
                one: known.get(one, 0.0) if due_at is None else due_at for one in rollouts
            }
            gone = known.keys() - self._next_due.keys()
        for rollout in gone:
            self._reconciler.forget(rollout)
        self._telemetry.running(rollouts)


def _note(line: dict[str, float], rollouts: Iterable[str]) -> None:
    """Add to a line what does not wait in it yet."""
    now = elapsed()
    for rollout in rollouts:
        line.setdefault(rollout, now)
