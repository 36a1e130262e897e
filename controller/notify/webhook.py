"""Notices as signed JSON to an address of one's own (docs/notifications.md has the format and how to verify it).

A receiver tells repeats apart by `X-Canary-Delivery`, so what is in doubt is simply sent again.
"""

from __future__ import annotations

import hmac
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from socket import gaierror
from typing import Any, Final
from urllib.parse import urlsplit

from controller.clock import Clock
from controller.notify.arithmetic import failed_look, verdict_line
from controller.notify.blocks import LATE, record_of
from controller.notify.failure import Undelivered
from controller.notify.words import words
from controller.ports import Owed, Store
from controller.rollout.codec import dumps, encode
from controller.rollout.destinations import place_of
from controller.rollout.evidence.rules import limit_in
from controller.rollout.plan import Plan, Webhook
from controller.rollout.verdict import Verdict

FORMAT: Final = "canaryctl.dev/notice/v1"
TIMEOUT_S: Final = 10.0
LONGEST_WAIT: Final = timedelta(hours=1)  # of what a receiver may ask for
_MOST_READ: Final = 1_000  # bytes of an answer that are looked at
_MENDED_BY: Final = {
    401: "It does not accept the signature: is CANARY_WEBHOOK_SECRET the same on both sides?",
    403: "It does not accept the signature: is CANARY_WEBHOOK_SECRET the same on both sides?",
    404: "Nothing is there. Correct notify.webhook.url in the plan.",
    405: "It takes no POST. Correct notify.webhook.url in the plan.",
    410: "It is gone for good. Correct notify.webhook.url in the plan, or leave the webhook out.",
    413: "It takes no body of this size.",
    415: "It takes no application/json.",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: str


class WebhookNotifier:
    """The destinations `webhook:host`. Without a secret everything is undelivered, and says so."""

    pace = timedelta(0)
    settle = timedelta(0)  # repeats are the receiver's to tell apart

    def __init__(
        self, store: Store, clock: Clock, *, secret: str | None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._secret = secret
        self._timeout_s = timeout_s

    def send(self, owed: Owed, plan: Plan) -> str:
        webhook = self._webhook(owed, plan)
        body = dumps(document(owed, plan, self._clock.now()))
        return self._deliver(webhook.url, owed.id, body)

    def find(self, owed: Owed, plan: Plan) -> str | None:
        """Never: the receiver knows a repeat by its id."""
        return None

    def refresh(self, destination: str, stale: datetime) -> None:
        """A webhook is told of events alone."""

    def test(self, webhook: Webhook) -> str:
        """Send a test document; what came of it, in words. Undelivered, with what to do."""
        now = self._clock.now()
        text = "A test of this webhook by `canaryctl notify test`. No rollout is concerned."
        body = dumps({"format": FORMAT, "test": True, "at": encode(now), "text": text})
        answer = self._deliver(webhook.url, f"test:{encode(now)}", body)
        return f"delivered to {webhook.name}, which answered {answer}"

    def _webhook(self, owed: Owed, plan: Plan) -> Webhook:
        """By the present plan, so that a wrong path can be corrected; else by the one it was owed under."""
        present = self._store.head(owed.rollout).plan.webhook
        found = next((one for one in (present, plan.webhook) if _is_at(one, owed)), None)
        if found is None:
            raise Undelivered(
                f"no plan says any more where {place_of(owed.destination)} is", lasting=True
            )
        return found

    def _deliver(self, url: str, name: str, body: str) -> str:
        if self._secret is None:
            raise Undelivered(
                "CANARY_WEBHOOK_SECRET is not set, and nothing is sent unsigned. Set it here and at the receiver.",
                lasting=True,
            )
        payload = body.encode()
        stamp = str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "canaryctl",
            "Idempotency-Key": name,
            "X-Canary-Delivery": name,
            "X-Canary-Timestamp": stamp,
            "X-Canary-Signature": signature(self._secret, stamp, payload),
        }
        return _judged(_post(url, payload, headers, self._timeout_s), url, self._clock.now())


def signature(secret: str, stamp: str, body: bytes) -> str:
    """`v1=` and the hex HMAC-SHA256 of `stamp.body` under the secret."""
    signed = hmac.new(secret.encode(), f"{stamp}.".encode() + body, sha256)
    return f"v1={signed.hexdigest()}"


def document(owed: Owed, plan: Plan, now: datetime) -> Mapping[str, Any]:
    """A notice as the webhook's body. Fields are only ever added within a `format`."""
    notice, message = owed.notice, words(owed.notice, plan, owed.rollout)
    return {
        "format": FORMAT,
        "test": False,
        "id": owed.id,
        "rollout": owed.rollout,
        "record": record_of(owed) or None,
        "plan": plan.digest,
        "action": notice.action.value,
        "cause": notice.cause.value,
        "severity": notice.severity.value,
        "at": encode(notice.at),
        "late_s": int((now - notice.at).total_seconds()) if now - notice.at > LATE else 0,
        "baseline": plan.baseline.model,
        "candidate": plan.candidate.model,
        "share_before_bp": notice.share_before_bp,
        "share_after_bp": notice.share_after_bp,
        "deadline": None if notice.deadline is None else encode(notice.deadline),
        "actor": notice.actor or None,
        "reason": notice.reason or None,
        "failures": [_failure(one, plan) for one in notice.failures],
        "title": message.title,
        "text": message.body,
    }


def _failure(verdict: Verdict, plan: Plan) -> Mapping[str, Any]:
    rule, look = plan.rule(verdict.rule), failed_look(verdict, plan)
    return {
        "rule": verdict.rule,
        "intent": verdict.intent,
        "metric": None if rule is None else rule.metric.name,
        "limit": None if rule is None else limit_in(rule, look),
        "fails": None if rule is None else ("below" if rule.below else "above"),
        "value": None if look is None else look.value,
        "samples": None if look is None else look.samples,
        "window_start": None if look is None else encode(look.window.start),
        "window_end": None if look is None else encode(look.window.end),
        "arithmetic": verdict_line(verdict, plan),
    }


def _is_at(webhook: Webhook | None, owed: Owed) -> bool:
    return webhook is not None and webhook.name == place_of(owed.destination)


def _post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> _Answer:
    """One request, nothing followed and nothing repeated."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body=body, headers=dict(headers))
        response = connection.getresponse()
        said = response.read(_MOST_READ).decode(errors="replace")
        return _Answer(response.status, dict(response.getheaders()), said)
    except (OSError, http.client.HTTPException) as error:
        certain = isinstance(
            error, ConnectionRefusedError | gaierror | ssl.SSLCertVerificationError
        )
        raise Undelivered(
            f"{parts.hostname} could not be reached: {type(error).__name__}: {error}",
            doubtful=not certain,
        ) from error
    finally:
        connection.close()


def _judged(answer: _Answer, url: str, now: datetime) -> str:
    """`204` and the like; Undelivered for what is not 2xx."""
    host, status = urlsplit(url).hostname, answer.status
    if 200 <= status < 300:
        return str(status)
    said = " ".join(answer.body.split())[:200]
    told = f"{host} answered {status}{f': {said}' if said else ''}"
    if status in (429, 503):
        wait = _wait(answer.headers, now)
        if wait is not None:
            raise Undelivered(f"{told}; it asks to wait {wait.total_seconds():g} s", wait=wait)
    if 300 <= status < 400:
        raise Undelivered(
            f"{told}. Redirects are not followed: write the address itself in notify.webhook.url.",
            lasting=True,
        )
    if status >= 500 or status in (408, 425, 429):
        raise Undelivered(told, doubtful=status >= 500)
    raise Undelivered(f"{told}. {_MENDED_BY.get(status, 'It refuses the notice.')}", lasting=True)


def _wait(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Retry-After in seconds or as a date (RFC 9110, 10.2.3); None if there is none, or none that makes sense."""
    from email.utils import parsedate_to_datetime

    asked = next((value for key, value in headers.items() if key.lower() == "retry-after"), "")
    try:
        wait = (
            timedelta(seconds=int(asked))
            if asked.strip().isdecimal()
            else parsedate_to_datetime(asked) - now
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), LONGEST_WAIT)
