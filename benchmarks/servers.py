"""The servers around a gateway that are not canaryctl's: models, a bare pass-through, a link that forgets.

Each sends its port when it listens (`processes.served`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.processes import HOST, TOKEN
from benchmarks.rollout import MODEL, plan, start
from benchmarks.wire import Message
from controller.clock import SystemClock
from controller.traffic.hub import GatewayTarget


def _completion() -> bytes:
    """A chat completion of 1 KB, with its head."""
    text = "The parcel left the warehouse and will be with you in two days. " * 9
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text[:560],
        "refusal": None,
        "annotations": [],
    }
    answer = {
        "id": "chatcmpl-fixed",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 230,
            "completion_tokens": 118,
            "total_tokens": 348,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "fp_fixed",
    }
    body = json.dumps(answer).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_fixed\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Fixed(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._message = Message()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._message.feed(data) is not None:
            self._transport.write(self._answer)  # type: ignore[attr-defined] # TCP: it writes


def serve_upstream(ready: Connection) -> None:
    async def serve() -> None:
        answer = _completion()
        server = await asyncio.get_running_loop().create_server(lambda: _Fixed(answer), HOST, 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def serve_pass_through(ready: Connection, upstream: str) -> None:
    """What any gateway on aiohttp pays: a server that reads a body, a client that sends it on."""
    import aiohttp
    from aiohttp import web

    async def serve() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                body, kind = await request.read(), {"Content-Type": "application/json"}
                async with session.post(upstream, data=body, headers=kind) as answer:
                    return web.Response(
                        body=await answer.read(), status=answer.status, headers=kind
                    )

            runner = web.ServerRunner(web.Server(handle, access_log=None))
            await runner.setup()
            await web.TCPSite(runner, HOST, 0, backlog=1024).start()
            ready.send(runner.addresses[0][1])
            await asyncio.Event().wait()

    asyncio.run(serve())


def serve_swallowing_link(ready: Connection) -> None:
    """A controller that has one rollout in force and forgets what gateways hand in."""
    from aiohttp import web

    from controller.logs import configure_logging
    from controller.reconcile.tick import Reconciler
    from controller.store.memory import MemoryStore
    from controller.traffic.link import LocalLink
    from controller.traffic.link_server import link_app

    configure_logging("json", "warning", stream=sys.stderr)
    clock, store, long = SystemClock(), MemoryStore(), timedelta(hours=1)
    hub = GatewayTarget(clock, term=long)
    rollout = start(store, plan())
    Reconciler(store=store, target=hub, clock=clock, fence=1, lease=long).tick(rollout)

    async def serve() -> None:
        app = link_app(LocalLink(hub, lambda _: None, clock), hub.replicas, token=TOKEN)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        ready.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())
