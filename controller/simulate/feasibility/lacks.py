"""What a plan cannot decide on its traffic, by the closed form: what `check` warns of, without the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import Kind
from controller.rollout.plan import Evidence, Plan, Rule
from controller.simulate.feasibility.changes import within
from controller.simulate.feasibility.kept import SURE
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.prospect import Catch
from controller.simulate.scenarios import Scenario
from controller.stats.power import arrivals_at_least

APPARENT: Final = 0.1
"""Of a limit: how much of it a candidate without loss may seem to lose or gain before it is told."""
Lack: TypeAlias = tuple[str, str, str]
"""Code and path of the warning, and which rule and intent it is about, where a field has several."""
Least: TypeAlias = tuple[float, str | None]
"""The fewest samples, and on which intent."""


def lacks(outlook: Outlook, catches: Sequence[Scenario]) -> Iterator[Lack]:
    """Everything that the plan cannot decide."""
    limits = loss_limits(outlook.plan)
    if limits and is_biased(outlook, min(limits)):
        yield "biased-labels", "spec.labels.sampled", ""
    for step, stage in enumerate(outlook.plan.steps[:-1]):
        if stage.min_samples and lacks_in_step(outlook, step):
            yield "samples-not-in-time", f"spec.steps[{step}].minSamples", ""
    for rule, intent, step in outlook.asked():
        if outlook.proven_in_time(rule, intent, step) < SURE:
            field, _ = within(outlook.plan, step)
            about = f"{rule.name}/{intent}"
            yield "cannot-be-proven-in-time", f"spec.steps[{step}].{field}", about
    for index, rule in enumerate(outlook.plan.rules):
        path = f"spec.rules[{index}].window"
        if steps_lacking(outlook, rule):
            yield "too-few-samples", path, ""
        if uncaught(outlook, rule, catches) is not None:
            yield "cannot-be-caught", path, ""


def loss_limits(plan: Plan) -> list[float]:
    return [rule.limit for rule in plan.rules if rule.metric.kind is Kind.LOSS]


def lacks_in_step(outlook: Outlook, step: int) -> bool:
    return not _likely(outlook.plan.steps[step].min_samples, fewest_in_step(outlook, step)[2])


def fewest_in_step(outlook: Outlook, step: int) -> tuple[Rule | None, str | None, float]:
    return min(outlook.step_samples(step), key=lambda one: one[2])


def steps_lacking(outlook: Outlook, rule: Rule) -> dict[int, Least]:
    """The steps whose windows mostly hold fewer samples than a rule as written asks for."""
    if rule.evidence is Evidence.CONFIDENT:
        return {}
    fewest = {
        step: min(
            (min(outlook.in_window(rule, intent, step).values()), intent)
            for intent in outlook.plan.judged_intents(rule)
        )
        for step in range(len(outlook.plan.steps))
        if outlook.has_control(rule, step) and outlook.plan.judged_intents(rule)
    }
    return {step: one for step, one in fewest.items() if not _likely(rule.min_samples, one[0])}


def _hardest(
    outlook: Outlook, rule: Rule, catches: Sequence[Scenario]
) -> tuple[str | None, Catch] | None:
    """The intent and regression that is hardest to catch, at the step where it is easiest."""
    best: dict[tuple[str | None, float], Catch] = {}
    for step in range(len(outlook.plan.steps)):
        for intent in outlook.plan.judged_intents(rule) if outlook.has_control(rule, step) else ():
            for catch in outlook.row(rule, intent, step, catches).catches:
                if catch.probability is not None:
                    known = best.get((intent, catch.size), catch)
                    best[intent, catch.size] = max(known, catch, key=how_surely)
    if not best:
        return None
    (intent, _), catch = min(best.items(), key=lambda one: how_surely(one[1]))
    return intent, catch


def uncaught(
    outlook: Outlook, rule: Rule, catches: Sequence[Scenario]
) -> tuple[str | None, Catch] | None:
    """The hardest one that it should catch and mostly does not, by proof; None for a rule as written too."""
    if not is_provable(rule) or rule.evidence is not Evidence.CONFIDENT:
        return None
    found = _hardest(outlook, rule, catches)
    return found if found is not None and how_surely(found[1]) < SURE else None


def catches_by_proof(outlook: Outlook, rule: Rule, catches: Sequence[Scenario]) -> bool:
    """Whether it is known to catch what it should, by proof."""
    found = _hardest(outlook, rule, catches)
    return found is not None and how_surely(found[1]) >= SURE


def how_surely(catch: Catch) -> float:
    return catch.probability or 0.0


def is_biased(outlook: Outlook, limit: float) -> bool:
    return abs(outlook.apparent_loss) > APPARENT * limit


def _likely(count: int, expected: float) -> bool:
    return arrivals_at_least(count, expected) >= SURE
