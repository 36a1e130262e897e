"""Minutes and windows. A minute is an int: whole minutes since 1970-01-01T00:00Z."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def minute_of(moment: datetime) -> int:
    """The minute that contains `moment` (aware)."""
    return (moment - EPOCH) // MINUTE


def start_of(minute: int) -> datetime:
    """The first instant of a minute."""
    return EPOCH + minute * MINUTE


def minutes(span: timedelta) -> int:
    """Whole minutes in `span`, rounded up: a window of 90 s spans two minutes."""
    return -((-span) // MINUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Half-open [start, end), aware UTC, whole minutes."""

    start: datetime
    end: datetime

    @classmethod
    @lru_cache(maxsize=4096)  # one and the same for all rules that look at it
    def of_minutes(cls, start: int, end: int) -> Window:
        return cls(start=start_of(start), end=start_of(end))

    @property
    def span(self) -> timedelta:
        return self.end - self.start
