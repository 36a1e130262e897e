"""The link to a controller elsewhere, over HTTP."""

from __future__ import annotations

from functools import cached_property

import aiohttp

from controller.errors import DataError, SettingsError, Unreachable
from controller.ports import Report, Word
from controller.traffic import wire

_MARGIN_S = 10.0


class HttpLink:
    """`controller.ports.Link` to `canaryctl run`'s address, such as http://controller:8701."""

    def __init__(self, address: str, *, token: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise SettingsError(
                f"controller: {address!r} is not an address; it looks like http://controller:8701"
            )
        self._address = address.rstrip("/")
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
        try:
            return wire.read(Word, await self._post(path, wire.written(report), wire.JSON, wait_s))
        except DataError as error:
            raise Unreachable(f"{self._address}: {error}") from error

    async def ingest(self, lines: bytes) -> None:
        await self._post(wire.INGEST, lines, wire.LINES, 20.0)

    async def close(self) -> None:
        if "_session" in vars(self):
            await self._session.close()

    async def _post(self, path: str, body: bytes, kind: str, wait_s: float) -> bytes:
        limit = aiohttp.ClientTimeout(total=wait_s + _MARGIN_S)
        try:
            async with self._session.post(
                self._address + path, data=body, headers={"Content-Type": kind}, timeout=limit
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{self._address} did not answer: {error!r}") from error
        if response.status in (413, 422):
            # Too large or wrong: sent again it would be so again.
            raise DataError(answer.decode(errors="replace"))
        if response.status >= 300:
            said = answer.decode(errors="replace").strip()[:300]
            raise Unreachable(f"{self._address} answered {response.status}: {said}")
        return answer
