"""`get`: rollouts, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import Names, OutputForm
from controller.cli.output import (
    API_VERSION,
    Document,
    Output,
    emit,
    listing,
    print_table,
    rough,
)

if TYPE_CHECKING:
    from rich.text import Text

    from controller.cli.view import View
    from controller.ports import Store

HEADER = ("NAME", "ATTEMPT", "PHASE", "STEP", "SHARE", "VERDICT", "HELD", "AGE")
WIDE = ("MODELS", "REVISION", "VERSION", "SEQ", "IN FORCE", "WAITS FOR")


def register(app: typer.Typer) -> None:
    app.command()(get)


def get(
    ctx: typer.Context,
    names: Names = None,
    every: bool = typer.Option(
        False, "--all", "-a", help="Earlier attempts too, not only the newest of each name."
    ),
    output: OutputForm = Output.TABLE,
) -> None:
    """List rollouts: where each stands, and its worst verdict."""
    from controller.cli.view import summary

    context = Context.of(ctx)
    views = _views(context.store(), names or [], context, every=every)

    def document() -> Document:
        items = [{"apiVersion": API_VERSION, "kind": "Rollout", **summary(one)} for one in views]
        return items[0] if names and len(names) == 1 else listing("Rollout", items)

    def table() -> None:
        if not views:
            context.say("No rollouts. `canaryctl apply -f PLAN` starts one.")
            return
        _print(context, views, wide=output is Output.WIDE)

    emit(
        context,
        output,
        document=document,
        names=lambda: [one.state.rollout for one in views],
        table=table,
    )


def _views(store: Store, names: Sequence[str], context: Context, *, every: bool) -> list[View]:
    from controller.cli.view import look, view_of

    now = context.clock.now()
    if names:
        return [look(store, name, now) for name in names]
    heads = store.heads()
    newest = {head.state.name: head.state.attempt for head in heads}
    return [
        view_of(store, head, now)
        for head in heads
        if every or head.state.attempt == newest[head.state.name]
    ]


def _print(context: Context, views: Sequence[View], *, wide: bool) -> None:
    header = (*HEADER, *WIDE) if wide else HEADER
    print_table(context, header, [_row(view) + (_wide(view) if wide else []) for view in views])
    for view in views:
        if (warning := view.warning) is not None:
            context.say(warning)


def _row(view: View) -> list[str | Text]:
    from controller.cli import style
    from controller.rollout.units import format_share

    state = view.state
    return [
        state.name,
        str(state.attempt),
        style.phase(state.phase),
        view.step,
        format_share(state.share_bp),
        style.outcome(view.worst),
        rough(view.held),
        rough(view.now - state.started_at),
    ]


def _wide(view: View) -> list[str | Text]:
    plan, state = view.plan, view.state
    return [
        f"{plan.baseline.model} → {plan.candidate.model}",
        f"{state.revision} ({state.plan_digest[:8]})",
        str(state.version),
        str(view.head.seq),
        view.in_force.value if view.in_force is not None else "-",
        _next_wait(view),
    ]


def _next_wait(view: View) -> str:
    from controller.notify.waits import wait_line

    waits = view.waits
    if not waits:
        return "-"
    more = f" (+{len(waits) - 1} more)" if len(waits) > 1 else ""
    return wait_line(waits[0], view.plan) + more
