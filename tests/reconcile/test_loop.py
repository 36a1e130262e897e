"""The loop wakes: at its interval, when outcomes or commands were committed, and never twice at a time."""

import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from controller.notify.sending import Sending
from controller.reconcile.loop import Loop
from controller.reconcile.submit import submit
from controller.reconcile.tick import Reconciler
from controller.rollout.commands import Apply, Retry, Rollback
from controller.rollout.state import Phase
from tests.reconcile.ticking import Passing
from tests.reconcile.world import ESCALATIONS, MINUTE, World

PATIENCE_S = 20.0  # an upper bound for a broken loop, not a measure of a working one


class Ticks(Passing):
    """A reconciler whose ticks can be waited for."""

    def __init__(self, world):
        super().__init__(world.reconciler)
        self.world = world
        self.count = 0
        self.overlapping = False
        self._busy = threading.Lock()
        self._changed = threading.Condition()

    def judge(self, rollout):
        if not self._busy.acquire(blocking=False):
            self.overlapping = True
        try:
            return self.world.reconciler.judge(rollout)
        finally:
            self._busy.release()
            with self._changed:
                self.count += 1
                self._changed.notify_all()

    def until(self, holds):
        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE_S), "the loop did not get there"


@contextmanager
def running(world, *, interval_s):
    ticks = Ticks(world)
    stop = threading.Event()
    loop = Loop(
        reconciler=ticks,
        sender=Sending(world.sender),
        store=world.store,
        clock=world.clock,
        interval_s=interval_s,
        poll_s=0.05,
    )
    thread = threading.Thread(target=loop.run_until, args=(stop,))
    thread.start()
    try:
        yield loop, ticks
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def progressing():
    """A world at its first step, with quiet traffic."""
    world = World()
    world.settle()
    world.traffic("quiet")
    world.settle()
    return world


def phase(world):
    return world.head.state.phase


def test_an_outcome_that_proves_a_failure_is_acted_on_before_the_next_interval():
    world = progressing()
    world.clock.advance(MINUTE)
    with running(world, interval_s=3_600) as (_, ticks):
        ticks.until(lambda: ticks.count >= 1)
        world.traffic(ESCALATIONS)
        ticks.until(lambda: phase(world) is Phase.ROLLED_BACK)

    assert world.target.share_bp(world.head.state.rollout, "chat") == 0
    assert "ROLLED BACK" in world.notifier.messages[-1].title


def test_a_command_committed_by_another_process_takes_effect_at_once():
    world = progressing()
    with running(world, interval_s=3_600) as (_, ticks):
        ticks.until(lambda: ticks.count >= 1)
        world.command(Rollback(actor="ann", reason="now"))
        ticks.until(
            lambda: world.target.share_bp(world.head.state.rollout, "chat") == 0 and ticks.count > 1
        )

    assert phase(world) is Phase.ROLLED_BACK


def test_it_ticks_at_its_interval_and_never_twice_at_a_time():
    world = progressing()
    with running(world, interval_s=0.02) as (loop, ticks):
        for _ in range(20):
            loop.wake([world.head.state.rollout])
        ticks.until(lambda: ticks.count >= 5)

    assert not ticks.overlapping


def test_an_unreachable_target_costs_a_tick_and_not_the_loop():
    world = progressing()
    world.target.cut()
    with running(world, interval_s=0.02) as (_, ticks):
        ticks.until(lambda: ticks.count >= 2)
        world.target.mend()
        seen = ticks.count
        ticks.until(lambda: ticks.count >= seen + 2)

    world.clock.advance(timedelta(minutes=1))
    assert phase(world) is not Phase.ROLLED_BACK


def test_what_is_due_is_finished_when_it_is_told_to_stop():
    world = progressing()
    with running(world, interval_s=3_600) as (loop, ticks):
        ticks.until(lambda: ticks.count >= 1)
        world.command(Rollback(actor="ann", reason="now"))
        loop.wake([world.head.state.rollout])

    assert world.target.share_bp(world.head.state.rollout, "chat") == 0
    assert all(one.delivered for one in world.store.deliveries(world.head.state.rollout))


class Broken(Passing):
    """A reconciler that meets a defect in one rollout."""

    def __init__(self, ticks, rollout):
        super().__init__(ticks)
        self.rollout = rollout
        self.defects = 0

    def judge(self, rollout):
        if rollout == self.rollout:
            self.defects += 1
            raise ArithmeticError("a defect")
        return super().judge(rollout)


def test_a_defect_in_one_rollout_does_not_end_the_judging_of_the_others():
    world = progressing()
    other = replace(world.plan, name="other", match_model="gpt-4o")
    submit(world.store, world.clock, "other", Apply(plan=other, actor="ann", reason="go"))
    ticks = Ticks(world)
    broken = Broken(ticks, "other/1")
    stop = threading.Event()
    loop = Loop(
        reconciler=broken,
        sender=Sending(world.sender),
        store=world.store,
        clock=world.clock,
        interval_s=0.02,
        poll_s=0.05,
    )
    thread = threading.Thread(target=loop.run_until, args=(stop,))
    thread.start()
    ticks.until(lambda: ticks.count >= 3 and broken.defects >= 3)
    stop.set()
    thread.join(PATIENCE_S)

    assert not thread.is_alive()


def quietly(_loop, _ticked):
    pass


def ticked_in_one_go(world, wake=quietly):
    """What one call of `work` ticks, in its order, when everything is due; `wake` wakes more at every tick."""
    ticked = []

    class Recording(Passing):
        def judge(self, rollout):
            ticked.append(rollout)
            assert len(ticked) < 50, "work does not come to an end"
            wake(loop, ticked)
            return super().judge(rollout)

    loop = Loop(
        reconciler=Recording(world.reconciler),
        sender=Sending(world.sender),
        store=world.store,
        clock=world.clock,
        interval_s=60,
    )
    loop.wake_all()
    loop.work(timeout_s=0)
    return ticked


def test_what_was_woken_does_not_wait_for_everything_that_is_due():
    world = World()
    for number in range(10):
        plan = replace(world.head.plan, name=f"plan-{number}")
        submit(world.store, world.clock, plan.name, Apply(actor="ada", plan=plan))

    def once(loop, ticked):
        if len(ticked) == 1:
            loop.wake(["plan-9/1"])

    ticked = ticked_in_one_go(world, once)

    assert ticked[1] == "plan-9/1"
    assert len(ticked) == len(set(ticked)) == 11


def test_at_the_end_what_was_woken_is_ticked_and_what_is_merely_due_is_left():
    world = World()
    many(world, 5)
    ticked, stop = [], threading.Event()

    class Stopping(Passing):
        def judge(self, rollout):
            ticked.append(rollout)
            if not stop.is_set():
                loop.wake(["plan-4/1"])
                stop.set()
            return super().judge(rollout)

    loop = loop_of(world, Stopping(world.reconciler), poll_s=60)
    loop.run_until(stop)

    assert len(ticked) == 2
    assert ticked[1] == "plan-4/1"


def test_an_attempt_that_has_a_successor_is_left_alone():
    world = progressing()
    submit(world.store, world.clock, "quick", Rollback(actor="ada", reason="no"))
    submit(world.store, world.clock, "quick", Retry(actor="ada", reason="again"))

    assert ticked_in_one_go(world) == ["quick/2"]


def test_work_comes_to_an_end_where_wakes_come_faster_than_ticks():
    always = lambda loop, ticked: loop.wake(ticked)

    assert ticked_in_one_go(progressing(), always) == ["quick/1"]


class Counting:
    """A store that counts some calls."""

    def __init__(self, store):
        self._store = store
        self.notes = []

    def note(self, notes, *, fence=None):
        self.notes.append(len(notes))
        self._store.note(notes, fence=fence)

    def __getattr__(self, name):
        return getattr(self._store, name)


def many(world, count):
    for number in range(count):
        plan = replace(world.head.plan, name=f"plan-{number}")
        submit(world.store, world.clock, plan.name, Apply(actor="ada", plan=plan))


def loop_of(world, reconciler, **settings):
    return Loop(
        reconciler=reconciler,
        sender=Sending(world.sender),
        store=world.store,
        clock=world.clock,
        interval_s=60,
        **settings,
    )


def test_what_was_judged_together_is_noted_together():
    world = World()
    many(world, 10)
    counting = Counting(world.store)
    reconciler = Reconciler(
        store=counting, target=world.target, clock=world.clock, fence=world.store.take_fence()
    )
    loop = loop_of(world, reconciler)

    loop.wake_all()
    loop.work(timeout_s=0)

    assert counting.notes == [11]
    assert all(world.store.judged(f"plan-{number}/1") for number in range(10))


def test_what_a_tick_has_seen_already_is_not_woken_again():
    world = progressing()
    ticked = []

    class Recording(Passing):
        def judge(self, rollout):
            ticked.append(rollout)
            return super().judge(rollout)

    loop = loop_of(world, Recording(world.reconciler))
    loop.wake_all()
    loop.work(timeout_s=0)
    world.traffic("quiet")
    loop.wake(["quick/1"])  # as who took the traffic in does
    loop.work(timeout_s=0)

    loop._wake_changed()  # what the poll does
    loop.work(timeout_s=0)
    assert ticked == ["quick/1", "quick/1"]

    world.traffic("quiet")  # taken in by another process
    loop._wake_changed()
    loop.work(timeout_s=0)
    assert ticked == ["quick/1"] * 3


def test_a_plan_that_is_new_is_ticked_at_the_next_poll():
    world = progressing()
    loop = loop_of(world, world.reconciler)
    loop.wake_all()
    loop.work(timeout_s=0)

    many(world, 1)
    loop._wake_changed()
    loop.work(timeout_s=0)

    assert world.store.judged("plan-0/1") is not None
