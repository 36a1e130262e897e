"""Traffic from a seed, and one time for several processes."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from controller.demo.clock import FileClock
from controller.demo.place import START
from controller.demo.story import PRODUCTS
from controller.demo.traffic import questions, text_of

PRODUCT = PRODUCTS[0]


def asked(minute: int, seed: int = 1) -> list[str]:
    return [one.key for one in questions(PRODUCT, 10.0, minute, seed)]


def test_the_same_seed_asks_the_same():
    assert asked(30) == asked(30)
    assert asked(30) != asked(30, seed=2)


def test_every_turn_is_asked_once_and_in_its_order():
    keys = [key for minute in range(60) for key in asked(minute)]

    assert len(keys) == len(set(keys))
    turns: dict[str, list[int]] = {}
    for key in keys:
        unit, turn = key.rsplit("/", 1)
        turns.setdefault(unit, []).append(int(turn))
    assert all(found == list(range(len(found))) for found in turns.values())


def test_a_later_turn_carries_what_was_said():
    later = next(one for one in questions(PRODUCT, 10.0, 30, 1) if one.turn > 0)

    roles = [one["role"] for one in json.loads(later.body())["messages"]]

    assert "assistant" in roles


def test_an_answer_is_right_by_its_number():
    question = next(questions(PRODUCT, 10.0, 0, 1))
    total = question.a + question.b

    assert question.is_right(f"[simulated] so = {total}")
    assert not question.is_right(f"[simulated] so = {total + 1}")
    assert not question.is_right("I would rather not say")


def test_a_streamed_answer_is_put_together():
    events = [{"choices": [{"delta": {"content": text}}]} for text in ("so ", "= 5")]
    body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events)

    assert text_of(body + b"data: [DONE]\n\n", stream=True) == "so = 5"


def test_one_time_for_all_who_open_the_file(tmp_path: Path):
    mine = FileClock.begun(tmp_path / "clock", START)
    other = FileClock(tmp_path / "clock")

    mine.set(START + timedelta(minutes=3))

    assert other.now() == START + timedelta(minutes=3)
    assert other.monotonic() - START.timestamp() == 180
    mine.close()
    other.close()


def test_time_goes_on_where_it_stood_and_never_back(tmp_path: Path):
    FileClock.begun(tmp_path / "clock", START).set(START + timedelta(minutes=3))

    again = FileClock.begun(tmp_path / "clock", START)

    assert again.now() == START + timedelta(minutes=3)
    with pytest.raises(ValueError, match="cannot go back"):
        again.set(START)
    again.close()
