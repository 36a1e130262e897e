"""The controller's end of the link to gateways, as a function call. Over HTTP it is served by `link_server`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller.clock import Clock
from controller.ports import Report, Word
from controller.traffic.hub import GatewayTarget

LONGEST_WAIT_S = 20.0


class LocalLink:
    """`controller.ports.Link` on a hub in this process. `ingest` blocks; it is called in a thread."""

    def __init__(self, hub: GatewayTarget, ingest: Callable[[bytes], None], clock: Clock) -> None:
        self._hub = hub
        self._ingest = ingest
        self._clock = clock

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        begun = self._clock.monotonic()
        self._hub.hear(report)
        if report.leaving:
            return Word(granted=(), waited_s=0.0)
        granted = self._hub.grants(report.replica, renew=False)
        if not granted:
            await self._something_to_say(report.replica, min(wait_s, LONGEST_WAIT_S))
            granted = self._hub.grants(report.replica, renew=True)
        return Word(granted=granted, waited_s=self._clock.monotonic() - begun)

    async def _something_to_say(self, replica: str, wait_s: float) -> None:
        here, said = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            here.call_soon_threadsafe(said.set)

        self._hub.listen(replica, tell)
        try:
            # What was set between the first look and `listen` told nobody.
            if not self._hub.has_news(replica):
                await asyncio.wait_for(said.wait(), wait_s)
        except TimeoutError:
            pass
        finally:
            self._hub.unlisten(replica, tell)

    async def ingest(self, lines: bytes) -> None:
        await asyncio.to_thread(self._ingest, lines)

    async def close(self) -> None:
        return None
