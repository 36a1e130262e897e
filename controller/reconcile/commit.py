"""From a decision to what the store commits."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controller.ports import Commit, Head, RolloutStore, SplitVersion
from controller.rollout.commands import AnyCommand, Apply
from controller.rollout.decision import Action, Decision
from controller.rollout.plan import Plan
from controller.rollout.record import GENESIS, Record, Sealed, seal
from controller.rollout.state import State, shares
from controller.rollout.verdict import Seen

CONTROLLER = "canaryctl"


def commit(
    store: RolloutStore,
    head: Head | None,
    decision: Decision,
    *,
    seen: Seen,
    command: AnyCommand | None,
    now: datetime,
    fence: int | None,
) -> Sealed[Record]:
    """Write one decision: record, new head, split and notices in one transaction. Conflict if the head moved."""
    before = head if head is not None and head.state.rollout == decision.state.rollout else None
    plan = _plan(store, head, decision, command)
    record = _record(decision, before, seen=seen, command=command, now=now, fence=fence)
    sealed = seal(record)
    store.commit(
        Commit(
            record=sealed,
            plan=plan,
            expected=before.hash if before is not None else None,
            notices=record.notices,
            split=_split(plan.value, before, decision.state, now),
            fence=fence,
        )
    )
    return sealed


def _plan(
    store: RolloutStore, head: Head | None, decision: Decision, command: AnyCommand | None
) -> Sealed[Plan]:
    """The plan the next state is under: the applied one, or the stored text of the present one."""
    if isinstance(command, Apply) and decision.action in (Action.START, Action.AMEND):
        return seal(command.plan)
    if head is None:
        raise LookupError("a rollout's first record comes from Apply")
    return store.plan(decision.state.plan_digest)


def _record(
    decision: Decision,
    before: Head | None,
    *,
    seen: Seen,
    command: AnyCommand | None,
    now: datetime,
    fence: int | None,
) -> Record:
    seq = before.seq + 1 if before is not None else 1
    obeyed = command if decision.refusal is None else None
    return Record(
        rollout=decision.state.rollout,
        seq=seq,
        at=max(now, decision.state.updated_at),
        actor=obeyed.actor if obeyed is not None else CONTROLLER,
        reason=obeyed.reason if obeyed is not None else "",
        action=decision.action,
        cause=decision.cause,
        plan_digest=decision.state.plan_digest,
        fence=fence,
        command=command,
        seen=seen,
        verdicts=decision.verdicts,
        # A notice's key is the record's number, so that no two records owe the same one.
        notices=tuple(replace(notice, key=f"{seq}/{notice.key}") for notice in decision.notices),
        share_before_bp=before.state.share_bp if before is not None else 0,
        state=decision.state,
        prev=before.hash if before is not None else GENESIS,
    )


def _split(plan: Plan, before: Head | None, state: State, now: datetime) -> SplitVersion | None:
    if before is not None and before.state.version == state.version:
        return None
    return SplitVersion(version=state.version, shares=shares(plan, state), since=now)
