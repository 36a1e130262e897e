"""What the simulated Slack is asked and answers, as it stands on the wire: arguments, pages, messages, refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from controller.simulate.services.slack_blocks import check_blocks, check_metadata, check_text
from controller.simulate.services.slack_rooms import BOT, Posted, Room

SIMULATED: Final = "x-simulated"
_MOST_HISTORY: Final = 999
_USUAL_PAGE: Final = 100
_REMARK: Final = "[WARN] this Slack is simulated"


class Refused(Exception):
    """What Slack says no to: `ok: false` with this error and whatever else it tells."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.body: dict[str, Any] = {"ok": False, "error": error, **more}


async def arguments_of(request: web.Request) -> dict[str, Any]:
    """From the query, a form or JSON, as the method of HTTP and the content type say."""
    found: dict[str, Any] = dict(request.query)
    if request.method == "GET" or not request.can_read_body:
        return found
    match request.content_type:
        case "application/json":
            try:
                body = json.loads(await request.text() or "{}")
            except ValueError as error:
                raise Refused("invalid_json") from error
            if not isinstance(body, dict):
                raise Refused("json_not_object")
            return found | body
        case "application/x-www-form-urlencoded" | "multipart/form-data":
            return found | {key: str(value) for key, value in (await request.post()).items()}
        case _:
            raise Refused("invalid_post_type")


def needed(arguments: Mapping[str, Any], name: str) -> Any:
    """An argument that must be there; Refused."""
    value = arguments.get(name)
    if value in (None, ""):
        remark = f"[ERROR] missing required field: {name}"
        raise Refused("invalid_arguments", response_metadata={"messages": [remark]})
    return value


def truth(value: Any) -> bool:
    """As Slack reads a flag, which a form sends as a word."""
    return value in (True, "1", "true", "True", 1)


def message_of(arguments: Mapping[str, Any]) -> Posted:
    """What is to be posted; Unfit where Slack would not take it."""
    text, blocks = str(arguments.get("text") or ""), arguments.get("blocks")
    given = check_blocks(blocks) if blocks is not None else []
    check_text(text, has_blocks=bool(given))
    metadata = arguments.get("metadata")
    return Posted(
        ts="",
        text=text,
        blocks=given,
        metadata=check_metadata(metadata) if metadata is not None else None,
    )


def between(messages: list[Posted], arguments: Mapping[str, Any]) -> list[Posted]:
    """Those later than `oldest` and before `latest`, the edges too if they are asked for."""
    oldest = float(arguments.get("oldest") or 0)
    latest = float(arguments.get("latest") or "inf")
    edges = truth(arguments.get("inclusive"))
    return [
        one
        for one in messages
        if oldest < float(one.ts) < latest or (edges and float(one.ts) in (oldest, latest))
    ]


def page(messages: list[Posted], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A page of messages, and the cursor of the next one."""
    part, more = cut(messages, arguments)
    metadata = truth(arguments.get("include_all_metadata"))
    shown = [message_shown(one, metadata=metadata) for one in part]
    return {"messages": shown, "has_more": "response_metadata" in more, **more}


def cut(items: list[Any], arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The part of a list that was asked for, and the cursor if there is more."""
    limit = min(int(arguments.get("limit") or _USUAL_PAGE), _MOST_HISTORY)
    start = _place(arguments.get("cursor"))
    part, left = items[start : start + limit], items[start + limit :]
    if not left:
        return part, {}
    cursor = base64.b64encode(f"next:{start + limit}".encode()).decode()
    return part, {"response_metadata": {"next_cursor": cursor}}


def _place(cursor: Any) -> int:
    if not cursor:
        return 0
    try:
        word, _, place = base64.b64decode(str(cursor), validate=True).decode().partition(":")
        if word == "next":
            return int(place)
    except ValueError:
        pass  # said below, as for a word that is not ours
    raise Refused("invalid_cursor")


def message_shown(message: Posted, *, metadata: bool) -> dict[str, Any]:
    """A message as Slack tells it."""
    shown: dict[str, Any] = {
        "type": "message",
        "ts": message.ts,
        "text": message.text,
        "user": message.user,
        "blocks": message.blocks,
    }
    if message.user == BOT:
        shown |= {"bot_id": "B0CANARY", "bot_profile": {"name": "canaryctl (simulated)"}}
    if message.thread_ts is not None:
        shown["thread_ts"] = message.thread_ts
    if message.broadcast:
        shown["subtype"] = "thread_broadcast"
    if message.tombstone:
        shown["subtype"] = "tombstone"
    if metadata and message.metadata is not None:
        shown["metadata"] = message.metadata
    return shown


def channel_shown(room: Room) -> dict[str, Any]:
    """A channel as Slack tells it."""
    return {
        "id": room.id,
        "name": room.name,
        "is_channel": not room.private,
        "is_private": room.private,
        "is_member": room.member,
        "is_archived": room.archived,
    }


def response(
    body: dict[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Every answer says that it is simulated, in a header and in its remarks."""
    remarks = body.get("response_metadata", {})
    said = {**remarks, "messages": [*remarks.get("messages", ()), _REMARK]}
    return web.json_response(
        {**body, "response_metadata": said},
        status=status,
        headers={SIMULATED: "true", **(headers or {})},
    )
