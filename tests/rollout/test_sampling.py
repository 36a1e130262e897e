"""Which answers that are wrong without a grade count as a part of a sample, and what is estimated by those that do."""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.assignment import assign
from controller.rollout.counting.sampling import is_drawn, is_sampled
from controller.rollout.metrics import MICRO
from controller.rollout.observation import Grades
from controller.rollout.plan import Arm, Unit
from controller.store.memory import MemoryStore
from tests.accounting.factories import (
    BASELINE,
    CANDIDATE,
    ROLLOUT,
    observation,
    outcome,
    send,
    started,
    totals,
)

PART_U = 300_000
NAMES = [f"req-{number}" for number in range(20_000)]


def inside(names: list[str], part_u: int = PART_U, rollout: str = ROLLOUT) -> list[str]:
    return [name for name in names if is_sampled(rollout, name, part_u)]


def off(count: int, of: int, part: float) -> float:
    """By how many standard deviations of a binomial."""
    return abs(count - of * part) / math.sqrt(of * part * (1 - part))


@pytest.mark.parametrize("part_u", [10_000, PART_U, 333_333, 900_000])
def test_as_many_of_ids_in_a_row_lie_in_the_sample_as_it_says(part_u: int):
    assert off(len(inside(NAMES, part_u)), len(NAMES), part_u / MICRO) < 5


def test_the_sample_is_independent_of_the_arm_and_of_another_rollouts():
    candidates = [name for name in NAMES if assign("salt", name, 5_000) is Arm.CANDIDATE]
    own = inside(NAMES)

    assert off(len(inside(candidates)), len(candidates), 0.3) < 5
    assert off(len(inside(own, rollout="support-bot/2")), len(own), 0.3) < 5


@pytest.mark.parametrize("lies_in", [is_sampled, is_drawn])
@given(st.text(), st.integers(1, MICRO), st.integers(1, MICRO))
def test_a_larger_sample_holds_a_smaller_one(lies_in, name: str, one: int, other: int):
    small, large = sorted((one, other))

    assert lies_in(ROLLOUT, name, MICRO)
    assert lies_in(ROLLOUT, name, large) or not lies_in(ROLLOUT, name, small)


@pytest.mark.parametrize(("lies_in", "of"), [(is_sampled, "labels"), (is_drawn, "people")])
def test_a_place_in_the_sample_is_its_hash_for_good(lies_in, of: str):
    """Every release, store and replica must find the same: the words of the design, by hashlib alone."""
    salt = f"{of} of {ROLLOUT}"
    for name in ("a", "", "ä", "req-7"):
        hashed = hashlib.sha256(f"{len(salt)}:{salt}{name}".encode()).digest()
        place = int.from_bytes(hashed[:8], "big") / 2**64

        assert lies_in(ROLLOUT, name, math.ceil(place * MICRO))
        assert not lies_in(ROLLOUT, name, math.floor(place * MICRO))


# What is estimated

ESCALATION, ACCURACY, RATE, N = 0.05, 0.9, 0.3, 20_000


def estimates(
    sampled_u: int, *, graded_too: float, answers: int = 1
) -> dict[Arm, tuple[float, float]]:
    """Each arm's accuracy as it is counted, and its standard error at most. Both arms are right in `ACCURACY` of the
    answers; of the candidate's conversations of so many `answers`, `ESCALATION` escalate as a whole and are wrong, and
    graders look at the part `graded_too` of those answers.
    """
    random = np.random.default_rng(19)
    store = MemoryStore()
    unit = Unit.REQUEST if answers == 1 else Unit.CONVERSATION
    started(store, unit=unit, sampled_u=sampled_u, horizon=timedelta(days=1))
    for arm in (BASELINE, CANDIDATE):
        escalation = ESCALATION if arm is CANDIDATE else 0.0
        escalated = np.repeat(random.random(N // answers) < escalation, answers)
        right = ~escalated & (random.random(N) < ACCURACY / (1 - escalation))
        picked = random.random(N) < np.where(escalated, graded_too, RATE)
        names = [f"{arm}-{number}" for number in range(N)]
        send(
            store,
            *(
                observation(
                    name,
                    arm=arm,
                    unit=f"{arm} {number // answers}",
                    flags={"escalated": bool(escalated[number])},
                )
                for number, name in enumerate(names)
            ),
            *(
                outcome(names[number], float(right[number]), grades=Grades.ATTEMPT)
                for number in picked.nonzero()[0]
            ),
        )
    found = {}
    for arm in (BASELINE, CANDIDATE):
        counted = totals(store, arm=arm.value)
        share = counted["e.correct_u"] / MICRO / counted["e.graded"]
        found[arm] = (share, math.sqrt(share * (1 - share) / counted["e.graded"]))
    return found


@pytest.mark.parametrize("answers", [1, 4], ids=["requests", "conversations"])
@pytest.mark.parametrize("graded_too", [0.0, RATE, 1.0], ids=["never", "as all", "always"])
def test_a_candidate_that_loses_nothing_seems_to_lose_nothing(graded_too: float, answers: int):
    """Whichever of the escalated answers graders look at."""
    for share, error in estimates(PART_U, graded_too=graded_too, answers=answers).values():
        assert abs(share - ACCURACY) < 4.5 * error


def test_without_saying_what_is_sampled_it_seems_to_lose():
    found = estimates(MICRO, graded_too=0.0)

    # Right of what counts: 0.9 × 30%, of 5% and 95% × 30%
    share, error = found[CANDIDATE]
    assert abs(share - 0.9 * RATE / (ESCALATION + (1 - ESCALATION) * RATE)) < 4.5 * error
    assert found[BASELINE][0] - share > 0.09
