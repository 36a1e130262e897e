"""The link to controllers elsewhere, over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TypeVar

import aiohttp

from controller.errors import DataError, NotLeading, SettingsError, Unreachable
from controller.ports import Report, Word
from controller.traffic import wire

_MARGIN_S = 10.0

T = TypeVar("T")


class HttpLink:
    """`controller.ports.Link` to the addresses of `canaryctl run`, such as http://controller:8701.

    They are the controllers of one database, of which one leads. Who answered last is asked first; one that does not
    answer or does not lead costs no more than asking the next. When a whole round was in vain the caller waits.
    """

    def __init__(self, addresses: Sequence[str], *, token: str) -> None:
        for address in addresses:
            if not address.startswith(("http://", "https://")):
                raise SettingsError(
                    f"controller: {address!r} is not an address; it looks like http://controller:8701"
                )
        self._addresses = [address.rstrip("/") for address in addresses]
        self._leader = 0  # by their place: who answered a report last
        self._token = token

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        # Opened when it is first used: a gateway that is refused its folder or its port leaves nothing open.
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
        )

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        path = f"{wire.POLL}?{wire.WAIT}={wait_s:g}"
        body = wire.written(report)

        async def ask(address: str) -> Word:
            answer = await self._post(address + path, body, wire.JSON, wait_s)
            try:
                return wire.read(Word, answer)
            except DataError as error:
                raise Unreachable(f"{address}: {error}") from error

        try:
            self._leader, word = await self._round(ask)
        except DataError as error:
            raise Unreachable(str(error)) from error
        return word

    async def ingest(self, lines: bytes) -> None:
        # The leader first: it judges at once what it takes in itself.
        await self._round(lambda one: self._post(one + wire.INGEST, lines, wire.LINES, 20.0))

    async def close(self) -> None:
        if "_session" in vars(self):
            await self._session.close()

    async def _round(self, ask: Callable[[str], Awaitable[T]]) -> tuple[int, T]:
        """Who answered, and what; Unreachable with what each of them said if nobody did."""
        said = []
        for turn in range(len(self._addresses)):
            place = (self._leader + turn) % len(self._addresses)
            try:
                return place, await ask(self._addresses[place])
            except Unreachable as error:
                said.append(str(error))
        raise Unreachable("; ".join(said))

    async def _post(self, url: str, body: bytes, kind: str, wait_s: float) -> bytes:
        limit = aiohttp.ClientTimeout(total=wait_s + _MARGIN_S)
        try:
            async with self._session.post(
                url, data=body, headers={"Content-Type": kind}, timeout=limit
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{url} did not answer: {error!r}") from error
        said = answer.decode(errors="replace").strip()
        if response.status in (413, 422):
            # Too large or wrong: sent again it would be so again.
            raise DataError(said)
        if response.status == wire.NOT_LEADING:
            raise NotLeading(f"{url}: {said[:300]}")
        if response.status >= 300:
            raise Unreachable(f"{url} answered {response.status}: {said[:300]}")
        return answer
