"""The contract of `controller.ports.MetricsStore.ingest` about sampled labels, for every store there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from controller.ports import Store
from controller.rollout.counting.sampling import is_sampled
from controller.rollout.metrics import MICRO
from controller.rollout.observation import Grades
from controller.rollout.plan import Unit
from tests.accounting.factories import (
    BASELINE,
    CANDIDATE,
    MINUTE,
    NOW,
    ROLLOUT,
    observation,
    outcome,
    send,
    started,
    totals,
)
from tests.contract.test_store_blocks import blocks, graded

SAMPLED_U = 300_000
ESCALATED = {"escalated": True}
FAILED = {"error": True}
ATTEMPT, SERVED = Grades.ATTEMPT, Grades.SERVED


def ids(*, inside: bool) -> Iterator[str]:
    """Names of requests in the sample, or of those that are not."""
    names = (f"request-{number}" for number in itertools.count())
    return (name for name in names if is_sampled(ROLLOUT, name, SAMPLED_U) is inside)


IN, OUT = next(ids(inside=True)), next(ids(inside=False))


def grade(store: Store) -> tuple[int, int]:
    """How many episodes have a grade, and its sum in millionths; requests say the same."""
    found = totals(store)
    of_episodes = found.get("e.graded", 0), found.get("e.correct_u", 0)
    assert of_episodes == (found.get("graded", 0), found.get("correct_u", 0))
    return of_episodes


NONE, WRONG, RIGHT = (0, 0), (1, 0), (1, MICRO)


@pytest.mark.parametrize("unit", [Unit.CONVERSATION, Unit.REQUEST])
@pytest.mark.parametrize(
    ("flags", "grades", "inside", "outside"),
    [
        ({}, (), NONE, NONE),
        ({}, ((SERVED, 1.0),), RIGHT, RIGHT),
        (ESCALATED, (), WRONG, NONE),
        (FAILED, (), WRONG, NONE),
        (ESCALATED, ((SERVED, 1.0),), WRONG, NONE),
        (ESCALATED, ((ATTEMPT, 1.0),), RIGHT, NONE),
        (FAILED, ((SERVED, 1.0),), RIGHT, NONE),
        ({"escalated": False, "error": False}, ((ATTEMPT, 0.0),), WRONG, WRONG),
    ],
)
def test_what_is_wrong_without_a_grade_counts_within_the_sample_alone(
    store: Store, unit: Unit, flags, grades, inside, outside
):
    started(store, unit=unit, sampled_u=SAMPLED_U)
    for name, expected in ((IN, inside), (OUT, outside)):
        before = grade(store)

        send(store, observation(name, flags=flags))
        for kind, correct in grades:
            send(store, outcome(name, correct, grades=kind))

        assert grade(store) == (before[0] + expected[0], before[1] + expected[1])


def test_a_served_grade_counts_wherever_the_request_lies(store: Store):
    started(store, sampled_u=SAMPLED_U)

    send(store, observation(OUT, flags=ESCALATED), outcome(OUT, 1.0))

    assert (totals(store)["served"], totals(store)["served_u"]) == (1, MICRO)


def test_a_conversation_has_the_mean_of_those_of_its_answers_that_count(store: Store):
    started(store, sampled_u=SAMPLED_U)

    for name in (IN, OUT):
        send(store, observation(name, unit="ann", flags=ESCALATED))
    send(store, observation("fine", unit="ann"), outcome("fine", 1.0))

    found = totals(store)
    assert (found["e"], found["e.graded"], found["e.correct_u"]) == (1, 1, MICRO // 2)
    assert (found["graded"], found["f.escalated"]) == (2, 2)


# A grade that goes


def escalates(name: str):
    return outcome(name, None, name=f"escalation of {name}", flags=ESCALATED)


@pytest.mark.parametrize("unit", [Unit.CONVERSATION, Unit.REQUEST])
def test_an_answer_that_turns_out_escalated_has_no_grade_outside_the_sample(
    store: Store, unit: Unit
):
    started(store, unit=unit, sampled_u=SAMPLED_U)
    send(store, *graded(IN, CANDIDATE, 1.0), *graded(OUT, CANDIDATE, 1.0))

    send(store, escalates(IN), escalates(OUT))

    assert grade(store) == WRONG


@pytest.mark.parametrize("unit", [Unit.CONVERSATION, Unit.REQUEST])
def test_a_label_without_a_grade_leaves_the_line(store: Store, unit: Unit):
    started(store, unit=unit, sampled_u=SAMPLED_U)
    send(store, *graded(OUT, CANDIDATE, 1.0))
    send(store, escalates(OUT))

    send(store, *graded("b", BASELINE, 1.0))
    assert blocks(store) == {}
    send(store, *graded("c", CANDIDATE, 0.0, at=NOW + MINUTE), now=NOW + MINUTE)

    assert blocks(store) == {(1, "b.1000000"): 1}


@pytest.mark.parametrize("unit", [Unit.CONVERSATION, Unit.REQUEST])
def test_a_block_opens_when_a_label_of_it_has_no_grade_any_more(store: Store, unit: Unit):
    started(store, unit=unit, shares={"refund": 2500}, sampled_u=SAMPLED_U)
    for number in range(3):
        send(store, *graded(f"b{number}", BASELINE, 1.0))
    send(store, *graded(OUT, CANDIDATE, 1.0))
    assert blocks(store) == {(0, "b.0"): 1}

    send(store, escalates(OUT))
    assert blocks(store) == {}

    # Its baseline labels wait again, and the next of the candidate's closes it.
    send(store, *graded("c", CANDIDATE, 0.0))
    assert blocks(store) == {(0, "b.1000000"): 1}
    send(store, outcome("b0", 0.0, name="another opinion"))  # b0 is (1 + 0) / 2 now
    assert blocks(store) == {(0, "b.833333"): 1}


def test_what_a_block_held_is_used_at_once_where_there_is_another_label(store: Store):
    started(store, sampled_u=SAMPLED_U)
    send(store, *graded(OUT, CANDIDATE, 1.0), *graded("b", BASELINE, 1.0))
    send(store, *graded("c", CANDIDATE, 0.0))

    send(store, escalates(OUT), outcome("b", 0.0, name="another opinion"))

    assert blocks(store) == {(0, "b.500000"): 1}  # (1 + 0) / 2 − 0


def test_a_block_may_come_back_under_its_name(store: Store):
    started(store, unit=Unit.CONVERSATION, sampled_u=SAMPLED_U)
    send(store, *graded("b", BASELINE, 1.0), *graded(OUT, CANDIDATE, 1.0, unit="ann"))
    send(store, escalates(OUT))

    send(store, *graded("again", CANDIDATE, 0.0, unit="ann"))

    assert blocks(store) == {(0, "b.1000000"): 1}
    assert totals(store)["e"] == 2


def test_labels_that_go_stand_in_nobodys_way(store: Store):
    """More of them than are read from a line at a time."""
    started(store, sampled_u=SAMPLED_U)
    gone = list(itertools.islice(ids(inside=False), 40))
    send(store, *(one for name in gone for one in graded(name, CANDIDATE, 1.0)))
    send(store, *graded("c", CANDIDATE, 0.0, at=NOW + MINUTE), now=NOW + MINUTE)

    send(store, *map(escalates, gone), *graded("b", BASELINE, 1.0), now=NOW + MINUTE)

    assert blocks(store) == {(1, "b.1000000"): 1}
    assert grade(store) == (2, MICRO)
