"""Several plans on the same recorded data: what became of each, where two of them part, and the same over many seeds.

A seed is one world: the same draws at the same moments, the same labels after the same delays, the same units in the
same part of the hash. Plans that are run on it differ only by what they decide (common random numbers).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest

from controller.errors import DataError, StatisticsError
from controller.rollout.plan import Arm
from controller.rollout.record import Record
from controller.rollout.verdict import Verdict
from controller.simulate.backtest.results import in_common
from controller.simulate.backtest.run import Finished, Setup
from controller.simulate.backtest.stand_ins import Instead
from controller.simulate.endings import STOPS, Ending, Part, parts_of
from controller.stats.quantiles import order_statistic_ranks

NEVER = math.inf
HOUR = timedelta(hours=1)


def in_one_world(setups: Sequence[Setup]) -> tuple[Setup, ...]:
    """The setups on what all of them have: the same pairs, and labels that take as long as the most patient plan waits.

    A plan that waits for less then judges labels that are not all there, as it would have.
    """
    labels = max(one.plan.labels.delay for one in setups)
    recordings = in_common([one.recording for one in setups])
    return tuple(
        replace(one, recording=recording, label_delay=labels)
        for one, recording in zip(setups, recordings, strict=True)
    )


# One run


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is kept of one plan's run on one seed.

    `path` holds the share from each of some moments on, since the start. `stopped_by` names what stopped it, rules
    with their intent; empty if nothing did.
    """

    seed: int
    ending: Ending
    took: timedelta
    path: tuple[tuple[timedelta, int], ...]
    stopped_by: tuple[str, ...]
    candidate_requests: int
    instead: Instead

    @property
    def completed(self) -> bool:
        return self.ending is Ending.COMPLETED

    @property
    def until_stop_h(self) -> float:
        """Hours until it was stopped; infinite if it was not."""
        return self.took / HOUR if self.ending in STOPS else NEVER

    @property
    def until_completion_h(self) -> float:
        return self.took / HOUR if self.ending is Ending.COMPLETED else NEVER


def run_of(setup: Setup, finished: Finished) -> Run:
    start = finished.state.started_at
    records = [sealed.value for sealed in finished.records]
    return Run(
        seed=setup.seed,
        ending=finished.ending,
        took=finished.elapsed,
        path=tuple(
            (one.at - start, one.state.share_bp)
            for one in records
            if one.state.share_bp != one.share_before_bp
        ),
        stopped_by=_stopped_by(finished),
        candidate_requests=finished.tallies[Arm.CANDIDATE].requests,
        instead=finished.instead,
    )


def stop_of(finished: Finished) -> tuple[Record, tuple[Verdict, ...]] | None:
    """The record that ended a run by stopping it, and the verdicts that failed; None if nothing did."""
    if finished.ending not in STOPS:
        return None
    record = finished.records[-1].value
    return record, tuple(one for notice in record.notices for one in notice.failures)


def _stopped_by(finished: Finished) -> tuple[str, ...]:
    stop = stop_of(finished)
    if stop is None:
        return ()
    record, failed = stop
    return tuple(named(one) for one in failed) or (record.cause.value.replace("_", " "),)


def named(verdict: Verdict) -> str:
    """A rule and its intent: `accuracy on refund`."""
    return verdict.rule if verdict.intent is None else f"{verdict.rule} on {verdict.intent}"


# Two runs of one seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """The first moment at which two runs decide differently, and what each decides then; None: nothing."""

    at: datetime
    one: Record | None
    other: Record | None


def parting(one: Finished, other: Finished) -> Parting | None:
    """Where two runs part; None if every decision is the same."""
    for left, right in zip_longest(_records(one), _records(other)):
        if left is not None and right is not None and _done(left) == _done(right):
            continue
        at = min(record.at for record in (left, right) if record is not None)
        return Parting(at=at, one=_at(left, at), other=_at(right, at))
    return None


def _records(finished: Finished) -> list[Record]:
    return [sealed.value for sealed in finished.records]


def _done(record: Record) -> tuple[object, ...]:
    return (record.at, record.action, record.share_before_bp, record.state.share_bp)


def _at(record: Record | None, moment: datetime) -> Record | None:
    return record if record is not None and record.at == moment else None


# Many seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median over all runs with its 95% interval from order statistics, and the 90% quantile.

    Infinite where a run never got there. The interval is None where there are too few runs for one.
    """

    median: float
    interval: tuple[float, float] | None
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What became of one plan on many seeds. Times in hours; saved in US dollars, None where no cost is known."""

    runs: tuple[Run, ...]
    endings: Mapping[Ending, Part]
    until_stop: Spread
    until_completion: Spread
    candidate_requests: Spread
    wrong: Spread
    wrong_more: Spread
    saved_usd: Spread | None
    stopped_by: Mapping[str, int]


def runs_of(runs: Sequence[Run]) -> Runs:
    """Of at least one run."""
    if not runs:
        raise DataError("no runs to add up; ask for at least one seed.")
    saved = [one.instead.saved_nusd for one in runs]
    known = [one / 1e9 for one in saved if one is not None]
    return Runs(
        runs=tuple(runs),
        endings=parts_of([one.ending for one in runs]),
        until_stop=spread([one.until_stop_h for one in runs]),
        until_completion=spread([one.until_completion_h for one in runs]),
        candidate_requests=spread([one.candidate_requests for one in runs]),
        wrong=spread([one.instead.wrong for one in runs]),
        wrong_more=spread([one.instead.wrong_more for one in runs]),
        saved_usd=spread(known) if len(known) == len(runs) else None,
        stopped_by=dict(
            Counter(", ".join(one.stopped_by) for one in runs if one.stopped_by).most_common()
        ),
    )


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value; infinite ones are the largest."""
    ranked = sorted(values)
    return Spread(
        median=_quantile(ranked, 0.5),
        interval=_median_interval(ranked),
        most=_quantile(ranked, 0.9),
    )


def _quantile(ranked: Sequence[float], q: float) -> float:
    """The smallest value that is not exceeded by a part q of all."""
    return ranked[max(math.ceil(q * len(ranked)) - 1, 0)]


def _median_interval(ranked: Sequence[float]) -> tuple[float, float] | None:
    try:
        ranks = order_statistic_ranks(len(ranked), 0.5)
    except StatisticsError:
        return None
    return (ranked[ranks.lower - 1], ranked[ranks.upper - 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """On how many seeds a plan was stopped sooner than another, at the same time (or neither was), and later."""

    sooner: int
    alike: int
    later: int


def against(one: Sequence[Run], other: Sequence[Run]) -> Against:
    """Two plans seed by seed; the runs are in the order of the seeds."""
    pairs = [(a.until_stop_h, b.until_stop_h) for a, b in zip(one, other, strict=True)]
    return Against(
        sooner=sum(a < b for a, b in pairs),
        alike=sum(a == b for a, b in pairs),
        later=sum(a > b for a, b in pairs),
    )
