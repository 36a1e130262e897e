"""Whether a freeze is in force, and when: dates, or a cron schedule with a duration, in its own time zone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
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


def thawed(freezes: Sequence[Freeze], now: datetime, until: datetime) -> datetime:
    """The first moment from `now` on in which nothing is frozen; `until` if that is not before it."""
    while now < until:
        ends = [end for one in freezes for end in _ends_at(one, now)]
        if not ends:
            return now
        now = max(ends)
    return until


def next_begin(freezes: Sequence[Freeze], now: datetime) -> datetime | None:
    """When a freeze next begins, after a moment, be it within another one; None: none does."""
    return min((begin for one in freezes for begin in _begins_after(one, now)), default=None)


@lru_cache(maxsize=256)  # the same few at every look; making one takes longer than asking it
def _schedule(cron: str, zone: str) -> CronTrigger:
    from apscheduler.triggers.cron import CronTrigger

    return CronTrigger.from_crontab(cron, timezone=ZoneInfo(zone))


def _holds(freeze: Freeze, now: datetime) -> bool:
    if freeze.cron is None:
        return _has_begun(freeze, now) and (freeze.end is None or now < freeze.end)
    return next(_begun(freeze, freeze.cron, now), None) is not None


def _has_begun(freeze: Freeze, now: datetime) -> bool:
    return freeze.start is None or freeze.start <= now


def _ends_at(freeze: Freeze, now: datetime) -> Iterator[datetime]:
    """When what holds at a moment ends, as far as it has begun by then."""
    if freeze.cron is not None:
        span = _span(freeze)
        yield from (begun + span for begun in _begun(freeze, freeze.cron, now))
    elif _holds(freeze, now):
        yield freeze.end or datetime.max.replace(tzinfo=UTC)


def _begins_after(freeze: Freeze, now: datetime) -> Iterator[datetime]:
    if freeze.cron is not None:
        begin = next((one for one in _starts(freeze, freeze.cron, now) if one > now), None)
        if begin is not None:
            yield begin
    elif freeze.start is not None and now < freeze.start:
        yield freeze.start


def _begun(freeze: Freeze, cron: str, now: datetime) -> Iterator[datetime]:
    """The starts in (now - duration, now], which still hold."""
    since = now - _span(freeze)
    reached = takewhile(lambda one: one <= now, _starts(freeze, cron, since))
    return (one for one in reached if one > since)


def _starts(freeze: Freeze, cron: str, moment: datetime) -> Iterator[datetime]:
    """From the full hour before a moment on, whose first start is known to whoever asks within that hour."""
    begun = _start_from(cron, freeze.zone, moment.replace(minute=0, second=0, microsecond=0))
    while begun is not None:
        yield begun
        begun = _start_after(cron, freeze.zone, begun)


def _span(freeze: Freeze) -> timedelta:
    if freeze.duration is None:
        raise LookupError(f"freeze {freeze.cron!r} has no duration")
    return freeze.duration


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
