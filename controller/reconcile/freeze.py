"""Whether a freeze is in force: dates, or a cron schedule with a duration, in its own time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from controller.rollout.plan import Freeze

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger


def active_freeze(freezes: Sequence[Freeze], now: datetime) -> str | None:
    """The reason (or the schedule) of the first freeze that holds at `now`; None if nothing is frozen."""
    for freeze in freezes:
        if _holds(freeze, now):
            return freeze.reason or freeze.cron or f"until {freeze.end:%Y-%m-%d %H:%M}"
    return None


@lru_cache(maxsize=256)  # the same few at every look; making one takes longer than asking it
def _schedule(cron: str, zone: str) -> CronTrigger:
    from apscheduler.triggers.cron import CronTrigger

    return CronTrigger.from_crontab(cron, timezone=ZoneInfo(zone))


def _holds(freeze: Freeze, now: datetime) -> bool:
    if freeze.cron is None:
        started = freeze.start is None or freeze.start <= now
        return started and (freeze.end is None or now < freeze.end)
    if freeze.duration is None:
        raise LookupError(f"freeze {freeze.cron!r} has no duration")
    # The last start that could still hold is less than `duration` ago: is there a start in (now - duration, now]?
    since = now - freeze.duration
    begun = _start_from(freeze.cron, freeze.zone, since.replace(minute=0, second=0, microsecond=0))
    while begun is not None and begun <= since:
        begun = _start_after(freeze.cron, freeze.zone, begun)
    return begun is not None and begun <= now


@lru_cache(
    maxsize=4096
)  # many looks in an hour, and many simulated rollouts come by the same hours
def _start_from(cron: str, zone: str, moment: datetime) -> datetime | None:
    """The first start at a moment or after it, in UTC."""
    begun = _schedule(cron, zone).get_next_fire_time(None, moment)
    return begun.astimezone(UTC) if begun is not None else None


@lru_cache(maxsize=4096)
def _start_after(cron: str, zone: str, start: datetime) -> datetime | None:
    """The next start after one, in UTC."""
    begun = _schedule(cron, zone).get_next_fire_time(start, start)
    return begun.astimezone(UTC) if begun is not None else None
