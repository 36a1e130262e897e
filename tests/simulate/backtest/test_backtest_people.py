"""Backtests of plans in which people grade beside a judge: whose grade is whose, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from controller.errors import DataError
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.observation import PERSON
from controller.rollout.plan import Arm, Judge, Labels, Plan, Step
from controller.rollout.verdict import PoweredCounts
from controller.simulate.backtest.arrivals import Poisson
from controller.simulate.backtest.briefing import agreement, brief
from controller.simulate.backtest.export import HEADER as DRAWS
from controller.simulate.backtest.export import row
from controller.simulate.backtest.policies import in_one_world
from controller.simulate.backtest.results import Recording, graded_as_planned
from controller.simulate.backtest.run import Setup
from controller.simulate.backtest.stand_ins import Served
from controller.simulate.endings import Ending
from tests.simulate.backtest.test_backtest import ACCURACY, HOUR, run, world
from tests.simulate.factories import (
    BY_BOTH,
    graded,
    graded_by_both,
    plan,
    recording,
)

JUDGE = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
SHARE_U = 500_000
STEPS = (Step(share_bp=5_000, hold=12 * HOUR),)
ALONE = plan(ACCURACY, steps=STEPS, labels=Labels(delay=HOUR, judge=JUDGE))
BESIDE = replace(ALONE, labels=replace(ALONE.labels, people_u=SHARE_U))
RIGHT, WRONG, MISSED = (1, 1), (0, 0), (1, 0)  # by the judge, by a person
GOOD = [RIGHT] * 9 + [WRONG]


def by_both(candidate: Sequence[tuple[int | str, int | str]]) -> Recording:
    return recording(*graded_by_both(GOOD, candidate), header=BY_BOTH)


FAVOURED = by_both([RIGHT] * 7 + [MISSED] * 3)


def setup(of: Plan, on: Recording) -> Setup:
    arrivals = Poisson(units_per_day=2_400, seed=1)
    return Setup(plan=of, recording=graded_as_planned(on, of), arrivals=arrivals, seed=1)


def test_what_people_find_stops_what_the_judge_lets_pass():
    beside, alone = (run(of, FAVOURED, units_per_day=4_800) for of in (BESIDE, ALONE))

    assert (beside.ending, alone.ending) == (Ending.PAUSED, Ending.COMPLETED)
    (failed,) = beside.records[-1].value.notices[0].failures
    assert failed.reading.failing is not None
    counts = failed.reading.failing.look.counts
    assert isinstance(counts, PoweredCounts)
    *_, stratum = counts.strata  # before it, what the baseline answered alone
    # The candidate's are right by the judge wherever both are: people's grades stand apart from his.
    assert stratum.candidate.judge_u == 1_000_000 * stratum.candidate.both
    assert stratum.candidate.person_u == stratum.candidate.product_u < stratum.candidate.judge_u


def test_people_are_asked_of_the_units_that_the_store_draws_and_of_no_other():
    served: list[Served] = []
    within = world()
    finished = run(BESIDE, FAVOURED, within=within, served=served)

    rollout = finished.state.rollout
    asked = [one for one in served if one.by_person is not None]
    assert len(asked) == sum(is_drawn(rollout, one.draw.unit, SHARE_U) for one in served)
    assert 0.35 < len(asked) / len(served) < 0.65
    for one in asked:
        assert one.by_person is one.draw.pair.of(one.arm).by_person
    rows, _ = within.store.rollups(rollout)
    drawn = {
        name: sum(row.stats.get(name, 0) for row in rows) for name in ("drawn", "both", "graded")
    }
    assert drawn["drawn"] == drawn["both"] > 0
    assert drawn["graded"] > drawn["both"]
    told = dict(zip(DRAWS, row(asked[0]), strict=True))
    assert told[f"correct_by_{PERSON}"] == int(bool(asked[0].by_person))


def test_wrong_answers_that_reached_a_client_are_those_that_people_find():
    finished = run(ALONE, FAVOURED)

    # A draw is wrong by people in three of ten, by the judge in none; the baseline's in one of ten.
    assert finished.instead.wrong == pytest.approx(0.3 * finished.instead.graded, rel=0.2)
    assert finished.instead.wrong_instead == pytest.approx(0.1 * finished.instead.graded, rel=0.4)


def test_only_pairs_that_people_have_graded_are_drawn_and_by_every_plan_that_is_compared():
    some = by_both([RIGHT] * 4 + [MISSED] * 2 + [(1, "")] * 4)

    one, other = in_one_world([setup(BESIDE, some), setup(ALONE, some)])

    assert len(one.recording.pairs) == len(other.recording.pairs) == 6
    assert (one.recording.left_out, one.recording.unpaired) == (4, 0)
    facts = dict(brief(one).facts)
    assert "4 pairs of which they have not graded both answers are left out" in facts["Grades"]
    assert "Grades" not in dict(brief(other).facts)


def test_how_well_the_judge_agrees_with_people_is_told_of_each_arm():
    found = setup(BESIDE, FAVOURED)

    assert agreement(found.recording, Arm.BASELINE) == (1.0, 1.0)
    assert agreement(found.recording, Arm.CANDIDATE) == (1.0, 0.0)
    assert (
        "on the baseline 100% and 100%; on the candidate 100% and 0% (stated: 95% and 90%)"
        in dict(brief(found).facts)["Grades"]
    )


def test_a_recording_without_peoples_grades_is_refused_with_what_to_do():
    one_grade = recording(*graded([1] * 10, [1] * 10))
    of_one_arm = by_both([(1, "")] * 10)

    for lacking in (one_grade, of_one_arm):
        with pytest.raises(DataError) as refused:
            graded_as_planned(lacking, BESIDE)
        for words in (
            "made.csv",
            "labels.people",
            "column correct_by_person",
            "leave `people` out",
        ):
            assert words in str(refused.value)
        assert graded_as_planned(lacking, ALONE) is lacking
