"""What an answer cost, out of its body or its stream; what is not told stays unknown."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.gateway.meter import MOST_TOKENS, Stream, Usage, quantities_of, usage_in, usage_of
from controller.rollout.plan import Price

# USD 2.00, 0.50 and 8.00 per million tokens: gpt-4.1's list prices, as nano-USD per token.
PRICE = Price(input=Fraction(2_000), cached_input=Fraction(500), output=Fraction(8_000))


def told(given: Any = 100, made: Any = 20, **more: Any) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": given, "completion_tokens": made, **more}}


def cached(tokens: Any) -> dict[str, Any]:
    return told(prompt_tokens_details={"cached_tokens": tokens})


def event(chunk: Any, end: str = "\n") -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}{end}{end}".encode()


def words(text: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c1", "choices": [choice], **more}


FINISH = {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"id": "c1", "choices": [], **told()}
DONE = b"data: [DONE]\n\n"


def passed(stream: Stream, sent: bytes) -> bytes:
    return b"".join(stream.feed(sent)) + stream.rest()


# Usage


def test_usage_is_what_the_upstream_says():
    assert usage_of(told()) == Usage(100, 20)
    assert usage_of(cached(40)) == Usage(100, 20, 40)
    assert usage_in(json.dumps(cached(0)).encode()) == Usage(100, 20, 0)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"usage": None},
        {"usage": 5},
        told(given=None),
        told(made="20"),
        told(made=-1),
        told(made=1.5),
        told(made=True),
        told(made=MOST_TOKENS + 1),
        cached(101),
        cached(-1),
        cached("40"),
    ],
)
def test_usage_that_is_not_told_or_cannot_be_is_unknown(answer):
    assert usage_of(answer) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[1]"])
def test_a_body_that_is_no_answer_has_no_usage(body):
    assert usage_in(body) is None


def test_cached_tokens_cost_their_own_price():
    # 60 x 2000 + 40 x 500 + 20 x 8000 nano-USD
    assert Usage(100, 20, 40).cost_nusd(PRICE) == 300_000


def test_what_may_have_been_cached_but_is_not_known_to_be_costs_the_full_price():
    # 100 x 2000 + 20 x 8000 nano-USD
    assert Usage(100, 20).cost_nusd(PRICE) == 360_000


def test_a_request_costs_what_all_its_calls_cost():
    calls = [(Usage(100, 20, 40), PRICE), (Usage(10, 2, 0), PRICE)]

    assert quantities_of(calls) == {
        "input_tokens": 110,
        "output_tokens": 22,
        "cached_tokens": 40,
        "cost_nusd": 336_000,  # 300,000 + 10 x 2000 + 2 x 8000
    }


@pytest.mark.parametrize("calls", [[], [(None, PRICE)], [(Usage(1, 1), PRICE), (None, PRICE)]])
def test_of_a_call_without_usage_nothing_is_known_and_nothing_is_0(calls):
    assert quantities_of(calls) == {}


def test_what_one_call_does_not_say_is_not_known_of_all():
    known = quantities_of([(Usage(100, 20, 40), PRICE), (Usage(10, 2), None)])

    assert known == {"input_tokens": 110, "output_tokens": 22}


# Streams


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("strip", [True, False])
def test_wherever_a_stream_is_split_it_is_the_same(strip, end):
    events = [
        event(words("Grüße", usage=None), end),
        event({**FINISH, "usage": None}, end),
        event(USAGE, end),
        DONE.replace(b"\n", end.encode()),
    ]
    bare = [event(words("Grüße"), end), event(FINISH, end), events[3]]
    sent = b"".join(events)

    for cut in range(len(sent) + 1):
        stream = Stream(strip=strip)
        parts = stream.feed(sent[:cut]) + stream.feed(sent[cut:])

        assert b"".join(parts) + stream.rest() == b"".join(bare if strip else events)
        assert stream.usage == Usage(100, 20)
        assert stream.complete


def test_a_stream_that_comes_byte_by_byte_is_the_same():
    sent = event(words("a")) + event(FINISH) + event(USAGE) + DONE
    stream = Stream(strip=True)

    parts = [part for at in range(len(sent)) for part in stream.feed(sent[at : at + 1])]

    assert b"".join(parts) == event(words("a")) + event(FINISH) + DONE
    assert stream.usage == Usage(100, 20)


TRICKS = st.sampled_from(
    [',"usage":null', ', "usage": null', '"usage": null}', "\\", '"error"', '"finish_reason":"x"']
)


@given(st.lists(TRICKS | st.text(st.characters(codec="utf-8"), max_size=8), max_size=5))
def test_what_a_model_wrote_is_never_touched(pieces):
    text = "".join(pieces)
    stream = Stream(strip=True)

    out = passed(stream, event(words(text, usage=None)))

    assert out == event(words(text))
    assert not stream.finished
    assert not stream.failed


def test_a_tool_call_that_the_upstream_gives_as_an_object_is_never_touched():
    arguments = {"period": "day", "usage": None}
    choice = {"delta": {"tool_calls": [{"function": {"arguments": arguments}}]}}
    stream = Stream(strip=True)

    out = passed(stream, event({"choices": [choice], "usage": None}))

    assert out == event({"choices": [choice]})


def test_white_space_between_members_goes_with_the_null():
    stream = Stream(strip=True)

    out = passed(stream, b'data: {"id": "c1" ,\t"usage" : null , "x": 1}\n\n')

    assert out == b'data: {"id": "c1" , "x": 1}\n\n'


def test_usage_in_a_chunk_with_an_answer_is_read_and_passed_on():
    last = {**FINISH, **told()}
    stream = Stream(strip=True)

    assert passed(stream, event(last)) == event(last)
    assert stream.usage == Usage(100, 20)


def test_the_last_usage_counts_where_every_chunk_has_one():
    stream = Stream(strip=False)

    stream.feed(event(words("a", **told(made=1))) + event(words("b", **told(made=2))))

    assert stream.usage == Usage(100, 2)


def test_usage_that_cannot_be_does_not_undo_what_was_told():
    stream = Stream(strip=False)

    stream.feed(event(USAGE) + event(words("b", **told(made=-2))))

    assert stream.usage == Usage(100, 20)


@pytest.mark.parametrize(
    "sent",
    [
        event({"error": {"message": "overloaded"}}),
        b'event: error\r\ndata: {"error": {"message": "overloaded"}}\r\n\r\n',
        b'data: {"error":\ndata: "overloaded"}\n\n',
    ],
)
def test_an_error_in_the_stream_makes_it_a_failure_and_is_passed_on(sent):
    stream = Stream(strip=True)

    assert passed(stream, event(words("a")) + sent + DONE) == event(words("a")) + sent + DONE
    assert stream.failed
    assert not stream.complete


def test_an_error_that_is_null_is_none():
    stream = Stream(strip=True)

    stream.feed(event({**words("a"), "error": None}) + DONE)

    assert not stream.failed
    assert stream.complete


def test_a_stream_that_breaks_off_is_not_complete():
    stream = Stream(strip=True)

    assert passed(stream, event(words("a")) + b'data: {"id"') == event(words("a")) + b'data: {"id"'
    assert not stream.complete


def test_a_stream_without_done_is_complete_once_a_choice_has_finished():
    stream = Stream(strip=True)

    stream.feed(event(words("a")) + event(FINISH))

    assert not stream.done
    assert stream.complete


def test_comments_and_what_is_no_json_are_passed_on_as_they_are():
    sent = b': keep-alive "usage"\n\ndata: "usage" {\n\nid: 7\nretry: 10\n\n'

    assert passed(Stream(strip=True), sent) == sent
