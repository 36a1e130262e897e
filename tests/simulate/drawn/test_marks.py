"""What is remembered of sums before marks is what would be summed now."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.counting.tallies import About
from controller.rollout.evidence.comparison import Comparison
from controller.rollout.evidence.reader import Reader
from controller.rollout.observation import MATCHED
from controller.rollout.state import Epoch, Reference
from controller.rollout.timeline import start_of
from controller.simulate.drawn.dense import DenseTallies
from controller.simulate.drawn.marks import Marks
from controller.simulate.runs.bounds import bounds_of, tallies_of
from controller.stats.histogram import bucket_of
from tests.simulate.drawn.test_quantities import FIRST, NAMES, SPLIT, planned, streams
from tests.simulate.factories import rule

RATIO = rule("latency_p95_ratio", limit=1.25)
LENGTH_MIN = 600
EARLIER, LATER = (
    Reference(bucket=bucket_of(seconds), since=start_of(FIRST + minute))
    for seconds, minute in ((3.0, 30), (2.5, 200))
)
AT = np.concatenate([np.arange(FIRST, FIRST + 540, 60), np.arange(FIRST + 541, FIRST + 590)])


def drawn() -> DenseTallies:
    made = streams(planned(RATIO), units_per_minute=30.0)
    tallies = tallies_of(made, LENGTH_MIN)
    tallies.begin(1, NAMES)
    freeze(tallies, EARLIER)
    tallies.add(made.draw(SPLIT, 0, FIRST, LENGTH_MIN).counted)
    return tallies


def freeze(tallies: DenseTallies, *references: Reference) -> None:
    frozen = {"latency_p95_ratio": references}
    since = (references[-1].since - start_of(FIRST)) // timedelta(minutes=1)
    tallies.widen(bounds_of(planned(RATIO), frozen), FIRST + since)


def wealth(tallies: DenseTallies, *references: Reference) -> np.ndarray:
    epoch = Epoch(number=0, start=start_of(FIRST))
    return Comparison.of(RATIO, None, Reader(tallies), epoch, references).wealth(AT)


def test_what_was_added_before_a_percentile_is_frozen_anew_stays_as_it_was():
    asked_before, asked_once = drawn(), drawn()
    before = wealth(asked_before, EARLIER)
    for tallies in (asked_before, asked_once):
        freeze(tallies, EARLIER, LATER)

    found = wealth(asked_before, EARLIER, LATER)

    assert np.array_equal(found, wealth(asked_once, EARLIER, LATER))
    unchanged = AT <= FIRST + 201
    assert np.array_equal(found[:, unchanged], before[:, unchanged])
    assert (found[:, ~unchanged] != before[:, ~unchanged]).all()


def test_only_marks_behind_a_newly_frozen_percentile_are_summed_anew():
    marks, asked = Marks(), list[list[int]]()
    first = About(("ratio",), None, ((5, (1, 1)),))
    second = first._replace(frozen=(*first.frozen, (20, (2, 2))))

    def until(at: np.ndarray) -> np.ndarray:
        asked.append(at.tolist())
        return at[:, None]

    for about in (first, second):
        found = marks.at(np.array([10, 20, 30]), arm=MATCHED, about=about, until=until)
        assert found.tolist() == [[10], [20], [30]]

    assert [one for one in asked if one] == [[10, 20, 30], [30]]


@pytest.mark.parametrize("end", [150, 201, 420])
def test_what_is_drawn_anew_is_added_anew(end: int):
    asked_before, asked_once = drawn(), drawn()
    wealth(asked_before, EARLIER)
    for tallies in (asked_before, asked_once):
        made = streams(planned(RATIO), seed=8, units_per_minute=30.0)
        tallies.cut(FIRST + end)
        tallies.add(made.draw(SPLIT, 1, FIRST + end, LENGTH_MIN - end).counted)

    assert np.array_equal(wealth(asked_before, EARLIER), wealth(asked_once, EARLIER))


def test_blocks_before_marks_are_those_of_now():
    made = streams(planned(rule("accuracy_delta", limit=0.015)), units_per_minute=30.0)
    tallies = tallies_of(made, LENGTH_MIN)
    tallies.begin(1, NAMES)
    tallies.add(made.draw(SPLIT, 0, FIRST, LENGTH_MIN).counted)

    def told(keys: tuple[str, ...]) -> list[list[int]]:
        def until(marks: np.ndarray) -> np.ndarray:
            return tallies.until(marks, keys, arm="both", intent=None)

        found = tallies.at_marks(AT, arm="both", about=About(keys, None), until=until)
        assert np.array_equal(found, until(AT))
        return found.tolist()

    keys = tallies.values_of_blocks(None)
    every = told(keys)
    assert told((*keys[:-2], keys[-1])) != every
    told(keys)
    tallies.cut(FIRST + 300)
    tallies.add(streams(made.plan, seed=8).draw(SPLIT, 1, FIRST + 300, LENGTH_MIN - 300).counted)
    assert told(keys) != every
