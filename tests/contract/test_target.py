"""The contract of `controller.ports.Target`, at its boundaries, for every target there is.

The target in memory, and the gateway target with real split books at the other end of the link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from controller.clock import ManualClock
from controller.errors import Conflict
from controller.gateway.splits import SplitBook
from controller.ports import LEASE, Report, Split, Standing, Target, Word
from controller.rollout.plan import OnLoss
from controller.traffic.hub import GatewayTarget
from controller.traffic.memory import MemoryTarget
from tests.traffic.factories import NOW, ROLLOUT, SECOND, split


@dataclass(frozen=True)
class World:
    target: Target
    clock: ManualClock

    def read(self) -> Standing:
        return self.target.read(ROLLOUT)


@dataclass(frozen=True)
class Gateways:
    """The gateway target with gateways that report whenever something is asked of it, as over a link without delay."""

    hub: GatewayTarget
    books: Mapping[str, SplitBook]
    clock: ManualClock

    def read(self, rollout: str) -> Standing:
        self._exchange()
        return self.hub.read(rollout)

    def set(self, split: Split) -> None:
        self.hub.set(split)
        self._exchange()

    def off(self, split: Split) -> None:
        self.hub.off(split)
        self._exchange()

    def _exchange(self) -> None:
        for name, book in self.books.items():
            asked = self.clock.monotonic()
            self.hub.hear(Report(replica=name, held=book.held()))
            granted = self.hub.grants(name, renew=True)
            assert book.receive(Word(granted=granted, waited_s=0.0), asked=asked) == []
            self.hub.hear(Report(replica=name, held=book.held()))


def in_memory(folder: Path, *, replicas: int) -> World:
    clock = ManualClock(NOW)
    return World(target=MemoryTarget(clock, replicas=replicas), clock=clock)


def at_gateways(folder: Path, *, replicas: int) -> World:
    # A controller that has been up for a whole term knows every lease that there can be.
    clock = ManualClock(NOW - LEASE)
    hub = GatewayTarget(clock, term=LEASE)
    books = {f"gw-{n}": SplitBook(clock, folder / f"splits-{n}.json") for n in range(replicas)}
    clock.set(NOW)
    return World(target=Gateways(hub, books, clock), clock=clock)


WORLDS: Mapping[str, Callable[[Path], World]] = {
    "memory": partial(in_memory, replicas=1),
    "memory, three replicas": partial(in_memory, replicas=3),
    "gateway": partial(at_gateways, replicas=1),
    "gateway, three replicas": partial(at_gateways, replicas=3),
}


@pytest.fixture(params=list(WORLDS.values()), ids=list(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    build: Callable[[Path], World] = request.param
    return build(tmp_path)


def off(one: Split) -> Split:
    return replace(one, shares=dict.fromkeys(one.shares, 0))


def test_nothing_is_in_force_before_the_first_set(world):
    assert world.read() == Standing(split=None, since=None)


def test_what_was_set_is_read_back(world):
    world.target.set(split())

    assert world.read() == Standing(split=split(), since=NOW)


def test_rollouts_do_not_know_each_other(world):
    world.target.set(split(rollout="search/1", version=7))
    world.target.set(split())

    assert world.read().split == split()


def test_setting_the_same_split_again_changes_nothing(world):
    world.target.set(split())
    world.clock.advance(SECOND)
    world.target.set(split())

    assert world.read() == Standing(split=split(), since=NOW)


def test_setting_it_with_a_later_expiry_renews_the_lease(world):
    renewed = split(expires=NOW + 2 * LEASE)
    world.target.set(split())
    world.clock.advance(LEASE - SECOND)
    world.target.set(renewed)
    world.clock.advance(LEASE)

    assert world.read() == Standing(split=renewed, since=NOW)


def test_a_higher_version_replaces_the_split(world):
    world.target.set(split(1_000))
    world.clock.advance(SECOND)
    world.target.set(split(2_500, version=2))

    assert world.read() == Standing(split=split(2_500, version=2), since=NOW + SECOND)


@pytest.mark.parametrize(
    "lower",
    [split(fence=1, version=3), split(fence=2, version=1)],
    ids=["fence", "version"],
)
def test_a_lower_fence_or_version_is_refused_and_changes_nothing(world, lower):
    world.target.set(split(fence=2, version=2))

    with pytest.raises(Conflict):
        world.target.set(lower)
    with pytest.raises(Conflict):
        world.target.off(lower)

    assert world.read().split == split(fence=2, version=2)


def test_a_higher_fence_may_bring_a_lower_version(world):
    world.target.set(split(fence=1, version=5))
    world.target.set(split(fence=2, version=4))

    assert world.read().split == split(fence=2, version=4)


def test_other_shares_under_the_same_number_are_refused(world):
    world.target.set(split(1_000))

    with pytest.raises(Conflict):
        world.target.set(split(2_500))

    assert world.read().split == split(1_000)


def test_a_split_is_in_force_until_just_before_its_expiry(world):
    world.target.set(split())
    world.clock.advance(LEASE - SECOND)

    assert world.read() == Standing(split=split(), since=NOW)


def test_exactly_at_its_expiry_the_candidate_is_off(world):
    world.target.set(split())
    world.clock.advance(LEASE)

    assert world.read() == Standing(split=None, since=None, expired_at=NOW + LEASE)


def test_a_split_that_holds_stays_in_force_and_tells_its_expiry(world):
    stays = split(on_expiry=OnLoss.HOLD)
    world.target.set(stays)
    world.clock.advance(LEASE)

    assert world.read() == Standing(split=stays, since=NOW, expired_at=NOW + LEASE)


def test_an_expired_split_comes_back_when_its_lease_is_renewed(world):
    world.target.set(split())
    world.clock.advance(LEASE)
    renewed = split(expires=NOW + 3 * LEASE)
    world.target.set(renewed)

    assert world.read() == Standing(split=renewed, since=NOW + LEASE)


def test_an_expiry_does_not_admit_a_lower_version(world):
    world.target.set(split(version=2))
    world.clock.advance(LEASE)

    with pytest.raises(Conflict):
        world.target.set(split(version=1, expires=NOW + 3 * LEASE))


def test_a_split_that_is_set_after_its_own_expiry_is_refused(world):
    world.clock.advance(LEASE)

    with pytest.raises(Conflict):
        world.target.set(split(on_expiry=OnLoss.HOLD))

    assert world.read().split is None


def test_off_before_any_set_leaves_the_candidate_off(world):
    world.target.off(split())

    assert world.read() == Standing(split=off(split()), since=NOW)


def test_off_needs_no_newer_version_and_zeroes_every_share(world):
    world.target.set(split())
    world.target.off(split())

    assert world.read().split == off(split())


def test_off_twice_is_off_once(world):
    world.target.set(split())
    world.target.off(split(version=2))
    world.clock.advance(SECOND)
    world.target.off(split(version=2))

    assert world.read() == Standing(split=off(split(version=2)), since=NOW)


@pytest.mark.parametrize("version", [1, 2])
def test_off_stands_against_splits_that_are_not_newer(world, version):
    world.target.set(split(version=1))
    world.target.off(split(version=2))

    with pytest.raises(Conflict):
        world.target.set(split(version=version, expires=NOW + 2 * LEASE))

    assert world.read().split == off(split(version=2))


def test_off_stands_when_time_passes(world):
    world.target.set(split(on_expiry=OnLoss.HOLD))
    world.target.off(split(version=2, on_expiry=OnLoss.HOLD))
    world.clock.advance(10 * LEASE)

    assert world.read() == Standing(split=off(split(version=2, on_expiry=OnLoss.HOLD)), since=NOW)


def test_a_newer_split_ends_off(world):
    world.target.off(split(version=2))
    world.target.set(split(version=3))

    assert world.read().split == split(version=3)
