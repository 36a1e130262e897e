"""Where a plan cannot decide on its traffic, with the numbers, and changes after which it can.

Each suggestion is found by search and holds the plan (or traffic, or pairs) that it leads to, for which everything was
looked for again: its finding is gone, and no other has come (`tried`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from controller.plans.finding import Finding, Level
from controller.rollout.evidence.powered import has_people
from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import Plan
from controller.rollout.units import (
    format_duration,
    format_limit,
    format_percent,
    format_points,
    format_share,
    rounded_up,
)
from controller.simulate.feasibility.advice_words import amount, in_percent, on, round_below
from controller.simulate.feasibility.changes import (
    TIMES,
    Suggestion,
    both,
    larger_holdbacks,
    longer_steps,
    longer_windows,
    more_traffic,
    other_shares,
    proven_alone,
    with_more_people,
    with_pairs,
    with_rule,
    with_step,
    within,
)
from controller.simulate.feasibility.kept import SURE
from controller.simulate.feasibility.lacks import (
    Least,
    catches_by_proof,
    fewest_in_step,
    how_surely,
    is_biased,
    lacks_in_step,
    loss_limits,
    steps_lacking,
    uncaught,
)
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.prospect import Catch, Proving
from controller.simulate.feasibility.tried import Ground

MUCH_TRAFFIC: Final = f"up to {TIMES[-1]} times the traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    finding: Finding
    suggestions: tuple[Suggestion, ...]


def advice(ground: Ground) -> tuple[Advice, ...]:
    """Everything that the plan cannot decide: labels, steps, then rules."""
    return (
        *_biased(ground),
        *_too_few_in_steps(ground),
        *_unproven(ground),
        *_too_few_in_windows(ground),
        *_uncaught(ground),
    )


def advised(
    code: str, path: str, message: str, found: Sequence[Suggestion], otherwise: str
) -> Advice:
    use = f"use {listed([one.text for one in found])}" if found else otherwise
    finding = Finding(level=Level.WARNING, code=code, path=path, message=f"{message}; {use}")
    return Advice(finding=finding, suggestions=tuple(found))


def nothing(tried: str) -> str:
    """What is said where no change takes a warning away and brings no other."""
    return f"nothing that was tried helps without another warning ({tried})"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *others, last = parts
    return f"{', '.join(others)} or {last}" if others else last


# Proof that a step asks for


def _unproven(ground: Ground) -> Iterator[Advice]:
    for one in ground.found.provings:
        if one.asked and one.probability < SURE:
            yield _unproven_one(ground, one)


def _unproven_one(ground: Ground, one: Proving) -> Advice:
    outlook = ground.outlook
    field, stage = within(outlook.plan, one.step)

    def still(changed: Outlook) -> bool:
        return changed.proven_in_time(one.rule, one.intent, one.step) < SURE

    # Labels of the steps before count too, so their shares help as well.
    shares = chain.from_iterable(other_shares(outlook, step) for step in range(one.step, -1, -1))
    found = [
        *ground.first_of(still, longer_steps(outlook, one.step)),
        *ground.first_of(still, shares),
        *ground.first_of(still, with_more_people(outlook) if one.by_people else iter(())),
        *ground.first_of(still, with_pairs(outlook, one.pairs)),
    ]
    noun = "people's grades" if one.by_people else "labels"
    others = "more grades by people" if one.by_people else "shadow pairs"
    limit = format_limit(one.rule.metric, one.rule.limit)
    if one.needed[1] is None:
        needs = f"no number of them proves a loss below {limit}"
    else:
        needs = (
            f"needs about {rounded_up(one.needed[1]):,} to prove a loss below {limit} in 90% of rollouts that lose "
            f"nothing ({in_percent(one.probability)} have it by then)"
        )
    so_far = " with those of the steps before" if one.step else ""
    return advised(
        "cannot-be-proven-in-time",
        f"spec.steps[{one.step}].{field}",
        f"{one.rule.name}: leaving {format_share(stage.share_bp)} asks for proof, and {field} "
        f"{format_duration(one.within)} gives {one.have:,.0f} {noun} on {one.intent}{so_far}; {needs}",
        found,
        nothing(f"longer {field}s, other shares, {others}")
        + ground.outlived(longer_steps(outlook, one.step))
        + "; what is left is more traffic or labels, or a wider limit",
    )


# Samples that a step asks for


def _too_few_in_steps(ground: Ground) -> Iterator[Advice]:
    for step, stage in enumerate(ground.outlook.plan.steps[:-1]):
        if stage.min_samples and lacks_in_step(ground.outlook, step):
            yield _too_few_in_step(ground, step)


def _too_few_in_step(ground: Ground, step: int) -> Advice:
    outlook = ground.outlook
    field, stage = within(outlook.plan, step)
    rule, intent, have = fewest_in_step(outlook, step)

    def still(changed: Outlook) -> bool:
        return lacks_in_step(changed, step)

    def fewer() -> Iterator[Suggestion]:
        for count in round_below(have):
            changed = replace(stage, min_samples=count)
            yield Suggestion(text=f"minSamples {count}", outlook=with_step(outlook, step, changed))

    found = [
        *ground.first_of(still, longer_steps(outlook, step)),
        *ground.first_of(still, other_shares(outlook, step)),
        *ground.first_of(still, fewer()),
    ]
    of = (
        f"{amount(have, rule)} for {rule.name}"
        if rule is not None
        else f"about {have:,.0f} requests"
    )
    return advised(
        "samples-not-in-time",
        f"spec.steps[{step}].minSamples",
        f"leaving {format_share(stage.share_bp)} asks for {stage.min_samples:,} samples, and {field} "
        f"{format_duration(stage.deadline or stage.hold)} gives {of}{on(intent)}",
        found or list(ground.first_of(still, more_traffic(outlook))),
        nothing(f"longer {field}s, other shares, fewer samples, {MUCH_TRAFFIC}")
        + ground.outlived(longer_steps(outlook, step)),
    )


# Samples that a rule asks for


def _too_few_in_windows(ground: Ground) -> Iterator[Advice]:
    for index, rule in enumerate(ground.outlook.plan.rules):
        lacking = steps_lacking(ground.outlook, rule)
        if lacking:
            yield _too_few_in_window(ground, index, lacking)


def _too_few_in_window(ground: Ground, index: int, lacking: dict[int, Least]) -> Advice:
    outlook, rule = ground.outlook, ground.outlook.plan.rules[index]
    step = min(lacking, key=lambda one: lacking[one][0])
    have, intent = lacking[step]

    def still(changed: Outlook) -> bool:
        return bool(steps_lacking(changed, changed.plan.rules[index]))

    def fewer() -> Iterator[Suggestion]:
        for count in round_below(have):
            changed = replace(rule, min_samples=count)
            yield Suggestion(text=f"minSamples {count}", outlook=with_rule(outlook, index, changed))

    def unproven(changed: Outlook) -> bool:
        changed_rule = changed.plan.rules[index]
        return still(changed) or not catches_by_proof(changed, changed_rule, ground.catches)

    def first_of(tried: Iterator[Suggestion]) -> list[Suggestion]:
        return list(ground.first_of(still, tried, of_rule=index))

    found = [
        *first_of(longer_windows(outlook, index)),
        *first_of(other_shares(outlook, step)),
        *first_of(larger_holdbacks(outlook) if rule.metric.comparing else iter(())),
        # Fewer samples say less: only where it is known what healthy answers make of them.
        *first_of(fewer() if ground.is_drawn(index) else iter(())),
    ]
    found = (
        found
        or first_of(both(outlook, index))
        or list(ground.first_of(unproven, proven_alone(outlook, index), of_rule=index))
        or first_of(more_traffic(outlook))
    )
    fewer_arm = " in the arm with fewer" if rule.metric.comparing else ""
    until = "only a proof stops it" if is_provable(rule) else "it never fails"
    # Where it is not known what it would do, nothing could be tried against that.
    unknown = (
        "; what it would then do to healthy rollouts is not known"
        if found and not ground.is_drawn(index)
        else ""
    )
    return advised(
        "too-few-samples",
        f"spec.rules[{index}].window",
        f"{rule.name}: a window of {format_duration(rule.window)} holds {amount(have, rule)}{on(intent)}"
        f"{fewer_arm} at {format_share(outlook.plan.share_at(step))}, and as written the rule asks for "
        f"{rule.min_samples:,}: with fewer {until}{unknown}",
        found,
        nothing(f"longer windows, other shares, fewer samples, proof alone, {MUCH_TRAFFIC}"),
    )


# Regressions that no window is long enough for


def _uncaught(ground: Ground) -> Iterator[Advice]:
    for index, rule in enumerate(ground.outlook.plan.rules):
        found = uncaught(ground.outlook, rule, ground.catches)
        if found is not None:
            yield _uncaught_one(ground, index, found)


def _uncaught_one(ground: Ground, index: int, found: tuple[str | None, Catch]) -> Advice:
    outlook = ground.outlook
    rule = outlook.plan.rules[index]
    intent, catch = found

    def still(changed: Outlook) -> bool:
        return uncaught(changed, changed.plan.rules[index], ground.catches) is not None

    def paired() -> Iterator[Suggestion]:
        if rule.metric.kind is Kind.LOSS:
            needed = outlook.against_by_pairs(rule, catch.size).quantile(SURE)
            yield from with_pairs(outlook, max(needed, rule.min_samples), " in one window")

    by_people = has_people(outlook.plan, rule)
    people = with_more_people(outlook) if by_people else iter(())
    others = (
        "shadow pairs, " * (rule.metric.kind is Kind.LOSS) + "more grades by people, " * by_people
    )
    tried = [
        *ground.first_of(still, longer_windows(outlook, index)),
        *ground.first_of(still, paired()),
        *ground.first_of(still, people),
    ]
    return advised(
        "cannot-be-caught",
        f"spec.rules[{index}].window",
        f"{rule.name}: at no step is a window of {format_duration(rule.window)} enough to catch "
        f"{format_limit(rule.metric, round(catch.size, 6))}{on(intent)} by proof in 90% "
        f"(at best in {in_percent(how_surely(catch))})",
        tried or list(ground.first_of(still, more_traffic(outlook))),
        nothing(f"longer windows, {others}{MUCH_TRAFFIC}"),
    )


# Labels that are not of all answers alike


def _biased(ground: Ground) -> Iterator[Advice]:
    outlook, limits = ground.outlook, loss_limits(ground.outlook.plan)
    if not limits or not is_biased(outlook, min(limits)):
        return

    def told() -> Iterator[Suggestion]:
        sampled_u = round(outlook.traffic.label_rate * MICRO)
        if sampled_u:
            labels = replace(outlook.plan.labels, sampled_u=sampled_u)
            yield Suggestion(
                text=f"`labels: {{sampled: {format_percent(labels.sampled)}}}`",
                outlook=replace(outlook, plan=replace(outlook.plan, labels=labels)),
            )

    def more() -> Iterator[Suggestion]:
        for percent in range(math.floor(100 * outlook.traffic.label_rate) + 1, 101):
            traffic = replace(outlook.traffic, label_rate=percent / 100)
            yield Suggestion(
                text=f"a label rate of {percent}%", outlook=replace(outlook, traffic=traffic)
            )

    def still(changed: Outlook) -> bool:
        return is_biased(changed, min(limits))

    # How graders choose is a fact to be told, also where it shows that less is decided than it seemed.
    facts = [one for one in told() if not still(one.outlook)]
    hidden = [code for one in facts for code in ground.comes_to_light(one.outlook)]
    names = " and ".join(f"`{code}`" for code in hidden)
    yield advised(
        "biased-labels",
        "spec.labels.sampled",
        f"{format_percent(round(outlook.traffic.label_rate, 6))} of the answers are graded, and "
        f"{_wrong_anyway(outlook.plan)}: a candidate that loses nothing seems to {_seems(outlook.apparent_loss)}, "
        f"against a limit of {format_points(min(limits))}{f', which hides {names}' if hidden else ''}",
        [*facts, *ground.first_of(still, more())],
        nothing("another sample, more labels"),
    )


def _wrong_anyway(plan: Plan) -> str:
    if plan.labels.sampled_u >= MICRO:
        return "an escalated one is wrong without a grade"
    return (
        f"of the escalated ones, wrong without a grade, {format_percent(plan.labels.sampled)} count"
    )


def _seems(loss: float) -> str:
    return f"{'lose' if loss > 0 else 'gain'} {format_points(round(abs(loss), 4))}"
