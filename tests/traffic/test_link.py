"""The link over a real socket: who may use it, what it says to what is wrong, and when it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from aiohttp import web

from controller.clock import SystemClock
from controller.errors import CanaryError, Conflict, DataError, SettingsError, Unreachable
from controller.gateway.http_link import HttpLink
from controller.gateway.splits import SplitBook
from controller.ports import LEASE, Granted, Held, Report, Split, Word
from controller.rollout.plan import OnLoss
from controller.traffic import wire
from controller.traffic.hub import GatewayTarget
from controller.traffic.link import LocalLink
from controller.traffic.link_server import link_app
from tests.traffic.factories import NOW, ROLLOUT, SECOND, split

TOKEN = "a token of enough characters"
CLOCK = SystemClock()
LONG_S = 20.0


@dataclass
class Server:
    """A controller's end on a loopback socket. `trouble` is what its intake raises."""

    hub: GatewayTarget
    address: str = ""
    ingested: list[bytes] = field(default_factory=list)
    trouble: CanaryError | None = None

    def ingest(self, lines: bytes) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.ingested.append(lines)

    @asynccontextmanager
    async def link(self, token: str = TOKEN) -> AsyncIterator[HttpLink]:
        opened = HttpLink([self.address], token=token)
        try:
            yield opened
        finally:
            await opened.close()

    async def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, str]:
        sent = {"Authorization": f"Bearer {TOKEN}", **headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.address + path, data=body, headers=sent) as answer,
        ):
            return answer.status, await answer.text()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server(GatewayTarget(CLOCK, term=LEASE))
    app = link_app(LocalLink(server.hub, server.ingest, CLOCK), server.hub.replicas, token=TOKEN)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def run(work: Callable[[Server], Awaitable[None]]) -> None:
    async def served() -> None:
        async with serving() as server, asyncio.timeout(30):
            await work(server)

    asyncio.run(served())


def fresh(version: int = 1) -> Split:
    return split(version=version, expires=CLOCK.now() + LEASE)


async def listened_to(server: Server, name: str = "gw-1") -> None:
    """Until the poll of a gateway has arrived, and is held back."""
    while name not in [seen.name for seen in server.hub.replicas()]:
        await asyncio.sleep(0.001)


# Who may


@pytest.mark.parametrize("path", [wire.POLL, wire.INGEST])
@pytest.mark.parametrize(
    "authorization", ["", "Bearer", f"Bearer {TOKEN}x", TOKEN, f"bearer {TOKEN}", "Bearer é"]
)
def test_without_the_token_nothing_is_done(path, authorization):
    async def work(server: Server) -> None:
        status, text = await server.ask("POST", path, b"{}", Authorization=authorization)

        assert status == 401
        assert "CANARY_LINK_TOKEN" in text
        assert server.ingested == []
        assert server.hub.replicas() == ()

    run(work)


def test_a_header_in_no_encoding_is_no_token():
    async def work(server: Server) -> None:
        host, port = server.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /link/v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n"
            b"Connection: close\r\n\r\n"
        )
        answer = await reader.read()
        writer.close()

        assert answer.startswith(b"HTTP/1.1 401 ")

    run(work)


def test_a_gateway_with_another_token_finds_no_controller():
    async def work(server: Server) -> None:
        async with server.link("another token, as long") as link:
            with pytest.raises(Unreachable, match="answered 401"):
                await link.poll(Report(replica="gw-1"), wait_s=0)
            with pytest.raises(Unreachable, match="answered 401"):
                await link.ingest(b"{}\n")

    run(work)


def test_whether_it_lives_is_told_to_anybody_and_who_there_is_only_with_the_token():
    async def work(server: Server) -> None:
        async with server.link() as link:
            await link.poll(Report(replica="gw-1"), wait_s=0)

        assert await server.ask("GET", "/livez", Authorization="") == (200, "ok\n")
        assert (await server.ask("GET", wire.STATUS, Authorization=""))[0] == 401
        status, text = await server.ask("GET", wire.STATUS)
        assert status == 200
        assert '"name": "gw-1"' in text

    run(work)


# What is wrong


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"replica": 5, "held": [{}]}',
        b'{"lost": 1e999}',
        b"[" * 50_000,
    ],
)
def test_a_report_that_is_none_is_refused_for_good(body):
    async def work(server: Server) -> None:
        status, text = await server.ask("POST", f"{wire.POLL}?{wire.WAIT}=0", body)

        assert status == 422
        assert "not a report of this release" in text
        assert server.hub.replicas() == ()

    run(work)


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "inf", "3601"])
def test_a_wait_that_cannot_be_is_refused(wait):
    async def work(server: Server) -> None:
        body = wire.written(Report(replica="gw-1"))
        status, text = await server.ask("POST", f"{wire.POLL}?{wire.WAIT}={wait}", body)

        assert status == 422
        assert repr(wait) in text

    run(work)


def test_lines_are_handed_over_as_they_were_sent():
    async def work(server: Server) -> None:
        async with server.link() as link:
            await link.ingest('{"ü": 1}\n'.encode())

        assert server.ingested == ['{"ü": 1}\n'.encode()]

    run(work)


@pytest.mark.parametrize(
    ("trouble", "status", "raised"),
    [
        (DataError("gateway:1: unknown field"), 422, DataError),
        (Unreachable("the database did not answer"), 503, Unreachable),
        (Conflict("somebody else was first"), 503, Unreachable),
    ],
)
def test_a_gateway_is_told_whether_to_try_again(trouble, status, raised):
    async def work(server: Server) -> None:
        server.trouble = trouble
        assert await server.ask("POST", wire.INGEST, b"x\n") == (status, str(trouble))
        async with server.link() as link:
            with pytest.raises(raised, match=str(trouble)):
                await link.ingest(b"x\n")

    run(work)


@pytest.mark.filterwarnings("ignore:Sending a large body")  # a batch is far below
def test_lines_that_are_too_large_are_never_accepted_and_need_not_be_sent_again():
    async def work(server: Server) -> None:
        async with server.link() as link:
            with pytest.raises(DataError):
                await link.ingest(b"x" * (wire.LARGEST + 1))

        assert server.ingested == []

    run(work)


def test_a_controller_that_is_not_there_is_unreachable():
    async def work(server: Server) -> None:
        async with serving() as gone:
            address = gone.address
        link = HttpLink([address], token=TOKEN)
        try:
            with pytest.raises(Unreachable, match="did not answer"):
                await link.poll(Report(replica="gw-1"), wait_s=0)
            with pytest.raises(Unreachable, match="did not answer"):
                await link.ingest(b"x\n")
        finally:
            await link.close()

    run(work)


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"granted": [{}], "waited_s": 0}', "{}"])
def test_an_answer_that_makes_no_sense_is_none(body):
    async def says(_: web.Request) -> web.Response:
        return web.Response(text=body)

    async def work() -> None:
        app = web.Application()
        app.router.add_post(wire.POLL, says)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        link = HttpLink([f"http://127.0.0.1:{runner.addresses[0][1]}/"], token=TOKEN)
        try:
            with pytest.raises(Unreachable, match="not a word of this release"):
                await link.poll(Report(replica="gw-1"), wait_s=0)
        finally:
            await link.close()
            await runner.cleanup()

    asyncio.run(work())


@pytest.mark.parametrize("address", ["controller:8701", "ftp://controller", ""])
def test_what_is_no_address_is_refused_with_one_that_is(address):
    with pytest.raises(SettingsError, match="it looks like http://controller:8701"):
        HttpLink([address], token=TOKEN)


# When it answers


def test_what_was_set_before_is_granted_at_once():
    async def work(server: Server) -> None:
        one = fresh()
        server.hub.set(one)
        async with server.link() as link:
            told = await link.poll(Report(replica="gw-1"), wait_s=LONG_S)

        [granted] = told.granted
        assert granted.split == one
        assert 0 < granted.term_s <= LEASE.total_seconds()
        assert told.waited_s < LONG_S / 2

    run(work)


def test_a_poll_that_waits_is_answered_as_soon_as_a_split_is_set_from_any_thread():
    async def work(server: Server) -> None:
        async with server.link() as link:
            waiting = asyncio.create_task(link.poll(Report(replica="gw-1"), wait_s=LONG_S))
            await listened_to(server)
            assert not waiting.done()
            one = fresh()
            await asyncio.to_thread(server.hub.set, one)
            told: Word = await waiting

        assert [granted.split for granted in told.granted] == [one]
        assert told.waited_s < LONG_S / 2

    run(work)


def test_a_poll_with_nothing_to_say_is_held_back_for_as_long_as_it_asks():
    async def work(server: Server) -> None:
        async with server.link() as link:
            told = await link.poll(Report(replica="gw-1"), wait_s=0.05)

        assert told.granted == ()
        assert told.waited_s >= 0.05

    run(work)


def test_a_poll_that_was_held_back_brings_the_renewal(tmp_path):
    async def work(server: Server) -> None:
        book = SplitBook(CLOCK, tmp_path / "splits.json")
        server.hub.set(fresh())
        async with server.link() as link:
            asked = CLOCK.monotonic()
            first = await link.poll(Report(replica="gw-1"), wait_s=LONG_S)
            assert book.receive(first, asked=asked) == []
            renewed = split(expires=CLOCK.now() + LEASE + SECOND)
            server.hub.set(renewed)

            told = await link.poll(Report(replica="gw-1", held=book.held()), wait_s=0.05)

        assert [granted.split for granted in told.granted] == [renewed]
        assert told.waited_s >= 0.05
        assert server.hub.settled()
        assert server.hub.read(ROLLOUT).since is not None

    run(work)


def test_a_gateway_that_leaves_is_answered_at_once_and_counts_no_more():
    async def work(server: Server) -> None:
        server.hub.set(fresh())
        async with server.link() as link:
            await link.poll(Report(replica="gw-1"), wait_s=0)
            told = await link.poll(Report(replica="gw-1", leaving=True), wait_s=LONG_S)

        assert told == Word(granted=(), waited_s=0.0)
        assert server.hub.replicas() == ()

    run(work)


def test_one_gateways_wait_does_not_keep_another_from_its_answer():
    async def work(server: Server) -> None:
        async with server.link() as link, server.link() as other:
            waiting = asyncio.create_task(link.poll(Report(replica="gw-1"), wait_s=LONG_S))
            await listened_to(server)
            await other.poll(Report(replica="gw-2"), wait_s=0)
            await other.ingest(b"x\n")

            assert not waiting.done()
            server.hub.set(fresh())
            assert len((await waiting).granted) == 1

    run(work)


def test_values_survive_the_wire():
    held = Held(
        rollout=ROLLOUT,
        fence=1,
        version=2,
        shares={"refund": 1_000},
        salt="salt",
        expires=NOW,
        left_s=-0.5,
        on_expiry=OnLoss.HOLD,
        age_s=0.1,
        expired_at=NOW,
    )
    said = Report(replica="gw-1", held=(held, replace(held, age_s=None)), leaving=True, lost=3)
    told = Word(granted=(Granted(split=split(), term_s=0.1),), waited_s=1e-9)

    assert wire.read(Report, wire.written(said)) == said
    assert wire.read(Word, wire.written(told)) == told
