"""When a plan's freezes let go, for a clock that jumps."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from controller.reconcile.freeze import active_freeze
from controller.rollout.plan import Freeze
from controller.rollout.timeline import start_of

HOUR_MIN: Final = 60


def thaw(freezes: tuple[Freeze, ...], minute: int) -> int:
    """The first minute after a frozen one that is not: an opening between two freezes, if it lasts an hour."""
    hour = minute - minute % HOUR_MIN + HOUR_MIN
    while _is_frozen_at(freezes, hour):
        hour += HOUR_MIN
    frozen, free = max(hour - HOUR_MIN, minute), hour
    while free - frozen > 1:
        middle = (frozen + free) // 2
        frozen, free = (middle, free) if _is_frozen_at(freezes, middle) else (frozen, middle)
    return free


@lru_cache(maxsize=1 << 14)  # hours that every run comes by
def _is_frozen_at(freezes: tuple[Freeze, ...], minute: int) -> bool:
    return active_freeze(freezes, start_of(minute)) is not None
