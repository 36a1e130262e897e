"""The verbs that change a running rollout. Each is one command, committed with its actor and reason, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import Actor, Expect, Name, NeededReason, OutputForm, Reason
from controller.cli.output import API_VERSION, Document, Output, emit

if TYPE_CHECKING:
    from controller.rollout.commands import AnyCommand
    from controller.rollout.decision import Decision


def register(app: typer.Typer) -> None:
    for verb in (pause, resume, promote, approve, rollback, retry, pin, retire):
        app.command()(verb)


def pause(
    ctx: typer.Context,
    name: Name,
    reason: Reason = "",
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Freeze the share. It becomes a rollback at the pause's deadline, unless resumed."""
    from controller.rollout.commands import PauseNow

    context = Context.of(ctx)
    command = PauseNow(actor=context.actor(actor), reason=reason, expected=expect)
    commit(context, name, command, output)


def resume(
    ctx: typer.Context,
    name: Name,
    reason: NeededReason,
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """End a pause. Failed rules start a new epoch; the old failures stay on record as acknowledged."""
    from controller.rollout.commands import Resume

    context = Context.of(ctx)
    command = Resume(actor=context.actor(actor), reason=reason, expected=expect)
    commit(context, name, command, output)


def promote(
    ctx: typer.Context,
    name: Name,
    override: list[str] | None = typer.Option(
        None,
        "--override",
        metavar="RULE",
        help="Promote in spite of this failed rule; repeatable; needs --reason.",
        show_default=False,
    ),
    reason: Reason = "",
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Go to the next step now. Skips hold, samples, proof and approval; never a failed rule, unless overridden."""
    from controller.rollout.commands import Promote

    context = Context.of(ctx)
    command = Promote(
        actor=context.actor(actor),
        reason=reason,
        expected=expect,
        override=tuple(override or ()),
    )
    commit(context, name, command, output)


def approve(
    ctx: typer.Context,
    name: Name,
    reason: Reason = "",
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Permit leaving the present step. It still waits for everything else."""
    from controller.rollout.commands import Approve

    context = Context.of(ctx)
    command = Approve(actor=context.actor(actor), reason=reason, expected=expect)
    commit(context, name, command, output)


def rollback(
    ctx: typer.Context,
    name: Name,
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask first."),
    reason: Reason = "",
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Put the candidate off, at once, everywhere. Only `retry` starts again, from the first step."""
    from controller.rollout.commands import Rollback

    context = Context.of(ctx)
    if not yes and context.stdin.isatty() and not _agreed(context, name):
        context.say("Nothing was rolled back.")
        raise typer.Exit(1)
    command = Rollback(actor=context.actor(actor), reason=reason, expected=expect)
    commit(context, name, command, output)


def _agreed(context: Context, name: str) -> bool:
    context.say(f"Roll back {name}: all of its traffic to the baseline? [y/N]")
    return context.stdin.readline().strip().lower() in ("y", "yes")


def retry(
    ctx: typer.Context,
    name: Name,
    reason: NeededReason,
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Start a new attempt after a rollback, with fresh evidence."""
    from controller.rollout.commands import Retry

    context = Context.of(ctx)
    command = Retry(actor=context.actor(actor), reason=reason, expected=expect)
    commit(context, name, command, output)


def pin(
    ctx: typer.Context,
    name: Name,
    intent: str = typer.Argument(metavar="INTENT", help="The intent, as the plan names it."),
    reason: Reason = "",
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Send one intent back to the baseline; the others go on."""
    from controller.rollout.commands import PinIntent

    context = Context.of(ctx)
    command = PinIntent(actor=context.actor(actor), reason=reason, expected=expect, intent=intent)
    commit(context, name, command, output)


def retire(
    ctx: typer.Context,
    name: Name,
    reason: Reason = "",
    actor: Actor = None,
    expect: Expect = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """End the holdback of a complete rollout. Signs off what is left on the baseline."""
    from controller.rollout.commands import Retire

    context = Context.of(ctx)
    command = Retire(actor=context.actor(actor), reason=reason, expected=expect)
    commit(context, name, command, output)


def commit(context: Context, name: str, command: AnyCommand, output: Output) -> None:
    """Commit a command, controller or not, and say what it did."""
    from controller.cli.view import look, summary
    from controller.reconcile.submit import submit

    store = context.store()
    before = store.head(name).state
    decision = submit(store, context.clock, before.rollout, command)
    rollout = decision.state.rollout

    def document() -> Document:
        view = look(store, rollout, context.clock.now())
        return {
            "apiVersion": API_VERSION,
            "kind": "Rollout",
            "action": decision.action.value,
            **summary(view),
        }

    emit(
        context,
        output,
        document=document,
        names=lambda: [rollout],
        table=lambda: print(done(decision, before.share_bp), file=context.stdout),
    )


def done(decision: Decision, share_before_bp: int) -> str:
    """`support-bot/1 pause: paused, share 10%` in words of the phase it led to."""
    from controller.cli.style import words
    from controller.cli.view import share_change

    state = decision.state
    where = words(state.phase)
    if state.step >= 0:
        where += f" at step {state.step + 1}"
    change = share_change(share_before_bp, state.share_bp)
    return f"{state.rollout} {PAST[decision.action.value]}: {where}, share {change}"


PAST = {
    "start": "started",
    "amend": "amended",
    "advance": "promoted",
    "approve": "approved",
    "bake": "promoted",
    "complete": "promoted",
    "pause": "paused",
    "resume": "resumed",
    "pin": "pinned",
    "rollback": "rolled back",
    "retry": "retried",
    "retire": "retired",
    "hold": "noted",
}
