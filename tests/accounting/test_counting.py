"""Counting by itself, without a store: blocks, episodes, grades and rows of deltas."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.errors import DataError
from controller.rollout.counting.account import (
    Account,
    Terms,
    joined,
    kept,
    request_of,
    require_countable,
)
from controller.rollout.counting.blocks import (
    Sizes,
    amend,
    block_count,
    block_sizes,
    close_blocks,
    immature_from,
)
from controller.rollout.counting.deltas import (
    COMPARED,
    Tally,
    count_block,
    count_episodes,
    count_findings,
    count_new_requests,
    count_pair,
    merged,
)
from controller.rollout.counting.items import (
    MINUTE_US,
    Block,
    Episode,
    KeptOutcome,
    Label,
    Request,
    heard_until,
    micros,
    moment_of,
    rounded,
)
from controller.rollout.counting.people import ByPeople, Drawn, drawn_units
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.metrics import MICRO
from controller.rollout.observation import BOTH_ARMS, QUANTITIES, Grades, Pair
from controller.rollout.plan import Arm, Unit
from controller.rollout.timeline import EPOCH
from controller.stats.histogram import bucket_of
from tests.accounting.factories import NOW, ROLLOUT, SECOND, observation, outcome

START = micros(NOW)
ROW = (ROLLOUT, START // MINUTE_US, 3, BOTH_ARMS, "refund", "", COMPARED)


def label(name: str, arm: Arm, grade: float = 1.0, *, after_s: int = 0) -> Label:
    return Label(
        id=name,
        rollout=ROLLOUT,
        version=3,
        intent="refund",
        arm=arm.value,
        start=START + after_s * 1_000_000,
        grade_u=round(grade * MICRO),
    )


def block(value_u: int) -> Block:
    return Block(
        id="c1",
        rollout=ROLLOUT,
        version=3,
        intent="refund",
        minute=START // MINUTE_US,
        value_u=value_u,
    )


# Blocks


@pytest.mark.parametrize(
    ("share_bp", "sizes"),
    [
        (0, None),
        (10_000, None),
        (1, Sizes(baseline=9_999, candidate=1)),
        (1_000, Sizes(baseline=9, candidate=1)),
        (4_000, Sizes(baseline=2, candidate=1)),  # 1.5, to even
        (4_500, Sizes(baseline=1, candidate=1)),
        (5_000, Sizes(baseline=1, candidate=1)),
        (5_500, Sizes(baseline=1, candidate=1)),
        (7_500, Sizes(baseline=1, candidate=3)),
        (9_999, Sizes(baseline=1, candidate=9_999)),
    ],
)
def test_a_block_has_one_label_of_the_smaller_arm_and_so_many_of_the_larger(share_bp, sizes):
    assert block_sizes(share_bp) == sizes


def test_the_arm_with_a_single_label_comes_first():
    assert Sizes(baseline=1, candidate=3).smaller_first() == ("baseline", "candidate")
    assert Sizes(baseline=3, candidate=1).smaller_first() == ("candidate", "baseline")
    assert Sizes(baseline=1, candidate=1).smaller_first() == ("candidate", "baseline")


def test_labels_close_blocks_in_the_order_of_their_starts():
    sizes = Sizes(baseline=2, candidate=1)
    line = [
        label("c2", Arm.CANDIDATE, 0.0, after_s=90),
        label("b3", Arm.BASELINE, 0.5, after_s=70),
        label("c1", Arm.CANDIDATE, 1.0),
        label("b2", Arm.BASELINE, 0.0, after_s=60),
        label("b1", Arm.BASELINE, 1.0),
        label("b5", Arm.BASELINE, after_s=99),
        label("b4", Arm.BASELINE, 1.0, after_s=70),
    ]

    closed = close_blocks(line, sizes)

    assert block_count(line, sizes) == 2
    assert [one for one, _ in closed] == [
        Block("c1", ROLLOUT, 3, "refund", START // MINUTE_US + 1, -500_000),
        Block("c2", ROLLOUT, 3, "refund", START // MINUTE_US + 1, 750_000),
    ]
    assert [[one.id for one in members] for _, members in closed] == [
        ["b1", "b2", "c1"],
        ["b3", "b4", "c2"],
    ]
    assert {one.id: one.block for one in line} == {
        **dict.fromkeys(("b1", "b2", "c1"), "c1"),
        **dict.fromkeys(("b3", "b4", "c2"), "c2"),
        "b5": None,
    }


def test_a_block_with_the_same_grades_is_left_as_it_is():
    tally, one = Tally(), block(500_000)
    members = [label("b1", Arm.BASELINE, 1.0), label("c1", Arm.CANDIDATE, 0.5)]

    assert amend(one, members, tally) is False
    assert one == block(500_000)
    assert tally.minutes() == {}


def test_a_block_moves_to_its_members_present_grades_within_its_minute():
    tally, one = Tally(), block(500_000)
    members = [label("b1", Arm.BASELINE, 1.0), label("c1", Arm.CANDIDATE, 0.0)]

    assert amend(one, members, tally) is True
    assert one == block(1_000_000)
    assert tally.minutes() == {ROW: {"b.500000": -1, "b.1000000": 1}}


def test_a_label_is_mature_from_the_minute_after_the_delay():
    assert immature_from(NOW, timedelta(hours=6)) == micros(NOW - timedelta(hours=6)) + MINUTE_US
    assert immature_from(NOW - SECOND, timedelta(0)) == micros(NOW)


# Rows


def test_what_is_put_in_and_taken_out_leaves_nothing():
    tally = Tally()
    count_block(tally, block(7), +1)
    assert tally.minutes() == {ROW: {"b.7": 1}}

    count_block(tally, block(7), -1)
    assert tally.minutes() == {}


def test_a_change_is_added_and_what_comes_to_nothing_is_left_out():
    kept = {"n": 3, "f.error": 1}

    assert merged(kept, {"f.error": -1, "n": 2, "graded": 4}) == {"n": 5, "graded": 4}
    assert kept == {"n": 3, "f.error": 1}


# What is sent

EVERY = dict(zip(QUANTITIES, (11, 12, 13, 14, 15, 16), strict=True))


@pytest.mark.parametrize(
    ("sent", "kept_as"),
    [
        (EVERY, (11, 12, 13, 14, 15, 16)),
        (dict(reversed(EVERY.items())), (11, 12, 13, 14, 15, 16)),
        ({"latency_us": 15, "input_tokens": 0}, (0, None, None, None, 15, None)),
        ({}, (None,) * 6),
    ],
    ids=["all", "in another order", "some", "none"],
)
def test_a_request_is_kept_as_it_was_sent_with_its_quantities_in_order(sent, kept_as):
    found = request_of(
        observation(
            "r1",
            at=NOW + SECOND,
            unit="u1",
            version=3,
            assigned=True,
            endpoint="responses",
            flags={"error": True},
            quantities=sent,
        )
    )

    assert found == request(
        at=START + 1_000_000,
        assigned=True,
        endpoint="responses",
        flags={"error": True},
        quantities=kept_as,
    )


def test_an_outcome_is_kept_as_it_was_sent_with_its_grade_in_millionths():
    sent = outcome(
        "r1", 0.25, name="o1", grades=Grades.ATTEMPT, flags={"complaint": False}, source="person"
    )

    assert kept(sent, NOW + SECOND) == KeptOutcome(
        id="o1",
        observation="r1",
        at=START,
        received=START + 1_000_000,
        correct_u=250_000,
        grades="attempt",
        flags={"complaint": False},
        source="person",
    )
    assert kept(outcome("r1"), NOW).correct_u is None


@pytest.mark.parametrize("grade", [-0.01, 1.01, math.nan])
def test_what_is_no_grade_is_refused(grade: float):
    with pytest.raises(DataError, match="outcome o1: correct is"):
        kept(outcome("r1", grade, name="o1"), NOW)
    assert [kept(outcome("r1", one), NOW).correct_u for one in (0, 1)] == [0, MICRO]


def test_what_no_metric_reads_and_what_no_sum_may_hold_is_refused_by_name():
    good = observation("good", flags={"error": True, "custom.tone": True}, quantities=EVERY)
    require_countable([good], [outcome("good", flags={"complaint": True, "custom.x": False})])
    require_countable([], [])

    unknown = observation("bad", quantities={"words": 1, "minutes": 1, "input_tokens": 2})
    with pytest.raises(DataError, match="observation bad: no quantity is called minutes, words"):
        require_countable([good, unknown], [])
    below = observation("bad", quantities={"input_tokens": 0, "output_tokens": -1})
    with pytest.raises(DataError, match=r"observation bad: .* has a negative quantity"):
        require_countable([good, below], [])
    flagged = observation("bad", flags={"error": True, "slow": True, "custom": True})
    with pytest.raises(DataError, match="observation bad: no flag is called slow, custom"):
        require_countable([good, flagged], [])
    with pytest.raises(DataError, match="outcome bad: no flag is called slow"):
        require_countable([good], [outcome("r1", name="bad", flags={"slow": False})])


def test_a_flag_that_is_true_once_stays_true():
    known = {"error": True, "retry": False}

    assert joined(known, {"error": False, "retry": True, "refusal": False}) == {
        "error": True,
        "retry": True,
        "refusal": False,
    }
    assert joined(known, {}) == known


# A batch

TERMS = {
    ROLLOUT: Terms(
        unit=Unit.CONVERSATION,
        horizon=timedelta(days=7),
        delay=timedelta(0),
        sampled_u=MICRO,
    )
}


def right(about: str) -> KeptOutcome:
    return kept(outcome(about, 1.0), NOW)


def test_what_is_not_compared_stands_in_nobodys_way():
    account = Account(TERMS, {}, [])
    failed = {"flags": {"error": True}, "quantities": (None,) * len(QUANTITIES)}
    account.observe(request(id="r1", cohort="shadow", **failed))
    account.observe(request(id="r2", **failed))

    account.settle()

    assert account.tally.minutes()[REQUESTS]["ef.error"] == 1
    assert [one.id for one in account.new_episodes()] == ["r2"]


def test_a_stored_request_is_of_the_episode_that_it_was_told_in():
    """Of two of one unit that are alike but for their start."""
    later = START + 60 * MINUTE_US
    episodes = [episode(id="r1"), episode(id="r2", start=later, heard=heard_until(later))]
    stored = request(id="r2", at=later, episode=later)
    account = Account(TERMS, {"r2": stored}, episodes)

    account.learn(stored, right("r2"))
    regraded = account.settle()

    assert [one.id for one in regraded.first] == ["r2"]
    assert [(one.id, one.graded) for one in account.changed_episodes()] == [("r2", 1)]


def test_episodes_are_told_of_by_what_became_of_their_grades():
    """The grade of an answer that turns out escalated beside a sample goes; one that says nothing new is not told."""
    terms = {ROLLOUT: replace(TERMS[ROLLOUT], sampled_u=1)}
    names = ("silent", "first", "again", "no more")
    stored = {name: request(id=name, unit=name, episode=START) for name in names}
    for name in ("again", "no more"):
        stored[name].served_n, stored[name].served_u = 1, MICRO // 2
    episodes = [episode(id=name, unit=name) for name in names]
    for one in episodes[2:]:
        one.graded, one.grades_u = 1, MICRO // 2
    account = Account(terms, stored, episodes)

    account.learn(stored["silent"], kept(outcome("silent", flags={"retry": True}), NOW))
    account.learn(stored["first"], right("first"))
    account.learn(stored["again"], right("again"))
    account.learn(stored["no more"], kept(outcome("no more", flags={"escalated": True}), NOW))
    regraded = account.settle()

    assert [one.id for one in regraded.first] == ["first"]
    assert [(one.id, one.grade_u()) for one in regraded.again] == [("again", 750_000)]
    assert [one.id for one in regraded.no_more] == ["no more"]


# People beside a judge

SHARE_U = 250_000
NAMES = [f"u{n}" for n in range(200)]
IN = next(one for one in NAMES if is_drawn(ROLLOUT, one, SHARE_U))
OUT = next(one for one in NAMES if not is_drawn(ROLLOUT, one, SHARE_U))


def by_person(about: str, grade: float, grades: Grades = Grades.ATTEMPT) -> KeptOutcome:
    return kept(outcome(about, grade, grades=grades, source="person"), NOW)


def test_the_units_of_a_batch_that_people_grade_are_those_of_the_rollouts_hash():
    requests = [request(unit=one) for one in NAMES]
    requests += [request(unit="other", rollout="other/1")]

    found = drawn_units({ROLLOUT: SHARE_U, "third/1": MICRO}, requests)

    assert found == {
        ROLLOUT: {one for one in NAMES if is_drawn(ROLLOUT, one, SHARE_U)},
        "third/1": set(),
    }
    drawn = Drawn({ROLLOUT: SHARE_U}, [], single=())
    for _ in range(2):  # reckoned, and remembered
        assert {one for one in NAMES if drawn.draws(ROLLOUT, one)} == found[ROLLOUT]
    assert not any(drawn.draws("other/1", one) for one in NAMES)


def test_peoples_grades_of_one_answer_are_added_up_by_what_they_are_about():
    drawn = Drawn({ROLLOUT: SHARE_U}, [], single=())
    answer = request(unit=IN, episode=START)

    for grade in (1.0, 0.5, 0.0):
        drawn.learn(answer, by_person("r1", grade))
    for grade in (0.25, 0.75):
        drawn.learn(answer, by_person("r1", grade, Grades.SERVED))
    drawn.learn(request(id="r2", unit=OUT, episode=START), by_person("r2", 1.0))
    drawn.learn(request(id="r3", unit=IN), by_person("r3", 1.0))  # not compared: of no episode

    (found,) = drawn.changed.values()
    assert (found.id, found.unit, found.episode) == ("r1", IN, START)
    assert (found.attempt_n, found.attempt_u) == (3, 1_500_000)
    assert (found.served_n, found.served_u) == (2, MICRO)
    assert found.grade_u() == MICRO // 2


def test_an_answer_of_a_drawn_unit_is_kept_once_there_is_something_to_keep():
    drawn = Drawn({ROLLOUT: SHARE_U}, [], single=())

    drawn.settle(Tally(), [request(unit=IN, episode=START, flags={"error": False})], [])
    assert drawn.changed == {}

    wrong = {"error": True}
    requests = [request(id="r1", unit=IN, episode=START, flags=wrong)]
    requests += [request(id="r2", unit=OUT, episode=START, flags=wrong)]
    drawn.settle(Tally(), requests, [])
    assert [(one.id, one.failed, one.escalated) for one in drawn.changed.values()] == [
        ("r1", True, False)
    ]


@pytest.mark.parametrize(
    ("changes", "grade_u"),
    [
        ({}, None),
        ({"attempt_n": 2, "attempt_u": 9}, 4),  # 4.5, to even
        ({"served_n": 1, "served_u": 7}, 7),
        ({"served_n": 1, "served_u": 7, "escalated": True}, 0),
        ({"served_n": 1, "served_u": 7, "failed": True}, 7),
        ({"attempt_n": 1, "attempt_u": 3, "escalated": True}, 3),
        ({"failed": True}, 0),
        ({"escalated": True}, 0),
    ],
)
def test_a_persons_grade_is_of_the_arms_own_answer(changes, grade_u):
    one = ByPeople("r1", ROLLOUT, "u1", "candidate", "refund", 3, START, **changes)

    assert one.grade_u() == grade_u


# What goes into rows

REQUESTS = (ROLLOUT, START // MINUTE_US, 3, "candidate", "refund", "chat.completions", COMPARED)


def test_what_is_known_of_requests_goes_into_their_row_and_out_again():
    tally = Tally()
    flags = {"error": False, "escalated": True}
    together = [
        request(
            id="r1",
            at=START + MINUTE_US - 1,
            flags=flags,
            served_n=2,
            served_u=9,
            attempt_n=1,
            attempt_u=5,
        ),
        request(id="r2", flags=flags, served_n=1, served_u=7),
        request(id="r3", flags={"error": True}, attempt_n=1, attempt_u=8),
        request(id="r4", flags=dict(flags)),
    ]

    count_findings(tally, together, +1)
    count_findings(tally, together[:2], +1)

    assert tally.minutes() == {
        REQUESTS: {
            "d.error": 6,
            "f.error": 1,
            "d.escalated": 5,
            "f.escalated": 5,
            # An escalated answer that is not graded itself is wrong.
            "graded": 4 + 2,
            "correct_u": (5 + 0 + 8 + 0) + (5 + 0),
            "served": 2 + 2,
            "served_u": (4 + 7) + (4 + 7),  # 4.5, to even
        }
    }
    count_findings(tally, together[:2], -1)
    count_findings(tally, together, -1)
    assert tally.minutes() == {}


def test_what_is_known_of_episodes_goes_into_their_row_and_out_again():
    tally = Tally()
    flags = {"error": False, "escalated": True}
    together = [
        episode(id="r1", start=START + MINUTE_US - 1, flags=flags, graded=2, grades_u=9),
        episode(id="r2", flags=flags),
        episode(id="r3", flags={"error": True}, graded=1, grades_u=8),
    ]

    count_episodes(tally, together, +1)
    count_episodes(tally, together[:2], +1)

    assert tally.minutes() == {
        REQUESTS: {
            "e": 5,
            "ed.error": 5,
            "ef.error": 1,
            "ed.escalated": 4,
            "ef.escalated": 4,
            "e.graded": 2 + 1,
            "e.correct_u": (4 + 8) + 4,
        }
    }
    count_episodes(tally, together[:2], -1)
    count_episodes(tally, together, -1)
    assert tally.minutes() == {}


def test_new_requests_are_counted_with_what_they_took_and_cost():
    tally = Tally()

    def quantities(latency_us: int | None, cost_nusd: int | None) -> tuple[int | None, ...]:
        known = {"latency_us": latency_us, "cost_nusd": cost_nusd, "output_tokens": 3}
        return tuple(known.get(name) for name in QUANTITIES)

    together = [
        request(id="r1", assigned=True, quantities=quantities(MICRO, 50)),
        request(id="r2", quantities=quantities(MICRO, 7), flags={"error": True}),
        request(id="r3", assigned=True, quantities=quantities(None, None)),
    ]

    caps = {ROLLOUT: (10, 20), "another": (30,)}
    count_new_requests(tally, together, caps)
    more = request(id="r4", assigned=True, quantities=quantities(MICRO, 60))
    count_new_requests(tally, [more], caps)

    found = tally.minutes()[REQUESTS]
    assert found == {
        "n": 4,
        "units": 3,
        "c.latency_us": 3,
        "s.latency_us": 3 * MICRO,
        f"h.latency.{bucket_of(1.0)}": 3,
        "c.cost_nusd": 3,
        "s.cost_nusd": 117,
        "c.output_tokens": 4,
        "s.output_tokens": 12,
        "k.cost.10": 27,
        "k.cost.20": 47,
        "d.error": 1,
        "f.error": 1,
        "graded": 1,
    }


@pytest.mark.parametrize(
    ("baseline", "candidate", "key"),
    [
        (1, 1, "p.11"),
        (1.0, 0.0, "p.10"),
        (0, 1, "p.01"),
        (0, 0, "p.00"),
        (1.0, 0.5, "pv.500000"),
        (0.25, 1.0, "pv.-750000"),
        (0.5, 0.5, "pv.0"),
    ],
)
def test_a_pair_is_counted_by_both_grades_or_by_their_difference(baseline, candidate, key):
    tally = Tally()

    count_pair(
        tally,
        Pair(
            id="p1",
            rollout=ROLLOUT,
            at=NOW,
            intent="refund",
            version=3,
            baseline_correct=baseline,
            candidate_correct=candidate,
        ),
    )

    assert tally.minutes() == {ROW: {key: 1}}


# Moments, grades, episodes


def test_a_moment_is_kept_in_microseconds():
    moment = EPOCH + timedelta(days=1, microseconds=5)

    assert repr(micros(moment)) == "86400000005"  # a whole number
    assert micros(moment + timedelta(days=40_000)) == 40_001 * 86_400_000_000 + 5
    assert moment_of(86_400_000_005) == moment


@pytest.mark.parametrize(
    ("over", "under", "whole"), [(7, 2, 4), (5, 2, 2), (8, 3, 3), (7, 3, 2), (-5, 2, -2), (6, 3, 2)]
)
def test_a_quotient_is_rounded_to_the_nearest_and_halves_to_even(over, under, whole):
    assert rounded(over, under) == whole


def test_a_unit_is_heard_until_the_end_of_its_five_minutes():
    five = 5 * MINUTE_US

    assert [heard_until(at) for at in (0, 1, five - 1, five)] == [five, five, five, 2 * five]


def episode(**changes: Any) -> Episode:
    usual: dict[str, Any] = {
        "id": "r1",
        "rollout": ROLLOUT,
        "unit": "u1",
        "arm": "candidate",
        "intent": "refund",
        "version": 3,
        "endpoint": "chat.completions",
        "start": START,
        "heard": heard_until(START),
    }
    return Episode(**(usual | changes))


def test_an_episode_goes_on_until_half_an_hour_of_silence_or_a_day():
    half_hour, five, day = 30 * MINUTE_US, 5 * MINUTE_US, 24 * 60 * MINUTE_US
    one = episode()

    assert [one.admits(START + at) for at in (0, five + half_hour - 1, five + half_hour)] == [
        True,
        True,
        False,
    ]
    # What comes late may have been sent before its anchor was.
    assert [one.admits(START - at) for at in (half_hour - 1, half_hour)] == [True, False]
    long = episode(heard=START + 2 * day)
    assert [long.admits(START + at) for at in (day - 1, day)] == [True, False]


@pytest.mark.parametrize(
    ("graded", "grades_u", "grade_u"),
    [(0, 0, None), (1, 0, 0), (1, 7, 7), (2, 5, 2), (2, 7, 4), (3, MICRO, 333_333)],
)
def test_an_episodes_grade_is_the_mean_of_its_requests(graded, grades_u, grade_u):
    assert episode(graded=graded, grades_u=grades_u).grade_u() == grade_u


def request(**changes: Any) -> Request:
    usual: dict[str, Any] = {
        "id": "r1",
        "rollout": ROLLOUT,
        "at": START,
        "unit": "u1",
        "arm": "candidate",
        "intent": "refund",
        "version": 3,
        "cohort": COMPARED,
        "assigned": False,
        "endpoint": "chat.completions",
    }
    return Request(**(usual | changes))


@pytest.mark.parametrize(
    ("flags", "attempt", "served", "grade_u"),
    [
        ({}, (), (), None),
        ({}, (7,), (), 7),
        ({}, (), (8,), 8),
        ({}, (6, 7), (), 6),  # 6.5, to even
        ({}, (7,), (8, 9), 8),
        ({"escalated": True}, (), (8,), 0),  # what was served was not this answer
        ({"escalated": True}, (7,), (9,), 7),
        ({"error": True}, (), (), 0),
        ({"error": True}, (), (8,), 8),
        ({"error": False, "escalated": False}, (), (), None),
    ],
)
def test_a_requests_grade_is_of_the_arms_own_answer(flags, attempt, served, grade_u):
    one = request(
        flags=flags,
        attempt_n=len(attempt),
        attempt_u=sum(attempt),
        served_n=len(served),
        served_u=sum(served),
    )

    assert one.grade_u() == grade_u


def test_of_a_sample_what_is_wrong_without_a_grade_counts_within_it_alone():
    wrong = {"escalated": True}
    drawn = [request(id=f"r{n}", flags=wrong, sampled_u=MICRO // 2).grade_u() for n in range(400)]

    assert set(drawn) == {0, None}
    assert 150 < drawn.count(0) < 250  # a hash of their names: 200 and five standard deviations
    graded = [
        request(id=f"r{n}", flags=wrong, sampled_u=MICRO // 2, attempt_n=1, attempt_u=5).grade_u()
        for n in range(400)
    ]
    assert [one is None for one in graded] == [one is None for one in drawn]
    assert request(sampled_u=1, attempt_n=1, attempt_u=5).grade_u() == 5
