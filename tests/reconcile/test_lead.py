"""Who leads. Invariant 7: two controllers never both act, whatever delays each of them; and somebody leads again.

Contenders are the real ones, stepped by hand. Each has a clock of its own origin; whatever a contender asks of the
store may be held up before it is carried out, and the answer after it, while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from controller.errors import Unreachable
from controller.ports import Leadership
from controller.reconcile.lead import EARLY, Contender, Role, Standby, looked, may_take
from controller.store.memory import MemoryStore

T = TypeVar("T")
TERM = timedelta(seconds=15)
TERM_S = TERM.total_seconds()


@dataclass
class Time:
    """The true time, which nobody sees."""

    now: float = 0.0


@dataclass
class Host:
    """A contender on a host of its own; `held_up` is called before and after each of its calls of the store."""

    time: Time
    store: MemoryStore
    name: str
    origin: float
    rate: float = 1.0
    down: bool = False
    held_up: Callable[[], None] = lambda: None
    contender: Contender = field(init=False)

    def __post_init__(self) -> None:
        self.contender = Contender(self, holder=self.name, term=TERM, monotonic=self.monotonic)

    def monotonic(self) -> float:
        return self.origin + self.rate * self.time.now

    def acts(self) -> bool:
        return self.contender.state().role is Role.LEADER

    # As the store

    def leadership(self) -> Leadership:
        return self._asked(self.store.leadership)

    def take_lead(self, seen: Leadership, *, holder: str, term: timedelta) -> Leadership:
        return self._asked(lambda: self.store.take_lead(seen, holder=holder, term=term))

    def renew_lead(self, held: Leadership) -> Leadership:
        return self._asked(lambda: self.store.renew_lead(held))

    def resign_lead(self, held: Leadership) -> None:
        self._asked(lambda: self.store.resign_lead(held))

    def _asked(self, ask: Callable[[], T]) -> T:
        self._reach()
        answer = ask()
        self._reach()
        return answer

    def _reach(self) -> None:
        """To the database or back; either may fail."""
        self.held_up()
        if self.down:
            raise Unreachable("the database is away")


def hosts(*origins: float) -> tuple[Time, list[Host]]:
    time, store = Time(), MemoryStore()
    return time, [Host(time, store, f"c{number}", origin) for number, origin in enumerate(origins)]


def go_on(time: Time, seconds: float, *those: Host, step_s: float = 0.5) -> None:
    """Time passes, and these are stepped all the while."""
    until = time.now + seconds
    while time.now < until:
        time.now += step_s
        for one in those:
            one.contender.step()


def test_the_first_one_leads_at_once_and_goes_on_leading():
    time, (one, two) = hosts(1e6, 50.0)

    one.contender.step()
    go_on(time, 10 * TERM_S, one, two)

    assert (one.acts(), two.acts()) == (True, False)
    assert two.contender.state().holder == "c0"
    assert one.contender.state().fence == 1


def test_a_standby_takes_over_only_after_a_full_term_without_renewal():
    time, (one, two) = hosts(1e6, 50.0)
    one.contender.step()
    two.contender.step()
    seen_at = time.now

    go_on(time, TERM_S - 1, two)
    assert not two.acts()
    go_on(time, 2, two)

    assert two.acts()
    assert time.now - seen_at >= TERM_S
    assert two.contender.state().fence == 2


def test_a_standby_waits_for_the_term_that_the_leader_chose():
    time, (one, two) = hosts(0.0, 0.0)
    one.store.take_lead(one.store.leadership(), holder="slow", term=10 * TERM)

    go_on(time, 9 * TERM_S, two)
    assert not two.acts()
    go_on(time, 2 * TERM_S, two)

    assert two.acts()


def test_a_leader_that_cannot_renew_stops_by_itself_before_anybody_takes_over():
    time, (one, two) = hosts(0.0, 7.0)
    one.contender.step()
    two.contender.step()
    one.down = True

    go_on(time, (1 - EARLY) * TERM_S, one, two)

    assert (one.acts(), two.acts()) == (False, False)
    go_on(time, TERM_S, one, two)
    assert (one.acts(), two.acts()) == (False, True)
    one.down = False
    go_on(time, 3 * TERM_S, one, two)
    assert (one.acts(), two.acts()) == (False, True)


def test_a_leader_that_was_stopped_sees_it_before_it_does_anything():
    time, (one, two) = hosts(0.0, 7.0)
    one.contender.step()
    go_on(time, 2 * TERM_S, two)

    assert two.acts()
    assert not one.acts()  # its thread has not run yet
    mandate = one.contender.holds(1)
    one.contender.step()

    assert (mandate, one.acts()) == (False, False)
    assert one.contender.state().holder in ("", "c1")


def test_a_leader_that_lost_a_term_alone_leads_again_under_a_new_fence():
    time, (one,) = hosts(0.0)
    one.contender.step()
    time.now += 2 * TERM_S

    go_on(time, 1.0, one)

    assert one.acts()
    assert one.contender.state().fence == 2
    assert not one.contender.holds(1)


def test_a_lead_that_is_resigned_is_taken_at_the_next_look():
    time, (one, two) = hosts(0.0, 7.0)
    one.contender.step()
    go_on(time, 3.0, two)

    one.contender.resign()
    two.contender.step()

    assert (one.acts(), two.acts()) == (False, True)


def test_who_learns_of_a_higher_fence_stops_at_once():
    _, (one,) = hosts(0.0)
    one.contender.step()

    one.contender.step_down(1, "a write was refused")

    assert not one.acts()


def test_a_standby_that_could_not_look_meanwhile_still_saw_it_unrenewed():
    row = Leadership(holder="c0", fence=1, beat=4, term=TERM)
    first = looked(Standby(), row, 100.0)

    again = looked(first, row, 100.0 + TERM_S)

    assert may_take(again, "c1", 100.0 + TERM_S)
    assert not may_take(again, "c1", 99.9 + TERM_S)


def test_a_renewal_starts_the_wait_anew():
    row = Leadership(holder="c0", fence=1, beat=4, term=TERM)
    renewed = Leadership(holder="c0", fence=1, beat=5, term=TERM)

    again = looked(looked(Standby(), row, 100.0), renewed, 114.0)

    assert not may_take(again, "c1", 100.0 + TERM_S)
    assert may_take(again, "c1", 114.0 + TERM_S)


def test_a_lead_counts_from_before_it_was_asked_for():
    """Both the taking and the renewal: the answer may be late, and the standby has seen the row long before."""
    for calls in (
        1,
        2,
    ):  # the answer of the first call of the store (a look), or of the second, is late
        time, (one, two) = hosts(0.0, 7.0)
        if calls == 2:
            one.contender.step()
        left = iter((False,) * 3 + (True,) if calls == 1 else (False, True))

        def late(left=left, time=time, two=two) -> None:
            if next(left, False):
                two.contender.step()
                time.now += 0.95 * TERM_S

        one.held_up = late
        one.contender.step()

        assert not one.acts()


def test_a_slower_clock_has_stopped_when_a_faster_one_takes_over():
    time, (one, two) = hosts(0.0, 0.0)
    one.rate, two.rate = 0.97, 1.03
    one.contender.step()
    two.contender.step()
    for _ in range(40):
        time.now += 0.5
        two.contender.step()
        assert not (one.acts() and two.acts())
    assert two.acts()


class Contest(RuleBasedStateMachine):
    """Several contenders; any of them may be stopped for any time at any call of the store, before or after it."""

    contenders = 3

    @initialize(
        origins=st.lists(st.floats(0, 1e6), min_size=contenders, max_size=contenders),
        rates=st.lists(st.floats(0.97, 1.03), min_size=contenders, max_size=contenders),
    )
    def start(self, origins: list[float], rates: list[float]) -> None:
        self.time, self.store = Time(), MemoryStore()
        self.fences: dict[int, str] = {}
        self.paused: set[str] = set()
        self.hosts = [
            Host(self.time, self.store, f"c{number}", origin, rate)
            for number, (origin, rate) in enumerate(zip(origins, rates, strict=True))
        ]

    @rule(who=st.integers(0, contenders - 1))
    def step(self, who: int) -> None:
        self._step(self.hosts[who])

    @rule(
        who=st.integers(0, contenders - 1),
        meanwhile=st.lists(
            st.tuples(st.integers(0, contenders - 1), st.floats(0, 2 * TERM_S)), max_size=6
        ),
        after=st.booleans(),
    )
    def is_stopped_in_the_midst_of_a_call(
        self, who: int, meanwhile: list[tuple[int, float]], after: bool
    ) -> None:
        """The others are stepped, and time passes, between the asking and the effect, or the effect and the answer."""
        host, calls = self.hosts[who], iter((not after, after, False, False, False, False))

        def others() -> None:
            if not next(calls, False):
                return
            for other, seconds in meanwhile:
                self.time.now += seconds
                self._check()
                if other != who:
                    self._step(self.hosts[other])

        host.held_up = others
        self._step(host)
        host.held_up = lambda: None

    @rule(seconds=st.floats(0, 1.5 * TERM_S))
    def time_passes(self, seconds: float) -> None:
        self.time.now += seconds

    @rule(who=st.integers(0, contenders - 1), down=st.booleans())
    def loses_or_finds_the_database(self, who: int, down: bool) -> None:
        self.hosts[who].down = down

    @rule(who=st.integers(0, contenders - 1))
    def resigns(self, who: int) -> None:
        self.hosts[who].contender.resign()

    @precondition(lambda self: hasattr(self, "hosts"))
    @rule()
    def somebody_leads_once_all_is_well(self) -> None:
        for host in self.hosts:
            host.down = False
        go_on(self.time, 2.5 * TERM_S, *self.hosts)
        assert [host.name for host in self.hosts if host.acts()] != []

    @invariant()
    def never_two(self) -> None:
        if hasattr(self, "hosts"):
            self._check()

    def _step(self, host: Host) -> None:
        if host.name in self.paused:
            return  # it is in the midst of a call already
        self.paused.add(host.name)
        try:
            host.contender.step()
        finally:
            self.paused.discard(host.name)
        self._check()

    def _check(self) -> None:
        acting = [host.contender.state() for host in self.hosts if host.acts()]
        assert len(acting) <= 1, acting
        for one in acting:
            assert self.fences.setdefault(one.fence, one.name) == one.name
            assert one.fence == max(self.fences)


TestContest = Contest.TestCase
TestContest.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
