"""`ingest`: strict, all or nothing, and harmless to repeat."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from controller.wiring import open_store
from tests.cli.world import START, World, requests

OBSERVATION = {
    "kind": "observation",
    "id": "x1",
    "rollout": "support-bot",
    "at": "2026-09-01T12:02:00Z",
    "unit": "u1",
    "arm": "candidate",
    "intent": "refund",
    "flags": {"error": False, "escalated": False},
}
OUTCOME = {
    "kind": "outcome",
    "id": "o1",
    "observation": "x1",
    "at": "2026-09-01T12:02:30Z",
    "correct": 0.5,
}
PAIR = {
    "kind": "pair",
    "id": "p1",
    "rollout": "support-bot/1",
    "at": "2026-09-01T12:02:00Z",
    "intent": "refund",
    "baseline_correct": True,
    "candidate_correct": False,
}


def lines(*entries: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in entries)


def stats(world: World, *, version: int) -> Counter[str]:
    """What was counted of the requests under a split."""
    store = open_store(world.url)
    rows, _ = store.rollups("support-bot/1")
    store.close()
    counted = Counter[str]()
    for row in rows:
        if row.version == version:
            counted.update(row.stats)
    return counted


def test_everything_sent_is_counted_once(world: World):
    world.started()
    text = lines(OBSERVATION, OUTCOME, PAIR)

    first = world.cli("ingest", "-", stdin=text)
    second = world.cli("ingest", world.file("again.jsonl", text), "-o", "json")

    assert first.out == "1 observation, 1 outcome, 1 pair: 3 accepted\n"
    assert (second.json["accepted"], second.json["duplicate"]) == (0, 3)
    assert second.code == 0


def test_an_outcome_may_come_before_its_observation(world: World):
    world.started()

    assert world.cli("ingest", "-", "-o", "json", stdin=lines(OUTCOME)).json["waiting"] == 1
    assert world.cli("ingest", "-", "-o", "json", stdin=lines(OBSERVATION)).code == 0


def test_a_late_outcome_is_refused_and_told(world: World):
    world.started()
    world.cli("ingest", "-", stdin=lines(OBSERVATION))
    world.clock.advance(timedelta(days=8))

    answer = world.cli("ingest", "-", stdin=lines(OUTCOME))

    assert "1 too late" in answer.out
    assert "labels.horizon" in answer.err


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**OBSERVATION, "kind": "request"}, "kind: 'request' is not observation"),
        ({"id": "x"}, "no `kind`"),
        ({**OBSERVATION, "latencey_ms": 3}, "latencey_ms: unknown field"),
        ({**OBSERVATION, "at": "2026-09-01T12:02:00"}, "has no time zone"),
        ({**OBSERVATION, "at": "yesterday"}, "is not a time"),
        ({**OBSERVATION, "at": "2026-08-01T00:00:00Z"}, "before the first split"),
        ({**OBSERVATION, "arm": "canary"}, '"canary" is not one of baseline, candidate'),
        ({**OBSERVATION, "rollout": "sales"}, "rollout: There is no rollout sales"),
        ({**OBSERVATION, "id": ""}, "id: "),
        ({**OBSERVATION, "flags": {"error": False}}, "escalated must be given"),
        (
            {**OBSERVATION, "flags": {"error": 0, "escalated": False}},
            "flags: error: 0 is not true or false",
        ),
        (
            {**OBSERVATION, "flags": {"error": False, "escalated": False, "refused": True}},
            "did you mean refusal?",
        ),
        (
            {**OBSERVATION, "flags": {"error": None, "escalated": False, "retry": None}},
            "flags: retry: null is not true or false",
        ),
        ({**OBSERVATION, "flags": {}}, "error and escalated must be given"),
        ({**OBSERVATION, "flags": None}, "flags: null is not an object"),
        ({**OUTCOME, "flags": {"error": None}}, "flags: error: null is not true or false"),
        ({**OBSERVATION, "unit": "u\ud800"}, 'unit: "u\\ud800" has half of a surrogate pair'),
        ({**OUTCOME, "flags": {"custom.\udfff": True}}, "has half of a surrogate pair"),
        ({**OBSERVATION, "uni\ud800": "u1"}, "uni\\ud800: unknown field"),
        (
            {**OBSERVATION, "quantities": {"input_tokens": 2**53 + 1}},
            "input_tokens: 9007199254740993 is more than 9007199254740992",
        ),
        ({**OBSERVATION, "quantities": {"latency_us": -1}}, "latency_us: -1 is not a whole number"),
        ({**OBSERVATION, "quantities": {"latency": 1}}, "did you mean latency_us?"),
        ({**OUTCOME, "correct": 1.5}, "correct: 1.5 is not a grade"),
        (
            {**OUTCOME, "source": "human"},
            """source: "human": write a person's grade as "person\"""",
        ),
        ({**OUTCOME, "source": "Person"}, """write a person's grade as "person\""""),
        ({**OUTCOME, "grades": "answer"}, "is not one of served, attempt"),
        ({"kind": "pair", "id": "p"}, "rollout: missing; at: missing; intent: missing"),
    ],
)
def test_a_wrong_line_refuses_the_file(running: World, entry: dict[str, Any], words: str):
    answer = running.cli("ingest", "-", stdin=lines(OBSERVATION, entry))

    assert answer.code == 2
    assert answer.err.startswith("<stdin>:2: ")
    assert words in answer.err
    assert "Nothing was ingested." in answer.err
    assert answer.out == ""


def test_a_flag_that_is_null_is_not_known_rather_than_false(world: World):
    world.started()
    unknown = {**OBSERVATION, "flags": {"error": None, "escalated": None}}

    assert world.cli("ingest", "-", "-o", "json", stdin=lines(unknown)).json["accepted"] == 1

    counted = stats(world, version=2)
    assert counted["n"] - counted["d.error"] == 1
    assert counted["n"] - counted["d.escalated"] == 1


def test_a_line_that_no_reader_can_take_in_is_refused_with_its_number(running: World):
    digits = "9" * 5_000
    text = f'{"[" * 100_000}\n{{"id": {digits}}}\n'

    told = running.cli("ingest", "-", stdin=text)

    assert told.code == 2
    assert "<stdin>:1: not readable" in told.err
    assert "<stdin>:2: not readable" in told.err


def test_nothing_of_a_refused_file_was_counted(world: World):
    world.started()
    world.cli("ingest", "-", stdin=lines(OBSERVATION, {"id": "x"}))

    assert world.cli("ingest", "-", "-o", "json", stdin=lines(OBSERVATION)).json["accepted"] == 1


def test_every_wrong_line_is_told_with_its_number(running: World):
    text = f"not json\n\n{json.dumps({**OUTCOME, 'correct': 2})}\n[1]\n" + '{"kind":1,"kind":2}\n'

    told = running.cli("ingest", "-", stdin=text).err

    assert "<stdin>:1: not JSON: Expecting value at column 1" in told
    assert "<stdin>:3: correct: 2 is not a grade" in told
    assert "<stdin>:4: expected an object" in told
    assert "<stdin>:5: kind: given twice" in told


def test_the_split_of_an_observation_is_the_one_that_was_in_force(world: World):
    world.started()  # the share rose at 12:01
    early: dict[str, object] = {**OBSERVATION, "id": "early", "at": START.isoformat()}
    world.feed(iter([early, {**OBSERVATION}]))

    store = open_store(world.url)
    rows, _ = store.rollups("support-bot/1")
    store.close()
    assert {row.version for row in rows} == {1, 2}


def test_an_unreadable_file_exits_2(running: World):
    answer = running.cli("ingest", str(running.folder / "none.jsonl"))

    assert answer.code == 2
    assert "cannot be read" in answer.err


def test_a_large_file_is_counted_in_parts(world: World):
    world.started()
    many = list(requests(world, per_arm=1_300, minutes=1))

    received = world.cli("ingest", "-", "-o", "json", stdin=lines(*many)).json

    assert received["accepted"] == len(many) == 5_200
    assert received["touched"] == ["support-bot/1"]
