"""Simulated models behind a real socket: an OpenAI-compatible server that knows arithmetic, more or less.

For demonstrations and tests. It refuses what the real API refuses (no key, unknown model, a missing or wrong field,
`stream_options` without `stream`), in the same form, and says of every answer that it is simulated: in a header, in
`system_fingerprint` and in the text.

A question is a message that ends in `17 + 25 = ?`. How often a model is right, and how often it sheds load with 503,
depends on the model and the question's intent; which questions these are depends on the question and the seed alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from aiohttp import web

SIMULATED: Final = "x-simulated"
QUESTION: Final = re.compile(r"\[(?P<intent>[\w-]+)\] (?P<a>\d+) \+ (?P<b>\d+) = \?$")
CHARS_PER_TOKEN: Final = 4
_ROLES: Final = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_SCALE: Final = 1 << 64
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """How often a model is right, by intent (`accuracy` where none is named), and how often it sheds load."""

    accuracy: float = 1.0
    by_intent: Mapping[str, float] = field(default_factory=dict)
    shedding: float = 0.0
    words: int = 8  # beside the number: what an answer is long


class _Refused(Exception):
    def __init__(self, status: int, message: str, *, param: str | None, code: str | None) -> None:
        super().__init__(message)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(slots=True)
class Calls:
    """What was asked of each model since the server started."""

    answered: dict[str, int] = field(default_factory=dict)
    shed: dict[str, int] = field(default_factory=dict)


class SimulatedModels:
    """The application to serve. `skills` may be replaced while it runs; `delay_s` is how long an answer takes;
    `shutdowns` are told by `/v1/models`."""

    def __init__(
        self,
        skills: Mapping[str, Skill],
        *,
        seed: int,
        delay_s: Callable[[str], float] = lambda _: 0.0,
        shutdowns: Mapping[str, date] | None = None,
    ) -> None:
        self._shutdowns = dict(shutdowns or {})
        self.skills = dict(skills)
        self.calls = Calls()
        self._seed = seed
        self._delay_s = delay_s

    def app(self) -> web.Application:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._explained(self._chat))
        app.router.add_get("/v1/models", self._explained(self._models))
        return app

    def _explained(self, handler: _Handler) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                _authorised(request)
                return await handler(request)
            except _Refused as error:
                return web.json_response(
                    error.body, status=error.status, headers={SIMULATED: "true"}
                )

        return handle

    async def _models(self, _: web.Request) -> web.StreamResponse:
        listed = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "simulated",
                **self._retirement(name),
            }
            for name in self.skills
        ]
        return web.json_response({"object": "list", "data": listed}, headers={SIMULATED: "true"})

    def _retirement(self, model: str) -> dict[str, str]:
        found = self._shutdowns.get(model)
        return {} if found is None else {"shutdown_date": found.isoformat()}

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = _body(await request.read())
        model = _model(asked, self.skills)
        messages = _messages(asked)
        usage = _stream_options(asked)
        question = _last_text(messages)
        skill = self.skills[model]
        delay_s = self._delay_s(model)
        if delay_s:
            await asyncio.sleep(delay_s)
        if self._chance("shed", model, question) < skill.shedding:
            self.calls.shed[model] = self.calls.shed.get(model, 0) + 1
            raise _Refused(
                503,
                "The simulated model is overloaded.",
                param=None,
                code="server_overloaded",
            )
        self.calls.answered[model] = self.calls.answered.get(model, 0) + 1
        text = self._answer(model, skill, question)
        counted = _usage(messages, text)
        if asked.get("stream"):
            return await _streamed(request, model, text, counted if usage else None)
        return web.json_response(
            _completion(model, text, counted),
            headers={SIMULATED: "true", "x-request-id": _name("req", question)},
        )

    def _answer(self, model: str, skill: Skill, question: str) -> str:
        found = QUESTION.search(question)
        if found is None:
            return f"[simulated] {model} knows additions only, such as: [sums] 17 + 25 = ?"
        accuracy = skill.by_intent.get(found["intent"], skill.accuracy)
        right = self._chance("right", model, question) < accuracy
        result = int(found["a"]) + int(found["b"]) + (0 if right else 1)
        padding = " ".join(["so"] * skill.words)
        return f"[simulated] {padding} = {result}"

    def _chance(self, *about: str) -> float:
        """A number in [0, 1) that depends on what it is about, and on the seed."""
        text = "\0".join((str(self._seed), *about)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / _SCALE


def _authorised(request: web.Request) -> None:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind != "Bearer" or not key:
        raise _Refused(
            401,
            "You didn't provide an API key. The simulated models take any.",
            param=None,
            code="invalid_api_key",
        )


def _body(raw: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(raw)
    except ValueError as error:
        raise _Refused(
            400, f"We could not parse the JSON body: {error}", param=None, code=None
        ) from error
    if not isinstance(asked, dict):
        raise _Refused(400, "The body must be a JSON object.", param=None, code=None)
    return asked


def _model(asked: Mapping[str, Any], known: Mapping[str, Skill]) -> str:
    model = asked.get("model")
    if not isinstance(model, str):
        raise _Refused(400, "you must provide a model parameter", param="model", code=None)
    if model not in known:
        raise _Refused(
            404, f"The model `{model}` does not exist", param=None, code="model_not_found"
        )
    return model


def _messages(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _Refused(
            400,
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    for number, one in enumerate(messages):
        if not isinstance(one, dict) or one.get("role") not in _ROLES:
            raise _Refused(
                400,
                "Invalid value for a role.",
                param=f"messages[{number}].role",
                code="invalid_value",
            )
    return messages


def _stream_options(asked: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with its usage."""
    options = asked.get("stream_options")
    if options is None:
        return False
    if not asked.get("stream"):
        raise _Refused(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
            code=None,
        )
    if not isinstance(options, dict) or options.keys() - {"include_usage", "include_obfuscation"}:
        raise _Refused(400, "Invalid stream_options.", param="stream_options", code=None)
    return options.get("include_usage") is True


def _last_text(messages: list[dict[str, Any]]) -> str:
    content = messages[-1].get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _usage(messages: list[dict[str, Any]], text: str) -> dict[str, Any]:
    given = sum(len(str(one.get("content") or "")) // CHARS_PER_TOKEN + 4 for one in messages)
    made = len(text) // CHARS_PER_TOKEN + 1
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _completion(model: str, text: str, usage: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": _name("chatcmpl", text),
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
        "system_fingerprint": "fp_simulated",
    }


async def _streamed(
    request: web.Request, model: str, text: str, usage: Mapping[str, Any] | None
) -> web.StreamResponse:
    out = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", SIMULATED: "true"}
    )
    await out.prepare(request)
    common = {
        "id": _name("chatcmpl", text),
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "system_fingerprint": "fp_simulated",
    }
    tail = {"usage": None} if usage is not None else {}
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word}, None) for word in re.findall(r"\S+\s*", text)]
    deltas.append(({}, "stop"))
    for delta, reason in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        await out.write(_event({**common, "choices": [choice], **tail}))
    if usage is not None:
        await out.write(_event({**common, "choices": [], "usage": usage}))
    await out.write(b"data: [DONE]\n\n")
    await out.write_eof()
    return out


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _name(kind: str, about: str) -> str:
    return f"{kind}-sim-{hashlib.sha256(about.encode()).hexdigest()[:16]}"
