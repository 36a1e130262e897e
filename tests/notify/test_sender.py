from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from controller.clock import ManualClock
from controller.errors import NotFound, Unreachable
from controller.notify.failure import Undelivered
from controller.notify.memory import MemoryNotifier
from controller.notify.sender import (
    FIRST_LASTING_WAIT,
    LONGEST_LASTING_WAIT,
    LONGEST_WAIT,
    Sender,
    backoff,
)
from controller.ports import UNTOLD, Owed, RolloutStore, Telemetry
from controller.rollout.decision import Action
from controller.rollout.plan import Plan, Severity, Slack, Webhook
from tests.notify.factories import (
    ESCALATION,
    NOW,
    PAUSED,
    PLAN,
    ROLLED_BACK,
    ROLLOUT,
    notice,
    plan,
)
from tests.notify.outbox import owe, store

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SETTLE = timedelta(seconds=20)
OTHER = "search/1"
PLAIN = notice(Action.ADVANCE, before=1_000, after=2_500)
TOLD = plan(
    slack=Slack(channel="#ops", critical="#page"),
    webhook=Webhook(name="pager", url="https://pager/x", least=Severity.WARNING),
)


class World:
    """A store that owes, notifiers in memory, and the sender between them."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.store: RolloutStore = store()
        self.notifier = MemoryNotifier()
        self.slack = MemoryNotifier(settle=SETTLE)
        self.webhook = MemoryNotifier()
        self.leads = True
        self.restart()

    def restart(self, telemetry: Telemetry = UNTOLD) -> None:
        """A new process."""
        self.sender = Sender(
            self.store,
            {"log": self.notifier, "slack": self.slack, "webhook": self.webhook},
            self.clock,
            may_send=lambda: self.leads,
            telemetry=telemetry,
        )

    def owe(self, *notices, rollout: str = ROLLOUT, of: Plan = PLAN) -> None:
        owe(self.store, *notices, rollout=rollout, of=of, at=self.clock.now())

    def row(self, destination: str = "log", place: int = 0) -> Owed:
        rows = self.store.deliveries(ROLLOUT)
        return [one for one in rows if one.destination == destination][place]

    @property
    def sent(self) -> list[tuple[str, str]]:
        return told(self.notifier)


def told(notifier: MemoryNotifier) -> list[tuple[str, str]]:
    return [(one.owed.rollout, one.owed.notice.action.value) for one in notifier.sent]


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
    assert [one.reference for one in world.store.deliveries(ROLLOUT)] == ["1", "2"]


def test_a_failing_notifier_does_not_raise_and_is_tried_again_within_a_second(world):
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
    kept = world.row()
    assert (line["event"], line["attempt"], line["destination"]) == (
        "notice_not_delivered",
        1,
        "log",
    )
    assert (kept.attempts, kept.next_attempt) == (1, NOW + backoff(1, kept.id))
    assert kept.last_error == "the notifier in memory was told to fail"


def test_each_failure_doubles_the_wait_less_a_quarter_at_most(world):
    world.owe(PAUSED)
    world.notifier.fail(3)
    for wait in (1, 2, 4):
        world.sender.send_due()
        left = world.row().next_attempt - world.clock.now()
        assert 0.75 * wait * SECOND <= left <= wait * SECOND
        world.clock.set(world.row().next_attempt)

    assert world.sender.send_due() == 1


@pytest.mark.parametrize("wait", [SECOND / 10, 10 * MINUTE])
def test_a_receiver_that_names_a_wait_is_left_alone_exactly_that_long(world, wait):
    world.owe(PAUSED)
    world.notifier.fail(1, wait=wait, alone=False)
    world.sender.send_due()

    assert world.row().next_attempt == NOW + wait
    world.clock.advance(wait - timedelta(microseconds=1))
    assert world.sender.send_due() == 0
    world.clock.advance(timedelta(microseconds=1))
    assert world.sender.send_due() == 1


def test_what_takes_a_person_to_mend_is_tried_seldom(world):
    world.owe(PAUSED)
    world.notifier.fail(1, lasting=True)
    world.sender.send_due()

    assert world.row().next_attempt >= NOW + 0.75 * FIRST_LASTING_WAIT


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


def test_but_they_wait_too_where_the_whole_destination_does_not_answer(world):
    world.owe(PAUSED)
    world.owe(PAUSED, rollout=OTHER)
    world.notifier.fail(1, alone=False)

    assert world.sender.send_due() == 0
    assert world.notifier.attempts == 1
    world.clock.advance(SECOND)
    assert world.sender.send_due() == 2


def test_a_notice_goes_to_each_of_its_destinations_on_its_own(world):
    world.owe(ROLLED_BACK, of=TOLD)
    world.slack.fail(1)

    assert world.sender.send_due() == 2
    assert told(world.notifier) == told(world.webhook) == [(ROLLOUT, "rollback")]
    assert [(one.destination, one.delivered) for one in world.store.deliveries(ROLLOUT)] == [
        ("log", NOW),
        ("slack:#page", None),
        ("webhook:pager", NOW),
    ]
    world.clock.advance(SECOND)
    assert world.sender.send_due() == 1
    assert told(world.slack) == [(ROLLOUT, "rollback")]


def test_one_channels_wait_is_not_anothers(world):
    world.owe(ROLLED_BACK, of=TOLD)  # to #page
    world.owe(PLAIN, of=TOLD)  # to #ops
    world.slack.fail(1, wait=MINUTE, alone=False)

    world.sender.send_due()

    assert [one.owed.destination for one in world.slack.sent] == ["slack:#page"]
    assert world.row("slack:#ops").next_attempt == NOW + MINUTE


def test_sends_to_one_destination_keep_its_pace(world):
    world.slack.pace = SECOND
    world.owe(PLAIN, of=TOLD)
    world.owe(PLAIN, of=TOLD, rollout=OTHER)

    world.sender.send_due()
    assert len(world.slack.sent) == 1
    assert world.sender.opens_in() == SECOND
    world.clock.advance(SECOND)
    world.sender.send_due()
    assert len(world.slack.sent) == 2


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


def test_a_destination_that_nothing_delivers_to_is_shown_and_not_forgotten(world):
    world.owe(PLAIN, of=TOLD)
    sender = Sender(world.store, {"log": world.notifier}, world.clock)

    sender.send_due()

    assert "no notifier is named slack (known are log)" in world.row("slack:#ops").last_error
    assert [(one.destination, one.count) for one in world.store.backlog()] == [("slack:#ops", 1)]


# Doubt


def test_that_an_attempt_begins_is_committed_before_it_is_made(world):
    world.owe(PLAIN, of=TOLD)
    seen = []

    class Looking(MemoryNotifier):
        def send(self, owed: Owed, plan: Plan) -> str:
            seen.append(world.row("slack:#ops"))
            return super().send(owed, plan)

    Sender(world.store, {"log": world.notifier, "slack": Looking()}, world.clock).send_due()

    assert [(one.sending, one.delivered) for one in seen] == [(NOW, None)]
    assert world.row("slack:#ops").sending is None


def test_an_attempt_of_unknown_fate_is_looked_up_and_not_repeated(world):
    world.owe(PLAIN, of=TOLD)
    world.slack.fail(1, doubtful=True)  # accepted, but the answer was lost
    world.sender.send_due()
    assert world.row("slack:#ops").sending == NOW

    world.clock.advance(SETTLE)
    assert world.sender.send_due() == 1

    assert len(world.slack.sent) == 1
    assert world.row("slack:#ops").reference == "1"


def test_what_was_certainly_not_accepted_is_not_looked_up(world):
    world.owe(PLAIN, of=TOLD)
    world.slack.fail(1)
    world.sender.send_due()

    assert world.row("slack:#ops").sending is None


def test_a_look_up_that_fails_leaves_the_doubt(world):
    world.owe(PLAIN, of=TOLD)
    world.slack.fail(1, doubtful=True)
    world.sender.send_due()
    blind = Blind(settle=SETTLE)
    sender = Sender(world.store, {"log": world.notifier, "slack": blind}, world.clock)

    world.clock.advance(SETTLE)
    sender.send_due()

    kept = world.row("slack:#ops")
    assert (kept.sending, kept.last_error) == (NOW, "nobody answers")
    assert not blind.sent


class Blind(MemoryNotifier):
    """Certainly accepts nothing, and cannot be asked either."""

    def find(self, owed: Owed, plan: Plan) -> str | None:
        raise Undelivered("nobody answers")


@pytest.mark.parametrize("accepted", [True, False], ids=["after the send", "before the send"])
def test_a_crash_between_noting_and_marking_delivers_once_all_the_same(world, accepted):
    world.owe(PLAIN, of=TOLD)
    crashing = Crashing(world.slack, accepted=accepted)
    with pytest.raises(KeyboardInterrupt):
        Sender(world.store, {"log": world.notifier, "slack": crashing}, world.clock).send_due()

    world.restart()
    world.clock.advance(SETTLE - SECOND)
    assert world.sender.send_due() == 0  # it may be on its way yet
    world.clock.advance(SECOND)
    assert world.sender.send_due() == 1

    assert len(world.slack.sent) == 1


class Crashing:
    """A process that ends about the moment in which a notice goes out."""

    pace = timedelta(0)
    settle = SETTLE

    def __init__(self, notifier: MemoryNotifier, *, accepted: bool) -> None:
        self._notifier = notifier
        self._accepted = accepted

    def send(self, owed: Owed, plan: Plan) -> str:
        if self._accepted:
            self._notifier.send(owed, plan)
        raise KeyboardInterrupt

    def find(self, owed: Owed, plan: Plan) -> str | None:
        return self._notifier.find(owed, plan)

    def refresh(self, destination: str, stale: datetime) -> None: ...


def test_of_two_senders_with_one_notice_one_sends_it(world):
    world.owe(PLAIN, of=TOLD)

    (row,) = world.store.owed(NOW, destination="slack:#ops")
    assert world.store.sending(row, NOW, until=NOW + SETTLE)

    assert not world.store.sending(row, NOW, until=NOW + SETTLE)
    world.sender.send_due()
    assert not world.slack.sent


# Only the leader sends


def test_who_does_not_lead_sends_nothing(world):
    world.owe(PAUSED)
    world.leads = False

    assert world.sender.send_due() == 0

    assert not world.notifier.attempts
    world.leads = True
    assert world.sender.send_due() == 1


def test_the_lead_is_asked_for_before_every_send(world):
    world.owe(PAUSED)
    world.owe(PAUSED, rollout=OTHER)

    class Losing(MemoryNotifier):
        def send(self, owed: Owed, plan: Plan) -> str:
            world.leads = False
            return super().send(owed, plan)

    losing = Losing()
    Sender(world.store, {"log": losing}, world.clock, may_send=lambda: world.leads).send_due()

    assert len(losing.sent) == 1


# Waits


@pytest.mark.parametrize(
    ("lasting", "longest"), [(False, LONGEST_WAIT), (True, LONGEST_LASTING_WAIT)]
)
def test_the_wait_grows_to_a_bound_and_stays_below_it(lasting, longest):
    waits = [backoff(attempts, "one", lasting=lasting) for attempts in range(1, 40)]

    assert all(0.75 * longest <= one <= longest for one in waits[-20:])
    assert 0.75 * longest <= backoff(100_000, "one", lasting=lasting) <= longest


def test_what_failed_together_comes_back_apart():
    assert len({backoff(5, str(number)) for number in range(50)}) > 30


def test_a_failed_delivery_is_somebody_unreachable():
    assert isinstance(Undelivered("rate limited"), Unreachable)


def test_a_delivery_is_one_line_with_notice_and_destination_and_is_told_as_what_it_was():
    world, told = World(), []

    class Told(Telemetry):
        def delivered(self, destination, *, failed):
            told.append((destination, failed))

    world.restart(Told())
    world.slack.fail(1)
    world.owe(ROLLED_BACK, of=TOLD)

    with capture_logs() as logs:
        world.sender.send_due()
        world.clock.advance(LONGEST_WAIT)
        world.sender.send_due()

    lines = [one for one in logs if one.get("destination", "").startswith("slack:")]
    assert [one["event"] for one in lines if one["destination"] == "slack:#page"] == [
        "notice_not_delivered",
        "notice_delivered",
    ]
    assert {one["rollout"] for one in lines} == {ROLLOUT}
    assert all(one["notice"].endswith(f"@{one['destination']}") for one in lines)
    assert ("slack:#page", True) in told
    assert ("slack:#page", False) in told
    assert ("log", False) in told
