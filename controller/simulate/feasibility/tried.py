"""Changes of a plan are tried: one is told only where its warning goes and nothing comes that would be warned about.

What a changed rule as written does to healthy rollouts is drawn as `check` draws it, with the same numbers; what a
change leaves as it is, is not drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import islice
from typing import Final, TypeAlias

from controller.plans import lint
from controller.plans.finding import Finding, Level
from controller.rollout.plan import Evidence, Plan, Rule, Then
from controller.simulate.feasibility.changes import Suggestion
from controller.simulate.feasibility.lacks import Lack, lacks
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.prospect import Feasibility, Row
from controller.simulate.feasibility.written import Stopped, stopped
from controller.simulate.scenarios import Scenario

Still: TypeAlias = Callable[[Outlook], bool]
"""Whether a finding is still there."""
PATIENCE: Final = 8
"""Changes of one kind that take their warning away and bring another, after which no more are tried."""
GRAVE: Final = (Level.ERROR, Level.WARNING)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What changes are tried on: a plan on its traffic, what was found of it, and the day on which it would start."""

    outlook: Outlook
    found: Feasibility
    catches: tuple[Scenario, ...] = ()
    today: date

    def first_of(
        self, still: Still, tried: Iterator[Suggestion], *, of_rule: int | None = None
    ) -> Iterator[Suggestion]:
        """The first change after which the finding is gone and no other has come, if there is one. A finding `of_rule`
        is about how the rule stops: that one must let healthy rollouts be.
        """
        helping = (one for one in tried if not still(one.outlook))
        for one in islice(helping, PATIENCE):
            if not self._harms(one.outlook, of_rule):
                yield one
                return

    def comes_to_light(self, changed: Outlook) -> tuple[str, ...]:
        """The codes of what a changed plan cannot decide and this one seemed to."""
        return tuple(sorted({code for code, _, _ in {*lacks(changed, self.catches)} - self._lacks}))

    def is_drawn(self, index: int) -> bool:
        """Whether enough is known of healthy answers to say what the rule as written does to them."""
        rule = self.outlook.plan.rules[index]
        return all(row.stopped is not None for row in self.found.rows if row.rule is rule)

    def outlived(self, tried: Iterator[Suggestion]) -> str:
        """`; gpt-4.1 is shut down on 2027-01-14`, where that rules out a change."""
        if not any(self._outlives(one.outlook.plan) for one in tried):
            return ""
        models = {
            one.model: one.shutdown
            for one in (self.outlook.plan.baseline, self.outlook.plan.candidate)
            if one.shutdown is not None
        }
        first = min(models, key=lambda name: models[name])
        return f"; {first} is shut down on {models[first]}, and no plan is to outlive that"

    def _harms(self, changed: Outlook, of_rule: int | None) -> bool:
        """The cheapest first."""
        return (
            self._outlives(changed.plan)
            or bool(_grave(changed.plan, self.today) - self._grave)
            or bool(set(lacks(changed, self.catches)) - self._lacks)
            or any(
                self._stops(changed, index, is_about=index == of_rule)
                for index in range(len(changed.plan.rules))
            )
        )

    @cached_property
    def _grave(self) -> frozenset[tuple[str, str]]:
        return _grave(self.outlook.plan, self.today)

    @cached_property
    def _lacks(self) -> frozenset[Lack]:
        return frozenset(lacks(self.outlook, self.catches))

    def _outlives(self, changed: Plan) -> bool:
        """Whether a plan that takes longer than the one it comes from may not end before one of its models does."""
        longest = _longest(changed)
        ends = [one.shutdown for one in (changed.baseline, changed.candidate)]
        return longest > _longest(self.outlook.plan) and any(
            end is not None and self.today + longest >= end for end in ends
        )

    def _stops(self, changed: Outlook, index: int, *, is_about: bool) -> bool:
        """Whether a rule would stop healthy rollouts noticeably; one that the change is not about, more than before."""
        rule, alpha = changed.plan.rules[index], changed.plan.alpha
        if rule.then is Then.NOTIFY:
            return False
        if rule.evidence is Evidence.CONFIDENT:
            return is_about and any(
                part is None or part > alpha for part in _by_proof(changed, rule)
            )
        before, most = self._known(index), alpha
        if not is_about:
            if self._is_alike(changed, index, len(changed.plan.steps)) or lower(before) > alpha:
                return False
            most = max(alpha, _together(before))
        let_be = 1.0
        for one in self._drawn(changed, index):
            let_be *= 1 - one.share
            if 1 - let_be > most or one.lower > alpha:
                return True
        return False

    def _known(self, index: int) -> list[Stopped]:
        rule = self.outlook.plan.rules[index]
        return stops([row for row in self.found.rows if row.rule is rule])

    def _drawn(self, changed: Outlook, index: int) -> Iterator[Stopped]:
        """At each step and intent, one after the other: the first may be enough."""
        plan, rule = changed.plan, changed.plan.rules[index]
        of_rule = self.outlook.plan.rules[index]
        before = {
            (row.step, row.intent): row.stopped for row in self.found.rows if row.rule is of_rule
        }
        for step in range(len(plan.steps)):
            if not changed.has_control(rule, step):
                continue
            alike = self._is_alike(changed, index, step + 1)
            for intent in plan.judged_intents(rule):
                if alike and (step, intent) in before:
                    one = before[step, intent]
                else:
                    one = self._draw(changed, rule, intent, step)
                if one is not None:
                    yield one

    def _draw(self, changed: Outlook, rule: Rule, intent: str | None, step: int) -> Stopped | None:
        return stopped(changed, rule, intent, step, seed=self.found.seed, runs=self.found.runs)

    def _is_alike(self, changed: Outlook, index: int, steps: int) -> bool:
        """Whether what a rule as written sees of the first steps is as it was."""
        new, old = changed.plan, self.outlook.plan

        def spans(plan: Plan) -> list[tuple[int, timedelta]]:
            return [(plan.share_at(i), plan.steps[i].hold) for i in range(steps)]

        return (
            new.rules[index] == old.rules[index]
            and spans(new) == spans(old)
            and new.labels == old.labels
            and changed.traffic == self.outlook.traffic
        )


def stops(rows: list[Row]) -> list[Stopped]:
    return [row.stopped for row in rows if row.stopped is not None]


def lower(found: list[Stopped]) -> float:
    """The largest part that is stopped in a step, as surely as draws say."""
    return max((one.lower for one in found), default=0.0)


def _together(found: list[Stopped]) -> float:
    """The part of healthy rollouts that is stopped at any step or intent."""
    return 1 - math.prod(1 - one.share for one in found)


def _by_proof(outlook: Outlook, rule: Rule) -> Iterator[float | None]:
    for step in range(len(outlook.plan.steps)):
        for intent in outlook.plan.judged_intents(rule) if outlook.has_control(rule, step) else ():
            yield outlook.healthy_by_proof(rule, intent, step)


def _grave(plan: Plan, today: date) -> frozenset[tuple[str, str]]:
    def is_grave(one: Finding) -> bool:
        return one.level in GRAVE

    return frozenset((one.code, one.path) for one in lint.check(plan, today=today) if is_grave(one))


def _longest(plan: Plan) -> timedelta:
    """Every step to its deadline, or its hold, and the bake."""
    spans = (step.hold if step.deadline is None else step.deadline for step in plan.steps)
    return sum(spans, plan.bake)
