"""Verbs about the process: `run`, `db`, `settings`, `version`."""

from __future__ import annotations

import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import OutputForm
from controller.cli.output import API_VERSION, Output, emit, print_table

if TYPE_CHECKING:
    from controller.ports import Store

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(settings)
    app.command()(version)
    database = typer.Typer(
        help="Upgrade the database's schema, or check it.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    database.command()(upgrade)
    database.command(name="check")(check_schema)
    app.add_typer(database, name="db")


def run(ctx: typer.Context) -> None:
    """Run the controller until SIGTERM or Ctrl-C.

    It judges every rollout each minute and acts on what it sees. A second signal ends it at once. Log lines go to
    stderr; see CANARY_LOG_FORMAT and CANARY_LOG_LEVEL.
    """
    from controller.logs import configure_logging
    from controller.wiring import build_loop

    context = Context.of(ctx)
    configure_logging(
        context.settings.log_format, context.settings.log_level, stream=context.stderr
    )
    store = context.store_made()
    _warn(store)
    loop = build_loop(context.settings, store, context.clock)
    with stopped_by_signals() as stop:
        loop.run_until(stop)


def _warn(store: Store) -> None:
    import structlog

    from controller.wiring import shortcomings

    log = structlog.get_logger("controller.cli.run")
    plans = [head.plan for head in store.heads()]
    for words in dict.fromkeys(one for plan in plans for one in shortcomings(plan)):
        log.warning("not_supported_yet", what=words)
    log.info("started", rollouts=len(plans))


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that the first signal sets: the tick in progress ends, what is owed is sent. The second kills."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def first(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, first)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def upgrade(ctx: typer.Context) -> None:
    """Make the database, or bring it to this release's schema. Harmless if it is there already."""
    from controller.wiring import Opening, open_store

    context = Context.of(ctx)
    open_store(context.settings.database_url, Opening.UPGRADED).close()
    print("The database has this release's schema.", file=context.stdout)


def check_schema(ctx: typer.Context) -> None:
    """Exit 1 if the database does not have this release's schema."""
    context = Context.of(ctx)
    context.store()
    print("The database has this release's schema.", file=context.stdout)


def settings(ctx: typer.Context, output: OutputForm = Output.TABLE) -> None:
    """Show every setting and where its value comes from.

    Secrets are masked.
    """
    context = Context.of(ctx)
    found = context.settings.describe()
    emit(
        context,
        output,
        document=lambda: {
            "apiVersion": API_VERSION,
            "kind": "Settings",
            "settings": [
                {"name": one.name, "value": one.value, "source": one.source} for one in found
            ],
        },
        names=lambda: [one.name for one in found],
        table=lambda: print_table(
            context,
            ["NAME", "VALUE", "SOURCE"],
            [[one.name, one.value, one.source] for one in found],
        ),
    )


def version(ctx: typer.Context, output: OutputForm = Output.TABLE) -> None:
    """Show the version of canaryctl and of what it runs on."""
    from importlib.metadata import version as installed

    context = Context.of(ctx)
    own, python = installed("canaryctl"), platform.python_version()
    emit(
        context,
        output,
        document=lambda: {
            "apiVersion": API_VERSION,
            "kind": "Version",
            "canaryctl": own,
            "python": python,
        },
        names=lambda: [own],
        table=lambda: print(f"canaryctl {own} (Python {python})", file=context.stdout),
    )
