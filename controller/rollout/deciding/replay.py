"""Reading a rollout's records again: the state they fold to, and whether `decide` still says the same (invariant 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from controller.errors import ChainBroken
from controller.rollout.codec import canonical
from controller.rollout.commands import Apply
from controller.rollout.deciding.decide import decide
from controller.rollout.deciding.steps import first_state
from controller.rollout.decision import Action, Notice
from controller.rollout.plan import Plan
from controller.rollout.record import Record
from controller.rollout.state import State

PlanOf = Callable[[str], Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One record whose decision comes out differently today."""

    seq: int
    at: datetime
    field: str
    recorded: str
    replayed: str


def fold(records: Iterable[Record]) -> State:
    """The state that a rollout's records lead to, oldest first. ChainBroken where one does not start at the share
    that the one before it ended at, or there is none.
    """
    state: State | None = None
    for record in records:
        before = state.share_bp if state is not None else 0
        if record.share_before_bp != before:
            raise ChainBroken(
                f"{record.rollout}: record {record.seq} starts at {record.share_before_bp} bp, "
                f"the one before it ended at {before} bp: a change of share has no record."
            )
        state = record.state
    if state is None:
        raise ChainBroken("no records, so no state: a rollout has at least its first one.")
    return state


def replay(records: Iterable[Record], plan_of: PlanOf) -> tuple[Disagreement, ...]:
    """Run every recorded decision again on its own evidence; empty if all agree.

    `plan_of` gives a plan revision by digest. The first record has no state before it: only the state it starts from
    is compared.
    """
    found: list[Disagreement] = []
    before: State | None = None
    for record in records:
        found.extend(_compare(record, before, plan_of))
        before = record.state
    return tuple(found)


def _compare(record: Record, before: State | None, plan_of: PlanOf) -> Iterable[Disagreement]:
    for name, recorded, replayed in _sides(record, before, plan_of):
        told, again = canonical(recorded), canonical(replayed)
        if told != again:
            yield Disagreement(
                seq=record.seq, at=record.at, field=name, recorded=told, replayed=again
            )


def _sides(
    record: Record, before: State | None, plan_of: PlanOf
) -> Iterable[tuple[str, object, object]]:
    if before is None:
        plan = (
            record.command.plan
            if isinstance(record.command, Apply)
            else plan_of(record.plan_digest)
        )
        start = first_state(
            plan, record.state.plan_digest, record.state.attempt, record.state.started_at
        )
        return [("state", record.state, start)]
    again = decide(plan_of(before.plan_digest), before, record.seen, record.command, record.at)
    return [
        ("action", record.action, again.action),
        ("cause", record.cause, again.cause),
        ("state", record.state, _same_digest(record, again.state)),
        ("verdicts", record.verdicts, again.verdicts),
        ("notices", record.notices, _numbered(record.seq, again.notices)),
    ]


def _same_digest(record: Record, again: State) -> State:
    """A plan's digest is of the text that was stored; a later release may write more fields."""
    amended = record.action is Action.AMEND
    return replace(again, plan_digest=record.state.plan_digest) if amended else again


def _numbered(seq: int, notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    return tuple(replace(one, key=f"{seq}/{one.key}") for one in notices)
