"""What a rollout costs while it runs, by the plan's prices, against staying on the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from controller.plans.cost import INPUT_TOKENS, OUTPUT_TOKENS, request_usd
from controller.rollout.plan import FULL_BP, Plan
from controller.rollout.timeline import MINUTE
from controller.simulate.scenarios import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Of the planned time: every hold and the bake. US dollars; `steps` are the rollout's by step.

    An escalated answer costs both calls. A shadow pair costs the candidate's call: the baseline's is made anyway.
    """

    span: timedelta
    requests: float
    baseline_usd: float
    rollout_usd: float
    steps_usd: tuple[float, ...]
    pair_usd: float
    input_tokens: int
    output_tokens: int


def bill(
    plan: Plan,
    traffic: Traffic,
    *,
    input_tokens: int = INPUT_TOKENS,
    output_tokens: int = OUTPUT_TOKENS,
) -> Bill | None:
    """None where a price is not known."""
    if plan.baseline.price is None or plan.candidate.price is None:
        return None
    old, new = (
        request_usd(price, input_tokens=input_tokens, output_tokens=output_tokens)
        for price in (plan.baseline.price, plan.candidate.price)
    )
    free = sum(traffic.mix[one.name] for one in plan.intents if not one.pinned)
    dearer = new + Fraction(traffic.escalation) * old - old  # of a request that the candidate gets
    last = len(plan.steps) - 1
    spans = [
        one.hold + (plan.bake if step == last else timedelta(0))
        for step, one in enumerate(plan.steps)
    ]
    a_minute = traffic.units_per_minute * traffic.requests_per_unit
    requests = [a_minute * (span / MINUTE) for span in spans]
    steps = tuple(
        n * float(old + Fraction(free) * Fraction(plan.share_at(step), FULL_BP) * dearer)
        for step, n in enumerate(requests)
    )
    return Bill(
        span=sum(spans, timedelta(0)),
        requests=sum(requests),
        baseline_usd=sum(requests) * float(old),
        rollout_usd=sum(steps),
        steps_usd=steps,
        pair_usd=float(new),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
