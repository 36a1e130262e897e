"""What the readings of one tick are made from, and which windows have to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes
from controller.rollout.counting.tallies import MinuteSums
from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.reader import Reader, Windows
from controller.rollout.evidence.rules import alpha_of
from controller.rollout.plan import Plan, Rule
from controller.rollout.state import Epoch, State
from controller.rollout.timeline import minute_of, minutes


@dataclass(frozen=True, slots=True)
class Span:
    """What rules of one window, `for` and epoch look at in one tick.

    `ends` are the minutes at which windows close that must be judged now, ascending, the last one always. `windows` are
    those that are measured: with `for` also those that close in the stretch before, where the limit must stay passed.
    `complete` says which of them lie in the epoch and were verified in force throughout.
    """

    ends: Minutes
    windows: Windows
    complete: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the readings of one tick are made from.

    `judged` is the minute up to which windows were judged before, `touched` the minutes that changed since, `moved`
    those of them in which more than labels changed.
    """

    plan: Plan
    state: State
    tallies: MinuteSums
    in_force: InForceTime
    now: datetime
    judged: int | None
    touched: Sequence[int]
    moved: Sequence[int]
    # What several rules of one tick ask for alike.
    reader: Reader = field(init=False, compare=False)
    horizon_min: int = field(init=False, compare=False)
    _spans: dict[tuple[object, ...], Span] = field(default_factory=dict, compare=False)
    _alphas: dict[tuple[int, str | None], float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", Reader(self.tallies))
        object.__setattr__(self, "horizon_min", minutes(self.plan.horizon))

    def watermark(self, rule: Rule) -> int:
        """Where this rule's last window closes: after the present minute, or before the first that lacks its labels."""
        delay = self._delay(rule)
        return minute_of(self.now - delay) if delay else minute_of(self.now) + 1

    def _delay(self, rule: Rule) -> timedelta:
        return self.plan.labels.delay if rule.metric.labelled else timedelta(0)

    def span(self, rule: Rule, epoch: Epoch) -> Span:
        asked = (rule.metric.labelled, rule.window, rule.sustained, epoch.start)
        known = self._spans.get(asked)
        if known is None:
            known = self._spans[asked] = self._span(rule, epoch)
        return known

    def alpha(self, rule: Rule, epoch: Epoch) -> float:
        """`alpha_of`; rules without an `alpha` of their own differ by their epochs alone."""
        asked = (epoch.number, None if rule.alpha is None else rule.name)
        known = self._alphas.get(asked)
        if known is None:
            known = self._alphas[asked] = alpha_of(self.plan, rule, epoch)
        return known

    def _span(self, rule: Rule, epoch: Epoch) -> Span:
        epoch_min = minute_of(epoch.start)
        ends = self._ends(rule, epoch_min + 1)
        sustained = minutes(rule.sustained)
        measured = (
            np.arange(ends[0] - sustained, ends[-1] + 1, dtype=np.int64) if sustained else ends
        )
        windows = whole_windows(rule, epoch_min, measured)
        window_min = minutes(rule.window)
        if windows.one is not None:
            alone = self.in_force.is_complete(windows.one[1], window_min, epoch_min)
            return Span(ends, windows, np.array([alone]))
        return Span(ends, windows, self.in_force.complete(measured, window_min, epoch_min))

    def _ends(self, rule: Rule, first: int) -> Minutes:
        """Ends of windows that closed since the last judgement, or that contain a minute that changed since."""
        last = self.watermark(rule)
        closed = last if self.judged is None else self.judged + 1 + self._lead(rule)
        span = minutes(rule.window) + minutes(rule.sustained)
        ranges = [(min(closed, last), last)]
        changed = self.touched if rule.metric.labelled else self.moved
        ranges += [(minute + 1, min(minute + span, last)) for minute in changed]
        return _union([(max(start, first), end) for start, end in ranges], last)

    def _lead(self, rule: Rule) -> int:
        """By how many minutes a last window closes after the minute of its tick, at least: it may be one more where a
        delay has seconds, for of that tick the minute alone is known.
        """
        delay = self._delay(rule)
        return -minutes(delay) if delay else 1


def _union(ranges: Sequence[tuple[int, int]], last: int) -> Minutes:
    """The whole numbers in any of the closed ranges, ascending, and `last`."""
    merged: list[list[int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1] + 1:
            merged[-1][1] = max(end, merged[-1][1])
        elif start <= end:
            merged.append([start, end])
    if not merged or merged[-1][1] < last:
        merged.append([last, last])
    if len(merged) == 1 and merged[0][0] == last:
        return np.array([last])
    return np.concatenate([np.arange(start, end + 1, dtype=np.int64) for start, end in merged])


def whole_windows(rule: Rule, epoch_min: int, ends: Minutes) -> Windows:
    """The rule's window before each end, no further back than the epoch; empty where the epoch starts after the end."""
    if len(ends) == 1:
        end = int(ends[0])
        return Windows.single(min(max(end - minutes(rule.window), epoch_min), end), end)
    starts = np.maximum(ends - minutes(rule.window), epoch_min)
    return Windows.of(np.minimum(starts, ends), ends)
