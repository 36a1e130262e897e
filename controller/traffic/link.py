"""The controller's end of the link to gateways, as a function call. Over HTTP it is served by `link_server`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller.clock import Clock
from controller.errors import NotLeading
from controller.ports import Mandate, Report, Unrivalled, Word
from controller.traffic.hub import GatewayTarget

LONGEST_WAIT_S = 20.0


class LocalLink:
    """`controller.ports.Link` on a hub in this process. `ingest` blocks; it is called in a thread."""

    def __init__(
        self,
        hub: GatewayTarget,
        ingest: Callable[[bytes], None],
        clock: Clock,
        mandate: Mandate | None = None,
    ) -> None:
        self._hub = hub
        self._ingest = ingest
        self._clock = clock
        self._mandate = mandate or Unrivalled()

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        begun = self._clock.monotonic()
        self._hub.hear(report)
        if report.leaving:
            return Word(granted=(), waited_s=0.0)
        word = self._word(report.replica, begun, renew=False)
        if not word.granted:
            await self._something_to_say(report.replica, min(wait_s, LONGEST_WAIT_S))
            word = self._word(report.replica, begun, renew=True)
        # Asked after the terms began: who leads next counts from when this mandate ended.
        if not self._mandate.holds():
            raise NotLeading("This controller has just stopped leading. Ask the one that leads.")
        return word

    def _word(self, replica: str, begun: float, *, renew: bool) -> Word:
        # Before the grant: a process that is stopped in between must not lengthen a term that has begun.
        waited_s = self._clock.monotonic() - begun
        return Word(granted=self._hub.grants(replica, renew=renew), waited_s=waited_s)

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
