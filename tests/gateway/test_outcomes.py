"""What the application learnt: strict, all or nothing, and the same words twice are one outcome."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from controller.errors import DataError
from controller.gateway.ledger import outcome_line
from controller.gateway.outcomes import MOST, read_outcomes
from controller.sources.feed import outcome_of
from tests.traffic.factories import NOW

CORRECT = {"request_id": "r-1", "correct": True}


def read(*outcomes: dict[str, Any]) -> list[dict[str, Any]]:
    return read_outcomes(json.dumps({"outcomes": outcomes}).encode(), NOW)


def refused(body: bytes) -> str:
    with pytest.raises(DataError) as caught:
        read_outcomes(body, NOW)
    return str(caught.value)


def test_an_outcome_becomes_fields_of_the_feed():
    [fields] = read(CORRECT)

    outcome = outcome_of(fields)
    assert (outcome.observation, outcome.at, outcome.correct) == ("r-1", NOW, 1.0)


def test_one_outcome_may_come_alone():
    assert read_outcomes(json.dumps(CORRECT).encode(), NOW) == read(CORRECT)


def test_its_own_id_and_time_are_kept():
    [fields] = read({**CORRECT, "id": "mine", "at": "2026-11-20T00:00:00Z"})

    assert (fields["id"], fields["at"]) == ("mine", "2026-11-20T00:00:00Z")


def test_the_same_words_have_the_same_name_whenever_they_are_sent():
    later = read_outcomes(json.dumps(CORRECT).encode(), NOW + timedelta(days=1))

    assert later[0]["id"] == read({"correct": True, "request_id": "r-1"})[0]["id"]


@pytest.mark.parametrize("other", [{**CORRECT, "correct": False}, {**CORRECT, "request_id": "r-2"}])
def test_other_words_have_another_name(other):
    assert read(other)[0]["id"] != read(CORRECT)[0]["id"]


def test_what_is_accepted_can_be_written_down():
    [fields] = read({**CORRECT, "source": "Prüfung \U0001f600", "flags": {"custom.thumb": True}})

    written = json.loads(outcome_line(fields))

    assert written.pop("kind") == "outcome"
    assert written == fields


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "expected an object"),
        (b'{"outcomes": []}', f"expected a list of 1 to {MOST} outcomes"),
        (b'{"outcomes": {}}', "expected a list"),
        (b'{"outcomes": [7]}', "outcomes[0]: expected an object"),
        (b'{"correct": true}', "request_id: missing"),
        (b'{"observation": "r", "correct": true}', "did you mean request_id?"),
        (b'{"request_id": "r", "correct": 2}', "correct: 2 is not a grade"),
        (b'{"request_id": "r", "correct": NaN}', "is not a grade"),
        (b'{"request_id": 5}', "observation: 5 is not a text"),
        (b'{"request_id": "r", "score": 1}', "score: unknown field"),
        (b'{"request_id": "r", "at": "2026-11-21T00:00:00"}', "has no time zone"),
        (b'{"request_id": "r\\ud800", "correct": true}', "half of a surrogate pair"),
        (b'{"request_id": "r", "flags": {"custom.\\ud800": true}}', "half of a surrogate pair"),
        (b'{"outcomes": ' + b"[" * 100_000, "not JSON"),
    ],
)
def test_what_could_not_be_counted_is_refused(body, words):
    assert words in refused(body)


def test_every_problem_is_told_and_nothing_counts():
    told = refused(
        json.dumps({"outcomes": [CORRECT, {**CORRECT, "correct": 2}, {"correct": 1}]}).encode()
    )

    assert [line.split(":")[0] for line in told.splitlines()] == ["outcomes[1]", "outcomes[2]"]


def test_more_than_a_request_may_have_are_refused():
    assert f"1 to {MOST}" in refused(json.dumps({"outcomes": [CORRECT] * (MOST + 1)}).encode())
