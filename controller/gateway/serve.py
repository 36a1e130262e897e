"""One chat request: placed, sent to its arm, and, where the candidate fails before a byte has left, to the baseline.

The client gets the baseline's answer then, whatever it is. What was learnt is in the spool before the answer's last
byte leaves, so what a client was answered is counted, whatever happens to this process next.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from secrets import token_hex

from aiohttp import ClientConnectionResetError, web
from multidict import CIMultiDict

from controller.clock import Clock
from controller.gateway.assign import Placement, place
from controller.gateway.ledger import Entry, line_of
from controller.gateway.live import LiveUnits
from controller.gateway.message import ChatRequest
from controller.gateway.meter import Stream, usage_in
from controller.gateway.splits import Claim, SplitBook
from controller.gateway.spool import Spool
from controller.gateway.upstream import Answer, Failed, Upstream, passed_on
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.observation import PERSON, Cohort
from controller.rollout.plan import Arm

REQUEST_ID = "x-canary-request-id"
ARM = "x-canary-arm"
ROLLOUT = "x-canary-rollout"
ESCALATED = "x-canary-escalated"
GRADE = "x-canary-grade"

_ID = re.compile(r"[A-Za-z0-9._/-]{8,100}")
_CLIENTS_FAULT = frozenset((400, 401, 403, 404, 405, 413, 415, 422))
"""The request is at fault, not the model, unless the other arm answers it."""

Elapsed = Callable[[], float]


@dataclass(slots=True)
class Counts:
    """What this gateway did since it started, for whoever looks."""

    requests: int = 0
    unclaimed: int = 0
    keyless: int = 0
    escalated: int = 0
    failed: int = 0
    outcomes: int = 0
    in_flight: int = 0


@dataclass(slots=True, kw_only=True)
class Chat:
    """Serves `POST /v1/chat/completions`. `elapsed` measures how long answers take."""

    upstream: Upstream
    book: SplitBook
    live: LiveUnits
    spool: Spool
    clock: Clock
    elapsed: Elapsed
    counts: Counts = field(default_factory=Counts)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        began = self.elapsed()
        body = await request.read()
        asked = _read(body)
        claim = self.book.claim(asked.model) if asked is not None and asked.model else None
        if asked is None or claim is None:
            self.counts.unclaimed += 1
            return await relay(self.upstream, request, body)
        return await _Exchange(self, request, asked, claim, began).answered()


class _Exchange:
    """One request of a rollout, from its placement to the last byte."""

    __slots__ = ("_asked", "_began", "_chat", "_entry", "_request")

    def __init__(
        self, chat: Chat, request: web.BaseRequest, asked: ChatRequest, claim: Claim, began: float
    ) -> None:
        self._chat = chat
        self._request = request
        self._asked = asked
        self._began = began
        request_id, now = _id(request), chat.clock.now()
        placement = place(claim, asked, request.headers, chat.live, request_id=request_id, now=now)
        self._entry = Entry(id=request_id, at=now, claim=claim, placement=placement)
        chat.counts.requests += 1
        chat.counts.keyless += not placement.keyed

    async def answered(self) -> web.StreamResponse:
        arm = self._entry.placement.arm
        answer = await self._ask(arm)
        if arm is Arm.CANDIDATE and (answer is None or _failed(answer)):
            answer = await self._ask_baseline_too(answer)
        if answer is None:
            return self._nothing()
        try:
            if answer.streams and answer.status < 300:
                return await self._streamed(answer)
            return self._whole(answer)
        finally:
            answer.release()

    async def _ask(self, arm: Arm) -> Answer | None:
        """An arm's answer, begun; None if there was none, or one that is nothing but an error."""
        model = self._entry.claim.route.model(arm).model
        headers = passed_on(self._request.headers)
        headers["Accept-Encoding"] = "identity"  # what is packed cannot be metered
        try:
            answer = await self._chat.upstream.ask(
                self._request.raw_path, headers, self._asked.for_model(model)
            )
        except Failed:
            return None
        self._entry.retried |= answer.retried
        try:
            await answer.begin()
        except Failed:
            answer.release()
            return None
        return answer

    async def _ask_baseline_too(self, failed: Answer | None) -> Answer | None:
        """The candidate did not answer the request: what the baseline says is what the client gets."""
        status = failed.status if failed is not None else None
        if failed is not None:
            failed.release()
        answer = await self._ask(Arm.BASELINE)
        good = answer is not None and not _failed(answer)
        if good or status not in _CLIENTS_FAULT:
            self._entry.error = True
        if good:
            self._entry.escalated = True
            self._chat.counts.escalated += 1
        return answer

    def _answering(self) -> Arm:
        """The arm whose answer the client gets."""
        return Arm.BASELINE if self._entry.escalated else self._entry.placement.arm

    def _whole(self, answer: Answer) -> web.StreamResponse:
        if answer.status < 300:
            usage = usage_in(answer.begun) if answer.readable else None
            self._entry.calls.append((usage, self._answering()))
        self._note(failed=answer.status >= 300 and answer.status not in _CLIENTS_FAULT)
        return web.Response(body=answer.begun, status=answer.status, headers=self._headers(answer))

    async def _streamed(self, answer: Answer) -> web.StreamResponse:
        stream = Stream(strip=not self._asked.wants_usage)
        out = web.StreamResponse(status=answer.status, headers=self._headers(answer))
        whole = False
        try:
            await out.prepare(self._request)
            await self._pass_on(answer, stream, out)
            whole = True
        except Failed:
            pass  # what was passed on cannot be taken back: the client sees a stream that ends too early
        except ClientConnectionResetError:
            # The client went away: nobody can say how the answer would have ended.
            self._note_stream(stream, failed=None)
            return out
        if not stream.done:
            self._note_stream(stream, failed=not (whole and stream.complete))
        if not whole:
            self._cut_off()
            return out
        await out.write_eof()
        return out

    async def _pass_on(self, answer: Answer, stream: Stream, out: web.StreamResponse) -> None:
        async for chunk in answer.chunks():
            if self._entry.first_s is None:
                self._entry.first_s = self._chat.elapsed() - self._began
            events = stream.feed(chunk)
            if stream.done and self._entry.latency_s is None:
                # Before the last event leaves.
                self._note_stream(stream, failed=not stream.complete)
            if events:
                await out.write(b"".join(events))
        rest = stream.rest()
        if rest:
            await out.write(rest)

    def _note_stream(self, stream: Stream, *, failed: bool | None) -> None:
        if self._entry.latency_s is not None:
            return
        self._entry.calls.append((stream.usage, self._answering()))
        self._note(failed=failed)

    def _note(self, *, failed: bool | None) -> None:
        """Into the spool with what is known. An error that was seen before stays one."""
        entry = self._entry
        entry.error = True if entry.error else failed
        entry.latency_s = self._chat.elapsed() - self._began
        self._chat.counts.failed += bool(failed)
        self._chat.spool.append(line_of(entry))

    def _nothing(self) -> web.Response:
        """No answer to pass on: the client gets an error that its OpenAI client understands, and tries again."""
        self._note(failed=True)
        response = error_response(
            HTTPStatus.BAD_GATEWAY, "the upstream gave no answer", code="upstream_failed"
        )
        response.headers.extend(self._ours())
        return response

    def _cut_off(self) -> None:
        """End the client's connection without the mark that says a body is whole."""
        if self._request.transport is not None:
            self._request.transport.close()

    def _headers(self, answer: Answer) -> CIMultiDict[str]:
        headers = answer.headers()
        headers.extend(self._ours())
        # What failed or was escalated is wrong without a person.
        is_own = answer.status < 300 and not self._entry.escalated
        if is_own and _is_for_people(self._entry.claim, self._entry.placement):
            headers[GRADE] = PERSON
        return headers

    def _ours(self) -> dict[str, str]:
        ours = {
            REQUEST_ID: self._entry.id,
            ARM: self._entry.placement.arm.value,
            ROLLOUT: self._entry.claim.rollout,
        }
        if self._entry.escalated:
            ours[ESCALATED] = "true"
        return ours


def _is_for_people(claim: Claim, placement: Placement) -> bool:
    """Whether a person is asked to grade the answer."""
    share_u = claim.route.people_u
    compared = placement.cohort is Cohort.COMPARED
    return bool(share_u) and compared and is_drawn(claim.rollout, placement.unit, share_u)


async def relay(
    upstream: Upstream, request: web.BaseRequest, body: bytes | None = None
) -> web.StreamResponse:
    """Pass a request on as it is, and its answer back as it comes."""
    headers = passed_on(request.headers)
    data = body if body is not None else _body(request, headers)
    try:
        answer = await upstream.relay(request.method, request.raw_path, headers, data)
    except Failed as error:
        return error_response(HTTPStatus.BAD_GATEWAY, str(error), code="upstream_failed")
    try:
        back = answer.headers()
        back[REQUEST_ID] = token_hex(16)
        out = web.StreamResponse(status=answer.status, headers=back)
        length = answer.response.headers.get("Content-Length")
        if length is not None:
            out.headers["Content-Length"] = length
        await out.prepare(request)
        try:
            async for chunk in answer.chunks():
                await out.write(chunk)
        except Failed:
            if request.transport is not None:
                request.transport.close()
            return out
        await out.write_eof()
        return out
    finally:
        answer.release()


def error_response(status: HTTPStatus, message: str, *, code: str) -> web.Response:
    """An error in OpenAI's form."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": f"canaryctl gateway: {message}", "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


def _body(request: web.BaseRequest, headers: CIMultiDict[str]) -> object:
    if not request.can_read_body:
        return None
    if request.content_length is not None:
        headers["Content-Length"] = str(request.content_length)
    return request.content


def _id(request: web.BaseRequest) -> str:
    """The request's id: a new one, unless the client gave it a name of its own. Requests of one name count once."""
    given = request.headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else token_hex(16)


def _failed(answer: Answer) -> bool:
    """Whether an answer is none: by its status, or a stream that begins with an error."""
    if answer.status >= 300:
        return True
    if not (answer.streams and answer.readable):
        return False
    stream = Stream(strip=False)
    stream.feed(answer.begun)
    return stream.failed


def _read(body: bytes) -> ChatRequest | None:
    """None for what is no JSON object: the upstream says what is wrong with it."""
    try:
        return ChatRequest(body)
    except (ValueError, RecursionError):
        return None
