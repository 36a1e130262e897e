"""Changes of a plan, its traffic or its pairs that advice may try: round ones, as a person would write them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from controller.rollout.evidence.rules import is_provable
from controller.rollout.plan import FULL_BP, Evidence, Plan, Rule, Step
from controller.rollout.units import format_percent, format_share, rounded_up
from controller.simulate.feasibility.advice_words import written_span
from controller.simulate.feasibility.outlook import Outlook

MINUTES: Final = (10, 15, 20, 30, 45)
HOURS: Final = (1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 60, 72)
DAYS: Final = (4, 5, 6, 7, 8, 10, 12, 14, 18, 21, 28, 35, 42, 56, 70, 84)
SPANS: Final = (
    *(timedelta(minutes=n) for n in MINUTES),
    *(timedelta(hours=n) for n in HOURS),
    *(timedelta(days=n) for n in DAYS),
)
SHARES_BP: Final = (100, 200, 300, 500, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 6000, 7000, 8000)
HOLDBACKS_BP: Final = (100, 200, 500, 1000)
PEOPLE_U: Final = tuple(
    10_000 * percent for percent in (1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100)
)
"""What a person would write; the search is over these."""
TIMES: Final = (2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A change in words, and what it leads to."""

    text: str
    outlook: Outlook


def both(outlook: Outlook, index: int) -> Iterator[Suggestion]:
    """A larger holdback together with a longer window, for a rule that compares."""
    if outlook.plan.rules[index].metric.comparing:
        for held in larger_holdbacks(outlook):
            for longer in longer_windows(held.outlook, index):
                text = f"{held.text} together with {longer.text}"
                yield Suggestion(text=text, outlook=longer.outlook)


def longer_steps(outlook: Outlook, step: int) -> Iterator[Suggestion]:
    """More time for a step."""
    field, stage = within(outlook.plan, step)
    for span in SPANS:
        if span > (stage.deadline or stage.hold):
            changed = replace(stage, deadline=span) if stage.deadline else replace(stage, hold=span)
            yield Suggestion(
                text=f"{field} {written_span(span)}", outlook=with_step(outlook, step, changed)
            )


def within(plan: Plan, step: int) -> tuple[str, Step]:
    """The field that says how long a step may take."""
    stage = plan.steps[step]
    return ("deadline" if stage.deadline is not None else "hold"), stage


def other_shares(outlook: Outlook, step: int) -> Iterator[Suggestion]:
    """Of a step, nearest first."""
    stage = outlook.plan.steps[step]
    for share_bp in sorted(SHARES_BP, key=lambda bp: abs(bp - stage.share_bp)):
        if share_bp != stage.share_bp and _fits(outlook.plan, step, share_bp):
            yield Suggestion(
                text=f"{format_share(share_bp)} share in step {step + 1}",
                outlook=with_step(outlook, step, replace(stage, share_bp=share_bp)),
            )


def _fits(plan: Plan, step: int, share_bp: int) -> bool:
    """Whether shares go on rising."""
    after = plan.share_at(step + 1) if step + 1 < len(plan.steps) else None
    return plan.share_at(step - 1) < share_bp and (after is None or share_bp < after)


def larger_holdbacks(outlook: Outlook) -> Iterator[Suggestion]:
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
    if rule.usual is not None:
        longest = min(longest, rule.usual)
    for span in SPANS:
        if rule.window < span <= longest:
            yield Suggestion(
                text=f"window {written_span(span)}",
                outlook=with_rule(outlook, index, replace(rule, window=span)),
            )


def proven_alone(outlook: Outlook, index: int) -> Iterator[Suggestion]:
    """The proof of a rule alone, then with a longer window, for where its own is too short to catch what it should."""
    rule = outlook.plan.rules[index]
    if not is_provable(rule):
        return
    alone = with_rule(outlook, index, replace(rule, evidence=Evidence.CONFIDENT))
    first = Suggestion(text="`evidence: confident`", outlook=alone)
    yield first
    for one in longer_windows(alone, index):
        yield Suggestion(text=f"{first.text} together with {one.text}", outlook=one.outlook)


def more_traffic(outlook: Outlook) -> Iterator[Suggestion]:
    """Where nothing else helps."""
    for times in TIMES:
        much = outlook.traffic.units_per_minute * times
        changed = replace(outlook.traffic, units_per_minute=much)
        yield Suggestion(
            text=f"{times} times the traffic", outlook=replace(outlook, traffic=changed)
        )


def with_pairs(outlook: Outlook, needed: float | None, where: str = "") -> Iterator[Suggestion]:
    if needed is not None and needed < math.inf:
        count = max(rounded_up(needed), outlook.pairs)
        yield Suggestion(
            text=f"{count:,} shadow pairs{where}", outlook=replace(outlook, pairs=count)
        )


def with_more_people(outlook: Outlook) -> Iterator[Suggestion]:
    for share in PEOPLE_U:
        if share > outlook.plan.labels.people_u:
            labels = replace(outlook.plan.labels, people_u=share)
            yield Suggestion(
                text=f"`labels.people: {{share: {format_percent(labels.people)}}}`",
                outlook=replace(outlook, plan=replace(outlook.plan, labels=labels)),
            )


def with_step(outlook: Outlook, step: int, changed: Step) -> Outlook:
    steps = list(outlook.plan.steps)
    steps[step] = changed
    return replace(outlook, plan=replace(outlook.plan, steps=tuple(steps)))


def with_rule(outlook: Outlook, index: int, changed: Rule) -> Outlook:
    rules = list(outlook.plan.rules)
    rules[index] = changed
    return replace(outlook, plan=replace(outlook.plan, rules=tuple(rules)))
