"""What a rule shows where nothing is wrong, as expected, and what is lacking where nobody can say it."""

from __future__ import annotations

from dataclasses import replace

from controller.rollout.evidence.comparison import LEAST
from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import SERVED, Kind
from controller.rollout.plan import FULL_BP, Arm, Rule
from controller.simulate.expected import Expected
from controller.simulate.feasibility.laws import cost_figure, usual_rate
from controller.simulate.feasibility.slowness import is_frozen

HISTORY = "a store with history of the plan"


def figure(expected: Expected, rule: Rule, intent: str | None, step: int) -> float | None:
    """In the metric's own unit; of a spike 1, the usual. None where too little is known."""
    found = _figure(expected, rule, intent, step)
    if found is None or rule.usual is None:
        return found
    return 1.0 if found else 0.0


def true_figure(expected: Expected, rule: Rule, intent: str | None, step: int) -> float | None:
    """The same without the errors of the plan's judge, as proofs on one arm's grades see it."""
    labels = replace(expected.plan.labels, judge=None, people_u=0)
    return figure(replace(expected, plan=replace(expected.plan, labels=labels)), rule, intent, step)


def _figure(expected: Expected, rule: Rule, intent: str | None, step: int) -> float | None:
    arm, metric, traffic = rule.arm or Arm.CANDIDATE, rule.metric, expected.traffic
    match metric.kind:
        case Kind.RATE:
            return usual_rate(expected, rule)
        case Kind.ACCURACY:
            if metric.subject == SERVED:
                served = max(expected.wrong() - traffic.escalation, 0.0)
                return expected.called_right(1 - served)
            return 1 - expected.called_wrong(arm)
        case Kind.LOSS:
            return expected.called_wrong(Arm.CANDIDATE) - expected.called_wrong(Arm.BASELINE)
        case Kind.COVERAGE:
            return expected.covered(arm)
        case Kind.QUANTILE | Kind.QUANTILE_RATIO | Kind.MEAN:
            return _of_times(expected, rule, arm)
        case Kind.COST:
            return cost_figure(expected, rule, intent, step)
        case Kind.SAMPLE_RATIO:
            return expected.plan.share_at(step) / FULL_BP


def _of_times(expected: Expected, rule: Rule, arm: Arm) -> float | None:
    """Of how long answers take."""
    metric, usual = rule.metric, expected.usual
    if "/" in metric.subject:
        return usual.tokens_per_second.get(arm)
    known = usual.of(arm, metric.subject.removesuffix("_us"))
    if known is None or metric.quantile is None:
        return None if known is None else known.mean_s
    if not metric.comparing:
        return known.quantile(metric.quantile)
    baseline = usual.of(Arm.BASELINE, metric.subject)
    return (
        None
        if baseline is None
        else known.quantile(metric.quantile) / baseline.quantile(metric.quantile)
    )


NO_TIMES = (
    "healthy answers never have it, as far as is known, and nothing is so many times that: say with --catch what "
    f"should be caught, or run with {HISTORY}"
)
"""What is lacking of a spike that no regression was stated for."""


def is_without_usual(rule: Rule, shown: float | None) -> bool:
    """Whether a spike has nothing to be so many times of; `shown` is its figure."""
    return rule.usual is not None and shown == 0


def is_past(rule: Rule, value: float) -> bool:
    """Whether a figure is on the wrong side of the rule's limit."""
    return value < rule.limit if rule.below else value > rule.limit


def lacking(expected: Expected, rule: Rule, intent: str | None, step: int) -> str | None:
    """What would have to be known, and who can tell; None: nothing."""
    if figure(expected, rule, intent, step) is not None:
        of_ratio = rule.metric.kind is Kind.QUANTILE_RATIO and is_provable(rule)
        if of_ratio and not is_frozen(expected, rule, intent, step):
            return (
                f"a window mostly holds fewer than {LEAST} requests of the baseline, so that no percentile of it is "
                "frozen and nothing is proven"
            )
        return None
    match rule.metric.kind:
        case Kind.RATE:
            return f"how often healthy answers have it is not known: run with {HISTORY}"
        case Kind.MEAN if "/" in rule.metric.subject:
            return f"no token speeds known: run with {HISTORY}"
        case Kind.COST:
            return "no price known: say it in the plan"
        case _:
            ttft = rule.metric.subject == "ttft"
            what, option = (
                ("times to the first token", "--ttft") if ttft else ("latencies", "--latency")
            )
            return f"no {what} known: give {option} P50,P95 or run with {HISTORY}"
