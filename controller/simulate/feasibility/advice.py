"""Where a plan cannot decide on its traffic, with the numbers, and changes after which it can.

Each suggestion is found by search and holds the plan (or traffic, or pairs) that it leads to, for which the same
finding was looked for again and is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, islice
from typing import Final, TypeAlias

from controller.plans.finding import Finding, Level
from controller.rollout.evidence.powered import has_people
from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import FULL_BP, Evidence, Plan, Rule, Step
from controller.rollout.units import (
    format_duration,
    format_limit,
    format_percent,
    format_points,
    format_share,
    rounded_up,
)
from controller.simulate.feasibility.advice_words import (
    amount,
    in_percent,
    on,
    round_below,
    written_span,
)
from controller.simulate.feasibility.kept import SURE
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.prospect import Catch, Proving
from controller.simulate.scenarios import Scenario
from controller.stats.power import arrivals_at_least

HOURS: Final = (1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 60, 72)
DAYS: Final = (4, 5, 6, 7, 8, 10, 12, 14, 18, 21, 28, 35, 42, 56, 70, 84)
SPANS: Final = (*(timedelta(hours=n) for n in HOURS), *(timedelta(days=n) for n in DAYS))
SHARES_BP: Final = (100, 200, 300, 500, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 6000, 7000, 8000)
HOLDBACKS_BP: Final = (100, 200, 500, 1000)
PEOPLE_U: Final = tuple(
    10_000 * percent for percent in (1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100)
)
"""What a person would write; the search is over these."""
TIMES: Final = (2, 3, 5, 10, 20, 50, 100)
APPARENT: Final = 0.1
"""Of a limit: how much of it a candidate without loss may seem to lose or gain before it is told."""

Still: TypeAlias = Callable[["Outlook"], bool]
"""Whether a finding is still there."""
Least: TypeAlias = tuple[float, str | None]
"""The fewest samples, and on which intent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A change in words, and what it leads to."""

    text: str
    outlook: Outlook


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    finding: Finding
    suggestions: tuple[Suggestion, ...]


def advice(outlook: Outlook, catches: Sequence[Scenario] = ()) -> tuple[Advice, ...]:
    """Everything that the plan cannot decide: labels, steps, then rules."""
    return (
        *_biased(outlook),
        *_too_few_in_steps(outlook),
        *_unproven(outlook),
        *_too_few_in_windows(outlook),
        *_uncaught(outlook, catches),
    )


def advised(
    code: str, path: str, message: str, found: Sequence[Suggestion], otherwise: str
) -> Advice:
    use = f"use {listed([one.text for one in found])}" if found else otherwise
    finding = Finding(level=Level.WARNING, code=code, path=path, message=f"{message}; {use}")
    return Advice(finding=finding, suggestions=tuple(found))


def listed(parts: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *others, last = parts
    return f"{', '.join(others)} or {last}" if others else last


def first_of(still: Still, tried: Iterator[Suggestion]) -> Iterator[Suggestion]:
    """The first change after which the finding is gone, if there is one."""
    yield from islice((one for one in tried if not still(one.outlook)), 1)


# Changes


def _both(outlook: Outlook, index: int) -> Iterator[Suggestion]:
    """A larger holdback together with a longer window, for a rule that compares."""
    if outlook.plan.rules[index].metric.comparing:
        for held in _larger_holdbacks(outlook):
            for longer in longer_windows(held.outlook, index):
                text = f"{held.text} together with {longer.text}"
                yield Suggestion(text=text, outlook=longer.outlook)


def _longer(outlook: Outlook, step: int) -> Iterator[Suggestion]:
    """More time for a step."""
    field, stage = _within(outlook.plan, step)
    for span in SPANS:
        if span > (stage.deadline or stage.hold):
            changed = replace(stage, deadline=span) if stage.deadline else replace(stage, hold=span)
            yield Suggestion(
                text=f"{field} {written_span(span)}", outlook=_with_step(outlook, step, changed)
            )


def _within(plan: Plan, step: int) -> tuple[str, Step]:
    """The field that says how long a step may take."""
    stage = plan.steps[step]
    return ("deadline" if stage.deadline is not None else "hold"), stage


def _other_shares(outlook: Outlook, step: int) -> Iterator[Suggestion]:
    """Of a step, nearest first."""
    stage = outlook.plan.steps[step]
    for share_bp in sorted(SHARES_BP, key=lambda bp: abs(bp - stage.share_bp)):
        if share_bp != stage.share_bp and _fits(outlook.plan, step, share_bp):
            yield Suggestion(
                text=f"{format_share(share_bp)} share in step {step + 1}",
                outlook=_with_step(outlook, step, replace(stage, share_bp=share_bp)),
            )


def _fits(plan: Plan, step: int, share_bp: int) -> bool:
    """Whether shares go on rising."""
    after = plan.share_at(step + 1) if step + 1 < len(plan.steps) else None
    return plan.share_at(step - 1) < share_bp and (after is None or share_bp < after)


def _larger_holdbacks(outlook: Outlook) -> Iterator[Suggestion]:
    """Where it decides how large the control is at the last step."""
    plan = outlook.plan
    for holdback_bp in HOLDBACKS_BP:
        if holdback_bp > plan.holdback_bp and plan.steps[-1].share_bp == FULL_BP:
            changed = replace(plan, holdback_bp=holdback_bp)
            yield Suggestion(
                text=f"holdback {format_share(holdback_bp)}", outlook=replace(outlook, plan=changed)
            )


def longer_windows(outlook: Outlook, index: int) -> Iterator[Suggestion]:
    rule, longest = outlook.plan.rules[index], outlook.plan.horizon
    if rule.metric.labelled:
        longest = min(longest, outlook.plan.labels.horizon)
    for span in SPANS:
        if rule.window < span <= longest:
            yield Suggestion(
                text=f"window {written_span(span)}",
                outlook=with_rule(outlook, index, replace(rule, window=span)),
            )


def more_traffic(outlook: Outlook) -> Iterator[Suggestion]:
    """Where nothing else helps."""
    for times in TIMES:
        much = outlook.traffic.units_per_minute * times
        changed = replace(outlook.traffic, units_per_minute=much)
        yield Suggestion(
            text=f"{times} times the traffic", outlook=replace(outlook, traffic=changed)
        )


def _with_pairs(outlook: Outlook, needed: float | None, where: str = "") -> Iterator[Suggestion]:
    if needed is not None and needed < math.inf:
        count = max(rounded_up(needed), outlook.pairs)
        yield Suggestion(
            text=f"{count:,} shadow pairs{where}", outlook=replace(outlook, pairs=count)
        )


def _with_more_people(outlook: Outlook) -> Iterator[Suggestion]:
    for share in PEOPLE_U:
        if share > outlook.plan.labels.people_u:
            labels = replace(outlook.plan.labels, people_u=share)
            yield Suggestion(
                text=f"`labels.people: {{share: {format_percent(labels.people)}}}`",
                outlook=replace(outlook, plan=replace(outlook.plan, labels=labels)),
            )


def _with_step(outlook: Outlook, step: int, changed: Step) -> Outlook:
    steps = list(outlook.plan.steps)
    steps[step] = changed
    return replace(outlook, plan=replace(outlook.plan, steps=tuple(steps)))


def with_rule(outlook: Outlook, index: int, changed: Rule) -> Outlook:
    rules = list(outlook.plan.rules)
    rules[index] = changed
    return replace(outlook, plan=replace(outlook.plan, rules=tuple(rules)))


# Proof that a step asks for


def _unproven(outlook: Outlook) -> Iterator[Advice]:
    for one in outlook.provings():
        if one.asked and one.probability < SURE:
            yield _unproven_one(outlook, one)


def _unproven_one(outlook: Outlook, one: Proving) -> Advice:
    field, stage = _within(outlook.plan, one.step)

    def still(changed: Outlook) -> bool:
        return changed.proven_in_time(one.rule, one.intent, one.step) < SURE

    # Labels of the steps before count too, so their shares help as well.
    shares = chain.from_iterable(_other_shares(outlook, step) for step in range(one.step, -1, -1))
    found = [
        *first_of(still, _longer(outlook, one.step)),
        *first_of(still, shares),
        *first_of(still, _with_more_people(outlook) if one.by_people else iter(())),
        *first_of(still, _with_pairs(outlook, one.pairs)),
    ]
    noun = "people's grades" if one.by_people else "labels"
    others = "part that people grade" if one.by_people else "number of pairs"
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
        f"no hold of up to 12 weeks, share or {others} is enough: more traffic or labels, or a wider limit",
    )


# Samples that a step asks for


def _too_few_in_steps(outlook: Outlook) -> Iterator[Advice]:
    for step, stage in enumerate(outlook.plan.steps[:-1]):
        if stage.min_samples and _lacks_in_step(outlook, step):
            yield _too_few_in_step(outlook, step)


def _lacks_in_step(outlook: Outlook, step: int) -> bool:
    return not _likely(outlook.plan.steps[step].min_samples, _fewest_in_step(outlook, step)[2])


def _fewest_in_step(outlook: Outlook, step: int) -> tuple[Rule | None, str | None, float]:
    return min(outlook.step_samples(step), key=lambda one: one[2])


def _too_few_in_step(outlook: Outlook, step: int) -> Advice:
    field, stage = _within(outlook.plan, step)
    rule, intent, have = _fewest_in_step(outlook, step)

    def still(changed: Outlook) -> bool:
        return _lacks_in_step(changed, step)

    def fewer() -> Iterator[Suggestion]:
        for count in round_below(have):
            changed = replace(stage, min_samples=count)
            yield Suggestion(text=f"minSamples {count}", outlook=_with_step(outlook, step, changed))

    found = [
        *first_of(still, _longer(outlook, step)),
        *first_of(still, _other_shares(outlook, step)),
        *first_of(still, fewer()),
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
        found or list(first_of(still, more_traffic(outlook))),
        "more than a hundred times the traffic is needed",
    )


# Samples that a rule asks for


def _too_few_in_windows(outlook: Outlook) -> Iterator[Advice]:
    for index, rule in enumerate(outlook.plan.rules):
        lacking = _steps_lacking(outlook, rule) if rule.evidence is Evidence.OBSERVED else {}
        if lacking:
            yield _too_few_in_window(outlook, index, lacking)


def _steps_lacking(outlook: Outlook, rule: Rule) -> dict[int, Least]:
    """The steps whose windows mostly hold fewer samples than the rule asks for."""
    fewest = {
        step: min(
            (min(outlook.in_window(rule, intent, step).values()), intent)
            for intent in outlook.plan.judged_intents(rule)
        )
        for step in range(len(outlook.plan.steps))
        if outlook.has_control(rule, step) and outlook.plan.judged_intents(rule)
    }
    return {step: one for step, one in fewest.items() if not _likely(rule.min_samples, one[0])}


def _too_few_in_window(outlook: Outlook, index: int, lacking: dict[int, Least]) -> Advice:
    rule = outlook.plan.rules[index]
    step = min(lacking, key=lambda one: lacking[one][0])
    have, intent = lacking[step]

    def still(changed: Outlook) -> bool:
        return bool(_steps_lacking(changed, changed.plan.rules[index]))

    def fewer() -> Iterator[Suggestion]:
        for count in round_below(have):
            changed = replace(rule, min_samples=count)
            yield Suggestion(text=f"minSamples {count}", outlook=with_rule(outlook, index, changed))

    found = [
        *first_of(still, longer_windows(outlook, index)),
        *first_of(still, _other_shares(outlook, step)),
        *first_of(still, _larger_holdbacks(outlook) if rule.metric.comparing else iter(())),
        *first_of(still, fewer()),
    ]
    found = found or list(first_of(still, _both(outlook, index)))
    fewer_arm = " in the arm with fewer" if rule.metric.comparing else ""
    until = "only a proof stops it" if is_provable(rule) else "it never fails"
    return advised(
        "too-few-samples",
        f"spec.rules[{index}].window",
        f"{rule.name}: a window of {format_duration(rule.window)} holds {amount(have, rule)}{on(intent)}"
        f"{fewer_arm} at {format_share(outlook.plan.share_at(step))}, and as written the rule asks for "
        f"{rule.min_samples:,}: with fewer {until}",
        found or list(first_of(still, more_traffic(outlook))),
        "more than a hundred times the traffic is needed",
    )


# Regressions that no window is long enough for


def _uncaught(outlook: Outlook, catches: Sequence[Scenario]) -> Iterator[Advice]:
    for index, rule in enumerate(outlook.plan.rules):
        if is_provable(rule) and rule.evidence is Evidence.CONFIDENT:
            found = hardest(outlook, rule, catches)
            if found is not None and how_surely(found[1]) < SURE:
                yield _uncaught_one(outlook, index, found, catches)


def hardest(
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


def how_surely(catch: Catch) -> float:
    return catch.probability or 0.0


def _uncaught_one(
    outlook: Outlook, index: int, found: tuple[str | None, Catch], catches: Sequence[Scenario]
) -> Advice:
    rule = outlook.plan.rules[index]
    intent, catch = found

    def still(changed: Outlook) -> bool:
        again = hardest(changed, changed.plan.rules[index], catches)
        return again is not None and how_surely(again[1]) < SURE

    def paired() -> Iterator[Suggestion]:
        if rule.metric.kind is Kind.LOSS:
            needed = outlook.against_by_pairs(rule, catch.size).quantile(SURE)
            yield from _with_pairs(outlook, max(needed, rule.min_samples), " in one window")

    people = _with_more_people(outlook) if has_people(outlook.plan, rule) else iter(())
    tried = [
        *first_of(still, longer_windows(outlook, index)),
        *first_of(still, paired()),
        *first_of(still, people),
    ]
    return advised(
        "cannot-be-caught",
        f"spec.rules[{index}].window",
        f"{rule.name}: at no step is a window of {format_duration(rule.window)} enough to catch "
        f"{format_limit(rule.metric, round(catch.size, 6))}{on(intent)} by proof in 90% "
        f"(at best in {in_percent(how_surely(catch))})",
        tried or list(first_of(still, more_traffic(outlook))),
        "no window within the plan and the labels' horizon is enough: more traffic or labels, or longer holds",
    )


# Labels that are not of all answers alike


def _biased(outlook: Outlook) -> Iterator[Advice]:
    limits = [rule.limit for rule in outlook.plan.rules if rule.metric.kind is Kind.LOSS]
    if not limits or not _is_biased(outlook, min(limits)):
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
        return _is_biased(changed, min(limits))

    yield advised(
        "biased-labels",
        "spec.labels.sampled",
        f"{format_percent(round(outlook.traffic.label_rate, 6))} of the answers are graded, and "
        f"{_wrong_anyway(outlook.plan)}: a candidate that loses nothing seems to {_seems(outlook.apparent_loss)}, "
        f"against a limit of {format_points(min(limits))}",
        [*first_of(still, told()), *first_of(still, more())],
        "grade every answer",
    )


def _wrong_anyway(plan: Plan) -> str:
    if plan.labels.sampled_u >= MICRO:
        return "an escalated one is wrong without a grade"
    return (
        f"of the escalated ones, wrong without a grade, {format_percent(plan.labels.sampled)} count"
    )


def _seems(loss: float) -> str:
    return f"{'lose' if loss > 0 else 'gain'} {format_points(round(abs(loss), 4))}"


def _is_biased(outlook: Outlook, limit: float) -> bool:
    return abs(outlook.apparent_loss) > APPARENT * limit


def _likely(count: int, expected: float) -> bool:
    return arrivals_at_least(count, expected) >= SURE
