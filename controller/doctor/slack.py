"""Checks of Slack: the token, what it may do, and each channel that a running plan names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

from controller.doctor.finding import Finding, failed, ok, warning

if TYPE_CHECKING:
    from slack_sdk import WebClient

PATIENCE_S: Final = 5
WRITE: Final = "chat:write"
WRITE_ANYWHERE: Final = "chat:write.public"
READ: Final = "channels:read"
HISTORY: Final = frozenset(("channels:history", "groups:history"))
_PAGE: Final = 1000
_MOST_PAGES: Final = 20  # what a minute's limit allows


def of_slack(token: str | None, url: str, channels: Sequence[str]) -> Iterator[Finding]:
    """Everything about Slack. `channels` are those that running plans name; none of it is posted to."""
    if token is None:
        yield _unset(channels)
        return
    from slack_sdk import WebClient

    client = WebClient(token=token, base_url=url, timeout=PATIENCE_S)
    finding, scopes = _token(client)
    yield finding
    if scopes is None:
        return
    yield from _scopes(scopes)
    if channels:
        yield from _channels(client, channels, scopes)


def of_webhook(secret: str | None, hosts: Sequence[str]) -> Finding:
    """Whether what running plans owe to webhooks can be signed. Nothing is sent there."""
    if not hosts:
        return ok("webhook", "no running plan asks for one")
    named = ", ".join(hosts)
    if secret is None:
        return warning(
            "webhook",
            f"no secret, but running plans name {named}",
            wanted="CANARY_WEBHOOK_SECRET or CANARY_WEBHOOK_SECRET_FILE, at least 16 characters",
            todo="set the one that the receivers know; nothing is sent unsigned, it stays in the outbox",
        )
    return ok("webhook", f"notices to {named} are signed")


def _unset(channels: Sequence[str]) -> Finding:
    if not channels:
        return ok("slack", "not set up, and no running plan asks for it")
    named = ", ".join(channels)
    return warning(
        "slack",
        f"no token, but running plans name {named}",
        wanted="CANARY_SLACK_TOKEN or CANARY_SLACK_TOKEN_FILE, a bot token (xoxb-)",
        todo="install the app and set its token; until then notices stay in the outbox",
    )


def _token(client: WebClient) -> tuple[Finding, frozenset[str] | None]:
    """The scopes are None where the token is no good; empty where Slack does not tell them."""
    answer, problem = _called(client, "auth.test")
    if answer is None:
        todo = "is the token a bot token (xoxb-) of an app that is installed, and may this host reach Slack?"
        return failed("slack", problem, wanted="a token that Slack accepts", todo=todo), None
    told = {key.lower(): value for key, value in answer.headers.items()}.get("x-oauth-scopes", "")
    scopes = frozenset(one.strip() for one in str(told).split(",") if one.strip())
    return ok("slack", f"the token is {answer['user']}'s in {answer['team']}"), scopes


def _scopes(scopes: frozenset[str]) -> Iterator[Finding]:
    if not scopes:
        yield warning(
            "slack scopes",
            "Slack did not tell them",
            wanted=f"{WRITE} and {READ}",
            todo="see OAuth & Permissions of the app",
        )
    elif WRITE not in scopes:
        yield failed(
            "slack scopes",
            f"{', '.join(sorted(scopes))}",
            wanted=f"{WRITE}: without it nothing can be posted",
            todo="add it under OAuth & Permissions of the app, and install the app again",
        )
    elif not scopes & HISTORY:
        yield warning(
            "slack scopes",
            f"{', '.join(sorted(scopes))}",
            wanted=f"{' and '.join(sorted(HISTORY))}: to look whether a message of unknown fate arrived",
            todo="add them and install the app again; until then such a message may come twice",
        )
    else:
        yield ok("slack scopes", ", ".join(sorted(scopes)))


def _channels(
    client: WebClient, channels: Sequence[str], scopes: frozenset[str]
) -> Iterator[Finding]:
    named, problem = _known_channels(client)
    for channel in channels:
        name = f"slack {channel}"
        if named is None:
            yield warning(
                name,
                f"channels cannot be listed: {problem}",
                wanted=f"{READ} and groups:read, for this check alone",
                todo="add them, or post a message of your own to see whether it arrives",
            )
            continue
        yield _channel(name, named.get(channel.removeprefix("#")), scopes)


def _channel(name: str, found: Mapping[str, Any] | None, scopes: frozenset[str]) -> Finding:
    wanted = "a channel that the app may post to"
    if found is None:
        return failed(
            name,
            "no such channel, or a private one that the app is not in",
            wanted=wanted,
            todo="mend the name in the plan, or invite the app to the channel",
        )
    if found.get("is_archived"):
        todo = "unarchive it, or name another one in the plan"
        return failed(name, "the channel is archived", wanted=wanted, todo=todo)
    if not found.get("is_member") and not (WRITE_ANYWHERE in scopes and not found["is_private"]):
        return failed(
            name,
            "the app is not in the channel",
            wanted=wanted,
            todo=f"/invite the app there, or give it {WRITE_ANYWHERE} for public channels",
        )
    return ok(name, f"{found['id']}, which the app may post to")


def _known_channels(client: WebClient) -> tuple[dict[str, Mapping[str, Any]] | None, str]:
    """Channels by name and by id; None and why, where they cannot be listed."""
    known: dict[str, Mapping[str, Any]] = {}
    cursor = ""
    for _ in range(_MOST_PAGES):
        answer, problem = _called(
            client,
            "conversations.list",
            types="public_channel,private_channel",
            limit=_PAGE,
            cursor=cursor,
        )
        if answer is None:
            return None, problem
        for one in answer["channels"]:
            known[one["name"]] = known[one["id"]] = one
        cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
        if not cursor:
            break
    return known, ""


def _called(client: WebClient, method: str, **arguments: object) -> tuple[Any, str]:
    """The answer; None and why there is none."""
    from slack_sdk.errors import SlackApiError, SlackClientError

    try:
        given = {key: value for key, value in arguments.items() if value != ""}
        return client.api_call(method, params=given), ""
    except SlackApiError as error:
        said = error.response.get("error", "no reason")
        return None, f"Slack refuses {method}: {said}"
    except (SlackClientError, HTTPException, OSError, ValueError) as error:
        return None, f"Slack cannot be reached: {error}"
