"""A store whose outbox owes what a test needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controller.ports import Commit, Head, RolloutStore
from controller.rollout.commands import Apply
from controller.rollout.deciding.decide import start
from controller.rollout.decision import Action, Notice
from controller.rollout.plan import Plan
from controller.rollout.record import GENESIS, Record, seal
from controller.rollout.state import Cause, State
from controller.rollout.verdict import Seen
from controller.store.memory import MemoryStore


def store() -> RolloutStore:
    return MemoryStore()


def owe(to: RolloutStore, *notices: Notice, rollout: str, of: Plan, at: datetime) -> None:
    """Commit one record that owes these notices, decided under the plan `of`."""
    head = next((one for one in to.heads() if one.state.rollout == rollout), None)
    record = _record(head, notices, rollout, of, at)
    to.commit(
        Commit(
            record=seal(record),
            plan=seal(of),
            expected=head.hash if head else None,
            notices=record.notices,
            split=None,
            fence=0,
        )
    )


def _record(
    head: Head | None, notices: tuple[Notice, ...], rollout: str, of: Plan, at: datetime
) -> Record:
    seq = head.seq + 1 if head else 1
    return Record(
        rollout=rollout,
        seq=seq,
        at=at,
        actor="controller",
        reason="",
        action=Action.NOTIFY,
        cause=Cause.RULE,
        plan_digest=of.digest,
        fence=0,
        command=None,
        seen=Seen(through=at),
        verdicts=(),
        notices=tuple(replace(one, key=f"{seq}/{one.key}") for one in notices),
        share_before_bp=0,
        state=_state(head, rollout, of, at),
        prev=head.hash if head else GENESIS,
    )


def _state(head: Head | None, rollout: str, of: Plan, at: datetime) -> State:
    name, _, attempt = rollout.partition("/")
    first = start(Apply(actor="ana", plan=of), at, attempt=int(attempt)).state
    revision = head.state.revision + (head.plan != of) if head else 1
    return replace(first, rollout=rollout, name=name, revision=revision)
