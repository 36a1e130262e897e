"""What people's grades beside a judge's can be expected to prove: by the live bets, on answers as the plan has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.rollout.by_minute import HOUR_MIN
from controller.rollout.plan import Plan, Rule
from controller.rollout.powered import policy_of
from controller.rollout.rules import bound_of
from controller.stats.passage import Growth
from controller.stats.powered import Graded, chances, powered_growth


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One arm's graded answers: a minute, and which part is wrong, or escalated and so wrong without anybody."""

    graded: float
    wrong: float
    escalated: float = 0.0


def drawn(plan: Plan, *arms: Answers) -> float:
    """How many people grade, a minute, of the arm with fewer."""
    return plan.labels.people * min(one.graded for one in arms)


def keeping(plan: Plan, rule: Rule, candidate: Answers, baseline: Answers) -> Growth:
    """What the proof that the limit is kept gains by one answer that people grade, of the arm with fewer, what is
    graded of the other meanwhile, and what the judge alone grades of both.
    """
    one = drawn(plan, candidate, baseline)
    return powered_growth(
        _in(plan, candidate, 1 / one),
        _in(plan, baseline, 1 / one),
        policy_of(plan),
        margin=bound_of(rule),
        effect=rule.alternative or rule.limit,
        sign=-1,
        looks_every=HOUR_MIN * one,
    )


def _in(plan: Plan, arm: Answers, length_min: float) -> Graded:
    """So many minutes of an arm, by who calls its answers right."""
    judge, share = plan.labels.judge, plan.labels.people
    if judge is None:
        raise LookupError(f"people do not grade beside a judge in {plan.name}")
    errors = {"sensitivity": judge.sensitivity, "specificity": judge.specificity}
    looked_at = 1 - arm.escalated
    of = np.array([0.0, 0.0, 0.0, arm.escalated])
    if looked_at > 0:
        of += looked_at * chances(right=(1 - arm.wrong) / looked_at, **errors)
    n = arm.graded * length_min
    called = of[0] + of[2]
    others = n * (1 - share) * np.array([1 - called, called])
    return Graded((n * share * of)[None, :], others[None, :])
