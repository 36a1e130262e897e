"""What a loss by people's grades lacks: as both grade now, and as the plan assumes where people graded few."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.evidence.needs import PEOPLE, Needs, needs
from controller.rollout.evidence.powered import (
    PRIOR_WEIGHT,
    as_graded,
    is_by_people,
    loss_of,
    policy_of,
)
from controller.rollout.evidence.rules import alpha_of, judge
from controller.rollout.evidence.starts import start_threshold
from controller.rollout.plan import Judge, Labels, Priors, Then
from controller.rollout.timeline import Window
from controller.rollout.verdict import Look, Outcome, PoweredCounts, PoweredStratum, Verdict
from controller.stats.passage import Passage
from controller.stats.powered import powered_growth
from tests.rollout.factories import ACCURACY, HOUR, NOW, at_step, plan, proof, reading
from tests.rollout.test_powered import BASELINE, FAIR, UNDONE, people

LOSS = replace(ACCURACY, window=timedelta(hours=48), min_samples=1)
OF = plan(
    rules=(LOSS,),
    priors=Priors(accuracy=0.9),
    labels=Labels(judge=Judge(sensitivity=0.95, specificity=0.9), people_u=200_000),
)
STATE = at_step(1, OF)  # at 25%
A_MINUTE = 2.5  # answers that people grade, of the arm with fewer


def counted(candidate, baseline, *, strata: int = 1, weight: float | None = None) -> PoweredCounts:
    each = PoweredStratum(
        version=2, intent="refund", baseline=people(*baseline), candidate=people(*candidate)
    )
    return PoweredCounts(
        strata=(each,) * strata, weight=policy_of(OF).weight if weight is None else weight
    )


def open_verdict(counts: PoweredCounts, **changes) -> Verdict:
    span = timedelta(minutes=round(counts.smaller / A_MINUTE)) if counts.strata else HOUR
    look = Look(
        window=Window(start=NOW, end=NOW + span),
        value=0.0,
        counts=counts,
        samples=counts.smaller if counts.strata else 0,
        complete=False,
    )
    usual = {"by_people": look, "passing": replace(proof(0.5), look=look), "failing": None}
    return judge(LOSS, reading(LOSS, "refund", **{**usual, **changes}))


# What comes


def test_answers_come_as_seen_and_as_the_plan_assumes_where_few_are_graded():
    counts = counted(FAIR, BASELINE, strata=2)

    candidate, baseline = as_graded(OF, counts, 0.25)

    # Of answers right nine times in ten, and of the judge's rates.
    expected = np.array([0.9 * 0.95, 0.9 * 0.05, 0.1 * 0.1, 0.1 * 0.9])
    judged = 0.9 * 0.95 + 0.1 * 0.1
    for found, (drawn, others), n in ((candidate, FAIR, 1), (baseline, BASELINE, 3)):
        corner = 2 * np.array(drawn) + PRIOR_WEIGHT * expected
        rest = 2 * np.array(others) + PRIOR_WEIGHT * np.array([1 - judged, judged])
        # One that people grade of the arm with fewer, three of the other; four beside each, for a fifth is drawn.
        assert found.drawn[0].tolist() == pytest.approx((n * corner / corner.sum()).tolist())
        assert found.others[0].tolist() == pytest.approx((4 * n * rest / rest.sum()).tolist())
        assert (found.drawn.shape, found.others.shape) == ((1, 4), (1, 2))


def test_the_arm_with_fewer_is_the_baseline_above_half():
    candidate, baseline = as_graded(OF, counted(FAIR, BASELINE), 0.8)

    assert candidate.drawn.sum() == pytest.approx(4)
    assert baseline.drawn.sum() == pytest.approx(1)


def test_their_loss_is_the_prediction_powered_one():
    of = replace(OF, priors=Priors(accuracy=0.9))
    candidate, baseline = as_graded(of, counted(UNDONE, BASELINE), 0.25)
    w = policy_of(of).weight

    def accuracy(one) -> float:
        both, person, judge_alone, neither = one.drawn[0]
        wrong, right = one.others[0]
        n = both + person + judge_alone + neither
        return (both + person) / n - w * ((both + judge_alone) / n - right / (wrong + right))

    assert loss_of(of, candidate, baseline) == pytest.approx(
        accuracy(baseline) - accuracy(candidate)
    )


def test_a_judge_that_weighs_nothing_leaves_the_loss_to_people():
    everybody = replace(OF, labels=replace(OF.labels, people_u=1_000_000))
    candidate, baseline = as_graded(everybody, counted(UNDONE, BASELINE), 0.25)

    assert policy_of(everybody).weight == 0
    assert candidate.others.sum() == 0
    right = [one.drawn[0, :2].sum() / one.drawn[0].sum() for one in (baseline, candidate)]
    assert loss_of(everybody, candidate, baseline) == pytest.approx(right[0] - right[1])


# What is lacking


def expected(
    counts: PoweredCounts,
    *,
    sign: int,
    margin: float,
    held: float,
    log_threshold: float,
    a_minute: float = A_MINUTE,
):
    """The median passage of the bets on what comes, looked at by the hour."""
    growth = powered_growth(
        *as_graded(OF, counts, 0.25),
        policy_of(OF),
        margin=margin,
        effect=LOSS.limit,
        sign=sign,
        looks_every=60 * a_minute,
    )
    return Passage(growth=growth, log_threshold=log_threshold, held=(held,) * 3).quantile(0.5)


def until_full_hour(counts: PoweredCounts, observations: float) -> timedelta:
    """From the end of what was seen, which began at a full hour, until the one in which so many more have come."""
    seen_min = round(counts.smaller / A_MINUTE)
    hours = math.ceil((seen_min + observations / A_MINUTE) / 60)
    return timedelta(minutes=60 * hours - seen_min)


def test_a_loss_below_its_limit_goes_towards_a_pass_from_what_is_proven():
    counts = counted(FAIR, BASELINE, strata=10)
    found = needs(OF, STATE, open_verdict(counts))

    assert found is not None
    assert (found.kind, found.proof) == (PEOPLE, Outcome.PASS)
    assert found.observations is not None
    assert found.observations == pytest.approx(
        expected(counts, sign=-1, margin=0.015, held=0.5, log_threshold=math.log(20))
    )
    assert found.after == until_full_hour(counts, found.observations)
    fresh = needs(OF, STATE, open_verdict(counts, passing=None))
    assert fresh is not None
    assert fresh.observations == pytest.approx(
        expected(counts, sign=-1, margin=0.015, held=0.0, log_threshold=math.log(20))
    )


def test_a_loss_over_its_limit_goes_towards_a_failure_from_its_strongest_window():
    counts = counted(UNDONE, BASELINE, strata=10)
    look = open_verdict(counts).reading.by_people
    assert look is not None
    failing = replace(proof(0.7, needs=6.5), look=look)

    found = needs(OF, STATE, open_verdict(counts, failing=failing))

    assert found is not None
    assert (found.kind, found.proof) == (PEOPLE, Outcome.FAIL)
    assert found.observations is not None
    assert found.observations == pytest.approx(
        expected(counts, sign=1, margin=0.0, held=0.7, log_threshold=6.5)
    )
    assert found.after == until_full_hour(counts, found.observations)


def test_a_failing_proof_without_people_says_nothing_of_theirs():
    counts = counted(UNDONE, BASELINE, strata=10)
    fresh = needs(OF, STATE, open_verdict(counts))
    beside = needs(OF, STATE, open_verdict(counts, failing=proof(0.7, needs=6.5)))

    assert fresh == beside
    assert fresh is not None
    assert fresh.observations == pytest.approx(
        expected(
            counts,
            sign=1,
            margin=0.0,
            held=0.0,
            log_threshold=start_threshold(
                LOSS,
                alpha=alpha_of(OF, LOSS, STATE.epoch(LOSS.name)) / 2,
                horizon_min=OF.horizon // timedelta(minutes=1),
            ),
        )
    )


def test_a_loss_that_rolls_back_goes_towards_a_failure_of_the_limit_itself():
    counts = counted(UNDONE, BASELINE, strata=10)
    lost = replace(LOSS, then=Then.ROLLBACK)
    of = replace(OF, rules=(lost,))

    found = needs(of, STATE, judge(lost, open_verdict(counts).reading))

    assert found is not None
    assert found.proof is Outcome.FAIL
    assert found.observations == pytest.approx(
        expected(
            counts,
            sign=1,
            margin=0.015,
            held=0.0,
            log_threshold=start_threshold(
                lost,
                alpha=alpha_of(of, lost, STATE.epoch(LOSS.name)) / 2,
                horizon_min=OF.horizon // timedelta(minutes=1),
            ),
        )
    )


def test_a_loss_of_exactly_the_limit_goes_neither_way():
    counts = counted(UNDONE, BASELINE, strata=10)
    at_it = replace(LOSS, limit=loss_of(OF, *as_graded(OF, counts, 0.25)))
    of = replace(OF, rules=(at_it,))

    found = needs(of, STATE, judge(at_it, open_verdict(counts).reading))

    assert found == Needs(proof=Outcome.INSUFFICIENT, kind=PEOPLE)


def test_answers_of_a_single_minute_come_as_often_every_minute():
    counts = counted(FAIR, BASELINE, strata=10)
    verdict = open_verdict(counts)
    look = verdict.reading.by_people
    assert look is not None
    at_once = replace(look, window=Window(start=NOW, end=NOW + timedelta(minutes=1)))

    found = needs(OF, STATE, judge(LOSS, replace(verdict.reading, by_people=at_once)))

    assert found is not None
    assert found.observations == pytest.approx(
        expected(
            counts,
            sign=-1,
            margin=0.015,
            held=0.5,
            log_threshold=math.log(20),
            a_minute=counts.smaller,
        )
    )


def test_the_smallest_share_is_one_too():
    verdict = open_verdict(counted(FAIR, BASELINE, strata=10))

    assert needs(OF, at_step(1, OF, share_bp=1), verdict) is not None


def test_what_does_not_come_within_a_window_is_not_waited_for():
    counts = counted(UNDONE, BASELINE, strata=10)
    found = needs(OF, STATE, open_verdict(counts))
    assert found is not None
    assert found.observations is not None
    wait = timedelta(minutes=round(found.observations / A_MINUTE))

    def within(window: timedelta) -> Needs:
        rule = replace(LOSS, window=window)
        other = replace(OF, rules=(rule,))
        verdict = judge(rule, open_verdict(counts).reading)
        lacking = needs(other, STATE, verdict)
        assert lacking is not None
        return lacking

    # A shorter window has fewer starts to share alpha with, so that it needs a little less: not a tenth less.
    assert within(wait * 1.1).proof is Outcome.FAIL
    assert within(wait * 0.7) == Needs(proof=Outcome.INSUFFICIENT, kind=PEOPLE)


def test_where_no_answers_come_nobody_knows_when():
    nothing = needs(OF, STATE, open_verdict(counted(((0,) * 4, (0, 0)), ((0,) * 4, (0, 0)))))

    assert nothing is not None
    assert nothing.observations is not None
    assert nothing.after is None


@pytest.mark.parametrize(
    ("state", "by_people"),
    [
        (at_step(1, OF, share_bp=0), True),
        (at_step(1, OF, share_bp=10_000), True),
        (STATE, False),
    ],
    ids=["no candidate", "no baseline", "no figure"],
)
def test_there_is_nothing_to_reckon_with_without_two_arms_or_a_figure(state, by_people):
    verdict = open_verdict(counted(FAIR, BASELINE, strata=10))
    if not by_people:
        verdict = judge(LOSS, replace(verdict.reading, by_people=None))

    assert needs(OF, state, verdict) is None


def test_a_proof_is_by_people_if_its_figure_is():
    by_people = open_verdict(counted(FAIR, BASELINE)).reading.by_people
    assert by_people is not None

    assert is_by_people(replace(proof(0.5), look=by_people))
    assert not is_by_people(proof(0.5))
    assert not is_by_people(None)
