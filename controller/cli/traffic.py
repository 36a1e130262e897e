"""Verbs that carry traffic: `up`, everything in one process; `gateway`, the data plane alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.background import collect_seldom, in_background
from controller.cli.context import Context
from controller.cli.operations import OpsListen, OpsService, ops_address, upgrade_embedded
from controller.cli.process import log_started, stopped_by_signals
from controller.errors import SettingsError

if TYPE_CHECKING:
    from controller.clock import Clock
    from controller.gateway.app import Gateway
    from controller.ports import Link
    from controller.settings import Settings

UpstreamUrl = Annotated[
    str | None,
    typer.Option(
        "--upstream",
        metavar="URL",
        help="The models: an OpenAI client's base URL. Default: CANARY_UPSTREAM_URL.",
        show_default=False,
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="HOST:PORT",
        help="Where the application's requests come in. Default: CANARY_GATEWAY_LISTEN, else 127.0.0.1:8700.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(gateway)


def up(
    ctx: typer.Context,
    plans: Annotated[
        list[str] | None,
        typer.Option(
            "--plan",
            "-p",
            metavar="FILE",
            help="Apply this plan first, as `apply -f` does; repeatable.",
            show_default=False,
        ),
    ] = None,
    upstream: UpstreamUrl = None,
    listen: Listen = None,
    ops_listen: OpsListen = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the plan's record.")
    ] = "canaryctl up",
) -> None:
    """Run controller, gateway and database in this one process, until SIGTERM or Ctrl-C.

    The application's OpenAI client gets the gateway's address as its base URL, and nothing else changes.
    """
    from controller.cli.apply import apply_plans
    from controller.logs import configure_logging
    from controller.wiring import attach, build_controller, build_operations, controller_running

    context = Context.of(ctx)
    models, address = _upstream(context, upstream), _listen(context, listen)
    ops = ops_address(context, ops_listen)
    upgrade_embedded(context)
    apply_plans(context, plans or [], reason=reason)
    settings = context.settings
    configure_logging(settings.log_format, settings.log_level, stream=context.stderr)
    store = context.store_made()
    operations = build_operations(settings)
    controller = build_controller(settings, store, context.clock, operations)
    attach(operations, controller, store, context.clock)
    collect_seldom()

    def data_plane() -> _DataPlane:
        return _DataPlane(settings, controller.link, models, address, context.clock)

    with (
        stopped_by_signals() as stop,
        in_background(lambda: OpsService(operations, ops), name="operations"),
        controller_running(controller),
    ):
        log_started(store, settings)
        with in_background(data_plane, name="gateway") as served:
            _say_where(context, served)
            stop.wait()


def gateway(
    ctx: typer.Context,
    controllers: Annotated[
        list[str] | None,
        typer.Option(
            "--controller",
            metavar="URL",
            help="Where `canaryctl run` listens for gateways; repeatable. Default: CANARY_CONTROLLER_URL.",
            show_default=False,
        ),
    ] = None,
    upstream: UpstreamUrl = None,
    listen: Listen = None,
) -> None:
    """Run a gateway alone, until SIGTERM or Ctrl-C. It needs no database and answers while the controller is away.

    CANARY_LINK_TOKEN is the controllers'. Give every controller of the database, or one address for all of them. Each
    gateway has a folder of its own, CANARY_GATEWAY_DIR.
    """
    from controller.logs import configure_logging
    from controller.wiring import link_to

    context = Context.of(ctx)
    settings = context.settings
    models, address = _upstream(context, upstream), _listen(context, listen)
    where = _addresses(controllers or [settings.controller_url or ""])
    if not where:
        raise SettingsError("Which controller? Give --controller URL or set CANARY_CONTROLLER_URL.")
    if settings.link_token is None:
        raise SettingsError(
            "CANARY_LINK_TOKEN is not set; it is the same here and at the controller."
        )
    token = settings.link_token.get_secret_value()
    configure_logging(settings.log_format, settings.log_level, stream=context.stderr)

    def data_plane() -> _DataPlane:
        return _DataPlane(settings, link_to(where, token), models, address, context.clock)

    collect_seldom()
    with stopped_by_signals() as stop, in_background(data_plane, name="gateway") as served:
        _say_where(context, served)
        stop.wait()


def _addresses(given: Sequence[str]) -> list[str]:
    """Each may be several, separated by commas; every one once."""
    each = (one.strip() for several in given for one in several.split(","))
    return list(dict.fromkeys(one for one in each if one))


class _DataPlane:
    """A gateway as a service of this process."""

    def __init__(
        self, settings: Settings, link: Link, upstream: str, address: tuple[str, int], clock: Clock
    ) -> None:
        from controller.wiring import build_gateway

        self._address = address
        self.host = address[0]
        self.gateway: Gateway = build_gateway(Path(settings.gateway_dir), link, upstream, clock)

    async def start(self) -> None:
        await self.gateway.start(*self._address)

    async def stop(self) -> None:
        await self.gateway.stop()


def _upstream(context: Context, given: str | None) -> str:
    from controller.gateway.upstream import base_of

    found = given or context.settings.upstream_url
    if found is None:
        raise SettingsError(
            "Where are the models? Give --upstream URL (such as https://api.openai.com/v1) or set CANARY_UPSTREAM_URL."
        )
    base_of(found)  # before anything is started
    return found


def _listen(context: Context, given: str | None) -> tuple[str, int]:
    from controller.settings import address

    try:
        return address(given or context.settings.gateway_listen)
    except ValueError as error:
        raise SettingsError(f"--listen: {given!r} is refused: {error}.") from error


def _say_where(context: Context, served: _DataPlane) -> None:
    host = f"[{served.host}]" if ":" in served.host else served.host
    context.say(
        f"Gateway: http://{host}:{served.gateway.port}/v1 is an OpenAI client's base URL now."
    )
