"""Above which buckets a simulated rollout counts requests: for proofs, and for percentiles as written."""

from __future__ import annotations

from controller.reconcile.observe import bounds
from controller.rollout.evidence import proofs
from controller.rollout.evidence.comparison import Frozen, compared
from controller.rollout.metrics import Kind
from controller.rollout.plan import Plan, Rule
from controller.simulate.drawn.dense import DenseTallies
from controller.simulate.drawn.streams import Streams
from controller.stats.histogram import value_of


def tallies_of(streams: Streams, room: int) -> DenseTallies:
    """Empty ones for what these streams bring, of so many minutes."""
    plan = streams.plan
    spare = most_bounds(plan) if streams.quantities is not None else 0
    tallies = DenseTallies(
        tuple(streams.groups), first=streams.first, room=room, columns=streams.columns, spare=spare
    )
    tallies.widen(bounds_of(plan, {}), streams.first)
    return tallies


def most_bounds(plan: Plan) -> int:
    """How many of them there may be, where each step freezes a percentile once."""
    return 3 * (len(plan.rules) + len(compared(plan)) * (len(plan.steps) + 1))


def told_bucket(rule: Rule) -> int:
    """The last bucket that is told as a value which keeps a percentile's limit; for `below`, the last that does not."""
    bucket = proofs.limit_bucket(rule)
    shown = value_of(bucket)
    return bucket - 1 if shown > rule.limit or (rule.below and shown == rule.limit) else bucket


def bounds_of(plan: Plan, references: Frozen) -> dict[str, set[int]]:
    """The buckets above which requests are counted, by histogram: for proofs, and for percentiles as written."""
    found = bounds(plan, references=[references])
    for rule in plan.rules:
        if rule.metric.kind is Kind.QUANTILE:
            found.setdefault(rule.metric.subject, set()).add(told_bucket(rule))
    return found
