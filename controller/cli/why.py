"""Why a record came to be, in one or more lines, with the arithmetic where a rule decided."""

from __future__ import annotations

from controller.notify.arithmetic import verdict_line
from controller.notify.figures import listed, on
from controller.rollout.codec import encode
from controller.rollout.decision import Action
from controller.rollout.evidence.comparison import compared, reference_key
from controller.rollout.plan import Plan
from controller.rollout.record import Record
from controller.rollout.state import Cause
from controller.rollout.units import format_duration, format_seconds
from controller.rollout.verdict import Verdict
from controller.stats.histogram import upper_edge

WORDS = {
    Cause.COMMAND: "asked for",
    Cause.RULE: "a rule failed",
    Cause.BLIND: "blind for longer than maxBlind",
    Cause.PAUSE_DEADLINE: "nobody resumed it before the pause's deadline",
    Cause.CLEAR: "held, enough samples, no rule failed or unmeasured",
    Cause.PROVEN: "held, enough samples, every critical intent proven",
    Cause.BAKED: "baked",
    Cause.RECOVERED: "every rule behind the pause passes again",
    Cause.LEASE: "a split's lease ran out without a word from the controller",
    Cause.MISMATCH: "the arms' sizes contradict the split",
    Cause.WAITING: "told once",
}


def why(record: Record, plan: Plan) -> tuple[str, ...]:
    """The verdicts that decided, one line each; else the asker's reason; else the cause in words."""
    failed = tuple(verdict_line(one, plan) for one in _deciding(record))
    if failed:
        return failed
    if record.cause is Cause.COMMAND:
        return (f"“{record.reason}”",) if record.reason else ()
    return (_in_words(record, plan),)


def _deciding(record: Record) -> tuple[Verdict, ...]:
    return tuple(verdict for notice in record.notices for verdict in notice.failures)


def _in_words(record: Record, plan: Plan) -> str:
    if record.cause is Cause.CLEAR and record.action is Action.ADVANCE and record.state.step == 0:
        return "the split is in force and the baseline answers"
    if record.action is Action.MEASURE:
        return _frozen(record, plan)
    details = [notice.detail for notice in record.notices if notice.detail]
    if record.cause is Cause.BLIND:
        return f"{WORDS[record.cause]} ({format_duration(plan.max_blind)})"
    return f"{WORDS[record.cause]}: {', '.join(details)}" if details else WORDS[record.cause]


def _frozen(record: Record, plan: Plan) -> str:
    """`froze the baseline's p95 to compare with: latency_p95_ratio on refund 2.019s`, each that is new."""
    fresh = [
        (rule, intent, known[-1])
        for rule, intent in compared(plan)
        if (known := record.state.references.get(reference_key(rule, intent)))
        and known[-1].since == record.at
    ]
    told = dict.fromkeys(
        f"{rule.metric.name}{on(intent)} {format_seconds(round(upper_edge(one.bucket), 3))}"
        for rule, intent, one in fresh
    )
    percentiles = dict.fromkeys(f"p{100 * (rule.metric.quantile or 0):g}" for rule, _, _ in fresh)
    return f"froze the baseline's {listed(list(percentiles))} to compare with: {', '.join(told)}"


def document(record: Record, plan: Plan) -> dict[str, object]:
    """A record in short, for `-o json`: what moved, who or what moved it, and why."""
    return {
        "seq": record.seq,
        "at": encode(record.at),
        "action": record.action.value,
        "cause": record.cause.value,
        "share_before_bp": record.share_before_bp,
        "share_after_bp": record.state.share_bp,
        "actor": record.actor,
        "reason": record.reason,
        "why": list(why(record, plan)),
    }
