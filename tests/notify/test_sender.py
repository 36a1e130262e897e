from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from controller.clock import ManualClock
from controller.errors import NotFound, Unreachable
from controller.notify.memory import MemoryNotifier
from controller.notify.sender import LONGEST_WAIT, Busy, Sender, backoff
from controller.ports import Owed, RolloutStore
from controller.rollout.plan import Plan
from tests.notify.factories import ESCALATION, NOW, PAUSED, PLAN, ROLLED_BACK, ROLLOUT, plan
from tests.notify.outbox import owe, store

SECOND = timedelta(seconds=1)
OTHER = "search/1"


class World:
    """A store that owes, a notifier in memory, and the sender between them."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.store: RolloutStore = store()
        self.notifier = MemoryNotifier()
        self.sender = Sender(self.store, self.notifier, self.clock)

    def owe(self, *notices, rollout: str = ROLLOUT, of: Plan = PLAN) -> None:
        owe(self.store, *notices, rollout=rollout, of=of, at=self.clock.now())

    @property
    def sent(self) -> list[tuple[str, str]]:
        return [(one.owed.rollout, one.owed.notice.action.value) for one in self.notifier.sent]


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_is_sent_when_nothing_is_owed(world):
    assert world.sender.send_due() == 0


def test_everything_due_is_sent_once_and_in_order(world):
    world.owe(PAUSED)
    world.owe(ROLLED_BACK)

    assert world.sender.send_due() == 2
    assert world.sender.send_due() == 0
    assert world.sent == [(ROLLOUT, "pause"), (ROLLOUT, "rollback")]
    assert all(one.delivered == NOW for one in world.store.deliveries(ROLLOUT))


def test_a_failing_notifier_does_not_raise_and_is_tried_again_after_a_second(world):
    world.owe(PAUSED)
    world.notifier.fail(1)

    assert world.sender.send_due() == 0
    world.clock.advance(SECOND / 2)
    assert world.sender.send_due() == 0
    assert world.notifier.attempts == 1
    world.clock.advance(SECOND / 2)
    assert world.sender.send_due() == 1


def test_a_failed_attempt_is_logged_and_kept_with_its_error(world):
    world.owe(PAUSED)
    world.notifier.fail(1)

    with capture_logs() as logs:
        world.sender.send_due()

    (line,) = logs
    (kept,) = world.store.deliveries(ROLLOUT)
    assert (line["event"], line["attempt"]) == ("notice not delivered", 1)
    assert (kept.attempts, kept.next_attempt) == (1, NOW + SECOND)
    assert kept.last_error == "the notifier in memory was told to fail"


def test_each_failure_doubles_the_wait(world):
    world.owe(PAUSED)
    world.notifier.fail(3)
    for wait in (1, 2, 4):
        world.sender.send_due()
        (kept,) = world.store.deliveries(ROLLOUT)
        assert kept.next_attempt == world.clock.now() + wait * SECOND
        world.clock.set(kept.next_attempt)

    assert world.sender.send_due() == 1


def test_a_notifier_that_names_a_longer_wait_is_left_alone_until_then(world):
    world.owe(PAUSED)
    world.notifier.fail(1, wait=timedelta(minutes=10))
    world.sender.send_due()
    (kept,) = world.store.deliveries(ROLLOUT)

    assert kept.next_attempt == NOW + timedelta(minutes=10)


def test_later_notices_of_a_rollout_wait_for_the_one_that_failed(world):
    world.owe(PAUSED)
    world.owe(ROLLED_BACK)
    world.notifier.fail(1)

    assert world.sender.send_due() == 0
    world.clock.advance(SECOND)
    assert world.sender.send_due() == 2
    assert world.sent == [(ROLLOUT, "pause"), (ROLLOUT, "rollback")]


def test_another_rollouts_notices_go_out_meanwhile(world):
    world.owe(PAUSED)
    world.owe(PAUSED, rollout=OTHER)
    world.notifier.fail(1)

    assert world.sender.send_due() == 1
    assert world.sent == [(OTHER, "pause")]


def test_a_notice_is_worded_with_the_revision_it_was_decided_under(world):
    world.owe(ROLLED_BACK, of=PLAN)
    world.owe(PAUSED, of=plan())
    world.owe(of=plan(ESCALATION))  # the present revision no longer has the accuracy rule

    assert world.sender.send_due() == 2
    assert "accuracy_delta 3.1 pp" in world.notifier.messages[1].title


def test_a_defect_is_raised_and_does_not_hold_up_the_others(world):
    defective = plan(ESCALATION)  # the notice is about a rule that its own revision does not have
    world.owe(PAUSED, of=defective)
    world.owe(ROLLED_BACK, rollout=OTHER)

    with pytest.raises(NotFound):
        world.sender.send_due()

    assert world.sender.send_due() == 1
    assert world.sent == [(OTHER, "rollback")]


def test_a_crash_between_sending_and_marking_sends_again(world):
    world.owe(PAUSED)
    interrupted = Sender(world.store, Crashing(world.notifier), world.clock)
    with pytest.raises(KeyboardInterrupt):
        interrupted.send_due()

    assert world.sender.send_due() == 1
    first, second = world.notifier.sent
    assert first.owed.id == second.owed.id


class Crashing:
    """A process that ends after the notice went out and before it was marked."""

    def __init__(self, notifier: MemoryNotifier) -> None:
        self._notifier = notifier

    def send(self, owed: Owed, plan: Plan) -> None:
        self._notifier.send(owed, plan)
        raise KeyboardInterrupt


def test_the_wait_grows_to_five_minutes_and_stays_there():
    waits = [backoff(attempts) for attempts in range(1, 40)]

    assert waits[:4] == [1 * SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND]
    assert waits == sorted(waits)
    assert waits[-1] == backoff(100_000) == LONGEST_WAIT


def test_a_busy_notifier_is_an_unreachable_one():
    assert isinstance(Busy("rate limited", wait=SECOND), Unreachable)
