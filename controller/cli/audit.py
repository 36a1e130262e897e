"""`audit verify` and `audit export`: whether the records are whole, and a copy that can be verified elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import OutputForm, SomeName
from controller.cli.output import API_VERSION, Output, emit
from controller.errors import DataError

if TYPE_CHECKING:
    from controller.cli.evidence import Evidence
    from controller.ports import RolloutStore


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Verify the records, or export them for others to verify.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(verify)
    group.command()(export)
    app.add_typer(group, name="audit")


def verify(
    ctx: typer.Context,
    name: SomeName = None,
    file: Path | None = typer.Option(
        None,
        "--file",
        metavar="EXPORT",
        help="Verify an exported file instead of the database.",
        show_default=False,
    ),
    output: OutputForm = Output.TABLE,
) -> None:
    """Verify every chain of records, the plan revisions they name, and the hourly anchors. Exit 1 if any is broken."""
    from controller.cli.evidence import broken, gather

    context = Context.of(ctx)
    if file is not None:
        evidence = _from_file(file, name)
    else:
        store = context.store()
        evidence = gather(store, _rollouts(store, name))
    found = broken(evidence)
    emit(
        context,
        output,
        document=lambda: {
            "apiVersion": API_VERSION,
            "kind": "AuditVerification",
            "whole": not found,
            **asdict(evidence.counted),
            "broken": found,
        },
        names=lambda: evidence.records,
        table=lambda: _say(context, evidence, found),
    )
    if found:
        raise typer.Exit(1)


def _say(context: Context, evidence: Evidence, found: Sequence[str]) -> None:
    counted = evidence.counted
    counts = ", ".join(
        f"{number} {what if number != 1 else what[:-1]}" for what, number in asdict(counted).items()
    )
    verdict = "NOT whole" if found else "whole: every hash follows from the one before"
    print(f"{counts}; {verdict}", file=context.stdout)
    for one in found:
        print(f"  {one}", file=context.stdout)


def export(
    ctx: typer.Context,
    name: SomeName = None,
    out: Path | None = typer.Option(
        None, "--out", metavar="FILE", help="Write to FILE; default: stdout.", show_default=False
    ),
) -> None:
    """Export records, plan revisions and anchors as JSON lines: all that `audit verify --file` needs, offline."""
    from controller.cli.evidence import gather, lines
    from controller.rollout.codec import encode

    context = Context.of(ctx)
    store = context.store()
    evidence = gather(store, _rollouts(store, name))
    text = lines(evidence, exported_at=encode(context.clock.now()))
    if out is None:
        for line in text:
            print(line, file=context.stdout)
        return
    try:
        out.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
    context.say(f"{out}: {evidence.counted.records} records of {len(evidence.records)} rollouts")


def _rollouts(store: RolloutStore, name: str | None) -> list[str]:
    """The attempts of one name (or the one attempt that is named), or all rollouts."""
    heads = store.heads()
    if name is None:
        return [head.state.rollout for head in heads]
    found = store.head(name).state
    if name == found.rollout:
        return [found.rollout]
    return [head.state.rollout for head in heads if head.state.name == found.name]


def _from_file(file: Path, name: str | None) -> Evidence:
    from controller.cli.evidence import read

    if name is not None:
        raise typer.BadParameter("an exported file is verified as a whole; leave NAME out")
    try:
        with file.open(encoding="utf-8") as stream:
            return read(stream, file=str(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"{file}: cannot be read: {reason}") from error
