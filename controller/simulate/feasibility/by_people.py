"""What people's grades beside a judge's can be expected to prove: by the live bets, on answers as the plan has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.rollout.evidence.by_minute import HOUR_MIN
from controller.rollout.evidence.powered import LEAST, policy_of
from controller.rollout.evidence.proofs import claim_of
from controller.rollout.evidence.prospects import FIRST
from controller.rollout.evidence.rules import alpha_of, bound_of
from controller.rollout.evidence.starts import start_threshold
from controller.rollout.plan import Plan, Rule
from controller.rollout.timeline import minutes
from controller.simulate.feasibility.proof_against import ProofAgainst, Shown
from controller.stats.passage import Growth, Passage
from controller.stats.powered import Graded, chances, powered_accuracy, powered_growth

MOST: Final = 0.999
"""A correlation above which two proofs are one."""
MANY: Final = 1e6
"""Answers from which a variance is told."""


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
    return _growth(plan, rule, candidate, baseline, margin=bound_of(rule), sign=-1)


def against(
    plan: Plan, rule: Rule, candidate: Answers, baseline: Answers, *, kinds: int
) -> ProofAgainst:
    """To the proof of a loss by such answers, with the figure by the same grades beside it. `kinds`: of evidence that
    share the rule's alpha.
    """
    needed = start_threshold(
        rule, alpha=alpha_of(plan, rule, FIRST) / kinds, horizon_min=minutes(plan.horizon)
    )
    growth = _growth(plan, rule, candidate, baseline, margin=claim_of(plan, rule), sign=1)
    passage = Passage(growth=growth, log_threshold=needed)
    return ProofAgainst(passage, _shown(plan, rule, candidate, baseline))


def _growth(
    plan: Plan, rule: Rule, candidate: Answers, baseline: Answers, *, margin: float, sign: int
) -> Growth:
    one = drawn(plan, candidate, baseline)
    return powered_growth(
        _in(plan, candidate, 1 / one),
        _in(plan, baseline, 1 / one),
        policy_of(plan),
        margin=margin,
        effect=rule.alternative or rule.limit,
        sign=sign,
        looks_every=HOUR_MIN * one,
    )


def _shown(plan: Plan, rule: Rule, candidate: Answers, baseline: Answers) -> Shown:
    """The prediction-powered loss, by each answer that people grade of the arm with fewer."""
    length_min, weight = MANY / drawn(plan, candidate, baseline), policy_of(plan).weight
    ours, theirs = (
        powered_accuracy(_in(plan, one, length_min), weight) for one in (candidate, baseline)
    )
    if ours is None or theirs is None:
        raise LookupError(f"so many answers tell nothing of {rule.name}")
    return Shown(
        mean=theirs.estimate - ours.estimate,
        variance=MANY * (ours.se**2 + theirs.se**2),
        limit=rule.limit,
        least=LEAST,
    )


def correlation(plan: Plan, candidate: Answers, baseline: Answers) -> float:
    """Of the loss as people's grades show it, with the judge's beside them, and as the judge's alone do."""
    weight, together, of_people, of_judge = policy_of(plan).weight, 0.0, 0.0, 0.0
    for arm in (candidate, baseline):
        answers = _in(plan, arm, 1.0)
        drawn_n, others_n = float(answers.drawn_n[0]), float(answers.others_n[0])
        likely = answers.drawn[0] / drawn_n
        person, judge = likely[0] + likely[1], likely[0] + likely[2]
        both = likely[0] - person * judge
        judged = judge * (1 - judge)
        together += both / (drawn_n + others_n)
        of_judge += judged / (drawn_n + others_n)
        of_people += (person * (1 - person) - 2 * weight * both + weight**2 * judged) / drawn_n
        of_people += weight**2 * judged / others_n if others_n else 0.0
    spread = math.sqrt(of_people * of_judge)
    return min(max(together / spread, 0.0), MOST) if spread else 0.0


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
