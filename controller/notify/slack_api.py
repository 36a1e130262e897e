"""Calls to Slack's Web API, and what its errors mean for a notice: whether it may have arrived, and what to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from http.client import HTTPException
from socket import gaierror
from typing import TYPE_CHECKING, Any, Final
from urllib.error import URLError

from controller.notify.blocks import SlackMessage
from controller.notify.failure import Undelivered

if TYPE_CHECKING:
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

TIMEOUT_S: Final = 10
PAGE: Final = 200
USUAL_WAIT_S: Final = 30  # where Slack says to wait and not how long

# Slack says of these that some part of the call may have succeeded all the same.
_UNKNOWN_FATE: Final = ("fatal_error", "internal_error", "request_timeout", "service_unavailable")
_UNFIT: Final = ("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long")
_GONE: Final = ("message_not_found", "thread_not_found")
_REFUSED: Final = (
    "CANARY_SLACK_TOKEN is refused. Copy the bot token (xoxb-…) again from api.slack.com/apps, "
    "“OAuth & Permissions”; a reinstalled app may have a new one."
)
_MENDED_BY: Final = {
    "not_authed": _REFUSED,
    "invalid_auth": _REFUSED,
    "token_revoked": _REFUSED,
    "token_expired": _REFUSED,
    "account_inactive": _REFUSED,
    "channel_not_found": (
        "There is no such channel, or it is private and the app is not in it. Correct notify.slack in the plan, "
        "or invite the app: /invite @canaryctl"
    ),
    "not_in_channel": "The app is not in this channel. Invite it there: /invite @canaryctl",
    "is_archived": "The channel is archived. Unarchive it, or name another one in the plan.",
    "cant_update_message": "The message above the thread is not of this app: is this another app's token?",
    "msg_too_long": "Slack takes no text of this length: a defect of canaryctl, please report it.",
}


class Gone(Undelivered):
    """The message or thread is not there any more."""


class Blind(Undelivered):
    """The app may not read: what is in the channel cannot be looked up."""


class SlackApi:
    """Safe for several threads. Every failure is an `Undelivered`; nothing is repeated here, since who repeats must
    first have looked whether it arrived."""

    def __init__(self, *, token: str | None, url: str, timeout_s: int = TIMEOUT_S) -> None:
        self._token = token
        self._url = url
        self._timeout_s = timeout_s

    def whoami(self) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._call("slack", lambda client: client.auth_test()).data
        return answer

    def post(
        self,
        channel: str,
        message: SlackMessage,
        metadata: Mapping[str, Any],
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
    ) -> tuple[str, str]:
        """The id of the channel and the `ts` of the message. Channels are named or given by id."""

        def call(client: WebClient, *, blocks: bool) -> Any:
            return client.chat_postMessage(
                channel=channel,
                text=message.text,
                blocks=message.blocks if blocks else None,
                metadata=dict(metadata),
                thread_ts=thread_ts,
                reply_broadcast=broadcast if thread_ts else None,
                unfurl_links=False,
                unfurl_media=False,
            )

        answer = self._with_or_without_blocks(channel, call)
        return str(answer["channel"]), str(answer["ts"])

    def update(
        self, channel: str, ts: str, message: SlackMessage, metadata: Mapping[str, Any]
    ) -> None:
        """Show something else in the place of a message; by the channel's id. Gone."""

        def call(client: WebClient, *, blocks: bool) -> Any:
            return client.chat_update(
                channel=channel,
                ts=ts,
                text=message.text,
                blocks=message.blocks if blocks else [],
                metadata=dict(metadata),
            )

        self._with_or_without_blocks(channel, call)

    def thread(self, channel: str, ts: str, since: datetime) -> Iterator[Mapping[str, Any]]:
        """The messages of a thread since then, with their metadata. Gone, Blind."""
        yield from self._pages(
            channel,
            "messages",
            lambda client, cursor: client.conversations_replies(
                channel=channel,
                ts=ts,
                oldest=str(since.timestamp()),
                include_all_metadata=True,
                limit=PAGE,
                cursor=cursor,
            ),
        )

    def history(self, channel: str, since: datetime) -> Iterator[Mapping[str, Any]]:
        """The messages of a channel since then, with their metadata. Blind."""
        yield from self._pages(
            channel,
            "messages",
            lambda client, cursor: client.conversations_history(
                channel=channel,
                oldest=str(since.timestamp()),
                include_all_metadata=True,
                limit=PAGE,
                cursor=cursor,
            ),
        )

    def channel_id(self, name: str) -> str | None:
        """The id of `#name`, or of an id itself; None if there is no such channel. Blind."""
        if not name.startswith("#"):
            return name
        listed = self._pages(
            name,
            "channels",
            lambda client, cursor: client.conversations_list(
                types="public_channel,private_channel",
                exclude_archived=True,
                limit=PAGE,
                cursor=cursor,
            ),
        )
        return next((str(one["id"]) for one in listed if f"#{one['name']}" == name), None)

    def _pages(
        self,
        channel: str,
        key: str,
        call: Callable[[WebClient, str | None], Any],
        cursor: str | None = None,
    ) -> Iterator[Mapping[str, Any]]:
        page = self._call(channel, lambda client: call(client, cursor), reading=True)
        yield from page[key]
        following = (page.get("response_metadata") or {}).get("next_cursor")
        if following:
            yield from self._pages(channel, key, call, following)

    def _with_or_without_blocks(self, channel: str, call: Callable[..., Any]) -> Any:
        """What Slack refuses for its blocks is sent as text: words that arrive matter more than their form."""
        try:
            return self._call(channel, lambda client: call(client, blocks=True))
        except _Unfit:
            return self._call(channel, lambda client: call(client, blocks=False))

    def _call(
        self, channel: str, call: Callable[[WebClient], Any], *, reading: bool = False
    ) -> Any:
        from slack_sdk.errors import SlackApiError, SlackClientError

        client = self._client()
        try:
            return call(client)
        except SlackApiError as error:
            raise _failure(channel, error, reading=reading) from error
        except SlackClientError as error:
            raise Undelivered(f"Slack could not be asked: {error}") from error
        except (OSError, HTTPException) as error:
            raise _unanswered(error) from error

    def _client(self) -> WebClient:
        from slack_sdk import WebClient

        if self._token is None:
            raise Undelivered(
                "CANARY_SLACK_TOKEN is not set, so nothing can be sent to Slack. docs/notifications.md says how to "
                "get a token.",
                lasting=True,
            )
        # No handlers: they would repeat what may have arrived.
        return WebClient(
            token=self._token, base_url=self._url, timeout=self._timeout_s, retry_handlers=[]
        )


class _Unfit(Undelivered):
    """Slack refuses the form of a message."""


def _failure(channel: str, error: SlackApiError, *, reading: bool) -> Undelivered:
    status, headers, data = _answer(error)
    name = str(data.get("error", "")) if isinstance(data, Mapping) else ""
    if status == 429 or name in ("ratelimited", "rate_limited"):
        wait = timedelta(seconds=_seconds(headers))
        return Undelivered(f"Slack asks to wait {wait.total_seconds():g} s ({channel})", wait=wait)
    if not name:
        said = f"Slack answered HTTP {status} without an error that it documents ({channel})"
        return Undelivered(said, doubtful=status >= 500)
    if name in _UNKNOWN_FATE:
        return Undelivered(f"Slack failed: {name} ({channel})", doubtful=True)
    if name in _GONE:
        return Gone(f"Slack: {name} ({channel})", alone=True, wait=timedelta(0))
    if name in _UNFIT:
        remarks = (data.get("response_metadata") or {}).get("messages") or ()
        return _Unfit(f"Slack: {name} ({channel}): {'; '.join(remarks)}", alone=True, lasting=True)
    if name == "missing_scope":
        needed, has = data.get("needed", "?"), data.get("provided", "?")
        said = (
            f"Slack: missing_scope ({channel}). The app needs {needed} and has {has}. Add it at api.slack.com/apps, "
            "“OAuth & Permissions”, and reinstall the app."
        )
        return (Blind if reading else Undelivered)(said, lasting=True)
    mended = _MENDED_BY.get(name, "https://docs.slack.dev names this error with its method.")
    return Undelivered(f"Slack: {name} ({channel}). {mended}", lasting=True)


def _answer(error: SlackApiError) -> tuple[int, Mapping[str, Any], Any]:
    """Status, headers and body; the SDK hands a body that is no JSON over in a plain dictionary."""
    response: Any = error.response
    if isinstance(response, Mapping):
        return int(response.get("status", 0)), response.get("headers") or {}, {}
    return int(response.status_code), response.headers or {}, response.data or {}


def _seconds(headers: Mapping[str, Any]) -> float:
    asked = next((value for key, value in headers.items() if key.lower() == "retry-after"), None)
    try:
        return max(float(str(asked)), 0.0)
    except ValueError:
        return USUAL_WAIT_S


def _unanswered(error: Exception) -> Undelivered:
    """Certain only where no connection came about: whatever else happened, Slack may have the message."""
    reason = error.reason if isinstance(error, URLError) else error
    certain = isinstance(reason, ConnectionRefusedError | gaierror | ssl.SSLCertVerificationError)
    return Undelivered(
        f"Slack could not be reached: {type(reason).__name__}: {reason}", doubtful=not certain
    )
