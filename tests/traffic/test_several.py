"""A gateway's link to several controllers, of which one leads, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from controller.clock import SystemClock
from controller.errors import DataError, NotLeading, Unreachable
from controller.gateway.http_link import HttpLink
from controller.ports import LEASE, Report, Word
from controller.traffic.hub import GatewayTarget
from controller.traffic.link import LocalLink
from controller.traffic.link_server import link_app

TOKEN = "a token of enough characters"
CLOCK = SystemClock()
REPORT = Report(replica="gw-1")


@dataclass
class Replica:
    """One controller: leads or not, takes in or not, and what it was asked."""

    leads: bool = False
    takes: bool = True
    address: str = ""
    polled: int = 0
    ingested: list[bytes] = field(default_factory=list)
    hub: GatewayTarget = field(default_factory=lambda: GatewayTarget(CLOCK, term=LEASE))

    def holds(self) -> bool:
        return self.leads

    def revoke(self, why: str) -> None:
        self.leads = False

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        self.polled += 1
        if not self.leads:
            raise NotLeading("c1 does not lead. c2 does, as far as it knows.")
        return await LocalLink(self.hub, lambda _: None, CLOCK, self).poll(report, wait_s=wait_s)

    async def ingest(self, lines: bytes) -> None:
        if not self.takes:
            raise Unreachable("the database is away")
        if lines == b"wrong\n":
            raise DataError("line 1: not JSON")
        self.ingested.append(lines)

    async def close(self) -> None: ...


@asynccontextmanager
async def serving(*replicas: Replica) -> AsyncIterator[HttpLink]:
    runners = []
    for one in replicas:
        app = link_app(one, one.hub.replicas, token=TOKEN)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    link = HttpLink([one.address for one in replicas], token=TOKEN)
    try:
        yield link
    finally:
        await link.close()
        for runner in runners:
            await runner.cleanup()


def test_a_report_finds_the_leader_at_once_and_goes_to_it_first_from_then_on():
    async def work() -> None:
        standby, leader = Replica(), Replica(leads=True)
        async with serving(standby, leader) as link:
            for _ in range(3):
                await link.poll(REPORT, wait_s=0)

        assert (standby.polled, leader.polled) == (1, 3)

    asyncio.run(work())


def test_when_nobody_leads_each_was_asked_once_and_says_who_it_thinks_does():
    async def work() -> None:
        one, two = Replica(), Replica()
        async with serving(one, two) as link:
            with pytest.raises(Unreachable, match=r"c2 does, as far as it knows\.; http"):
                await link.poll(REPORT, wait_s=0)

        assert (one.polled, two.polled) == (1, 1)

    asyncio.run(work())


def test_a_report_that_is_held_back_is_let_go_when_its_controller_stops_leading():
    async def work() -> None:
        old, new = Replica(leads=True), Replica()
        async with serving(old, new) as link:
            held = asyncio.create_task(link.poll(REPORT, wait_s=20))
            while not old.hub.replicas():
                await asyncio.sleep(0.005)
            old.leads, new.leads = False, True
            old.hub.dismiss()
            while not new.hub.replicas():
                await asyncio.sleep(0.005)
            new.hub.dismiss()
            new.leads = False
            with pytest.raises(Unreachable):
                await held

        assert new.polled == 1

    asyncio.run(work())


def test_what_was_observed_goes_to_whoever_takes_it():
    async def work() -> None:
        leader, standby = Replica(leads=True, takes=False), Replica()
        async with serving(leader, standby) as link:
            await link.poll(REPORT, wait_s=0)
            await link.ingest(b"x\n")

        assert (leader.ingested, standby.ingested) == ([], [b"x\n"])

    asyncio.run(work())


def test_what_can_never_be_counted_is_not_handed_around():
    async def work() -> None:
        leader, standby = Replica(leads=True), Replica()
        async with serving(leader, standby) as link:
            with pytest.raises(DataError, match="not JSON"):
                await link.ingest(b"wrong\n")

        assert standby.ingested == []

    asyncio.run(work())


def test_behind_one_address_for_several_another_connection_reaches_another_controller():
    """A balancer that hands each connection to the next controller, as most do."""

    async def work() -> None:
        standby, leader = Replica(), Replica(leads=True)
        async with serving(standby, leader) as _:
            turns = iter((standby, leader))

            async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                port = int(next(turns).address.rpartition(":")[2])
                theirs, ours = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_pump(reader, ours), _pump(theirs, writer))

            server = await asyncio.start_server(carry, "127.0.0.1", 0)
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            link = HttpLink([address], token=TOKEN)
            with pytest.raises(Unreachable):
                await link.poll(REPORT, wait_s=0)
            await link.poll(REPORT, wait_s=0)
            await link.close()
            server.close()
            await server.wait_closed()

        assert (standby.polled, leader.polled) == (1, 1)

    asyncio.run(work())


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
