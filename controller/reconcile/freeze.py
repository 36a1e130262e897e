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
    trigger = _schedule(freeze.cron, freeze.zone)
    # The last start that could still hold is less than `duration` ago: is there a start in (now - duration, now]?
    begun = trigger.get_next_fire_time(None, now - freeze.duration)
    if begun is not None and begun.astimezone(UTC) == now - freeze.duration:
        begun = trigger.get_next_fire_time(begun, begun)
    return begun is not None and begun.astimezone(UTC) <= now
