"""Notices in Slack, over a real socket to a Slack that refuses what Slack refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from controller.errors import Unreachable
from controller.notify.failure import Undelivered
from controller.notify.slack_api import SlackApi
from controller.rollout.decision import Action
from controller.rollout.state import Cause
from controller.simulate.services.slack import Fault, Trouble
from controller.simulate.services.slack_rooms import Room
from controller.store.memory import MemoryStore
from tests.notify.factories import PAUSED, ROLLED_BACK, notice
from tests.notify.slack_world import (
    OPS,
    PAGE,
    ROUTED,
    SECOND,
    TOLD,
    SlackWorld,
    header,
    shown,
    slack_world,
)

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
OTHER = "search/1"
POST, UPDATE = "chat.postMessage", "chat.update"
STARTED = notice(Action.START, before=0, after=0, actor="ana", reason="go")
ADVANCED = notice(Action.ADVANCE, Cause.CLEAR, before=1_000, after=2_500)


@pytest.fixture
def world() -> Iterator[SlackWorld]:
    with slack_world() as made:
        yield made


def titles(world: SlackWorld, name: str = OPS) -> list[str]:
    return [header(one).split(": ", 1)[1] for one in world.events(name)]


# What is in the channel


def test_a_rollout_has_one_message_and_its_events_stand_below_it(world):
    world.owe(STARTED)
    world.owe(ADVANCED)
    world.send()

    assert header(world.parent).endswith("support-bot starts, all traffic on gpt-4.1")
    assert [one.thread_ts for one in world.events()] == [world.parent.ts] * 2
    assert titles(world) == [
        "support-bot: started, gpt-4.1 to gpt-4.1-mini",
        "support-bot: 10% to 25% on gpt-4.1-mini",
    ]
    assert all(one.delivered for one in world.rows())


def test_an_event_says_what_happened_why_with_the_arithmetic_and_what_to_type(world):
    world.owe(PAUSED)
    world.send()

    (event,) = world.events()
    text = shown(event)
    assert header(event) == (
        ":rotating_light: support-bot: PAUSED at 10%, accuracy_delta 3.1 pp on refund above 1.5 pp"
    )
    assert "accuracy_delta 3.1 pp on refund (95% CI 1.03..5.84, Newcombe) above 1.5 pp in" in text
    assert "baseline 96.19% of 4,120, candidate 93.09% of 463" in text
    assert '`canaryctl resume support-bot --reason "…"`  go on' in text
    assert event.text.startswith("support-bot: PAUSED at 10%, accuracy_delta 3.1 pp on refund")
    assert "record 1" in text


def test_the_ledger_keeps_what_slack_calls_each_message(world):
    world.owe(STARTED)
    world.send()

    (row,) = world.rows()
    assert row.reference == f"{world.room().id}/{world.events()[0].ts}"
    assert (row.attempts, row.sending) == (0, None)


def test_what_is_critical_is_shown_in_the_channel_too(world):
    world.owe(STARTED)
    world.owe(ROLLED_BACK)
    world.send()

    assert [one.broadcast for one in world.events()] == [False, True]


def test_severities_go_to_the_channels_that_the_plan_names(world):
    world.owe(STARTED, of=ROUTED)
    world.owe(ROLLED_BACK, of=ROUTED)
    world.send()

    assert [one.action for one in (row.notice for row in world.rows())] == ["start", "rollback"]
    assert len(world.events(OPS)) == len(world.events(PAGE)) == 1
    assert "ROLLED BACK" in header(world.events(PAGE)[0])


def test_the_message_above_follows_what_no_event_told(world):
    world.owe(STARTED)
    world.send()
    world.owe(of=TOLD)  # a record that owes nothing
    world.send(8)

    assert "record 2" in shown(world.parent)
    assert world.thread().seq == 2


def test_it_is_brought_up_to_date_every_few_minutes_while_its_rollout_is_judged(world):
    world.owe(STARTED)
    world.send()
    before = len(world.parent.versions)
    world.send(3)
    assert len(world.parent.versions) == before

    world.clock.advance(6 * MINUTE)
    world.send(3)

    assert len(world.parent.versions) == before + 1
    assert "as of 2026-11-21 03:21Z" in shown(world.parent)


def test_two_rollouts_have_threads_of_their_own(world):
    world.owe(STARTED)
    world.owe(STARTED, rollout=OTHER, of=replace(TOLD, name="search"))
    world.send()

    assert len(world.room().parents) == 2
    assert len({one.thread_ts for one in world.events()}) == 2


def test_what_a_person_wrote_mentions_nobody_and_breaks_nothing(world):
    world.owe(replace(STARTED, actor="<@U123>", reason="look <!channel> & <https://a|b>"))
    world.send()

    text = shown(world.events()[0])
    assert "&lt;@U123&gt; asked for it: “look &lt;!channel&gt; &amp; &lt;https://a|b&gt;”" in text
    assert "<!channel>" not in text + world.events()[0].text


@pytest.mark.parametrize("reason", ["x" * 50_000, "<&>" * 9_000, "line\n" * 4_000])
def test_what_is_too_long_is_cut_and_says_where_the_rest_is(world, reason):
    world.owe(replace(STARTED, reason=reason))
    world.send()

    assert "more" in shown(world.events()[0])
    assert "`canaryctl history support-bot`" in shown(world.events()[0])


def test_many_failures_fit_and_are_counted(world):
    world.owe(replace(ROLLED_BACK, failures=ROLLED_BACK.failures * 60))
    world.send()

    text = shown(world.events()[0])
    assert "more; `canaryctl history support-bot`" in text
    assert world.asked(POST).count("ok") == 2


def test_what_slack_refuses_for_its_blocks_is_sent_as_text(world):
    world.owe(STARTED)
    world.send()
    world.slack.fail(
        Fault(trouble=Trouble.REFUSED, error="msg_blocks_too_long", methods=(POST,), times=1)
    )
    world.owe(PAUSED)
    world.send()

    event = world.events()[-1]
    assert event.blocks == []
    assert event.text.startswith("support-bot: PAUSED at 10%")


# Slack is down


def test_after_an_hour_the_present_is_shown_and_every_event_is_there_once_in_order_and_late(world):
    world.owe(STARTED)
    world.send()
    world.slack.fail(Fault(trouble=Trouble.CUT))
    for one in (ADVANCED, PAUSED, ROLLED_BACK):
        world.owe(one)
        world.send(20, step=MINUTE)
    assert len(world.events()) == 1
    world.slack.calls.clear()
    world.slack.mend()

    world.send(400)

    assert titles(world)[1:] == [
        "support-bot: 10% to 25% on gpt-4.1-mini",
        "support-bot: PAUSED at 10%, accuracy_delta 3.1 pp on refund above 1.5 pp",
        "support-bot: ROLLED BACK to gpt-4.1, escalation_rate 2.41% above 2%",
    ]
    assert all("*Delivered late.* This happened" in shown(one) for one in world.events()[1:])
    assert not any(one.broadcast for one in world.events())
    order = [one.method for one in world.slack.calls if one.method in (POST, UPDATE)]
    assert order[0] == UPDATE  # the present comes before news of the past
    assert "record 4" in shown(world.parent)
    assert all(one.delivered for one in world.rows())


def test_what_comes_late_says_when_it_happened_and_what_has_happened_since(world):
    world.owe(STARTED)
    world.send()
    world.slack.fail(Fault(trouble=Trouble.ERROR, status=503))
    world.owe(PAUSED)
    world.send(5)
    world.owe(ROLLED_BACK)
    world.clock.advance(HOUR)
    world.slack.mend()
    world.send(60)

    late = shown(world.events()[1]).split("\n")[0]
    assert late == (
        "*Delivered late.* This happened 03:15 UTC, 1h ago; Slack could not be reached. "
        "Since then: 03:15 UTC warned."
    )
    assert world.events()[1].text.startswith("Delivered late. This happened")


def test_a_late_event_offers_no_command_of_its_time(world):
    world.slack.fail(Fault(trouble=Trouble.CUT))
    world.owe(PAUSED)
    world.send(5)
    world.clock.advance(HOUR)
    world.slack.mend()
    world.send(60)

    assert "canaryctl resume" not in shown(world.events()[0])
    assert "canaryctl describe support-bot" in shown(world.events()[0])


def test_four_minutes_are_not_late(world):
    world.owe(ROLLED_BACK)
    world.clock.advance(4 * MINUTE)
    world.send()

    assert "late" not in shown(world.events()[0])
    assert world.events()[0].broadcast


# Unknown fates


def test_an_answer_that_is_lost_costs_no_second_message(world):
    world.owe(STARTED)
    world.send()
    world.slack.fail(Fault(trouble=Trouble.LOST, methods=(POST,), times=1))
    world.owe(PAUSED)
    world.send(40)

    assert titles(world)[1:] == [
        "support-bot: PAUSED at 10%, accuracy_delta 3.1 pp on refund above 1.5 pp"
    ]
    row = world.rows()[1]
    assert row.delivered is not None
    assert row.reference.endswith(world.events()[1].ts)
    assert row.attempts == 1


def test_the_answer_to_a_rollouts_first_message_may_be_lost_too(world):
    world.slack.fail(Fault(trouble=Trouble.LOST, methods=(POST,), times=1))
    world.owe(STARTED)
    world.send(40)

    assert len(world.room().parents) == 1
    assert len(world.events()) == 1


def test_a_thread_is_looked_through_page_by_page(world):
    world.owe(STARTED)
    world.send()
    world.slack.fail(Fault(trouble=Trouble.LOST, methods=(POST,), times=1))
    world.owe(PAUSED)
    for number in range(450):
        world.slack.say(OPS, f"{number}", thread_ts=world.parent.ts)
    world.send(2)
    mine = world.events()[-1]
    world.room().messages.remove(mine)
    world.room().messages.append(mine)  # behind everybody else's

    world.send(40)

    assert world.asked("conversations.replies").count("ok") == 3
    assert len([one for one in world.events() if one.user != "U0PERSON"]) == 2


def test_a_timeout_is_a_doubt_and_not_a_second_message(world):
    world.owe(STARTED)
    world.send()
    world.restart(timeout_s=1)
    world.slack.fail(Fault(trouble=Trouble.HELD, methods=(POST,), times=1))
    world.owe(PAUSED)
    world.send(1)
    assert world.rows()[1].sending is not None
    world.slack.release()
    world.send(40)

    assert len(world.events()) == 2
    assert world.rows()[1].delivered is not None


def test_nobody_listening_is_no_doubt(world):
    world.owe(STARTED)
    world.url = "http://127.0.0.1:1"
    world.restart()
    world.send(1)

    (row,) = world.rows()
    assert row.sending is None
    assert "ConnectionRefusedError" in row.last_error


def test_without_the_scope_to_look_it_up_it_is_sent_again_and_says_so(world):
    world.slack.scopes.discard("channels:history")
    world.slack.scopes.discard("groups:history")
    world.owe(STARTED)
    world.send()
    world.slack.fail(Fault(trouble=Trouble.LOST, methods=(POST,), times=1))
    world.owe(PAUSED)
    world.send(40)

    assert len(world.events()) == 3
    assert "may be a repeat" in shown(world.events()[2])
    assert "may be a repeat" not in shown(world.events()[1])


# The process ends at any moment


class Ended(BaseException):
    """The process ends here."""


class Fused:
    """Ends the process at the `at`-th boundary; every effect has one before it and one after it."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed = 0

    def wrap(self, inner: object, effects: tuple[str, ...]) -> object:
        fuse = self

        class Wrapped:
            def __getattr__(self, name: str):
                found = getattr(inner, name)
                if name not in effects:
                    return found

                def call(*args, **kwargs):
                    fuse.boundary()
                    done = found(*args, **kwargs)
                    fuse.boundary()
                    return done

                return call

        return Wrapped()

    def boundary(self) -> None:
        self.passed += 1
        if self.passed - 1 == self.at:
            raise Ended


STORE_EFFECTS = ("sending", "delivered", "undelivered", "note_thread")
API_EFFECTS = ("post", "update")


def cut_off(world: SlackWorld, at: int) -> bool:
    """A process that ends at a boundary while it sends what is owed; False if there is no such boundary."""
    fuse = Fused(at)
    world.restart()
    lasting = world.store
    world.store = cast(MemoryStore, fuse.wrap(lasting, STORE_EFFECTS))
    world.restart()
    world.notifier._api = cast(SlackApi, fuse.wrap(world.notifier._api, API_EFFECTS))
    try:
        world.send()
    except Ended:
        return True
    finally:
        world.store = lasting
        world.restart()
    return False


def test_wherever_the_process_ends_each_event_is_there_once_and_in_order():
    for at in range(100):
        with slack_world() as world:
            world.owe(STARTED)
            world.owe(PAUSED)
            if not cut_off(world, at):
                break
            world.send(40)

            assert titles(world) == [
                "support-bot: started, gpt-4.1 to gpt-4.1-mini",
                "support-bot: PAUSED at 10%, accuracy_delta 3.1 pp on refund above 1.5 pp",
            ], at
            assert len(world.room().parents) == 1, at
            assert all(one.delivered for one in world.rows()), at
    assert at > 20


def test_it_may_end_twice_in_a_row():
    for first in range(0, 24, 3):
        for second in range(0, 12, 2):
            with slack_world() as world:
                world.owe(STARTED)
                cut_off(world, first)
                world.clock.advance(timedelta(seconds=21))
                cut_off(world, second)
                world.send(60)

                assert len(world.events()) == len(world.room().parents) == 1, (first, second)


# Deleted messages


def test_a_deleted_message_is_replaced_and_the_ledger_tells_it(world):
    world.owe(STARTED)
    world.send()
    world.slack.delete(OPS, world.events()[0].ts)
    world.slack.delete(OPS, world.parent.ts)
    world.owe(PAUSED)
    world.send(10)

    row = world.rows()[1]
    assert row.delivered is not None
    assert "somebody deleted the message of support-bot/1 in #llm-oncall" in row.last_error
    assert world.events()[-1].thread_ts == world.parent.ts
    assert "message 2 of this rollout: the one before was deleted" in shown(world.parent)


def test_a_deleted_message_with_replies_is_noticed_when_it_cannot_be_updated(world):
    world.owe(STARTED)
    world.send()
    world.slack.delete(OPS, world.parent.ts)  # leaves a tombstone, to which can be replied
    world.owe(PAUSED)
    world.send(10)
    world.owe(ROLLED_BACK)
    world.send(10)

    assert world.thread().number == 2
    assert world.events()[-1].thread_ts == world.parent.ts
    assert "ROLLED BACK" in header(world.events()[-1])


# Rates


def test_a_channel_gets_about_one_message_a_second(world):
    for number in range(12):
        world.owe(STARTED, rollout=f"plan-{number}/1", of=replace(TOLD, name=f"plan-{number}"))
    world.send(60)

    assert len(world.events()) == 12
    assert world.asked(POST).count("ok") == 24


def test_a_wait_that_slack_names_is_kept_exactly(world):
    world.owe(STARTED)
    world.slack.fail(Fault(trouble=Trouble.LIMITED, retry_after_s=47, times=1))
    world.send(1, step=timedelta(0))
    (row,) = world.rows()
    assert row.next_attempt == world.clock.now() + timedelta(seconds=47)

    world.clock.advance(timedelta(seconds=46))
    world.send(1, step=timedelta(0))
    assert len(world.slack.calls) == 1
    world.clock.advance(SECOND)
    world.send(1, step=timedelta(0))
    assert len(world.events()) == 1


def test_one_channels_wait_is_not_anothers(world):
    world.owe(ROLLED_BACK, of=ROUTED)  # PAGE
    world.send(1)
    world.slack.fail(Fault(trouble=Trouble.LIMITED, retry_after_s=600, times=1))
    world.owe(STARTED, of=ROUTED)  # OPS
    world.send(1)
    world.owe(PAUSED, of=ROUTED)
    world.send(3)

    assert not world.events(OPS)
    assert len(world.events(PAGE)) == 2


def test_events_do_not_wait_for_the_message_above(world):
    world.owe(STARTED)
    world.send()
    world.slack.fail(Fault(trouble=Trouble.LIMITED, methods=(UPDATE,), retry_after_s=600))
    world.owe(ADVANCED)
    world.send(4)
    world.owe(PAUSED)
    world.send(4)

    assert len(world.events()) == 3


# What takes a person to mend


@pytest.mark.parametrize(
    ("room", "error", "advice"),
    [
        (Room(name="llm-oncall", member=False), "not_in_channel", "/invite"),
        (Room(name="other"), "channel_not_found", "Correct notify.slack in the plan"),
        (Room(name="llm-oncall", archived=True), "is_archived", "Unarchive it"),
    ],
)
def test_a_channel_that_cannot_be_written_to_is_shown_with_what_to_do(room, error, advice):
    with slack_world(room) as world:
        world.owe(STARTED)
        world.send(3)

        (row,) = world.rows()
        assert error in row.last_error
        assert advice in row.last_error
        assert len(world.slack.calls) == 1  # and seldom tried
        room.member, room.archived, room.name = True, False, "llm-oncall"
        world.clock.advance(MINUTE)
        world.send()
        assert len(world.events()) == 1


@pytest.mark.parametrize(
    ("token", "error"),
    [("xoxb-wrong", "invalid_auth"), (None, "CANARY_SLACK_TOKEN is not set")],
)
def test_a_token_that_is_wrong_or_missing_is_shown_with_what_to_do(world, token, error):
    world.restart(token=token)
    world.owe(STARTED)
    world.send(3)

    (row,) = world.rows()
    assert error in row.last_error
    assert "CANARY_SLACK_TOKEN" in row.last_error


def test_a_missing_scope_is_named(world):
    world.slack.scopes.discard("chat:write")
    world.owe(STARTED)
    world.send(1)

    assert "needs chat:write" in world.rows()[0].last_error


# The test message


def test_a_test_message_says_that_it_arrived_and_is_marked(world):
    assert world.notifier.test(OPS) == "delivered to #llm-oncall of Simulated, as canaryctl"

    (message,) = world.room().messages
    assert header(message) == ":test_tube: canaryctl test message"
    assert message.text.startswith("TEST: ")


def test_a_test_tells_that_doubt_could_not_be_looked_up(world):
    world.slack.scopes -= {"channels:history", "groups:history"}

    with pytest.raises(Undelivered, match=r"delivered, but.*needs channels:history"):
        world.notifier.test(OPS)


def test_what_is_not_delivered_is_somebody_unreachable(world):
    with pytest.raises(Unreachable):
        world.notifier.test("#nowhere")
