"""What a plan can decide on its traffic, as it is told: samples, regressions caught, proofs to come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from controller.rollout.plan import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How long a candidate that is `size` bad (a rate, or a loss) goes on before a rule fails by proof.

    `needed` are observations and `after` spans from its first answer on, in the median and in 90%; None where one
    window is not enough for that. `probability` is that one window is enough, or the shadow pairs, if they fall in
    one. `wrong_served` are the wrong answers it serves meanwhile on what is judged, in the mean; None with `after`.
    """

    size: float
    needed: tuple[float | None, float | None]
    after: tuple[timedelta | None, timedelta | None]
    probability: float
    wrong_served: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rule on one intent at one step. Samples are expected in one window; None for an arm that it does not need."""

    step: int
    rule: Rule
    intent: str | None
    candidate: float | None
    baseline: float | None
    catches: tuple[Catch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proving:
    """The proof on one critical intent that a candidate as good as the baseline keeps the limit, by the end of a step.

    `within` is how long the step may take: its deadline, or its hold; `have` are the blocks that are there by then, of
    all steps so far. `needed` are blocks and `after` spans since the step began, in the median and in 90%, if the step
    goes on for as long as it takes; None: never. `pairs` is how many shadow pairs would prove it on their own in 90%.
    Where it is proven `by_people`, what they grade of the arm with fewer stands for blocks, and pairs prove nothing.
    """

    step: int
    rule: Rule
    intent: str
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
    """A plan on its traffic, rules and proofs by step. `apparent_loss`: what labels make of a candidate without any."""

    rows: tuple[Row, ...]
    provings: tuple[Proving, ...]
    apparent_loss: float
