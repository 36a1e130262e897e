"""`ingest`: observations, outcomes and pairs from a file, for whoever has no gateway in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import OutputForm
from controller.cli.output import API_VERSION, Output, emit
from controller.errors import DataError

if TYPE_CHECKING:
    from controller.rollout.observation import Batch, Ingested

STDIN = "-"
CHUNK = 5_000
"""Lines that are counted in one transaction: other writers wait no longer than that."""


def register(app: typer.Typer) -> None:
    app.command()(ingest)


def ingest(
    ctx: typer.Context,
    file: str = typer.Argument(metavar="FILE", help="JSON lines, or - for stdin."),
    output: OutputForm = Output.TABLE,
) -> None:
    """Count observations, outcomes and pairs from JSON lines.

    A wrong line refuses the whole file; sending a file twice is harmless.
    """
    from controller.sources.feed import read_feed

    context = Context.of(ctx)
    store = context.store()
    shown = "<stdin>" if file == STDIN else file
    batch = read_feed(_text(context, file).splitlines(), file=shown, store=store)
    received = _sum([store.ingest(part, context.clock.now()) for part in _chunks(batch)])
    emit(
        context,
        output,
        document=lambda: {
            "apiVersion": API_VERSION,
            "kind": "Ingested",
            **asdict(received),
            "touched": list(received.touched),
        },
        names=lambda: received.touched,
        table=lambda: print(_counts(batch, received), file=context.stdout),
    )
    if received.too_late:
        context.say(
            f"{received.too_late} came too late: refused. An outcome is taken within the plan's labels.horizon, "
            "and nothing that is older than what is kept (CANARY_RETENTION_D)"
        )


def _text(context: Context, file: str) -> str:
    if file == STDIN:
        return context.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"{file}: cannot be read: {reason}") from error


def _chunks(batch: Batch) -> Iterator[Batch]:
    """Observations before the outcomes that are about them."""
    from controller.rollout.observation import Batch

    for start in range(0, len(batch.observations), CHUNK):
        yield Batch(observations=batch.observations[start : start + CHUNK])
    for start in range(0, len(batch.outcomes), CHUNK):
        yield Batch(outcomes=batch.outcomes[start : start + CHUNK])
    for start in range(0, len(batch.pairs), CHUNK):
        yield Batch(pairs=batch.pairs[start : start + CHUNK])


def _sum(parts: list[Ingested]) -> Ingested:
    from controller.rollout.observation import Ingested

    counted = [one.name for one in fields(Ingested) if one.name != "touched"]
    touched = dict.fromkeys(chain.from_iterable(part.touched for part in parts))
    totals = {name: sum(getattr(part, name) for part in parts) for name in counted}
    return Ingested(**totals, touched=tuple(touched))


def _counts(batch: Batch, received: Ingested) -> str:
    from controller.rollout.units import counted

    sent = ", ".join(
        counted(len(those), name)
        for those, name in (
            (batch.observations, "observations"),
            (batch.outcomes, "outcomes"),
            (batch.pairs, "pairs"),
        )
    )
    kinds = [
        f"{number:,} {name.replace('_', ' ')}"
        for name, number in asdict(received).items()
        if name != "touched" and (number or name == "accepted")
    ]
    return f"{sent}: {', '.join(kinds)}"
