"""Calls to the models: one OpenAI-compatible address, raw bytes there and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from controller.errors import SettingsError, Unreachable

PREFIX: Final = "/v1"
CONNECT_S: Final = 5.0
SILENT_S: Final = 600.0
"""How long an upstream may say nothing; the openai client's own limit."""

_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
OURS: Final = "x-canary-"

# Neither arm, nor anything about the request, is at fault: a connection that the upstream had closed was used again,
# or one could not be made.
_LOST: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


class Failed(Unreachable):
    """An upstream gave no answer; nothing of one was seen."""


@dataclass(slots=True)
class Answer:
    """An upstream's answer: the head, and what was read of the body so far. To be released."""

    response: aiohttp.ClientResponse
    retried: bool
    begun: bytes = b""

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def streams(self) -> bool:
        return self.response.content_type == "text/event-stream"

    @property
    def readable(self) -> bool:
        """Whether the body can be looked into: it was not compressed."""
        return self.response.headers.get("Content-Encoding", "identity") == "identity"

    def headers(self) -> CIMultiDict[str]:
        return passed_on(self.response.headers)

    async def begin(self) -> None:
        """Read the body: of a stream what comes first, of anything else all of it. Failed if there is nothing."""
        try:
            if not self.streams:
                self.begun = await self.response.read()
                return
            self.begun = await self.response.content.readany()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Failed(f"the upstream broke off its answer: {error!r}") from error
        if not self.begun:
            raise Failed("the upstream's stream was empty")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, from its beginning. Failed when it breaks off."""
        if self.begun:
            yield self.begun
        try:
            async for chunk in self.response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Failed(f"the upstream broke off its answer: {error!r}") from error

    def release(self) -> None:
        """Give the connection back, or end it if the answer was not read to its end."""
        self.response.release()


class Upstream:
    """Where both arms are asked. `address` is what an OpenAI client calls its base URL, with or without `/v1`."""

    def __init__(self, address: str) -> None:
        self._base = base_of(address)

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        # Opened when it is first used: a gateway that is refused its folder or its port leaves nothing open.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @property
    def address(self) -> str:
        return self._base

    async def ask(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST a whole body. A connection that is lost before the answer began is tried once more."""
        try:
            return Answer(await self._post(path, headers, body), retried=False)
        except _LOST as first:
            try:
                return Answer(await self._post(path, headers, body), retried=True)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Failed(f"the upstream gave no answer, twice: {first!r}, {error!r}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Failed(f"the upstream gave no answer: {error!r}") from error

    async def relay(self, method: str, path: str, headers: Mapping[str, str], data: Any) -> Answer:
        """Any request, as it is; its body may be a stream. Nothing is tried twice."""
        try:
            response = await self._session.request(
                method, self._url(path), headers=headers, data=data, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Failed(f"the upstream gave no answer: {error!r}") from error
        return Answer(response, retried=False)

    async def close(self) -> None:
        if "_session" in vars(self):
            await self._session.close()

    async def _post(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        return await self._session.post(
            self._url(path), headers=headers, data=body, allow_redirects=False
        )

    def _url(self, path: str) -> URL:
        return URL(self._base + path.removeprefix(PREFIX), encoded=True)


def passed_on(headers: Mapping[str, str] | CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers that go through a proxy: not those of one connection, and not ours."""
    return CIMultiDict(
        [
            (name, value)
            for name, value in headers.items()
            if (lower := name.lower()) not in _HOP_BY_HOP and not lower.startswith(OURS)
        ]
    )


def base_of(address: str) -> str:
    """What comes before a request's path at an address of models. SettingsError if it is none."""
    try:
        url = URL(address)
    except ValueError as error:
        raise SettingsError(f"upstream: {address!r} is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise SettingsError(
            f"upstream: {address!r} is not an address of models; it looks like https://api.openai.com/v1"
        )
    plain = address.rstrip("/")
    return plain if plain.endswith(PREFIX) else plain + PREFIX
