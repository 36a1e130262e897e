"""A gateway and whatever is around it, on real sockets: servers in background threads, the controller's end by hand."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from controller.cli.background import in_background
from controller.clock import Clock, ManualClock
from controller.errors import Unreachable
from controller.gateway.app import Gateway
from controller.gateway.uplink import Pace
from controller.ports import Granted, Report, Split, Word
from controller.simulate.services.upstream import SimulatedModels
from tests.traffic.factories import NOW

HOST = "127.0.0.1"
DEADLINE_S = 20.0
LOOK_S = 0.005

Handler = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


def eventually(condition: Callable[[], Any], *, within_s: float = DEADLINE_S) -> Any:
    """What `condition` gives as soon as it is true; AssertionError if that takes too long."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {condition}"
        time.sleep(LOOK_S)
    return found


class _App:
    """An aiohttp application as a service; it gets bodies as they were sent."""

    def __init__(self, app: web.Application, port: int) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.5, auto_decompress=False
        )
        self.port = port

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()


@contextmanager
def serving(make: Callable[[], web.Application], *, port: int = 0) -> Iterator[str]:
    """The application on a free port of this host; its address as an OpenAI client's base URL."""
    with in_background(lambda: _App(make(), port), name="app") as app:
        yield f"http://{HOST}:{app.port}/v1"


def simulated(models: SimulatedModels) -> Any:
    """Simulated models on a socket: a context that gives their base URL."""
    return serving(models.app)


# An upstream that is told what to do


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Scripted:
    """Answers each model's calls by a handler of its own (`by_model`), and anything else by `otherwise`."""

    by_model: dict[str, Handler] = field(default_factory=dict)
    otherwise: Handler | None = None
    received: list[Received] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        return app

    def of(self, model: str) -> list[Received]:
        return [one for one in self.received if _model(one.body) == model]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.received.append(Received(request.method, request.raw_path, request.headers, body))
        handler = self.by_model.get(_model(body) or "", self.otherwise)
        if handler is None:
            return web.json_response({"error": {"message": "not in the script"}}, status=404)
        return await handler(request, body)


def _model(body: bytes) -> str | None:
    try:
        return json.loads(body)["model"]
    except (ValueError, KeyError, TypeError):
        return None


def answers(
    body: bytes | Mapping[str, object],
    *,
    status: int = 200,
    kind: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Handler:
    """Always this answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def handle(_: web.Request, __: bytes) -> web.StreamResponse:
        return web.Response(
            body=raw, status=status, headers={"Content-Type": kind, **(headers or {})}
        )

    return handle


def refuses(status: int, message: str = "no", *, code: str | None = None) -> Handler:
    """An error in OpenAI's form."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return answers({"error": error}, status=status)


async def drops(request: web.Request, _: bytes) -> web.StreamResponse:
    """Ends the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def streams(*parts: bytes, breaks: bool = False, gate: threading.Event | None = None) -> Handler:
    """A stream in these pieces; with `breaks` the connection ends after them, without the body's end.

    With a gate, only the first piece leaves before it is opened.
    """

    async def handle(request: web.Request, _: bytes) -> web.StreamResponse:
        out = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await out.prepare(request)
        for number, part in enumerate(parts):
            if number == 1:
                await _opened(gate)
            await out.write(part)
        if len(parts) == 1:
            await _opened(gate)
        if breaks:
            assert request.transport is not None
            request.transport.close()
        else:
            await out.write_eof()
        return out

    return handle


async def _opened(gate: threading.Event | None) -> None:
    while gate is not None and not gate.is_set():
        await asyncio.sleep(LOOK_S)


async def never_ending(request: web.Request, _: bytes) -> web.StreamResponse:
    """A stream that goes on until its reader goes away."""
    out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await out.prepare(request)
    while True:
        await out.write(b'data: {"choices": [{"index": 0, "delta": {"content": "on "}}]}\n\n')
        await asyncio.sleep(LOOK_S)


# The controller's end of the link


class HandLink:
    """`controller.ports.Link` whose other end is the test: it gives splits, and looks at what arrived.

    `away` is a controller that does not answer.
    """

    def __init__(self, clock: Clock, *, away: bool = False) -> None:
        self.away = away
        self.reports: list[Report] = []
        self.lines: list[bytes] = []
        self._clock = clock
        self._given: dict[str, Split] = {}

    def give(self, split: Split) -> None:
        """Grant a split, and wait until the gateway says that it holds it."""
        self._given[split.rollout] = split
        eventually(lambda: self.reports and not self._news(self.reports[-1]))

    def arrived(self) -> list[dict[str, Any]]:
        return [json.loads(line) for piece in self.lines for line in piece.splitlines()]

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        begun = self._clock.monotonic()
        deadline = time.monotonic() + wait_s
        self._answer()
        self.reports.append(report)
        while not (news := self._news(report)) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_S)
            self._answer()
        now = self._clock.now()
        granted = tuple(
            Granted(split=one, term_s=(one.expires - now).total_seconds()) for one in news
        )
        return Word(granted=granted, waited_s=self._clock.monotonic() - begun)

    async def ingest(self, lines: bytes) -> None:
        self._answer()
        self.lines.append(lines)

    async def close(self) -> None:
        return None

    def _answer(self) -> None:
        if self.away:
            raise Unreachable("the controller is away")

    def _news(self, report: Report) -> list[Split]:
        held = {one.rollout: (one.fence, one.version, one.expires) for one in report.held}
        return [
            split
            for rollout, split in self._given.items()
            if held.get(rollout) != (split.fence, split.version, split.expires)
        ]


# The gateway


class _Front:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def start(self) -> None:
        await self.gateway.start(HOST, 0)

    async def stop(self) -> None:
        await self.gateway.stop()


@dataclass(frozen=True, kw_only=True)
class Front:
    """A gateway that runs, and what is around it."""

    gateway: Gateway
    link: HandLink
    clock: ManualClock
    folder: Path

    @property
    def url(self) -> str:
        """What an OpenAI client gets as its base URL."""
        return f"http://{HOST}:{self.gateway.port}/v1"

    def noted(self) -> list[dict[str, Any]]:
        """What is in the spool's files now, delivered or not."""
        files = sorted((self.folder / "spool").glob("0*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def post(self, body: bytes, path: str = "/chat/completions", **headers: str) -> Reply:
        return post(f"{self.url}{path}", body, **headers)

    def stream(self, gate: threading.Event, first: int) -> Reply:
        """A stream; the gate is opened when its first so many bytes are here."""
        with connection(self.url) as there:
            headers = _headers({"x-canary-intent": "refund"})
            there.request("POST", "/v1/chat/completions", chat(stream=True), headers)
            response = there.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            begun = response.read(first)
            gate.set()
            try:
                return Reply(response.status, found, begun + response.read())
            except http.client.IncompleteRead as cut:
                return Reply(response.status, found, begun + cut.partial, whole=False)

    def ask(self, *, stream: bool = False, intent: str | None = "refund", **fields: Any) -> Reply:
        """A chat request of an intent."""
        headers = {"x-canary-intent": intent} if intent is not None else {}
        if stream:
            fields["stream"] = True
        return self.post(chat(**fields), **headers)


@contextmanager
def fronting(
    upstream: str, folder: Path, *splits: Split, link: HandLink | None = None
) -> Iterator[Front]:
    """A gateway before `upstream` that holds these splits, with a clock that stands still until it is moved."""
    clock = ManualClock(NOW)
    hand = link or HandLink(clock)

    def build() -> _Front:
        made = Gateway(
            link=hand, upstream=upstream, folder=folder, clock=clock, pace=Pace(linger_s=0.0)
        )
        return _Front(made)

    with in_background(build, name="gateway") as front:
        for one in splits:
            hand.give(one)
        yield Front(gateway=front.gateway, link=hand, clock=clock, folder=folder)


# A client that sees bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as a client got it. `whole` is False if the connection ended before the body did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def post(url: str, body: bytes, *, method: str = "POST", **headers: str) -> Reply:
    """One request on a connection of its own, with nothing added to it but what HTTP asks for."""
    with connection(url) as there:
        there.request(method, urlsplit(url).path, body or None, _headers(headers))
        response = there.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Reply(response.status, found, response.read())
        except http.client.IncompleteRead as cut:
            return Reply(response.status, found, cut.partial, whole=False)


@contextmanager
def connection(url: str) -> Iterator[http.client.HTTPConnection]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    there = http.client.HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_S)
    with closing(there):
        yield there


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-").title(): value for name, value in given.items()}
    return {"Authorization": "Bearer sk-test", "Content-Type": "application/json", **named}


def chat(model: str = "gpt-4.1", text: str = "[refund] 17 + 25 = ?", **fields: Any) -> bytes:
    """The body of a chat request."""
    asked = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return json.dumps(asked).encode()
