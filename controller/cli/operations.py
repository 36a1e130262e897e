"""The listener for operations, and the start of a controller that may have to wait for its database."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.errors import SchemaBehind, SettingsError, Unreachable

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from controller.ports import Store
    from controller.telemetry.operations import Operations

LOOK_S = 2.0
"""How often a database is looked at that is not there yet."""

OpsListen = Annotated[
    str | None,
    typer.Option(
        "--ops-listen",
        metavar="HOST:PORT",
        help="Where /livez, /readyz and /metrics answer. Default: CANARY_OPS_LISTEN, else 127.0.0.1:8702.",
        show_default=False,
    ),
]


def ops_address(context: Context, given: str | None) -> tuple[str, int]:
    from controller.settings import address

    try:
        return address(given or context.settings.ops_listen)
    except ValueError as error:
        raise SettingsError(f"--ops-listen: {given!r} is refused: {error}.") from error


class OpsService:
    """`/livez`, `/readyz` and `/metrics`, over HTTP."""

    def __init__(self, operations: Operations, address: tuple[str, int]) -> None:
        from aiohttp import web

        from controller.telemetry.server import ops_app

        self._address = address
        self._runner = web.AppRunner(ops_app(operations), access_log=None, shutdown_timeout=0.5)

    async def start(self) -> None:
        from aiohttp import web

        await self._runner.setup()
        host, port = self._address
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}. "
                "Another controller may run here; --ops-listen or CANARY_OPS_LISTEN gives this one another place."
            ) from error
        _log().info("ops_listening", address=f"{host}:{self.port}")

    @property
    def port(self) -> int:
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._runner.cleanup()


def store_to_serve(context: Context, operations: Operations, stop: threading.Event) -> Store | None:
    """The store that a controller runs on; None if it was told to stop before that was there.

    An embedded database is this process's own: it is made or upgraded. One that several processes share is upgraded by
    `canaryctl db upgrade`, when all of them can bear it, and waited for.
    """
    if _is_embedded(context):
        return context.store_upgraded()
    return awaited_store(context.store, operations, stop)


def upgrade_embedded(context: Context) -> None:
    """Bring an embedded database that an earlier release left to this release's schema; none is made."""
    path = context.settings.database_url.removeprefix("sqlite:///").partition("?")[0]
    if _is_embedded(context) and Path(path).exists():
        context.store_upgraded()


def _is_embedded(context: Context) -> bool:
    return context.settings.database_url.startswith("sqlite")


def awaited_store(
    open_store: Callable[[], Store],
    operations: Operations,
    stop: threading.Event,
    *,
    look_s: float = LOOK_S,
) -> Store | None:
    """The store, once its database answers and has this release's schema; None if it was told to stop before.

    Each reason to wait is logged once. Nothing is decided meanwhile, and `/readyz` says why.
    """
    told = None
    while not stop.is_set():
        operations.turned()
        try:
            store = open_store()
        except (SchemaBehind, Unreachable) as error:
            if str(error) != told:
                told = str(error)
                _log().warning("waiting_for_database", reason=told)
        else:
            if told is not None:
                _log().info("database_there")
            return store
        stop.wait(look_s)
    return None


def _log() -> FilteringBoundLogger:
    import structlog

    log: FilteringBoundLogger = structlog.get_logger("controller.cli.run")
    return log
