"""When a raise is possible, for a clock that jumps: when freezes begin and let go, and how long the baseline lasts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime

from controller.reconcile.freeze import next_begin, thawed
from controller.rollout.deciding.advance import retires_during_next_step
from controller.rollout.plan import Freeze, Plan
from controller.rollout.state import Phase, State
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


def is_too_late(plan: Plan, state: State, minute: int) -> bool:
    """Whether the baseline ends before the next step could: then nothing raises the share any more."""
    return (
        state.phase in (Phase.PENDING, Phase.PROGRESSING)
        and state.step + 1 < len(plan.steps)
        and retires_during_next_step(plan, state, start_of(minute))
    )


def last_open(plan: Plan, state: State, judged: int, last: int) -> Iterator[int]:
    """The last minutes after one that was judged, up to another, in which a raise is possible that will not be any
    more: a freeze begins, or the baseline ends before the next step could. What is there before is looked at in them,
    for nothing tells of it later.
    """
    after = judged + 1
    frozen = frozen_from(plan.freezes, after)
    if frozen is not None:
        yield frozen - 1
    if not is_too_late(plan, state, after) and is_too_late(plan, state, last):
        ends = bisect_left(range(last), True, lo=after, key=lambda at: is_too_late(plan, state, at))
        yield ends - 1


def _first_from(moment: datetime) -> int:
    """The first minute that does not begin before a moment."""
    minute = minute_of(moment)
    return minute if start_of(minute) == moment else minute + 1
