"""`apply`: start rollouts, or amend running ones. Everything is checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import Actor, OutputForm, PlanFiles, Reason
from controller.cli.output import Document, Output, emit, listing
from controller.cli.plans import (
    BAD_INPUT,
    changes_document,
    changes_of,
    finding_document,
    findings_of,
    has_error,
    print_changes,
)
from controller.errors import Conflict, NotFound, Refused

if TYPE_CHECKING:
    from controller.cli.planfiles import Source
    from controller.plans.diff import Change
    from controller.plans.finding import Finding
    from controller.ports import Head, Store
    from controller.rollout.commands import Apply


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became, or would become, of one plan. `refusal` says why nothing did."""

    source: Source
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...] | None
    rollout: str
    done: str  # started, amended, unchanged, refused
    refusal: str = ""


def register(app: typer.Typer) -> None:
    app.command()(apply)


def apply(
    ctx: typer.Context,
    files: PlanFiles,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Read, check and compare; write nothing."
    ),
    reason: Reason = "",
    actor: Actor = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Start a rollout of each plan, or amend the running one. Findings go to stderr; an error refuses them all."""
    context = Context.of(ctx)
    applied = _apply_all(context, files, reason=reason, actor=actor, dry_run=dry_run)
    emit(
        context,
        output,
        document=lambda: listing("Applied", [_document(one, dry_run=dry_run) for one in applied]),
        names=lambda: [one.rollout for one in applied],
        table=lambda: _print(context, applied, dry_run=dry_run),
    )
    _tell_refusals(context, applied)


def apply_plans(context: Context, files: Sequence[str], *, reason: str) -> None:
    """The same for a command that does more: what is refused ends it."""
    if not files:
        return
    applied = _apply_all(context, files, reason=reason, actor=None, dry_run=False)
    for one in applied:
        context.say(f"{one.rollout} {one.done}")
    _tell_refusals(context, applied)


def _apply_all(
    context: Context, files: Sequence[str], *, reason: str, actor: str | None, dry_run: bool
) -> list[Applied]:
    from controller.cli.planfiles import read_plans
    from controller.rollout.commands import Apply

    sources = read_plans(files, stdin=context.stdin, today=context.clock.now().date())
    found = {source.plan.name: findings_of(source, context) for source in sources}
    _tell_findings(context, sources, found)
    if any(has_error(findings) for findings in found.values()):
        context.say("Nothing was applied: mend the errors above first.")
        raise typer.Exit(BAD_INPUT)
    store = context.store_or_empty() if dry_run else context.store_made()
    _refuse_overlaps(store, sources)

    applied = []
    for source in sources:
        command = Apply(actor=context.actor(actor), reason=reason, plan=source.plan)
        changes = changes_of(source, store)
        act = _rehearsed if dry_run else _applied
        rollout, done, refusal = act(store, context, command)
        applied.append(
            Applied(
                source=source,
                findings=found[source.plan.name],
                changes=changes,
                rollout=rollout,
                done=done,
                refusal=refusal,
            )
        )
    return applied


def _tell_refusals(context: Context, applied: Sequence[Applied]) -> None:
    for one in applied:
        if one.refusal:
            context.say(f"{one.rollout}: {one.refusal}")
    if any(one.refusal for one in applied):
        raise typer.Exit(Refused.exit_code)


def _tell_findings(
    context: Context, sources: Sequence[Source], found: dict[str, tuple[Finding, ...]]
) -> None:
    from controller.plans.finding import Level

    for source in sources:
        for finding in found[source.plan.name]:
            if finding.level is not Level.INFO:
                context.say(f"{source.file}: {finding}")


def _refuse_overlaps(store: Store, sources: Sequence[Source]) -> None:
    """A request is one plan's: no two running rollouts may claim the same model."""
    claims = {
        head.plan.match_model: f"{head.state.rollout}, which is {head.state.phase.value}"
        for head in store.heads()
        if head.state.phase.judged and head.state.name not in {one.plan.name for one in sources}
    }
    for source in sources:
        model = source.plan.match_model
        if model in claims:
            raise Refused(
                f"{source.file}: {source.plan.name} claims requests for {model}, and so does {claims[model]}. "
                "Roll that one back or let it complete first; nothing was applied."
            )
        claims[model] = f"{source.plan.name} of {source.file}"


def _head(store: Store, name: str) -> Head | None:
    try:
        return store.head(name)
    except NotFound:
        return None


def _unchanged(head: Head, command: Apply) -> bool:
    from controller.rollout.state import Phase

    stands = head.state.phase.judged or head.state.phase is Phase.COMPLETE
    return stands and head.state.plan_digest == command.plan.digest


def _applied(store: Store, context: Context, command: Apply) -> tuple[str, str, str]:
    """The rollout, what was done, and the refusal if nothing was."""
    from controller.reconcile.submit import submit

    name = command.plan.name
    head = _head(store, name)
    if head is not None and _unchanged(head, command):
        return head.state.rollout, "unchanged", ""
    try:
        decision = submit(store, context.clock, name, command)
    except (Refused, Conflict) as error:
        return head.state.rollout if head is not None else name, "refused", str(error)
    return decision.state.rollout, _word(decision.action.value), ""


def _rehearsed(store: Store, context: Context, command: Apply) -> tuple[str, str, str]:
    """The same, decided on what the last tick saw, and not written."""
    from controller.cli.view import view_of
    from controller.notify.refusals import refusal_line
    from controller.rollout.deciding.decide import decide, start
    from controller.rollout.verdict import Seen

    head, now = _head(store, command.plan.name), context.clock.now()
    if head is None:
        return start(command, now).state.rollout, "started", ""
    if _unchanged(head, command):
        return head.state.rollout, "unchanged", ""
    status = view_of(store, head, now).status
    seen = status.seen if status is not None else Seen(through=head.state.updated_at)
    decision = decide(head.plan, head.state, seen, command, now)
    if decision.refusal is not None:
        words = refusal_line(decision.refusal, decision.refusal_detail)
        return head.state.rollout, "refused", words
    return decision.state.rollout, _word(decision.action.value), ""


def _word(action: str) -> str:
    return {"start": "started", "amend": "amended"}.get(action, action)


def _print(context: Context, applied: Sequence[Applied], *, dry_run: bool) -> None:
    suffix = " (dry run)" if dry_run else ""
    for one in applied:
        if dry_run and one.changes:
            print_changes(one.source.plan.name, one.changes, context)
        print(f"{one.rollout} {one.done}{suffix}", file=context.stdout)


def _document(one: Applied, *, dry_run: bool) -> Document:
    return {
        "rollout": one.rollout,
        "name": one.source.plan.name,
        "file": one.source.file,
        "digest": one.source.plan.digest,
        "done": one.done,
        "dry_run": dry_run,
        "refusal": one.refusal,
        "changes": changes_document(one.changes or ()),
        "findings": [finding_document(finding) for finding in one.findings],
    }
