"""Simulated answers of one arm to one intent, minute by minute: how many of each kind, and their labels in line.

Each kind of a Poisson stream is a Poisson stream of its own. Where blocks are made of single labels, those are in order
and the wrong ones have their places in it: most are right, so only the wrong ones are drawn one by one. Where labels
come late, each is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.metrics import MICRO
from controller.rollout.plan import Arm
from controller.simulate.drawn.dense import (
    ESCALATED,
    REQUESTS,
    REQUESTS_ESCALATED,
    REQUESTS_FAILED,
    REQUESTS_GRADED,
    RIGHT_U,
    UNITS,
    Columns,
)
from controller.simulate.drawn.knowledge import Coming
from controller.simulate.drawn.lines import Labels, Values
from controller.simulate.drawn.people import ByPeople, Judged, Number, People
from controller.simulate.lateness import Lateness
from controller.simulate.picks import Picks
from controller.simulate.scenarios import Rate, Rates, rate_at

FEW: Final = 1.0
"""Arrivals a minute up to which it is quicker to draw each than each minute."""
MANY: Final = 500.0
"""Arrivals a minute from which on a table of their law is not worth its room."""

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """When labels come, and by when they are in time or refused, in minutes after their answers."""

    lateness: Lateness
    delay_min: int
    horizon_min: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Which requests are `graded` of ordinary units, and are `counted` of escalated and failed ones. `in_line`: whether
    the order of labels is of use.
    """

    columns: Columns
    graded: Picks
    counted: Picks
    in_line: bool
    late: Late | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """How many in each minute: of what is graded ordinary answers, escalated and failed ones; and of what is not.

    Units, or requests: of a unit with a grade some requests may have none.
    """

    ordinary: Number
    escalated: Number
    failed: Number
    ungraded: Number
    escalated_ungraded: Number
    failed_ungraded: Number

    def count(self, counts: Table, every: int, escalated: int, failed: int, graded: int) -> None:
        """Into these columns."""
        counts[graded] = self.ordinary + self.escalated + self.failed
        counts[failed] = self.failed + self.failed_ungraded
        counts[escalated] = self.escalated + self.escalated_ungraded + counts[failed]
        counts[every] = self.ordinary + self.ungraded + counts[escalated]


@dataclass(frozen=True, slots=True)
class Come:
    """The labels of an arm's answers to one intent, where some come late, and how many requests each grades."""

    judged: Judged
    requests: NDArray[np.int64]
    by_people: ByPeople | None = None

    def coming(self, arm: Arm, intent: str, values: Values | None) -> Coming:
        return Coming(
            arm=arm,
            intent=intent,
            minutes=self.judged.minutes,
            right=self.judged.right,
            requests=self.requests,
            known=self.judged.known,
            values=values,
            by_people=self.by_people,
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """`labels` None where their order is of no use, `come` where none is late."""

    labels: Labels | None = None
    come: Come | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which part of the units of each minute is graded and of which kind, and which is not. `labels` is all that is
    graded, and `wrong_labels` which part of that is no right answer.
    """

    right: Rate
    wrong: Rate
    escalated: Rate
    failed: Rate
    ungraded: Rate
    escalated_ungraded: Rate
    failed_ungraded: Rate
    labels: Rate
    wrong_labels: Rate

    @classmethod
    def of(cls, rates: Rates, *, graded: float, counted: float) -> Parts:
        """Where this part of ordinary units is graded, and this part of escalated and failed ones counts as wrong."""
        right = graded * (1 - rates.graded_wrong)
        bad = graded * (rates.graded_wrong - rates.escalated) + counted * rates.escalated
        labels = right + bad
        none = np.zeros(np.shape(labels))
        return cls(
            right=right,
            wrong=graded * (rates.graded_wrong - rates.escalated),
            escalated=counted * (rates.escalated - rates.failed),
            failed=counted * rates.failed,
            ungraded=(1 - graded) * (1 - rates.escalated),
            escalated_ungraded=(1 - counted) * (rates.escalated - rates.failed),
            failed_ungraded=(1 - counted) * rates.failed,
            labels=labels,
            wrong_labels=np.divide(bad, labels, out=none, where=np.asarray(labels) > 0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """Units of one arm and intent: how many a minute, from minute `first` on, and how they are answered. They are drawn
    by `random`, and `apart` what not every plan asks for.
    """

    per_minute: float
    first: int
    rates: Rates
    parts: Parts
    random: np.random.Generator
    apart: np.random.Generator
    people: People | None  # who grade some of them too


def answered(units: Arriving, how: Answering, counts: Table) -> Answered:
    """Counted into a table of zeros, (columns, minutes)."""
    random, parts, length = units.random, units.parts, counts.shape[1]

    def kind(part: Rate) -> Number:
        return arrived(random, units.per_minute * part, length)

    line = None
    if how.in_line or how.late is not None:
        line = Queue.drawn(random, parts, units.per_minute, units.first, length)
    right, wrong, escalated, failed = (
        (kind(parts.right), kind(parts.wrong), kind(parts.escalated), kind(parts.failed))
        if line is None
        else line.kinds()
    )
    kinds = Kinds(
        ordinary=right + wrong,
        escalated=escalated,
        failed=failed,
        ungraded=kind(parts.ungraded),
        escalated_ungraded=kind(parts.escalated_ungraded),
        failed_ungraded=kind(parts.failed_ungraded),
    )
    kinds.count(counts, UNITS, ESCALATED, how.columns.failed, how.columns.graded)
    counts[RIGHT_U] = MICRO * right
    if line is not None and how.late is not None:
        return _late(units, how, how.late, line, kinds, counts)
    if units.people is not None:
        units.people.count(
            counts, units.rates, right=right, wrong=wrong, escalated=escalated + failed
        )
    if how.graded.mean > 1:
        requests = _requests(random, kinds, how)
        requests.count(counts, REQUESTS, REQUESTS_ESCALATED, REQUESTS_FAILED, REQUESTS_GRADED)
        if how.columns.requests_right_u is not None:
            of_right = _requests_of_right(units.apart, right, wrong, requests.ordinary)
            counts[how.columns.requests_right_u] = MICRO * of_right
    return Answered(None if line is None else line.labels)


# How many


def arrived(random: np.random.Generator, mean: Rate, length: int) -> Number:
    """Of a Poisson stream, in each of so many minutes."""
    if isinstance(mean, np.ndarray) and mean.ndim:
        return random.poisson(mean, length) if mean.any() else 0
    mean = float(mean)
    if not 0 < mean < MANY:
        return random.poisson(mean, length) if mean else 0
    if mean < FEW:  # how many there are in all, and each one's minute
        n = random.poisson(mean * length)
        return np.bincount(random.integers(0, length, n), minlength=length)
    # By inversion: in half the time of numpy's own, which works its constants out anew for each number.
    found: NDArray[np.int64] = _cumulated(mean).searchsorted(random.random(length), side="right")
    return found


@lru_cache(maxsize=4096)  # each arm, intent and kind by the split, in every run
def _cumulated(mean: float) -> NDArray[np.float64]:
    """The chance of at most 0, 1, … arrivals, up to where no more is left in a float."""
    n = np.arange(1, int(mean + 12 * mean**0.5) + 30)
    logs = np.concatenate([[0.0], (np.log(mean) - np.log(n)).cumsum()]) - mean
    chances = np.exp(logs).cumsum()
    chances[-1] = 1.0
    return chances


def _requests(random: np.random.Generator, units: Kinds, how: Answering) -> Kinds:
    """How many requests so many units have, in each minute; ungraded ones are those of graded units too."""
    ordinary = _picked(random, units.ordinary, how.graded)
    escalated = _picked(random, units.escalated, how.counted)
    failed = _picked(random, units.failed, how.counted)
    return Kinds(
        ordinary=ordinary,
        escalated=escalated,
        failed=failed,
        ungraded=_not_picked(random, units.ungraded, units.ordinary + ordinary, how.graded),
        escalated_ungraded=_not_picked(
            random, units.escalated_ungraded, units.escalated + escalated, how.counted
        ),
        failed_ungraded=_not_picked(
            random, units.failed_ungraded, units.failed + failed, how.counted
        ),
    )


def _picked(random: np.random.Generator, units: Number, of: Picks) -> Number:
    """Of units that have a grade: a request that is picked, and a geometric number more."""
    return units + _more(random, units, of.more)


def _not_picked(random: np.random.Generator, units: Number, graded: Number, of: Picks) -> Number:
    """Of units without a grade, and of others: `graded` are these and their requests that are picked."""
    return units + _more(random, units + graded, of.left)


def _more(random: np.random.Generator, order: Number, mean: float) -> Number:
    """In each minute the sum of so many geometric numbers, from 0 on, each `mean` on average.

    It is negative binomial, a Poisson number with a gamma mean.
    """
    if not mean or not np.any(order):
        return 0
    return random.poisson(mean * random.standard_gamma(order))


def _requests_of_right(
    random: np.random.Generator, right: Number, wrong: Number, requests: Number
) -> Number:
    """How many of the graded requests of so many right and wrong units are of the right ones.

    Given what they are in all, geometric numbers share what is beyond one each by Pólya's urn.
    """
    parts = random.beta(np.maximum(right, 1), np.maximum(wrong, 1))
    parts = np.where(np.equal(wrong, 0), 1.0, np.where(np.equal(right, 0), 0.0, parts))
    return right + random.binomial(requests - right - wrong, parts)


# In line


@dataclass(frozen=True, slots=True)
class Queue:
    """Labels in order, the minute of each since the first, and which of the wrong ones are answers that were wrong,
    that escalated and that failed.
    """

    labels: Labels
    when: Minutes
    wrong: Places
    escalated: Places
    failed: Places

    @classmethod
    def drawn(
        cls, random: np.random.Generator, parts: Parts, per_minute: float, first: int, length: int
    ) -> Queue:
        n = arrived(random, per_minute * parts.labels, length) + np.zeros(length, dtype=np.int64)
        when = np.repeat(np.arange(length), n)
        most = float(np.max(parts.wrong_labels))
        places = hits(random, len(when), most)
        # Of those that may be wrong, one number tells which are, and which failed or escalated.
        at = when[places]
        labels = rate_at(parts.labels, at)
        fate = most * random.random(len(places)) * labels
        failed = fate < rate_at(parts.failed, at)
        escalated = ~failed & (fate < rate_at(parts.failed + parts.escalated, at))
        wrong = fate < labels * rate_at(parts.wrong_labels, at)
        return cls(
            labels=Labels(first, n, places[wrong]),
            when=when,
            wrong=places[wrong & ~failed & ~escalated],
            escalated=places[escalated],
            failed=places[failed],
        )

    def kinds(self) -> tuple[Minutes, Minutes, Minutes, Minutes]:
        """How many right, wrong, escalated and failed ones each minute has."""
        wrong, escalated, failed = (
            self.by_minute(those) for those in (self.wrong, self.escalated, self.failed)
        )
        return self.labels.n - wrong - escalated - failed, wrong, escalated, failed

    def by_minute(self, those: Places, weights: NDArray[np.int64] | None = None) -> Minutes:
        amounts = None if weights is None else weights[those]
        found = np.bincount(self.when[those], amounts, len(self.labels.n))
        return found.astype(np.int64, copy=False)

    def flags(self, those: Places) -> NDArray[np.bool_]:
        there = np.zeros(len(self.when), dtype=np.bool_)
        there[those] = True
        return there


def hits(random: np.random.Generator, n: int, chance: float) -> Places:
    """Which of so many are hit, each with that chance: by the gaps between those that are."""
    found = [np.full(1, -1)]
    while chance and found[-1][-1] < n - 1:
        left = chance * (n - 1 - found[-1][-1])
        gaps = random.geometric(chance, int(left + 4 * left**0.5) + 8)
        found.append(found[-1][-1] + np.minimum(gaps, n + 1).cumsum())
    places: Places = np.concatenate(found)
    return places[1 : places.searchsorted(n)]


# Late


def _late(
    units: Arriving, how: Answering, late: Late, line: Queue, kinds: Kinds, counts: Table
) -> Answered:
    """Each label with its delay, all grades of a unit with the same: those that come in time are counted as graded, and
    those that ever come are told.
    """
    random, first = units.random, units.first
    right, at_once = (
        ~line.flags(line.labels.wrong),
        line.flags(np.concatenate([line.escalated, line.failed])),
    )
    graded, others = _requests_of_each(random, at_once, how)
    delays = late.lateness.delays_min(random, len(right))
    delays[at_once] = 0
    ever = delays <= late.horizon_min
    minutes = line.when + first
    judged = Judged(minutes=minutes, right=right, escalated=at_once, known=minutes + delays)
    come = Come(judged.only(ever), graded[ever])
    in_time = ever & (delays <= late.delay_min)
    soon, soon_right = in_time.nonzero()[0], (in_time & right).nonzero()[0]
    counts[how.columns.graded] = line.by_minute(soon)
    counts[RIGHT_U] = MICRO * line.by_minute(soon_right)
    if how.graded.mean > 1:
        requests = graded + others
        escalated, failed = (
            line.by_minute(those, requests) for those in (line.escalated, line.failed)
        )
        ordinary = line.by_minute((~at_once).nonzero()[0], requests)
        rest = _requests(random, replace(kinds, ordinary=0, escalated=0, failed=0), how)
        every = replace(rest, ordinary=ordinary, escalated=escalated, failed=failed)
        every.count(counts, REQUESTS, REQUESTS_ESCALATED, REQUESTS_FAILED, REQUESTS_GRADED)
        counts[REQUESTS_GRADED] = line.by_minute(soon, graded)
    if how.columns.requests_right_u is not None:
        counts[how.columns.requests_right_u] = MICRO * line.by_minute(soon_right, graded)
    if units.people is not None:
        by_people = units.people.grade(come.judged, units.rates, first)
        by_people.count(counts, first, late.delay_min)
        come = replace(come, by_people=by_people)
    return Answered(come=come)


def _requests_of_each(
    random: np.random.Generator, at_once: NDArray[np.bool_], how: Answering
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of units that have a grade: how many of the requests of each are graded, and how many are not. `at_once`: which
    escalated or failed.
    """
    if how.graded.mean <= 1:
        return np.ones(len(at_once), dtype=np.int64), np.zeros(len(at_once), dtype=np.int64)
    more, left = (
        np.where(at_once, of_wrong, of_others)
        for of_wrong, of_others in (
            (how.counted.more, how.graded.more),
            (how.counted.left, how.graded.left),
        )
    )
    graded = random.geometric(1 / (1 + more))
    others = np.zeros_like(graded)
    if left.any():
        others = random.negative_binomial(graded + 1, 1 / (1 + left))
    return graded, others
