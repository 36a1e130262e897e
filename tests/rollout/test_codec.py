"""Values to canonical JSON and back: one text for one value however it is written, and nothing that is no value."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum, StrEnum
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.codec import canonical, decode, digest, dumps, encode, text_digest


class Colour(StrEnum):
    RED = "red"


class Number(Enum):
    ONE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    only: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    z_text: str = 'a "quoted" \\ line\n, ünïcode'
    whole: int = -7
    part: float = 0.1
    truth: bool = True
    colour: Colour = Colour.RED
    number: Number = Number.ONE
    moment: datetime = datetime(2026, 11, 21, 3, 0, 0, 5, tzinfo=UTC)
    day: date = date(2027, 1, 14)
    span: timedelta = timedelta(days=1, microseconds=3)
    price: Fraction = Fraction(2, 3)
    maybe: Alone | None = None
    either: Alone | Nothing | str = Alone(only=1)
    plain: str | None = "here"
    pair: tuple[int, str] = (1, "x")
    row: tuple[Alone, ...] = (Alone(only=2), Alone(only=3))
    named: Mapping[str, Alone] = field(
        default_factory=lambda: {"b": Alone(only=4), "a": Alone(only=5)}
    )
    counts: dict[str, int] = field(default_factory=lambda: {"é": 2, "a": 1})


TEXT = (
    '{"colour":"red","counts":{"a":1,"é":2},"day":"2027-01-14","either":{"only":1,"type":"Alone"},"maybe":null,'
    '"moment":"2026-11-21T03:00:00.000005+00:00","named":{"a":{"only":5,"type":"Alone"},"b":{"only":4,"type":"Alone"}},'
    '"number":1,"pair":[1,"x"],"part":0.1,"plain":"here","price":"2/3","row":[{"only":2,"type":"Alone"},'
    '{"only":3,"type":"Alone"}],"span":86400.000003,"truth":true,"type":"Everything","whole":-7,'
    '"z_text":"a \\"quoted\\" \\\\ line\\n, ünïcode"}'
)


def test_the_canonical_form_is_sorted_without_white_space_and_in_utf_8():
    assert canonical(Everything()) == TEXT
    assert dumps(encode(Everything())) == TEXT


def test_a_value_comes_back_as_it_was():
    assert decode(Everything, json.loads(TEXT)) == Everything()
    other = Everything(maybe=Alone(only=9), either=Nothing(), plain=None, row=())
    assert decode(Everything, json.loads(canonical(other))) == other
    in_words = Everything(either="words of no type")
    assert decode(Everything, json.loads(canonical(in_words))) == in_words


def test_a_field_that_an_older_release_did_not_write_takes_its_default_and_one_of_a_newer_is_left_out():
    assert decode(Everything, {"whole": 8, "type": "Everything", "later": 1}) == Everything(whole=8)


def test_what_has_another_shape_is_refused():
    with pytest.raises(ValueError, match="zip"):
        decode(Everything, {"pair": [1]})
    with pytest.raises(ValueError, match="purple"):
        decode(Everything, {"colour": "purple"})
    with pytest.raises(KeyError, match="Plan"):
        decode(Everything, {"either": {"type": "Plan"}})
    with pytest.raises(TypeError, match="only"):
        decode(Alone, {})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_canonical_form(number: float):
    with pytest.raises(ValueError, match="canonical form"):
        canonical((number,))
    with pytest.raises(ValueError, match="JSON"):
        dumps(encode((number,)))


@pytest.mark.parametrize("write", [canonical, encode], ids=["canonical", "encode"])
def test_what_is_no_value_has_no_canonical_form(write):
    with pytest.raises(TypeError, match="object has no canonical form"):
        write((object(),))
    with pytest.raises(TypeError, match="set has no canonical form"):
        write({"a": {1}})


def test_what_a_value_holds_twice_is_written_twice_and_what_is_equal_is_written_the_same():
    one = Alone(only=1)

    assert canonical((one, one, Alone(only=1))) == f"[{','.join([canonical(one)] * 3)}]"
    assert canonical({2: one, "10": [one]}) == f'{{"10":[{canonical(one)}],"2":{canonical(one)}}}'
    assert canonical(Nothing()) == '{"type":"Nothing"}'


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_both_ways_of_writing_give_one_text(value):
    assert canonical(value) == dumps(encode(value))


def test_a_digest_is_the_sha_256_of_the_text():
    # `printf '[1]' | sha256sum`
    assert digest((1,)) == "080a9ed428559ef602668b4c00f114f1a11c3f6b02a435f0bdc154578e4d7f22"
    assert text_digest("[1]") == digest((1,))
