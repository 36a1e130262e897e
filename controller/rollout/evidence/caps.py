"""What proofs of a cost per correct answer count a request with at most: up to how much its cost is summed beside the
whole, to fail; and what it can cost, to pass.
"""

from __future__ import annotations

import math
from typing import Final

from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import Kind
from controller.rollout.plan import Arm, ModelRef, Plan, Rule

CAP: Final = 10
"""How many times the limit a request counts with at most, to fail: docs/adr/028."""
NUSD: Final = 1_000_000_000  # a US dollar


def cap_nusd(rule: Rule) -> int:
    """What a request counts with at most, to fail, in nano-USD."""
    return round(CAP * rule.limit * NUSD)


def cost_caps(plan: Plan) -> tuple[int, ...]:
    """The caps that are counted for a plan's rules, ascending; none for a plan without such a rule."""
    asked = (rule for rule in plan.rules if rule.metric.kind is Kind.COST and is_provable(rule))
    return tuple(sorted({cap_nusd(rule) for rule in asked}))


def most_nusd(plan: Plan, arm: Arm) -> int | None:
    """The most that a request of an arm can cost: each of its calls a full context and a full answer at list price.

    The candidate's may take one call of the baseline too. None where a price or a limit is not known.
    """
    models = (plan.baseline,) if arm is Arm.BASELINE else (plan.candidate, plan.baseline)
    calls = [_most_of_call(model) for model in models]
    known = [one for one in calls if one is not None]
    return sum(known) if len(known) == len(calls) else None


def _most_of_call(model: ModelRef) -> int | None:
    if model.price is None or model.context_window is None or model.output_limit is None:
        return None
    dearest = max(model.price.input, model.price.cached_input)
    return math.ceil(dearest * model.context_window + model.price.output * model.output_limit)
