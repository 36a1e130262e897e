"""A rule as written on drawn traffic: how often it stops a healthy rollout at a step, and how soon a bad one.

Every complete window with enough samples is judged, as `rollout.rules` has it, with `for` and spikes; by itself, so
that a rule is not hidden by one that stops sooner. Windows are looked at 120 times in their length (every minute, if
they are of two hours or less; for a ratio of percentiles 20 times), so what is over its limit for less than that may be
missed. A step begins after the holds of those before it, whose traffic its first windows still hold; of a long one some
windows are drawn, and the rest taken to be as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.metrics import Kind
from controller.rollout.plan import Arm, Rule
from controller.rollout.timeline import minutes
from controller.simulate.expected import Expected
from controller.simulate.feasibility.cells import Cells, Table
from controller.simulate.feasibility.laws import Law, law
from controller.stats.power import arrivals_at_least
from controller.stats.proportions import wilson

RUNS: Final = 200
LOOKS, LOOKS_AT_RATIO = 120, 20  # in a window's length
RUNS_OF_RATIO: Final = 100  # drawn bucket by bucket
NEVER: Final = 1e-5  # the chance of enough samples in a window, below which none are drawn
STRETCH: Final = 16  # windows of a step that are drawn at most
MEDIAN, SURE = 0.5, 0.9
PATIENCE: Final = 3  # windows in which a bad candidate may be caught


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The part of healthy rollouts that a rule as written fails in one step, with the 95% Wilson interval."""

    share: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCatch:
    """How long a bad candidate goes on until a rule as written fails, in the median, in 90% and in the mean.

    None: not within three windows of the step's beginning in so many; the mean is of those that are, if half are.
    """

    after: tuple[timedelta | None, timedelta | None]
    mean: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What is drawn: cells of `cell_min` from the minute `first` on. The step begins at `begin`, and is judged until
    `end`. `step_of` is the step that each cell is in.
    """

    cell_min: int
    first: int
    begin: int
    end: int
    step_of: NDArray[np.int64]

    @property
    def at(self) -> NDArray[np.int64]:
        """Where each cell starts."""
        found: NDArray[np.int64] = self.first + self.cell_min * np.arange(len(self.step_of))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """A rule on an intent at a step, drawn so many times by numbers of its own."""

    expected: Expected
    rule: Rule
    intent: str | None
    step: int
    seed: int
    runs: int

    def random(self, *, bad: bool) -> np.random.Generator:
        plan = self.expected.plan
        rule = next(i for i, one in enumerate(plan.rules) if one.name == self.rule.name)
        intent = [None, *(one.name for one in plan.intents)].index(self.intent)
        key = (rule, self.step, intent, int(bad))
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def stopped(
    expected: Expected, rule: Rule, intent: str | None, step: int, *, seed: int, runs: int = RUNS
) -> Stopped | None:
    """None where too little is known of healthy answers to say it."""
    found = law(expected, rule, None)
    if found is None:
        return None
    length = length_min(expected, step)
    drawn = min(length, STRETCH * minutes(rule.window))
    if not drawn or not has_samples(expected, rule, intent, step):
        return Stopped(share=0.0, lower=0.0, upper=0.0)
    runs = _runs(rule, runs)
    each = _Drawn(expected=expected, rule=rule, intent=intent, step=step, seed=seed, runs=runs)
    over, _ = _judged(each, found, drawn, bad=False)
    count = int(over.any(axis=1).sum())
    interval = wilson(count, runs)
    often = length / drawn

    def in_all(share: float) -> float:
        return float(1 - (1 - share) ** often)

    return Stopped(
        share=in_all(count / runs), lower=in_all(interval.lower), upper=in_all(interval.upper)
    )


def caught(
    expected: Expected,
    rule: Rule,
    intent: str | None,
    step: int,
    size: float,
    *,
    seed: int,
    runs: int = RUNS,
) -> WrittenCatch | None:
    """Of a candidate that is so bad from a step's beginning on; None where nobody can say."""
    found = law(expected, rule, size)
    if found is None:
        return None
    if not has_samples(expected, rule, intent, step):
        return WrittenCatch(after=(None, None), mean=None)
    runs = _runs(rule, runs)
    drawn = PATIENCE * minutes(rule.window) + minutes(rule.sustained) + _delay_min(expected, rule)
    each = _Drawn(expected=expected, rule=rule, intent=intent, step=step, seed=seed, runs=runs)
    over, since = _judged(each, found, drawn, bad=True)
    there = over.any(axis=1)
    times = np.sort(np.where(there, since[over.argmax(axis=1)], np.inf))
    median, sure = (
        _span(float(times[min(math.ceil(part * runs), runs) - 1])) for part in (MEDIAN, SURE)
    )
    mean = None if median is None else _span(float(times[np.isfinite(times)].mean()))
    return WrittenCatch(after=(median, sure), mean=mean)


def has_samples(expected: Expected, rule: Rule, intent: str | None, step: int) -> bool:
    """Whether any window of the step may hold as many samples as the rule asks for; one of a step before as well."""
    most = min(
        max(expected.in_window(rule, intent, one).get(arm, 0.0) for one in (max(step - 1, 0), step))
        for arm in expected.in_window(rule, intent, step)
    )
    # A unit brings a geometric number of requests: as many units as would bring them on average, fewer by half.
    each = expected.traffic.requests_per_unit
    units = math.ceil(rule.min_samples / each / (1.0 if each == 1 else 2.0))
    return arrivals_at_least(units, most / each) > NEVER


def _runs(rule: Rule, runs: int) -> int:
    return min(runs, RUNS_OF_RATIO) if rule.metric.kind is Kind.QUANTILE_RATIO else runs


def _span(length_min: float) -> timedelta | None:
    return None if math.isinf(length_min) else timedelta(minutes=round(length_min))


def length_min(expected: Expected, step: int) -> int:
    """How long a step is judged: its hold, and the last one through the bake."""
    stage, plan = expected.plan.steps[step], expected.plan
    return minutes(stage.hold + (plan.bake if step + 1 == len(plan.steps) else timedelta(0)))


def _delay_min(expected: Expected, rule: Rule) -> int:
    return minutes(expected.plan.labels.delay) if rule.metric.labelled else 0


def _judged(
    each: _Drawn, law: Law, length: int, *, bad: bool
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether the rule fails at each moment that is looked at, by run; and these moments, since the step began."""
    expected, rule = each.expected, each.rule
    line = timeline(expected, rule, each.step, length)
    columns = law.draw(_cells(each, line, bad=bad))
    before = [
        np.concatenate([np.zeros((each.runs, 1)), one.cumsum(axis=1)], axis=1) for one in columns
    ]
    width = minutes(rule.window) // line.cell_min
    ends = np.arange(width, before[0].shape[1])
    values, samples = law.told([one[:, ends] - one[:, ends - width] for one in before])
    enough = (samples >= rule.min_samples) & ~np.isnan(values)
    limits: Table | float = law.limit
    if rule.usual is not None:
        limits, known = _usual_limits(rule, law, line, before, ends - width, width)
        enough &= known
    over = enough & (values < limits if rule.below else values > limits)
    over = _sustained(over, minutes(rule.sustained) // line.cell_min)
    # Windows of labels end when their last answer is as old as labels take.
    at = line.first + line.cell_min * ends + _delay_min(expected, rule) - line.begin
    counts = (at > 0) & (at <= length)
    return over[:, counts], at[counts]


def timeline(expected: Expected, rule: Rule, step: int, length: int) -> Timeline:
    """From the first minute that a window of the step looks back to, on."""
    window, plan = minutes(rule.window), expected.plan
    of_ratio = rule.metric.kind is Kind.QUANTILE_RATIO
    cell = max(window // (LOOKS_AT_RATIO if of_ratio else LOOKS), 1)
    begin = sum(minutes(one.hold) for one in plan.steps[:step])
    back = window + _delay_min(expected, rule) + minutes(rule.sustained)
    if rule.usual is not None:
        back += minutes(rule.usual)
    first = max(begin - back, 0)
    end = begin + length - _delay_min(expected, rule)
    at = np.arange(first, max(end, first), cell)
    starts = np.cumsum([0, *(minutes(one.hold) for one in plan.steps[:step])])
    step_of = np.searchsorted(starts, at, side="right") - 1
    return Timeline(cell_min=cell, first=first, begin=begin, end=end, step_of=step_of)


def _cells(each: _Drawn, line: Timeline, *, bad: bool) -> Cells:
    expected, intent = each.expected, each.intent
    steps = sorted(set(line.step_of.tolist()))
    units = {}
    for arm in Arm:
        by_step = {one: expected.units(arm, intent, one) * line.cell_min for one in steps}
        units[arm] = np.array([by_step[one] for one in line.step_of.tolist()])
    outside = expected.outside(intent) / expected.traffic.requests_per_unit * line.cell_min
    return Cells(
        random=each.random(bad=bad),
        runs=each.runs,
        units=units,
        outside=np.full(len(line.step_of), outside),
        bad=(line.at >= line.begin) & bad,
        requests_per_unit=expected.traffic.requests_per_unit,
        length_min=line.cell_min,
    )


def _usual_limits(
    rule: Rule,
    law: Law,
    line: Timeline,
    before: Sequence[Table],
    starts: NDArray[np.int64],
    width: int,
) -> tuple[Table, NDArray[np.bool_]]:
    """So many times what is usual: the figure of the time before each window, once that is long and full enough."""
    reach = minutes(rule.usual) // line.cell_min if rule.usual is not None else 0
    since = np.maximum(starts - reach, 0)
    figure, samples = law.told([one[:, starts] - one[:, since] for one in before])
    if rule.metric.kind is Kind.RATE:
        figure = np.where(figure == 0, 1 / np.maximum(samples, 1), figure)
    known = (starts - since >= width) & (samples >= rule.min_samples) & (figure > 0)
    return rule.limit * figure, known


def _sustained(over: NDArray[np.bool_], cells: int) -> NDArray[np.bool_]:
    """Where it was so for that many cells before as well."""
    if not cells:
        return over
    seen = np.concatenate([np.zeros((len(over), 1)), over.cumsum(axis=1)], axis=1)
    long_enough = np.zeros_like(over)
    if over.shape[1] > cells:
        long_enough[:, cells:] = seen[:, cells + 1 :] - seen[:, : -cells - 1] == cells + 1
    return long_enough
