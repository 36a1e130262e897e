"""What one recorded result says, in the terms that observations and outcomes are counted in.

What the recording does not say is left out, never 0. A refusal by the candidate stands for an escalation: its answer
would not have been used. The baseline has nobody to escalate to. Cost is tokens at the plan's price, without a
discount for cached tokens, which no recording tells; where tokens or price are unknown, the recorded cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.rollout.metrics import Kind, Metric
from controller.rollout.plan import Arm, ModelRef, Plan, Rule
from controller.simulate.backtest.results import Recording, Result

_NANO = 1_000_000_000
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One result as an arm's answer. `correct` is None where it was not graded, `by_person` where no person did."""

    flags: Mapping[str, bool]
    quantities: Mapping[str, int]
    correct: bool | None
    by_person: bool | None = None

    def knows(self, need: str) -> bool:
        if need == "correct":
            return self.correct is not None
        return need in self.flags or need in self.quantities


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A rule that the recording cannot feed, or only in part: `known` of `of` results have what it needs."""

    rule: str
    metric: str
    why: str
    known: int
    of: int


def measure(result: Result, arm: Arm, model: ModelRef) -> Measured:
    """A result served under `arm` by `model`."""
    flags = {
        "error": result.failed,
        "refusal": result.refused,
        "escalated": _escalated(result, arm),
    }
    quantities = {
        "input_tokens": result.prompt_tokens,
        "output_tokens": result.completion_tokens,
        "cost_nusd": _cost_nusd(result, model),
        "latency_us": None if result.latency_s is None else round(result.latency_s * _MICRO),
    }
    return Measured(
        flags={name: value for name, value in flags.items() if value is not None},
        quantities={name: value for name, value in quantities.items() if value is not None},
        correct=result.correct,
        by_person=result.by_person,
    )


def gaps(plan: Plan, recording: Recording) -> tuple[Gap, ...]:
    """The rules of a plan that lack something in this recording, in the plan's order."""
    found = (_gap(rule, _answers(rule, plan, recording)) for rule in plan.rules)
    return tuple(gap for gap in found if gap is not None)


def _escalated(result: Result, arm: Arm) -> bool | None:
    return None if result.refused is None else result.refused and arm is Arm.CANDIDATE


def _cost_nusd(result: Result, model: ModelRef) -> int | None:
    tokens_in, tokens_out = result.prompt_tokens, result.completion_tokens
    if model.price is not None and tokens_in is not None and tokens_out is not None:
        return model.price.cost_nusd(
            input_tokens=tokens_in, cached_tokens=0, output_tokens=tokens_out
        )
    return None if result.cost_usd is None else round(result.cost_usd * _NANO)


def _answers(rule: Rule, plan: Plan, recording: Recording) -> list[Measured]:
    """The recorded answers of the arms that a rule looks at."""
    arms = tuple(Arm)
    if rule.arm is not None:
        arms = (rule.arm,)
    elif rule.metric.kind in (Kind.RATE, Kind.ACCURACY, Kind.QUANTILE, Kind.MEAN, Kind.COVERAGE):
        arms = (Arm.CANDIDATE,)
    models = {Arm.BASELINE: plan.baseline, Arm.CANDIDATE: plan.candidate}
    return [measure(pair.of(arm), arm, models[arm]) for pair in recording.pairs for arm in arms]


def _gap(rule: Rule, answers: Sequence[Measured]) -> Gap | None:
    counts = {need: sum(answer.knows(need) for answer in answers) for need in _needs(rule.metric)}
    lacking = {need: count for need, count in counts.items() if count < len(answers)}
    if not lacking:
        return None
    return Gap(
        rule=rule.name,
        metric=rule.metric.name,
        why=", ".join(_why(need, count, len(answers)) for need, count in lacking.items()),
        known=min(lacking.values()),
        of=len(answers),
    )


def _needs(metric: Metric) -> tuple[str, ...]:
    """The flags, quantities and grades that a metric is computed from."""
    match metric.kind:
        case Kind.LOSS | Kind.ACCURACY | Kind.COVERAGE:
            return ("correct",)
        case Kind.RATE:
            return (metric.subject,)
        case Kind.QUANTILE | Kind.QUANTILE_RATIO:
            return (f"{metric.subject}_us",)
        case Kind.MEAN:
            return tuple(metric.subject.split("/"))
        case Kind.COST:
            return _cost_needs(metric.subject)
        case Kind.SAMPLE_RATIO:
            return ()


def _cost_needs(subject: str) -> tuple[str, ...]:
    match subject:
        case "tokens_per_hour":
            return ("input_tokens", "output_tokens")
        case "per_correct":
            return ("cost_nusd", "correct")
        case _:
            return ("cost_nusd",)


_COLUMN = {
    "escalated": "refused",
    "refusal": "refused",
    "error": "error",
    "correct": "correct",
    "latency_us": "latency_s",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cost_nusd": "prompt_tokens and completion_tokens",
}


def _why(need: str, known: int, of: int) -> str:
    column = _COLUMN.get(need)
    if column is None:
        return f"no column tells {need}"
    if known == 0:
        return f"no value in {column}"
    return f"{column} is known for {known:,} of {of:,} results"
