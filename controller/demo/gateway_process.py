"""The gateway's process of a demonstration: the real one, on the demonstration's clock.

python -m controller.demo.gateway_process FOLDER PORT CONTROLLER UPSTREAM
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from aiohttp import web

from controller.demo.clock import FileClock
from controller.demo.place import TOKEN, Place
from controller.demo.serving import told_to_end
from controller.gateway.app import Gateway
from controller.gateway.uplink import Pace
from controller.logs import configure_logging
from controller.wiring import build_gateway, link_to

DELIVERED: Final = "/demo/delivered"
PACE: Final = Pace(wait_s=2.0, linger_s=0.0)


async def serve(place: Place, port: int, controller: str, upstream: str) -> None:
    clock = FileClock(place.clock)
    gateway = build_gateway(
        place.gateway, link_to(controller.split(","), TOKEN), upstream, clock, pace=PACE
    )
    app = web.Application()
    app.router.add_post(DELIVERED, _Delivered(gateway).wait)
    side = web.AppRunner(app, access_log=None)
    await side.setup()
    await web.TCPSite(side, "127.0.0.1", port + 1).start()
    await gateway.start("127.0.0.1", port)
    await told_to_end()
    await side.cleanup()
    await gateway.stop()


class _Delivered:
    """Answers when everything that this gateway observed is counted."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def wait(self, _: web.Request) -> web.Response:
        await self._gateway.spool.emptied()
        return web.Response(status=204)


def main() -> None:
    folder, port, controller, upstream = sys.argv[1:5]
    configure_logging("json", "info")
    asyncio.run(serve(Place(Path(folder)), int(port), controller, upstream))


if __name__ == "__main__":
    main()
