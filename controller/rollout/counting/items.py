"""What counting keeps of a request, an episode, a label and a block, and the integer arithmetic of grades.

Grades are in millionths and moments in microseconds since 1970-01-01T00:00Z, so that sums are exact and counts are
conserved by equality, never by tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from controller.rollout.counting.sampling import is_sampled
from controller.rollout.metrics import MICRO
from controller.rollout.timeline import EPOCH

IDLE = timedelta(minutes=30)
"""A unit that is silent for this long is a new one when it comes back; it is heard until the end of these minutes:"""
HEARD = timedelta(minutes=5)
LONGEST = timedelta(hours=24)
"""No unit lives longer than this."""
MINUTE_US = 60_000_000

_MICROSECOND = timedelta(microseconds=1)
IDLE_US = IDLE // _MICROSECOND
HEARD_US = HEARD // _MICROSECOND
LONGEST_US = LONGEST // _MICROSECOND


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return (moment - EPOCH) // _MICROSECOND


def moment_of(at: int) -> datetime:
    """The aware UTC moment of `micros`."""
    return EPOCH + timedelta(microseconds=at)


def heard_until(at: int) -> int:
    """Until when a unit counts as heard that has a request at this moment: the end of its five minutes.

    Most requests of a conversation fall into the minutes of the one before, and then leave its episode as it is.
    """
    return at - at % HEARD_US + HEARD_US


def rounded(numerator: int, denominator: int) -> int:
    """numerator / denominator to the nearest int, halves to even, so that rounding favours neither arm."""
    whole, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and whole % 2):
        return whole + 1
    return whole


@dataclass(slots=True)
class Request:
    """An observation as it is counted: what was sent, and what outcomes have added to it.

    A flag that is true stays true. Grades are kept as counts and sums by the answer that they are about, so the order
    in which outcomes come does not matter. `episode` is the start of its episode; None outside the comparison.
    `quantities`, in the order of `QUANTITIES` and None where one is not known, are counted when it comes and never
    again, so a stored request may come without them. Flags may be shared: they are replaced, not changed. `sampled_u`
    is its rollout's; it is not stored with it.
    """

    id: str
    rollout: str
    at: int
    unit: str
    arm: str
    intent: str
    version: int
    cohort: str
    assigned: bool
    endpoint: str
    episode: int | None = None
    attempt_n: int = 0
    attempt_u: int = 0
    served_n: int = 0
    served_u: int = 0
    flags: Mapping[str, bool] = field(default_factory=dict)
    quantities: tuple[int | None, ...] = ()
    sampled_u: int = MICRO

    def grade_u(self) -> int | None:
        """The assigned arm's own answer, in millionths: the mean of the grades that are about it.

        A served answer is the arm's own unless it was escalated. An escalated or failed answer that no outcome
        grades is wrong; any other is ungraded.

        Where a sample of answers is graded, an escalated or failed answer counts only within `is_sampled`, graded or
        not. Let v be the grade of an ordinary answer, and of an escalated or failed one its grade or, without any, 0.
        If graders pick ordinary answers with probability `sampled` independently of v, every answer counts with that
        probability, and the mean of those that count estimates the mean of v over all answers: a ratio of unbiased
        sums. Which escalated or failed ones they pick does not matter. Would one that they grade count outside the
        sample too, it would count with probability 2 × sampled − sampled², the more often for being escalated
        (docs/adr/019).
        """
        wrong_unless_graded = bool(self.flags.get("escalated") or self.flags.get("error"))
        if wrong_unless_graded and not self._is_sampled():
            return None
        n, total = self.attempt_n, self.attempt_u
        if not self.flags.get("escalated"):
            n, total = n + self.served_n, total + self.served_u
        if n:
            return total if n == 1 else rounded(total, n)
        return 0 if wrong_unless_graded else None

    def _is_sampled(self) -> bool:
        return self.sampled_u >= MICRO or is_sampled(self.rollout, self.id, self.sampled_u)


@dataclass(slots=True)
class Episode:
    """One unit on one arm in one intent and split version, from its first ingested request on.

    Named by that request. Its start is its anchor and never moves; its grade is the mean of its graded requests'.
    `heard` is `heard_until` of its last request.
    """

    id: str
    rollout: str
    unit: str
    arm: str
    intent: str
    version: int
    endpoint: str
    start: int
    heard: int
    graded: int = 0
    grades_u: int = 0
    flags: Mapping[str, bool] = field(default_factory=dict)

    def admits(self, at: int) -> bool:
        """Whether a request at this moment is part of it: not after 30 min idle, nor 24 h after its start."""
        near = self.start - IDLE_US < at < self.heard + IDLE_US
        return near and at < self.start + LONGEST_US

    def grade_u(self) -> int | None:
        """In millionths; None while no request of it is graded."""
        if self.graded > 1:
            return rounded(self.grades_u, self.graded)
        return self.grades_u if self.graded else None


@dataclass(slots=True)
class Label:
    """A graded episode, in line for a block or in one. Its place in line is its episode's start."""

    id: str  # the episode's
    rollout: str
    version: int
    intent: str
    arm: str
    start: int
    grade_u: int
    block: str | None = None


@dataclass(slots=True)
class Block:
    """A closed accuracy block: baseline mean − candidate mean in millionths, at its latest member's minute.

    Named by the label that stands alone on its arm.
    """

    id: str
    rollout: str
    version: int
    intent: str
    minute: int
    value_u: int


class Fate(StrEnum):
    """What became of an outcome."""

    COUNTED = "counted"
    WAITING = "waiting"  # its observation has not come yet
    TOO_LATE = "too_late"  # beyond labels.horizon
    EXPIRED = "expired"  # waited longer than any horizon: its observation never came


@dataclass(slots=True)
class KeptOutcome:
    """An outcome as it is kept: remembered by id, whatever became of it. `rollout` is known once it is matched."""

    id: str
    observation: str
    at: int
    received: int
    correct_u: int | None
    grades: str
    flags: Mapping[str, bool]
    source: str
    fate: Fate = Fate.WAITING
    rollout: str | None = None
