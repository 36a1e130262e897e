"""What `check` reckons of conversations whose answers are graded one by one: as these are drawn, and as simulated."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.metrics import MICRO
from controller.rollout.plan import Arm, Intent, Labels, Plan, Scope, Step, Unit
from controller.simulate.drawn.dense import (
    GRADED,
    REQUESTS_GRADED,
    RIGHT_U,
)
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.feasibility.cells import Cells
from controller.simulate.feasibility.laws import law
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.runs.nearness import is_sparse
from controller.simulate.scenarios import HEALTHY, Fault, Scenario, Traffic
from controller.simulate.usual import Usual
from tests.simulate.factories import plan, rule
from tests.simulate.feasibility.test_feasibility import ACCURACY, quantile, stops

MEAN, RATE = 4.0, 0.2
DAY = 1_440
HOUR = timedelta(hours=1)
LOSS = rule("accuracy_delta", limit=0.015, scope=Scope.CRITICAL)
HALLUCINATION = rule("hallucination_rate")
TRAFFIC = Traffic(
    units_per_minute=20.0,
    mix={"refund": 1.0},
    accuracy=0.8,
    escalation=0.1,
    label_rate=RATE,
    requests_per_unit=MEAN,
)


def outlook(*rules, sampled_u: int = 200_000, **changes) -> Outlook:
    of = plan(
        *(rules or (LOSS,)),
        unit=Unit.CONVERSATION,
        labels=Labels(delay=HOUR, sampled_u=sampled_u),
    )
    flagged = {(arm, "grounding_failure"): 0.03 for arm in Arm}
    return Outlook(plan=of, traffic=replace(TRAFFIC, **changes), usual=Usual(flagged=flagged))


def drawn(of: Outlook, arm: Arm, days: int = 40) -> np.ndarray:
    split = InForce(version=1, step=0, shares={"refund": 5_000}, pinned=frozenset())
    made = Streams(of.plan, of.traffic, HEALTHY, 7, 0, 0)
    totals = made.draw(split, 0, 0, days * DAY).counted.compared[arm.value][0].sum(axis=1)
    found: np.ndarray = totals / (days * DAY)
    return found


@pytest.mark.parametrize("arm", Arm)
@pytest.mark.parametrize("sampled_u", [200_000, MICRO])
def test_grades_are_reckoned_as_many_as_are_drawn(arm: Arm, sampled_u: int):
    of = outlook(sampled_u=sampled_u)

    found = drawn(of, arm)

    # 576,000 units, of whose kinds the rarest are one in twenty: deviations of less than a hundredth
    assert of.units(arm, None, 0) * of.graded_units(arm) == pytest.approx(found[GRADED], rel=0.01)
    assert of.requests(arm, None, 0) * of.graded(arm) == pytest.approx(
        found[REQUESTS_GRADED], rel=0.015
    )
    shown = 1 - found[RIGHT_U] / MICRO / found[GRADED]
    assert of.wrong_if_graded(arm) == pytest.approx(shown, rel=0.02)


def test_half_of_the_conversations_have_a_grade_where_a_fifth_of_the_answers_has():
    of = outlook()

    # 0.2 × 4 / (1 + 3 × 0.2); of as many escalated ones: nothing seems lost
    assert [of.graded_units(arm) for arm in Arm] == pytest.approx([0.5, 0.5])
    assert of.apparent_loss == 0
    # 20 units a minute in halves; a block has one label of each arm
    assert of.blocks("refund", 0) == pytest.approx(10 * 0.5)


@pytest.mark.parametrize(
    ("metric", "written", "proven", "in_step"),
    [
        # 10 units a minute of each arm, 40 requests: half of the units have a grade, a fifth of the requests
        ("accuracy_delta", 5.0, 5.0, 5.0),
        ("accuracy", 5.0, 5.0, 8.0),
        ("served_accuracy", 8.0, None, 8.0),
        ("hallucination_rate", 8.0, 5.0, 8.0),
        ("cost_per_correct", 5.0, 8.0, 8.0),
        ("complaint_rate", 40.0, 10.0, 40.0),
        ("coverage", 40.0, None, 8.0),
    ],
)
def test_a_rule_counts_graded_units_or_graded_requests_as_it_does_live(
    metric: str, written: float, proven: float | None, in_step: float
):
    one = rule(metric)
    of = outlook(one)

    found = [counted(one, None, 0)[Arm.CANDIDATE] for counted in (of.samples, of.in_step)]

    assert found == pytest.approx([written, in_step])
    if proven is not None:  # the others have no proof
        assert of.proven_by(one, None, 0)[Arm.CANDIDATE] == pytest.approx(proven)


def test_every_conversation_counts_for_coverage_where_no_sample_was_planned():
    one = rule("coverage", limit=0.4, below=True)
    of = outlook(one, sampled_u=MICRO, escalation=0.0)

    assert of.samples(one, None, 0)[Arm.CANDIDATE] == pytest.approx(10.0)
    assert of.covered(Arm.CANDIDATE) == pytest.approx(0.5)
    # Of a sample, answers: as many as were to be.
    assert outlook(one).covered(Arm.CANDIDATE) == pytest.approx(1.0)


def cells(runs: int = 100_000) -> Cells:
    each = np.full(1, 10.0)
    return Cells(
        random=np.random.default_rng(3),
        runs=runs,
        units=dict.fromkeys(Arm, each),
        outside=np.zeros(1),
        bad=np.zeros(1, dtype=np.bool_),
        requests_per_unit=MEAN,
        length_min=1,
    )


def one_by_one(runs: int, part: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of runs of ten conversations, as expected, of which this part has a flag: graded requests with it and without,
    and all requests.
    """
    random = np.random.default_rng(4)
    count = random.poisson(10.0, runs)
    run_of = np.repeat(np.arange(runs), count)
    sizes = random.geometric(1 / MEAN, len(run_of))
    graded, flagged = random.binomial(sizes, RATE), random.random(len(run_of)) < part
    return tuple(
        np.bincount(run_of, weights, runs)
        for weights in (graded * flagged, graded * ~flagged, sizes)
    )  # type: ignore[return-value]  # three of them


def alike(found: np.ndarray, counted: np.ndarray) -> None:
    assert found.mean() == pytest.approx(counted.mean(), rel=0.02)
    assert found.var() == pytest.approx(counted.var(), rel=0.04)
    for most in (0, 3, 10):
        assert (found <= most).mean() == pytest.approx((counted <= most).mean(), abs=0.007)


def test_a_window_of_a_flag_that_graders_tell_has_the_graded_requests_of_whole_conversations():
    made = law(outlook(HALLUCINATION), HALLUCINATION, None)
    assert made is not None

    hit, other = (one[:, 0] for one in made.draw(cells()))

    flagged, without, _ = one_by_one(100_000, 0.03)
    alike(hit, flagged)
    alike(other, without)


def test_a_window_of_coverage_has_the_answers_of_conversations_that_are_picked_and_those_that_are_not():
    one = rule("coverage", limit=0.9, below=True)
    made = law(outlook(one), one, None)
    assert made is not None

    hit, other = (one[:, 0] for one in made.draw(cells()))

    flagged, without, every = one_by_one(100_000, 0.5)
    graded = flagged + without
    alike(hit, graded)
    alike(other, every - graded)
    assert np.cov(hit, other)[0, 1] == pytest.approx(np.cov(graded, every - graded)[0, 1], rel=0.05)


def test_a_window_that_a_grade_in_every_other_conversation_fills_is_not_sparse():
    """Twenty-four conversations an hour: five graded if these were picked, twelve as answers are; of 15 it is not."""
    coverage = rule("accuracy", limit=0.5, below=True, window=HOUR)
    of = outlook(coverage, units_per_minute=1.2)

    assert not is_sparse(of.plan, of.traffic, HEALTHY)
    assert is_sparse(of.plan, replace(of.traffic, units_per_minute=0.9), HEALTHY)


@pytest.mark.slow
def test_a_losing_candidate_of_conversations_is_caught_when_the_closed_form_says():
    of: Plan = plan(
        ACCURACY,
        unit=Unit.CONVERSATION,
        intents=(Intent(name="refund", critical=True),),
        steps=(Step(share_bp=5_000, hold=120 * HOUR),),
        labels=Labels(delay=6 * HOUR, sampled_u=200_000),
    )
    traffic = Traffic(
        units_per_minute=4.0, mix={"refund": 1.0}, label_rate=RATE, requests_per_unit=MEAN
    )
    worse = Scenario(text="loss=5pp", loss=Fault(size=0.05))
    (caught,) = Outlook(plan=of, traffic=traffic).row(ACCURACY, "refund", 0, [worse]).catches

    found = [float(one.end_min) for one in stops(of, worse, 200, traffic)]

    assert caught.after[0] is not None
    # Rollouts have a start every six hours beside the first: ADR 015.
    assert caught.after[0] / timedelta(minutes=1) == pytest.approx(quantile(found, 0.5), rel=0.15)
