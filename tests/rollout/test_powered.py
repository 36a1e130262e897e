"""A loss by people's grades of some answers beside a judge's of all: what is proven, what it is, and what it lacks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.codec import decode, encode
from controller.rollout.commands import Apply
from controller.rollout.counting.items import rounded
from controller.rollout.counting.tallies import Tallies
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action
from controller.rollout.evidence.needs import needs
from controller.rollout.evidence.powered import (
    LEAST,
    Powered,
    as_graded,
    estimate_of,
    is_by_people,
    policy_of,
)
from controller.rollout.evidence.readings import proven, read
from controller.rollout.evidence.rules import alpha_of, judge, kept_limit
from controller.rollout.evidence.starts import start_threshold
from controller.rollout.metrics import MICRO
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Advance, Judge, Plan, Step, Then
from controller.rollout.state import Epoch
from controller.rollout.timeline import minute_of, start_of
from controller.rollout.verdict import (
    ArmByPeople,
    Outcome,
    PoweredCounts,
    PoweredStratum,
    Reading,
)
from controller.stats.powered import Graded, log_wealth_nano, powered_accuracy
from tests.rollout.factories import ACCURACY, NOW, at_step, plan, seen
from tests.rollout.test_readings import START, row, view

LOSS = replace(ACCURACY, window=timedelta(hours=48), min_samples=1)
ERRS = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
HOUR = 60


def planned(people_u: int = 100_000, rule=LOSS) -> Plan:
    usual = plan().labels
    return plan(
        rules=(rule,),
        labels=replace(usual, delay=timedelta(0), judge=ERRS, people_u=people_u),
        steps=(Step(share_bp=2500, advance=Advance.PROVEN), Step(share_bp=9000)),
    )


OF = planned()


def graded(
    minute: int, both: tuple[int, int, int, int], others: tuple[int, int], *, arm: str, missing=0
):
    """Episodes of one minute: right by both, the person, the judge, or neither; others wrong and right; and drawn ones,
    right by the judge, that nobody graded.
    """
    n, judged, person = sum(both), both[0] + both[2], both[0] + both[1]
    every, right = n + missing + sum(others), judged + missing + others[1]
    stats = {
        "n": every,
        "e": every,
        "graded": every,
        "e.graded": every,
        "correct_u": right * MICRO,
        "e.correct_u": right * MICRO,
        "drawn": n + missing,
        "drawn.judge_u": (judged + missing) * MICRO,
        "both": n,
        "both.judge_u": judged * MICRO,
        "both.person_u": person * MICRO,
        "both.product_u": both[0] * MICRO,
    }
    return row(minute, {key: count for key, count in stats.items() if count}, arm=arm)


def hours(count: int, candidate, baseline, *, blocks: int = 0, missing: int = 0):
    """The same in every hour, and so many blocks in which the judge saw no difference."""
    rows = []
    for number in range(count):
        minute = START + HOUR * number + 7
        rows.append(graded(minute, *candidate, arm="candidate", missing=missing))
        rows.append(graded(minute, *baseline, arm="baseline", missing=missing))
        if blocks:
            rows.append(row(minute, {"b.0": blocks}, arm=BOTH_ARMS))
    return rows


# What both say of drawn answers, and what the judge says of the others: alike, for the draw is at random.
FAIR = ((18, 1, 0, 1), (18, 162))
UNDONE = ((15, 0, 4, 1), (9, 171))  # the judge calls 4 of 5 wrong answers right
BASELINE = ((54, 3, 0, 3), (54, 486))


def verdict_of(rows, of: Plan = OF, *, after: int, judged: int | None = None):
    return judge(LOSS, read(view(rows, minutes=after, of=of, judged=judged), of.rules[0], "refund"))


def wealth(*stretches, margin: float = 0.015, sign: int = -1) -> float:
    """log E of both arms' answers in each stretch of a stratum."""
    candidate, baseline = (
        Graded(
            np.array([one[place][0] for one in stretches], float),
            np.array([one[place][1] for one in stretches], float),
        )
        for place in (0, 1)
    )
    logs = log_wealth_nano(
        candidate, baseline, policy_of(OF), margin=margin, effect=0.015, sign=sign
    )
    walked = logs.sum(axis=0) * 1e-9
    return float(np.log(np.exp(walked).mean()))


def by_people(rows, *, after: int, intent: str | None = "refund") -> Powered:
    reader = view(rows, minutes=after, of=OF).reader
    found = Powered.of(OF, LOSS, intent, reader, Epoch(number=0, start=NOW))
    assert found is not None
    return found


# Proofs


def test_the_proof_is_the_product_over_full_hours():
    rows = hours(3, FAIR, BASELINE)

    found = None
    for after, whole in ((HOUR - 2, 0), (HOUR - 1, 1), (2 * HOUR - 2, 1), (3 * HOUR - 1, 3)):
        found = read(view(rows, minutes=after, of=OF), LOSS, "refund").passing
        assert found is not None
        expected = wealth(*[(FAIR, BASELINE)] * whole) if whole else 0.0
        assert found.log_e == pytest.approx(expected, abs=1e-9)
        assert found.claim == 0.015
        assert found.log_threshold == pytest.approx(math.log(1 / 0.05))
    assert found is not None
    assert found.tally == {
        "candidate": 60,
        "candidate.drawn": 60,
        "candidate.person_u": 57 * MICRO,
        "candidate.judge_u": 54 * MICRO,
        "baseline": 180,
        "baseline.drawn": 180,
        "baseline.person_u": 171 * MICRO,
        "baseline.judge_u": 162 * MICRO,
    }


def test_a_failure_is_the_product_over_the_hours_of_its_window():
    found = read(view(hours(30, UNDONE, BASELINE), minutes=30 * HOUR, of=OF), LOSS, "refund")

    failing = found.failing
    assert failing is not None
    assert failing.claim == 0.0
    whole = failing.tally["candidate"] // 20
    assert failing.log_e == pytest.approx(
        wealth(*[(UNDONE, BASELINE)] * whole, margin=0.0, sign=1), abs=1e-9
    )


def test_strata_of_the_same_hour_are_bet_on_each_by_itself():
    rows = hours(3, FAIR, BASELINE) + [
        replace(one, version=3) for one in hours(3, UNDONE, BASELINE)
    ]

    found = read(view(rows, minutes=3 * HOUR, of=OF), LOSS, "refund").passing

    assert found is not None
    expected = wealth(*[(FAIR, BASELINE), (UNDONE, BASELINE)] * 3)
    assert found.log_e == pytest.approx(expected, abs=1e-9)


def test_other_intents_have_no_part_in_it():
    alone = by_people(hours(3, FAIR, BASELINE, missing=2), after=3 * HOUR)
    beside = [replace(one, intent="order-status") for one in hours(3, UNDONE, BASELINE)]
    mixed = by_people([*hours(3, FAIR, BASELINE, missing=2), *beside], after=3 * HOUR)
    end = START + 3 * HOUR

    assert mixed.passing(end) == alone.passing(end)
    assert mixed.look(START, end) == alone.look(START, end)
    assert mixed.coverage(end) == alone.coverage(end)
    assert (alone.coverage(end).candidate_graded, alone.coverage(end).candidate_n) == (60, 66)
    both = by_people([*hours(3, FAIR, BASELINE, missing=2), *beside], after=3 * HOUR, intent=None)
    assert both.coverage(end).candidate_n == 66 + 60


def test_at_worst_what_nobody_graded_is_right_for_the_baseline_and_wrong_for_the_candidate():
    rows = hours(3, FAIR, BASELINE, missing=2)  # right by the judge
    for number in range(3):
        for arm in ("candidate", "baseline"):  # and five that are wrong by the judge
            stats = dict.fromkeys(("n", "e", "graded", "e.graded", "drawn"), 5)
            rows.append(row(START + HOUR * number + 8, stats, arm=arm))
    found = by_people(rows, after=3 * HOUR)

    candidate = ((18, 1, 0 + 2, 1 + 5), FAIR[1])
    baseline = ((54 + 2, 3 + 5, 0, 3), BASELINE[1])

    hour = (candidate, baseline)
    ends = [START + HOUR * number for number in range(4)]
    expected = [0.0, *(wealth(*[hour] * number) for number in (1, 2, 3))]
    assert found.at_worst_by(np.array(ends)).tolist() == pytest.approx(expected, abs=1e-9)
    assert [found.at_worst(end) for end in ends] == pytest.approx(expected, abs=1e-9)
    assert found.at_worst(ends[-1]) < found.passing(ends[-1])[0]


def test_a_judge_that_favours_the_candidate_passes_alone_and_is_unmasked_by_people():
    rows = hours(30, UNDONE, BASELINE, blocks=200)
    alone = planned(people_u=0)

    assert verdict_of(rows, alone, after=30 * HOUR).confident is Outcome.PASS
    found = verdict_of(rows, after=30 * HOUR)

    assert found.confident is Outcome.FAIL
    failing = found.reading.failing
    assert failing is not None
    # People find 5 of 20 of the candidate's answers wrong, and 3 of 60 of the baseline's.
    assert failing.look.value == pytest.approx(0.2, abs=1e-9)
    assert found.reading.latest is not None
    assert found.reading.latest.value == pytest.approx(-0.05)


def test_people_who_see_a_loss_over_the_limit_stop_it_beside_a_judge_that_is_surer_of_a_smaller_one():
    """The judge calls most of the candidate's wrong answers right: it proves that some loss is there, half a point."""
    mild = ((14, 1, 4, 1), (19, 161))
    judged = {"b.1000000": 60, "b.0": 910, "b.-1000000": 30}
    rows = hours(30, mild, BASELINE) + [
        row(START + HOUR * n + 7, judged, arm=BOTH_ARMS) for n in range(30)
    ]

    found = verdict_of(rows, after=30 * HOUR)

    assert found.reading.latest is not None
    assert found.reading.latest.value == pytest.approx(0.005)
    failing = found.reading.failing
    assert failing is not None
    assert is_by_people(failing)
    assert (failing.look.value or 0) > 0.015
    assert found.confident is Outcome.FAIL


def test_no_loss_passes_by_people_however_the_judge_sees_it():
    unfair = ((17, 2, 0, 1), (27, 153))  # calls every tenth right answer of the candidate wrong

    assert verdict_of(hours(120, FAIR, BASELINE), after=120 * HOUR).confident is Outcome.PASS
    assert verdict_of(hours(240, unfair, BASELINE), after=240 * HOUR).confident is Outcome.PASS


def test_beside_a_pass_by_people_stands_the_figure_of_their_grades():
    found = verdict_of(hours(120, FAIR, BASELINE), after=120 * HOUR).reading

    assert found.passing is not None
    assert found.passing.look == found.by_people


def test_people_are_needed_for_a_pass():
    """However much the judge says: without any, and with few."""
    none = [((0, 0, 0, 0), one[1]) for one in (FAIR, BASELINE)]
    few = hours(2, FAIR, BASELINE) + [
        replace(one, minute=one.minute + 2 * HOUR) for one in hours(100, *none, blocks=200)
    ]

    for rows in (hours(100, *none, blocks=200), few):
        found = verdict_of(rows, after=102 * HOUR)
        assert found.confident is Outcome.INSUFFICIENT


def test_a_pass_needs_nearly_all_that_is_drawn():
    """Nobody knows why people left the others: those are right for the baseline and wrong for the candidate."""
    nearly, half = (hours(120, FAIR, BASELINE, missing=n) for n in (0, 20))

    assert verdict_of(nearly, after=120 * HOUR).confident is Outcome.PASS
    found = verdict_of(half, after=120 * HOUR)

    assert found.confident is Outcome.INSUFFICIENT
    worst = found.reading.worst_case
    assert worst is not None
    assert (worst.coverage.candidate_graded, worst.coverage.candidate_n) == (2_400, 4_800)
    assert found.reading.passing is not None
    assert found.reading.passing.reached
    assert not worst.proof.reached


def test_nothing_fails_by_people_who_have_not_graded_the_good_answers_yet():
    """What is escalated is known to be wrong at once; where people are late, it is nearly all that they have."""
    at_once = [
        row
        for number in range(30)
        for row in (
            graded(START + HOUR * number + 7, (2, 0, 0, 4), (18, 162), arm="candidate", missing=54),
            graded(START + HOUR * number + 7, (9, 0, 0, 1), (54, 486), arm="baseline", missing=170),
        )
    ]

    found = verdict_of(at_once, after=30 * HOUR)

    assert found.reading.failing is not None
    assert found.reading.failing.reached
    assert found.confident is Outcome.INSUFFICIENT
    assert found.reading.by_people is not None
    assert found.reading.by_people.value is None


def test_nothing_is_proven_where_the_judge_left_one_arm_out():
    rows = hours(120, FAIR, BASELINE)
    ungraded = [
        row(START + HOUR * n + 8, {"n": 100, "e": 100}, arm="candidate") for n in range(120)
    ]

    found = verdict_of([*rows, *ungraded], after=120 * HOUR)

    assert found.confident is Outcome.INSUFFICIENT
    worst = found.reading.worst_case
    assert worst is not None
    assert worst.coverage.candidate_n == 120 * 300
    assert worst.proof.log_e == 0


def test_a_loss_against_the_limit_itself_is_proven_too():
    lost = replace(LOSS, then=Then.ROLLBACK)
    of = planned(rule=lost)

    found = read(view(hours(30, UNDONE, BASELINE), minutes=30 * HOUR, of=of), lost, "refund")

    assert found.failing is not None
    assert found.failing.claim == 0.015
    assert judge(lost, found).confident is Outcome.FAIL


def test_people_take_their_part_of_alpha_from_the_first_day():
    found = read(view(hours(2, FAIR, BASELINE), minutes=2 * HOUR, of=OF), LOSS, "refund")

    alpha = alpha_of(OF, LOSS, Epoch(number=0, start=NOW)) / 2
    assert found.failing is not None
    assert found.failing.log_threshold == pytest.approx(
        start_threshold(LOSS, alpha=alpha, horizon_min=OF.horizon // timedelta(minutes=1))
    )


def test_the_margin_of_a_pass_is_the_limit_where_people_grade():
    assert kept_limit(OF, LOSS) == 0.015
    assert kept_limit(planned(people_u=0), LOSS) == pytest.approx(0.85 * 0.015)


# The figure


def test_the_figure_is_post_stratified_and_says_of_how_many():
    rows = hours(10, FAIR, BASELINE) + [
        replace(one, version=3) for one in hours(10, UNDONE, BASELINE)
    ]

    found = read(view(rows, minutes=10 * HOUR, of=OF), LOSS, "refund").by_people

    w = policy_of(OF).weight

    def accuracy(one) -> float:
        (both, person, judge_alone, neither), (wrong, right) = one
        n = both + person + judge_alone + neither
        rest = w * right / (right + wrong)
        return (both + person) / n - w * (both + judge_alone) / n + rest

    losses = [accuracy(BASELINE) - accuracy(one) for one in (FAIR, UNDONE)]
    assert found is not None
    assert found.value == pytest.approx(sum(losses) / 2)
    assert found.samples == 400
    assert isinstance(found.counts, PoweredCounts)
    assert [one.version for one in found.counts.strata] == [2, 3]


def test_there_is_no_figure_of_a_few():
    rows = hours(1, FAIR, BASELINE)

    few = read(view(rows, minutes=HOUR, of=OF), LOSS, "refund").by_people
    half = ((22, 1, 1, 1), FAIR[1])
    more = read(view(hours(2, half, BASELINE), minutes=2 * HOUR, of=OF), LOSS, "refund").by_people

    assert few is not None
    assert more is not None
    assert (few.samples, few.value) == (20, None)
    assert few.samples < LEAST == more.samples
    assert more.value is not None
    assert not more.complete
    start, ends = np.array([START] * 2), START + np.array([HOUR, 2 * HOUR])
    figures = by_people(hours(2, half, BASELINE), after=2 * HOUR).figures(start, ends)
    assert figures.tolist() == pytest.approx([math.nan, more.value], nan_ok=True)


def of_splits(*splits, missing=0):
    """Each with what is graded of the candidate and of the baseline, or None; `missing` ones in the first."""
    return [
        replace(graded(START + 1, *said, arm=arm, missing=missing * (n == 0)), version=2 + n)
        for n, split in enumerate(splits)
        for arm, said in zip(("candidate", "baseline"), split, strict=True)
        if said is not None
    ]


ONE = ((1, 0, 0, 0), (4, 5))
ALMOST = ((22, 2, 2, LEAST - 27), (20, 180))
FEW = ((15, 2, 2, 1), (20, 180))


@pytest.mark.parametrize(
    ("rows", "there"),
    [
        (of_splits((FAIR, UNDONE), (UNDONE, FAIR), (FAIR, FAIR)), True),
        (of_splits((ALMOST, ALMOST), (ONE, ONE)), True),
        (of_splits((ALMOST, ALMOST)), False),
        (of_splits((FEW, FEW), (BASELINE, None), (None, BASELINE)), False),
        (of_splits((BASELINE, BASELINE), (FAIR, FAIR), missing=20), False),
        (of_splits((ALMOST, UNDONE), (ONE, ALMOST), (ALMOST, FAIR)), True),
    ],
    ids=["three", "one more", "one less", "one-armed", "many ungraded in the first", "one without"],
)
def test_the_figures_of_splits_are_weighed_together_as_in_a_look(rows, there):
    one = by_people(rows, after=HOUR)

    (found,) = one.figures(np.array([START]), np.array([START + HOUR])).tolist()

    value = one.look(START, START + HOUR).value
    assert (value is not None) == there
    assert math.isnan(found) if value is None else found == pytest.approx(value)


def test_there_is_no_figure_of_answers_that_are_alone_in_each_split():
    alone = ((1, 0, 0, 0), (4, 5))
    rows = [
        replace(graded(START + 1, *alone, arm=arm), version=version)
        for version in range(2, 2 + LEAST)
        for arm in ("baseline", "candidate")
    ]
    one = by_people(rows, after=HOUR)

    figures = one.figures(np.array([START]), np.array([START + HOUR]))

    assert one.look(START, START + HOUR).samples == LEAST
    assert one.look(START, START + HOUR).value is None
    assert np.isnan(figures).all()


def people(both: tuple[int, int, int, int], others: tuple[int, int], drawn: int = 0) -> ArmByPeople:
    return ArmByPeople(
        drawn=drawn or sum(both),
        both=sum(both),
        judge_u=(both[0] + both[2]) * MICRO,
        person_u=(both[0] + both[1]) * MICRO,
        product_u=both[0] * MICRO,
        others=sum(others),
        others_u=others[1] * MICRO,
    )


def test_strata_weigh_as_much_as_was_graded_in_them_and_their_errors_add_up():
    arms = {2: (BASELINE, UNDONE), 3: (((9, 2, 1, 8), (30, 30)), ((10, 1, 3, 6), (25, 15)))}
    nobody = ((0, 0, 0, 0), (0, 40))
    strata = [
        PoweredStratum(
            version=1, intent="refund", baseline=people(*nobody), candidate=people(*FAIR)
        ),
        *(
            PoweredStratum(
                version=version, intent="refund", baseline=people(*b), candidate=people(*c)
            )
            for version, (b, c) in arms.items()
        ),
    ]
    w = 0.6

    found = estimate_of(PoweredCounts(strata=tuple(strata), weight=w))

    def accuracy(one):
        drawn, others = (np.array([part], float) for part in one)
        return powered_accuracy(Graded(drawn, others), w)

    sizes, losses, variances = [], [], []
    for b, c in arms.values():
        sizes.append(sum(map(sum, b)) + sum(map(sum, c)))
        losses.append(accuracy(b).estimate - accuracy(c).estimate)
        variances.append(accuracy(b).se ** 2 + accuracy(c).se ** 2)
    weights = [size / sum(sizes) for size in sizes]
    assert found is not None
    assert found.estimate == pytest.approx(
        sum(share * loss for share, loss in zip(weights, losses, strict=True))
    )
    assert found.se**2 == pytest.approx(
        sum(share**2 * variance for share, variance in zip(weights, variances, strict=True))
    )


def test_strata_without_people_on_both_arms_give_no_estimate():
    alone = [graded(START + 1, *FAIR, arm="candidate")]

    found = read(view(alone, minutes=HOUR, of=OF), LOSS, "refund").by_people

    assert found is not None
    assert isinstance(found.counts, PoweredCounts)
    assert estimate_of(found.counts) is None
    assert (found.samples, found.value) == (0, None)


# What comes late, and what is remembered

tables = st.tuples(
    st.tuples(*[st.integers(0, 9)] * 4), st.tuples(st.integers(0, 30), st.integers(0, 90))
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(tables, tables), min_size=3, max_size=9), st.data())
def test_what_is_remembered_of_hours_is_what_is_there(drawn, data):
    """Fed hour by hour, with one that comes late, and read at every step: as if all had been there at once."""
    late = data.draw(st.integers(0, len(drawn) - 2))
    by_hour = [
        [replace(one, minute=one.minute + HOUR * number, seq=number + 1) for one in hours(1, *pair)]
        for number, pair in enumerate(drawn)
    ]
    tallies = Tallies()
    found = _read(tallies, 1)
    for number, rows in enumerate(by_hour):
        if number != late:
            tallies.feed(rows, number + 1)
        if number == len(by_hour) - 1:
            tallies.feed(by_hour[late], number + 2)
        found = _read(tallies, HOUR * (number + 1))
    at_once = Tallies()
    at_once.feed([one for rows in by_hour for one in rows], 1)

    again = _read(at_once, HOUR * len(by_hour))
    assert found.passing == again.passing
    assert found.failing == again.failing
    assert found.by_people == again.by_people


grades_u = st.sampled_from([0, 1, 100_000, 333_333, 500_000, 666_667, 999_999, MICRO])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(grades_u, min_size=1, max_size=25),
    st.lists(grades_u, min_size=1, max_size=25),
    st.sampled_from([MICRO, None]),
    st.booleans(),
    st.integers(0, 2),
)
def test_whatever_part_of_an_answer_is_right_an_hour_has_a_reading(
    ours, theirs, one_says, is_the_judge, missing
):
    """Where one grader calls everything right nothing is wrong to both: exactly nothing, not nearly."""

    def graded_u(grades, arm):
        person, judge = grades, [one_says if one_says is not None else grade for grade in grades]
        if not is_the_judge:
            person, judge = judge, person
        n, others = len(grades), 3
        stats = {
            "e": n + missing + others,
            "e.graded": n + missing + others,
            "e.correct_u": sum(judge) + missing * 700_000 + 1,
            "drawn": n + missing,
            "drawn.judge_u": sum(judge) + missing * 700_000,
            "both": n,
            "both.judge_u": sum(judge),
            "both.person_u": sum(person),
            "both.product_u": sum(
                rounded(p * j, MICRO) for p, j in zip(person, judge, strict=True)
            ),
        }
        return row(START + 1, {key: count for key, count in stats.items() if count}, arm=arm)

    rows = [graded_u(ours, "candidate"), graded_u(theirs, "baseline")]

    found = read(view(rows, minutes=2 * HOUR, of=OF), LOSS, "refund")

    assert found.by_people is not None
    assert found.by_people.samples == min(len(ours), len(theirs))


def test_what_is_remembered_for_one_plan_is_not_taken_for_another():
    """Two plans may judge the same counts, as `replay --plan` has them do."""
    wider = planned(rule=replace(LOSS, limit=0.05))
    rougher = replace(OF, labels=replace(OF.labels, judge=Judge(sensitivity=0.8, specificity=0.8)))
    tallies = Tallies()
    tallies.feed(hours(20, FAIR, BASELINE), 1)

    for of in (OF, wider, rougher, OF):
        (rule,) = of.rules
        usual = view(hours(20, FAIR, BASELINE), minutes=20 * HOUR, of=of)
        found = read(replace(usual, tallies=tallies), rule, "refund")
        alone = read(usual, rule, "refund")
        assert (found.passing, found.failing) == (alone.passing, alone.failing)


def test_what_is_remembered_of_one_epoch_is_not_taken_for_another():
    rows = hours(20, UNDONE, BASELINE)
    first = at_step(0, OF, started_at=NOW)
    # Within the first hour, so that both have the same full hours.
    later = replace(first, epochs={LOSS.name: Epoch(number=1, start=NOW + timedelta(minutes=30))})
    tallies = view(rows, minutes=20 * HOUR, of=OF).tallies
    counted = []

    for state in (first, later):
        usual = view(rows, minutes=20 * HOUR, of=OF, state=state)
        found = read(replace(usual, tallies=tallies), LOSS, "refund")
        alone = read(usual, LOSS, "refund")
        assert (found.passing, found.failing) == (alone.passing, alone.failing)
        assert found.passing is not None
        counted.append(found.passing.tally["candidate"])

    assert counted == [20 * 20, 19 * 20]


def _read(tallies: Tallies, after: int) -> Reading:
    usual = view([], minutes=after, of=OF, judged=START + after - 1)
    return read(replace(usual, tallies=tallies), LOSS, "refund")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(tables, tables), min_size=2, max_size=12), st.integers(0, 3))
def test_what_is_proven_at_many_ends_is_what_each_reading_says(drawn, missing):
    rows = [
        replace(one, minute=one.minute + HOUR * number)
        for number, pair in enumerate(drawn)
        for one in hours(1, *pair, missing=missing)
    ]
    ends = [HOUR * number + 17 for number in range(len(drawn) + 1)]

    found = proven(view(rows, minutes=ends[-1], of=OF), LOSS, "refund", np.array(ends) + START + 1)

    alone = [verdict_of(rows, after=end).reading for end in ends]
    assert found.tolist() == [
        one.passing is not None
        and one.passing.reached
        and (one.worst_case is None or one.worst_case.proof.reached)
        for one in alone
    ]


def ungraded(count: int, *, candidate: int, baseline: int):
    """Hours in which the judge leaves so many answers more of each arm out."""
    return [
        row(START + HOUR * number + 9, {"n": n, "e": n}, arm=arm)
        for number in range(count)
        for arm, n in (("candidate", candidate), ("baseline", baseline))
    ]


def later(rows, by_hours: int):
    return [replace(one, minute=one.minute + HOUR * by_hours) for one in rows]


def elsewhere(rows):
    return [replace(one, intent="order-status") for one in rows]


HALF = replace(OF, labels=replace(OF.labels, sampled_u=500_000))
MANY = ((540, 30, 0, 30), (540, 4860))
BETTER, WORSE = ((19, 1, 0, 0), (4, 176)), ((50, 3, 1, 6), (60, 480))


@pytest.mark.parametrize(
    ("rows", "of", "ever"),
    [
        (hours(130, FAIR, BASELINE), OF, True),
        (hours(5, FAIR, BASELINE, missing=3) + later(hours(125, FAIR, BASELINE), 5), OF, True),
        (hours(130, FAIR, BASELINE, missing=20), OF, False),
        (hours(130, BETTER, WORSE, missing=1), OF, True),
        (hours(130, FAIR, BASELINE) + elsewhere(hours(130, UNDONE, BASELINE)), OF, True),
        (hours(130, UNDONE, BASELINE) + elsewhere(hours(130, FAIR, BASELINE)), OF, False),
        (hours(130, FAIR, BASELINE) + ungraded(130, candidate=20, baseline=0), OF, False),
        (
            hours(130, FAIR, BASELINE)
            + ungraded(130, candidate=20, baseline=0)
            + elsewhere(hours(130, MANY, MANY)),
            OF,
            False,
        ),
        (hours(130, FAIR, BASELINE) + ungraded(130, candidate=200, baseline=600), HALF, True),
        (hours(130, FAIR, BASELINE) + ungraded(130, candidate=133, baseline=400), HALF, False),
    ],
    ids=[
        *("all", "late at first", "half", "nearly all of a better one", "beside a worse intent"),
        *("beside a better one", "the judge left some out", "of one intent", "of a sample"),
        "more than the sample",
    ],
)
def test_what_is_proven_as_time_goes_by_is_what_each_reading_says(rows, of, ever):
    ends = [HOUR * number + past for number in range(0, 130, 9) for past in (0, 17)]

    found = proven(view(rows, minutes=ends[-1], of=of), LOSS, "refund", np.array(ends) + START + 1)

    alone = [verdict_of(rows, of, after=end).reading for end in ends]
    assert found.tolist() == [
        one.passing is not None
        and one.passing.reached
        and (one.worst_case is None or one.worst_case.proof.reached)
        for one in alone
    ]
    assert found.any() == ever


def test_after_downtime_a_failure_by_people_is_found_where_it_was():
    """A loss over the limit that is made good before anybody looks again."""
    short = replace(LOSS, window=timedelta(hours=12))
    of = planned(rule=short)
    rows = hours(12, UNDONE, BASELINE) + [
        replace(one, minute=one.minute + 12 * HOUR) for one in hours(36, FAIR, BASELINE)
    ]

    found = read(view(rows, minutes=48 * HOUR, of=of, judged=START), short, "refund")

    assert judge(short, found).confident is Outcome.FAIL
    assert found.failing is not None
    assert minute_of(found.failing.window.end) <= START + 24 * HOUR


def test_after_downtime_a_failure_is_found_where_people_saw_too_much_and_not_where_it_is_surest():
    """A loss over the limit, and then a smaller one of far more answers, which is surer and within the limit."""
    mild, usual = ((356, 20, 0, 24), (396, 3204)), ((1080, 60, 0, 60), (1080, 9720))
    rows = hours(10, UNDONE, BASELINE) + later(hours(38, mild, usual), 10)

    missed, surest = (
        read(view(rows, minutes=48 * HOUR, of=OF, judged=judged), LOSS, "refund").failing
        for judged in (START, START + 48 * HOUR - 1)
    )

    assert missed is not None
    assert surest is not None
    assert missed.look.value is not None
    assert missed.look.value > LOSS.limit
    assert surest.look.value is not None
    assert surest.look.value < LOSS.limit
    assert surest.log_e > missed.log_e > missed.log_threshold


# Records and revisions


def test_a_reading_is_kept_as_it_was_and_one_from_before_still_reads():
    found = read(view(hours(30, UNDONE, BASELINE), minutes=30 * HOUR, of=OF), LOSS, "refund")
    kept = json.loads(json.dumps(encode(found)))

    assert decode(Reading, kept) == found
    assert judge(LOSS, decode(Reading, kept)) == judge(LOSS, found)
    del kept["by_people"]
    before = decode(Reading, kept)
    assert before.by_people is None
    assert judge(LOSS, before).outcome is judge(LOSS, found).outcome


def test_the_share_that_people_grade_cannot_change_while_a_rollout_runs():
    def amended(new: Plan):
        return decide(OF, at_step(0, OF), seen(), Apply(plan=new, actor="ann", reason="more"), NOW)

    found = amended(planned(people_u=200_000))

    assert found.action is Action.REFUSE
    assert "labels.people was 10%, would be 20%" in str(found.refusal_detail)


def test_a_failure_by_people_pauses_and_replays():
    reading = read(view(hours(30, UNDONE, BASELINE), minutes=30 * HOUR, of=OF), LOSS, "refund")
    world = replace(seen(), readings=(reading,))

    decided = decide(OF, at_step(0, OF, started_at=NOW), world, None, start_of(START + 30 * HOUR))
    again = decide(
        OF,
        at_step(0, OF, started_at=NOW),
        decode(type(world), encode(world)),
        None,
        start_of(START + 30 * HOUR),
    )

    assert decided.action is Action.PAUSE
    assert again == decided


@pytest.mark.parametrize("after", [4 * HOUR, 4 * HOUR + 1, 4 * HOUR + 59])
def test_what_is_lacking_comes_at_a_full_hour(after: int):
    """A proof by people's grades changes when an hour is over, never within."""
    verdict = verdict_of(hours(4, FAIR, BASELINE), after=after)

    lacking = needs(OF, at_step(0, OF, started_at=NOW), verdict)

    assert lacking is not None
    assert lacking.after is not None
    look = verdict.reading.by_people
    assert look is not None
    assert minute_of(look.window.end + lacking.after) % HOUR == 0
    a_minute = look.samples / (look.window.span / timedelta(minutes=1))
    assert lacking.observations is not None
    waited = lacking.after / timedelta(minutes=1) - lacking.observations / a_minute
    assert 0 <= waited <= HOUR


@pytest.mark.parametrize(
    "labels",
    [replace(OF.labels, people_u=0), replace(OF.labels, judge=None)],
    ids=["no people", "no judge"],
)
def test_without_people_or_without_a_judge_there_is_no_policy(labels):
    with pytest.raises(LookupError, match="support-bot"):
        policy_of(replace(OF, labels=labels))


def test_without_a_judge_nothing_is_expected_of_answers():
    with pytest.raises(LookupError, match="support-bot"):
        as_graded(
            replace(OF, labels=replace(OF.labels, judge=None)),
            PoweredCounts(strata=(), weight=0.5),
            0.25,
        )


def test_nobody_is_asked_where_people_do_not_grade():
    alone = planned(people_u=0)
    reader = view([], minutes=HOUR, of=alone).reader

    assert Powered.of(alone, LOSS, "refund", reader, Epoch(number=0, start=NOW)) is None
    assert read(view([], minutes=HOUR, of=alone), LOSS, "refund").by_people is None


# Many windows at once


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 400), st.sampled_from([2, 3])),
        st.tuples(
            st.integers(0, 60), st.integers(0, 12), st.sampled_from(["ours", "theirs", "both"])
        ),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 300)), min_size=1, max_size=8),
)
def test_figures_and_gaps_of_many_windows_are_those_of_each(said, windows):
    """Of two splits, in which at times one arm's answers alone are graded, beside another intent's."""
    rows = []
    for (minute, version), (n, missing, whose) in said.items():
        at = START + minute
        few = ((n, n // 9, n // 7, n // 8), (5, n))
        ours = graded(at, *few, arm="candidate", missing=missing)
        theirs = graded(at, (n, 1, 0, n // 5), (3, 40), arm="baseline")
        served = [*([ours] * (whose != "theirs")), *([theirs] * (whose != "ours"))]
        rows += [replace(row, version=version) for row in served]
        elsewhere = graded(at, (1, 0, 0, 0), (5, 0), arm="candidate", missing=n)
        rows.append(replace(elsewhere, version=version, intent="order-status"))
    since = Epoch(number=0, start=NOW + timedelta(minutes=45))
    one = Powered.of(OF, LOSS, "refund", view(rows, minutes=800, of=OF).reader, since)
    assert one is not None
    starts = START + np.array([start for start, _ in windows])
    ends = starts + np.array([length for _, length in windows])

    found = one.figures(starts, ends)

    for value, start, end in zip(found.tolist(), starts.tolist(), ends.tolist(), strict=True):
        look = one.look(start, end)
        assert math.isnan(value) if look.value is None else value == pytest.approx(look.value)
    ends = np.maximum(ends, one.start)
    assert one.fall_short(ends).tolist() == [one.coverage(end).differs for end in ends.tolist()]
