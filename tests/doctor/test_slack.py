"""Slack's checks, over a real socket, against answers as Slack's documentation writes them."""

import json
from contextlib import contextmanager

import pytest
from aiohttp import web

from controller.clock import ManualClock
from controller.doctor import slack
from controller.doctor.finding import Level
from controller.simulate.services.slack import SimulatedSlack
from controller.simulate.services.slack_rooms import Room
from tests.doctor.servers import nowhere, serving
from tests.rollout.factories import NOW

TOKEN = "xoxb-test-0123456789"
URL = "http://127.0.0.1:9/api/"  # nobody is asked there
ALL = "chat:write,channels:history,groups:history,channels:read,groups:read"


def channel(name, *, member=True, private=False, archived=False):
    return {
        "id": f"C{name.upper().replace('-', '')}",
        "name": name,
        "is_member": member,
        "is_private": private,
        "is_archived": archived,
    }


@contextmanager
def workspace(*channels, scopes=ALL, error=None, page=100):
    """A Slack that knows two methods, its token, and pages."""

    async def method(request):
        name = request.match_info["method"]
        given = {**request.query, **(await request.post())}
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return said({"ok": False, "error": "invalid_auth"})
        if error is not None and error[0] == name:
            return said({"ok": False, "error": error[1]})
        if name == "auth.test":
            return said({"ok": True, "user": "canaryctl", "team": "Acme"})
        first = int(given.get("cursor", 0))
        rest = {"next_cursor": str(first + page) if first + page < len(channels) else ""}
        found = channels[first : first + page]
        return said({"ok": True, "channels": found, "response_metadata": rest})

    def said(body):
        headers = {"x-oauth-scopes": scopes} if scopes else {}
        return web.Response(text=json.dumps(body), content_type="application/json", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/api/{method}", method)
    with serving(app) as address:
        yield f"http://{address}/api/"


def found(url, *channels, token=TOKEN):
    return {one.check: one for one in slack.of_slack(token, url, channels)}


def levels(findings):
    return {check: one.level for check, one in findings.items()}


def test_a_token_with_its_scopes_and_every_channel_is_well():
    with workspace(channel("ops"), channel("page", private=True)) as url:
        findings = found(url, "#ops", "#page")

    assert set(levels(findings).values()) == {Level.OK}
    assert "canaryctl's in Acme" in findings["slack"].found
    assert set(findings) == {"slack", "slack scopes", "slack #ops", "slack #page"}


def test_without_a_token_it_matters_whether_a_plan_asks_for_slack():
    assert levels(found(URL, token=None)) == {"slack": Level.OK}
    asked = found(URL, "#ops", token=None)
    assert levels(asked) == {"slack": Level.WARNING}
    assert "#ops" in asked["slack"].found


def test_a_token_that_slack_refuses_is_failed_and_not_shown():
    with workspace() as url:
        findings = found(url, "#ops", token="xoxb-very-secret")

    assert levels(findings) == {"slack": Level.FAILED}
    assert "invalid_auth" in findings["slack"].found
    assert "very-secret" not in str(findings)


def test_a_slack_that_cannot_be_reached_is_failed():
    findings = found(f"http://{nowhere()}/api/", "#ops")

    assert levels(findings) == {"slack": Level.FAILED}
    assert "cannot be reached" in findings["slack"].found


def test_a_token_that_may_not_write_is_failed():
    with workspace(channel("ops"), scopes="channels:read") as url:
        findings = found(url, "#ops")

    assert findings["slack scopes"].level is Level.FAILED
    assert "chat:write" in findings["slack scopes"].wanted


def test_a_token_that_may_not_read_is_a_warning():
    with workspace(channel("ops"), scopes="chat:write,channels:read,groups:read") as url:
        finding = found(url, "#ops")["slack scopes"]

    assert finding.level is Level.WARNING
    assert "channels:history" in finding.wanted


def test_the_simulated_slack_that_notices_are_tested_with_is_well_by_the_same_checks():
    rooms = [Room(name="#ops"), Room(name="page", private=True), Room(name="lobby", member=False)]
    simulated = SimulatedSlack(ManualClock(NOW), rooms)
    with serving(simulated.app()) as address:
        findings = found(f"http://{address}/api/", "#ops", "page", "#lobby", token=simulated.token)

    lobby = findings.pop("slack #lobby")
    assert set(levels(findings).values()) == {Level.OK}
    assert (lobby.level, lobby.found) == (Level.FAILED, "the app is not in the channel")
    assert "chat.postMessage" not in {call.method for call in simulated.calls}


def test_scopes_that_slack_does_not_tell_are_a_warning():
    with workspace(channel("ops"), scopes="") as url:
        assert found(url)["slack scopes"].level is Level.WARNING


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (channel("ops", member=False), "not in the channel"),
        (channel("ops", archived=True), "archived"),
        (channel("other"), "no such channel"),
    ],
)
def test_a_channel_that_cannot_be_posted_to_is_failed(there, words):
    with workspace(there) as url:
        finding = found(url, "#ops")["slack #ops"]

    assert finding.level is Level.FAILED
    assert words in finding.found


def test_a_public_channel_needs_no_invitation_where_the_app_may_write_anywhere():
    with workspace(channel("ops", member=False), scopes=f"{ALL},chat:write.public") as url:
        assert found(url, "#ops")["slack #ops"].level is Level.OK


def test_a_channel_is_found_on_a_later_page_and_by_its_id():
    many = [channel(f"c{number}") for number in range(7)]
    with workspace(*many, page=3) as url:
        findings = found(url, "#c6", "CC0")

    assert findings["slack #c6"].level is Level.OK
    assert findings["slack CC0"].level is Level.OK


def test_channels_that_may_not_be_listed_are_a_warning_that_names_the_scope():
    with workspace(error=("conversations.list", "missing_scope")) as url:
        finding = found(url, "#ops")["slack #ops"]

    assert finding.level is Level.WARNING
    assert "missing_scope" in finding.found
    assert "channels:read" in finding.wanted


def test_a_webhook_needs_its_secret_where_a_plan_names_one():
    assert slack.of_webhook(None, []).level is Level.OK
    assert slack.of_webhook("secret-0123456789", ["pager"]).level is Level.OK
    unset = slack.of_webhook(None, ["pager"])
    assert unset.level is Level.WARNING
    assert "pager" in unset.found
