"""A simulated Slack behind a real socket: the Web API as far as canaryctl uses it, strictly.

For demonstrations and tests. It refuses what Slack refuses (an unknown method, no token or a wrong one, a missing
scope, a channel that is not there or that the app is not in, blocks past their limits, an unknown thread, too many
calls), in the same form, and says of every answer that it is simulated: in a header and in its remarks. It can be told
to fail.

Channels, threads and what was edited are kept, to be read back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiohttp import web

from controller.clock import Clock
from controller.simulate.services.slack_blocks import Unfit
from controller.simulate.services.slack_rooms import BOT, Posted, Room
from controller.simulate.services.slack_wire import (
    SIMULATED,
    Refused,
    arguments_of,
    between,
    channel_shown,
    cut,
    message_of,
    message_shown,
    needed,
    page,
    response,
    truth,
)

TOKEN: Final = "xoxb-simulated"  # noqa: S105 - it opens nothing
SCOPES: Final = frozenset(
    ("chat:write", "channels:history", "groups:history", "channels:read", "groups:read")
)
BURST: Final = 5  # messages to one channel before one a second holds
_MINUTE_S: Final = 60.0


class Trouble(StrEnum):
    """How it fails when it is told to."""

    CUT = "cut"  # hangs up without having done anything
    LOST = "lost"  # does what was asked, and hangs up without an answer
    HELD = "held"  # does what was asked, and answers when `release` is called
    ERROR = "error"  # an error of HTTP, as a page
    LIMITED = "limited"  # 429 with Retry-After
    REFUSED = "refused"  # `ok: false` with the error that is named


@dataclass(slots=True, kw_only=True)
class Fault:
    """Trouble for calls of some methods (all, if none is named), so many times (for good, if None)."""

    trouble: Trouble
    methods: tuple[str, ...] = ()
    times: int | None = None
    status: int = 500
    retry_after_s: int = 30
    error: str = "internal_error"

    def meets(self, method: str) -> bool:
        return self.times != 0 and (not self.methods or method in self.methods)


class _Limited(Exception):
    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self.wait_s = max(1, -(-int(wait_s * 1000) // 1000))


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of it: the method, its arguments, and what it answered."""

    method: str
    arguments: Mapping[str, Any]
    answer: str


class SimulatedSlack:
    """The application to serve, and what came of it. `limited=False` lifts the limits of rate."""

    def __init__(
        self,
        clock: Clock,
        channels: Iterable[str | Room],
        *,
        token: str = TOKEN,
        scopes: Iterable[str] = SCOPES,
        limited: bool = True,
    ) -> None:
        self.token = token
        self.scopes = set(scopes)
        self.rooms: dict[str, Room] = {}
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.limited = limited
        self._clock = clock
        self._count = 0
        self._used: dict[tuple[str, str], deque[float]] = {}
        self._held: list[asyncio.Event] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        for one in channels:
            self.open(one if isinstance(one, Room) else Room(name=one))

    # What a person does

    def open(self, room: Room) -> Room:
        """Make a channel; the app is in it unless the room says otherwise."""
        room.name = room.name.removeprefix("#")
        room.id = room.id or f"C{len(self.rooms) + 1:08d}"
        self.rooms[room.id] = room
        # No later message takes the `ts` of one that was kept from before.
        numbers = (int(one.ts.partition(".")[2]) for one in room.messages)
        self._count = max(self._count, *numbers, 0)
        self._count += len(room.messages)
        return room

    def room(self, name: str) -> Room:
        """A channel by `#name`, `name` or id; KeyError."""
        found = self._room(name)
        if found is None:
            raise KeyError(name)
        return found

    def say(self, channel: str, text: str, *, thread_ts: str | None = None) -> Posted:
        """A person's message."""
        return self._add(
            self.room(channel),
            Posted(ts="", text=text, blocks=[], user="U0PERSON", thread_ts=thread_ts),
        )

    def delete(self, channel: str, ts: str) -> None:
        """A person deletes a message. One with replies leaves a tombstone, to which can still be replied."""
        room = self.room(channel)
        message = room.find(ts)
        if message is None:
            raise KeyError(ts)
        if room.replies(ts):
            message.tombstone, message.text, message.blocks = True, "This message was deleted.", []
            message.metadata = None
        else:
            room.messages.remove(message)

    def fail(self, fault: Fault) -> None:
        self.faults.append(fault)

    def mend(self) -> None:
        self.faults.clear()

    def release(self) -> None:
        """Answer what was held. From any thread."""
        if self._loop is not None:
            for one in self._held:
                self._loop.call_soon_threadsafe(one.set)

    # What an app is told

    def app(self) -> web.Application:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/api/{method}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._loop = asyncio.get_running_loop()
        method = request.match_info["method"]
        fault = next((one for one in self.faults if one.meets(method)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        match fault.trouble if fault is not None else None:
            case Trouble.CUT:
                return self._hang_up(request, method)
            case Trouble.ERROR if fault is not None:
                self.calls.append(Call(method, {}, f"http {fault.status}"))
                html = f"<html><body>{fault.status} (simulated)</body></html>"
                return web.Response(
                    status=fault.status,
                    text=html,
                    content_type="text/html",
                    headers={SIMULATED: "true"},
                )
            case Trouble.LIMITED if fault is not None:
                return self._too_many(method, fault.retry_after_s)
            case Trouble.REFUSED if fault is not None:
                self.calls.append(Call(method, {}, fault.error))
                return response({"ok": False, "error": fault.error})
        answer = await self._answer(request, method)
        if fault is not None and fault.trouble is Trouble.LOST:
            return self._hang_up(request, method)
        if fault is not None and fault.trouble is Trouble.HELD:
            event = asyncio.Event()
            self._held.append(event)
            await event.wait()
        return answer

    def _hang_up(self, request: web.Request, method: str) -> web.StreamResponse:
        self.calls.append(Call(method, {}, "no answer"))
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _too_many(self, method: str, wait_s: int) -> web.StreamResponse:
        self.calls.append(Call(method, {}, "ratelimited"))
        return response(
            {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": str(wait_s)}
        )

    async def _answer(self, request: web.Request, method: str) -> web.StreamResponse:
        arguments: dict[str, Any] = {}
        try:
            known = self._methods().get(method)
            if known is None:
                raise Refused("unknown_method", req_method=method)
            arguments = await arguments_of(request)
            self._authorise(request, arguments, known.scopes)
            self._limit(method, "", known.a_minute)
            body = {"ok": True, **known.act(arguments)}
        except _Limited as error:
            return self._too_many(method, error.wait_s)
        except Refused as error:
            body = error.body
        except Unfit as error:
            body = {"ok": False, "error": error.error}
            if error.remarks:
                body["response_metadata"] = {"messages": list(error.remarks)}
        self.calls.append(Call(method, arguments, str(body.get("error", "ok"))))
        if not body["ok"]:
            return response(body)
        return response(body, headers={"x-oauth-scopes": ",".join(sorted(self.scopes))})

    def _methods(self) -> dict[str, _Method]:
        # The numbers are of Slack's tiers: https://docs.slack.dev/apis/web-api/rate-limits
        history = ("channels:history", "groups:history")
        read = ("channels:read", "groups:read")
        return {
            "auth.test": _Method(self._auth_test, (), 300),
            "chat.postMessage": _Method(self._post, ("chat:write",), None),
            "chat.update": _Method(self._update, ("chat:write",), 50),
            "conversations.history": _Method(self._history, history, 50),
            "conversations.replies": _Method(self._replies, history, 50),
            "conversations.info": _Method(self._info, read, 50),
            "conversations.list": _Method(self._list, read, 20),
        }

    def _authorise(
        self, request: web.Request, arguments: dict[str, Any], scopes: tuple[str, ...]
    ) -> None:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        in_form = arguments.pop("token", "") if request.content_type != "application/json" else ""
        token = (bearer if scheme.lower() == "bearer" else "") or in_form
        if not token:
            raise Refused("not_authed")
        if token != self.token:
            raise Refused("invalid_auth")
        if scopes and not self.scopes.intersection(scopes):
            wanted, provided = ",".join(scopes), ",".join(sorted(self.scopes))
            raise Refused("missing_scope", needed=wanted, provided=provided)

    def _limit(
        self, method: str, channel: str, most: int | None, *, span_s: float = _MINUTE_S
    ) -> None:
        if most is None or not self.limited:
            return
        now = self._clock.monotonic()
        used = self._used.setdefault((method, channel), deque())
        while used and used[0] <= now - span_s:
            used.popleft()
        if len(used) >= most:
            raise _Limited(used[0] + span_s - now)
        used.append(now)

    # Methods

    def _auth_test(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "url": "https://simulated.slack.example/",
            "team": "Simulated",
            "user": "canaryctl",
            "team_id": "T0SIMULATED",
            "user_id": BOT,
            "bot_id": "B0CANARY",
            "is_enterprise_install": False,
        }

    def _post(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        room = self._writable(arguments, by_name=True)
        self._limit("chat.postMessage", room.id, BURST, span_s=float(BURST))
        message = message_of(arguments)
        thread_ts = arguments.get("thread_ts")
        if thread_ts is not None:
            parent = room.find(str(thread_ts))
            if parent is None:
                raise Refused("thread_not_found")
            message.thread_ts = parent.thread_ts or parent.ts
            message.broadcast = truth(arguments.get("reply_broadcast"))
        self._add(room, message)
        return {
            "channel": room.id,
            "ts": message.ts,
            "message": message_shown(message, metadata=True),
        }

    def _update(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        room = self._writable(arguments, by_name=False)
        message = room.find(str(needed(arguments, "ts")))
        if message is None or message.tombstone:
            raise Refused("message_not_found")
        if message.user != BOT:
            raise Refused("cant_update_message")
        new = message_of(arguments)
        message.text, message.blocks = new.text, new.blocks
        message.metadata = new.metadata if "metadata" in arguments else message.metadata
        message.versions.append(new.text)
        shown = message_shown(message, metadata=True)
        return {"channel": room.id, "ts": message.ts, "text": new.text, "message": shown}

    def _history(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        room = self._readable(arguments)
        found = [one for one in reversed(room.messages) if one.thread_ts is None or one.broadcast]
        return page(between(found, arguments), arguments)

    def _replies(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        room = self._readable(arguments)
        ts = str(needed(arguments, "ts"))
        parent = room.find(ts)
        if parent is None:
            raise Refused("thread_not_found")
        replies = between(room.replies(ts), arguments)
        # The message that began a thread comes with it whatever stretch is asked for.
        return page([parent, *replies], arguments)

    def _info(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"channel": channel_shown(self._readable(arguments, member=False))}

    def _list(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        kinds = str(arguments.get("types", "public_channel")).split(",")
        visible = [
            one
            for one in self.rooms.values()
            if ("private_channel" if one.private else "public_channel") in kinds
            and (one.member or not one.private)
            and not (one.archived and truth(arguments.get("exclude_archived")))
        ]
        part, more = cut(visible, arguments)
        return {"channels": [channel_shown(one) for one in part], **more}

    # Channels

    def _room(self, name: str) -> Room | None:
        if name in self.rooms:
            return self.rooms[name]
        return next(
            (one for one in self.rooms.values() if one.name == name.removeprefix("#")), None
        )

    def _writable(self, arguments: Mapping[str, Any], *, by_name: bool) -> Room:
        name = str(needed(arguments, "channel"))
        room = self._room(name) if by_name else self.rooms.get(name)
        if room is None or (room.private and not room.member):
            raise Refused("channel_not_found")
        if room.archived:
            raise Refused("is_archived")
        if not room.member:
            raise Refused("not_in_channel")
        return room

    def _readable(self, arguments: Mapping[str, Any], *, member: bool = True) -> Room:
        """By id alone: reading takes no name."""
        room = self.rooms.get(str(needed(arguments, "channel")))
        if room is None or (room.private and not room.member):
            raise Refused("channel_not_found")
        if member and not room.member:
            raise Refused("not_in_channel")
        return room

    def _add(self, room: Room, message: Posted) -> Posted:
        self._count += 1
        message.ts = f"{int(self._clock.now().timestamp())}.{self._count:06d}"
        message.versions.append(message.text)
        room.messages.append(message)
        return message


@dataclass(frozen=True, slots=True)
class _Method:
    act: Callable[[Mapping[str, Any]], dict[str, Any]]
    scopes: tuple[str, ...]  # one of them is needed
    a_minute: int | None  # None: limited by channel
