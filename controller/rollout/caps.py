"""Up to how much a request's cost is summed beside the whole: what proofs of a cost per correct answer count."""

from __future__ import annotations

from typing import Final

from controller.rollout.metrics import Kind
from controller.rollout.plan import Plan, Rule
from controller.rollout.rules import is_provable

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
