"""A rollout drawn as lines of text: the body of `describe`, and what `watch` keeps up to date."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import timedelta

from rich.text import Text

from controller.cli import style
from controller.cli.entries import Entry
from controller.cli.output import grid, moment, precise, rough
from controller.cli.view import (
    View,
    intents_pinned,
    limit_text,
    needs_of,
    rule_of,
    samples_text,
    share_change,
    value_text,
    window_text,
)
from controller.cli.why import why
from controller.notify.arithmetic import needs_line, verdict_line
from controller.notify.coverage import coverage_words, straying_words
from controller.notify.figures import e_value
from controller.notify.waits import wait_line
from controller.ports import Owed
from controller.rollout.evidence.discoveries import RATE, Tested, discoveries
from controller.rollout.metrics import MICRO
from controller.rollout.plan import Plan, Severity
from controller.rollout.state import Phase
from controller.rollout.units import format_duration, format_percent, format_share
from controller.rollout.verdict import Outcome, Verdict

INDENT = "  "
FORMS = ("OBSERVED", "CONFIDENT")
RULES = ("RULE", "INTENT", "VALUE", "LIMIT", "SAMPLES", "WINDOW", "VERDICT", *FORMS)


def portrait(
    view: View, entries: Sequence[Entry], owed: Sequence[Owed], *, width: int
) -> Iterator[Text]:
    """Everything, in the order a person asks: where, how good, what next, what was wrong, what happened."""
    yield from header(view, width=width)
    yield from _section("Rules", rules(view, width=width))
    tested = discoveries(view.plan, view.verdicts) if view.verdicts else ()
    if tested:
        yield from _section("Non-critical intents together", _together(tested, width=width))
    yield from _section("Waits for", waits(view))
    yield from _section("Open failures", _failures(view))
    yield from _section("Last records", records(entries, width=width))
    yield from _section("Undelivered notices", _owed(view, owed))


def brief(view: View, entries: Sequence[Entry], *, width: int) -> Iterator[Text]:
    """What `watch` keeps up to date: as little as fits a small terminal, and the arithmetic of what failed."""
    yield from header(view, width=width)
    yield from _section("Rules", rules(view, width=width, in_full=False))
    yield from _section("Waits for", waits(view))
    yield from _section("Last records", records(entries, width=width))


def header(view: View, *, width: int) -> Iterator[Text]:
    state, plan = view.state, view.plan
    rows: list[tuple[str, str | Text]] = [
        ("Rollout", f"{state.name}, attempt {state.attempt}, record {view.head.seq}"),
        ("Plan", f"revision {state.revision}, {state.plan_digest[:12]}"),
        ("Models", f"{plan.baseline.model} → {plan.candidate.model}"),
        ("Traffic", f"model {plan.match_model}, by {plan.unit.value}, through {plan.target}"),
        ("Phase", _phase(view)),
        ("Step", _step(view)),
        ("Share", _share(view)),
        ("In force", _in_force(view)),
    ]
    if intents_pinned(view):
        rows.append(("Pinned", ", ".join(intents_pinned(view))))
    if state.paused is not None:
        rows.append(("Paused", _paused(view)))
    rows.append(("Judged", _judged(view)))
    graded = _graded(view)
    if graded is not None:
        rows.append(("Graded", graded))
    label = max(len(name) for name, _ in rows) + 3
    for name, value in rows:
        text = value if isinstance(value, Text) else Text(value, style="not bold")
        yield from _labelled(Text(f"{name}:".ljust(label), style="bold"), text, width=width)


def _labelled(label: Text, value: Text, *, width: int) -> Iterator[Text]:
    """The value beside its label; a long one goes on below its own beginning."""
    room = max(width - label.cell_len, 40)
    if value.cell_len <= room:
        yield label.append_text(value)
        return
    first, *rest = textwrap.wrap(value.plain, width=room, break_on_hyphens=False)
    yield Text.assemble(label, Text(first, style=value.style))
    yield from (
        Text(" " * label.cell_len).append_text(Text(one, style=value.style)) for one in rest
    )


def _phase(view: View) -> Text:
    line = Text("", style="not bold").append_text(style.phase(view.state.phase))
    if view.state.phase is Phase.PENDING:
        return line.append(", nothing shifted yet")
    return line.append(f", last changed {rough(view.now - view.state.updated_at)} ago")


def _step(view: View) -> str:
    parts = [view.step]
    if view.hold is not None:
        doing = "baked" if view.state.phase is Phase.BAKING else "held"
        parts.append(f"{doing} {rough(view.held)} of {format_duration(view.hold)}")
    step = view.plan.steps[view.state.step] if view.state.step >= 0 else None
    if step is not None and step.approval:
        parts.append("approved" if view.state.approved else "approval required to leave it")
    return ", ".join(parts)


def _share(view: View) -> Text:
    line = Text(f"{format_share(view.state.share_bp)} ", style="not bold")
    line.append_text(style.bar(view.state.share_bp))
    if view.plan.holdback_bp:
        line.append(f" holdback {format_share(view.plan.holdback_bp)}", style="dim")
    return line


def _in_force(view: View) -> str:
    if view.in_force is None or view.status is None:
        return f"split version {view.state.version}: known after the next tick"
    return f"split version {view.state.version} {view.in_force.value}"


def _paused(view: View) -> Text:
    paused = view.state.paused
    if paused is None:
        return Text("-")
    left = paused.deadline - view.now
    if left > timedelta(0):
        then = f"rolls back at {moment(paused.deadline)}, in {rough(left)}, unless resumed"
    else:
        then = f"was to roll back at {moment(paused.deadline)}, {rough(-left)} ago: no controller has acted since"
    return Text(
        f"since {moment(paused.since)} ({paused.cause.value.replace('_', ' ')}); {then}",
        style="yellow not bold",
    )


def _judged(view: View) -> str:
    if view.status is None:
        return "never"
    through = f"windows through {moment(view.status.seen.through)}"
    return f"{precise(view.status.at)}, {rough(view.now - view.status.at)} ago, {through}"


def _graded(view: View) -> Text | None:
    """How many answers of the step have a grade, where that is not simply all of them."""
    coverage = view.coverage
    if coverage is None:
        return None
    wrong = straying_words(coverage)
    if wrong:
        return Text(f"{coverage_words(coverage)}; {wrong}", style="yellow not bold")
    if coverage.sampled_u >= MICRO:
        return None
    sampled = format_percent(coverage.sampled_u / MICRO)
    return Text(f"{coverage_words(coverage)}; labels.sampled {sampled}", style="not bold")


def _section(title: str, lines: Iterator[Text]) -> Iterator[Text]:
    body = list(lines)
    yield Text("")
    if body:
        yield Text(title, style="bold")
        yield from (Text(INDENT).append_text(line) for line in body)
    else:
        yield Text.assemble((title, "bold"), "  none")


def rules(view: View, *, width: int, in_full: bool = True) -> Iterator[Text]:
    """A row for each verdict and, in full or where it failed, its arithmetic below it.

    Where the columns do not fit, the two forms of evidence get a line of their own.
    """
    if not view.verdicts:
        ended = f"no longer judged: {style.words(view.state.phase)}"
        yield Text("not judged yet" if view.state.phase.judged else ended, style="dim")
        return
    room = width - len(INDENT)
    rows = [_rule_row(view.plan, verdict) for verdict in view.verdicts]
    lines = grid(RULES, rows)
    wide = max(line.cell_len for line in lines) <= room
    if not wide:
        lines = grid(RULES[: -len(FORMS)], [row[: -len(FORMS)] for row in rows])
    yield lines[0]
    for line, verdict in zip(lines[1:], view.verdicts, strict=True):
        yield line
        if not in_full and verdict.outcome is not Outcome.FAIL:
            continue
        if not wide:
            observed, confident = _forms(verdict)
            yield Text(f"{INDENT}observed ") + observed + Text(", confident ") + confident
        yield from wrapped(verdict_line(verdict, view.plan), indent=INDENT, width=room)
        lacking = needs_of(view, verdict)
        if lacking is not None:
            needed = needs_line(lacking, rule_of(view.plan, verdict), view.plan)
            yield from wrapped(needed, indent=INDENT, width=room)


def _rule_row(plan: Plan, verdict: Verdict) -> list[str | Text]:
    rule = rule_of(plan, verdict)
    return [
        rule.name,
        verdict.intent or "all",
        value_text(plan, verdict),
        limit_text(rule),
        samples_text(verdict),
        window_text(rule, verdict),
        style.outcome(verdict.outcome),
        *_forms(verdict),
    ]


def _forms(verdict: Verdict) -> list[Text]:
    """The verdict by each form of evidence on its own."""
    return [style.outcome(verdict.observed), style.outcome(verdict.confident)]


def _together(tested: Sequence[Tested], *, width: int) -> Iterator[Text]:
    """Which of them have failed, if of all that are named few may be named falsely."""
    named = [one for one in tested if one.named]
    said = f"{len(named) or 'none'} of {len(tested)} failed, at a false discovery rate of {format_percent(RATE)} (e-BH)"
    yield from wrapped(f"{said}; this stops nothing", indent="", width=width - len(INDENT))
    for one in named:
        yield Text(f"• {one.rule} on {one.intent}: e-value {e_value(one.log_e)}", style="yellow")


def waits(view: View) -> Iterator[Text]:
    """What the step still waits for."""
    if view.state.phase.judged and not view.settled:
        yield Text("known after the next tick", style="dim")
    for wait in view.waits:
        yield Text("• ").append(wait_line(wait, view.plan))


def _failures(view: View) -> Iterator[Text]:
    for failure in view.state.open_failures:
        where = f" on {failure.intent}" if failure.intent is not None else ""
        yield Text(
            f"{failure.rule}{where} failed at {moment(failure.at)} (epoch {failure.epoch}), "
            f"then: {failure.then.value}{', resume: auto' if failure.auto_resume else ''}",
            style="red",
        )


def records(entries: Sequence[Entry], *, width: int) -> Iterator[Text]:
    """What happened, newest last: number, moment, action, share, by whom, why."""
    rows = [
        [
            str(one.record.seq),
            moment(one.record.at),
            one.record.action.value,
            share_change(one.record.share_before_bp, one.record.state.share_bp),
            one.record.actor or "canaryctl",
        ]
        for one in entries
    ]
    if not rows:
        return
    lines = grid(["SEQ", "TIME", "ACTION", "SHARE", "ACTOR"], rows)
    yield lines[0]
    for line, one in zip(lines[1:], entries, strict=True):
        yield line
        for text in why(one.record, one.plan):
            yield from wrapped(text, indent=INDENT, width=width - len(INDENT))


def _owed(view: View, owed: Sequence[Owed]) -> Iterator[Text]:
    """By destination: how much, since when, and what is wrong with it."""
    for destination in dict.fromkeys(one.destination for one in owed):
        there = [one for one in owed if one.destination == destination]
        oldest = there[0]
        loud = any(one.notice.severity is Severity.CRITICAL for one in there)
        yield Text(
            f"{destination}: {len(there)}, the oldest {oldest.notice.action.value}, "
            f"{rough(view.now - oldest.created)} old{_tried(oldest)}",
            style="red" if loud else "yellow",
        )


def _tried(owed: Owed) -> str:
    if not owed.attempts and owed.sending is None:
        return ""
    doubt = "; it may have arrived, which is looked up" if owed.sending is not None else ""
    last = f", last: {owed.last_error}" if owed.last_error else ""
    times = "1 attempt" if owed.attempts == 1 else f"{owed.attempts} attempts"
    return f", {times} failed{last}{doubt}"


def wrapped(text: str, *, indent: str, width: int) -> Iterator[Text]:
    """A sentence below the line it explains, broken at spaces; numbers and dates are never broken."""
    lines = textwrap.wrap(
        text,
        width=max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (Text(line, style="dim") for line in lines)
