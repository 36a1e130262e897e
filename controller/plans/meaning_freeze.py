"""Second parse of a plan's freezes: stretches by date, or by a cron line in a time zone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

from controller.plans.nearest import did_you_mean
from controller.plans.reading import Reading, had
from controller.plans.schema_rules import FreezeShape
from controller.plans.units import shown
from controller.rollout.plan import (
    Freeze,
)


def read_freeze(shape: FreezeShape, reading: Reading) -> Freeze | None:
    dated = [key for key in ("start", "end") if had(shape, key)]
    repeated = [key for key in ("cron", "duration", "timeZone") if had(shape, key)]
    if bool(dated) == bool(repeated):
        reading.refuse_node(
            shape.node,
            "a freeze has either `start` and `end`, or `cron`, `duration` and `timeZone`",
        )
        return None
    return _dated_freeze(shape, reading) if dated else _repeated_freeze(shape, reading)


def _dated_freeze(shape: FreezeShape, reading: Reading) -> Freeze | None:
    if shape.start is None or shape.end is None:
        missing = [key for key in ("start", "end") if not had(shape, key)]
        if missing:
            reading.refuse_node(shape.node, f"a freeze with dates also needs `{missing[0]}`")
        return None
    if shape.end <= shape.start:
        reading.refuse(shape, "end", "the freeze ends before it starts")
    return Freeze(reason=shape.reason, start=shape.start, end=shape.end)


def _repeated_freeze(shape: FreezeShape, reading: Reading) -> Freeze | None:
    zone = shape.time_zone or "UTC"
    if shape.time_zone is not None and not _is_zone(zone):
        hint = did_you_mean(zone, available_timezones())
        reading.refuse(
            shape,
            "timeZone",
            f"unknown time zone {shown(zone)}{hint}; IANA names such as `Europe/Berlin`",
        )
        return None
    for key, value in (("cron", shape.cron), ("duration", shape.duration)):
        if value is None:
            if not had(shape, key):
                reading.refuse_node(shape.node, f"a repeated freeze also needs `{key}`")
            return None
    if shape.duration == timedelta(0):
        reading.refuse(shape, "duration", "a freeze of 0 freezes nothing; write one such as `60h`")
    if wrong := _wrong_cron(shape.cron or "", zone, reading.today):
        reading.refuse(shape, "cron", wrong)
    return Freeze(reason=shape.reason, cron=shape.cron, duration=shape.duration, zone=zone)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown names, and paths that are no zone
        return False
    return True


def _wrong_cron(cron: str, zone: str, today: date) -> str | None:
    """What is wrong with a cron schedule; None if it comes, and everybody reads it the same way."""
    from apscheduler.triggers.cron import CronTrigger  # 150 ms, and few plans have one

    wanted = "expected five fields `minute hour day month weekday`, such as `0 18 * * fri`"
    parts = cron.split()
    if len(parts) != 5:
        return f"{shown(cron)} has {len(parts)} fields; {wanted}"
    if re.search(r"[0-9]", parts[4]):
        return (
            f"{shown(parts[4])} as a weekday could mean two days (Sunday is 0 in cron, Monday in "
            "APScheduler); write `sun` … `sat`"
        )
    try:
        trigger = CronTrigger.from_crontab(cron, timezone=zone)
        start = datetime.combine(today, time(), tzinfo=UTC)
        comes = trigger.get_next_fire_time(None, start) is not None
    except (ValueError, OverflowError) as error:
        why = " ".join(str(error).split())[:160]
        return f"{shown(cron)} is not a cron schedule: {why}; {wanted}"
    return None if comes else f"{shown(cron)} is a date that never comes"
