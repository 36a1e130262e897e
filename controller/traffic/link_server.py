"""Serves the link to gateways over HTTP, to whoever has the token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import web

from controller.errors import CanaryError, DataError, NotLeading, Unreachable
from controller.ports import Link, Report
from controller.rollout.codec import encode
from controller.traffic import wire
from controller.traffic.hub import Seen

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


def link_app(link: Link, replicas: Callable[[], Sequence[Seen]], *, token: str) -> web.Application:
    """The routes. Every one asks for `Authorization: Bearer TOKEN`, except `/livez`.

    A controller that does not lead answers 421 to what only the leader can, and ends the connection: behind one address
    for several controllers the next connection may reach the leader.
    """
    ends = _Ends(link, replicas)
    app = web.Application(
        middlewares=[_authorised(token), _explained], client_max_size=wire.LARGEST
    )
    app.router.add_post(wire.POLL, ends.poll)
    app.router.add_post(wire.INGEST, ends.ingest)
    app.router.add_get(wire.STATUS, ends.status)
    app.router.add_get("/livez", _alive)
    return app


class _Ends:
    def __init__(self, link: Link, replicas: Callable[[], Sequence[Seen]]) -> None:
        self._link = link
        self._replicas = replicas

    async def poll(self, request: web.Request) -> web.Response:
        report = wire.read(Report, await request.read())
        word = await self._link.poll(report, wait_s=_wait_s(request))
        return web.Response(body=wire.written(word), content_type=wire.JSON)

    async def ingest(self, request: web.Request) -> web.Response:
        await self._link.ingest(await request.read())
        return web.Response(status=204)

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response({"replicas": [encode(one) for one in self._replicas()]})


def _wait_s(request: web.Request) -> float:
    text = request.query.get(wire.WAIT, "0")
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s <= 3600:
        raise DataError(f"{wire.WAIT}: {text!r} is not a number of seconds from 0 to 3600.")
    return wait_s


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _authorised(token: str) -> Callable[..., Awaitable[web.StreamResponse]]:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if request.path != "/livez" and not hmac.compare_digest(given, expected):
            return web.Response(status=401, text="The link asks for CANARY_LINK_TOKEN.\n")
        return await handler(request)

    return check


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in words: 422 for what can never be accepted, 421 where another controller is to be asked, 503 for what
    may be tried again."""
    try:
        return await handler(request)
    except DataError as error:
        return web.Response(status=422, text=str(error))
    except NotLeading as error:
        answer = web.Response(status=wire.NOT_LEADING, text=str(error))
        answer.force_close()
        return answer
    except Unreachable as error:
        return web.Response(status=503, text=str(error))
    except CanaryError as error:
        _log.warning("link_refused", path=request.path, error=str(error))
        return web.Response(status=503, text=str(error))
