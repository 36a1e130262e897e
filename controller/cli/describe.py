"""`describe`: everything about one rollout, for a person who has to decide something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import Name, OutputForm
from controller.cli.output import API_VERSION, Document, Output, console, emit

if TYPE_CHECKING:
    from datetime import datetime

    from controller.cli.entries import Entry
    from controller.cli.view import View
    from controller.ports import Owed
    from controller.rollout.evidence.needs import Needs
    from controller.rollout.plan import Plan, Rule
    from controller.rollout.verdict import Coverage, Look

LAST_RECORDS = 5


def register(app: typer.Typer) -> None:
    app.command()(describe)


def describe(ctx: typer.Context, name: Name, output: OutputForm = Output.TABLE) -> None:
    """Show a rollout in full: rules, evidence, what it waits for.

    Each rule comes with its value, limit, samples, window, its verdict in both forms of evidence, and the arithmetic.
    """
    from controller.cli.entries import entries_of
    from controller.cli.portrait import portrait
    from controller.cli.view import look

    context = Context.of(ctx)
    store = context.store()
    view = look(store, name, context.clock.now())
    rollout = view.state.rollout
    entries = entries_of(store, rollout, after=max(0, view.head.seq - LAST_RECORDS))
    ledger = store.deliveries(rollout)
    owed = [one for one in ledger if one.delivered is None]

    def table() -> None:
        out = console(context)
        for line in portrait(view, entries, owed, width=out.width):
            out.print(line)
        if view.warning is not None:
            context.say(view.warning)

    emit(
        context,
        output,
        document=lambda: _document(view, entries, ledger),
        names=lambda: [rollout],
        table=table,
    )


def _document(view: View, entries: Sequence[Entry], ledger: Sequence[Owed]) -> Document:
    from controller.cli import why
    from controller.cli.view import summary
    from controller.rollout.codec import encode

    return {
        "apiVersion": API_VERSION,
        "kind": "RolloutDescription",
        **summary(view),
        "coverage": _coverage(view.coverage),
        "rules": list(_rules(view)),
        "discoveries": _discoveries(view),
        "failures": [_without_type(encode(one)) for one in view.state.failures],
        "records": [why.document(one.record, one.plan) for one in entries],
        "deliveries": list(_deliveries(ledger, view.now)),
        "undelivered": [_owed(one, view.now) for one in ledger if one.delivered is None],
    }


def _rules(view: View) -> Iterator[Document]:
    from controller.cli.view import needs_of, rule_of
    from controller.notify.arithmetic import verdict_line
    from controller.rollout.codec import encode
    from controller.rollout.evidence.rules import limit_in

    for verdict in view.verdicts:
        rule = rule_of(view.plan, verdict)
        latest = verdict.reading.latest
        yield {
            "rule": rule.name,
            "intent": verdict.intent,
            "metric": rule.metric.name,
            "unit": rule.metric.unit.value,
            "value": latest.value if latest is not None else None,
            "limit": limit_in(rule, latest),
            "usual": latest.usual if latest is not None else None,
            "fails": "below" if rule.below else "above",
            "samples": latest.samples if latest is not None else 0,
            "window_s": rule.window.total_seconds(),
            "window_start": encode(latest.window.start) if latest is not None else None,
            "window_end": encode(latest.window.end) if latest is not None else None,
            "window_complete": latest.complete if latest is not None else False,
            "verdict": verdict.outcome.value,
            "observed": verdict.observed.value,
            "confident": verdict.confident.value,
            "evidence": rule.evidence.value,
            "then": rule.then.value,
            "arithmetic": verdict_line(verdict, view.plan),
            "by_people": _by_people(verdict.reading.by_people),
            "needs": _needs(needs_of(view, verdict), rule, view.plan),
        }


def _by_people(look: Look | None) -> Document | None:
    """A loss by people's grades; its figures are null where they are too few."""
    from controller.rollout.evidence.powered import estimate_of
    from controller.rollout.verdict import PoweredCounts

    if look is None or not isinstance(look.counts, PoweredCounts):
        return None
    found = estimate_of(look.counts) if look.value is not None else None
    interval = None if found is None else found.interval(method="prediction-powered")
    return {
        "value": look.value,
        "lower": None if interval is None else interval.lower,
        "upper": None if interval is None else interval.upper,
        "judge_weight": look.counts.weight,
        **{
            arm: {
                "graded": sum(getattr(one, arm).both for one in look.counts.strata),
                "drawn": sum(getattr(one, arm).drawn for one in look.counts.strata),
            }
            for arm in ("baseline", "candidate")
        },
    }


def _coverage(coverage: Coverage | None) -> Document | None:
    from controller.notify.coverage import straying_words
    from controller.rollout.evidence.coverage import straying
    from controller.rollout.metrics import MICRO

    if coverage is None:
        return None
    return {
        "sampled": coverage.sampled_u / MICRO,
        "counted": "episodes" if coverage.sampled_u >= MICRO else "answers",
        "baseline": {"graded": coverage.baseline_graded, "of": coverage.baseline_n},
        "candidate": {"graded": coverage.candidate_graded, "of": coverage.candidate_n},
        "differs": coverage.differs,
        "straying": {arm.value: how.value for arm, how in straying(coverage).items()},
        "words": straying_words(coverage),
    }


def _discoveries(view: View) -> Document:
    from controller.rollout.evidence.discoveries import RATE, discoveries

    tested = discoveries(view.plan, view.verdicts)
    return {
        "false_discovery_rate": RATE,
        "tests": len(tested),
        "named": [
            {"rule": one.rule, "intent": one.intent, "log_e": one.log_e}
            for one in tested
            if one.named
        ],
    }


def _needs(lacking: Needs | None, rule: Rule, plan: Plan) -> Document | None:
    from controller.notify.arithmetic import needs_line

    if lacking is None:
        return None
    return {
        "proof": lacking.proof.value,
        "of": lacking.kind,
        "observations": lacking.observations,
        "after_s": lacking.after.total_seconds() if lacking.after is not None else None,
        "shadow_pairs": lacking.pairs,
        "words": needs_line(lacking, rule, plan),
    }


def _deliveries(ledger: Sequence[Owed], now: datetime) -> Iterator[Document]:
    """The ledger by destination."""
    from controller.rollout.codec import encode

    for destination in dict.fromkeys(one.destination for one in ledger):
        there = [one for one in ledger if one.destination == destination]
        missing = [one for one in there if one.delivered is None]
        arrived = [one.delivered for one in there if one.delivered is not None]
        yield {
            "destination": destination,
            "delivered": len(arrived),
            "undelivered": len(missing),
            "oldest_age_s": (now - missing[0].created).total_seconds() if missing else None,
            "last_delivered": encode(max(arrived)) if arrived else None,
            "last_error": next((one.last_error for one in missing if one.last_error), ""),
        }


def _owed(owed: Owed, now: datetime) -> Document:
    from controller.rollout.codec import encode

    return {
        "id": owed.id,
        "destination": owed.destination,
        "action": owed.notice.action.value,
        "severity": owed.notice.severity.value,
        "created": encode(owed.created),
        "age_s": (now - owed.created).total_seconds(),
        "attempts": owed.attempts,
        "next_attempt": encode(owed.next_attempt),
        "in_doubt": owed.sending is not None,
        "last_error": owed.last_error,
    }


def _without_type(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "type"}
