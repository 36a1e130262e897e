"""What an answer cost: usage out of a body or a stream, as the quantities of an observation.

What an upstream does not report, or reports so that it cannot be, stays unknown; it is never taken for 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from controller.gateway.message import members
from controller.rollout.plan import Price

MOST_TOKENS: Final = 2**31
"""Of one call; no model reads or writes as many."""

_END_OF_EVENT: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
# Quotes inside a JSON string are escaped, so this cannot match in a text that a model wrote.
_FINISHED: Final = re.compile(rb'"finish_reason":\s*"')


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached_tokens` is a part of `input_tokens`; None if the upstream does not say."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None

    def cost_nusd(self, price: Price) -> int:
        """In nano-USD; what may have been cached but is not known to be costs the full price."""
        return price.cost_nusd(
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens or 0,
            output_tokens=self.output_tokens,
        )


def usage_of(answer: Any) -> Usage | None:
    """The usage that a chat completion (or a chunk of one) carries; None if none, or none that can be."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    given, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if not _is_count(given) or not _is_count(made):
        return None
    if cached is None:
        return Usage(given, made)
    return Usage(given, made, cached) if _is_count(cached) and cached <= given else None


def usage_in(body: bytes) -> Usage | None:
    """The usage in the body of an answer; None if the body is no JSON or has none."""
    try:
        return usage_of(json.loads(body))
    except (ValueError, RecursionError):
        return None


def quantities_of(calls: Iterable[tuple[Usage | None, Price | None]]) -> dict[str, int]:
    """Tokens and cost of all the calls that one request took; each known only if it is known of every call."""
    listed = list(calls)
    used = [usage for usage, _ in listed if usage is not None]
    if not used or len(used) < len(listed):
        return {}
    known = {
        "input_tokens": sum(one.input_tokens for one in used),
        "output_tokens": sum(one.output_tokens for one in used),
    }
    cached = [one.cached_tokens for one in used if one.cached_tokens is not None]
    if len(cached) == len(used):
        known["cached_tokens"] = sum(cached)
    costs = [usage.cost_nusd(price) for usage, price in listed if usage and price]
    if len(costs) == len(listed):
        known["cost_nusd"] = sum(costs)
    return known


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


class Stream:
    """The events of one SSE answer as they come: what to pass on, and what was learnt.

    With `strip`, the usage was asked for by the gateway and not by the client: the event that carries it is kept
    back, and so is the `"usage": null` of the others. Nothing else is changed.
    """

    __slots__ = ("_buffer", "_strip", "done", "failed", "finished", "usage")

    def __init__(self, *, strip: bool) -> None:
        self._buffer = b""
        self._strip = strip
        self.usage: Usage | None = None
        self.finished = False  # a choice gave its reason to finish
        self.done = False  # the upstream said that this was all
        self.failed = False  # the upstream reported an error in the stream

    @property
    def complete(self) -> bool:
        return (self.done or self.finished) and not self.failed

    def feed(self, chunk: bytes) -> list[bytes]:
        """The whole events that are there now, to be passed on as they are."""
        parts = []
        self._buffer += chunk
        while found := _END_OF_EVENT.search(self._buffer):
            event, self._buffer = self._buffer[: found.end()], self._buffer[found.end() :]
            passed = self._read(event)
            if passed:
                parts.append(passed)
        return parts

    def rest(self) -> bytes:
        """What came after the last whole event."""
        rest, self._buffer = self._buffer, b""
        return rest

    def _read(self, event: bytes) -> bytes:
        data = _data(event)
        if data == b"[DONE]":
            self.done = True
        if _FINISHED.search(event):
            self.finished = True
        if b'"error"' in event and _object(data).get("error") is not None:
            self.failed = True
        if b'"usage"' not in event:
            return event
        chunk = _object(data)
        self.usage = usage_of(chunk) or self.usage
        if not self._strip:
            return event
        if chunk.get("choices") == [] and chunk.get("usage") is not None:
            return b""
        return _without_null_usage(event, data)


def _data(event: bytes) -> bytes:
    """The data of an event: its `data:` lines, joined."""
    lines = [
        line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")
    ]
    return b"\n".join(lines)


def _without_null_usage(event: bytes, data: bytes) -> bytes:
    """The event without the `"usage": null` of its object itself; what lies deeper may be a model's own words."""
    try:
        text = data.decode()
        found = members(text)
    except (ValueError, RecursionError):
        return event
    at = next((n for n, one in enumerate(found) if one.key == "usage"), 0)
    if at == 0 or found[at].value is not None:
        return event
    kept = text[: found[at - 1].end] + text[found[at].end :]
    return event.replace(data, kept.encode())


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
