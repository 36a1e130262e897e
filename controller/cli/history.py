"""`history` and `replay`: what happened to a rollout, and whether the same evidence still leads to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.options import Name, OutputForm
from controller.cli.output import API_VERSION, Document, Output, console, emit, listing

if TYPE_CHECKING:
    from controller.cli.entries import Entry
    from controller.rollout.deciding.replay import Disagreement


def register(app: typer.Typer) -> None:
    app.command()(history)
    app.command()(replay)


def history(
    ctx: typer.Context,
    name: Name,
    after: int = typer.Option(
        0,
        "--after",
        metavar="SEQ",
        min=0,
        max=2**31 - 1,
        help="Only records after this number.",
    ),
    output: OutputForm = Output.TABLE,
) -> None:
    """List what moved, who or what moved it, and why."""
    from controller.cli.entries import entries_of
    from controller.cli.portrait import records

    context = Context.of(ctx)
    store = context.store()
    rollout = store.head(name).state.rollout
    entries = entries_of(store, rollout, after=after)

    def table() -> None:
        out = console(context)
        for line in records(entries, width=out.width):
            out.print(line)

    emit(
        context,
        output,
        document=lambda: listing("Record", [_in_full(one) for one in entries]),
        names=lambda: [f"{rollout}:{one.record.seq}" for one in entries],
        table=table,
    )


def _in_full(entry: Entry) -> Document:
    """The short form, and the record as it was hashed, whole."""
    from controller.cli import why

    return {
        "rollout": entry.record.rollout,
        **why.document(entry.record, entry.plan),
        "hash": entry.sealed.hash,
        "record": json.loads(entry.sealed.text),
    }


def replay(
    ctx: typer.Context,
    name: Name,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            "-p",
            metavar="FILE",
            help="Judge the stored counts by the rules of this plan instead, minute by minute.",
            show_default=False,
        ),
    ] = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Decide every record again, on its own evidence; or, with --plan, by other rules on the stored counts.

    Exit 1 if a decision differs from the recorded one, or by the other rules. Writes nothing.
    """
    from controller.rollout.deciding.replay import fold
    from controller.rollout.deciding.replay import replay as decide_again

    context = Context.of(ctx)
    if plan is not None:
        _by_other_rules(context, name, plan, output)
        return
    store = context.store()
    rollout = store.head(name).state.rollout
    records = [sealed.value for sealed in store.records(rollout)]
    fold(records)
    disagreements = decide_again(records, lambda digest: store.plan(digest).value)
    emit(
        context,
        output,
        document=lambda: _agreement(rollout, len(records), disagreements),
        names=lambda: [f"{rollout}:{one.seq}" for one in disagreements],
        table=lambda: _say(context, rollout, len(records), disagreements),
    )
    if disagreements:
        raise typer.Exit(1)


def _by_other_rules(context: Context, name: str, file: Path, output: Output) -> None:
    from controller.cli.rejudged import document, print_rejudged
    from controller.plans.load import load_file
    from controller.plans.models import bundled_models
    from controller.simulate.backtest.rejudge import rejudge

    store = context.store()
    state = store.head(name).state
    # As of its own days: a history outlives the models that it was made with.
    other = load_file(file, today=state.started_at.date(), models=bundled_models())
    found = rejudge(store, state.rollout, other)
    emit(
        context,
        output,
        document=lambda: document(found, str(file)),
        names=lambda: (
            [] if found.difference is None else [f"{found.rollout}:{found.difference.seq}"]
        ),
        table=lambda: print_rejudged(context, found, str(file)),
    )
    if found.difference is not None:
        raise typer.Exit(1)


def _agreement(rollout: str, records: int, disagreements: Sequence[Disagreement]) -> Document:
    from controller.rollout.codec import encode

    return {
        "apiVersion": API_VERSION,
        "kind": "Replay",
        "rollout": rollout,
        "records": records,
        "agrees": not disagreements,
        "disagreements": [encode(one) for one in disagreements],
    }


def _say(
    context: Context, rollout: str, records: int, disagreements: Sequence[Disagreement]
) -> None:
    out = context.stdout
    if not disagreements:
        plural = "record" if records == 1 else "records"
        print(f"{rollout}: {records} {plural} replayed, every decision the same", file=out)
        return
    differing = len({one.seq for one in disagreements})
    print(f"{rollout}: {differing} of {records} records disagree", file=out)
    for one in disagreements:
        print(f"  record {one.seq}, {one.at.isoformat()}: {one.field} differs", file=out)
        print(f"    recorded {_short(one.recorded)}", file=out)
        print(f"    replayed {_short(one.replayed)}", file=out)


def _short(text: str) -> str:
    """`-o json` has it whole."""
    return text if len(text) <= 160 else f"{text[:159]}…"
