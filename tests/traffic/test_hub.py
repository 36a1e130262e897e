"""What the gateways are told, and what they are believed to serve when they say nothing.

Here a gateway is its reports: `told` is what it last took, and it says so whenever it is heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.clock import ManualClock
from controller.errors import Unreachable
from controller.gateway.splits import SplitBook
from controller.ports import LEASE, Report, Split, Standing, Word
from controller.rollout.plan import OnLoss
from controller.traffic.hub import FORGET, GatewayTarget
from controller.traffic.lease import zeroed
from tests.traffic.factories import NOW, ROLLOUT, SECOND, split

MINUTE = timedelta(minutes=1)
OFF = zeroed(split(version=2, expires=NOW + 2 * LEASE))


@dataclass
class Gateway:
    """A gateway with its own book, and a link that works when it is told to."""

    hub: GatewayTarget
    clock: ManualClock
    book: SplitBook
    name: str

    def report(self, *, lost: int = 0) -> None:
        self.hub.hear(Report(replica=self.name, held=self.book.held(), lost=lost))

    def ask(self, *, renew: bool = True, loses_the_answer: bool = False) -> int:
        """Report and take what is granted: how many splits that was."""
        asked = self.clock.monotonic()
        self.report()
        granted = self.hub.grants(self.name, renew=renew)
        if not loses_the_answer:
            self.book.receive(Word(granted=granted, waited_s=0.0), asked=asked)
        return len(granted)

    def agree(self) -> None:
        """Take what is granted, and acknowledge it."""
        self.ask()
        self.report()

    def leave(self) -> None:
        self.hub.hear(Report(replica=self.name, leaving=True))


@dataclass
class World:
    folder: Path
    clock: ManualClock
    hub: GatewayTarget
    gateways: dict[str, Gateway] = field(default_factory=dict)

    def gateway(self, name: str) -> Gateway:
        file = self.folder / f"{name}.json"
        made = Gateway(self.hub, self.clock, SplitBook(self.clock, file), name)
        self.gateways[name] = made
        return made

    def restart(self) -> None:
        """Another controller process, which knows nothing of the gateways."""
        self.hub = GatewayTarget(self.clock, term=LEASE)
        for one in self.gateways.values():
            one.hub = self.hub

    def read(self, rollout: str = ROLLOUT) -> Standing:
        return self.hub.read(rollout)

    def renew(self, one: Split | None = None, *, to: datetime | None = None) -> Split:
        """Set a split with a lease from now on, as each tick does."""
        base = one if one is not None else split()
        renewed = split(
            version=base.version,
            fence=base.fence,
            shares=base.shares,
            rollout=base.rollout,
            on_expiry=base.on_expiry,
            expires=to if to is not None else self.clock.now() + LEASE,
        )
        self.hub.set(renewed)
        return renewed


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A controller that has been up for a whole term: it knows every lease that there can be."""
    clock = ManualClock(NOW - LEASE)
    hub = GatewayTarget(clock, term=LEASE)
    clock.set(NOW)
    return World(tmp_path, clock, hub)


def agreed(world: World, *names: str, one: Split | None = None) -> list[Gateway]:
    """Gateways that hold a split and have said so."""
    world.hub.set(one if one is not None else split())
    gateways = [world.gateway(name) for name in names]
    for gateway in gateways:
        gateway.agree()
    return gateways


# What is in force


def test_without_a_gateway_nothing_is_in_force(world):
    world.hub.set(split())

    assert world.read() == Standing(split=None, since=None)


def test_a_split_is_in_force_once_the_last_gateway_has_said_so(world):
    world.hub.set(split())
    one, other = world.gateway("one"), world.gateway("other")
    other.report()
    one.agree()
    assert world.read() == Standing(split=split(), since=None)

    world.clock.advance(SECOND)
    other.agree()

    assert world.read() == Standing(split=split(), since=NOW + SECOND)


def test_a_grant_is_not_an_acknowledgement(world):
    gateway = world.gateway("one")
    world.hub.set(split())

    gateway.ask()

    assert world.read().since is None


def test_a_gateway_that_comes_anew_takes_the_split_out_of_verified_force(world):
    agreed(world, "one")

    world.gateway("other").report()

    assert world.read() == Standing(split=split(), since=None)


def test_what_is_read_is_what_the_gateways_hold_and_not_what_was_set(world):
    agreed(world, "one")

    world.hub.set(split(2_500, version=2))

    standing = world.read()
    assert standing.split is not None
    assert (standing.split.version, standing.split.shares["refund"]) == (1, 1_000)
    assert standing.since == NOW


# Silence


def test_a_silent_gateway_counts_until_its_longest_lease_is_over(world):
    silent, _ = agreed(world, "silent", "one")
    world.clock.advance(60 * SECOND)
    world.renew()
    silent.ask(loses_the_answer=True)  # for all the controller knows it arrived
    world.hub.off(split(version=2))
    world.gateways["one"].agree()

    world.clock.advance(LEASE - SECOND)
    world.hub.off(split(version=2))
    assert world.read() == Standing(split=split(), since=None)

    world.clock.advance(SECOND)
    assert world.read().split == zeroed(split(version=2))
    assert world.read().since == NOW + 60 * SECOND + LEASE


def test_a_rollback_is_verified_when_every_gateway_has_acknowledged_it(world):
    one, other = agreed(world, "one", "other")
    world.hub.off(OFF)
    one.agree()
    assert world.read().since is None

    other.agree()

    assert world.read() == Standing(split=OFF, since=NOW)


@pytest.mark.parametrize("earlier", [None, split(0), split(expires=NOW + 30 * SECOND)])
def test_a_gateway_that_may_have_taken_the_candidate_since_its_last_word_is_not_put_off(
    world, earlier
):
    """It was cold, at zero or expired when it last spoke; then it was granted a share, and fell silent."""
    one = world.gateway("one")
    silent = world.gateway("silent")
    if earlier is not None:
        world.hub.set(earlier)
        silent.agree()
        world.clock.advance(60 * SECOND)
    share = split(version=2, expires=world.clock.now() + LEASE)
    world.hub.set(share)
    silent.ask()
    world.hub.off(split(version=3))
    one.agree()

    world.clock.advance(LEASE - SECOND)
    world.hub.off(split(version=3))
    one.agree()
    assert silent.book.claim("gpt-4.1").shares["refund"] == 1_000
    assert world.read().split != zeroed(split(version=3))
    assert world.read().since is None

    world.clock.advance(SECOND)
    assert silent.book.claim("gpt-4.1").shares is None
    assert world.read().split == zeroed(split(version=3))
    assert world.read().since == share.expires


def test_an_answer_that_was_lost_is_known_to_be_when_the_gateway_speaks_again(world):
    gateway = world.gateway("one")
    world.hub.set(split())
    gateway.ask(loses_the_answer=True)
    assert world.read().split == split()

    gateway.report()

    assert world.read() == Standing(split=None, since=None)


def test_a_silent_gateway_that_holds_may_serve_the_candidate_when_its_lease_is_over(world):
    stays = split(on_expiry=OnLoss.HOLD)
    _, one = agreed(world, "silent", "one", one=stays)
    world.hub.off(split(version=2, on_expiry=OnLoss.HOLD))
    one.agree()

    for _ in range(12):
        world.clock.advance(timedelta(hours=1))
        world.hub.off(split(version=2, on_expiry=OnLoss.HOLD))
        one.agree()

    assert world.read().split == stays
    assert world.read().since is None


def test_a_gateway_that_holds_and_says_so_holds_what_it_says(world):
    stays = split(on_expiry=OnLoss.HOLD)
    [one] = agreed(world, "one", one=stays)
    world.clock.advance(LEASE + SECOND)
    one.report()

    assert world.read() == Standing(split=stays, since=NOW, expired_at=NOW + LEASE)
    world.clock.advance(timedelta(hours=1))
    assert world.read() == Standing(split=stays, since=NOW, expired_at=NOW + LEASE)


def test_after_a_day_of_silence_a_gateway_that_holds_is_not_believed_to_live(world):
    stays = split(on_expiry=OnLoss.HOLD)
    _, one = agreed(world, "silent", "one", one=stays)
    world.clock.advance(FORGET)
    one.report()
    off = zeroed(split(version=2, on_expiry=OnLoss.HOLD))
    assert world.read().expired_at == NOW + LEASE

    world.hub.off(off)
    one.agree()

    assert [seen.name for seen in world.hub.replicas()] == ["one"]
    assert world.read().since == NOW + FORGET


def test_a_silent_gateway_with_nothing_to_hold_is_forgotten_after_a_term(world):
    none = split(0, on_expiry=OnLoss.HOLD)
    _, one = agreed(world, "silent", "one", one=none)
    world.clock.advance(LEASE)
    one.report()

    world.hub.set(split(version=2, on_expiry=OnLoss.HOLD, expires=NOW + 2 * LEASE))
    one.agree()

    assert [seen.name for seen in world.hub.replicas()] == ["one"]
    assert world.read().since == NOW + LEASE


def test_a_gateway_that_died_before_it_ever_held_anything_does_not_stand_in_the_way(world):
    world.gateway("died").report()
    world.hub.set(split())
    world.gateways["died"].ask(loses_the_answer=True)
    one = world.gateway("one")
    one.agree()
    world.clock.advance(LEASE - SECOND)
    world.renew()
    one.agree()
    assert world.read().since is None

    world.clock.advance(SECOND)
    assert world.read().expired_at == NOW + LEASE  # so this is told, and then it is dropped
    world.renew()
    one.agree()

    assert [seen.name for seen in world.hub.replicas()] == ["one"]
    assert world.read() == Standing(
        split=split(expires=NOW + 2 * LEASE), since=NOW, expired_at=None
    )


def test_the_end_of_a_gateway_is_told_to_every_rollout_before_it_is_dropped(world):
    other = split(rollout="search/1")
    world.hub.set(other)
    agreed(world, "died")
    world.clock.advance(LEASE)
    ended = NOW + LEASE

    assert world.read().expired_at == ended
    world.renew()
    assert world.read("search/1").expired_at == ended
    world.renew(other)

    assert world.hub.replicas() == ()


def test_a_gateway_that_comes_back_is_counted_again(world):
    [died] = agreed(world, "died")
    world.clock.advance(LEASE)
    world.read()
    world.renew()

    died.agree()

    assert [seen.name for seen in world.hub.replicas()] == ["died"]
    assert world.read().since == NOW + LEASE


def test_a_gateway_that_leaves_counts_no_more(world):
    one, other = agreed(world, "one", "other")
    world.hub.off(OFF)
    one.agree()

    other.leave()

    assert world.read() == Standing(split=OFF, since=NOW)
    assert world.hub.grants("other", renew=True) == ()


def test_a_gateway_that_leaves_unheard_changes_nothing(world):
    world.gateway("one").leave()

    assert world.hub.replicas() == ()


# Expiry


def test_an_expiry_is_told_until_the_split_is_set_again_and_not_after(world):
    [one] = agreed(world, "one")
    world.clock.advance(LEASE + SECOND)
    one.report()

    assert world.read().expired_at == NOW + LEASE
    assert world.read().expired_at == NOW + LEASE
    world.renew()
    one.agree()

    assert world.read().expired_at is None


def test_an_expiry_that_was_renewed_before_anybody_heard_of_it_is_told_once(world):
    """The controller slept over a lease; the gateway says so with its next word, and holds the new one by then."""
    [one] = agreed(world, "one")
    world.restart()
    world.clock.advance(2 * LEASE)
    world.renew()  # nothing was heard yet, so nothing could be told
    one.agree()

    assert world.read().expired_at == NOW + LEASE
    assert world.read().expired_at == NOW + LEASE
    world.renew()
    assert world.read().expired_at is None
    one.report()
    assert world.read().expired_at is None


def test_an_expiry_that_comes_between_reading_and_setting_is_not_lost(world):
    [one] = agreed(world, "one")
    world.restart()
    world.clock.advance(2 * LEASE)
    world.read()
    one.report()
    world.renew()  # what `one` said was not read yet
    one.agree()

    assert world.read().expired_at == NOW + LEASE


def test_an_expiry_while_a_controller_is_learning_is_told_when_it_has_learnt(world):
    one, _ = agreed(world, "one", "other", one=split(version=4))
    world.clock.advance(LEASE - SECOND)
    world.restart()
    one.report()
    world.gateways["other"].report()
    world.clock.advance(SECOND)
    with pytest.raises(Unreachable):
        world.read()
    world.renew(split(version=4))
    one.agree()
    world.clock.advance(LEASE)

    assert world.read().expired_at == NOW + LEASE


def test_a_gateway_that_was_cut_off_tells_no_expiry_twice(world):
    cut, one = agreed(world, "cut", "one")
    world.clock.advance(150 * SECOND)
    world.renew()
    one.agree()
    world.clock.advance(150 * SECOND)
    assert world.read().expired_at == NOW + LEASE  # by what it was granted
    world.renew()

    cut.agree()

    assert cut.book.held()[0].expired_at == NOW + LEASE  # by its own word
    assert world.read().expired_at is None


def test_a_controller_whose_clock_is_behind_does_not_take_an_earlier_expiry_for_the_present_one(
    world,
):
    [one] = agreed(world, "one")
    world.clock.advance(LEASE)
    one.report()
    behind = ManualClock(NOW - LEASE)
    other = GatewayTarget(behind, term=LEASE)
    other.set(split(fence=2, expires=NOW))
    one.hub = other

    one.agree()

    [held] = one.book.held()
    assert held.expired_at == NOW + LEASE > held.expires == NOW
    assert not other.has_news("one")  # else it would ask again at once, for ever


# After a restart of the controller


def test_a_controller_that_has_just_started_does_not_say_what_is_in_force(world):
    [one] = agreed(world, "one", one=split(version=4))
    world.restart()
    world.renew(split(version=4))
    one.agree()

    with pytest.raises(Unreachable, match="asked again at the next tick"):
        world.read()
    world.clock.advance(LEASE - SECOND)
    world.renew(split(version=4))
    one.agree()
    with pytest.raises(Unreachable):
        world.read()

    world.clock.advance(SECOND)
    assert world.read().since == NOW  # no time in force is lost


def test_a_rollout_that_is_new_to_everybody_is_known_at_once(world):
    world.restart()
    world.hub.set(split(version=1))
    world.gateway("one").agree()

    assert world.read().since == NOW


def test_a_rollout_that_was_not_set_yet_cannot_be_compared(world):
    world.hub.set(split(expires=NOW + 3 * LEASE))
    one = world.gateway("one")
    one.agree()
    world.restart()
    world.clock.advance(LEASE)
    one.report()

    with pytest.raises(Unreachable, match="nothing was set"):
        world.read()


def test_what_a_gateway_holds_of_rollouts_that_nobody_sets_any_more_is_in_nobodys_way(world):
    held = split(rollout="old/1", on_expiry=OnLoss.HOLD)
    world.hub.set(held)
    agreed(world, "one", "died")
    world.restart()
    for name in ("one", "died"):
        world.gateways[name].report()
    world.clock.advance(FORGET)
    world.renew()
    world.gateways["one"].agree()

    world.read()
    world.renew()

    assert [seen.name for seen in world.hub.replicas()] == ["one"]


# What gateways are told


def test_a_gateway_that_nobody_heard_of_is_told_nothing(world):
    world.hub.set(split())

    assert world.hub.grants("one", renew=True) == ()
    assert not world.hub.has_news("one")


def test_a_new_split_is_news_and_a_renewal_is_told_when_there_is_time(world):
    [one] = agreed(world, "one")
    assert not world.hub.has_news("one")

    world.clock.advance(60 * SECOND)
    world.renew()

    assert not world.hub.has_news("one")
    assert one.ask(renew=False) == 0
    assert one.ask(renew=True) == 1
    assert one.ask(renew=True) == 0


def test_a_lease_that_is_more_than_half_over_is_news(world):
    agreed(world, "one")
    world.clock.advance(LEASE / 2)
    world.renew()
    assert not world.hub.has_news("one")

    world.clock.advance(SECOND)

    assert world.hub.has_news("one")


@pytest.mark.parametrize(
    "news", [split(2_500, version=2), split(fence=2), zeroed(split())], ids=["v2", "fence", "off"]
)
def test_other_shares_and_another_leader_are_news(world, news):
    agreed(world, "one")

    world.hub.set(news)

    assert world.hub.has_news("one")


def test_a_grant_carries_what_is_left_of_the_term(world):
    world.hub.set(split())
    world.clock.advance(100 * SECOND)
    gateway = world.gateway("one")
    gateway.report()

    [granted] = world.hub.grants("one", renew=False)

    assert (granted.split, granted.term_s) == (split(), 200.0)


def test_a_split_whose_lease_is_over_is_granted_to_nobody(world):
    world.hub.set(split())
    world.clock.advance(LEASE)
    gateway = world.gateway("one")
    gateway.report()

    assert world.hub.grants("one", renew=True) == ()


def test_off_is_granted_however_late_it_is(world):
    world.hub.off(split())
    world.clock.advance(2 * LEASE)

    world.gateway("one").agree()

    assert world.read().split == zeroed(split())


def test_the_gateways_are_settled_when_each_holds_what_was_set(world):
    one, other = agreed(world, "one", "other")
    assert world.hub.settled()
    world.hub.set(split(2_500, version=2))
    assert not world.hub.settled()
    one.agree()
    assert not world.hub.settled()

    other.agree()

    assert world.hub.settled()


def test_a_listener_is_told_of_news_for_its_gateway_and_of_nothing_else(world):
    agreed(world, "one")
    told: list[str] = []
    world.hub.listen("one", lambda: told.append("one"))
    world.hub.listen("unheard", lambda: told.append("unheard"))

    world.renew(to=NOW + LEASE + SECOND)
    assert told == []

    world.hub.set(split(2_500, version=2))
    assert told == ["one"]


def test_only_the_last_listener_of_a_gateway_is_told_and_only_it_can_end_that(world):
    agreed(world, "one")
    told: list[str] = []
    first: Callable[[], None] = lambda: told.append("first")
    second: Callable[[], None] = lambda: told.append("second")
    world.hub.listen("one", first)
    world.hub.listen("one", second)
    world.hub.unlisten("one", first)
    world.hub.set(split(2_500, version=2))
    world.hub.unlisten("one", second)
    world.hub.set(split(5_000, version=3))

    assert told == ["second"]


# Who is told that a standing moved


def test_a_standing_that_moves_is_told_and_a_renewal_is_none(world):
    moved: list[list[str]] = []

    def note(rollouts: Iterable[str]) -> None:
        moved.append(list(rollouts))

    world.hub.when_changed(note)
    [one] = agreed(world, "one")
    assert moved == [[ROLLOUT]]
    world.clock.advance(60 * SECOND)
    world.renew()
    one.agree()
    one.agree()
    assert moved == [[ROLLOUT]]

    world.hub.off(split(version=2))
    one.agree()
    assert moved == [[ROLLOUT]] * 2

    one.leave()
    assert moved == [[ROLLOUT]] * 3


def test_an_expiry_that_is_heard_of_is_a_standing_that_moved(world):
    moved: list[list[str]] = []
    [one] = agreed(world, "one")
    world.hub.when_changed(lambda rollouts: moved.append(list(rollouts)))
    world.clock.advance(LEASE)

    one.report()

    assert moved == [[ROLLOUT]]


def test_whoever_looks_sees_each_gateway(world):
    [one] = agreed(world, "one")
    world.clock.advance(SECOND)
    one.report(lost=3)

    [seen] = world.hub.replicas()

    assert (seen.name, seen.heard_at, seen.lost) == ("one", NOW + SECOND, 3)
    assert seen.versions == {ROLLOUT: 1}


def test_a_split_that_nobody_renews_any_more_is_no_news(world):
    (gateway,) = agreed(world, "gw-1")
    world.clock.advance(LEASE + SECOND)

    gateway.report()

    assert gateway.ask() == 0
    assert not world.hub.has_news("gw-1")


@pytest.mark.parametrize("apart", [timedelta(minutes=-10), timedelta(minutes=10)])
def test_a_lease_of_a_controller_on_another_host_is_believed_for_what_is_left_of_it(world, apart):
    # Given a gateway with a lease of which a minute is left, and a controller whose clock differs
    (gateway,) = agreed(world, "gw-1")
    world.clock.advance(LEASE - MINUTE)
    elsewhere = ManualClock(world.clock.now() + apart)
    hub = GatewayTarget(elsewhere, term=timedelta(0))
    off = replace(OFF, fence=2, expires=elsewhere.now() + LEASE)
    hub.off(off)

    # When it reports there, and is not heard of again
    hub.hear(Report(replica="gw-1", held=gateway.book.held()))

    # Then it is taken to serve the candidate for that minute, and no longer
    elsewhere.advance(MINUTE - SECOND)
    serving = hub.read(ROLLOUT).split
    elsewhere.advance(SECOND)

    assert serving is not None
    assert any(serving.shares.values())
    assert hub.read(ROLLOUT).split is None


@pytest.mark.parametrize("apart", [timedelta(minutes=-10), timedelta(minutes=10)])
def test_time_in_force_is_counted_by_the_clock_of_who_is_told(world, apart):
    (gateway,) = agreed(world, "gw-1")
    world.clock.advance(MINUTE)
    elsewhere = ManualClock(world.clock.now() + apart)
    hub = GatewayTarget(elsewhere, term=timedelta(0))
    hub.set(split(fence=2, expires=elsewhere.now() + LEASE))

    hub.hear(Report(replica="gw-1", held=gateway.book.held()))

    assert hub.read(ROLLOUT).since == elsewhere.now() - MINUTE


@pytest.mark.parametrize("apart", [timedelta(minutes=-10), timedelta(minutes=10)])
def test_an_expiry_is_told_once_under_each_leader_whatever_their_clocks_say(world, apart):
    # Given a lease that ran out and was read and recorded under the first leader
    (gateway,) = agreed(world, "gw-1")
    world.clock.advance(LEASE)
    gateway.report()
    first = world.read()
    world.renew()
    gateway.agree()

    # When another leads, whose clock differs, and the lease that it grants runs out too
    elsewhere = ManualClock(world.clock.now() + apart)
    gateway.hub = GatewayTarget(elsewhere, term=timedelta(0))
    gateway.hub.set(split(fence=2, expires=elsewhere.now() + LEASE))
    gateway.agree()
    early = gateway.hub.read(ROLLOUT)  # what the gateway remembers of the first one
    gateway.hub.set(split(fence=2, expires=elsewhere.now() + LEASE))
    world.clock.advance(LEASE)
    elsewhere.advance(LEASE)
    gateway.report()
    second = gateway.hub.read(ROLLOUT)

    # Then each is known by the fence that it was granted under
    assert (first.expired_fence, first.expired_at) == (1, NOW + LEASE)
    assert (early.expired_fence, early.expired_at) == (1, NOW + LEASE)
    assert (second.expired_fence, second.expired_at) == (2, elsewhere.now())


def test_the_rest_of_a_lease_that_ran_out_early_at_a_gateway_is_granted_once(world):
    # Given a gateway whose report was long on its way: it counts its term from when it asked
    world.hub.set(split())
    gateway = world.gateway("gw-1")
    gateway.report()
    granted = world.hub.grants("gw-1", renew=True)
    asked = world.clock.monotonic() - 60.0
    gateway.book.receive(Word(granted=granted, waited_s=0.0), asked=asked)
    gateway.report()

    # When that ends, a minute before the controller's
    world.clock.advance(LEASE - MINUTE)
    gateway.report()
    gateway.agree()

    # Then it serves again, and there is nothing more to say
    assert gateway.book.held()[0].left_s == 60.0
    assert not world.hub.has_news("gw-1")
