"""Why a record came to be, in one or more lines, with the arithmetic where a rule decided."""

from __future__ import annotations

from controller.notify.arithmetic import verdict_line
from controller.rollout.codec import encode
from controller.rollout.decision import Action
from controller.rollout.plan import Plan
from controller.rollout.record import Record
from controller.rollout.state import Cause
from controller.rollout.units import format_duration
from controller.rollout.verdict import Verdict

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
    details = [notice.detail for notice in record.notices if notice.detail]
    if record.cause is Cause.BLIND:
        return f"{WORDS[record.cause]} ({format_duration(plan.max_blind)})"
    return f"{WORDS[record.cause]}: {', '.join(details)}" if details else WORDS[record.cause]


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
