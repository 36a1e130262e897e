"""The gateway's end of the link: whatever becomes of the controller, every line arrives, but those that never can."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controller.clock import ManualClock
from controller.errors import DataError, Unreachable
from controller.gateway import uplink as uplinks
from controller.gateway.splits import SplitBook
from controller.gateway.spool import Spool
from controller.gateway.uplink import Pace, Uplink
from controller.ports import Report, Word
from tests.gateway.factories import word
from tests.traffic.factories import NOW, split


@dataclass
class Controller:
    """The other end of the link, in memory. A line with `poison` in it can never be counted."""

    away: bool = False
    words: list[Word] = field(default_factory=list)
    counted: list[bytes] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    asked: int = 0
    polled: asyncio.Event = field(default_factory=asyncio.Event)
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    goes_after: int | None = None

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        self._require_here()
        self.reports.append(report)
        self.polled.set()
        if self.words:
            return self.words.pop(0)
        if not report.leaving:
            await asyncio.Event().wait()
        return word()

    async def ingest(self, lines: bytes) -> None:
        self.asked += 1
        self.tried.set()
        if self.goes_after is not None and self.asked > self.goes_after:
            self.away = True
        self._require_here()
        if b"poison" in lines:
            raise DataError("unknown field")
        self.counted += lines.splitlines()

    async def close(self) -> None:
        return None

    def _require_here(self) -> None:
        if self.away:
            raise Unreachable("the controller is away")


@dataclass
class World:
    folder: Path
    controller: Controller
    spool: Spool
    book: SplitBook
    uplink: Uplink

    def refused(self) -> list[bytes]:
        file = self.folder / "spool" / "refused.jsonl"
        return file.read_bytes().splitlines() if file.exists() else []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(uplinks, "SOONEST_S", 0.001)
    clock = ManualClock(NOW)
    controller, spool = Controller(), Spool(tmp_path / "spool")
    book = SplitBook(clock, tmp_path / "splits.json")
    uplink = Uplink(
        link=controller,
        book=book,
        spool=spool,
        clock=clock,
        replica="gw-1",
        pace=Pace(wait_s=20.0, linger_s=0.0),
    )
    yield World(tmp_path, controller, spool, book, uplink)
    spool.close()


def run(work: Callable[[], Awaitable[None]], *, beside: Callable[[], Awaitable[None]]) -> None:
    """Do `work` while `beside`, which never ends, goes on."""

    async def both() -> None:
        going = asyncio.ensure_future(beside())
        try:
            async with asyncio.timeout(20):
                await work()
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    asyncio.run(both())


def numbered(count: int, *poisoned: int) -> list[bytes]:
    return [b"poison %d" % n if n in poisoned else b"line %d" % n for n in range(count)]


def filled(world: World, lines: list[bytes]) -> None:
    for one in lines:
        world.spool.append(one + b"\n")


# Delivering


def test_what_is_spooled_is_delivered(world):
    filled(world, numbered(10))

    run(world.spool.emptied, beside=world.uplink.deliver)

    assert world.controller.counted == numbered(10)
    assert world.spool.pending == 0


@pytest.mark.parametrize("poisoned", [(0,), (4,), (9,), (3, 4), (0, 9), tuple(range(10))])
def test_a_line_that_can_never_be_counted_is_put_aside_alone(world, poisoned):
    lines = numbered(10, *poisoned)
    filled(world, lines)

    run(world.spool.emptied, beside=world.uplink.deliver)

    assert world.controller.counted == [one for one in lines if b"poison" not in one]
    assert world.refused() == [one for one in lines if b"poison" in one]
    assert world.spool.lost == len(poisoned)


def test_one_line_that_can_never_be_counted_does_not_cost_a_call_a_line(world):
    filled(world, numbered(512, 300))

    run(world.spool.emptied, beside=world.uplink.deliver)

    assert world.controller.asked == 19  # 1, and 2 for each of 9 halvings
    assert len(world.controller.counted) == 511


def test_a_controller_that_was_away_gets_everything_when_it_is_back(world):
    world.controller.away = True
    filled(world, numbered(5))

    async def back() -> None:
        await world.controller.tried.wait()
        filled(world, [b"line 5"])
        world.controller.away = False
        await world.spool.emptied()

    run(back, beside=world.uplink.deliver)

    assert world.controller.counted == numbered(6)


@pytest.mark.parametrize("goes_after", range(1, 9))
def test_a_controller_that_goes_in_mid_halving_gets_everything_and_the_poison_is_aside_once(
    world, goes_after
):
    lines = numbered(8, 2, 6)
    filled(world, lines)
    world.controller.goes_after = goes_after

    async def back() -> None:
        while world.controller.asked <= goes_after and world.spool.pending:
            await asyncio.sleep(0)
        world.controller.goes_after, world.controller.away = None, False
        await world.spool.emptied()

    run(back, beside=world.uplink.deliver)

    assert set(world.controller.counted) == {one for one in lines if b"poison" not in one}
    assert sorted(world.refused()) == [b"poison 2", b"poison 6"]


# Listening


def test_a_gateway_acknowledges_what_it_took_with_its_next_report(world):
    world.controller.words = [word(split())]

    async def acknowledged() -> None:
        while len(world.controller.reports) < 2:
            await asyncio.sleep(0)

    run(acknowledged, beside=world.uplink.listen)

    first, second = world.controller.reports
    assert (first.replica, first.held) == ("gw-1", ())
    assert [one.version for one in second.held] == [1]
    assert world.uplink.heard.is_set()


def test_a_gateway_asks_again_when_the_controller_is_away_and_is_not_heard_until_it_is_back(world):
    world.controller.away = True

    async def back() -> None:
        await asyncio.sleep(0)
        assert not world.uplink.heard.is_set()
        world.controller.away = False
        world.controller.words = [word()]
        await world.uplink.heard.wait()

    run(back, beside=world.uplink.listen)


def test_what_is_refused_is_not_asked_for_again_at_once(world, monkeypatch):
    """A lower split would be offered again and again: between two there is a pause."""
    monkeypatch.setattr(uplinks, "SOONEST_S", 1_000.0)
    monkeypatch.setattr(uplinks, "LATEST_S", 1_000.0)
    world.book.receive(word(split(version=2)), asked=0.0)
    world.controller.words = [word(split(version=1))]

    async def refused() -> None:
        await world.uplink.heard.wait()
        for _ in range(10):
            await asyncio.sleep(0)

    run(refused, beside=world.uplink.listen)

    assert len(world.controller.reports) == 1
    assert world.book.held()[0].version == 2


def test_a_report_says_how_many_lines_were_lost(world):
    world.spool.refuse(b"poison", "unknown field")

    run(world.controller.polled.wait, beside=world.uplink.listen)

    assert world.controller.reports[0].lost == 1


# Leaving


def test_a_gateway_that_leaves_hands_in_the_rest_and_says_goodbye(world):
    filled(world, numbered(3, 1))

    asyncio.run(world.uplink.leave())

    assert world.controller.counted == [b"line 0", b"line 2"]
    assert world.refused() == [b"poison 1"]
    assert [one.leaving for one in world.controller.reports] == [True]


def test_what_cannot_be_handed_in_stays_in_the_spool(world):
    world.controller.away = True
    filled(world, numbered(3))

    asyncio.run(world.uplink.leave())

    assert world.spool.pending > 0
    again = Spool(world.folder / "spool")
    parcel = again.take()
    assert parcel is not None
    assert parcel.lines.splitlines() == numbered(3)
    again.close()
