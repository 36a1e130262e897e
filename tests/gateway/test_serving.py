"""What goes over the wire, byte by byte: both sides of the gateway, and what it notes in between."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from aiohttp import web

from controller.clock import ManualClock
from controller.gateway.app import LARGEST
from controller.ports import LEASE
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.plan import ModelRef, OnLoss, Price, Unit
from controller.rollout.route import Route
from tests.gateway.servers import (
    DEADLINE_S,
    Front,
    Handler,
    HandLink,
    Reply,
    Scripted,
    answers,
    chat,
    connection,
    drops,
    eventually,
    fronting,
    never_ending,
    post,
    refuses,
    serving,
    streams,
)
from tests.traffic.factories import NOW, ROLLOUT, ROUTE, split

BASELINE, CANDIDATE = "gpt-4.1", "gpt-4.1-mini"
EVENTS = "text/event-stream; charset=utf-8"

# Spaces, escapes, letters and numbers as no encoder of ours would write them.
ODD_REQUEST = (
    '{ "temperature":1e0,"messages" : [{"role":"user","content":"Gr\\u00fc\\u00dfe, Größe \\/ 🦜"}],\n'
    '\t"model": "gpt-4.1" , "seed":12345678901234567890, "metadata": {"model":"gpt-4.1"}}\n'
).encode()
ODD_ANSWER = b'{"model":"gpt-4.1-2025-04-14",\n  "x":1.0e-7, "choices":[ ] ,"usage":null}\n'
ODD_EVENTS = (
    b": a comment\r\n\r\n"
    b'data: {"choices":[{"delta":{"content":"a"}}], "usage":null}\r\n\r\n'
    b'event: message\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage": null}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    b"data: [DONE]\n\n"
)

USED = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 40},
}
PRICED = replace(
    ROUTE,
    baseline=ModelRef(
        model=BASELINE,
        price=Price(input=Fraction(2_000), cached_input=Fraction(500), output=Fraction(8_000)),
    ),
    candidate=ModelRef(
        model=CANDIDATE,
        price=Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1_600)),
    ),
)


def event(**chunk: object) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def word(text: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


ENDED = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
DONE = b"data: [DONE]\n\n"
BROKEN = event(error={"message": "overloaded", "type": "server_error", "param": None, "code": None})


def whole(text: str = "42", usage: object = None) -> Handler:
    """A completion."""
    return answers({"choices": [{"message": {"content": text}}], "usage": usage})


@contextmanager
def between(
    folder: Path,
    *,
    baseline: Handler | None = None,
    candidate: Handler | None = None,
    otherwise: Handler | None = None,
    share_bp: int = 10_000,
    route: Route = ROUTE,
    on_expiry: OnLoss = OnLoss.BASELINE,
    link: HandLink | None = None,
) -> Iterator[tuple[Front, Scripted]]:
    """A gateway with a split, before an upstream that does as it is told."""
    by_model = {BASELINE: baseline or whole(), CANDIDATE: candidate or whole()}
    script = Scripted(by_model=by_model, otherwise=otherwise)
    held = split(share_bp, route=route, on_expiry=on_expiry)
    with serving(script.app) as upstream, fronting(upstream, folder, held, link=link) as front:
        yield front, script


def in_turn(*handlers: Handler) -> Handler:
    """Each handler once."""
    left = iter(handlers)

    async def handle(request: web.Request, body: bytes) -> web.StreamResponse:
        return await next(left)(request, body)

    return handle


def flags(front: Front) -> list[tuple[object, object]]:
    return [(one["flags"]["error"], one["flags"]["escalated"]) for one in front.noted()]


# Bytes


def test_at_share_0_nothing_is_changed_in_either_direction(tmp_path):
    with between(tmp_path, share_bp=0, baseline=answers(ODD_ANSWER)) as (front, script):
        reply = front.post(ODD_REQUEST, x_canary_intent="refund")

    assert [one.body for one in script.received] == [ODD_REQUEST]
    assert (reply.status, reply.body) == (200, ODD_ANSWER)


def test_for_the_candidate_only_the_model_differs(tmp_path):
    with between(tmp_path, candidate=answers(ODD_ANSWER)) as (front, script):
        reply = front.post(ODD_REQUEST, x_canary_intent="refund")

    changed = ODD_REQUEST.replace(b'"model": "gpt-4.1"', b'"model": "gpt-4.1-mini"')
    assert [one.body for one in script.received] == [changed]
    assert reply.body == ODD_ANSWER


@pytest.mark.parametrize("share_bp", [0, 10_000])
def test_a_stream_whose_usage_the_client_asks_for_is_passed_on_as_it_is(share_bp, tmp_path):
    # Torn at every place where an event could be torn.
    torn = streams(*(ODD_EVENTS[at : at + 7] for at in range(0, len(ODD_EVENTS), 7)))
    asked = chat(stream=True, stream_options={"include_usage": True})

    with between(tmp_path, share_bp=share_bp, baseline=torn, candidate=torn) as (front, script):
        reply = front.post(asked, x_canary_intent="refund")

    model = CANDIDATE if share_bp else BASELINE
    assert [one.body for one in script.received] == [
        asked.replace(b'"gpt-4.1"', f'"{model}"'.encode())
    ]
    assert reply.body == ODD_EVENTS
    assert reply.headers["content-type"] == EVENTS


def test_a_stream_whose_usage_the_client_does_not_ask_for_lacks_it_and_nothing_else(tmp_path):
    with between(tmp_path, candidate=streams(ODD_EVENTS)) as (front, script):
        reply = front.ask(stream=True)
        counted = front.noted()[0]["quantities"]

    assert script.received[0].json["stream_options"] == {"include_usage": True}
    assert reply.body == (
        b": a comment\r\n\r\n"
        b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n'
        b'event: message\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    assert (counted["input_tokens"], counted["output_tokens"]) == (3, 1)


def test_what_is_no_json_object_is_the_upstreams_to_refuse(tmp_path):
    odd = b'{"model": "gpt-4.1", "messages": [}'

    with between(tmp_path, otherwise=refuses(400, "not JSON")) as (front, script):
        reply = front.post(odd, x_canary_intent="refund")

    assert [one.body for one in script.received] == [odd]
    assert (reply.status, reply.json["error"]["message"]) == (400, "not JSON")


def test_any_other_path_keeps_its_method_query_and_bytes(tmp_path):
    body = bytes(range(256)) * 10_000

    with between(tmp_path, otherwise=answers(b"\x00\xff", kind="audio/mpeg")) as (front, script):
        reply = front.post(body, "/audio/speech", content_type="application/octet-stream")

    assert [(one.method, one.path) for one in script.received] == [("POST", "/v1/audio/speech")]
    assert script.received[0].body == body
    assert (reply.status, reply.body) == (200, b"\x00\xff")
    assert reply.headers["content-type"] == "audio/mpeg"


@pytest.mark.parametrize("path", ["/chat/completions", "/files"])
def test_a_packed_body_is_passed_on_as_it_is_and_is_of_no_rollout(path, tmp_path):
    packed = gzip.compress(chat())

    with between(tmp_path, otherwise=answers(ODD_ANSWER)) as (front, script):
        reply = front.post(packed, path, content_encoding="gzip", x_canary_intent="refund")
        assert front.noted() == []

    assert [one.body for one in script.received] == [packed]
    assert script.received[0].headers["Content-Encoding"] == "gzip"
    assert reply.body == ODD_ANSWER


def test_a_packed_answer_is_passed_on_as_it_is_and_its_usage_is_unknown(tmp_path):
    packed = gzip.compress(ODD_ANSWER)

    with between(tmp_path, candidate=answers(packed, headers={"Content-Encoding": "gzip"})) as (
        front,
        _,
    ):
        reply = front.ask()
        counted = front.noted()[0]["quantities"]

    assert (reply.headers["content-encoding"], reply.body) == ("gzip", packed)
    assert counted.keys() == {"latency_us"}


def test_what_is_not_below_v1_is_not_passed_on(tmp_path):
    with between(tmp_path) as (front, script):
        reply = post(front.url.removesuffix("/v1") + "/metrics", b"{}")

    assert (reply.status, reply.json["error"]["code"]) == (404, "unknown_path")
    assert script.received == []


# Headers


def test_a_client_that_waits_to_be_told_to_go_on_is_told(tmp_path):
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\n"
        b"X-Canary-Intent: refund\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    )

    with between(tmp_path) as (front, _):
        address = ("127.0.0.1", front.gateway.port)
        with socket.create_connection(address, timeout=DEADLINE_S) as there:
            there.sendall(head % len(chat()))
            told = there.recv(1024)
            there.sendall(chat())
            answered = there.recv(1024)

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_upstream_gets_the_clients_headers_and_none_of_ours(tmp_path):
    with between(tmp_path) as (front, script):
        front.post(
            chat(),
            x_canary_intent="refund",
            openai_organization="org-1",
            accept_encoding="gzip, br",
        )

    headers = script.received[0].headers
    assert (headers["Authorization"], headers["OpenAI-Organization"]) == ("Bearer sk-test", "org-1")
    assert headers["Accept-Encoding"] == "identity"
    assert [name for name in headers if name.lower().startswith("x-canary")] == []


def test_the_client_gets_the_upstreams_headers(tmp_path):
    limited = refuses(429)
    told = {"retry-after-ms": "250", "x-request-id": "req-1", "x-ratelimit-remaining-tokens": "0"}

    async def with_headers(request: web.Request, body: bytes) -> web.StreamResponse:
        response = await limited(request, body)
        response.headers.update(told)
        return response

    with between(tmp_path, share_bp=0, baseline=with_headers) as (front, _):
        reply = front.ask()

    assert reply.status == 429
    assert told.items() <= dict(reply.headers).items()


# The candidate fails before a byte has left


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(refuses(503), id="answers 503"),
        pytest.param(refuses(400), id="does not take the request"),
        pytest.param(drops, id="drops the connection"),
        pytest.param(answers(BROKEN + DONE, kind=EVENTS), id="begins with an error"),
        pytest.param(answers(b"", kind=EVENTS), id="streams nothing"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_baseline_answers_where_the_candidate_does_not(failing, stream, tmp_path):
    good = streams(word("42"), ENDED, DONE) if stream else whole("42")

    with between(tmp_path, candidate=failing, baseline=good) as (front, script):
        reply = front.ask(stream=stream)
        noted = front.noted()

    assert (reply.status, reply.whole) == (200, True)
    assert b"42" in reply.body
    assert b"error" not in reply.body
    assert reply.headers["x-canary-escalated"] == "true"
    assert reply.headers["x-canary-arm"] == "candidate"
    assert len(script.of(BASELINE)) == 1
    # Assigned to the candidate and counted as its failure, whoever answered.
    assert [(one["arm"], one["flags"]["error"], one["flags"]["escalated"]) for one in noted] == [
        ("candidate", True, True)
    ]


def test_what_both_arms_refuse_is_the_clients_fault_and_the_baselines_words(tmp_path):
    with between(
        tmp_path,
        candidate=refuses(400, "mini says no"),
        baseline=refuses(400, "gpt-4.1 says no"),
    ) as (front, _):
        reply = front.ask()
        assert flags(front) == [(False, False)]

    assert (reply.status, reply.json["error"]["message"]) == (400, "gpt-4.1 says no")
    assert "x-canary-escalated" not in reply.headers


def test_where_both_arms_are_down_the_client_gets_the_baselines_error(tmp_path):
    with between(
        tmp_path, candidate=refuses(503, "mini is down"), baseline=refuses(500, "so is gpt-4.1")
    ) as (front, _):
        reply = front.ask()
        assert flags(front) == [(True, False)]

    assert (reply.status, reply.json["error"]["message"]) == (500, "so is gpt-4.1")


def test_a_failing_candidate_is_an_error_also_where_the_baseline_finds_the_request_at_fault(
    tmp_path,
):
    with between(tmp_path, candidate=refuses(503), baseline=refuses(400)) as (front, _):
        assert front.ask().status == 400
        assert flags(front) == [(True, False)]


def test_the_baseline_is_never_helped_out(tmp_path):
    with between(tmp_path, share_bp=0, baseline=refuses(503)) as (front, script):
        assert front.ask().status == 503
        assert flags(front) == [(True, False)]

    assert script.of(CANDIDATE) == []


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refused_key_is_the_clients_fault_and_a_limit_is_not(status, tmp_path):
    with between(tmp_path, share_bp=0, baseline=refuses(status)) as (front, _):
        assert front.ask().status == status
        assert flags(front) == [(status == 429, False)]


# A stream that has begun


def test_a_stream_that_breaks_off_is_seen_as_broken_and_never_continued_by_the_other_arm(tmp_path):
    gate = threading.Event()

    with between(tmp_path, candidate=streams(word("4"), breaks=True, gate=gate)) as (front, script):
        reply = front.stream(gate, len(word("4")))
        noted = eventually(front.noted)

    assert (reply.status, reply.whole, reply.body) == (200, False, word("4"))
    assert script.of(BASELINE) == []
    assert [(one["flags"]["error"], one["flags"]["escalated"]) for one in noted] == [(True, False)]
    assert "cost_nusd" not in noted[0]["quantities"]


def test_an_error_in_mid_stream_is_passed_on_and_noted(tmp_path):
    gate = threading.Event()

    with between(tmp_path, candidate=streams(word("4"), BROKEN, DONE, gate=gate)) as (
        front,
        script,
    ):
        reply = front.stream(gate, len(word("4")))
        assert flags(front) == [(True, False)]

    assert reply.body == word("4") + BROKEN + DONE
    assert script.of(BASELINE) == []


def test_a_stream_that_ends_without_an_end_is_an_error(tmp_path):
    with between(tmp_path, candidate=streams(word("4"))) as (front, _):
        reply = front.ask(stream=True)
        assert flags(front) == [(True, False)]

    assert reply.body == word("4")


def test_a_stream_that_finishes_without_saying_done_is_whole(tmp_path):
    with between(tmp_path, candidate=streams(word("42"), ENDED)) as (front, _):
        front.ask(stream=True)
        assert flags(front) == [(False, False)]


def test_of_a_client_that_went_away_nobody_knows_how_the_answer_would_have_ended(tmp_path):
    with between(tmp_path, candidate=never_ending) as (front, _):
        with connection(front.url) as there:
            there.request(
                "POST", "/v1/chat/completions", chat(stream=True), {"x-canary-intent": "refund"}
            )
            assert there.getresponse().read(1) == b"d"
        noted = eventually(front.noted)
        eventually(lambda: front.gateway.counts.in_flight == 0)

    assert [one["flags"]["error"] for one in noted] == [None]
    assert "input_tokens" not in noted[0]["quantities"]


# No answer at all


def test_a_chat_request_that_is_too_large_is_refused_in_openais_form(tmp_path):
    with between(tmp_path) as (front, script):
        reply = front.post(b" " * (LARGEST + 1))

    assert (reply.status, reply.json["error"]["code"]) == (413, "too_large")
    assert script.received == []


def test_an_upstream_that_cannot_be_reached_is_an_error_that_an_openai_client_understands(tmp_path):
    with serving(web.Application) as gone:
        pass

    with fronting(gone, tmp_path, split(10_000)) as front:
        reply = front.ask()
        assert flags(front) == [(True, False)]

    assert reply.status == 502
    assert reply.json["error"] == {
        "message": "canaryctl gateway: the upstream gave no answer",
        "type": "server_error",
        "param": None,
        "code": "upstream_failed",
    }
    assert reply.headers["x-canary-rollout"] == ROLLOUT


def test_so_it_is_for_requests_that_pass_through(tmp_path):
    with serving(web.Application) as gone:
        pass

    with fronting(gone, tmp_path) as front:
        reply = front.post(b"{}", "/embeddings")

    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_failed")


def test_a_connection_that_the_upstream_had_closed_is_tried_once_more(tmp_path):
    with between(tmp_path, candidate=in_turn(whole("1"), drops, whole("2"))) as (front, script):
        assert b'"1"' in front.ask().body
        assert b'"2"' in front.ask().body
        noted = front.noted()

    assert [one["flags"] for one in noted] == [
        {"error": False, "escalated": False, "retry": False},
        {"error": False, "escalated": False, "retry": True},
    ]
    assert script.of(BASELINE) == []


def test_what_is_under_way_when_a_gateway_is_stopped_is_answered(tmp_path):
    gate = threading.Event()
    replies: list[Reply] = []
    slow = streams(word("4"), word("2"), ENDED, DONE, gate=gate)

    def open_once_it_listens_no_more(port: int) -> None:
        eventually(lambda: not _listens(port))
        gate.set()

    with between(tmp_path, candidate=slow) as (front, script):
        client = threading.Thread(target=lambda: replies.append(front.ask(stream=True)))
        client.start()
        eventually(lambda: script.received)
        opener = threading.Thread(target=open_once_it_listens_no_more, args=(front.gateway.port,))
        opener.start()
    client.join()
    opener.join()

    assert [(one.whole, one.body) for one in replies] == [
        (True, word("4") + word("2") + ENDED + DONE)
    ]
    assert [one["flags"]["error"] for one in front.link.arrived()] == [False]


def _listens(port: int) -> bool:
    """Whether somebody has the port; looked up without a connection, which would be cut off by the stop."""
    with socket.socket() as there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            there.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


# What it cost


@pytest.mark.parametrize(
    ("share_bp", "cost_nusd"),
    [
        (0, 60 * 2_000 + 40 * 500 + 10 * 8_000),
        (10_000, 60 * 400 + 40 * 100 + 10 * 1_600),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_noted_and_costs_its_arms_price(stream, share_bp, cost_nusd, tmp_path):
    last = event(choices=[], usage=USED)
    answer = streams(word("42"), ENDED, last, DONE) if stream else whole(usage=USED)

    with between(tmp_path, share_bp=share_bp, route=PRICED, baseline=answer, candidate=answer) as (
        front,
        _,
    ):
        front.ask(stream=stream)
        counted = front.noted()[0]["quantities"]

    assert counted.pop("latency_us") >= counted.pop("ttft_us", 0) >= 0
    assert counted == {
        "input_tokens": 100,
        "output_tokens": 10,
        "cached_tokens": 40,
        "cost_nusd": cost_nusd,
    }


def test_the_first_byte_of_a_stream_is_timed(tmp_path):
    with between(tmp_path, candidate=streams(word("42"), ENDED, DONE)) as (front, _):
        front.ask(stream=True)
        counted = front.noted()[0]["quantities"]

    assert 0 < counted["ttft_us"] <= counted["latency_us"]


def test_an_escalated_request_costs_what_the_baseline_costs(tmp_path):
    with between(tmp_path, route=PRICED, candidate=refuses(503), baseline=whole(usage=USED)) as (
        front,
        _,
    ):
        front.ask()
        counted = front.noted()[0]["quantities"]

    assert counted["cost_nusd"] == 60 * 2_000 + 40 * 500 + 10 * 8_000


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 1}])
@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_an_upstream_does_not_give_is_unknown(stream, usage, tmp_path):
    last = event(choices=[], usage=usage)
    answer = streams(word("42"), ENDED, last, DONE) if stream else whole(usage=usage)

    with between(tmp_path, route=PRICED, candidate=answer) as (front, _):
        front.ask(stream=stream)
        counted = front.noted()[0]["quantities"]

    assert counted.keys() <= {"latency_us", "ttft_us"}


def test_the_cost_of_a_model_without_a_price_is_unknown(tmp_path):
    with between(tmp_path, candidate=whole(usage=USED)) as (front, _):
        front.ask()
        counted = front.noted()[0]["quantities"]

    assert counted["input_tokens"] == 100
    assert "cost_nusd" not in counted


# What is noted, and when


def test_an_answer_is_in_the_spool_before_its_client_has_it(tmp_path):
    with between(tmp_path) as (front, _):
        front.link.away = True
        for number in range(20):
            name = front.ask().headers["x-canary-request-id"]
            noted = front.noted()
            assert (len(noted), noted[-1]["id"]) == (number + 1, name)


def test_a_stream_is_in_the_spool_before_its_last_event_has_left(tmp_path):
    with between(tmp_path, candidate=streams(word("42"), ENDED, DONE)) as (front, _):
        front.link.away = True
        with connection(front.url) as there:
            headers = {"x-canary-intent": "refund", "Authorization": "Bearer sk-test"}
            there.request("POST", "/v1/chat/completions", chat(stream=True), headers)
            response = there.getresponse()
            while response.readline() != b"data: [DONE]\n":
                pass
            noted = front.noted()

    assert [one["id"] for one in noted] == [response.headers["x-canary-request-id"]]


def test_an_answer_says_whether_a_person_is_to_grade_it(tmp_path):
    asked = replace(ROUTE, people_u=500_000)
    with between(tmp_path, route=asked) as (front, _):
        replies = [front.ask(metadata={"conversation_id": f"talk-{n}"}) for n in range(12)]
        outside = front.ask(intent="unheard-of")
    with between(tmp_path / "alone") as (front, _):
        alone = front.ask()

    told = [reply.headers.get("x-canary-grade") for reply in replies]
    drawn = [is_drawn(ROLLOUT, f"talk-{n}", 500_000) for n in range(12)]
    assert told == ["person" if one else None for one in drawn]
    assert {True, False} == set(drawn)
    assert "x-canary-grade" not in outside.headers
    assert "x-canary-grade" not in alone.headers


@pytest.mark.parametrize(
    ("candidate", "baseline"),
    [(refuses(503), whole()), (refuses(503), refuses(503)), (refuses(400), refuses(400))],
    ids=["escalated", "failed", "refused"],
)
def test_nobody_is_asked_to_grade_what_is_no_answer_of_the_arm(tmp_path, candidate, baseline):
    everybody = replace(ROUTE, people_u=1_000_000)
    with between(tmp_path, route=everybody, candidate=candidate, baseline=baseline) as (front, _):
        reply = front.ask()

    assert reply.headers["x-canary-arm"] == "candidate"
    assert "x-canary-grade" not in reply.headers


def test_an_observation_says_all_that_is_known(tmp_path):
    with between(tmp_path, route=replace(ROUTE, unit=Unit.REQUEST)) as (front, _):
        reply = front.ask()
        noted = front.noted()
        eventually(front.link.arrived)
        arrived = front.link.arrived()

    name = reply.headers["x-canary-request-id"]
    assert arrived == noted
    assert noted[0]["quantities"].keys() == {"latency_us"}
    assert noted[0] == {
        "kind": "observation",
        "id": name,
        "rollout": ROLLOUT,
        "at": NOW.isoformat(),
        "unit": name,
        "arm": "candidate",
        "intent": "refund",
        "version": 1,
        "cohort": "compared",
        "assigned": True,
        "flags": {"error": False, "escalated": False, "retry": False},
        "quantities": noted[0]["quantities"],
    }


def test_a_request_of_no_rollout_passes_through_and_is_not_noted(tmp_path):
    with between(tmp_path, otherwise=answers(ODD_ANSWER)) as (front, script):
        reply = front.ask(model="gpt-4o")

        assert front.noted() == []
        assert front.gateway.status()["unclaimed"] == 1

    assert script.received[0].json["model"] == "gpt-4o"
    assert reply.body == ODD_ANSWER
    assert "x-canary-arm" not in reply.headers


# Which arm


@pytest.mark.parametrize(
    ("given", "counted"),
    [(None, "(none)"), ("weather", "(unknown)"), ("legal", "legal")],
)
def test_without_an_intent_that_is_compared_it_is_the_baselines_and_outside(
    given, counted, tmp_path
):
    with between(tmp_path) as (front, script):
        reply = front.ask(intent=given)
        noted = front.noted()

    assert reply.headers["x-canary-arm"] == "baseline"
    assert [(one["intent"], one["cohort"]) for one in noted] == [(counted, "outside")]
    assert script.of(CANDIDATE) == []


@pytest.mark.parametrize(
    ("limits", "fields"),
    [
        (ModelRef(model=CANDIDATE, context_window=50), {"text": "x" * 200}),
        (ModelRef(model=CANDIDATE, context_window=200), {"max_completion_tokens": 199}),
        (ModelRef(model=CANDIDATE, output_limit=100), {"max_tokens": 101}),
    ],
)
def test_what_is_over_the_candidates_limits_is_the_baselines_and_outside(limits, fields, tmp_path):
    with between(tmp_path, route=replace(ROUTE, candidate=limits)) as (front, script):
        front.ask(**fields)
        noted = front.noted()

    assert [(one["arm"], one["cohort"]) for one in noted] == [("baseline", "outside")]
    assert script.of(CANDIDATE) == []


def test_half_of_the_share_is_half_of_the_requests(tmp_path):
    with between(tmp_path, share_bp=5_000, route=replace(ROUTE, unit=Unit.REQUEST)) as (front, _):
        arms = [front.ask().headers["x-canary-arm"] for _ in range(200)]

    # Binomial(200, 1/2) is outside of 50..150 with probability 2e-13.
    assert 50 <= arms.count("candidate") <= 150


# Outcomes


def outcome(front: Front, body: object) -> Reply:
    return front.post(json.dumps(body).encode(), "/outcomes")


def test_outcomes_are_spooled_by_the_name_of_their_answer(tmp_path):
    with between(tmp_path) as (front, script):
        name = front.ask().headers["x-canary-request-id"]
        reply = outcome(front, {"outcomes": [{"request_id": name, "correct": True}]})
        noted = front.noted()[1:]

    assert (reply.status, reply.json) == (202, {"accepted": 1})
    assert [(one["kind"], one["observation"], one["correct"]) for one in noted] == [
        ("outcome", name, True)
    ]
    assert len(script.received) == 1


def test_an_outcome_that_is_sent_twice_has_one_name_and_another_has_another(tmp_path):
    with between(tmp_path) as (front, _):
        for correct in (True, True, False):
            assert outcome(front, {"request_id": "r1", "correct": correct}).status == 202
        outcome(front, {"request_id": "r1", "correct": True, "at": NOW.isoformat()})
        names = [one["id"] for one in front.noted()]

    assert names[0] == names[1] == names[3] != names[2]


def test_every_problem_of_outcomes_is_listed_and_none_counts(tmp_path):
    sent = [
        {"request_id": "r1", "correct": True},
        {"correct": True},
        {"request_id": "r2", "corect": True},
        {"request_id": "r3", "correct": "yes"},
    ]

    with between(tmp_path) as (front, _):
        reply = outcome(front, {"outcomes": sent})
        assert front.noted() == []

    assert (reply.status, reply.json["error"]["code"]) == (400, "outcome_refused")
    message = reply.json["error"]["message"]
    assert "outcomes[0]" not in message
    assert "outcomes[1]: request_id: missing" in message
    assert "outcomes[2]: " in message
    assert "corect" in message
    assert "outcomes[3]: correct" in message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"outcomes": []}', b'{"outcomes": {}}'])
def test_what_is_no_outcome_is_refused(body, tmp_path):
    with between(tmp_path) as (front, _):
        reply = front.post(body, "/outcomes")
        assert front.noted() == []

    assert reply.status == 400


# Without a controller


def test_invariant_11_a_lease_that_runs_out_gives_everything_to_the_baseline(tmp_path):
    with between(tmp_path) as (front, script):
        front.link.away = True
        front.clock.advance(LEASE - timedelta(microseconds=1))
        assert front.ask().headers["x-canary-arm"] == "candidate"
        front.clock.advance(timedelta(microseconds=1))
        assert front.ask().headers["x-canary-arm"] == "baseline"
        noted = front.noted()

    assert [_model(one.body) for one in script.received] == [CANDIDATE, BASELINE]
    assert [one["cohort"] for one in noted] == ["compared", "outside"]


def test_a_lease_that_holds_stays_with_the_candidate(tmp_path):
    with between(tmp_path, on_expiry=OnLoss.HOLD) as (front, _):
        front.link.away = True
        front.clock.advance(2 * LEASE)

        assert front.ask().headers["x-canary-arm"] == "candidate"


def test_a_conversation_that_is_under_way_goes_to_the_baseline_when_the_lease_runs_out(tmp_path):
    with between(tmp_path) as (front, _):
        for arm in ("candidate", "candidate", "baseline", "baseline"):
            reply = front.post(chat(), x_canary_intent="refund", x_canary_unit="talk-1")
            assert reply.headers["x-canary-arm"] == arm
            if arm == "candidate" and len(front.noted()) == 2:
                front.link.away = True
                front.clock.advance(LEASE)


def test_a_gateway_that_never_heard_a_controller_answers_with_what_was_asked_for(tmp_path):
    script = Scripted(by_model={BASELINE: whole("42")})
    nobody = HandLink(ManualClock(NOW), away=True)

    with serving(script.app) as upstream, fronting(upstream, tmp_path, link=nobody) as front:
        replies = [front.ask() for _ in range(5)]

        assert front.gateway.status()["heard_controller"] is False

    assert [one.status for one in replies] == [200] * 5
    assert [_model(one.body) for one in script.received] == [BASELINE] * 5


def test_what_is_answered_without_a_controller_arrives_when_it_is_back_also_after_a_restart(
    tmp_path,
):
    with between(tmp_path) as (front, _):
        front.link.away = True
        names = [front.ask().headers["x-canary-request-id"] for _ in range(10)]
        assert front.link.lines == []

    link = HandLink(ManualClock(NOW))
    with between(tmp_path, link=link) as (front, _):
        names.append(front.ask().headers["x-canary-request-id"])
        eventually(lambda: len(link.arrived()) == len(names))

    assert [one["id"] for one in link.arrived()] == names


def test_a_gateway_that_was_killed_goes_on_with_its_lease_and_not_longer(tmp_path):
    killed = tmp_path / "killed"
    with between(tmp_path / "first") as (front, _):
        assert front.ask().headers["x-canary-arm"] == "candidate"
        shutil.copytree(tmp_path / "first", killed)  # what a kill would leave now

    clock = ManualClock(NOW)
    script = Scripted(otherwise=whole())
    nobody = HandLink(clock, away=True)
    with serving(script.app) as upstream, fronting(upstream, killed, link=nobody) as front:
        assert front.ask().headers["x-canary-arm"] == "candidate"
        front.clock.advance(LEASE)
        assert front.ask().headers["x-canary-arm"] == "baseline"


def test_a_gateway_that_took_its_leave_serves_the_candidate_only_when_told_again(tmp_path):
    with between(tmp_path) as (front, _):
        assert front.ask().headers["x-canary-arm"] == "candidate"

    script = Scripted(otherwise=whole())
    nobody = HandLink(ManualClock(NOW), away=True)
    with serving(script.app) as upstream, fronting(upstream, tmp_path, link=nobody) as front:
        assert front.ask().headers["x-canary-arm"] == "baseline"
        assert front.gateway.status()["splits"] == []


def _model(body: bytes) -> object:
    return json.loads(body)["model"]
