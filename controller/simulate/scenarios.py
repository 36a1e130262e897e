"""What a simulated candidate does, as it is written on the command line: `healthy`, `loss=3pp`, `escalation=5%@24h`.

A scenario changes rates over time and the mix of intents over steps; everything else stays as the `Traffic` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.errors import DataError
from controller.plans.nearest import did_you_mean
from controller.plans.units import UnitError, parse_duration, parse_points, parse_rate
from controller.rollout.plan import Arm, Plan
from controller.rollout.timeline import MINUTE
from controller.rollout.units import format_duration, format_percent, format_points

Rate: TypeAlias = float | NDArray[np.float64]
"""The same in every minute, or one for each."""

DAY_MIN: Final = 1_440
SWING: Final = 0.5
SHIFT: Final = 0.10
SENSITIVITY: Final = 0.9
SPECIFICITY: Final = 0.9
DRIFT, DRIFT_OVER = 0.03, timedelta(days=7)
FEWEST, MOST = 0.5, 1.5  # of its usual part has a harder intent at the first and at the last step


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What both arms get, and how they answer while nothing is wrong. Rates and shares are fractions.

    `accuracy` is each arm's share of right answers in all; an escalated or failed answer is a wrong one. Only the
    candidate escalates. `label_rate` is the share of the other answers that are graded; how much of what is wrong
    without a grade counts, the plan says (`labels.sampled`).
    """

    units_per_minute: float
    mix: Mapping[str, float]  # by intent; adds up to 1
    accuracy: float = 0.95
    escalation: float = 0.015
    label_rate: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who grades the answers of both arms; what failed or escalated is wrong without a grade of its own."""

    sensitivity: float = 1.0  # P(graded right | right)
    specificity: float = 1.0  # P(graded wrong | wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A candidate. `text` is how it was asked for; what is wrong begins `since` after the start."""

    text: str
    loss: float = 0.0
    over: timedelta = timedelta(0)  # how long the loss takes to grow to its size
    escalation: float | None = None
    error: float = 0.0
    since: timedelta | None = None  # None: nothing is wrong with it
    swing: float = 0.0  # of the escalation rate over a day, as a part of its mean
    shift: float = 0.0  # how much less accurate both arms are on the harder half of the intents
    judge: Judge | None = None  # None: grades are as the answers are

    @property
    def since_min(self) -> int:
        return (self.since or timedelta(0)) // MINUTE


HEALTHY: Final = Scenario(text="healthy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Of one arm's answers to one intent; each includes those before it: failed, escalated, wrong.

    `graded_wrong` is what grades call wrong, failed and escalated ones included.
    """

    failed: Rate
    escalated: Rate
    wrong: Rate
    graded_wrong: Rate


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
        wrong = min(wrong, 1.0)
        graded = _graded_wrong(scenario.judge, 0.0, wrong)
        return Rates(failed=0.0, escalated=0.0, wrong=wrong, graded_wrong=graded)
    since = minutes >= scenario.since_min
    failed = _from(since, scenario.error, 0.0)
    usual: Rate = traffic.escalation
    if scenario.swing:
        usual = usual * (1 + scenario.swing * np.sin(minutes * (2 * math.pi / DAY_MIN)))
    if scenario.escalation is not None:
        usual = _from(since, scenario.escalation, usual)
    escalated = np.minimum(failed + usual, 1.0)
    if intent in losing(plan):
        wrong = _from(since, wrong + _loss_at(scenario, minutes), wrong)
    wrong = np.minimum(np.maximum(wrong, escalated), 1.0)
    graded = _graded_wrong(scenario.judge, escalated, wrong)
    return Rates(failed=failed, escalated=escalated, wrong=wrong, graded_wrong=graded)


def _loss_at(scenario: Scenario, minutes: NDArray[np.int64]) -> Rate:
    """How much of the loss there is, in each of some minutes since the start."""
    if not scenario.over:
        return scenario.loss
    passed = (minutes - scenario.since_min) / (scenario.over / MINUTE)
    grown: Rate = scenario.loss * np.clip(passed, 0.0, 1.0)
    return grown


def _graded_wrong(judge: Judge | None, escalated: Rate, wrong: Rate) -> Rate:
    if judge is None:
        return wrong
    found = judge.specificity * (wrong - escalated)
    return escalated + found + (1 - judge.sensitivity) * (1 - wrong)


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


def _from(since: NDArray[np.bool_], then: Rate, before: Rate) -> Rate:
    """One rate before a moment and another from it on; a plain number where it is the same throughout."""
    if since.all():
        return then
    return np.where(since, then, before) if since.any() else before


# Reading


def parse_scenario(text: str, plan: Plan, *, option: str = "--scenario") -> Scenario:
    """A scenario from its words. DataError says which there are, or what its value should have been."""
    name, sign, value = text.partition("=")
    reader = _KINDS.get(name)
    if reader is None:
        raise DataError(f"{option} {text}: no such scenario{did_you_mean(name, _KINDS)}{_known()}")
    try:
        return reader(text, value if sign else None, plan)
    except UnitError as error:
        raise DataError(f"{option} {text}: {error}; wanted {FORMS[name]}.") from error


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


def _known() -> str:
    return ". Known: " + ", ".join(FORMS.values()) + "."


def _healthy(text: str, value: str | None, _plan: Plan) -> Scenario:
    if value is not None:
        raise UnitError("it takes no value")
    return Scenario(text=text)


def _loss(text: str, value: str | None, _plan: Plan) -> Scenario:
    size, since = _at(value)
    loss = float(parse_points(size))
    if not 0 < loss <= 1:
        raise UnitError(f"a loss of {format_points(loss)} is none")
    return Scenario(text=text, loss=loss, since=since)


def _escalation(text: str, value: str | None, _plan: Plan) -> Scenario:
    size, since = _at(value)
    return Scenario(text=text, escalation=float(parse_rate(size)), since=since)


def _error(text: str, value: str | None, _plan: Plan) -> Scenario:
    size, since = _at(value)
    return Scenario(text=text, error=float(parse_rate(size)), since=since)


def _swing(text: str, value: str | None, _plan: Plan) -> Scenario:
    swing = float(parse_rate(value, what="part")) if value is not None else SWING
    return Scenario(text=text, swing=swing)


def _shift(text: str, value: str | None, plan: Plan) -> Scenario:
    if not harder(plan):
        raise UnitError("the plan has no two intents whose mix could shift")
    shift = float(parse_points(value)) if value is not None else SHIFT
    if not 0 < shift < 1:
        raise UnitError(f"a difference of {format_points(shift)} is none")
    return Scenario(text=text, shift=shift)


def _drift(text: str, value: str | None, _plan: Plan) -> Scenario:
    if value is None:
        return Scenario(text=text, loss=DRIFT, over=DRIFT_OVER, since=timedelta(0))
    size, sign, over = value.partition("@")
    loss, span = float(parse_points(size)), parse_duration(over) if sign else DRIFT_OVER
    if not 0 < loss <= 1:
        raise UnitError(f"a loss of {format_points(loss)} is none")
    if not span:
        raise UnitError("what takes no time is no drift")
    return Scenario(text=text, loss=loss, over=span, since=timedelta(0))


def _judge(text: str, value: str | None, _plan: Plan) -> Scenario:
    if value is None:
        return Scenario(text=text, judge=Judge(sensitivity=SENSITIVITY, specificity=SPECIFICITY))
    parts = value.split(",")
    if len(parts) != 2:
        raise UnitError(f"found {len(parts)} of two rates")
    right, wrong = (float(parse_rate(part)) for part in parts)
    if right + wrong <= 1:
        raise UnitError("a judge whose rates add up to no more than 100% tells nothing")
    return Scenario(text=text, judge=Judge(sensitivity=right, specificity=wrong))


def _at(value: str | None) -> tuple[str, timedelta]:
    """A size and when it begins."""
    if value is None:
        raise UnitError("it has no value")
    size, sign, at = value.partition("@")
    return size, parse_duration(at) if sign else timedelta(0)


_KINDS: Final[Mapping[str, Callable[[str, str | None, Plan], Scenario]]] = {
    "healthy": _healthy,
    "loss": _loss,
    "escalation": _escalation,
    "error": _error,
    "daily-swing": _swing,
    "ramp-mix": _shift,
    "drift": _drift,
    "judge-noise": _judge,
}
FORMS: Final[Mapping[str, str]] = {
    "healthy": "healthy",
    "loss": "loss=3pp[@24h]",
    "escalation": "escalation=5%[@24h]",
    "error": "error=2%[@24h]",
    "daily-swing": "daily-swing[=50%]",
    "ramp-mix": "ramp-mix[=10pp]",
    "drift": "drift[=3pp@7d]",
    "judge-noise": "judge-noise[=90%,90%]",
}
"""How each scenario is written."""
REGRESSIONS: Final[Mapping[str, str]] = {
    name: FORMS[name].partition("[")[0] for name in ("loss", "escalation", "error")
}
"""Those in which a candidate is worse, without when it becomes so."""


def about(plan: Plan, scenario: Scenario) -> str:
    """The scenario in a sentence."""
    later = f" from {scenario.text.partition('@')[2]} on" if "@" in scenario.text else ""
    if scenario.loss:
        names = ", ".join(sorted(losing(plan)))
        if scenario.over:
            return (
                f"the candidate is right less and less often on {names}: {format_points(scenario.loss)} less after "
                f"{format_duration(scenario.over)}, and from then on"
            )
        return f"the candidate is right {format_points(scenario.loss)} less often on {names}{later}"
    if scenario.escalation is not None:
        return f"{format_percent(scenario.escalation)} of the candidate's answers escalate{later}"
    if scenario.error:
        return f"{format_percent(scenario.error)} of the candidate's calls fail{later}"
    if scenario.swing:
        return (
            f"escalations swing over the day by {format_percent(scenario.swing)} of their mean, "
            "which stays"
        )
    if scenario.shift:
        names = ", ".join(sorted(harder(plan)))
        return (
            f"both arms are right {format_points(scenario.shift)} less often on {names}, whose part of the units rises "
            "with every step; the candidate loses nothing"
        )
    if scenario.judge is not None:
        right, wrong = scenario.judge.sensitivity, scenario.judge.specificity
        return (
            f"grades of both arms are a judge's: {format_percent(right)} of right answers are graded right, "
            f"{format_percent(wrong)} of wrong ones wrong; the candidate loses nothing"
        )
    return "nothing is wrong with the candidate"
