"""Several plans in one world: the same draws for all, where two part, what it costs, and what many seeds add up to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.errors import DataError
from controller.rollout.decision import Action
from controller.rollout.plan import Arm, Evidence, Labels, Plan, Scope, Step
from controller.simulate.backtest.arrivals import Poisson
from controller.simulate.backtest.policies import (
    NEVER,
    Run,
    against,
    in_one_world,
    parting,
    run_of,
    runs_of,
    spread,
    stop_of,
)
from controller.simulate.backtest.results import in_common, pair_up, parse_results
from controller.simulate.backtest.run import Finished, Setup, backtest
from controller.simulate.backtest.stand_ins import Instead, Served
from controller.simulate.endings import Ending
from tests.simulate.backtest.test_backtest import ACCURACY, HOUR, WORSE, world
from tests.simulate.factories import csv_of, graded, plan, recording

STEPS = (Step(share_bp=1_000, hold=6 * HOUR), Step(share_bp=5_000, hold=2 * HOUR))
COSTS = "source,intent,item_id,trial,model,correct,cost_usd,refused"


def setup(plan: Plan, *, seed: int = 1, **changes: object) -> Setup:
    base = Setup(
        plan=plan,
        recording=WORSE,
        arrivals=Poisson(units_per_day=2_400, seed=seed),
        seed=seed,
        max_days=2,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a factory's keywords are the setup's own


def finish(setup: Setup, served: list[Served] | None = None) -> Finished:
    return backtest(setup, world(), sink=(served if served is not None else []).append)


# One world


def test_two_plans_of_one_seed_meet_the_same_draws_on_the_same_arms():
    one: list[Served] = []
    other: list[Served] = []

    finish(setup(plan(steps=STEPS, name="one")), one)
    finish(setup(plan(ACCURACY, steps=STEPS, name="other")), other)

    shared = list(zip(one, other, strict=False))
    assert len(shared) > 200
    assert all(a.draw == b.draw for a, b in shared)
    assert {a.share_bp for a, b in shared if a.share_bp == b.share_bp} == {0, 1_000}
    assert all(a.arm is b.arm for a, b in shared if a.share_bp == b.share_bp)


def test_labels_take_as_long_as_the_most_patient_plan_waits():
    hasty, patient = (plan(labels=Labels(delay=delay)) for delay in (HOUR, 6 * HOUR))

    found = in_one_world([setup(hasty), setup(patient)])

    assert [one.labels_within for one in found] == [6 * HOUR, 6 * HOUR]


def test_plans_of_several_models_are_asked_what_all_of_them_answered():
    rows = ("s,a,i,1,old,1", "s,a,i,1,new,1", "s,a,j,1,old,1", "s,a,j,1,new,0", "s,a,j,1,tiny,0")
    results = parse_results(csv_of(*rows), file="made.csv")

    found = in_common([pair_up(results, baseline="old", candidate=one) for one in ("new", "tiny")])

    assert [[item.name for item in one.items] for one in found] == [["j"], ["j"]]
    assert [one.unpaired for one in found] == [2, 1]


def test_plans_that_share_no_answer_are_refused():
    rows = ("s,a,i,1,old,1", "s,a,i,1,new,1", "s,a,j,1,old,1", "s,a,j,1,tiny,0")
    results = parse_results(csv_of(*rows), file="made.csv")

    with pytest.raises(DataError, match="no item and trial in common, so they cannot be compared"):
        in_common([pair_up(results, baseline="old", candidate=one) for one in ("new", "tiny")])


# Where two part


def test_the_same_plan_never_parts_from_itself():
    assert parting(finish(setup(plan(ACCURACY))), finish(setup(plan(ACCURACY)))) is None


def test_plans_part_where_the_first_of_them_decides_something_else():
    strict = finish(setup(plan(ACCURACY, steps=STEPS)))
    loose = finish(setup(plan(steps=STEPS)))

    found = parting(strict, loose)

    assert found is not None
    assert found.one is not None
    assert found.at == min(strict.records[-1].value.at, loose.records[2].value.at)
    assert (found.one.action, found.other) == (Action.PAUSE, None)


def test_a_stop_tells_the_verdicts_that_failed():
    strict = finish(setup(plan(ACCURACY)))

    stop = stop_of(strict)

    assert stop is not None
    assert [(one.rule, one.intent) for one in stop[1]] == [("accuracy_delta", "refund")]
    assert run_of(setup(plan(ACCURACY)), strict).stopped_by == ("accuracy_delta on refund",)


def test_what_completes_was_not_stopped():
    finished = finish(setup(plan()))

    assert stop_of(finished) is None
    run = run_of(setup(plan()), finished)
    assert (run.stopped_by, run.until_stop_h) == ((), NEVER)
    assert run.path == ((run.path[0][0], 5_000),)


# What the candidate's requests came to


def test_harm_is_counted_against_the_baselines_own_answers_to_the_same_requests():
    served: list[Served] = []
    mixed = recording(*graded([1, 1, 0, 0], [1, 0, 1, 0]))

    finished = finish(setup(plan(), recording=mixed), served)

    asked = [one.draw.pair for one in served if one.arm is Arm.CANDIDATE]
    found = finished.instead
    assert found.graded == len(asked) > 50
    assert found.wrong == sum(not pair.candidate.correct for pair in asked)
    assert found.wrong_instead == sum(not pair.baseline.correct for pair in asked)
    assert found.saved_nusd is None


def test_costs_are_compared_request_by_request():
    rows = ("s,refund,i,1,old,1,0.4,0", "s,refund,i,1,new,1,0.1,0")

    finished = finish(setup(plan(price=None), recording=recording(*rows, header=COSTS)))

    found = finished.instead
    assert found.costed == finished.tallies[Arm.CANDIDATE].requests
    assert found.saved_nusd == 300_000_000 * found.costed


def test_a_refused_answer_is_the_baselines_in_the_end_and_both_are_paid_for():
    rows = ("s,refund,i,1,old,1,0.4,0", "s,refund,i,1,new,0,0.1,1")

    found = finish(setup(plan(price=None), recording=recording(*rows, header=COSTS))).instead

    assert (found.wrong, found.wrong_instead) == (0, 0)
    assert found.saved_nusd == -100_000_000 * found.costed


# Many seeds


def made(until_h: float, ending: Ending = Ending.PAUSED, *, seed: int = 1) -> Run:
    return Run(
        seed=seed,
        ending=ending,
        took=timedelta(hours=until_h),
        path=(),
        stopped_by=("accuracy on refund",) if ending is Ending.PAUSED else (),
        candidate_requests=10,
        instead=Instead(),
    )


def test_the_interval_of_a_median_is_between_two_of_the_values():
    found = spread([float(one) for one in range(1, 11)])

    # David & Nagaraja, Order Statistics, 7.1: of ten values the 2nd and the 9th enclose the median (97.9%).
    assert (found.median, found.interval, found.most) == (5.0, (2.0, 9.0), 9.0)


def test_too_few_runs_have_no_interval():
    assert spread([1.0, 2.0, 3.0]).interval is None


def test_a_run_that_was_not_stopped_counts_as_later_than_every_other():
    runs = [*(made(one) for one in (3, 1, 2)), *(made(9, Ending.COMPLETED) for _ in range(7))]

    found = runs_of(runs)

    assert (found.until_stop.median, found.until_completion.median) == (NEVER, 9.0)
    assert found.endings[Ending.PAUSED].count == 3
    assert found.stopped_by == {"accuracy on refund": 3}


def test_plans_are_compared_seed_by_seed():
    one = [made(1), made(2), made(9, Ending.COMPLETED)]
    other = [made(2), made(2), made(9)]

    found = against(one, other)

    assert (found.sooner, found.alike, found.later) == (1, 1, 1)


def test_another_seed_is_another_world():
    first = setup(plan(ACCURACY))

    again, another = finish(first.with_seed(1)), finish(first.with_seed(2))

    assert parting(finish(first), again) is None
    assert another.tallies != again.tallies


def test_scopes_and_evidence_stay_with_their_plan():
    """A plan that is judged on nothing completes beside one that stops."""
    nothing = replace(ACCURACY, scope=Scope.NAMED, intents=(), evidence=Evidence.CONFIDENT)

    runs = [run_of(one, finish(one)) for one in (setup(plan(nothing)), setup(plan(ACCURACY)))]

    assert [one.ending for one in runs] == [Ending.COMPLETED, Ending.PAUSED]
