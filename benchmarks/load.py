"""The load on a gateway: chat requests of 1 KB, as fast as they are answered or at a rate."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.processes import HOST
from benchmarks.rollout import MODEL
from benchmarks.wire import CHAT, Message

CONNECTIONS = 32
PER_SECOND = 300
CONVERSATIONS = 5_000


def request_of(model: str, *, unit: str, intent: str = "refund") -> bytes:
    """A chat request of 1 KB, as bytes on the wire."""
    asked = "Where is my parcel, and can I still send it back when it comes too late? " * 12
    messages = [
        {"role": "system", "content": "You answer for a shop. Be brief and polite."},
        {"role": "user", "content": asked[:800]},
    ]
    body = json.dumps({"model": model, "messages": messages, "temperature": 0.2}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer sk-none\r\n"
        "content-type: application/json\r\naccept: application/json\r\nuser-agent: benchmark\r\n"
        f"x-canary-unit: {unit}\r\nx-canary-intent: {intent}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, answered: Callable[[_Client], None]) -> None:
        self._answered = answered
        self._message = Message()
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> None:
        self.transport.write(request)  # type: ignore[attr-defined] # TCP: it writes

    def data_received(self, data: bytes) -> None:
        answer = self._message.feed(data)
        if answer is None:
            return
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:500].decode(errors="replace"))
        self._answered(self)


class Load:
    """Takes its requests in turn; an answer that is none ends the benchmark."""

    def __init__(self) -> None:
        self._requests = [request_of(MODEL, unit=f"conv-{i}") for i in range(CONVERSATIONS)]
        self._next = 0

    def closed(self, port: int, seconds: float) -> tuple[int, float]:
        """Requests answered, and seconds, of 32 connections that ask again at once."""
        return asyncio.run(self._closed(port, seconds))

    def open(self, port: int, seconds: float) -> list[float]:
        """Seconds from the moment at which each request was due, 300 a second, to its answer's end."""
        return asyncio.run(self._open(port, seconds))

    def _request(self) -> bytes:
        self._next = (self._next + 1) % len(self._requests)
        return self._requests[self._next]

    async def _closed(self, port: int, seconds: float) -> tuple[int, float]:
        count, begun = 0, time.perf_counter()

        def answered(client: _Client) -> None:
            nonlocal count
            count += 1
            client.ask(self._request())

        clients = [await _connected(port, answered) for _ in range(CONNECTIONS)]
        begun = time.perf_counter()
        with _failing_loudly() as failure:
            for one in clients:
                one.ask(self._request())
            await asyncio.wait((failure,), timeout=seconds)
        took = time.perf_counter() - begun
        for one in clients:
            one.transport.close()
        return count, took

    async def _open(self, port: int, seconds: float) -> list[float]:
        times: list[float] = []
        free: list[_Client] = []

        def answered(client: _Client) -> None:
            times.append(time.perf_counter() - client.due)
            free.append(client)

        clients = [await _connected(port, answered) for _ in range(8)]
        free += clients
        total, begun = round(seconds * PER_SECOND), time.perf_counter() + 0.05
        with _failing_loudly() as failure:
            for number in range(total):
                due = begun + number / PER_SECOND
                await _moment(due)
                if not free:
                    clients.append(await _connected(port, answered))
                    free.append(clients[-1])
                client = free.pop()
                client.due = due
                client.ask(self._request())
            deadline = time.perf_counter() + 5
            while len(times) < total and not failure.done() and time.perf_counter() < deadline:
                await asyncio.sleep(0.005)
        for one in clients:
            one.transport.close()
        if len(times) < total:
            raise TimeoutError(f"{total - len(times)} of {total} requests had no answer")
        return times


async def _connected(port: int, answered: Callable[[_Client], None]) -> _Client:
    here = asyncio.get_running_loop()
    _, client = await here.create_connection(lambda: _Client(answered), HOST, port)
    return client


@contextmanager
def _failing_loudly() -> Iterator[asyncio.Future[None]]:
    """What goes wrong in a protocol is raised at the end of the block; the future is done as soon as it happens."""
    here = asyncio.get_running_loop()
    failure: asyncio.Future[None] = here.create_future()

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not failure.done():
            failure.set_exception(context.get("exception") or RuntimeError(context["message"]))

    here.set_exception_handler(note)
    yield failure
    here.set_exception_handler(None)
    if failure.done():
        failure.result()


async def _moment(due: float) -> None:
    """Until a moment, to some microseconds: the loop's own timer is a millisecond coarse."""
    early = due - time.perf_counter() - 0.002
    if early > 0:
        await asyncio.sleep(early)
    while time.perf_counter() < due:
        await asyncio.sleep(0)


def percentile(values: Sequence[float], at: float) -> float:
    """The smallest value that so large a part is not above."""
    ordered = sorted(values)
    return ordered[max(0, -int(-at * len(ordered) // 1) - 1)]
