"""A chat request as bytes: whatever an arm asks for, every other byte stays the client's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.gateway.message import ChatRequest, members
from tests.gateway.factories import chat, under_way

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SPACES = st.text(" \t\n\r", max_size=3)
KEYS = st.sampled_from(["model", "stream", "stream_options", "messages", '"model"', "é", "a\\b"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(['"model": "x"', '{"model": "x"}', "\\", ',"model":', "}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXTS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def written(draw, value: Any) -> str:
    """A value as some client may write it: with or without escapes, and with white space in odd places."""
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if isinstance(value, dict | list) and draw(st.booleans()):
        text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.integers(0, 3)))
    return text


@st.composite
def objects(draw) -> list[tuple[str, str, str]]:
    """The members of an object that names a model, in their order: what is before the value, the value, what is after.

    Names may be repeated, also the model's.
    """
    fields = draw(st.lists(st.tuples(KEYS | TEXTS, VALUES), max_size=5))
    fields.append(("model", draw(st.sampled_from(["gpt-4.1", "café", 'a"b\\', "gpt-4.1-mini"]))))
    if draw(st.booleans()):
        fields.append(("stream", True))
    made = []
    for number, (key, value) in enumerate(draw(st.permutations(fields))):
        name = draw(written(key))
        before = "," * (number > 0) + draw(SPACES) + name + draw(SPACES) + ":" + draw(SPACES)
        made.append((before, draw(written(value)), draw(SPACES)))
    return made


def joined(parts: list[tuple[str, str, str]]) -> str:
    return "{" + "".join("".join(part) for part in parts) + "}"


def expected(fields: dict[str, Any], model: str) -> dict[str, Any]:
    """What the upstream is to read."""
    read = {**fields, "model": model}
    options = fields.get("stream_options")
    if fields.get("stream") is True:
        kept = options if isinstance(options, dict) else {}
        read["stream_options"] = {**kept, "include_usage": True}
    return read


# Reading


@given(objects())
def test_the_members_are_those_that_json_reads_each_in_its_place(parts):
    text = joined(parts)

    found = members(text)

    assert {one.key: one.value for one in found} == json.loads(text)
    assert [text[one.start : one.end] for one in found] == [value for _, value, _ in parts]


@given(st.text(max_size=30) | st.text('{}[]",:\\ truefalsn10\n', max_size=30))
def test_what_json_does_not_read_as_an_object_is_a_value_error(text):
    try:
        read = json.loads(text)
    except ValueError:
        read = None

    if isinstance(read, dict):
        assert {one.key: one.value for one in members(text)} == read
    else:
        with pytest.raises(ValueError, match=r".*"):
            members(text)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"model"',
        b"null",
        b'{"model": "x"',
        b'{"model": "x",}',
        b"{,}",
        b'{"model" "x"}',
        b"{model: 1}",
        b'{"model": }',
        b'{"model": "x"} {}',
        b'{"model": "x"}]',
        b"{'model': 'x'}",
        b'\xef\xbb\xbf{"model": "x"}',
        b'{"model": "\xff"}',
        b'{"model": "a\nb"}',
    ],
)
def test_anything_but_one_whole_object_in_utf_8_is_a_value_error(body):
    with pytest.raises(ValueError, match=r".*"):
        ChatRequest(body)


def test_of_a_repeated_name_the_last_counts_as_for_any_json_reader():
    assert ChatRequest(b'{"model": "one", "model": "two"}').model == "two"


def test_a_text_that_no_encoding_can_write_is_taken_as_none():
    half = ChatRequest(
        b'{"model": "\\ud800", "user": "\\udfff", "metadata": {"intent": "x\\ud800"}}'
    )

    assert half.model is None
    assert half.text("user") is None
    assert half.metadata("intent") is None


def test_a_whole_surrogate_pair_is_one_character():
    assert ChatRequest(b'{"model": "m", "user": "\\ud83d\\ude00"}').text("user") == "\U0001f600"


@pytest.mark.parametrize("messages", [None, "assistant", [], ["assistant"], [{"role": "user"}]])
def test_a_conversation_without_an_answer_is_not_under_way(messages):
    assert not chat(messages=messages).under_way


def test_a_conversation_with_an_answer_is_under_way():
    assert under_way().under_way


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": True}, None),
        ({"max_tokens": "7"}, None),
    ],
)
def test_the_longest_answer_asked_for_is_known_only_if_it_is_a_number(fields, tokens):
    assert chat(**fields).output_tokens == tokens


# For an arm


@given(objects())
def test_for_an_arm_only_its_model_and_a_streams_usage_change(parts):
    text = joined(parts)
    request = ChatRequest(text.encode())

    sent = request.for_model("o-new").decode()

    assert json.loads(sent) == expected(json.loads(text), "o-new")


@given(objects())
def test_for_an_arm_all_other_bytes_stay_what_they_were(parts):
    request = ChatRequest(joined(parts).encode())
    new = {"model": '"o-new"'}
    if request.stream and not request.wants_usage:
        options = request.fields.get("stream_options")
        kept = options if isinstance(options, dict) else {}
        new["stream_options"] = json.dumps({**kept, "include_usage": True})
    names = [json.loads(before.lstrip(", \t\n\r").rstrip(": \t\n\r")) for before, _, _ in parts]
    changed = [
        (before, new.get(name, value), after)
        for name, (before, value, after) in zip(names, parts, strict=True)
    ]
    added = [name for name in new if name not in names]

    sent = request.for_model("o-new").decode()

    if added:
        opening = f'{{"stream_options": {new["stream_options"]}, '
        assert sent == opening + joined(changed).removeprefix("{")
    else:
        assert sent == joined(changed)


@given(objects())
def test_for_the_model_that_was_asked_for_without_a_stream_nothing_changes(parts):
    body = joined(parts).encode()
    request = ChatRequest(body)

    if request.model and not request.stream:
        assert request.for_model(request.model) == body


def test_where_the_client_asks_for_usage_itself_its_options_stay_byte_for_byte():
    body = b'{"model":"a","stream":true,"stream_options": {"x":1 , "include_usage":true}}'

    assert ChatRequest(body).for_model("a") == body


def test_a_client_that_refuses_usage_is_overruled_and_its_other_options_stay():
    body = b'{"model":"a","stream":true,"stream_options":{"include_usage":false,"x":1}}'

    sent = json.loads(ChatRequest(body).for_model("a"))

    assert sent["stream_options"] == {"include_usage": True, "x": 1}
