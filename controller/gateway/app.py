"""The gateway's HTTP server and what it is made of."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Coroutine
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from aiohttp import web

from controller.clock import Clock, elapsed
from controller.errors import DataError, SettingsError
from controller.gateway.ledger import outcome_line
from controller.gateway.live import LiveUnits
from controller.gateway.outcomes import read_outcomes
from controller.gateway.serve import Chat, Counts, error_response, relay
from controller.gateway.splits import SplitBook, replace_file
from controller.gateway.spool import Spool
from controller.gateway.uplink import Pace, Uplink
from controller.gateway.upstream import PREFIX, Upstream
from controller.ports import Link
from controller.rollout.codec import encode

CHAT = f"{PREFIX}/chat/completions"
OUTCOMES = f"{PREFIX}/outcomes"
STATUS = "/canary/status"
LARGEST = 64 * 1024 * 1024
"""Bytes of a chat request; anything that is passed through may be larger."""
DRAIN_S = 30.0

_log = structlog.get_logger(__name__)


class Gateway:
    """One gateway process's parts. `start` opens the port; `stop` answers what is under way, hands in, says goodbye."""

    def __init__(
        self,
        *,
        link: Link,
        upstream: str,
        folder: Path,
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self._lock = _locked(folder)
        self.replica = _replica(folder)
        self._clock = clock
        self._link = link
        self.spool = Spool(folder / "spool")
        self.book = SplitBook(clock, folder / "splits.json")
        self.live = LiveUnits(folder / "live.jsonl", clock.now())
        self._chat = Chat(
            upstream=Upstream(upstream),
            book=self.book,
            live=self.live,
            spool=self.spool,
            clock=clock,
            elapsed=elapsed,
        )
        self.uplink = Uplink(
            link=link,
            book=self.book,
            spool=self.spool,
            clock=clock,
            replica=self.replica,
            pace=pace or Pace(),
        )
        self._runner: web.ServerRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    @property
    def counts(self) -> Counts:
        return self._chat.counts

    async def start(self, host: str, port: int) -> None:
        """Listen. SettingsError if the address cannot be had. Port 0 takes a free one; it is in `port` then."""
        request = partial(web.BaseRequest, loop=asyncio.get_running_loop(), client_max_size=LARGEST)
        self._runner = web.ServerRunner(
            # Bodies as they come: what was unpacked here would go on under a header that says it is packed.
            web.Server(
                self._handle, request_factory=request, access_log=None, auto_decompress=False
            ),
            shutdown_timeout=DRAIN_S,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            await self._let_go()
            raise SettingsError(
                f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}."
            ) from error
        self.port = self._runner.addresses[0][1]
        self._tasks = [
            asyncio.create_task(_for_ever(self.uplink.listen(), "listen")),
            asyncio.create_task(_for_ever(self.uplink.deliver(), "deliver")),
        ]
        _log.info(
            "gateway_started",
            replica=self.replica,
            listening=f"{host}:{self.port}",
            upstream=self._chat.upstream.address,
            spooled=self.spool.pending,
        )

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.uplink.leave()
        await self._let_go()
        _log.info("gateway_stopped", spooled=self.spool.pending)

    async def _let_go(self) -> None:
        await self._link.close()
        await self._chat.upstream.close()
        self.live.close()
        self.spool.close()
        os.close(self._lock)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.counts.in_flight += 1
        try:
            if request.headers.get("Expect", "").lower() == "100-continue":
                # Else curl holds a body of more than a megabyte back for a second.
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # the answer has not begun
            return await self._routed(request)
        except web.HTTPRequestEntityTooLarge:
            return error_response(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request has more than {LARGEST} bytes",
                code="too_large",
            )
        finally:
            self.counts.in_flight -= 1

    async def _routed(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == CHAT and request.method == "POST":
            return await self._chat.serve(request)
        if path == OUTCOMES and request.method == "POST":
            return await self._outcomes(request)
        if path.startswith(f"{PREFIX}/"):
            self.counts.unclaimed += 1
            return await relay(self._chat.upstream, request)
        if path in ("/livez", "/readyz"):
            return web.Response(text="ok\n")
        if path == STATUS:
            return web.json_response(self.status())
        return error_response(
            HTTPStatus.NOT_FOUND, f"{path} is not below {PREFIX}/", code="unknown_path"
        )

    async def _outcomes(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            outcomes = read_outcomes(await request.read(), self._clock.now())
        except DataError as error:
            return error_response(HTTPStatus.BAD_REQUEST, str(error), code="outcome_refused")
        for one in outcomes:
            self.spool.append(outcome_line(one))
        self.counts.outcomes += len(outcomes)
        return web.json_response({"accepted": len(outcomes)}, status=HTTPStatus.ACCEPTED)

    def status(self) -> dict[str, Any]:
        """What this gateway has and does, for whoever looks."""
        return {
            "replica": self.replica,
            "upstream": self._chat.upstream.address,
            "heard_controller": self.uplink.heard.is_set(),
            "splits": [encode(one) for one in self.book.held()],
            "spool": {"pending_bytes": self.spool.pending, "lost_lines": self.spool.lost},
            "units": {"known": len(self.live), "forgotten": self.live.forgotten},
            **asdict(self.counts),
        }


async def _for_ever(work: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException:
        # A defect: it must not end in silence. The gateway answers on; its leases run out by themselves.
        _log.exception("uplink_failed", task=name)
        raise


def _locked(folder: Path) -> int:
    """Two gateways must not share what one has promised."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise SettingsError(
            f"{folder}: another gateway uses it. Give each its own, by CANARY_GATEWAY_DIR."
        ) from error
    return lock


def _replica(folder: Path) -> str:
    """The name under which the controller knows this gateway; the same after a restart."""
    file = folder / "replica"
    if file.exists():
        return file.read_text(encoding="utf-8").strip()
    name = uuid4().hex[:12]
    replace_file(file, f"{name}\n".encode())
    return name
