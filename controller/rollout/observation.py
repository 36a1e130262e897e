"""What comes in: one request answered (observation), what is learnt about it later (outcome), and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.rollout.plan import Arm

QUANTITIES = (
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_nusd",
    "latency_us",
    "ttft_us",
)


class Cohort(StrEnum):
    """Whether a request takes part in the comparison of the arms."""

    COMPARED = "compared"
    OUTSIDE = "outside"  # pinned, unknown intent, over the candidate's limits: baseline, counted, never compared


class Grades(StrEnum):
    """Which answer an outcome's grade is about."""

    SERVED = "served"  # what the client got; the candidate's own attempt only where it was the one served
    ATTEMPT = "attempt"  # the assigned arm's own answer, served or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One request answered under one arm.

    `version` is the split under which its unit was assigned; `assigned` is True on the unit's first request.
    A quantity that is not known is absent, never 0; a flag that was not checked is absent, never False.
    """

    id: str
    rollout: str
    at: datetime
    unit: str
    arm: Arm
    intent: str
    version: int
    cohort: Cohort = Cohort.COMPARED
    assigned: bool = False
    endpoint: str = "chat.completions"
    flags: Mapping[str, bool] = field(default_factory=dict)
    quantities: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is learnt about an observation, possibly days later. `correct` is in [0, 1]; None says nothing of it.

    `source` is free, but for `PERSON`.
    """

    id: str
    observation: str
    at: datetime
    correct: float | None = None
    grades: Grades = Grades.SERVED
    flags: Mapping[str, bool] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same request answered by both arms (shadow or benchmark), both answers graded.

    Grades are in [0, 1]. Several runs of one prompt are no independent pairs: they are one, graded by each arm's mean.
    """

    id: str
    rollout: str
    at: datetime
    intent: str
    version: int
    baseline_correct: float
    candidate_correct: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is ingested together, in one transaction."""

    observations: tuple[Observation, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """How a batch was received. Everything sent is in exactly one of these."""

    accepted: int = 0
    duplicate: int = 0
    waiting: int = 0  # outcomes whose observation has not come yet
    too_late: int = 0  # outcomes beyond labels.horizon; anything earlier than what is kept
    unknown: int = 0  # for a rollout that does not exist
    touched: tuple[str, ...] = ()  # rollouts whose windows must be judged again


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupRow:
    """Sufficient statistics of one minute; keys as in `controller.rollout.metrics`.

    `arm` is `both` for blocks and pairs. `seq` is the rollout's ingest sequence at the row's last change.
    """

    rollout: str
    minute: int
    version: int
    arm: str
    intent: str
    endpoint: str
    cohort: Cohort
    seq: int
    stats: Mapping[str, int]


PERSON = "person"
"""The source of an outcome whose grade a person gave. Where people grade beside a judge, all others are the judge's."""
BOTH_ARMS = "both"
MATCHED = "matched"  # what is remembered of the two arms side by side, in an arm's place
