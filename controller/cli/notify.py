"""`notify test`: whether notices would arrive, asked before one has to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.options import OutputForm
from controller.cli.output import Document, Output, emit, listing

if TYPE_CHECKING:
    from controller.rollout.plan import Plan

FAILED = 1


def register(app: typer.Typer) -> None:
    notify = typer.Typer(
        help="Send a test message to who is told of rollouts.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    notify.callback()(_notify)
    notify.command(name="test")(send_tests)
    app.add_typer(notify, name="notify")


def _notify() -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What came of one destination."""

    destination: str
    delivered: bool
    said: str


def send_tests(
    ctx: typer.Context,
    plans: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PLAN|NAME]...",
            help="Plan files, or rollouts. Default: every rollout of the database.",
            show_default=False,
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel",
            metavar="#NAME",
            help="This Slack channel alone, whatever plans say.",
            show_default=False,
        ),
    ] = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Send a marked test message to every Slack channel and webhook of plans; exit 1 if one fails.

    What fails is told with what to do: a token, a scope, an invitation, a secret. No rollout is concerned, and nothing
    is recorded.
    """
    context = Context.of(ctx)
    wanted = [] if channel is not None else _plans(context, plans or [])
    tried = _try_all(context, wanted, channel)

    def table() -> None:
        for one in tried:
            word = "ok" if one.delivered else "FAILED"
            print(f"{one.destination}: {word}: {one.said}", file=context.stdout)
        if not tried:
            context.say("No plan names a Slack channel or a webhook: notices go to the log alone.")

    emit(
        context,
        output,
        document=lambda: listing("NotifyTest", [_document(one) for one in tried]),
        names=lambda: [one.destination for one in tried],
        table=table,
    )
    if not all(one.delivered for one in tried):
        raise typer.Exit(FAILED)


def _plans(context: Context, named: Sequence[str]) -> list[Plan]:
    """Of files where they are files, else of rollouts. NotFound, PlanError."""
    from controller.cli.planfiles import STDIN, SUFFIXES, read_plans

    def is_file(name: str) -> bool:
        return name == STDIN or Path(name).suffix in SUFFIXES or Path(name).exists()

    today = context.clock.now().date()
    files = [one for one in named if is_file(one)]
    found = [one.plan for one in read_plans(files, stdin=context.stdin, today=today)]
    rollouts = [one for one in named if not is_file(one)]
    if not named:
        return [head.plan for head in context.store().heads()]
    return found + [context.store().head(one).plan for one in rollouts] if rollouts else found


def _try_all(context: Context, plans: Sequence[Plan], channel: str | None) -> list[_Tried]:
    from controller.rollout.destinations import LOG, SLACK, every_destination

    if channel is not None:
        return [_try(context, f"{SLACK}:{channel}", None)]
    owner = {one: plan for plan in plans for one in every_destination(plan) if one != LOG}
    return [_try(context, destination, plan) for destination, plan in owner.items()]


def _try(context: Context, destination: str, plan: Plan | None) -> _Tried:
    from controller.errors import Unreachable
    from controller.wiring import try_destination

    try:
        said = try_destination(destination, plan, context.settings, context.clock)
    except Unreachable as error:
        return _Tried(destination=destination, delivered=False, said=str(error))
    return _Tried(destination=destination, delivered=True, said=said)


def _document(one: _Tried) -> Document:
    return {"destination": one.destination, "delivered": one.delivered, "message": one.said}
