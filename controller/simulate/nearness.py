"""How near together looks of a simulation must be: near where what a rollout waits for may come and go between two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from controller.rollout.advance import requirement, retires_during_next_step
from controller.rollout.decision import Wait, Waiting
from controller.rollout.plan import FULL_BP, Advance, Plan
from controller.rollout.state import Phase, State
from controller.rollout.timeline import minutes, start_of
from controller.simulate.scenarios import Scenario, Traffic

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


def is_sparse(plan: Plan, traffic: Traffic) -> bool:
    """Whether a rule's whole window may have no units of an arm that it needs. What is true of it in one minute need
    not be true in the next, so a look in between may be needed to see it.
    """
    return any(units < FEW_UNITS for units in _units_in_windows(plan, traffic))


def _units_in_windows(plan: Plan, traffic: Traffic) -> Iterator[float]:
    """Expected, of each rule, intent, step and arm."""
    free = [one.name for one in plan.intents if not one.pinned]
    for rule in plan.rules:
        for intent in plan.judged_intents(rule):
            names = free if intent is None else [intent]
            in_window = minutes(rule.window) * sum(traffic.mix[name] for name in names)
            for step in range(len(plan.steps)):
                share = plan.share_at(step) / FULL_BP
                yield share * in_window * traffic.units_per_minute
                if rule.metric.comparing and share < 1:
                    yield (1 - share) * in_window * traffic.units_per_minute


def may_go_again(waits: Sequence[Wait]) -> bool:
    """Whether the step was held for its time and waits for something that may be there for some minutes only."""
    waiting = {wait.waiting for wait in waits}
    return bool(waiting & COMES_AND_GOES) and Waiting.HOLD_TIME not in waiting


def is_too_late(plan: Plan, state: State, minute: int) -> bool:
    """Whether the baseline ends before the next step could: then nothing raises the share any more."""
    return (
        state.phase in (Phase.PENDING, Phase.PROGRESSING)
        and state.step + 1 < len(plan.steps)
        and retires_during_next_step(plan, state, start_of(minute))
    )


def is_proof_asked(plan: Plan, state: State) -> bool:
    return state.phase is Phase.PROGRESSING and requirement(plan, state.step) is Advance.PROVEN


def lacks_samples(waits: Sequence[Wait]) -> bool:
    """Whether too few samples are there: once they are, they stay."""
    return any(wait.waiting is Waiting.SAMPLES for wait in waits)
