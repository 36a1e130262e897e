"""A command, committed by compare-and-set: it works whether or not a controller is up."""

from __future__ import annotations

from controller.clock import Clock
from controller.errors import Conflict, NotFound, Refused
from controller.notify.refusals import refusal_line
from controller.ports import Store
from controller.reconcile.commit import commit
from controller.reconcile.observe import Memory, Observer
from controller.rollout.commands import AnyCommand, Apply
from controller.rollout.deciding.decide import decide, start
from controller.rollout.decision import Decision, Refusal
from controller.rollout.verdict import Seen

TRIES = 5


def submit(store: Store, clock: Clock, rollout: str, command: AnyCommand) -> Decision:
    """Carry a command out on a rollout (`name/attempt`, or a bare name for its newest attempt).

    For Apply, `rollout` is the plan's name; it may not exist yet. Returns the recorded decision. Refused, with the
    words for the person, if the state does not permit it; NotFound; Conflict if others kept committing first.
    """
    for _ in range(TRIES):
        try:
            return _once(store, clock, rollout, command)
        except Conflict:
            # Somebody committed between our reading and our writing: read again, unless the asker fixed what he saw.
            if command.expected is not None:
                raise
    raise Conflict(f"{rollout} changed {TRIES} times while the command was tried. Try again.")


def _once(store: Store, clock: Clock, rollout: str, command: AnyCommand) -> Decision:
    observer = Observer(store)
    memory = _memory(observer, rollout, command)
    now = clock.now()
    if memory is None:
        return _started(store, clock, command)
    head = memory.sight.head
    if command.expected is not None and command.expected != head.seq:
        raise Refused(
            refusal_line(
                Refusal.MOVED_ON,
                f"record {command.expected} was expected, record {head.seq} is the last",
            )
        )
    now = max(now, head.state.updated_at)
    seen = observer.seen(memory, None, now)
    decision = decide(head.plan, head.state, seen, command, now)
    if decision.recorded:
        commit(store, head, decision, seen=seen, command=command, now=now, fence=None)
    if decision.refusal is not None:
        raise Refused(refusal_line(decision.refusal, decision.refusal_detail))
    return decision


def _memory(observer: Observer, rollout: str, command: AnyCommand) -> Memory | None:
    try:
        return observer.look(rollout)
    except NotFound:
        if isinstance(command, Apply):
            return None
        raise


def _started(store: Store, clock: Clock, command: AnyCommand) -> Decision:
    if not isinstance(command, Apply):
        raise TypeError("only Apply starts a rollout")
    now = clock.now()
    decision = start(command, now)
    commit(store, None, decision, seen=Seen(through=now), command=command, now=now, fence=None)
    return decision
