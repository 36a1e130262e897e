"""What a simulated candidate does: rates over time, the mix of intents over steps, who grades and when.

Everything else stays as the `Traffic` says. How scenarios are written is in `scenario_words`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.errors import DataError
from controller.plans.nearest import did_you_mean
from controller.rollout.plan import Arm, Plan
from controller.rollout.timeline import MINUTE
from controller.rollout.units import format_percent
from controller.simulate.lateness import Lateness

Rate: TypeAlias = float | NDArray[np.float64]
"""The same in every minute, or one for each."""

DAY_MIN: Final = 1_440
FEWEST, MOST = 0.5, 1.5  # of its usual part has a harder intent at the first and at the last step


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What both arms get, and how they answer while nothing is wrong. Rates and shares are fractions.

    `accuracy` is each arm's share of right answers in all; an escalated or failed answer is a wrong one. Only the
    candidate escalates. `label_rate` is the share of the other answers that are graded; how much of what is wrong
    without a grade counts, the plan says (`labels.sampled`). `requests_per_unit` is a mean.
    """

    units_per_minute: float
    mix: Mapping[str, float]  # by intent; adds up to 1
    accuracy: float = 0.95
    escalation: float = 0.015
    label_rate: float = 1.0
    requests_per_unit: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who grades the answers of both arms; what failed or escalated is wrong without a grade of its own."""

    sensitivity: float = 1.0  # P(graded right | right)
    specificity: float = 1.0  # P(graded wrong | wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a candidate: a fraction of its answers, or how many times as much of something they take. It
    begins `since` after the start.
    """

    size: float
    since: timedelta = timedelta(0)
    over: timedelta = timedelta(0)  # how long it takes to grow to its size

    def at(self, minutes: NDArray[np.int64], before: Rate = 0.0) -> Rate:
        """How much of it there is, in each of some minutes since the start; `before` it begins."""
        since = self.since // MINUTE
        if self.over:
            passed = (minutes - since) / (self.over / MINUTE)
            grown: Rate = self.size * np.clip(passed, 0.0, 1.0)
            return grown
        there = minutes >= since
        if there.all():
            return self.size
        return np.where(there, self.size, before) if there.any() else before


def rate_at(rate: Rate, when: NDArray[np.int64]) -> Rate:
    """The rate of each of some answers, by their minutes."""
    return rate[when] if isinstance(rate, np.ndarray) and rate.ndim else rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A candidate, of which several things may be said at once. `text` is how it is written."""

    text: str
    loss: Fault | None = None
    escalation: Fault | None = None  # instead of the usual rate
    error: Fault | None = None
    slow: Fault | None = None  # times as long as usual
    cost: Fault | None = None  # times as much as usual
    swing: float = 0.0  # of the escalation rate over a day, as a part of its mean
    shift: float = 0.0  # how much less accurate both arms are on the harder half of the intents
    judge: Judge | None = None  # None: as `grader` says
    favours: float = 0.0  # the part of the candidate's answers, wrong ones, that its judge calls right beside others
    lateness: Lateness | None = None  # None: no label comes later than the plan's delay

    @property
    def faults(self) -> tuple[Fault, ...]:
        said = (self.loss, self.escalation, self.error, self.slow, self.cost)
        return tuple(one for one in said if one is not None)

    @property
    def since(self) -> timedelta | None:
        """When the first thing goes wrong; None: nothing does."""
        return min((one.since for one in self.faults), default=None)

    @property
    def is_steady(self) -> bool:
        """Whether answers are the same at all times."""
        faults = (self.loss, self.escalation, self.error)
        return not self.swing and not any(one and (one.since or one.over) for one in faults)

    @property
    def since_min(self) -> int:
        return (self.since or timedelta(0)) // MINUTE


HEALTHY: Final = Scenario(text="healthy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Of one arm's answers to one intent; each includes those before it: failed, escalated, wrong.

    `graded_wrong` is what grades call wrong, failed and escalated ones included; `missed` is what they call right and
    is wrong.
    """

    failed: Rate
    escalated: Rate
    wrong: Rate
    graded_wrong: Rate
    missed: Rate


def rates(
    plan: Plan,
    traffic: Traffic,
    scenario: Scenario,
    *,
    arm: Arm,
    intent: str,
    minutes: NDArray[np.int64],
) -> Rates:
    """In each of some minutes since the start."""
    wrong: Rate = 1 - traffic.accuracy + (scenario.shift if intent in harder(plan) else 0.0)
    if arm is Arm.BASELINE:
        return _graded(grader(plan, scenario), failed=0.0, escalated=0.0, wrong=min(wrong, 1.0))
    failed = scenario.error.at(minutes) if scenario.error else 0.0
    usual: Rate = traffic.escalation
    if scenario.escalation is not None:
        usual = scenario.escalation.at(minutes, usual)
    if scenario.swing:
        usual = usual * (1 + scenario.swing * np.sin(minutes * (2 * math.pi / DAY_MIN)))
    escalated = np.minimum(failed + usual, 1.0)
    if scenario.loss is not None and intent in losing(plan):
        wrong = wrong + scenario.loss.at(minutes)
    wrong = np.minimum(np.maximum(wrong, escalated), 1.0)
    judge, favours = grader(plan, scenario), scenario.favours
    return _graded(judge, failed=failed, escalated=escalated, wrong=wrong, favours=favours)


def grader(plan: Plan, scenario: Scenario) -> Judge | None:
    """Who grades both arms: whom the scenario says, else the plan's judge. None: grades are as the answers are."""
    if scenario.judge is not None:
        return scenario.judge
    stated = plan.labels.judge
    if stated is not None:
        return Judge(sensitivity=stated.sensitivity, specificity=stated.specificity)
    return Judge() if scenario.favours else None


def _graded(
    judge: Judge | None, *, failed: Rate, escalated: Rate, wrong: Rate, favours: float = 0.0
) -> Rates:
    if judge is None:
        return Rates(
            failed=failed, escalated=escalated, wrong=wrong, graded_wrong=wrong, missed=0.0
        )
    found: Rate = judge.specificity * (wrong - escalated)
    if favours:
        found = np.maximum(found - favours, 0.0)
    graded_wrong = escalated + found + (1 - judge.sensitivity) * (1 - wrong)
    missed = wrong - escalated - found
    return Rates(
        failed=failed, escalated=escalated, wrong=wrong, graded_wrong=graded_wrong, missed=missed
    )


def mix(plan: Plan, traffic: Traffic, scenario: Scenario, step: int) -> Mapping[str, float]:
    """Each intent's part of the units at a step (-1 before the first)."""
    if not scenario.shift:
        return traffic.mix
    last = max(len(plan.steps) - 1, 1)
    factor = FEWEST + (MOST - FEWEST) * max(step, 0) / last
    hard = harder(plan)
    shifted = {name: part * (factor if name in hard else 1.0) for name, part in traffic.mix.items()}
    total = sum(shifted.values())
    return {name: part / total for name, part in shifted.items()}


def losing(plan: Plan) -> frozenset[str]:
    """The intents that a loss is on: the critical ones, or all if none is."""
    critical = frozenset(one.name for one in plan.intents if one.critical)
    return critical or frozenset(one.name for one in plan.intents)


def harder(plan: Plan) -> frozenset[str]:
    """The second half of the intents that the candidate gets."""
    free = [one.name for one in plan.intents if not one.pinned]
    return frozenset(free[(len(free) + 1) // 2 :])


def kind_of(plan: Plan, intent: str) -> tuple[bool, bool]:
    """What the rates of an intent depend on: intents of one kind have the same."""
    return intent in losing(plan), intent in harder(plan)


def intent_mix(plan: Plan, given: Mapping[str, float]) -> Mapping[str, float]:
    """Parts of the units by intent: those given, the rest in equal parts. DataError where that cannot be."""
    known = [intent.name for intent in plan.intents]
    for name in given:
        if name not in known:
            raise DataError(
                f"--intent-share {name}: the plan has no such intent{did_you_mean(name, known)}."
            )
    rest = [name for name in known if name not in given]
    left = 1 - math.fsum(given.values())
    if left < -1e-9 or (not rest and abs(left) > 1e-9):
        wanted = "100%" if not rest else "at most 100%"
        raise DataError(
            f"--intent-share: the parts add up to {format_percent(round(1 - left, 9))}; wanted {wanted}."
        )
    return {name: given.get(name, max(left, 0.0) / max(len(rest), 1)) for name in known}
