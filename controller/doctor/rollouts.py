"""Checks of what the controller does: rollouts that nobody judges, are blind, paused or unverified; notices owed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from controller.doctor.finding import Finding, failed, ok, warning
from controller.ports import Backlog, Head
from controller.rollout.state import Phase
from controller.rollout.status import Status
from controller.rollout.units import format_duration
from controller.rollout.verdict import InForce

OWED_WARNING: Final = timedelta(minutes=5)
OWED_FAILED: Final = timedelta(hours=1)
_WEEKS: Final = timedelta(days=14)


def of_rollout(
    head: Head, status: Status | None, now: datetime, *, unwatched: timedelta
) -> Iterator[Finding]:
    """What needs somebody; else one line that all is well. `unwatched`: without a look for so long, nobody looks."""
    name = head.state.rollout
    found = [
        *_watched(head, status, now, unwatched),
        *_paused(head, now),
        *_blind(head, status),
        *_in_force(head, status),
    ]
    if found:
        yield from found
    else:
        phase = head.state.phase
        doing = "judged and in force" if phase.judged else "in force"
        yield ok(name, f"{phase.value.replace('_', ' ')}, {doing}")


def _watched(
    head: Head, status: Status | None, now: datetime, unwatched: timedelta
) -> Iterator[Finding]:
    state = head.state
    if state.phase is Phase.ROLLED_BACK:
        return  # a gateway whose lease runs out goes to the baseline, or stays there
    last = status.at if status is not None else state.started_at
    age = now - last
    if age > unwatched:
        when = f"last {_rough(age)} ago" if status is not None else "never"
        does = "judges it" if state.phase.judged else "keeps its split in force"
        yield failed(
            state.rollout,
            f"no controller {does}: {when}",
            wanted="a look every minute",
            todo="start `canaryctl run`, or see why it does not: /readyz and its log",
        )


def _paused(head: Head, now: datetime) -> Iterator[Finding]:
    pause = head.state.paused
    if pause is None:
        return
    name, left = head.state.rollout, pause.deadline - now
    wanted = "somebody to decide before it becomes a rollback"
    todo = f"`canaryctl describe {head.state.name}`, then resume or rollback"
    if left <= timedelta(0):
        late = f"paused, and its deadline passed {_rough(-left)} ago without a rollback"
        yield failed(name, late, wanted="a rollback at the deadline", todo="is a controller up?")
    else:
        due = f"paused for {pause.cause.value}; in {_rough(left)} it becomes a rollback"
        yield warning(name, due, wanted=wanted, todo=todo)


def _blind(head: Head, status: Status | None) -> Iterator[Finding]:
    readings = status.seen.readings if status is not None else ()
    worst = max(readings, key=lambda one: one.blind, default=None)
    if worst is None or worst.blind <= timedelta(0):
        return
    found = f"rule {worst.rule} has been blind for {_rough(worst.blind)}"
    wanted = f"data; after {format_duration(head.plan.max_blind)} it pauses"
    todo = "are gateways connected, and do outcomes come in? See /metrics: canary_ingested_total"
    say = failed if worst.blind >= head.plan.max_blind else warning
    yield say(head.state.rollout, found, wanted=wanted, todo=todo)


def _in_force(head: Head, status: Status | None) -> Iterator[Finding]:
    state = head.state
    if status is None or status.seen.in_force is InForce.VERIFIED or state.phase is Phase.PENDING:
        return
    found = f"the split of {state.share_bp / 100:g}% is {status.seen.in_force.value}"
    wanted = "every gateway's acknowledgement"
    todo = "`canary_gateway_heard_age_seconds` says which gateway is silent; restart or remove it"
    say = failed if state.phase is Phase.ROLLED_BACK else warning
    yield say(state.rollout, found, wanted=wanted, todo=todo)


def of_outbox(backlog: Sequence[Backlog], now: datetime) -> Iterator[Finding]:
    """What is owed, by destination."""
    if not backlog:
        yield ok("outbox", "every notice is delivered")
    for one in backlog:
        age = now - one.oldest
        name = f"outbox: {one.destination}"
        found = f"{one.count} undelivered, the oldest for {_rough(age)}"
        wanted = f"delivered within {format_duration(OWED_WARNING)}"
        todo = "`canaryctl describe` shows the last error; see the checks of Slack and webhook"
        if age > OWED_FAILED:
            yield failed(name, found, wanted=wanted, todo=todo)
        elif age > OWED_WARNING:
            yield warning(name, found, wanted=wanted, todo=todo)
        else:
            yield ok(name, found)


def _rough(span: timedelta) -> str:
    """To the second below two minutes, to the minute above, to the day from two weeks on."""
    if span >= _WEEKS:
        return format_duration(timedelta(days=span.days))
    seconds = int(span.total_seconds())
    return format_duration(timedelta(seconds=seconds if seconds < 120 else seconds // 60 * 60))
