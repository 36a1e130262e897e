"""What was measured (`Reading`) and what was concluded from it (`Verdict`).

A reading is complete in itself: counts, windows, log e-values and thresholds, so that `judge` can be re-run on it
years later. Windows are judged at every minute; a reading keeps the last look and the worst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from controller.rollout.metrics import MICRO
from controller.rollout.timeline import Window


class Outcome(StrEnum):
    """The verdict of one rule on one intent; never a bool."""

    PASS = "pass"
    FAIL = "fail"
    INSUFFICIENT = "insufficient"  # too little evidence
    UNMEASURED = "unmeasured"  # no data, stale, source failed
    NOT_APPLICABLE = "not_applicable"  # no control at this share


class Availability(StrEnum):
    """Whether there is anything to judge."""

    MEASURED = "measured"
    NO_TRAFFIC = "no_traffic"  # the candidate had none: nobody's fault
    NOT_DUE = "not_due"  # the arms have traffic, but it is too young to have labels
    NO_DATA = "no_data"  # the candidate had traffic, but nothing was measured
    NO_CONTROL = "no_control"  # no concurrent baseline to compare with
    MISMATCHED = "mismatched"  # the arms' sizes contradict the split: comparisons mean nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCounts:
    """`count` of `of` had the flag; requests for the observed form, episodes for the confident one."""

    count: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumCounts:
    """Graded episodes of one intent under one split version: a stratum. Grades are summed in millionths."""

    version: int
    intent: str
    baseline_n: int
    baseline_correct_u: int
    candidate_n: int
    candidate_correct_u: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCounts:
    strata: tuple[StratumCounts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """Pairs by who was right.

    `graded` are those with a grade between 0 and 1, by baseline minus candidate in millionths.
    """

    both: int
    only_baseline: int
    only_candidate: int
    neither: int
    graded: Mapping[str, int] = field(default_factory=dict)

    @property
    def plain(self) -> int:
        """How many were graded right or wrong by both arms."""
        return self.both + self.only_baseline + self.only_candidate + self.neither

    @property
    def total(self) -> int:
        return self.plain + sum(self.graded.values())

    @property
    def loss(self) -> float:
        """Mean of baseline minus candidate. Needs a pair."""
        partly = sum(int(value_u) * count for value_u, count in self.graded.items()) / MICRO
        return (self.only_baseline - self.only_candidate + partly) / self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """A plain figure: the candidate's (or the named arm's) value, and the baseline's where one is compared."""

    candidate: float | None
    baseline: float | None
    candidate_n: int
    baseline_n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmByPeople:
    """Graded episodes of one arm where people grade some beside the judge: `drawn` ones, of which `both` have graded so
    many, and the `others`, which the judge alone graded. Grades, and products of both, are summed in millionths.
    """

    drawn: int
    both: int
    judge_u: int  # of those that both have graded, as the next two
    person_u: int
    product_u: int
    others: int
    others_u: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoweredStratum:
    version: int
    intent: str
    baseline: ArmByPeople
    candidate: ArmByPeople


@dataclass(frozen=True, slots=True, kw_only=True)
class PoweredCounts:
    """What a prediction-powered loss is made of; `weight` is the judge's."""

    strata: tuple[PoweredStratum, ...]
    weight: float

    @property
    def smaller(self) -> int:
        """Episodes that both have graded, of the arm with fewer, in strata that have them of both arms."""
        usable = [one for one in self.strata if one.baseline.both and one.candidate.both]
        return min(
            sum(one.baseline.both for one in usable), sum(one.candidate.both for one in usable)
        )


Counts = RateCounts | LossCounts | PairCounts | Amounts | PoweredCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One window, measured. `value` is None where it has none (no samples); in the rule's unit otherwise."""

    window: Window
    value: float | None
    counts: Counts
    samples: int  # of the arm that has fewer
    complete: bool  # every minute of the window was verified in force, within the epoch
    usual: float | None = (
        None  # of a spike: the metric before the window; None where it is not known
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The e-process with the largest margin over its threshold: log E, and what it must reach.

    `tally` is all that log E is computed from: how often each value was seen in the window, by value in millionths
    (episodes of a rate, and requests within or above a percentile's limit: 0 or 1000000; blocks and pairs of a loss:
    baseline minus candidate; answers of an accuracy, right, wrong, and at most one in between that makes up the sum of
    the grades: it is bet on as that part of a right one and the rest of a wrong one). `look` is the figure beside it:
    for a rate or an accuracy the same window in episodes, for a percentile the share of its requests above the limit,
    for a loss the rule's whole window up to the same end.

    A percentile ratio is judged minute by minute, so its tally is a summary (`comparison.TOLD`): the product is that of
    the stored minutes of `window`. Its `claim` is the baseline's frozen percentile in seconds (the last in force in the
    window), and the figure beside it by how much the share of requests above the limit is larger than it would be on
    the baseline.

    A cost per correct answer is judged minute by minute too, and its tally is a summary (`spending.TOLD`): a failing
    proof counts of each request what it cost up to a cap, 0 where that is not known, a passing one as much as it can
    have cost. The figure beside it is of that.

    A loss by people's grades is judged hour by hour, and its tally is a summary too (`powered.TOLD`); the figure beside
    it is the prediction-powered loss over the rule's whole window.
    """

    window: Window
    claim: float  # what a failing one disproves: "the mean is at most `claim`"; a passing one: "it is at least that"
    log_e: float
    log_threshold: float
    tally: Mapping[str, int]
    look: Look

    @property
    def reached(self) -> bool:
        return self.log_e >= self.log_threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Episodes that are old enough to have a grade, and how many have one, by arm.

    Where `sampled_u` millionths of the answers are to be graded, and not all, these are answers.

    `differs` if the 99.9% Newcombe interval of the difference lies wholly beyond ±2 points, or hundredths of the
    sampled part: labels are then missing for a reason that has to do with the arm, and a comparison of the labelled
    ones means little.
    """

    baseline_graded: int
    baseline_n: int
    candidate_graded: int
    candidate_n: int
    differs: bool
    sampled_u: int = MICRO
    by_people: bool = False  # of drawn episodes, how many people have graded; `differs` also where that is not all


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The proof that a limit is kept, with every missing label against it: blocks of value 1 in its tally."""

    coverage: Coverage
    proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one rule saw on one intent (None: all traffic), in one epoch, up to one minute."""

    rule: str
    intent: str | None
    epoch: int
    availability: Availability
    latest: Look | None = None
    worst: Look | None = None  # the complete window, with enough samples, furthest past the limit
    failing: Proof | None = None
    passing: Proof | None = None
    worst_case: WorstCase | None = (
        None  # where the arms' label coverage differs, or is more than was planned; or people left answers ungraded
    )
    by_people: Look | None = (
        None  # where people grade beside a judge: the loss by their grades, over the last window
    )
    step_samples: int = 0  # the arm with fewer, since the step began
    blind: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The conclusion, by the plan's evidence mode and by both modes on their own."""

    rule: str
    intent: str | None
    outcome: Outcome
    observed: Outcome
    confident: Outcome
    reading: Reading


class InForce(StrEnum):
    """What the targets say of the committed split."""

    VERIFIED = "verified"  # every replica has acknowledged it and its lease runs
    UNVERIFIED = "unverified"  # not yet acknowledged by all
    EXPIRED = "expired"  # the lease ran out: `on_expiry` was done


class Health(StrEnum):
    ANSWERING = "answering"
    FAILING = "failing"
    UNKNOWN = "unknown"  # no recent request


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """Units newly assigned in the current step against the share; e-value of `the split is as planned`."""

    candidate: int
    baseline: int
    share_bp: int
    log_e: float
    log_threshold: float

    @property
    def mismatched(self) -> bool:
        return self.log_e >= self.log_threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that `decide` may know of the world at one tick."""

    through: datetime  # every window that ends by then has been judged
    readings: tuple[Reading, ...] = ()
    in_force: InForce = InForce.UNVERIFIED
    expired_at: datetime | None = None
    expired_fence: int = (
        0  # the leader's that had granted it; moments of different leaders are not comparable
    )
    held: timedelta = timedelta(0)  # verified in force since the hold's clock last started
    sample_ratio: SampleRatio | None = None
    baseline: Health = Health.UNKNOWN
    freeze: str | None = None  # the reason of the freeze in force
    samples: int = 0  # candidate requests since the step began
    coverage: Coverage | None = None  # of the current step
    # Buckets of the baseline's percentiles over the last window, by metric and intent, where one may be frozen.
    references: Mapping[str, int] = field(default_factory=dict)
