from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from controller.clock import ManualClock
from controller.errors import DataError, Refused
from controller.rollout.assignment import assign
from controller.rollout.decision import Action
from controller.rollout.evidence.coverage import straying
from controller.rollout.observation import Cohort
from controller.rollout.plan import Arm, Evidence, Intent, Labels, Plan, Scope, Step
from controller.rollout.record import verify_chain
from controller.rollout.state import Cause, Phase
from controller.rollout.verdict import LossCounts
from controller.simulate.backtest.arrivals import Poisson
from controller.simulate.backtest.results import Recording
from controller.simulate.backtest.run import (
    START,
    TICK,
    Finished,
    Setup,
    World,
    backtest,
    picked,
    with_critical,
)
from controller.simulate.backtest.stand_ins import ACTOR, OnPause, Served
from controller.simulate.endings import Ending
from controller.store.memory import MemoryStore
from controller.traffic.memory import MemoryTarget
from tests.simulate.factories import graded, plan, recording, rule

HOUR = timedelta(hours=1)
ALIKE = recording(*graded([1] * 9 + [0], [1] * 9 + [0]))
WORSE = recording(*graded([1] * 10, [0] * 10))
ACCURACY = rule(
    "accuracy_delta", limit=0.015, scope=Scope.CRITICAL, evidence=Evidence.CONFIDENT, min_samples=10
)


def world() -> World:
    clock = ManualClock(START)
    return World(store=MemoryStore(), target=MemoryTarget(clock), clock=clock)


def run(
    plan: Plan,
    recording: Recording = ALIKE,
    *,
    within: World | None = None,
    served: list[Served] | None = None,
    units_per_day: float = 2_400,
    seed: int = 1,
    **changes: object,
) -> Finished:
    setup = Setup(
        plan=plan,
        recording=recording,
        arrivals=Poisson(units_per_day=units_per_day, seed=seed),
        seed=seed,
        max_days=2,
    )
    kept = served if served is not None else []
    setup = replace(setup, **changes)  # type: ignore[arg-type]  # a factory's keywords are the setup's own
    return backtest(setup, within or world(), sink=kept.append)


def actions(finished: Finished) -> list[Action]:
    return [sealed.value.action for sealed in finished.records]


def test_a_candidate_that_is_alike_completes_and_every_record_follows_from_the_one_before():
    finished = run(plan())

    assert finished.ending is Ending.COMPLETED
    assert actions(finished) == [Action.START, Action.ADVANCE, Action.COMPLETE]
    assert verify_chain(finished.records) == finished.records[-1].hash


def test_the_records_are_those_of_the_store():
    within = world()

    finished = run(plan(), within=within)

    assert list(finished.records) == list(within.store.records("small/1"))
    assert finished.records[0].value.actor == ACTOR


def test_the_same_seed_gives_the_same_records_and_another_seed_does_not():
    one, same, other = (run(plan(ACCURACY), WORSE, seed=seed) for seed in (1, 1, 2))

    assert [sealed.hash for sealed in one.records] == [sealed.hash for sealed in same.records]
    assert one.records[-1].hash != other.records[-1].hash


def test_every_draw_is_assigned_by_the_live_hash_under_the_split_in_force():
    served: list[Served] = []

    run(plan(), served=served, seed=3)

    assert {one.share_bp for one in served} == {0, 5_000}
    assert all(one.arm is assign("backtest 3", one.draw.unit, one.share_bp) for one in served)


def test_the_split_changes_with_the_record_that_says_so():
    served: list[Served] = []

    finished = run(plan(), served=served)

    advanced = next(s.value.at for s in finished.records if s.value.action is Action.ADVANCE)
    assert all((one.share_bp > 0) == (one.draw.at >= advanced) for one in served)


def test_every_draw_is_counted_once_and_only_for_the_arm_that_served_it():
    served: list[Served] = []
    within = world()

    finished = run(plan(), within=within, served=served)

    rows, _ = within.store.rollups(finished.state.rollout)
    counted = Counter[str]()
    for row in rows:
        counted[row.arm] += row.stats.get("n", 0)
    assert +counted == Counter(one.arm.value for one in served)
    assert {arm: tally.requests for arm, tally in finished.tallies.items()} == Counter(
        one.arm for one in served
    )


def test_a_worse_candidate_pauses_and_the_pause_ends_the_run():
    finished = run(plan(ACCURACY), WORSE)

    last = finished.records[-1].value
    assert finished.ending is Ending.PAUSED
    assert (last.action, last.cause) == (Action.PAUSE, Cause.RULE)
    assert finished.at == last.at


def test_a_pause_is_resumed_by_the_automatic_person_where_asked():
    finished = run(plan(ACCURACY), WORSE, on_pause=OnPause.RESUME, max_days=1)

    records = [sealed.value for sealed in finished.records]
    pause, resume = next(pair for pair in pairwise(records) if pair[0].action is Action.PAUSE)
    assert resume.action is Action.RESUME
    assert (resume.actor, resume.at - pause.at) == (ACTOR, HOUR)


def test_an_approval_is_given_after_a_while_and_recorded_as_the_backtests_own():
    steps = (Step(share_bp=1_000, hold=HOUR, approval=True), Step(share_bp=5_000, hold=HOUR))

    finished = run(plan(steps=steps), reaction=2 * HOUR)

    records = [sealed.value for sealed in finished.records]
    asked = next(one for one in records if one.action is Action.NOTIFY)
    given = next(one for one in records if one.action is Action.APPROVE)
    assert finished.ending is Ending.COMPLETED
    assert (given.actor, given.at - asked.at) == (ACTOR, 2 * HOUR)


def test_what_the_plan_does_not_know_or_pins_goes_to_the_baseline_and_is_counted():
    served: list[Served] = []
    mixed = recording(
        *graded([1] * 5, [1] * 5, intent="refund"),
        *graded([1] * 5, [1] * 5, intent="legal"),
        *graded([1] * 5, [1] * 5, intent="chat"),
    )
    intents = (Intent(name="refund"), Intent(name="legal", pinned=True))

    finished = run(plan(intents=intents), mixed, served=served)

    outside = [one for one in served if one.draw.item.intent != "refund"]
    assert {(one.arm, one.cohort) for one in outside} == {(Arm.BASELINE, Cohort.OUTSIDE)}
    assert finished.outside == Counter(one.draw.item.intent for one in outside)


def test_what_is_not_recorded_stays_unmeasured_and_pauses_after_max_blind():
    blind = plan(rule("latency_p95"), max_blind=timedelta(minutes=30))

    # Eight of the candidate's a minute: there is hardly one without, whatever the salt makes of them.
    finished = run(blind, units_per_day=24_000)

    last = finished.records[-1].value
    assert (last.action, last.cause) == (Action.PAUSE, Cause.BLIND)
    assert last.at - last.state.step_started_at <= HOUR


def test_a_rollout_that_cannot_end_in_time_is_not_finished():
    finished = run(plan(steps=(Step(share_bp=5_000, hold=timedelta(days=9)),)), max_days=1)

    assert finished.ending is Ending.UNFINISHED
    assert finished.state.phase is Phase.PROGRESSING
    assert finished.at == START + timedelta(days=1)


def test_no_lease_runs_out_between_two_ticks():
    finished = run(plan(), units_per_day=240)

    assert Action.EXPIRE not in actions(finished)


def test_a_decision_knows_only_the_labels_that_have_come_in():
    served: list[Served] = []

    finished = run(plan(ACCURACY, labels=Labels(delay=HOUR)), WORSE, served=served)

    record = finished.records[-1].value
    look = record.verdicts[0].reading.latest
    assert look is not None
    assert isinstance(look.counts, LossCounts)
    asked = [one for one in served if one.draw.at < look.window.end]
    assert sum(one.baseline_n + one.candidate_n for one in look.counts.strata) == len(
        [one for one in asked if one.draw.labelled_at <= record.at]
    )
    assert look.window.end <= record.at - HOUR + TICK


def test_a_store_with_this_rollout_under_way_refuses_another():
    within = world()
    run(plan(steps=(Step(share_bp=5_000, hold=timedelta(days=9)),)), within=within, max_days=1)

    with pytest.raises(Refused, match="this very revision is in force"):
        run(plan(steps=(Step(share_bp=5_000, hold=timedelta(days=9)),)), within=within)


def test_critical_intents_can_be_replaced():
    two = plan(intents=(Intent(name="refund", critical=True), Intent(name="chat")))

    changed = with_critical(two, ["chat"])

    assert [(one.name, one.critical) for one in changed.intents] == [
        ("refund", False),
        ("chat", True),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("refnd", "the plan has no such intent; it has refund, legal"), ("legal", "the plan pins it")],
)
def test_an_intent_that_cannot_be_critical_is_refused(name: str, message: str):
    pinned = plan(intents=(Intent(name="refund"), Intent(name="legal", pinned=True)))

    with pytest.raises(DataError, match=message):
        with_critical(pinned, [name])


SAMPLED = Labels(delay=HOUR, sampled_u=300_000)


def test_of_recorded_grades_the_sampled_part_comes_in():
    served: list[Served] = []

    finished = run(plan(ACCURACY, labels=SAMPLED), served=served)

    labelled = sum(one.is_labelled for one in served)
    deviation = (len(served) * 0.3 * 0.7) ** 0.5
    assert abs(labelled - 0.3 * len(served)) < 5 * deviation
    coverage = finished.records[-1].value.seen.coverage
    assert coverage is not None
    assert (coverage.sampled_u, coverage.differs) == (300_000, False)
    assert straying(coverage) == {}


def test_where_the_recording_is_a_sample_itself_no_more_of_it_is_left_out():
    """Half of the answers have a grade: of those three in five, for 30% of all; a tenth of them leaves nothing out."""
    half = recording(
        *(line if n % 2 else line[:-1] for n, line in enumerate(graded([1] * 8, [1] * 8)))
    )

    assert half.graded == 0.5
    assert picked(plan(labels=SAMPLED), half) == pytest.approx(0.6)
    assert picked(plan(labels=replace(SAMPLED, sampled_u=500_000)), half) == 1.0
    assert picked(plan(), half) == 1.0


def test_plans_that_sample_more_or_less_pick_the_same_answers_first():
    few: list[Served] = []
    many: list[Served] = []
    run(plan(labels=SAMPLED), served=few)
    run(plan(labels=replace(SAMPLED, sampled_u=600_000)), served=many)

    picked_by = [{one.draw.number for one in served if one.is_labelled} for served in (few, many)]
    assert picked_by[0] < picked_by[1]
