"""From where windows are judged by proof: where their e-processes start, and what each of these must reach."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes
from controller.rollout.metrics import Kind
from controller.rollout.plan import Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import minute_of, minutes
from controller.stats.betting import log_threshold

RATE_START_MIN = 60
LOSS_START_MIN = 360
# Of alpha, what an epoch's first start has: docs/adr/016, 024. A loss is mostly there from the first answer on.
RATE_FIRST, LOSS_FIRST = 0.25, 0.75


def _every(rule: Rule) -> int:
    return LOSS_START_MIN if rule.metric.kind is Kind.LOSS else RATE_START_MIN


def planned_starts(rule: Rule, horizon_min: int, first: int) -> int:
    """How many e-processes of this rule start in the planned time of a migration, of an epoch that begins in the minute
    `first`: one more than it has hours (sixes of them for a loss) where that is no full one.
    """
    every = _every(rule)
    return math.ceil((first % every + horizon_min) / every)


def start_threshold(rule: Rule, *, alpha: float, horizon_min: int, first: int = 0) -> float:
    """What log E of the first start must reach, of an epoch that begins in the minute `first`, a full hour if nobody
    knows.
    """
    planned = planned_starts(rule, horizon_min, first)
    return float(_thresholds(alpha, 1, 1, planned, _first_part(rule))[0])


def _first_part(rule: Rule) -> float:
    return LOSS_FIRST if rule.metric.kind is Kind.LOSS else RATE_FIRST


@lru_cache(maxsize=4096)
def _thresholds(
    alpha: float, first: int, count: int, planned: int, part: float
) -> NDArray[np.float64]:
    numbers = np.arange(first, first + count)
    return log_threshold(alpha=alpha, start_number=numbers, planned_starts=planned, first=part)


@lru_cache(maxsize=4096)  # the same from hour to hour, and one array of it for all that ask
def _starts(first: int, every: int, passed: int, count: int) -> Minutes:
    starts = first - first % every + every * np.arange(passed, count, dtype=np.int64)
    if passed == 0:
        starts[0] = first
    starts.flags.writeable = False
    return starts


def starts_of(rule: Rule, epoch: Epoch, last_end: int, *, reached_from: int) -> tuple[int, Minutes]:
    """Where e-processes of this rule start: at the epoch's first minute, then every full hour (six for a loss).

    Those before `reached_from` are left out, and counted: a start keeps its number, which is its threshold's.
    """
    every, first = _every(rule), minute_of(epoch.start)
    hour = first - first % every
    count = max(1, math.ceil((last_end - hour) / every))
    passed = 0 if first >= reached_from else max(1, math.ceil((reached_from - hour) / every))
    return min(passed, count), _starts(first, every, min(passed, count), count)


def starts_and_thresholds(
    rule: Rule, epoch: Epoch, ends: Minutes, *, alpha: float, horizon_min: int
) -> tuple[Minutes, NDArray[np.float64]]:
    """The starts of e-processes that windows up to these ends may have, and what each must reach."""
    reached_from = int(ends[0]) - minutes(rule.window)
    passed, starts = starts_of(rule, epoch, int(ends[-1]), reached_from=reached_from)
    planned = planned_starts(rule, horizon_min, minute_of(epoch.start))
    return starts, _thresholds(alpha, passed + 1, len(starts), planned, _first_part(rule))


def ends_served(rule: Rule, epoch: Epoch, ends: Minutes) -> Minutes:
    """The ends at which a rule is judged by proof: each, or the last before it that a start serves.

    Starts are full hours (six for a loss). The nearer the shortest window is to the longest, and the shorter that is,
    the fewer minutes have one within reach; what was proven at the last of them holds until the next, instead of being
    there for one minute.
    """
    every, first = _every(rule), minute_of(epoch.start)
    shortest, longest = minutes(rule.least_window), minutes(rule.window)
    if shortest <= 1 and longest >= every:
        return ends
    if len(ends) == 1:
        end = int(ends[0])
        start = max(end - shortest - (end - shortest) % every, first)
        return ends if end <= start + longest else np.array([start + longest])
    latest = ends - shortest
    start = np.maximum(latest - latest % every, first)
    return np.unique(np.minimum(ends, start + longest))
