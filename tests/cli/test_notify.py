"""`canaryctl notify test` against a simulated Slack and a webhook on real sockets; deliveries in `describe`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.ports import Owed
from controller.simulate.services.slack import TOKEN, SimulatedSlack
from controller.simulate.services.slack_rooms import Room
from controller.wiring import open_store
from tests.cli.world import PLAN, World
from tests.notify.slack_world import header, served
from tests.notify.test_webhook import Receiver

SLACK = 'slack: {channel: "#llm-oncall", channels: {critical: "#llm-page"}}'
SECRET = "a-secret-of-the-pager"


@pytest.fixture
def slack(world: World) -> Iterator[SimulatedSlack]:
    made = SimulatedSlack(world.clock, ("#llm-oncall", Room(name="#llm-page", member=False)))
    with served(made.app) as url:
        world.environ |= {"CANARY_SLACK_URL": f"{url}/api/", "CANARY_SLACK_TOKEN": TOKEN}
        yield made


def routed(hook: str = "") -> str:
    webhook = f", webhook: {{url: '{hook}/x'}}" if hook else ""
    return PLAN.replace('slack: {channel: "#llm-oncall"}', SLACK + webhook)


def test_every_destination_of_a_plan_gets_a_marked_message(world, slack):
    slack.room("#llm-page").member = True
    receiver = Receiver()
    with served(receiver.app) as url:
        answer = world.cli("notify", "test", world.plan(routed(url)), CANARY_WEBHOOK_SECRET=SECRET)

    assert answer.code == 0
    host = url.removeprefix("http://")
    assert answer.out == (
        "slack:#llm-oncall: ok: delivered to #llm-oncall of Simulated, as canaryctl\n"
        "slack:#llm-page: ok: delivered to #llm-page of Simulated, as canaryctl\n"
        f"webhook:{host}: ok: delivered to {host}, which answered 200\n"
    )
    assert [header(one) for one in slack.room("#llm-page").messages] == [
        ":test_tube: canaryctl test message"
    ]
    assert receiver.documents[0]["test"] is True


def test_what_fails_is_told_with_what_to_do_and_the_others_are_tried(world, slack):
    answer = world.cli("notify", "test", world.plan(routed()), "-o", "json")

    assert answer.code == 1
    first, second = answer.json["items"]
    assert first["delivered"] is True
    assert second["delivered"] is False
    assert "not_in_channel" in second["message"]
    assert "/invite @canaryctl" in second["message"]


def test_a_missing_token_and_secret_are_named(world):
    answer = world.cli("notify", "test", world.plan(routed("https://pager.example.com")))

    assert answer.code == 1
    assert answer.out.count("FAILED: CANARY_SLACK_TOKEN is not set") == 2
    assert "webhook:pager.example.com: FAILED: CANARY_WEBHOOK_SECRET is not set" in answer.out


def test_the_rollouts_of_the_database_are_asked_for_their_plans(world, slack):
    world.cli("apply", "-f", world.plan())

    assert world.cli("notify", "test").out.startswith("slack:#llm-oncall: ok")
    assert world.cli("notify", "test", "support-bot").code == 0
    assert world.cli("notify", "test", "nobody").code == 4


def test_one_channel_needs_no_plan(world, slack):
    answer = world.cli("notify", "test", "--channel", "#llm-oncall")

    assert answer.code == 0
    assert len(slack.room("#llm-oncall").messages) == 1


def test_a_plan_that_tells_nobody_says_so(world):
    plan = PLAN.replace('  notify: {slack: {channel: "#llm-oncall"}}\n', "")

    answer = world.cli("notify", "test", world.plan(plan))

    assert (answer.code, answer.out) == (0, "")
    assert "notices go to the log alone" in answer.err


# describe


def owed(world: World) -> list[Owed]:
    store = open_store(world.url)
    rows = list(store.deliveries("support-bot/1"))
    store.close()
    return rows


def test_describe_counts_deliveries_and_says_what_is_wrong_with_them(world):
    world.cli("apply", "-f", world.plan())
    to_log, to_slack = owed(world)
    store = open_store(world.url)
    store.delivered(to_log.id, world.clock.now())
    assert store.sending(to_slack, world.clock.now(), until=world.clock.now())
    store.undelivered(
        to_slack.id, error="invalid_auth", next_attempt=world.clock.now(), doubtful=True
    )
    store.close()

    out = world.cli("describe", "support-bot").out
    document = world.cli("describe", "support-bot", "-o", "json").json

    assert (
        "slack:#llm-oncall: 1, the oldest start, 0s old, 1 attempt failed, last: invalid_auth; "
        "it may have arrived, which is looked up"
    ) in out
    assert document["deliveries"] == [
        {
            "destination": "log",
            "delivered": 1,
            "undelivered": 0,
            "oldest_age_s": None,
            "last_delivered": "2026-09-01T12:00:00+00:00",
            "last_error": "",
        },
        {
            "destination": "slack:#llm-oncall",
            "delivered": 0,
            "undelivered": 1,
            "oldest_age_s": 0.0,
            "last_delivered": None,
            "last_error": "invalid_auth",
        },
    ]
    (undelivered,) = document["undelivered"]
    assert (undelivered["destination"], undelivered["in_doubt"]) == ("slack:#llm-oncall", True)
