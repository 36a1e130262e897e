"""`doctor`: whether everything that a controller needs is there, on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.options import OutputForm
from controller.cli.output import API_VERSION, Document, Output, console, emit

if TYPE_CHECKING:
    from rich.console import Console

    from controller.doctor.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}
_LEVEL_WIDTH = 9
_LEAST_WIDTH = 60


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    ctx: typer.Context,
    output: OutputForm = Output.TABLE,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 for warnings too.", show_default=False)
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Ask each baseline for one token; costs what such a request costs.",
            show_default=False,
        ),
    ] = False,
) -> None:
    """Look whether everything that a controller needs is there: database, clocks, gateways, Slack, models, rollouts.

    Each check says what was found and, unless all is well, what was wanted and what to do. Exit 1 if one failed. Run it
    with the controller's own environment; OPENAI_API_KEY lets it see the upstream's models. Nothing is changed.
    """
    from controller.doctor.examine import Patient, examine
    from controller.doctor.finding import Level

    context = Context.of(ctx)
    findings: list[Finding] = []
    out = console(context) if output in (Output.TABLE, Output.WIDE) else None
    patient = Patient(environ=context.environ, clock=context.clock, wait=context.wait, probe=probe)
    for finding in examine(patient):
        findings.append(finding)
        if out is not None:
            _print(out, finding)
    emit(
        context,
        output,
        document=lambda: _document(findings),
        names=lambda: [f"{one.level.value} {one.check}" for one in findings],
        table=lambda: print(f"\n{_counted(findings)}", file=context.stdout),
    )
    bad = {Level.FAILED, Level.WARNING} if strict else {Level.FAILED}
    if any(one.level in bad for one in findings):
        raise typer.Exit(1)


def _print(out: Console, finding: Finding) -> None:
    from rich.padding import Padding
    from rich.text import Text

    level = finding.level.value
    line = Text(level.ljust(_LEVEL_WIDTH), style=_STYLES[level])
    line.append(finding.check, style="bold").append(f"  {finding.found}")
    if not out.is_terminal or out.width < _LEAST_WIDTH:
        out.print(line)
        for label, words in _more(finding):
            out.print(Text(f"{' ' * _LEVEL_WIDTH}{label}: {words}"))
        return
    first, *rest = line.wrap(out, out.width)
    out.print(first)
    out.print(Padding(Text("\n").join(rest), (0, 0, 0, _LEVEL_WIDTH))) if rest else None
    for label, words in _more(finding):
        text = Text(f"{label}: ", style="dim").append(words, style="default")
        out.print(Padding(text, (0, 0, 0, _LEVEL_WIDTH)), soft_wrap=False)


def _more(finding: Finding) -> list[tuple[str, str]]:
    return [
        (label, words)
        for label, words in (("wanted", finding.wanted), ("do", finding.todo))
        if words
    ]


def _document(findings: Sequence[Finding]) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": "Doctor",
        "failed": sum(one.level.value == "failed" for one in findings),
        "warnings": sum(one.level.value == "warning" for one in findings),
        "checks": [
            {
                "check": one.check,
                "level": one.level.value,
                "found": one.found,
                "wanted": one.wanted or None,
                "todo": one.todo or None,
            }
            for one in findings
        ],
    }


def _counted(findings: Sequence[Finding]) -> str:
    counts = Counter(one.level.value for one in findings)
    warnings = f"{counts['warning']} warning{'' if counts['warning'] == 1 else 's'}"
    return f"{counts['ok']} ok, {warnings}, {counts['failed']} failed"
