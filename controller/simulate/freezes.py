"""When a plan's freezes begin and let go, in minutes, for a clock that jumps."""

from __future__ import annotations

from datetime import datetime

from controller.reconcile.freeze import next_begin, thawed
from controller.rollout.plan import Freeze
from controller.rollout.timeline import minute_of, start_of


def thaw(freezes: tuple[Freeze, ...], minute: int, until: int) -> int:
    """The first minute from one on that begins with nothing frozen; `until` if none does before it."""
    free = thawed(freezes, start_of(minute), start_of(until))
    whole = _first_from(free)
    # Another one may begin before the minute is over in which this one ends.
    return whole if start_of(whole) == free else thaw(freezes, whole, until)


def frozen_from(freezes: tuple[Freeze, ...], minute: int) -> int | None:
    """The first minute after one by whose beginning another freeze has begun; None: none does."""
    begin = next_begin(freezes, start_of(minute))
    return None if begin is None else _first_from(begin)


def _first_from(moment: datetime) -> int:
    """The first minute that does not begin before a moment."""
    minute = minute_of(moment)
    return minute if start_of(minute) == moment else minute + 1
