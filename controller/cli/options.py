"""Arguments and options that several commands share, each with one meaning."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.context import Context
from controller.cli.output import Output


def _known_rollouts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names for the shell's completion; a database that cannot be read completes nothing."""
    from controller.errors import CanaryError

    try:
        heads = Context.of(ctx).store().heads()
    except CanaryError:
        return []
    return sorted({head.state.name for head in heads if head.state.name.startswith(incomplete)})


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The rollout: its plan's name (the newest attempt) or name/attempt.",
        autocompletion=_known_rollouts,
        show_default=False,
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Rollouts: a plan's name (its newest attempt) or name/attempt. Default: all.",
        autocompletion=_known_rollouts,
        show_default=False,
    ),
]
SomeName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="A plan's name (all its attempts) or name/attempt. Default: every rollout.",
        autocompletion=_known_rollouts,
        show_default=False,
    ),
]
OutputForm = Annotated[
    Output,
    typer.Option("--output", "-o", help="How to write the answer."),
]
PlanFiles = Annotated[
    list[str],
    typer.Option(
        "--filename",
        "-f",
        metavar="FILE",
        help="A plan file, a directory of them, or - for stdin; repeatable.",
        show_default=False,
    ),
]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Why; kept in the record.", show_default=False),
]
NeededReason = Annotated[
    str,
    typer.Option(
        "--reason", metavar="TEXT", help="Why; required, kept in the record.", show_default=False
    ),
]
Actor = Annotated[
    str | None,
    typer.Option(
        "--actor",
        metavar="WHO",
        help="Who asks; kept in the record. Default: CANARY_ACTOR, else the login name.",
        show_default=False,
    ),
]
Expect = Annotated[
    int | None,
    typer.Option(
        "--expect",
        metavar="SEQ",
        min=0,
        help="Act only if this is still the rollout's last record (see `get -o wide`).",
        show_default=False,
    ),
]
