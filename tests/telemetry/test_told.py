"""What the controller tells of itself: every tick and every decision, with the record that it is."""

import threading
from contextlib import contextmanager

from controller.clock import elapsed
from controller.ports import Ticked
from controller.rollout.decision import Action
from controller.rollout.record import verify_chain
from controller.rollout.state import Phase
from tests.reconcile.world import ESCALATIONS, World
from tests.telemetry.factories import Defective, Told, about_to_advance, loop_on, worked

PATIENCE_S = 20.0  # an upper bound for a broken loop, not a measure of a working one


def test_a_decision_is_told_as_the_very_record_that_was_committed():
    world, told = about_to_advance(), Told()

    worked(world, told, times=2)

    committed = world.store.records("quick/1")
    assert [one.value.action for one in told.records] == [Action.ADVANCE]
    assert told.records[-1] == committed[-1]
    assert verify_chain(committed) == told.records[-1].hash


def test_a_tick_that_nothing_came_of_is_told_as_held_and_one_that_committed_as_decided():
    world, told = about_to_advance(), Told()

    worked(world, told, times=2)

    assert [ended for _, ended, _ in told.ticks] == [Ticked.DECIDED, Ticked.HELD]


def test_what_was_judged_is_told_with_what_its_target_said():
    world, told = about_to_advance(), Told()
    worked(world, told, times=2)
    world.traffic(ESCALATIONS)

    worked(world, told)

    head, status, standing = told.statuses[-1]
    assert head.state.phase is Phase.ROLLED_BACK
    assert status.verdicts[0].rule == "errors"
    assert standing.split.shares["chat"] == 1000


def test_a_tick_that_answers_a_wake_says_how_long_that_waited():
    world, told = World(), Told()
    loop = loop_on(world, told)

    loop.wake(["quick/1"])
    waited = loop.lag_s()
    loop.work(timeout_s=0)
    loop.wake_all()
    loop.work(timeout_s=0)

    (_, _, answered), (_, _, unasked) = told.ticks
    assert answered >= waited >= 0
    assert unasked is None
    assert loop.lag_s() == 0


def test_a_wake_that_is_repeated_counts_from_the_first():
    world, told = World(), Told()
    loop = loop_on(world, told)

    loop.wake(["quick/1"])
    first = loop.lag_s()
    loop.wake(["quick/1"])

    assert loop.lag_s() >= first


def test_a_defect_and_an_unreachable_target_are_told_apart():
    world, told = World(), Told()
    world.target.cut()

    worked(world, told)
    loop = loop_on(world, told, ticking=Defective())
    loop.wake(["quick/1"])
    loop.work(timeout_s=0)

    assert [ended for _, ended, _ in told.ticks] == [Ticked.UNREACHABLE, Ticked.FAILED]


def test_only_the_newest_attempts_are_told_as_running():
    world, told = World(), Told()

    worked(world, told)

    assert told.rollouts == ("quick/1",)
    assert told.turns >= 1


class Store:
    """A store of which one read goes wrong."""

    def __init__(self, store, tips):
        self._store = store
        self.tips = tips

    def __getattr__(self, name):
        return getattr(self._store, name)


@contextmanager
def running(told, tips):
    world = World()
    stop = threading.Event()
    loop = loop_on(world, told, store=Store(world.store, tips), poll_s=0.02)
    thread = threading.Thread(target=loop.run_until, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(holds):
    ended = elapsed() + PATIENCE_S
    while not holds():
        assert elapsed() < ended, "it did not get there"
        threading.Event().wait(0.01)


def test_a_job_that_fails_is_told_by_its_name():
    told = Told()

    def defect():
        raise ArithmeticError("a defect")

    with running(told, defect):
        until(lambda: ("changes", "failed") in told.troubles)


def test_a_job_that_is_still_at_it_when_it_is_due_again_is_told_as_overrun():
    told, go_on = Told(), threading.Event()

    def slow():
        go_on.wait(PATIENCE_S)
        return {}

    with running(told, slow):
        until(lambda: ("changes", "overrun") in told.troubles)
        go_on.set()
