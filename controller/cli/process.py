"""Verbs about the process: `run`, `db`, `settings`, `version`."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.background import collect_seldom, in_background
from controller.cli.context import Context
from controller.cli.operations import OpsListen, OpsService, ops_address, store_to_serve
from controller.cli.options import OutputForm
from controller.cli.output import API_VERSION, Output, emit, print_table
from controller.errors import SettingsError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from controller.ports import Store
    from controller.settings import Settings
    from controller.wiring import Controller

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


def run(
    ctx: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where gateways find this controller. Default: CANARY_LINK_LISTEN, else 127.0.0.1:8701.",
            show_default=False,
        ),
    ] = None,
    ops_listen: OpsListen = None,
) -> None:
    """Run a controller until SIGTERM or Ctrl-C.

    It judges every rollout each minute and acts on what it sees. Several may run on one database: one leads, the others
    take in what gateways observe and stand by; see CANARY_LEADER_TERM_S. Gateways (`canaryctl gateway`) connect to it
    with CANARY_LINK_TOKEN. While the database is away, or not at this release's schema, it waits and does nothing:
    /readyz says why. A second signal ends it at once. Log lines go to stderr; see CANARY_LOG_FORMAT, CANARY_LOG_LEVEL.
    """
    from controller.logs import configure_logging
    from controller.wiring import attach, build_controller, build_operations

    context = Context.of(ctx)
    settings = context.settings
    configure_logging(settings.log_format, settings.log_level, stream=context.stderr)
    address, ops = _address(listen or settings.link_listen), ops_address(context, ops_listen)
    operations = build_operations(settings)
    with (
        stopped_by_signals() as stop,
        in_background(lambda: OpsService(operations, ops), name="operations"),
    ):
        store = store_to_serve(context, operations, stop)
        if store is None:
            return
        log_started(store, settings)
        controller = build_controller(settings, store, context.clock, operations)
        attach(operations, controller, store, context.clock)
        collect_seldom()
        if settings.link_token is None:
            _log().warning("no_link", what="CANARY_LINK_TOKEN is not set: no gateway can connect")
            controller.tenures.run_until(stop)
            return
        token = settings.link_token.get_secret_value()
        with in_background(lambda: LinkService(controller, address, token), name="link"):
            controller.tenures.run_until(stop)


def _address(text: str) -> tuple[str, int]:
    from controller.settings import address

    try:
        return address(text)
    except ValueError as error:
        raise SettingsError(f"--listen: {text!r} is refused: {error}.") from error


class LinkService:
    """The controller's end of the link, over HTTP."""

    def __init__(self, controller: Controller, address: tuple[str, int], token: str) -> None:
        from aiohttp import web

        from controller.traffic.link_server import link_app

        self._address = address
        # Reports are held back for as long as nothing is said: at the end nobody waits for them.
        self._runner = web.AppRunner(
            link_app(controller.link, controller.tenures.replicas, token=token),
            access_log=None,
            shutdown_timeout=0.5,
        )

    async def start(self) -> None:
        from aiohttp import web

        await self._runner.setup()
        host, port = self._address
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}."
            ) from error
        _log().info("link_listening", address=f"{host}:{self._runner.addresses[0][1]}")

    async def stop(self) -> None:
        await self._runner.cleanup()


def log_started(store: Store, settings: Settings) -> None:
    from controller.wiring import shortcomings

    log = _log()
    plans = [head.plan for head in store.heads()]
    for words in dict.fromkeys(one for plan in plans for one in shortcomings(plan, settings)):
        log.warning("not_ready", what=words)
    log.info("started", rollouts=len(plans))


def _log() -> FilteringBoundLogger:
    import structlog

    log: FilteringBoundLogger = structlog.get_logger("controller.cli.run")
    return log


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
