"""The gateway's end of the link: it hears splits and hands in what was observed. Requests never wait for either."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass

import structlog

from controller.clock import Clock
from controller.errors import DataError, Unreachable
from controller.gateway.splits import SplitBook
from controller.gateway.spool import Parcel, Spool
from controller.ports import Link, Report

WAIT_S = 20.0
"""How long a report may be held back: the longest silence between two acknowledgements."""
LINGER_S = 0.1
"""How long the first line waits for others to go with it."""
SOONEST_S, LATEST_S = 0.1, 5.0
GOODBYE_S = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the link is used. The defaults are for a controller elsewhere."""

    wait_s: float = WAIT_S
    linger_s: float = LINGER_S


class Uplink:
    """Runs until it is told to end; then it hands in what it can and takes its leave."""

    def __init__(
        self,
        *,
        link: Link,
        book: SplitBook,
        spool: Spool,
        clock: Clock,
        replica: str,
        pace: Pace,
    ) -> None:
        self._link = link
        self._book = book
        self._spool = spool
        self._clock = clock
        self._replica = replica
        self._pace = pace
        self.heard = asyncio.Event()
        """Set once a controller has answered."""

    async def listen(self) -> None:
        """Report and take in splits, for ever."""
        trouble = _Trouble("controller_unreachable")
        while True:
            asked = self._clock.monotonic()
            try:
                word = await self._link.poll(self._report(), wait_s=self._pace.wait_s)
            except Unreachable as error:
                await trouble.wait(str(error))
                continue
            refused = self._book.receive(word, asked=asked)
            self.heard.set()
            if refused:
                # It would be offered again at once.
                await trouble.wait("; ".join(refused))
            else:
                trouble.over()

    async def deliver(self) -> None:
        """Hand in what was observed, for ever."""
        trouble = _Trouble("not_delivered")
        while True:
            await self._spool.filled()
            await asyncio.sleep(self._pace.linger_s)
            while (parcel := self._spool.take()) is not None:
                try:
                    await self._hand_in(parcel)
                except Unreachable as error:
                    await trouble.wait(str(error))
                else:
                    trouble.over()

    async def leave(self) -> None:
        """Hand in the rest and say goodbye, if the controller is there; what is left stays in the spool."""
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                while (parcel := self._spool.take()) is not None:
                    await self._hand_in(parcel)
        self._book.give_up()
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._link.poll(self._report(leaving=True), wait_s=0)

    async def _hand_in(self, parcel: Parcel) -> None:
        # Put aside only when the rest has arrived: what is tried again would be put aside again.
        for line, why in await self._uncountable(parcel.lines):
            self._spool.refuse(line, why)
        self._spool.strike(parcel)

    async def _uncountable(self, lines: bytes) -> list[tuple[bytes, str]]:
        """Have lines counted; those that can never be, found by halving, each with the reason."""
        try:
            await self._link.ingest(lines)
        except DataError as error:
            each = lines.splitlines(keepends=True)
            half = len(each) // 2
            if half == 0:
                return [(lines, str(error))]
            first, second = b"".join(each[:half]), b"".join(each[half:])
            return [*await self._uncountable(first), *await self._uncountable(second)]
        return []

    def _report(self, *, leaving: bool = False) -> Report:
        return Report(
            replica=self._replica,
            held=self._book.held(),
            leaving=leaving,
            lost=self._spool.lost,
        )


class _Trouble:
    """Waits longer each time, and says so once at the beginning and once at the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._times = 0

    async def wait(self, why: str) -> None:
        if self._times == 0:
            _log.warning(self._name, error=why)
        longest = min(SOONEST_S * 2 ** min(self._times, 10), LATEST_S)
        self._times += 1
        # Spread out: many gateways lose the same controller in the same moment.
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def over(self) -> None:
        if self._times:
            _log.info(f"{self._name}_over", tries=self._times)
        self._times = 0
