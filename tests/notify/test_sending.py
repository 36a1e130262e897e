"""Sending beside the loop. Orders are proved with locks that are never opened in time, not with clocks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from controller.notify.memory import MemoryNotifier
from controller.notify.sender import Sender
from controller.notify.sending import MOST_OF_A_KIND, Sending
from controller.ports import Owed
from controller.reconcile.loop import Loop
from controller.rollout.commands import Rollback
from controller.rollout.plan import Plan, Slack, Webhook
from controller.rollout.state import Phase
from tests.notify.factories import NOW, PAUSED, ROLLED_BACK, ROLLOUT, plan
from tests.notify.test_sender import World
from tests.reconcile import world as loops

PATIENCE_S = 20.0  # an upper bound for what is broken, not a measure of what works
TOLD = plan(slack=Slack(channel="#ops"), webhook=Webhook(name="pager", url="https://pager/x"))


class Gate(MemoryNotifier):
    """A receiver that does not answer until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.opened = threading.Event()

    def send(self, owed: Owed, plan: Plan) -> str:
        self.asked.set()
        self.opened.wait(PATIENCE_S)
        return super().send(owed, plan)


class Seen(MemoryNotifier):
    """A receiver whose deliveries can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def send(self, owed: Owed, plan: Plan) -> str:
        with self._changed:
            reference = super().send(owed, plan)
            self._changed.notify_all()
            return reference

    def until(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.sent) >= count, PATIENCE_S)


@contextmanager
def sending(sender: Sender, *, grace_s: float = PATIENCE_S):
    beside = Sending(sender, poll_s=0.02, grace_s=grace_s)
    beside.start()
    try:
        yield beside
    finally:
        beside.stop()


def test_what_is_owed_is_sent_when_it_is_woken():
    world = World()
    world.notifier = Seen()
    world.restart()
    with sending(world.sender) as beside:
        world.owe(PAUSED)
        beside.wake()
        world.notifier.until(1)

    assert world.row().delivered == NOW


def test_a_receiver_that_hangs_holds_up_no_other_destination():
    world = World()
    world.slack, world.notifier, world.webhook = Gate(), Seen(), Seen()
    world.restart()
    with sending(world.sender, grace_s=0.1) as beside:
        world.owe(PAUSED, of=TOLD)
        beside.wake()
        assert world.slack.asked.wait(PATIENCE_S)
        world.owe(ROLLED_BACK, of=TOLD)
        beside.wake()
        world.notifier.until(2)
        world.webhook.until(2)

        assert not world.slack.sent
    world.slack.opened.set()


def test_one_destination_is_sent_to_by_one_thread_at_a_time():
    world = World()
    world.slack = Gate()
    world.restart()
    with sending(world.sender) as beside:
        for _ in range(3):
            world.owe(PAUSED, of=TOLD)
            beside.wake()
            assert world.slack.asked.wait(PATIENCE_S)
        names = [one.name for one in threading.enumerate()]
        assert names.count("notices slack:#ops") == 1
        world.slack.opened.set()

    assert [one.owed.notice.action.value for one in world.slack.sent] == ["pause"] * 3


def test_many_channels_that_hang_leave_room_for_the_other_kinds():
    world = World()
    gate = world.slack = Gate()
    world.webhook = Seen()
    world.restart()
    with sending(world.sender, grace_s=0.1) as beside:
        for number in range(MOST_OF_A_KIND + 3):
            hook = Webhook(name="pager", url="https://pager/x")
            told = plan(slack=Slack(channel=f"#ops-{number}"), webhook=hook)
            world.owe(PAUSED, rollout=f"plan-{number}/1", of=told)
        beside.wake()
        world.webhook.until(MOST_OF_A_KIND + 3)
        hanging = [one for one in threading.enumerate() if one.name.startswith("notices slack:")]
        assert len(hanging) <= MOST_OF_A_KIND
        gate.opened.set()


def test_a_decision_is_put_in_force_while_the_receiver_hangs():
    world = loops.World(of=replace(loops.QUICK, slack=Slack(channel="#ops")))
    world.settle()
    world.clock.advance(loops.MINUTE)
    gate = Gate()
    beside = Sending(
        Sender(world.store, {"log": world.notifier, "slack": gate}, world.clock),
        poll_s=0.02,
        grace_s=0.1,
    )
    loop = Loop(
        reconciler=world.reconciler,
        sender=beside,
        store=world.store,
        clock=world.clock,
        interval_s=3_600,
        poll_s=0.02,
    )
    stop = threading.Event()
    running = threading.Thread(target=loop.run_until, args=(stop,))
    running.start()
    assert gate.asked.wait(PATIENCE_S)  # it hangs in the very first notice

    world.command(Rollback(actor="ann", reason="now"))
    off = threading.Event()
    watching = threading.Thread(target=_until_off, args=(world, off))
    watching.start()

    assert off.wait(PATIENCE_S)
    assert not gate.opened.is_set()
    assert world.head.state.phase is Phase.ROLLED_BACK
    stop.set()
    running.join(PATIENCE_S)
    assert not running.is_alive()  # nor does the end wait for it
    gate.opened.set()
    watching.join(PATIENCE_S)


def _until_off(world, off):
    tick = threading.Event()
    while world.target.share_bp(world.head.state.rollout, "chat"):
        tick.wait(0.01)
    off.set()


def test_the_end_sends_what_is_due_and_begins_nothing_afterwards():
    world = World()
    beside = Sending(world.sender, poll_s=0.02)
    world.owe(PAUSED)
    beside.start()
    beside.stop()
    assert world.row().delivered == NOW

    world.owe(ROLLED_BACK)
    beside.wake()

    assert [one.delivered for one in world.store.deliveries(ROLLOUT)] == [NOW, None]


def test_the_end_does_not_wait_for_a_receiver_that_is_down():
    world = World()
    world.notifier.fail(1_000, alone=False)
    world.owe(PAUSED)
    beside = Sending(world.sender, poll_s=0.02, grace_s=PATIENCE_S)
    beside.start()

    beside.stop()  # the test's own timeout is the bound: it is tried once, and not waited for

    assert world.row().attempts >= 1


def test_a_defect_ends_neither_the_thread_nor_the_other_notices():
    world = World()
    world.notifier = Seen()
    world.restart()
    with sending(world.sender) as beside:
        world.owe(
            PAUSED, of=plan(*TOLD.rules[1:])
        )  # it is about a rule that its plan does not have
        beside.wake()
        world.owe(ROLLED_BACK, rollout="search/1")
        beside.wake()
        world.notifier.until(1)

    assert world.sent == [("search/1", "rollback")]


@pytest.mark.parametrize("leads", [True, False])
def test_a_standby_sends_nothing(leads):
    world = World()
    world.leads = leads
    world.owe(PAUSED)
    beside = Sending(world.sender, poll_s=0.02)
    beside.start()
    beside.stop()

    assert len(world.notifier.sent) == leads
