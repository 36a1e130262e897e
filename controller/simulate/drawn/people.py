"""People's grades of simulated answers beside a judge's: of units that are drawn, and by what is true of each.

Who judges them says so as without people, by the same random numbers; what is true of an answer, given that, is drawn
for the few that people look at, by numbers of their own. So a plan meets the same answers and the same judge, whoever
grades beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.metrics import MICRO
from controller.simulate.drawn.dense import (
    BOTH,
    BOTH_JUDGE_U,
    BOTH_PERSON_U,
    DRAWN,
    DRAWN_JUDGE_U,
    PRODUCT_U,
)
from controller.simulate.lateness import NEVER_MIN, Lateness
from controller.simulate.scenarios import Rate, Rates, rate_at

Flags = NDArray[np.bool_]
Change: TypeAlias = tuple[Minutes, Minutes, Mapping[int, NDArray[np.int64]]]
"""Of some answers their minutes, when something of each comes to be known, and what that adds to columns."""

Number: TypeAlias = NDArray[np.int64] | int
"""How many, in each minute; 0 for none in any."""

SALT: Final = 1
"""Of the numbers that are drawn for them, beside those of the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Answers of one arm to one intent that are graded without people, and the minutes in which the grades come."""

    minutes: Minutes
    right: Flags
    escalated: Flags  # or failed, and so wrong without a grade
    known: Minutes

    def only(self, those: Flags) -> Judged:
        return Judged(
            minutes=self.minutes[those],
            right=self.right[those],
            escalated=self.escalated[those],
            known=self.known[those],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ByPeople:
    """Answers of drawn units: what the judge and a person say of each, and when what the judge says, and what both do,
    comes to be known; from `NEVER_MIN` on: never.
    """

    minutes: Minutes
    judge: Flags
    person: Flags
    known: Minutes
    both: Minutes

    def changes(self) -> Iterator[Change]:
        judge_u, person_u = MICRO * self.judge, MICRO * self.person
        each = np.ones_like(self.minutes)
        yield self.minutes, self.known, {DRAWN: each, DRAWN_JUDGE_U: judge_u}
        of_both = {
            BOTH: each,
            BOTH_JUDGE_U: judge_u,
            BOTH_PERSON_U: person_u,
            PRODUCT_U: judge_u * self.person,
        }
        there = self.both < NEVER_MIN
        added = {column: amounts[there] for column, amounts in of_both.items()}
        yield self.minutes[there], self.both[there], added

    def count(self, counts: Table, first: int, within_min: int) -> None:
        """What is known so many minutes after the answer, into a table of zeros: (columns, minutes from `first` on)."""
        for minutes, known, added in self.changes():
            soon = known - minutes <= within_min
            at = minutes[soon] - first
            for column, amounts in added.items():
                found = np.bincount(at, amounts[soon], minlength=counts.shape[1])
                counts[column] = found.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """They grade the answers of a `share` of the units; later than at once where `lateness` says so."""

    share: float
    random: np.random.Generator
    lateness: Lateness | None
    horizon_min: int

    def grade(self, judged: Judged, of: Rates, first: int) -> ByPeople:
        """`of` are the rates of the answers in each minute from `first` on."""
        drawn = judged.only(self.random.random(len(judged.minutes)) < self.share)
        when = drawn.minutes - first
        wrong = self.random.random(len(when)) < np.where(
            drawn.right,
            rate_at(_wrong_if_called_right(of), when),
            rate_at(_wrong_if_called_wrong(of), when),
        )
        return ByPeople(
            minutes=drawn.minutes,
            judge=drawn.right,
            person=~(drawn.escalated | wrong),
            known=drawn.known,
            both=np.maximum(drawn.known, drawn.minutes + self._delays(drawn)),
        )

    def count(
        self, counts: Table, of: Rates, *, right: Number, wrong: Number, escalated: Number
    ) -> None:
        """The same of answers that are told by kind alone, into a table of zeros: in each minute those that the judge
        calls right, those that it calls wrong, and those that are wrong without it. None is late.
        """
        called_right, called_wrong, at_once = (
            self.random.binomial(kind, self.share) for kind in (right, wrong, escalated)
        )
        both_right = self.random.binomial(called_right, 1 - _wrong_if_called_right(of))
        person = both_right + self.random.binomial(called_wrong, 1 - _wrong_if_called_wrong(of))
        counts[DRAWN] = counts[BOTH] = called_right + called_wrong + at_once
        counts[DRAWN_JUDGE_U] = counts[BOTH_JUDGE_U] = MICRO * called_right
        counts[BOTH_PERSON_U], counts[PRODUCT_U] = MICRO * person, MICRO * both_right

    def _delays(self, drawn: Judged) -> Minutes:
        if self.lateness is None:
            return np.zeros_like(drawn.minutes)
        delays = self.lateness.delays_min(self.random, len(drawn.minutes))
        delays[delays > self.horizon_min] = NEVER_MIN
        delays[drawn.escalated] = 0
        return delays


def _wrong_if_called_right(of: Rates) -> Rate:
    """How often an answer that is neither escalated nor failed is wrong, if the judge calls it right."""
    return _part(of.missed, 1 - of.graded_wrong)


def _wrong_if_called_wrong(of: Rates) -> Rate:
    return _part(of.wrong - of.escalated - of.missed, of.graded_wrong - of.escalated)


def _part(of: Rate, whole: Rate) -> Rate:
    """Within 0 and 1, whatever rounding makes of it; 0 where the whole is nothing, for then no answer is there."""
    there = np.asarray(whole) > 0
    part = np.divide(of, whole, out=np.zeros(np.broadcast(of, whole).shape), where=there)
    return part.clip(0.0, 1.0)
