"""The simulated Slack refuses what Slack refuses, in the same form: through the SDK, and by hand."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from controller.clock import ManualClock
from controller.simulate.services.slack import BURST, TOKEN, Fault, SimulatedSlack, Trouble
from controller.simulate.services.slack_rooms import Room
from tests.notify.factories import NOW
from tests.notify.slack_world import served

SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "hello"}}


@dataclass
class Talk:
    slack: SimulatedSlack
    clock: ManualClock
    url: str

    def client(self, token: str | None = TOKEN) -> WebClient:
        return WebClient(token=token, base_url=f"{self.url}/api/", retry_handlers=[])

    def refused(self, method: str, **arguments: Any) -> str:
        """The name of the error of a call."""
        with pytest.raises(SlackApiError) as error:
            self.client().api_call(method, json=arguments)
        return str(error.value.response["error"])

    def raw(
        self, method: str, body: bytes, kind: str, *, verb: str = "POST", token: str = TOKEN
    ) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        headers = {"Content-Type": kind, "Authorization": f"Bearer {token}"}
        connection.request(verb, f"/api/{method}", body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), json.loads(text or b"null")

    def post(self, **more: Any) -> Any:
        return self.client().chat_postMessage(channel="#ops", text="hello", **more)


@pytest.fixture
def talk() -> Iterator[Talk]:
    clock = ManualClock(NOW)
    rooms = (
        "#ops",
        Room(name="elsewhere", member=False),
        Room(name="secret", member=False, private=True),
        Room(name="old", archived=True),
    )
    slack = SimulatedSlack(clock, rooms)
    with served(slack.app) as url:
        yield Talk(slack, clock, url)


def test_it_says_who_one_is_and_that_it_is_simulated(talk):
    answer = talk.client().auth_test()

    assert (answer["team"], answer["user"]) == ("Simulated", "canaryctl")
    assert answer.headers["x-simulated"] == "true"
    assert "[WARN] this Slack is simulated" in answer["response_metadata"]["messages"]


@pytest.mark.parametrize(("token", "error"), [(None, "not_authed"), ("xoxb-no", "invalid_auth")])
def test_a_token_is_asked_for(talk, token, error):
    with pytest.raises(SlackApiError) as refused:
        talk.client(token).auth_test()

    assert refused.value.response["error"] == error


def test_a_method_that_is_not_there_is_unknown(talk):
    assert talk.refused("chat.shout", channel="#ops", text="a") == "unknown_method"


def test_a_scope_that_is_missing_is_named_with_those_that_are_there(talk):
    talk.slack.scopes = {"channels:read"}
    with pytest.raises(SlackApiError) as refused:
        talk.post()

    answer = refused.value.response
    assert (answer["error"], answer["needed"], answer["provided"]) == (
        "missing_scope",
        "chat:write",
        "channels:read",
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"text": "a"}, "invalid_arguments"),
        ({"channel": "#nowhere", "text": "a"}, "channel_not_found"),
        ({"channel": "#elsewhere", "text": "a"}, "not_in_channel"),
        ({"channel": "#secret", "text": "a"}, "channel_not_found"),
        ({"channel": "#old", "text": "a"}, "is_archived"),
        ({"channel": "#ops", "text": " "}, "no_text"),
        ({"channel": "#ops", "text": "a" * 40_001}, "msg_too_long"),
        ({"channel": "#ops", "text": "a", "thread_ts": "1.1"}, "thread_not_found"),
        ({"channel": "#ops", "text": "a", "blocks": "no json"}, "invalid_blocks_format"),
        ({"channel": "#ops", "text": "a", "blocks": {"a": 1}}, "invalid_blocks_format"),
        (
            {"channel": "#ops", "text": "a", "metadata": {"event_type": "a"}},
            "invalid_metadata_format",
        ),
        (
            {
                "channel": "#ops",
                "text": "a",
                "metadata": {"event_type": "a b", "event_payload": {}},
            },
            "invalid_metadata_format",
        ),
        (
            {
                "channel": "#ops",
                "text": "a",
                "metadata": {"event_type": "a", "event_payload": {"a": "b" * 20_000}},
            },
            "metadata_too_large",
        ),
    ],
)
def test_a_message_that_slack_refuses_is_refused(talk, arguments, error):
    assert talk.refused("chat.postMessage", **arguments) == error
    assert not talk.slack.room("ops").messages


def markup(text: str, kind: str = "mrkdwn") -> dict[str, Any]:
    return {"type": kind, "text": text}


@pytest.mark.parametrize(
    "blocks",
    [
        [SECTION] * 51,
        [{"type": "banner"}],
        [{"type": "header", "text": markup("a" * 151, "plain_text")}],
        [{"type": "header", "text": markup("a")}],
        [{"type": "section", "text": markup("a" * 3_001)}],
        [{"type": "section", "text": markup("")}],
        [{"type": "section"}],
        [{"type": "section", "fields": [markup("a")] * 11}],
        [{"type": "section", "fields": [markup("a" * 2_001)]}],
        [{"type": "context", "elements": []}],
        [{"type": "context", "elements": [markup("a")] * 11}],
        [{"type": "divider", "colour": "red"}],
        [{**SECTION, "block_id": "a"}, {**SECTION, "block_id": "a"}],
        ["section"],
    ],
)
def test_blocks_past_their_limits_are_refused_with_a_remark(talk, blocks):
    with pytest.raises(SlackApiError) as refused:
        talk.client().chat_postMessage(channel="#ops", text="a", blocks=blocks)

    assert refused.value.response["error"] == "invalid_blocks"
    assert "[ERROR]" in refused.value.response["response_metadata"]["messages"][0]


def test_blocks_that_are_too_much_together_are_refused(talk):
    many = [{"type": "section", "text": markup("a" * 2_900)}] * 4

    assert (
        talk.refused("chat.postMessage", channel="#ops", text="a", blocks=many)
        == "msg_blocks_too_long"
    )


def test_arguments_come_as_json_as_a_form_or_in_the_query(talk):
    form = b"channel=ops&text=hello&token=" + TOKEN.encode()
    kinds = (
        talk.raw("chat.postMessage", form, "application/x-www-form-urlencoded", token=""),
        talk.raw("chat.postMessage", b'{"channel": "#ops", "text": "hello"}', "application/json"),
        talk.raw("chat.postMessage?channel=ops&text=hello", b"", "text/plain", verb="GET"),
    )

    assert [answer["ok"] for _, _, answer in kinds] == [True] * 3
    assert [one.text for one in talk.slack.room("ops").messages] == ["hello"] * 3


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"{", "application/json", "invalid_json"),
        (b"[]", "application/json", "json_not_object"),
        (b"<a/>", "application/xml", "invalid_post_type"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(talk, body, kind, error):
    assert talk.raw("auth.test", body, kind)[2]["error"] == error


# Threads and updates


def test_replies_stand_in_their_thread_and_broadcasts_in_the_channel_too(talk):
    parent = talk.post()
    talk.post(thread_ts=parent["ts"])
    loud = talk.post(thread_ts=parent["ts"], reply_broadcast=True)

    channel = parent["channel"]
    history = talk.client().conversations_history(channel=channel)["messages"]
    replies = talk.client().conversations_replies(channel=channel, ts=parent["ts"])["messages"]
    assert [one["ts"] for one in history] == [loud["ts"], parent["ts"]]
    assert history[0]["subtype"] == "thread_broadcast"
    assert len(replies) == 3


def test_only_own_messages_are_updated_and_by_the_channels_id(talk):
    mine, theirs = talk.post(), talk.slack.say("#ops", "mine")
    channel = mine["channel"]

    talk.client().chat_update(channel=channel, ts=mine["ts"], text="new")

    assert talk.slack.room("ops").messages[0].versions == ["hello", "new"]
    update = {"text": "a", "ts": mine["ts"]}
    assert talk.refused("chat.update", channel="#ops", **update) == "channel_not_found"
    assert (
        talk.refused("chat.update", channel=channel, text="a", ts=theirs.ts)
        == "cant_update_message"
    )
    assert talk.refused("chat.update", channel=channel, text="a", ts="1.1") == "message_not_found"
    talk.slack.delete("#ops", mine["ts"])
    assert talk.refused("chat.update", channel=channel, **update) == "message_not_found"


def test_metadata_is_given_back_where_it_is_asked_for(talk):
    metadata = {"event_type": "canary", "event_payload": {"id": "7"}}
    posted = talk.post(metadata=metadata)
    history = talk.client().conversations_history

    (plain,) = history(channel=posted["channel"])["messages"]
    (full,) = history(channel=posted["channel"], include_all_metadata=True)["messages"]

    assert "metadata" not in plain
    assert full["metadata"] == metadata


def test_history_is_read_page_by_page_and_within_bounds(talk):
    for number in range(7):
        talk.slack.say("#ops", str(number))
        talk.clock.advance(timedelta(seconds=10))
    channel = talk.slack.room("ops").id
    client = talk.client()

    # Its pages are one object that changes.
    pages = [dict(page.data) for page in client.conversations_history(channel=channel, limit=3)]
    recent = client.conversations_history(channel=channel, oldest=str(NOW.timestamp() + 45))

    assert [[one["text"] for one in page["messages"]] for page in pages] == [
        ["6", "5", "4"],
        ["3", "2", "1"],
        ["0"],
    ]
    assert [page["has_more"] for page in pages] == [True, True, False]
    assert [one["text"] for one in recent["messages"]] == ["6", "5"]
    assert talk.refused("conversations.history", channel=channel, cursor="x") == "invalid_cursor"


def test_channels_are_listed_as_far_as_they_may_be_seen(talk):
    listed = talk.client().conversations_list(types="public_channel,private_channel")
    live = talk.client().conversations_list(exclude_archived=True)

    assert [one["name"] for one in listed["channels"]] == ["ops", "elsewhere", "old"]
    assert [one["name"] for one in live["channels"]] == ["ops", "elsewhere"]
    assert talk.refused("conversations.info", channel="C9") == "channel_not_found"


# Rates


def test_a_channel_takes_a_short_burst_and_then_one_message_a_second(talk):
    for _ in range(BURST):
        talk.post()
    with pytest.raises(SlackApiError) as refused:
        talk.post()

    answer = refused.value.response
    assert (answer.status_code, answer["error"]) == (429, "ratelimited")
    talk.clock.advance(timedelta(seconds=int(answer.headers["Retry-After"])))
    assert talk.post()["ok"]


def test_another_channel_is_not_limited_by_it(talk):
    for _ in range(BURST):
        talk.post()
    talk.slack.room("elsewhere").member = True

    assert talk.client().chat_postMessage(channel="#elsewhere", text="a")["ok"]


def test_a_method_has_its_number_of_calls_a_minute(talk):
    channel = talk.slack.room("ops").id
    for _ in range(50):
        talk.client().conversations_info(channel=channel)

    assert talk.refused("conversations.info", channel=channel) == "ratelimited"
    talk.clock.advance(timedelta(minutes=1))
    assert talk.client().conversations_info(channel=channel)["ok"]


def test_limits_can_be_lifted(talk):
    talk.slack.limited = False
    for _ in range(3 * BURST):
        talk.post()

    assert len(talk.slack.room("ops").messages) == 3 * BURST


# Told to fail


def test_it_hangs_up_without_having_done_anything(talk):
    talk.slack.fail(Fault(trouble=Trouble.CUT))

    with pytest.raises(OSError, match=r"(?i)connection|remote"):
        talk.post()
    assert not talk.slack.room("ops").messages


def test_it_does_what_was_asked_and_loses_the_answer(talk):
    talk.slack.fail(Fault(trouble=Trouble.LOST, times=1))

    with pytest.raises(OSError, match=r"(?i)connection|remote"):
        talk.post()
    assert len(talk.slack.room("ops").messages) == 1
    assert talk.post()["ok"]


def test_it_answers_an_error_as_a_page_a_limit_or_a_refusal(talk):
    for trouble in (Trouble.ERROR, Trouble.LIMITED, Trouble.REFUSED):
        talk.slack.fail(Fault(trouble=trouble, times=1, methods=("chat.postMessage",)))
        with pytest.raises(SlackApiError):
            talk.post()

    assert [one.answer for one in talk.slack.calls] == ["http 500", "ratelimited", "internal_error"]
    assert not talk.slack.room("ops").messages
    assert talk.client().auth_test()["ok"]


def test_a_deleted_message_with_replies_leaves_a_tombstone(talk):
    parent = talk.post()
    talk.post(thread_ts=parent["ts"])
    talk.slack.delete("#ops", parent["ts"])

    assert talk.post(thread_ts=parent["ts"])["ok"]
    assert talk.slack.room("ops").parents == []


def test_a_channel_that_was_kept_goes_on_with_numbers_of_its_own(talk):
    first = talk.post()
    kept = SimulatedSlack(talk.clock, [Room(name="ops", messages=talk.slack.room("ops").messages)])

    later = kept.say("#ops", "again")

    assert later.ts > first["ts"]
