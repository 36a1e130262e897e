"""What is found of a plan on its traffic: by rule and step what is counted, stopped and caught, and what is proven."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeAlias

from controller.rollout.evidence import proofs
from controller.rollout.evidence.proofs import RATE_ALTERNATIVE
from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import Kind
from controller.rollout.plan import Rule
from controller.rollout.timeline import MINUTE
from controller.simulate.feasibility.written import Stopped, WrittenCatch

LEAST_RATE: Final = 0.01
"""What a rule is asked for whose limit is nothing, or everything."""
Spans: TypeAlias = tuple[timedelta | None, timedelta | None]
"""In the median, and in 90%."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How long a candidate that is `size` bad (in the metric's unit) goes on before a rule fails.

    By proof: `needed` are observations and `after` spans from its first answer on, in the median and in 90%, `mean` is
    the mean span; None where one window is not enough for that. `probability` is that one window is enough, or the
    shadow pairs, if they fall in one; None where there is no proof. Where people grade beside a judge, all of that is
    of the proof that is there first, `by_people` or by the judge's grades. `written` is the same of the rule as written
    (the judge's grades), None where it fails by proof alone. `bad_a_minute` are bad answers that it serves on what is
    judged.
    """

    size: float
    needed: tuple[float | None, float | None] = (None, None)
    after: Spans = (None, None)
    mean: timedelta | None = None
    probability: float | None = None
    by_people: bool = False
    written: WrittenCatch | None = None
    bad_a_minute: float | None = None

    @property
    def sooner(self) -> Spans:
        """By proof or as written, whichever is there first."""
        if self.written is None:
            return self.after
        median, sure = (
            min((one for one in two if one is not None), default=None)
            for two in zip(self.after, self.written.after, strict=True)
        )
        return median, sure

    @property
    def is_written_sooner(self) -> bool:
        """Whether the rule as written is there first, in the median."""
        written = None if self.written is None else self.written.after[0]
        return written is not None and (self.after[0] is None or written < self.after[0])

    @property
    def bad_served(self) -> float | None:
        """Until it is caught, in the mean; None where it mostly is not, or its answers are not bad to a client."""
        means = [self.mean, self.written.mean if self.written is not None else None]
        known = [one for one in means if one is not None]
        if not known or self.bad_a_minute is None:
            return None
        return self.bad_a_minute * (min(known) / MINUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rule on one intent at one step. Samples are expected in one window; None for an arm that it does not need.

    `episodes` are what its proof counts of the candidate, None without one. `figure` is what a healthy candidate shows.
    `by_proof` is in how many rollouts at most a proof stops a healthy one, or, where it `is_past` the limit, in how
    many; `stopped` how often it fails in this step as written, None where it fails by proof alone. `lacking` says what
    would have to be known for what is None.
    """

    step: int
    rule: Rule
    intent: str | None
    candidate: float | None
    baseline: float | None
    episodes: float | None
    figure: float | None
    by_proof: float | None
    is_past: bool
    stopped: Stopped | None
    catches: tuple[Catch, ...]
    lacking: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proving:
    """The proof that a candidate as good as the baseline keeps the limit, by the end of a step: of a loss on one
    critical intent, or of a cost per correct answer (`intent` None: on all).

    `within` is how long the step may take: its deadline, or its hold; `have` are the blocks that are there by then, of
    all steps so far. `needed` are blocks and `after` spans since the step began, in the median and in 90%, if the step
    goes on for as long as it takes; None: never. `pairs` is how many shadow pairs would prove it on their own in 90%.
    Where it is proven `by_people`, what they grade of the arm with fewer stands for blocks, and pairs prove nothing;
    of a cost, graded requests do.
    """

    step: int
    rule: Rule
    intent: str | None
    asked: bool  # whether leaving the step asks for it
    within: timedelta
    have: float
    probability: float
    needed: tuple[float | None, float | None]
    after: tuple[timedelta | None, timedelta | None]
    pairs: float | None
    by_people: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Feasibility:
    """A plan on its traffic, rules and proofs by step. `apparent_loss`: what labels make of a candidate without any.

    `runs` and `seed` are those of the draws behind what rules as written do.
    """

    rows: tuple[Row, ...]
    provings: tuple[Proving, ...]
    apparent_loss: float
    runs: int
    seed: int


def worth_catching(rule: Rule) -> float:
    """The regression that a rule is asked for where none is stated: a share at its `alternative`, by default 1.5 times
    the limit, or, below one, half as far from it as what is wrong may be; a loss of the limit and the effect worth
    catching, by default twice the limit; of anything else 1.5 times the limit, or a limit of 1.5 times it.
    """
    kind = rule.metric.kind
    if kind is Kind.LOSS and rule.usual is None:
        return min(rule.limit + (rule.alternative or rule.limit), 1.0)
    if rule.usual is None and kind in (Kind.RATE, Kind.ACCURACY):
        found = proofs.worth_catching(rule)
        # A limit at the end of the scale is passed by anything.
        return found if found != rule.limit else abs(rule.limit - LEAST_RATE)
    if rule.below:
        return rule.limit / RATE_ALTERNATIVE
    most = 1.0 if kind in (Kind.COVERAGE, Kind.SAMPLE_RATIO) and rule.usual is None else math.inf
    return min(RATE_ALTERNATIVE * rule.limit, most)


def worse_than(rule: Rule, usual: float | None) -> float:
    """The same, but of a figure that is usual and no better than that as much worse than what is usual."""
    found = worth_catching(rule)
    if usual is None or rule.usual is not None or rule.metric.kind is Kind.LOSS:
        return found
    if (usual < found) is not rule.below and usual != found:
        return found
    return worth_catching(replace(rule, limit=usual, alternative=None))


def is_reckoned(rule: Rule) -> bool:
    """Whether a scenario can be about it: a share of answers or a loss that can be proven."""
    others = (Kind.QUANTILE, Kind.QUANTILE_RATIO, Kind.COST)
    return is_provable(rule) and rule.metric.kind not in others
