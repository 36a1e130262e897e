"""Coverage where a sample of answers is graded: missing is what is missing within the sample."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.reconcile.observe import needed
from controller.rollout.codec import decode, encode
from controller.rollout.evidence.coverage import (
    Straying,
    _differs,
    coverage_between,
    coverage_of_people,
    falls_short,
    missing_blocks,
    straying,
)
from controller.rollout.evidence.readings import proven, read
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.plan import Arm, Plan, Rule, Then
from controller.rollout.verdict import Coverage, Outcome
from tests.rollout.test_coverage import LOSS, PROMPT, as_closed, block, blocks
from tests.rollout.test_readings import START, row, view

PART_U = 300_000
SAMPLED = replace(PROMPT, labels=replace(PROMPT.labels, sampled_u=PART_U))


def answers(
    minute: int,
    arm: str,
    graded: int,
    n: int,
    *,
    episodes: int | None = None,
    escalated: int = 0,
    failed: int = 0,
):
    """So many answers, each an episode of its own unless there are fewer; graded ones are right."""
    e = n if episodes is None else episodes
    in_episodes = min(graded, e)
    stats = {
        "n": n,
        "e": e,
        "graded": graded,
        "e.graded": in_episodes,
        "e.correct_u": in_episodes * MICRO,
        "f.escalated": escalated,
        "f.error": failed,
    }
    return row(minute, stats, arm=arm)


def week(candidate: int, baseline: int = 9_000, *, escalated: int = 0, n: int = 10_000):
    """A thousand blocks without any loss, of so many graded answers of 30,000 and 10,000."""
    return [
        answers(START + 1, "baseline", baseline, 3 * n),
        answers(START + 1, "candidate", candidate, n, escalated=escalated),
        blocks(START + 1, {"0": 1_000}),
    ]


def found_in(rows, of: Plan = SAMPLED):
    return read(view(rows, minutes=119, of=of), LOSS, "refund")


def missing_in(rows, sampled_u: int = PART_U) -> int:
    reader = view(rows, minutes=119, of=SAMPLED).reader
    ends = np.array([START + 120])
    (found,) = missing_blocks(reader, "refund", START, ends, sampled_u=sampled_u).tolist()
    return found


# What is covered


@pytest.mark.parametrize("candidate", [3_000, 2_960, 3_040], ids=["exactly", "fewer", "more"])
def test_a_sample_that_is_graded_is_full_coverage(candidate):
    """A hundredth of the sampled part more or less is chance, or makes no difference."""
    found = found_in(week(candidate))

    assert found.worst_case is None
    assert judge(LOSS, found).confident is Outcome.PASS


def test_coverage_that_differs_within_the_sample_counts_what_is_missing_of_it():
    found = found_in(week(2_400))

    assert found.worst_case is not None
    coverage = found.worst_case.coverage
    assert (coverage.candidate_graded, coverage.candidate_n, coverage.differs) == (
        2_400,
        10_000,
        True,
    )
    # 3,000 were to be graded and 2,400 are: 1,000 blocks × 600/2,400
    assert found.worst_case.proof.tally == {"0": 1_000, str(MICRO): 250}
    assert judge(LOSS, found).confident is Outcome.INSUFFICIENT


def test_the_same_labels_without_a_sample_are_missing_of_all():
    # 10,000 − 2,400 of the candidate's and 21,000 of the baseline's: 1,000 × 7,600/2,400 and 1,000 × 21,000/9,000
    assert missing_in(week(2_400), MICRO) == 3_167 + 2_334


def test_labels_that_both_arms_lack_alike_are_not_held_against_a_pass():
    """As without a sample; and where fewer are graded than was planned, escalated answers weigh too much already."""
    found = found_in(week(2_000, 6_000))

    assert found.worst_case is None


@given(block, st.booleans(), st.integers(0, 40), st.integers(0, 40))
def test_with_the_missing_ones_at_their_worst_the_mean_is_no_less_than_the_loss(
    closed, above_half, without_b, without_c
):
    n = len(closed)
    values, right, known = as_closed(closed, above_half)
    # Half of the answers are sampled, and of those so many have no label.
    rows = [
        answers(START, "baseline", known[0], 2 * (known[0] + without_b)),
        answers(START, "candidate", known[1], 2 * (known[1] + without_c)),
        blocks(START, {"0": n}),
    ]

    missing = missing_in(rows, MICRO // 2)

    worst = Fraction(right[0] + without_b, known[0] + without_b)
    loss = worst - Fraction(right[1], known[1] + without_c)
    assert (sum(values) + missing) / (n + missing) >= loss
    assert (missing == 0) == (without_b == without_c == 0)


conversations = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=15)


@given(conversations, st.integers(0, 10), st.integers(0, 100))
def test_labels_that_are_missing_in_conversations_are_covered_too(kept, whole, baseline):
    """`kept` have one label each and so many missing ones; of `whole` the only label is missing."""
    n, right = len(kept), sum(label for label, _ in kept)
    assume(2 * right >= n)  # an accuracy from 50% on
    x = Fraction(baseline, 100)
    without = sum(missing for _, missing in kept) + whole
    asked = n + without
    assume(without)
    rows = [
        answers(START, "baseline", n, 2 * n),
        # Half are sampled, and a conversation has several answers.
        answers(START, "candidate", n, 2 * asked, episodes=n + whole),
        blocks(START, {"0": n}),
    ]

    missing = missing_in(rows, MICRO // 2)

    worst = sum(Fraction(label, 1 + more) for label, more in kept) / (n + whole)
    assert (n * x - right + missing) / (n + missing) >= x - worst


# More than was planned


def test_a_pass_must_hold_with_the_escalated_answers_that_weigh_too_little():
    # Of 10,000 answers 400 escalated: 30% of those, and of the 9,600 others 60%. Of the baseline's 60%.
    graded = 120 + 5_760
    found = found_in(week(graded, 18_000, escalated=400))

    assert found.worst_case is not None
    assert not found.worst_case.coverage.differs
    # Lacking are 400 × (60% − 30%) = 120, as labels of the 5,880 that are known: 1,000 × 120/5,880, rounded up
    assert found.worst_case.proof.tally == {"0": 1_000, str(MICRO): 21}


def test_without_escalated_answers_nothing_weighs_too_little():
    found = found_in(week(6_000, 18_000))

    assert found.worst_case is not None
    assert found.worst_case.proof.tally == {"0": 1_000}
    assert judge(LOSS, found).confident is Outcome.PASS


def test_what_is_lacking_is_the_candidates_alone():
    """Failed answers of the baseline that weigh too little make it look better, which is no excuse for a pass."""
    rows = [
        answers(START + 1, "baseline", 18_000, 30_000, escalated=1_000),
        answers(START + 1, "candidate", 3_000, 10_000),
        blocks(START + 1, {"0": 1_000}),
    ]

    assert missing_in(rows) == 0


@pytest.mark.parametrize("candidate", [3_000, 2_400, 6_000])
def test_what_is_proven_at_many_ends_is_what_a_reading_at_each_would_say(candidate):
    rows = [
        one
        for i in range(0, 100, 5)
        for one in (
            answers(START + i, "baseline", 450, 1_500),
            answers(START + i, "candidate", candidate // 60 if i >= 60 else 50, 167, escalated=20),
            blocks(START + i, {"0": 50}),
        )
    ]
    ends = np.arange(START + 1, START + 101)

    many = proven(view(rows, minutes=99, of=SAMPLED), LOSS, "refund", ends)

    alone = [
        judge(
            LOSS, read(view(rows, minutes=int(end) - START - 1, of=SAMPLED), LOSS, "refund")
        ).confident
        is Outcome.PASS
        for end in ends
    ]
    assert many.tolist() == alone
    assert any(alone)


@pytest.mark.parametrize(("graded", "holds"), [(4_000, True), (3_600, False)])
def test_what_is_missing_is_held_against_the_sample_however_small_that_is(graded, holds):
    """A tenth of the sample is a hundredth of all answers, which would make no difference."""
    tenth = replace(PROMPT, labels=replace(PROMPT.labels, sampled_u=100_000))
    rows = [
        answers(START + 1, "baseline", 12_000, 120_000),
        answers(START + 1, "candidate", graded, 40_000),
        blocks(START + 1, {"0": 1_000}),
    ]
    at = view(rows, minutes=119, of=tenth)

    assert proven(at, LOSS, "refund", START + np.array([60, 119, 120])).tolist() == [holds] * 3
    assert (judge(LOSS, read(at, LOSS, "refund")).confident is Outcome.PASS) is holds


# What is told


@pytest.mark.parametrize(
    ("baseline", "candidate", "told"),
    [
        (9_000, 3_000, {}),
        (8_900, 3_050, {}),
        (9_000, 2_500, {Arm.CANDIDATE: Straying.FEWER}),
        (
            30_000,
            10_000,
            {Arm.BASELINE: Straying.MORE, Arm.CANDIDATE: Straying.MORE},
        ),
        (6_000, 3_000, {Arm.BASELINE: Straying.FEWER}),
    ],
)
def test_an_arm_of_which_another_part_is_graded_than_was_planned_is_named(
    baseline, candidate, told
):
    coverage = Coverage(
        baseline_graded=baseline,
        baseline_n=30_000,
        candidate_graded=candidate,
        candidate_n=10_000,
        differs=False,
        sampled_u=PART_U,
    )

    assert straying(coverage) == told


def test_nothing_strays_where_there_is_nothing():
    nothing = Coverage(
        baseline_graded=0, baseline_n=0, candidate_graded=0, candidate_n=0, differs=False
    )

    assert straying(nothing) == {}
    assert straying(replace(nothing, sampled_u=PART_U)) == {}


def test_a_record_keeps_the_sampled_part_and_one_from_before_had_all():
    found = found_in(week(2_400))
    assert found.worst_case is not None
    coverage = found.worst_case.coverage

    assert decode(Coverage, encode(coverage)) == coverage
    before = {key: value for key, value in encode(coverage).items() if key != "sampled_u"}
    assert decode(Coverage, before).sampled_u == MICRO


# The metric, and what is kept for all this


@pytest.mark.parametrize(("of", "value"), [(SAMPLED, 0.8), (PROMPT, 0.24)])
def test_the_coverage_metric_is_of_the_sampled_part(of: Plan, value: float):
    rule = Rule(
        name="coverage",
        metric=CATALOGUE["coverage"],
        limit=0.9,
        below=True,
        window=timedelta(hours=2),
        then=Then.PAUSE,
    )
    asked = replace(of, rules=(rule,))

    found = read(view(week(2_400), minutes=119, of=asked), rule, "refund")

    assert found.latest is not None
    assert found.latest.value == pytest.approx(value)


def test_escalated_answers_are_kept_in_mind_where_a_sample_is_graded():
    alone = replace(SAMPLED, rules=(LOSS,))

    assert needed(alone)("f.escalated")
    assert not needed(replace(PROMPT, rules=(LOSS,)))("f.escalated")


def test_what_nobody_would_be_surprised_by_is_not_another_part():
    """Three in a hundred beyond a gap of six in a thousand: more than 95% of samples keep to, less than 99.9%."""
    of = Coverage(
        baseline_graded=340,
        baseline_n=1_000,
        candidate_graded=262,
        candidate_n=1_000,
        differs=False,
        sampled_u=PART_U,
    )

    assert straying(of) == {}
    ten_times = replace(
        of, baseline_graded=3_400, baseline_n=10_000, candidate_graded=2_620, candidate_n=10_000
    )
    assert straying(ten_times) == {Arm.BASELINE: Straying.MORE, Arm.CANDIDATE: Straying.FEWER}


def test_where_all_are_graded_conversations_are_counted_and_of_a_sample_their_answers():
    rows = [answers(START, arm.value, 36, 40, episodes=10) for arm in Arm]
    reader = view(rows, minutes=119, of=SAMPLED).reader

    of_all, of_sample = (
        coverage_between(reader, "refund", START, START + 9, sampled_u=part)
        for part in (MICRO, MICRO - 1)
    )

    assert (of_all.baseline_graded, of_all.baseline_n) == (10, 10)
    assert (of_sample.candidate_graded, of_sample.candidate_n) == (36, 40)


def lacking(candidate: tuple[int, int], *, part_u: int, closed: int = 1_000, **said: int) -> int:
    """Blocks for what the candidate lacks, of so many answers graded of so many; the baseline lacks nothing."""
    rows = [
        answers(START, "candidate", *candidate, **said),
        answers(START, "baseline", 500, 500 * MICRO // part_u),
        blocks(START, {"0": closed}),
    ]
    return missing_in(rows, part_u)


@pytest.mark.parametrize(
    ("graded", "n", "episodes", "missing"),
    [(4, 7, 4, 8), (4, 6, 4, 5), (1, 4, 1, 11), (4, 4, 4, 0), (4, 7, 7, 3)],
    ids=["three of four", "two", "three beside one", "none", "each alone"],
)
def test_missing_answers_of_conversations_count_for_a_little_more_than_two_each(
    graded, n, episodes, missing
):
    """2 a + a² / 2 known, rounded up; one each where no conversation has several."""
    part_u = (
        MICRO - 1
    )  # a sample of all but one in a million: as many are to be graded as there are

    found = lacking((graded, n), part_u=part_u, closed=graded, episodes=episodes)

    assert found == missing


def test_where_all_are_graded_a_conversation_without_a_label_is_one():
    rows = [
        row(START, {"n": 40, "e": 10, "graded": 30, "e.graded": 8}, arm="candidate"),
        row(START, {"n": 10, "e": 10, "graded": 10, "e.graded": 10}, arm="baseline"),
        blocks(START, {"0": 8}),
    ]

    assert missing_in(rows, MICRO) == 2


@pytest.mark.parametrize(
    ("wrong", "missing"),
    [({"escalated": 10}, 12), ({"failed": 10}, 12), ({"escalated": 5, "failed": 5}, 12), ({}, 0)],
)
def test_answers_that_are_wrong_without_a_grade_lack_as_much_as_the_others_have_too_many(
    wrong, missing
):
    """Of 100, 10 are wrong, and 60 are graded of the 50 that were to be: 10 (60 − 50) / (100 − 10), rounded up, are
    lacking beside 60, and so 12 blocks beside 360.
    """
    found = lacking((60, 100), part_u=MICRO // 2, closed=360, **wrong)

    assert found == missing


def test_where_all_but_one_answer_are_wrong_that_one_is_divided_by():
    # 1 · (2 − 1) / (2 − 1)
    assert lacking((2, 2), part_u=MICRO // 2, closed=2, escalated=1) == 1
    assert lacking((2, 2), part_u=MICRO // 2, closed=2, escalated=2) == 2


# By people


@pytest.mark.parametrize(
    ("graded", "differs"),
    [
        ((1_000, 1_000), False),
        ((985, 1_000), False),
        ((1_000, 985), False),
        ((900, 1_000), True),
        ((1_000, 900), True),
        ((900, 900), True),
    ],
)
def test_people_fall_short_where_clearly_not_all_of_an_arms_draw_is_graded(graded, differs):
    ours, theirs = graded

    found = coverage_of_people(theirs, 1_000, ours, 1_001)

    assert found == Coverage(
        baseline_graded=theirs,
        baseline_n=1_000,
        candidate_graded=ours,
        candidate_n=1_001,
        differs=differs,
        by_people=True,
    )
    assert falls_short(np.array([[theirs, 1_000, ours, 1_001]])).tolist() == [differs]


counts = st.integers(0, 3_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(st.lists(st.tuples(counts, counts), max_size=6))
def test_parts_that_differ_are_parts_of_which_one_falls_short(said):
    rows = [[*theirs, *ours] for theirs, ours in said]

    found = falls_short(np.array(rows, dtype=np.int64).reshape(-1, 4))

    assert found.tolist() == [coverage_of_people(*one).differs for one in rows]
    for (graded_b, n_b, graded_c, n_c), short in zip(rows, found.tolist(), strict=True):
        assert short or not _differs(graded_b, n_b, graded_c, n_c, MICRO)
