"""How often a loss passes by people's grades that must not, and how soon one that may: by the live readings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.evidence.readings import proven, read
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import MICRO
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Judge, Plan, Step
from controller.rollout.verdict import Outcome
from controller.simulate.feasibility.by_people import Answers, drawn, keeping
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.scenarios import Traffic
from controller.stats.passage import Passage
from tests.rollout.factories import ACCURACY, plan
from tests.rollout.test_readings import START, row, view

LIMIT = 0.05
LOSS = replace(ACCURACY, window=timedelta(days=20), limit=LIMIT, min_samples=1)
ALPHA = 0.05
HOURS = 60
ACCURATE = 0.9
EVERY_HOUR = (60, 60)  # graded answers of the candidate and the baseline
ROUGH = Judge(model="gpt-5", sensitivity=0.85, specificity=0.8)


def planned(people_u: int, by: Judge = ROUGH) -> Plan:
    usual = plan()
    return replace(
        usual,
        rules=(LOSS,),
        labels=replace(usual.labels, delay=timedelta(0), judge=by, people_u=people_u),
        priors=replace(usual.priors, accuracy=ACCURATE),
    )


def served(
    random: np.random.Generator,
    share: float,
    *,
    lost: float = 0.0,
    favours: float = 0.0,
    hours: int = HOURS,
) -> Iterator[object]:
    """Hour by hour what both say, and blocks of the judge's grades of one answer of each arm, as the store counts them.

    `favours`: of the candidate's wrong answers that the judge would find, the part that it lets pass.
    """
    for hour in range(hours):
        minute = START + 60 * hour + 3
        judged = []
        for arm, n, right, missed in zip(
            ("candidate", "baseline"),
            EVERY_HOUR,
            (ACCURATE - lost, ACCURATE),
            (favours, 0.0),
            strict=True,
        ):
            is_right = random.random(n) < right
            called = random.random(n) < np.where(is_right, ROUGH.sensitivity, 1 - ROUGH.specificity)
            called |= ~is_right & (random.random(n) < missed)
            asked = random.random(n) < share
            judged.append(called)
            stats = {
                "n": n,
                "e": n,
                "graded": n,
                "e.graded": n,
                "correct_u": called.sum() * MICRO,
                "e.correct_u": called.sum() * MICRO,
                "drawn": asked.sum(),
                "drawn.judge_u": (called & asked).sum() * MICRO,
                "both": asked.sum(),
                "both.judge_u": (called & asked).sum() * MICRO,
                "both.person_u": (is_right & asked).sum() * MICRO,
                "both.product_u": (is_right & called & asked).sum() * MICRO,
            }
            yield row(minute, {key: int(count) for key, count in stats.items()}, arm=arm)
        ours, theirs = judged
        values = (theirs.astype(int) - ours.astype(int)).tolist()
        blocks = {f"b.{value * MICRO}": values.count(value) for value in (-1, 0, 1)}
        yield row(minute, blocks, arm=BOTH_ARMS)


def first_pass(of: Plan, rows: list, hours: int = HOURS) -> float:
    """The hour after which the live reading first holds a proof; infinite if none of them does."""
    ends = START + 60 * np.arange(1, hours + 1)
    there = proven(view(rows, minutes=60 * hours, of=of), LOSS, "refund", ends)
    return float(there.argmax()) + 1 if there.any() else math.inf


@pytest.mark.slow
def test_a_loss_of_the_limit_passes_in_alpha_of_rollouts_at_most_whomever_the_judge_favours():
    """At every hour, in 1,000 rollouts; alone the judge lets most of them pass."""
    runs, of, alone = 1_000, planned(300_000), planned(0)
    passed = {"people": 0, "judge": 0}
    for run in range(runs):
        random = np.random.default_rng((7, run))
        rows = list(served(random, 0.3, lost=LIMIT, favours=0.8))
        passed["people"] += first_pass(of, rows) <= HOURS
        passed["judge"] += first_pass(alone, rows) <= HOURS

    assert passed["people"] <= runs * (ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / runs))
    assert passed["judge"] >= 0.9 * runs


@pytest.mark.slow
def test_a_fair_judge_passes_sooner_with_people_where_they_grade_enough():
    """A judge that shows 65% of a loss has a margin of 65%; a third of the answers graded by people are worth more."""
    many, few, alone = planned(350_000), planned(20_000), planned(0)
    hours: dict[str, list[float]] = {"many": [], "few": [], "alone": []}
    for run in range(60):
        random = np.random.default_rng((8, run))
        by_many = list(served(random, 0.35))
        hours["many"].append(first_pass(many, by_many))
        hours["alone"].append(first_pass(alone, by_many))
        hours["few"].append(first_pass(few, list(served(random, 0.02))))

    median = {name: float(np.median(found)) for name, found in hours.items()}
    assert median["many"] < 0.8 * median["alone"]
    assert median["alone"] < median["few"]


def first_stop(of: Plan, rows: list, hours: int) -> float:
    """The hour after which the live reading first fails; infinite if none of them does."""
    for hour in range(1, hours + 1):
        there = view(rows, minutes=60 * hour, of=of)
        if judge(LOSS, read(there, LOSS, "refund")).confident is Outcome.FAIL:
            return hour
    return math.inf


@pytest.mark.slow
@pytest.mark.parametrize(("people_u", "lost"), [(350_000, 0.12), (350_000, 0.09), (50_000, 0.12)])
def test_what_stops_a_losing_candidate_first_is_as_check_reckons(people_u: int, lost: float):
    """With a judge that is fair and rough: by people's grades where they are many, by its own where they are few."""
    share = people_u / MICRO
    of = replace(
        planned(people_u),
        steps=(Step(share_bp=5_000, hold=timedelta(days=20)), Step(share_bp=10_000)),
    )
    traffic = Traffic(
        units_per_minute=sum(EVERY_HOUR) / 60 / 0.5,
        mix={one.name: 0.5 for one in of.intents},
        accuracy=ACCURATE,
        escalation=0.0,
    )
    catch = Outlook(plan=of, traffic=traffic).catch(LOSS, "refund", 0, lost)
    assert catch.after[1] is not None

    hours = 2 * (catch.after[1] // timedelta(hours=1))
    found = [
        first_stop(
            of,
            list(served(np.random.default_rng((10, run)), share, lost=lost, hours=hours)),
            hours,
        )
        for run in range(200)
    ]

    assert catch.by_people is (people_u > 100_000)
    for part, told in zip((0.5, 0.9), catch.after, strict=True):
        assert told is not None
        # Here all grades of an hour come together, and are seen half an hour later on average.
        late = told / timedelta(hours=1) + 0.5
        assert late == pytest.approx(np.quantile(found, part), rel=0.15)


@pytest.mark.slow
def test_what_check_reckons_is_what_comes():
    of = planned(350_000)
    candidate, baseline = (Answers(graded=n / 60, wrong=1 - ACCURATE) for n in EVERY_HOUR)
    passage = Passage(
        growth=keeping(of, LOSS, candidate, baseline), log_threshold=math.log(1 / ALPHA)
    )
    reckoned = passage.quantile(0.5) / drawn(of, candidate, baseline) / 60

    found = [
        first_pass(of, list(served(np.random.default_rng((9, run)), 0.35))) for run in range(200)
    ]

    assert float(np.median(found)) == pytest.approx(reckoned, rel=0.1)
