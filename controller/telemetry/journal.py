"""Decisions as log lines, bound to the records that they are."""

from __future__ import annotations

import structlog

from controller.ports import Telemetry
from controller.rollout.record import Record, Sealed
from controller.rollout.verdict import Verdict

DIGITS = 12
"""Of a hash or a digest in a log line: enough to find it, short enough to read."""

_log = structlog.get_logger("controller.decisions")


class Journal(Telemetry):
    """Writes a line for every decision, the moment it is committed."""

    def decided(self, record: Sealed[Record], *, took_s: float) -> None:
        """Which record it is, what moved, why, under which plan and fence, on which verdicts."""
        value = record.value
        _log.info(
            "decision",
            rollout=value.rollout,
            record=value.seq,
            hash=record.hash[:DIGITS],
            plan=value.plan_digest[:DIGITS],
            fence=value.fence,
            action=value.action.value,
            cause=value.cause.value,
            phase=value.state.phase.value,
            share_before_bp=value.share_before_bp,
            share_after_bp=value.state.share_bp,
            verdicts=[verdict_words(one) for one in value.verdicts],
            took_s=round(took_s, 6),
        )


def verdict_words(verdict: Verdict) -> str:
    """`escalation=fail`, with the intent where the rule is judged by intent: `accuracy/refund=pass`."""
    about = f"{verdict.rule}/{verdict.intent}" if verdict.intent is not None else verdict.rule
    return f"{about}={verdict.outcome.value}"
