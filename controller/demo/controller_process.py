"""A controller's process of a demonstration: the real one, among others; what wakes it is the director, once a minute.

CANARY_DATABASE_URL=… CANARY_SLACK_URL=… python -m controller.demo.controller_process FOLDER PORT
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from controller.clock import Clock
from controller.demo.clock import FileClock
from controller.demo.place import TOKEN, Place
from controller.demo.serving import serve_until_told
from controller.logs import configure_logging
from controller.ports import Ending, Store
from controller.reconcile.tenure import Tenure, Tenures
from controller.settings import Settings, load_settings
from controller.traffic import wire
from controller.traffic.link_server import link_app
from controller.wiring import build_controller, controller_running, open_store

MINUTE: Final = "/demo/minute"
READY: Final = "/demo/ready"
SETTLED_S: Final = 5.0
_LOOK_S: Final = 0.05


def main() -> None:
    place, port = Place(Path(sys.argv[1])), int(sys.argv[2])
    configure_logging("json", "info")
    told = {name: one for name, one in os.environ.items() if name.startswith("CANARY_")}
    serve(load_settings(told), FileClock(place.clock), port)


def serve(
    settings: Settings,
    clock: Clock,
    port: int,
    ended: Callable[[Tenures, Store, Clock], Minutes] | None = None,
) -> None:
    """A controller on a story's clock, until it is told to end. `ended` makes what ends a minute."""
    store = open_store(settings.database_url)
    controller = build_controller(settings, store, clock, serve=Story(store).lead)
    app = link_app(controller.link, controller.tenures.replicas, token=TOKEN)
    minutes = (ended or Minutes)(controller.tenures, store, clock)
    app.router.add_post(MINUTE, minutes.judge)
    app.router.add_post(READY, minutes.is_ready)
    with controller_running(controller):
        asyncio.run(serve_until_told(web.AppRunner(app, access_log=None), port))
    store.close()


class Story:
    """What a controller does while it leads: nothing by itself, minutes are ended by the director."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def lead(self, tenure: Tenure, stop: Ending) -> None:
        # Every minute judges everything, once: that a gateway has acknowledged is not a reason to judge it again.
        tenure.hub.when_changed(lambda _: None)
        for head in self._store.heads():
            tenure.reconciler.converge(head)  # who goes on with a minute does not wait for its end
        tenure.sending.start()
        while not stop.is_set():
            time.sleep(_LOOK_S)
        tenure.sending.stop()


class Minutes:
    """The end of a simulated minute: every rollout is judged, and every gateway has heard what came of it.

    421 from a controller that does not lead. A gateway is waited for, but not for ever: for `patience_s`.
    """

    patience_s = SETTLED_S

    def __init__(self, tenures: Tenures, store: Store, clock: Clock) -> None:
        self._tenures = tenures
        self.store = store
        self.clock = clock

    async def judge(self, _: web.Request) -> web.Response:
        tenure = self._tenures.current
        if tenure is None:
            return web.Response(status=wire.NOT_LEADING)
        judged = await asyncio.to_thread(self.work, tenure)
        return web.json_response({"settled": judged and await self._settled(tenure)})

    async def is_ready(self, _: web.Request) -> web.Response:
        """Whether a gateway is there and holds what was committed: before the first minute of this process."""
        tenure = self._tenures.current
        if tenure is None:
            return web.Response(status=wire.NOT_LEADING)
        return web.json_response({"settled": await self._settled(tenure)})

    def work(self, tenure: Tenure) -> bool:
        """Judge what this minute has not judged; the director asks again where something was in the way."""
        tenure.loop.wake(self._due())
        tenure.loop.work(timeout_s=0)
        tenure.sending.wake()  # the time of what was put off may have come
        return not self._due()

    def _due(self) -> list[str]:
        now = self.clock.now()
        return [
            head.state.rollout
            for head in self.store.heads()
            if (judged := self.store.judged(head.state.rollout)) is None or judged.through < now
        ]

    async def _settled(self, tenure: Tenure) -> bool:
        """Whether the gateways hold what was set."""
        hub = tenure.hub
        for _ in range(int(self.patience_s / 0.002)):
            if not tenure.mandate.holds():
                return False
            if hub.replicas() and hub.settled():
                return True
            await asyncio.sleep(0.002)
        return False


if __name__ == "__main__":
    main()
