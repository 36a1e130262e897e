"""Where coverage begins to differ, and what counts as missing, at the numbers themselves."""

from __future__ import annotations

import numpy as np
import pytest

from controller.rollout.evidence.coverage import coverage_between, missing_blocks, uneven
from controller.rollout.verdict import Coverage
from controller.stats.classical import difference_interval
from tests.rollout.test_coverage import PROMPT, blocks, graded
from tests.rollout.test_readings import START, view


def reader(*rows):
    return view(list(rows), minutes=119, of=PROMPT).reader


def differs(graded_b, n_b, graded_c, n_c):
    """As one window, and as one of many: the same."""
    of = reader(
        graded(START + 3, "baseline", graded_b, n_b), graded(START + 3, "candidate", graded_c, n_c)
    )
    found = coverage_between(of, "refund", START, START + 10)
    assert found == Coverage(
        baseline_graded=graded_b,
        baseline_n=n_b,
        candidate_graded=graded_c,
        candidate_n=n_c,
        differs=found.differs,
    )
    several = uneven(of, "refund", START, np.array([START + 3, START + 4, START + 99]))
    assert several.tolist() == [False, found.differs, found.differs]
    return found.differs


@pytest.mark.parametrize(
    "counts",
    [
        (9_000, 10_000, 870, 1_000),
        (9_000, 10_000, 830, 1_000),
        (870, 1_000, 9_000, 10_000),
        (830, 1_000, 9_000, 10_000),
        (90, 100, 80, 100),
        (10, 10, 0, 10),
        (0, 10, 10, 10),
        (95_000, 100_000, 92_000, 100_000),
        (92_000, 100_000, 95_000, 100_000),
        (95_000, 100_000, 92_500, 100_000),
    ],
)
def test_coverage_differs_where_the_interval_lies_beyond_two_points_on_either_side(counts):
    interval = difference_interval(*counts, method="newcomb", level=0.999)

    expected = bool(interval.lower > 0.02 or interval.upper < -0.02)

    assert differs(*counts) is expected


def test_both_answers_occur_on_either_side():
    assert differs(95_000, 100_000, 92_000, 100_000)
    assert differs(92_000, 100_000, 95_000, 100_000)
    assert not differs(92_700, 100_000, 95_000, 100_000)
    # Just over two points, where there are enough to be sure
    assert differs(95_000_000, 100_000_000, 92_950_000, 100_000_000)
    # Two points exactly, however sure
    assert not differs(950_000, 1_000_000, 930_000, 1_000_000)


@pytest.mark.parametrize("counts", [(0, 0, 900, 1_000), (900, 1_000, 0, 0), (0, 0, 0, 0)])
def test_an_arm_without_episodes_has_no_coverage_to_differ(counts):
    assert not differs(*counts)


def test_coverage_is_that_of_a_stretch_and_of_an_intent():
    of = reader(
        graded(START + 1, "baseline", 1, 2),
        graded(START + 4, "baseline", 30, 40),
        graded(START + 5, "baseline", 500, 600),
        graded(START + 4, "baseline", 7, 9, intent="order-status"),
        graded(START + 4, "candidate", 3, 4),
    )

    found = coverage_between(of, "refund", START + 2, START + 5)

    assert (found.baseline_graded, found.baseline_n) == (30, 40)
    assert (found.candidate_graded, found.candidate_n) == (3, 4)
    assert coverage_between(of, None, START + 2, START + 5).baseline_n == 49
    # Each end counts from the same start.
    late = uneven(of, "refund", START + 2, np.array([START + 2, START + 5]))
    assert late.tolist() == [False, False]


def missing(*rows, start=START, ends=(START + 120,)):
    return missing_blocks(reader(*rows), "refund", start, np.array(ends)).tolist()


def test_missing_labels_of_both_arms_are_rounded_up_apart():
    rows = [
        graded(START + 1, "baseline", 90, 91),  # ⌈10 × 1/90⌉
        graded(START + 1, "candidate", 10, 12),  # ⌈10 × 2/10⌉
        blocks(START + 1, {"0": 7, "1000000": 3}),
    ]

    assert missing(*rows) == [1 + 2]


def test_more_grades_than_episodes_are_no_missing_ones():
    # A late grade of an episode that was counted before the stretch began
    rows = [
        graded(START + 1, "baseline", 12, 10),
        graded(START + 1, "candidate", 10, 10),
        blocks(START + 1, {"0": 5}),
    ]

    assert missing(*rows) == [0]


def test_labels_of_an_arm_that_has_none_are_all_against_the_pass():
    rows = [
        graded(START + 1, "baseline", 0, 4),
        graded(START + 1, "candidate", 3, 3),
        blocks(START + 1, {"0": 2}),
    ]

    # Two blocks and four missing labels beside none: as beside one
    assert missing(*rows) == [8]


def test_without_closed_blocks_the_smaller_arm_says_how_many_there_could_be():
    alone = graded(START + 1, "baseline", 2, 9)
    even = graded(START + 1, "candidate", 3, 3)

    assert missing(alone, even) == [3]
    assert missing(graded(START + 1, "baseline", 9, 9), even) == [0]
    assert missing(alone) == [0]


def test_missing_blocks_are_those_of_each_end_since_the_start():
    rows = [
        graded(START + 1, "baseline", 5, 9),
        graded(START + 1, "candidate", 5, 5),
        blocks(START + 1, {"0": 5}),
        graded(START + 6, "baseline", 10, 12),
        graded(START + 6, "candidate", 10, 10),
        blocks(START + 6, {"0": 10}),
    ]

    # ⌈5 × 4/5⌉ at first; ⌈15 × 6/15⌉ at last; from the second on ⌈10 × 2/10⌉
    assert missing(*rows, ends=(START + 1, START + 2, START + 7)) == [0, 4, 6]
    assert missing(*rows, start=START + 4, ends=(START + 7,)) == [2]


def test_each_end_counts_its_own_stretch_and_intent():
    of = reader(
        # before the stretch, and of another intent, hardly a label of the candidate came
        graded(START + 1, "baseline", 9_000, 9_000),
        graded(START + 1, "candidate", 0, 9_000),
        graded(START + 4, "baseline", 9_000, 9_000, intent="order-status"),
        graded(START + 4, "candidate", 0, 9_000, intent="order-status"),
        graded(START + 4, "baseline", 900, 1_000),
        graded(START + 4, "candidate", 900, 1_000),
        graded(START + 8, "baseline", 9_000, 9_000),
        graded(START + 8, "candidate", 0, 9_000),
    )

    ends = np.array([START + 3, START + 5, START + 9])
    assert uneven(of, "refund", START + 2, ends).tolist() == [False, False, True]
    # One end alone has all that came since the start.
    assert uneven(of, "refund", START + 2, ends[2:]).tolist() == [True]


def test_one_missing_label_and_one_closed_block_count():
    even = graded(START + 1, "candidate", 3, 3)

    assert missing(graded(START + 1, "baseline", 8, 9), even) == [3]
    one = [graded(START + 1, "baseline", 4, 9), graded(START + 1, "candidate", 7, 7)]
    # One block: its part of five missing beside four; without it all seven could count
    assert missing(*one, blocks(START + 1, {"0": 1})) == [2]
