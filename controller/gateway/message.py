"""A chat request as bytes: read once, and changed only where an arm asks for it.

The members of the top-level object are found with their places in the text, so that a new model name is put in the
old one's place and every other byte stays what the client sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.sources.feed import is_unicode

_value = json.JSONDecoder().raw_decode  # a value, and where it ends
_space = re.compile(r"[ \t\n\r]*").match

_MODEL: Final = '"model"'
BYTES_PER_TOKEN: Final = 3
"""Fewer than a token has in any common language, so that an estimate from bytes is high rather than low."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the object: its value, and where that stands in the text."""

    key: str
    value: Any
    start: int
    end: int


def members(text: str) -> list[Member]:
    """The members of a JSON object in their order, repeated keys included. ValueError if it is not an object."""
    at = _expect(text, _skip(text, 0), "{")
    found: list[Member] = []
    if text[at : at + 1] == "}":
        return _ended(text, at + 1, found)
    while True:
        if text[at : at + 1] != '"':
            raise ValueError(f"expected a name at character {at}")
        key, after = _value(text, at)
        start = _expect(text, _skip(text, after), ":")
        value, end = _value(text, start)
        found.append(Member(key, value, start, end))
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            return _ended(text, at + 1, found)
        at = _expect(text, at, ",")


def _skip(text: str, at: int) -> int:
    found = _space(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, sign: str) -> int:
    if text[at : at + 1] != sign:
        raise ValueError(f"expected {sign} at character {at}")
    return _skip(text, at + 1)


def _ended(text: str, at: int, found: list[Member]) -> list[Member]:
    if _skip(text, at) != len(text):
        raise ValueError(f"more text after the object, from character {at}")
    return found


class ChatRequest:
    """The body of `POST /v1/chat/completions`, as far as a gateway looks into it. ValueError: no JSON object."""

    __slots__ = ("_body", "_text", "fields")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._text = body.decode()
        fields = json.loads(self._text)
        if not isinstance(fields, dict):
            raise ValueError("expected an object")  # noqa: TRY004 - of JSON, not of Python
        self.fields: Mapping[str, Any] = fields

    @property
    def model(self) -> str | None:
        return _text_or_none(self.fields.get("model"))

    @property
    def stream(self) -> bool:
        return self.fields.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether the client itself asks for the usage of a stream."""
        options = self.fields.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def under_way(self) -> bool:
        """Whether the conversation has had an answer before: it goes on, wherever it began."""
        messages = self.fields.get("messages")
        return isinstance(messages, list) and any(
            isinstance(one, dict) and one.get("role") == "assistant" for one in messages
        )

    @property
    def input_tokens(self) -> int:
        """About how many tokens the request has, rather too many than too few: exact numbers come with the usage."""
        return -(-len(self._body) // BYTES_PER_TOKEN)

    @property
    def output_tokens(self) -> int | None:
        """The longest answer that the request asks for; None if it does not say."""
        for name in ("max_completion_tokens", "max_tokens"):
            asked = self.fields.get(name)
            if isinstance(asked, int) and not isinstance(asked, bool):
                return asked
        return None

    def metadata(self, *names: str) -> str | None:
        """The first of these that the request's metadata has as a text."""
        metadata = self.fields.get("metadata")
        if not isinstance(metadata, dict):
            return None
        return _first(metadata, names)

    def text(self, *names: str) -> str | None:
        """The first of these fields that is a text."""
        return _first(self.fields, names)

    def for_model(self, model: str) -> bytes:
        """The body for an arm: its model, and, of a stream, the usage asked for."""
        changes: dict[str, str] = {}
        if self.model != model:
            changes["model"] = json.dumps(model)
        if self.stream and not self.wants_usage:
            options = self.fields.get("stream_options")
            kept = options if isinstance(options, dict) else {}
            changes["stream_options"] = json.dumps({**kept, "include_usage": True})
        return self._with(changes).encode() if changes else self._body

    def _with(self, changes: Mapping[str, str]) -> str:
        place = self._only_model() if changes.keys() == {"model"} else None
        if place is not None:
            start, end = place
            return self._text[:start] + changes["model"] + self._text[end:]
        pieces, at = [], 0
        for one in members(self._text):
            if one.key in changes:
                pieces += [self._text[at : one.start], changes[one.key]]
                at = one.end
        pieces.append(self._text[at:])
        added = [key for key in changes if key not in self.fields]
        return _inserted("".join(pieces), {key: changes[key] for key in added})

    def _only_model(self) -> tuple[int, int] | None:
        """Where the model's name stands, without reading all members; None if that takes reading them.

        Where the object has the member and nothing is escaped by number, it is spelled so. If these characters stand in
        the text once, that is it: whatever else is spelled so would be a second one.
        """
        if "model" not in self.fields or "\\u" in self._text or self._text.count(_MODEL) != 1:
            return None
        start = _expect(self._text, _skip(self._text, self._text.index(_MODEL) + len(_MODEL)), ":")
        _, end = _value(self._text, start)
        return start, end


def _inserted(text: str, extra: Mapping[str, str]) -> str:
    """With more members, before the others; the object has some, since it names a model."""
    if not extra:
        return text
    at = text.index("{") + 1
    written = "".join(f"{json.dumps(key)}: {value}, " for key, value in extra.items())
    return text[:at] + written + text[at:]


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> str | None:
    for name in names:
        found = _text_or_none(fields.get(name))
        if found is not None:
            return found
    return None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value and is_unicode(value) else None
