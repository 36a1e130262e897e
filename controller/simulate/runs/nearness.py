"""How near together looks of a simulation must be: near where what a rollout waits for may come and go between two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from controller.rollout.deciding.advance import requirement
from controller.rollout.decision import Wait, Waiting
from controller.rollout.plan import Advance, Arm, Plan
from controller.rollout.state import Phase, State
from controller.rollout.timeline import minutes
from controller.simulate.expected import Expected
from controller.simulate.scenarios import Scenario, Traffic, mix

FEW_UNITS: Final = 15  # e⁻¹⁵: how often as many as are expected do not come at all
COMES_AND_GOES: Final = frozenset(
    (
        Waiting.BASELINE,
        Waiting.COVERAGE,
        Waiting.RULE_FAILED,
        Waiting.SAMPLE_RATIO,
        Waiting.UNMEASURED,
    )
)


def is_judged_again(plan: Plan, scenario: Scenario) -> bool:
    """Whether labels come late that a rule reads, so that what was judged is judged again."""
    read = any(rule.metric.labelled for rule in plan.rules)
    return scenario.lateness is not None and read


def is_sparse(plan: Plan, traffic: Traffic, scenario: Scenario) -> bool:
    """Whether a rule's whole window may have nothing that it measures of an arm that it needs. What is true of it in
    one minute need not be true in the next, so a look in between may be needed to see it.
    """
    return any(units < FEW_UNITS for units in _measured_in_windows(plan, traffic, scenario))


def _measured_in_windows(plan: Plan, traffic: Traffic, scenario: Scenario) -> Iterator[float]:
    """Units expected of which a rule can tell something, of each rule, intent, step and arm."""
    for step in range(len(plan.steps)):
        parts = mix(plan, traffic, scenario, step)
        expected = Expected(plan=plan, traffic=replace(traffic, mix=parts))
        for rule in plan.rules:
            arms = {Arm.CANDIDATE, *expected.arms(rule)} if expected.has_control(rule, step) else ()
            for intent in plan.judged_intents(rule):
                for arm in arms:
                    a_minute = expected.units(arm, intent, step) * expected.measured_units(
                        rule, arm
                    )
                    yield minutes(rule.window) * a_minute


def may_go_again(waits: Sequence[Wait]) -> bool:
    """Whether the step was held for its time and waits for something that may be there for some minutes only."""
    waiting = {wait.waiting for wait in waits}
    return bool(waiting & COMES_AND_GOES) and Waiting.HOLD_TIME not in waiting


def is_proof_asked(plan: Plan, state: State) -> bool:
    return state.phase is Phase.PROGRESSING and requirement(plan, state.step) is Advance.PROVEN


def lacks_samples(waits: Sequence[Wait]) -> bool:
    """Whether too few samples are there: once they are, they stay."""
    return any(wait.waiting is Waiting.SAMPLES for wait in waits)
