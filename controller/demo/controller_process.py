"""The controller's process of a demonstration: the real loop and link; what wakes it is the director, once a minute.

python -m controller.demo.controller_process FOLDER PORT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from aiohttp import web

from controller.clock import Clock
from controller.demo.clock import FileClock
from controller.demo.place import TOKEN, Place
from controller.demo.serving import serve_until_told
from controller.logs import configure_logging
from controller.ports import Store
from controller.settings import load_settings
from controller.traffic.link_server import link_app
from controller.wiring import Controller, build_controller, open_store

MINUTE: Final = "/demo/minute"
READY: Final = "/demo/ready"
SETTLED_S: Final = 5.0


def main() -> None:
    place, port = Place(Path(sys.argv[1])), int(sys.argv[2])
    configure_logging("json", "info")
    store = open_store(place.database)
    clock = FileClock(place.clock)
    controller = build_controller(load_settings({}), store, clock)
    # Every minute judges everything, once: that a gateway has acknowledged is not a reason to judge it again.
    controller.hub.when_changed(lambda _: None)
    for head in store.heads():
        controller.reconciler.converge(head)  # who goes on with a minute does not wait for its end
    app = link_app(controller.link, controller.hub, token=TOKEN)
    minute = _Minute(controller, store, clock)
    app.router.add_post(MINUTE, minute.judge)
    app.router.add_post(READY, minute.is_ready)
    controller.sending.start()
    asyncio.run(serve_until_told(web.AppRunner(app, access_log=None), port))
    controller.sending.stop()
    store.close()


class _Minute:
    """The end of a simulated minute: every rollout is judged, and every gateway has heard what came of it."""

    def __init__(self, controller: Controller, store: Store, clock: Clock) -> None:
        self._controller = controller
        self._store = store
        self._clock = clock

    async def judge(self, _: web.Request) -> web.Response:
        await asyncio.to_thread(self._work)
        return web.json_response({"settled": await self._settled()})

    async def is_ready(self, _: web.Request) -> web.Response:
        """Whether a gateway is there and holds what was committed: before the first minute of this process."""
        return web.json_response({"settled": await self._settled()})

    def _work(self) -> None:
        """Judge what this minute has not judged; the director asks again where the answer did not reach it."""
        now = self._clock.now()
        for head in self._store.heads():
            judged = self._store.judged(head.state.rollout)
            if judged is None or judged.through < now:
                self._controller.loop.wake([head.state.rollout])
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
