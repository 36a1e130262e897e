"""The only reader of time. Everything else is handed a `Clock` or a moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Tells the time as an aware UTC datetime."""

    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin that never go back; for lease terms, never for records."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        # Goes on while a Linux host is suspended, as the leases of those who wait for it do.
        return time.clock_gettime(_SINCE_BOOT)


def elapsed() -> float:
    """Seconds from an arbitrary origin, for measuring how long an answer took; never for leases or records."""
    return time.perf_counter()


class ManualClock:
    """A clock that stands still until it is moved: tests, backtests and the demo's lock-step time."""

    def __init__(self, start: datetime) -> None:
        self._now = require_utc(start)
        self._origin = self._now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._origin).total_seconds()

    def advance(self, step: timedelta) -> datetime:
        """Move forward by `step` and return the new moment."""
        if step < timedelta(0):
            raise ValueError(f"a clock cannot be moved back by {-step}")
        self._now += step
        return self._now

    def set(self, moment: datetime) -> datetime:
        """Move forward to `moment` and return it."""
        return self.advance(require_utc(moment) - self._now)


def require_utc(moment: datetime) -> datetime:
    """`moment` itself if it is aware and in UTC; ValueError otherwise."""
    if moment.utcoffset() != timedelta(0):
        raise ValueError(f"{moment!r} is not an aware UTC datetime")
    return moment
