"""The controller's process of a demonstration: the real loop and link; what wakes it is the director, once a minute.

python -m controller.demo.controller_process FOLDER PORT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from aiohttp import web

from controller.demo.clock import FileClock
from controller.demo.place import TOKEN, Place
from controller.demo.serving import serve_until_told
from controller.logs import configure_logging
from controller.settings import load_settings
from controller.traffic.link_server import link_app
from controller.wiring import Controller, build_controller, open_store

MINUTE: Final = "/demo/minute"
SETTLED_S: Final = 5.0


def main() -> None:
    place, port = Place(Path(sys.argv[1])), int(sys.argv[2])
    configure_logging("json", "info")
    store = open_store(place.database)
    clock = FileClock(place.clock)
    controller = build_controller(load_settings({}), store, clock)
    app = link_app(controller.link, controller.hub, token=TOKEN)
    minute = _Minute(controller)
    app.router.add_post(MINUTE, minute.judge)
    asyncio.run(serve_until_told(web.AppRunner(app, access_log=None), port))
    store.close()


class _Minute:
    """The end of a simulated minute: every rollout is judged, and every gateway has heard what came of it."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def judge(self, _: web.Request) -> web.Response:
        await asyncio.to_thread(self._work)
        settled = await self._settled()
        replicas = len(self._controller.hub.replicas())
        return web.json_response({"settled": settled, "replicas": replicas})

    def _work(self) -> None:
        self._controller.loop.wake_all()
        self._controller.loop.work(timeout_s=0)

    async def _settled(self) -> bool:
        """Whether the gateways hold what was set; those that do not are waited for, but not for ever."""
        hub = self._controller.hub
        for _ in range(int(SETTLED_S / 0.002)):
            if hub.replicas() and hub.settled():
                return True
            await asyncio.sleep(0.002)
        return False


if __name__ == "__main__":
    main()
