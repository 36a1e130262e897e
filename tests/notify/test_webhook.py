"""Notices to a webhook, over a real socket; signatures are verified by code that shares nothing with the sender's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.clock import ManualClock
from controller.notify.failure import Undelivered
from controller.notify.memory import MemoryNotifier
from controller.notify.sender import Sender
from controller.notify.webhook import WebhookNotifier
from controller.ports import Notifier, Owed
from controller.rollout.plan import Plan, Severity, Webhook
from controller.store.memory import MemoryStore
from tests.notify.factories import NOW, PAUSED, ROLLED_BACK, ROLLOUT, plan
from tests.notify.outbox import owe
from tests.notify.slack_world import served

SECRET = "a-secret-of-the-pager"
SECOND = timedelta(seconds=1)


@dataclass
class Receiver:
    """Answers as it is told; keeps what came."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "thanks"
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    hangs_up: bool = False

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        return app

    async def _take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.came.append((request.path_qs, headers, await request.read()))
        if self.hangs_up and request.transport is not None:
            request.transport.abort()
        return web.Response(status=self.status, headers=self.headers, text=self.body)

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.came]


class World:
    def __init__(self, receiver: Receiver, url: str) -> None:
        self.receiver = receiver
        self.clock = ManualClock(NOW)
        self.store = MemoryStore()
        self.plan = self.told(f"{url}/hook?team=llm")
        self.start()

    def told(self, url: str) -> Plan:
        name = url.split("/")[2]
        return plan(webhook=Webhook(name=name, url=url, least=Severity.WARNING))

    def start(self, secret: str | None = SECRET, *, timeout_s: float = 5) -> None:
        self.webhook = WebhookNotifier(self.store, self.clock, secret=secret, timeout_s=timeout_s)
        notifiers: dict[str, Notifier] = {"log": MemoryNotifier(), "webhook": self.webhook}
        self.sender = Sender(self.store, notifiers, self.clock)

    def owe(self, *notices, of: Plan | None = None) -> None:
        owe(self.store, *notices, rollout=ROLLOUT, of=of or self.plan, at=self.clock.now())

    def send(self, times: int = 1, *, step: timedelta = SECOND) -> None:
        for _ in range(times):
            self.sender.send_due()
            self.clock.advance(step)

    def rows(self) -> list[Owed]:
        rows = self.store.deliveries(ROLLOUT)
        return [one for one in rows if one.destination.startswith("webhook")]


@pytest.fixture
def world() -> Iterator[World]:
    receiver = Receiver()
    with served(receiver.app) as url:
        yield World(receiver, url)


def by_the_rfc(secret: str, content: bytes) -> str:
    """HMAC-SHA256 as RFC 2104 writes it, for a key of at most 64 bytes."""
    key = secret.encode().ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in key) + content).digest()
    return sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()


def test_the_verifier_knows_a_published_example():
    # RFC 4231, 4.3: test case 2
    assert by_the_rfc("Jefe", b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_a_notice_is_posted_as_json_where_the_plan_says(world):
    world.owe(ROLLED_BACK)
    world.send()

    ((path, headers, body),) = world.receiver.came
    assert path == "/hook?team=llm"
    assert headers["content-type"] == "application/json"
    assert headers["x-canary-delivery"] == headers["idempotency-key"] == world.rows()[0].id
    document = json.loads(body)
    assert document | {"text": "", "failures": []} == {
        "format": "canaryctl.dev/notice/v1",
        "test": False,
        "id": world.rows()[0].id,
        "rollout": "support-bot/1",
        "record": 1,
        "plan": world.plan.digest,
        "action": "rollback",
        "cause": "rule",
        "severity": "critical",
        "at": "2026-11-21T03:15:00+00:00",
        "late_s": 0,
        "baseline": "gpt-4.1",
        "candidate": "gpt-4.1-mini",
        "share_before_bp": 1000,
        "share_after_bp": 0,
        "deadline": None,
        "actor": None,
        "reason": None,
        "failures": [],
        "title": "support-bot: ROLLED BACK to gpt-4.1, escalation_rate 2.41% above 2%",
        "text": "",
    }
    assert "187 of 7,762 candidate requests" in document["text"]
    (failure,) = document["failures"]
    assert (failure["rule"], failure["metric"], failure["limit"], failure["samples"]) == (
        "escalation",
        "escalation_rate",
        0.02,
        7_762,
    )
    assert failure["value"] == pytest.approx(187 / 7_762)
    assert failure["arithmetic"].startswith("escalation_rate 2.41%")


def test_it_is_signed_over_its_moment_and_its_body(world):
    world.owe(ROLLED_BACK)
    world.send()

    ((_, headers, body),) = world.receiver.came
    stamp = headers["x-canary-timestamp"]
    assert stamp == str(int(NOW.timestamp()))
    signed = by_the_rfc(SECRET, f"{stamp}.".encode() + body)
    assert headers["x-canary-signature"] == f"v1={signed}"


def test_the_recipe_of_the_docs_accepts_what_is_ours_and_nothing_else(world, monkeypatch):
    text = Path("docs/notifications.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(recipe, names)
    monkeypatch.setattr(names["time"], "time", lambda: NOW.timestamp() + 200)
    world.owe(ROLLED_BACK)
    world.send()
    ((_, headers, body),) = world.receiver.came
    given = {name.title(): value for name, value in headers.items()}
    is_ours, secret = names["is_ours"], SECRET.encode()

    assert is_ours(secret, given, body)
    assert not is_ours(b"another secret", given, body)
    assert not is_ours(secret, given, body + b" ")
    assert not is_ours(
        secret, {**given, "X-Canary-Timestamp": str(int(NOW.timestamp()) - 900)}, body
    )
    monkeypatch.setattr(names["time"], "time", lambda: NOW.timestamp() + 301)
    assert not is_ours(secret, given, body)


def test_what_is_not_severe_enough_is_not_owed(world):
    world.owe(replace(PAUSED, severity=Severity.INFO))

    assert world.rows() == []


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_a_delivery(world, status):
    world.receiver.status = status
    world.owe(ROLLED_BACK)
    world.send()

    assert (world.rows()[0].delivered, world.rows()[0].reference) == (NOW, str(status))


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_is_not_followed_and_said(world, status):
    world.receiver.status = status
    world.receiver.headers = {"Location": "/elsewhere"}
    world.owe(ROLLED_BACK)
    world.send(3)

    assert [path for path, _, _ in world.receiver.came] == ["/hook?team=llm"]
    assert "Redirects are not followed" in world.rows()[0].last_error


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "CANARY_WEBHOOK_SECRET"),
        (404, "notify.webhook.url"),
        (410, "gone for good"),
        (422, "refuses"),
    ],
)
def test_a_refusal_is_told_with_what_to_do_and_seldom_tried(world, status, advice):
    world.receiver.status, world.receiver.body = status, "no such team"
    world.owe(ROLLED_BACK)
    world.send(20)

    assert len(world.receiver.came) == 1
    assert f"answered {status}: no such team" in world.rows()[0].last_error
    assert advice in world.rows()[0].last_error


def test_a_wrong_path_is_corrected_by_a_new_revision(world):
    world.receiver.status = 404
    world.owe(ROLLED_BACK)
    world.send()
    world.receiver.status = 200
    assert world.plan.webhook is not None
    url = world.plan.webhook.url.replace("/hook", "/right")
    world.owe(of=world.told(url))
    world.send(2, step=timedelta(minutes=1))

    assert [path for path, _, _ in world.receiver.came] == ["/hook?team=llm", "/right?team=llm"]
    assert world.rows()[0].delivered is not None


def test_an_error_is_tried_again_under_the_same_id(world):
    world.receiver.status = 500
    world.owe(ROLLED_BACK)
    world.send()
    world.receiver.status = 200
    world.send(3)

    assert len({headers["idempotency-key"] for _, headers, _ in world.receiver.came}) == 1
    assert [one.attempts for one in world.rows()] == [1]
    assert world.rows()[0].delivered is not None


def test_an_answer_that_is_lost_is_a_doubt_that_the_receiver_settles(world):
    world.receiver.hangs_up = True
    world.owe(ROLLED_BACK)
    world.send()
    assert world.rows()[0].sending is not None
    world.receiver.hangs_up = False
    world.send(3)

    assert len({document["id"] for document in world.receiver.documents}) == 1
    assert len(world.receiver.documents) == 2


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("17", timedelta(seconds=17)),
        ("Sat, 21 Nov 2026 03:16:30 GMT", timedelta(seconds=90)),
        ("99999999", timedelta(hours=1)),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_the_receiver_names_is_kept(world, status, asked, wait):
    world.receiver.status, world.receiver.headers = status, {"Retry-After": asked}
    world.owe(ROLLED_BACK)
    world.send(1, step=timedelta(0))

    assert world.rows()[0].next_attempt == NOW + wait


def test_nobody_listening_is_no_doubt(world):
    world.owe(ROLLED_BACK, of=world.told("http://127.0.0.1:1/x"))
    world.send()

    assert "ConnectionRefusedError" in world.rows()[0].last_error
    assert world.rows()[0].sending is None


def test_nothing_is_sent_unsigned(world):
    world.start(None)
    world.owe(ROLLED_BACK)
    world.send()

    assert not world.receiver.came
    assert "CANARY_WEBHOOK_SECRET is not set" in world.rows()[0].last_error


def test_what_comes_late_says_how_late(world):
    world.owe(ROLLED_BACK)
    world.clock.advance(timedelta(hours=1))
    world.send()

    assert world.receiver.documents[0]["late_s"] == 3_600


def test_a_test_document_is_marked(world):
    assert world.plan.webhook is not None

    said = world.webhook.test(world.plan.webhook)

    assert said == f"delivered to {world.plan.webhook.name}, which answered 200"
    assert world.receiver.documents[0]["test"] is True


def test_a_test_that_fails_says_why(world):
    assert world.plan.webhook is not None
    world.receiver.status = 401

    with pytest.raises(Undelivered, match="same on both sides"):
        world.webhook.test(world.plan.webhook)
