"""What an advance waits for, in a line each, with how far it has come."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_never

from controller.notify.figures import (
    data_of,
    on,
    traffic_of,
)
from controller.rollout.decision import Wait, Waiting
from controller.rollout.plan import Plan, Rule
from controller.rollout.units import (
    format_duration,
)
from controller.rollout.verdict import (
    Availability,
    InForce,
)


def wait_line(wait: Wait, plan: Plan) -> str:
    """One thing an advance waits for, with how far it has come."""
    rule = plan.rule(wait.rule) if wait.rule else None
    what = f"{rule.metric.name if rule else wait.rule or 'accuracy'}{on(wait.intent)}"
    match wait.waiting:
        case Waiting.IN_FORCE:
            line = _not_in_force(wait.detail)
        case Waiting.HOLD_TIME:
            line = f"hold: {_elapsed(wait)}"
        case Waiting.SAMPLES:
            of_what = what if wait.rule else "the candidate's requests in this step"
            line = f"samples: {_progress(wait)} for {of_what}"
        case Waiting.APPROVAL:
            line = f"approval: `canaryctl approve {plan.name}` permits leaving this step"
        case Waiting.RULE_FAILED:
            line = f"rule failed: {what}; it must pass, or a person acknowledges it"
        case Waiting.UNMEASURED:
            line = f"not measured: {what}{_measured_detail(wait.detail, rule)}"
        case Waiting.PROOF:
            line = f"proof: {what} is not proven to keep its limit{_bracketed(wait.detail)}"
        case Waiting.SAMPLE_RATIO:
            line = f"sample ratio: the arms' sizes contradict the split{_bracketed(wait.detail)}"
        case Waiting.FREEZE:
            line = f"freeze: nothing advances now{_bracketed(wait.detail)}"
        case Waiting.BASELINE:
            line = f"baseline: {_baseline(wait.detail, plan)}; a rollback would have nowhere to go"
        case Waiting.COVERAGE:
            line = (
                f"coverage: the arms' answers are not graded equally often{_bracketed(wait.detail)}"
            )
        case Waiting.PAUSED:
            line = f'paused: `canaryctl resume {plan.name} --reason "…"` goes on'
        case unknown:
            assert_never(unknown)
    return line


def _not_in_force(detail: str) -> str:
    expired = detail == InForce.EXPIRED.value
    why = "its lease ran out" if expired else "not every replica has acknowledged it"
    return f"split not in force: {why}"


def _elapsed(wait: Wait) -> str:
    have, need = (timedelta(seconds=round(one or 0)) for one in (wait.have, wait.need))
    left = format_duration(max(need - have, timedelta(0)))
    return f"{format_duration(have)} of {format_duration(need)} in force, {left} to go"


def _progress(wait: Wait) -> str:
    return f"{wait.have or 0:,.0f} of {wait.need or 0:,.0f}"


def _measured_detail(detail: str, rule: Rule | None) -> str:
    data = data_of(rule) if rule else "data"
    traffic = traffic_of(rule) if rule else "there is traffic"
    words = {
        Availability.NO_TRAFFIC.value: "an arm that it needs has no traffic",
        Availability.NOT_DUE.value: "its labels are not due yet",
        Availability.NO_DATA.value: f"no {data}, though {traffic}",
        Availability.MISMATCHED.value: "the arms' sizes contradict the split",
        Availability.MEASURED.value: "the arms' sizes contradict the split",
    }
    return _bracketed(words.get(detail, detail))


def _baseline(detail: str, plan: Plan) -> str:
    words = {
        "failing": "does not answer",
        "unknown": "has not answered a request lately",
    }
    return f"{plan.baseline.model} {words.get(detail, detail)}"


def _bracketed(detail: str) -> str:
    return f" ({detail})" if detail else ""
