"""Whatever a doctor asks, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from controller.cli.background import in_background

HOST = "127.0.0.1"


class _Served:
    def __init__(self, app: web.Application, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self.port = port

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()


@contextmanager
def serving(app: web.Application) -> Iterator[str]:
    """HOST:PORT of an application that is served."""
    with in_background(lambda: _Served(app, 0), name="served") as served:
        yield f"{HOST}:{served.port}"


@contextmanager
def answering(
    path: str,
    body: Any = None,
    *,
    status: int = 200,
    text: str | None = None,
    headers: dict[str, str] | None = None,
) -> Iterator[str]:
    """Something that always answers this at a path."""

    async def handle(_: web.Request) -> web.Response:
        if text is not None:
            return web.Response(text=text, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", path, handle)
    with serving(app) as address:
        yield address


def nowhere() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return f"{HOST}:{taken.getsockname()[1]}"
