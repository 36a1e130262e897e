"""`/livez`, `/readyz` and `/metrics` over HTTP. Nothing here is secret or can be changed, so no token is asked for."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from controller.telemetry.meters import CONTENT_TYPE
from controller.telemetry.operations import Operations


def ops_app(operations: Operations) -> web.Application:
    """The three routes. What takes time is done in threads: a slow scrape keeps no probe waiting."""
    ends = _Ends(operations)
    app = web.Application()
    app.on_cleanup.append(ends.close)
    app.router.add_get("/livez", ends.livez)
    app.router.add_get("/readyz", ends.readyz)
    app.router.add_get("/metrics", ends.metrics)
    return app


class _Ends:
    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        # Scrapes queue for a thread of their own.
        self._scrapes = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    async def close(self, _: web.Application) -> None:
        self._scrapes.shutdown(wait=False, cancel_futures=True)

    async def livez(self, _: web.Request) -> web.Response:
        stuck = self._operations.stuck()
        if stuck is None:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=f"{stuck}\n")

    async def readyz(self, _: web.Request) -> web.Response:
        found = await asyncio.to_thread(self._operations.readiness)
        body = {
            "ready": found.ready,
            "role": found.role.value,
            "checks": [
                {"check": one.name, "state": one.state.value, "reason": one.reason}
                for one in found.checks
            ],
        }
        return web.json_response(body, status=200 if found.ready else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        here = asyncio.get_running_loop()
        body = await here.run_in_executor(self._scrapes, self._operations.metrics)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
