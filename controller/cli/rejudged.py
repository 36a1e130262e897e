"""How a stored rollout fares under other rules: where they part from those of the time, and what cannot be known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from controller.cli.context import Context
from controller.cli.deeds import deed
from controller.cli.output import API_VERSION, Document, console, moment, rough, wrapped

if TYPE_CHECKING:
    from controller.rollout.decision import Decision
    from controller.rollout.plan import Plan
    from controller.rollout.record import Record
    from controller.simulate.backtest.rejudge import Difference, Rejudged

INDENT = "  "


def print_rejudged(context: Context, found: Rejudged, file: str) -> None:
    out = console(context)
    for indent, said in _lines(found, file):
        for part in wrapped(said, width=out.width, indent=indent):
            out.print(part)


def _lines(found: Rejudged, file: str) -> Iterator[tuple[str, str]]:
    """An indent and a sentence each."""
    records = f"{found.records} record{'' if found.records == 1 else 's'}"
    judged = f"{found.rollout}, {records} up to {moment(found.through)}, by the rules of {file}"
    difference = found.difference
    if difference is None:
        yield "", f"{judged}: every decision the same."
    else:
        yield "", f"{judged}: they part from those of the time on {moment(difference.at)}."
        yield from _parting(difference)
        yield "", f"What happened: {_happened(difference)}."
        for said in _instead(difference):
            yield "", said
    if found.unused:
        yield (
            "",
            f"Not used of {file}: {', '.join(found.unused)}. The way of the rollout stays the recorded one.",
        )
    yield "", "Counts are taken as they stand today: a label that came late counts from the start."


def _parting(difference: Difference) -> Iterator[tuple[str, str]]:
    sides = (
        ("These rules", difference.decided, difference.plan),
        ("Those of the time", difference.of_the_time, difference.plan_of_the_time),
    )
    for whose, decision, plan in sides:
        yield INDENT, f"{whose}: {deed(decision)}."
        for line in _why(decision, plan):
            yield INDENT * 2, line


def _why(decision: Decision, plan: Plan) -> Iterator[str]:
    """The arithmetic of what failed; of every rule, if none did."""
    from controller.notify.arithmetic import verdict_line

    failed = [verdict for notice in decision.notices for verdict in notice.failures]
    for verdict in failed or decision.verdicts:
        yield verdict_line(verdict, plan)


def _happened(difference: Difference) -> str:
    recorded, stop = difference.recorded, difference.stop
    if recorded is None:
        return "nothing was recorded since"
    said = _told(recorded, difference)
    if stop is not None and stop.seq != recorded.seq:
        said += f"; {_told(stop, difference)}"
    return said


def _told(record: Record, difference: Difference) -> str:
    after = record.at - difference.at
    when = f", {rough(after)} later" if after.total_seconds() >= 60 else ""
    return f"record {record.seq} {deed(record)} on {moment(record.at)}{when}"


def _instead(difference: Difference) -> Iterator[str]:
    """How much sooner or later, and from when on nothing is known."""
    from controller.simulate.backtest.rejudge import STOPS

    later, until = difference.later, difference.known_until
    if difference.decided.recorded:
        stop = difference.stop
        if difference.decided.action in STOPS and stop is not None:
            yield f"By these rules it stops {rough(stop.at - difference.at)} sooner."
        yield (
            f"From {moment(difference.at)} on the traffic would have been split otherwise: what followed is not known."
        )
    elif later is not None:
        yield (
            f"By these rules it {deed(later.decision)} on {moment(later.at)}, {rough(later.at - difference.at)} later. "
            "What followed is not known."
        )
    else:
        yield (
            f"By these rules nothing is decided up to {moment(until)}, as long as traffic was split as it would have "
            "been. What followed is not known."
        )


def document(found: Rejudged, file: str) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": "Rejudged",
        "rollout": found.rollout,
        "file": file,
        "records": found.records,
        "through": found.through.isoformat(),
        "agrees": found.difference is None,
        "unused": list(found.unused),
        "difference": None if found.difference is None else _difference(found.difference),
    }


def _difference(one: Difference) -> Document:
    return {
        "at": one.at.isoformat(),
        "after_seq": one.seq,
        "decided": _decision(one.decided, one.plan),
        "of_the_time": _decision(one.of_the_time, one.plan_of_the_time),
        "recorded": _record(one.recorded),
        "stop": _record(one.stop),
        "stops_sooner_s": _sooner_s(one),
        "later": None
        if one.later is None
        else {"at": one.later.at.isoformat(), **_decision(one.later.decision, one.plan)},
        "known_until": one.known_until.isoformat(),
    }


def _sooner_s(one: Difference) -> float | None:
    """Seconds; negative where the stop comes later; None where one of the two does not stop."""
    from controller.simulate.backtest.rejudge import STOPS

    if one.stop is None:
        return None
    if one.decided.action in STOPS:
        return (one.stop.at - one.at).total_seconds()
    if one.later is not None and one.later.decision.action in STOPS:
        return (one.stop.at - one.later.at).total_seconds()
    return None


def _decision(decision: Decision, plan: Plan) -> Document:
    return {
        "action": decision.action.value,
        "cause": decision.cause.value,
        "share_bp": decision.state.share_bp,
        "why": list(_why(decision, plan)),
    }


def _record(record: Record | None) -> Document | None:
    if record is None:
        return None
    return {"seq": record.seq, "at": record.at.isoformat(), "action": record.action.value}
