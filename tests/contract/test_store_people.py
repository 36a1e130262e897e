"""The contract of `controller.ports.MetricsStore.ingest` about people's grades beside a judge's, for every store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from controller.ports import Store
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.metrics import MICRO
from controller.rollout.observation import Cohort, Grades, Observation, Outcome
from controller.rollout.plan import Unit
from tests.accounting.factories import (
    BASELINE,
    CANDIDATE,
    HALF,
    HOUR,
    MINUTE,
    NOW,
    ROLLOUT,
    observation,
    outcome,
    send,
    started,
    totals,
)

SHARE_U = 250_000
FLAGGED = ({"escalated": True}, {"error": True})
UNITS = [Unit.CONVERSATION, Unit.REQUEST]


def units(*, drawn: bool) -> Iterator[str]:
    """Names of units that people grade, or of those that they do not."""
    names = (f"unit-{number}" for number in itertools.count())
    return (name for name in names if is_drawn(ROLLOUT, name, SHARE_U) is drawn)


IN, OUT = next(units(drawn=True)), next(units(drawn=False))


def by_judge(about: str, correct: float, name: str = "judge") -> Outcome:
    return outcome(about, correct, name=f"{name} of {about}", source="judge")


def by_person(about: str, correct: float, name: str = "person", **of: object) -> Outcome:
    return outcome(about, correct, name=f"{name} of {about}", source="person", **of)  # type: ignore[arg-type] # what an outcome has


def kept_apart(store: Store) -> dict[str, int]:
    return {key: n for key, n in totals(store).items() if key.startswith(("drawn", "both"))}


def both(judge: float, person: float) -> dict[str, int]:
    """Of one episode; what is 0 is absent."""
    found = {
        "drawn": 1,
        "drawn.judge_u": round(judge * MICRO),
        "both": 1,
        "both.judge_u": round(judge * MICRO),
        "both.person_u": round(person * MICRO),
        "both.product_u": round(judge * person * MICRO),
    }
    return {key: n for key, n in found.items() if n}


@pytest.mark.parametrize("unit", UNITS)
def test_a_judges_and_a_persons_grade_of_one_answer_are_kept_apart(store: Store, unit: Unit):
    started(store, unit=unit, people_u=SHARE_U)

    send(store, observation("a", unit=IN), by_judge("a", 1.0), by_person("a", 0.25))

    assert kept_apart(store) == both(1.0, 0.25)
    found = totals(store)
    assert (found["graded"], found["correct_u"]) == (1, MICRO)
    assert (found["e.graded"], found["e.correct_u"]) == (1, MICRO)
    assert (found["served"], found["served_u"]) == (1, MICRO)


@pytest.mark.parametrize("unit", UNITS)
def test_the_same_comes_of_any_order_and_of_everything_twice(store: Store, unit: Unit):
    sent: list[Observation | Outcome] = [
        observation("a", unit=IN),
        by_judge("a", 1.0),
        by_person("a", 0.0),
        by_person("a", 0.5, "another"),
    ]
    found = []
    for number, order in enumerate(itertools.permutations(sent)):
        name = f"{number}"
        if not number:
            started(store, unit=unit, people_u=SHARE_U)
        named = [_named(one, name) for one in order]
        before = kept_apart(store)
        for one in (*named, *named):
            send(store, one)
        after = kept_apart(store)
        found.append({key: after[key] - before.get(key, 0) for key in after})

    assert all(one == both(1.0, 0.25) for one in found)


def _named(one: Observation | Outcome, name: str) -> Observation | Outcome:
    if isinstance(one, Outcome):
        return replace(one, id=f"{name} {one.id}", observation=f"{name} {one.observation}")
    # Another minute far off, so that each is an episode of its own.
    return replace(one, id=f"{name} {one.id}", at=one.at + int(name) * HOUR)


def test_what_people_say_of_a_unit_that_is_not_drawn_is_not_counted(store: Store):
    started(store, people_u=SHARE_U)

    send(store, observation("a", unit=OUT), by_judge("a", 1.0), by_person("a", 0.0))

    assert kept_apart(store) == {}
    assert totals(store)["e.correct_u"] == MICRO


def test_a_person_counts_as_any_other_where_nobody_is_to_grade_beside_the_judge(store: Store):
    started(store)

    send(store, observation("a", unit=IN), by_judge("a", 1.0), by_person("a", 0.0))

    assert kept_apart(store) == {}
    assert totals(store)["e.correct_u"] == MICRO // 2


def test_a_source_that_means_nothing_counts_as_the_judges(store: Store):
    started(store, people_u=SHARE_U)

    send(store, observation("a", unit=IN), outcome("a", 1.0, source="people"))

    assert kept_apart(store) == {"drawn": 1, "drawn.judge_u": MICRO}


def test_a_drawn_answer_is_told_before_a_person_grades_it(store: Store):
    started(store, people_u=SHARE_U)
    send(store, observation("a", unit=IN), by_person("a", 1.0))
    assert kept_apart(store) == {}  # the judge has not

    send(store, by_judge("a", 1.0))
    assert kept_apart(store) == both(1.0, 1.0)

    send(store, by_judge("a", 0.0, "second thought"))
    assert kept_apart(store) == both(0.5, 1.0)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("flags", FLAGGED)
def test_a_drawn_answer_that_is_wrong_as_it_stands_needs_no_person(store: Store, unit: Unit, flags):
    started(store, unit=unit, people_u=SHARE_U)
    send(store, observation("a", unit=IN, flags=flags))
    assert kept_apart(store) == both(0.0, 0.0)

    # It was the very attempt that the person looked at.
    send(store, by_person("a", 1.0, grades=Grades.ATTEMPT))
    assert kept_apart(store) == both(0.0, 1.0)


@pytest.mark.parametrize("unit", UNITS)
def test_an_answer_that_turns_out_escalated_is_graded_as_the_one_served_no_more(
    store: Store, unit: Unit
):
    started(store, unit=unit, people_u=SHARE_U)
    send(store, observation("a", unit=IN), by_judge("a", 1.0), by_person("a", 1.0))

    send(store, outcome("a", None, name="escalation", flags={"escalated": True}))

    assert kept_apart(store) == both(0.0, 0.0)


def test_a_conversation_has_the_mean_of_those_answers_that_people_graded(store: Store):
    started(store, people_u=SHARE_U)
    for number, judge in enumerate((1.0, 1.0, 0.0, 1.0)):
        send(store, observation(f"a{number}", unit=IN, at=NOW + number * MINUTE))
        send(store, by_judge(f"a{number}", judge))
    send(store, by_person("a0", 1.0), by_person("a2", 0.5))

    assert kept_apart(store) == both(0.75, 0.75)
    # The next conversation of the unit is one of its own.
    send(store, observation("b", unit=IN, at=NOW + 2 * HOUR), by_judge("b", 1.0))
    assert (kept_apart(store)["drawn"], kept_apart(store)["both"]) == (2, 1)


def test_requests_of_one_unit_at_one_moment_have_each_its_own_grade(store: Store):
    """Where the request is the unit of the plan, whatever else they are said to be of."""
    started(store, unit=Unit.REQUEST, people_u=SHARE_U)

    send(store, *(observation(name, unit=IN) for name in ("a", "b")))
    send(store, by_judge("a", 1.0), by_judge("b", 1.0), by_person("a", 0.0))
    assert kept_apart(store) == {**both(1.0, 0.0), "drawn": 2, "drawn.judge_u": 2 * MICRO}

    send(store, by_person("b", 1.0))
    found = kept_apart(store)
    assert (found["both"], found["both.person_u"]) == (2, MICRO)


def test_what_is_not_compared_is_not_drawn(store: Store):
    started(store, people_u=SHARE_U)

    send(
        store,
        observation("a", unit=IN, arm=BASELINE, cohort=Cohort.OUTSIDE),
        by_judge("a", 1.0),
        by_person("a", 1.0),
    )

    assert kept_apart(store) == {}


def test_rollouts_side_by_side_keep_their_own_counsel(store: Store):
    """One whose people grade, and one in which a person is as good as any, in the same batch."""
    started(store, people_u=MICRO)
    started(store, rollout="other/1", shares=HALF)

    send(
        store,
        *(observation("a", unit="ann"), by_judge("a", 1.0), by_person("a", 0.0)),
        *(observation("b", rollout="other/1", unit="ann"), by_judge("b", 1.0), by_person("b", 0.0)),
    )

    assert kept_apart(store) == both(1.0, 0.0)
    assert totals(store)["e.correct_u"] == MICRO
    assert totals(store, "other/1")["e.correct_u"] == MICRO // 2
    assert CANDIDATE.value in {row.arm for row in store.rollups("other/1")[0]}
