"""Whether the process lives (`/livez`) and whether it can do its work (`/readyz`).

Alive is a worker that comes round, whatever the database does: a restart mends a stuck thread, not a database. Ready is
a database that answers, at this release's schema, and a loop that runs. A standby is ready: it takes in what gateways
send.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.clock import elapsed
from controller.errors import CanaryError, SchemaBehind

TURNS: Final = 3
"""Intervals without a turn of the worker after which the process is stuck."""
SHORTEST_STUCK_S: Final = (
    30.0  # a database may take its time-out to answer, several times in one tick
)
PROBE_BOUND_S: Final = 2.0
KEPT_S: Final = 1.0


class Role(StrEnum):
    STARTING = "starting"  # the database was not there yet
    LEADER = "leader"
    STANDBY = "standby"


class State(StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"  # it could not be looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    role: Role
    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        return all(one.state is State.OK for one in self.checks)


class Pulse:
    """When the worker last came round. From any thread."""

    def __init__(self, *, stuck_after_s: float) -> None:
        self._stuck_after_s = stuck_after_s
        self._turned = elapsed()

    def turned(self) -> None:
        self._turned = elapsed()

    def age_s(self) -> float:
        return elapsed() - self._turned

    def stuck(self) -> str | None:
        """What is wrong, None while the worker comes round."""
        age_s = self.age_s()
        if age_s < self._stuck_after_s:
            return None
        return (
            f"the worker has not come round for {age_s:.0f} s, which is more than {self._stuck_after_s:g} s; "
            "it is stuck, or its thread has ended. Restart this process"
        )


def stuck_after(interval_s: float) -> float:
    """Seconds without a turn after which a worker with this interval is stuck."""
    return max(TURNS * interval_s, SHORTEST_STUCK_S)


class Probe:
    """Looks at the database in a thread of its own, for a bounded time, and keeps what it saw for a moment.

    A database that hangs costs the asker `bound_s` and one thread, however often it is asked.
    """

    def __init__(
        self, look: Callable[[], None], *, bound_s: float = PROBE_BOUND_S, kept_s: float = KEPT_S
    ) -> None:
        self._look = look
        self._bound_s = bound_s
        self._kept_s = kept_s
        self._lock = threading.Lock()
        self._running: threading.Event | None = None  # set when the look that is under way ends
        self._seen: tuple[Check, ...] = ()
        self._seen_at = 0.0

    def checks(self) -> tuple[Check, ...]:
        """`database` and `schema`. Blocks for at most `bound_s`."""
        with self._lock:
            if self._seen and elapsed() - self._seen_at < self._kept_s:
                return self._seen
            if self._running is None:
                self._running = threading.Event()
                threading.Thread(
                    target=self._run, args=(self._running,), name="probe", daemon=True
                ).start()
            running = self._running
        if running.wait(self._bound_s):
            return self._seen
        return _unanswered(f"no answer within {self._bound_s:g} s")

    def _run(self, ended: threading.Event) -> None:
        seen = self._looked()
        with self._lock:
            self._seen, self._seen_at, self._running = seen, elapsed(), None
        ended.set()

    def _looked(self) -> tuple[Check, ...]:
        try:
            self._look()
        except SchemaBehind as error:
            return _answered(Check(name="schema", state=State.FAILED, reason=str(error)))
        except CanaryError as error:
            return _unanswered(str(error))
        return _answered(Check(name="schema", state=State.OK))


def _answered(schema: Check) -> tuple[Check, ...]:
    return Check(name="database", state=State.OK), schema


def _unanswered(reason: str) -> tuple[Check, ...]:
    schema = Check(name="schema", state=State.UNKNOWN, reason="the database did not answer")
    return Check(name="database", state=State.FAILED, reason=reason), schema
