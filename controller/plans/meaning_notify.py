"""Second parse of who is told: Slack's channels and the webhook's address."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from controller.plans.reading import Reading
from controller.plans.schema_notify import ChannelsShape, SlackShape, WebhookShape
from controller.rollout.plan import (
    Severity,
    Slack,
    Webhook,
)


def read_slack(shape: SlackShape | None, reading: Reading) -> Slack | None:
    if shape is None:
        return None
    own = {} if shape.channels is None else _channels(shape, shape.channels, reading)
    return Slack(
        channel=shape.channel,
        info=own.get(Severity.INFO),
        warning=own.get(Severity.WARNING),
        critical=own.get(Severity.CRITICAL),
        least=shape.least,
    )


def _channels(shape: SlackShape, own: ChannelsShape, reading: Reading) -> dict[Severity, str]:
    found = {}
    for severity in Severity:
        channel: str | None = getattr(own, severity.value)
        if channel is None:
            continue
        if not severity.reaches(shape.least):
            reading.refuse(
                own,
                severity.value,
                f"nothing would go there: `from: {shape.least.value}` leaves out `{severity.value}`",
            )
        found[severity] = channel
    return found


def read_webhook(shape: WebhookShape | None, reading: Reading) -> Webhook | None:
    if shape is None:
        return None
    try:
        parts = urlsplit(shape.url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        reading.refuse(shape, "url", f"not an address: {error}")
        return None
    if not shape.url.isascii():
        reading.refuse(
            shape,
            "url",
            "an address is ASCII: write other letters of its path as %XX, of its host as xn--…",
        )
        return None
    if wrong := _wrong_address(parts.scheme, host, secret=parts.username is not None):
        reading.refuse(shape, "url", wrong)
        return None
    return Webhook(
        name=host if port is None else f"{host}:{port}", url=shape.url, least=shape.least
    )


def _wrong_address(scheme: str, host: str, *, secret: bool) -> str:
    if not host:
        return "no host in it; write an address such as `https://pager.example.com/canary`"
    if secret:
        return (
            "a name or password in an address is readable for all who read the plan; leave it out: "
            "the receiver knows canaryctl by its signature"
        )
    if scheme == "http" and not _is_this_host(host):
        return "http:// is for this host alone; write https://"
    return ""


def _is_this_host(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
