"""What a backtest decided and why, from its records: the same arithmetic as in Slack, `describe` and `history`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.notify.arithmetic import verdict_line
from controller.rollout.decision import Action
from controller.rollout.plan import Plan
from controller.rollout.record import Record, Sealed
from controller.rollout.state import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record. `day` counts from 1; `why` is one line per verdict or word of a person."""

    seq: int
    at: datetime
    day: int
    action: Action
    cause: Cause
    before_bp: int
    after_bp: int
    why: tuple[str, ...]
    hash: str


def timeline(records: Iterable[Sealed[Record]], plan: Plan) -> tuple[Entry, ...]:
    """The entries of a rollout's records, oldest first."""
    return tuple(_entry(sealed, plan) for sealed in records)


def _entry(sealed: Sealed[Record], plan: Plan) -> Entry:
    record = sealed.value
    return Entry(
        seq=record.seq,
        at=record.at,
        day=(record.at - record.state.started_at).days + 1,
        action=record.action,
        cause=record.cause,
        before_bp=record.share_before_bp,
        after_bp=record.state.share_bp,
        why=_why(record, plan),
        hash=sealed.hash,
    )


def _why(record: Record, plan: Plan) -> tuple[str, ...]:
    """Who asked; else what failed; else what every rule said. Before the first share there is nothing to judge."""
    if record.cause is Cause.COMMAND:
        return (f"{record.actor}: {record.reason}",)
    failed = [verdict for notice in record.notices for verdict in notice.failures]
    judged = failed or (record.verdicts if record.share_before_bp else ())
    return tuple(verdict_line(verdict, plan) for verdict in judged)
