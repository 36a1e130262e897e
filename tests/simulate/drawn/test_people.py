"""People beside a judge in simulated rollouts: what they say how often, and that it is counted and read as live."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from controller.rollout import plan as plans
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.counting.tallies import MinuteSums, Tallies
from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.readings import proven, read
from controller.rollout.evidence.view import View
from controller.rollout.metrics import MICRO
from controller.rollout.observation import PERSON, Observation, Outcome
from controller.rollout.plan import Advance, Arm, Evidence, Intent, Labels, Plan, Scope, Step, Unit
from controller.rollout.state import Phase
from controller.rollout.timeline import minute_of, start_of
from controller.simulate.drawn.dense import (
    BOTH,
    BOTH_JUDGE_U,
    BOTH_PERSON_U,
    DRAWN,
    DRAWN_JUDGE_U,
    GRADED,
    ONE_REQUEST,
    PRODUCT_U,
    DenseTallies,
)
from controller.simulate.drawn.knowledge import Coming, Knowledge
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.endings import Ending
from controller.simulate.lateness import Lateness
from controller.simulate.runs.montecarlo import trials_of
from controller.simulate.runs.trials import Setup
from controller.simulate.scenarios import HEALTHY, Fault, Judge, Scenario, Traffic
from controller.store.memory import MemoryStore
from tests.accounting.factories import HALF, NOW, ROLLOUT, observation, outcome, send
from tests.accounting.factories import started as in_store
from tests.rollout.factories import started
from tests.simulate.factories import plan, requests_of, rule

FIRST, DAY = minute_of(NOW), 1_440
DELAY_MIN, LENGTH_MIN = 10, 240
SHARE_U = 300_000
NAMES = tuple(HALF)
ERRS = plans.Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
LOSS = rule(
    "accuracy_delta",
    limit=0.05,
    scope=Scope.EACH,
    evidence=Evidence.CONFIDENT,
    min_samples=1,
    window=timedelta(minutes=90),
)
PLAN = plan(
    LOSS,
    unit=Unit.CONVERSATION,
    intents=(Intent(name="refund", critical=True), Intent(name="order-status")),
    steps=(Step(share_bp=5_000),),
    labels=Labels(delay=timedelta(minutes=DELAY_MIN), judge=ERRS, people_u=SHARE_U),
)
FAVOURED = Scenario(text="", loss=Fault(size=0.05), error=Fault(size=0.02), favours=0.04)


def streams(
    of: Plan = PLAN, scenario: Scenario = HEALTHY, *, seed: int = 7, **traffic: float
) -> Streams:
    usual = Traffic(
        units_per_minute=40.0, mix={"refund": 0.7, "order-status": 0.3}, escalation=0.015
    )
    return Streams(of, replace(usual, **traffic), scenario, seed, 0, FIRST)  # type: ignore[arg-type]  # fields of Traffic


SPLIT = InForce(version=1, step=0, shares=HALF, pinned=frozenset())


def at_share(share_bp: int) -> InForce:
    return replace(SPLIT, shares=dict.fromkeys(NAMES, share_bp))


# How often


@pytest.mark.parametrize("sampled", [1.0, 0.6])
@pytest.mark.parametrize("arm", Arm)
@pytest.mark.parametrize("alone", [False, True], ids=["both arms", "one arm"])
def test_what_both_say_comes_as_often_as_the_judge_errs_and_favours(
    arm: Arm, sampled: float, alone: bool
):
    """Where there are two arms answers are drawn one by one, for blocks are made of them; elsewhere by kind."""
    of = replace(PLAN, labels=replace(PLAN.labels, sampled_u=round(sampled * MICRO)))
    made = streams(of, FAVOURED, label_rate=sampled, units_per_minute=20.0 if alone else 40.0)
    of_one = at_share(10_000 if arm is Arm.CANDIDATE else 0)

    drawn = made.draw(of_one if alone else SPLIT, 0, FIRST, 20 * DAY).counted
    table = drawn.compared[arm.value].sum(axis=(0, 2))

    n = 0.3 * sampled * 20 * 20 * DAY  # of all that is graded
    # 2% fail and 1.5% escalate beside them; a tenth of the other wrong ones the judge misses, and 4 points of all.
    # The loss is on refund alone, 70% of the units.
    ours = arm is Arm.CANDIDATE
    wrong = 0.05 + (0.7 * 0.05 if ours else 0.0)
    escalated = 0.035 if ours else 0.0
    of_refund, of_other = 0.9 * (0.10 - 0.035) - 0.04, max(0.9 * (0.05 - 0.035) - 0.04, 0)
    found = 0.7 * of_refund + 0.3 * of_other if ours else 0.9 * 0.05
    missed = wrong - escalated - found
    wanted = {
        DRAWN: n,
        DRAWN_JUDGE_U: n * (missed + 0.95 * (1 - wrong)),
        BOTH: n,
        BOTH_JUDGE_U: n * (missed + 0.95 * (1 - wrong)),
        BOTH_PERSON_U: n * (1 - wrong),
        PRODUCT_U: n * 0.95 * (1 - wrong),
    }
    for column, expected in wanted.items():
        unit = 1 if column in (DRAWN, BOTH) else MICRO
        # Poisson: five standard deviations
        assert abs(table[column] / unit - expected) < 5 * math.sqrt(expected), column
    # Whom only the judge calls right is few, and is what a favour is made of: looked at by itself.
    judge_alone = (table[BOTH_JUDGE_U] - table[PRODUCT_U]) / MICRO
    assert abs(judge_alone - n * missed) < 5 * math.sqrt(n * missed)
    assert table[GRADED] > table[DRAWN]


def test_a_plan_meets_the_same_answers_and_the_same_judge_whoever_grades_beside_it():
    alone = replace(PLAN, labels=replace(PLAN.labels, people_u=0))
    judged = Scenario(text="", judge=Judge(sensitivity=0.95, specificity=0.9))

    for split, late in itertools.product((SPLIT, at_share(0), at_share(10_000)), (None, LATE)):
        scenarios = (replace(HEALTHY, lateness=late), replace(judged, lateness=late))
        drawn = [
            streams(of, one).draw(split, 0, FIRST, DAY)
            for of, one in zip((PLAN, alone), scenarios, strict=True)
        ]
        for arm in Arm:
            ours, theirs = (one.counted.compared[arm.value] for one in drawn)
            # Without people fewer sums are kept, for all is graded and none fails: by their names they are the same.
            where, others = (
                streams(PLAN, scenarios[0]).columns.places,
                streams(alone, scenarios[1]).columns.places,
            )
            for key in ONE_REQUEST.places:
                assert np.array_equal(ours[:, where[key]], theirs[:, others[key]]), key
        for one, other in zip(*(each.counted.blocks for each in drawn), strict=True):
            assert np.array_equal(one.places, other.places)
        for coming, of_judge in zip(*(each.coming for each in drawn), strict=True):
            assert np.array_equal(coming.known, of_judge.known)
            assert np.array_equal(coming.right, of_judge.right)


def test_nobody_grades_what_no_rule_on_a_loss_is_about():
    of = replace(PLAN, rules=(replace(LOSS, scope=Scope.CRITICAL),))

    drawn = streams(of).draw(SPLIT, 0, FIRST, DAY).counted.compared["baseline"]

    assert drawn[0, DRAWN].sum() > 0
    assert drawn[1, DRAWN].sum() == 0


# As live

UNTIL_MIN = LENGTH_MIN + 60
SOON = Lateness(median=timedelta(minutes=2), most=timedelta(minutes=4))
LATE = Lateness(median=timedelta(minutes=8), most=timedelta(minutes=40))


def sent(coming: list[Coming]) -> dict[int, list[Observation | Outcome]]:
    """By minute, what an application would have sent: each unit's requests, later the judge's and people's grades.

    Whether a unit is drawn is its name's: each gets one that is, or is not, as the simulation has it.
    """
    by_minute: defaultdict[int, list[Observation | Outcome]] = defaultdict(list)
    for of_arm in coming:
        people = of_arm.by_people
        assert people is not None
        looked_at: defaultdict[tuple[int, ...], list[tuple[bool, int]]] = defaultdict(list)
        said = (people.minutes, people.judge, people.known, people.person, people.both)
        for minute, judge, known, person, both in zip(*map(list_of, said), strict=True):
            looked_at[minute, judge, known].append((person, both))
        columns = (of_arm.minutes, of_arm.right, of_arm.requests, of_arm.known)
        for number, (minute, right, requests, known) in enumerate(
            zip(*map(list_of, columns), strict=True)
        ):
            escalated = known == minute  # graded at once, without an outcome
            # Those that came together and were judged alike differ in nothing.
            alike = looked_at[minute, right, known]
            by_person = alike.pop() if alike else None
            unit = f"{of_arm.arm.value}-{of_arm.intent}-{number}"
            unit = named(unit, drawn=by_person is not None)
            at = start_of(minute) + timedelta(microseconds=number)
            for one in requests_of(unit, of_arm, requests, at=at, escalated=escalated):
                by_minute[minute].append(one)
                if escalated:
                    continue
                by_minute[known].append(outcome(one.id, float(right), at=start_of(known)))
                if by_person is not None:
                    right_too, when = by_person
                    graded = outcome(one.id, float(right_too), at=start_of(when))
                    graded = replace(graded, id=f"{graded.id}/person", source=PERSON)
                    by_minute[when].append(graded)
        assert not any(looked_at.values())
    return by_minute


def list_of(column: NDArray[Any]) -> list[Any]:
    found: list[Any] = column.tolist()
    return found


def named(unit: str, *, drawn: bool) -> str:
    names = (f"{unit}.{number}" for number in count())
    return next(name for name in names if is_drawn(ROLLOUT, name, SHARE_U) is drawn)


def live(coming: list[Coming], moments: set[int]) -> dict[int, Tallies]:
    """What the real ingest makes of it, as of some minutes."""
    store = MemoryStore()
    labels = PLAN.labels
    in_store(
        store,
        unit=Unit.CONVERSATION,
        delay=labels.delay,
        horizon=labels.horizon,
        people_u=SHARE_U,
    )
    by_minute, found = sent(coming), {}
    for minute in range(FIRST, FIRST + UNTIL_MIN):
        # Another request every minute, outside of the comparison: blocks are closed when something comes in.
        send(
            store,
            observation(f"other-{minute}", intent="other", at=start_of(minute)),
            *by_minute[minute],
            now=start_of(minute),
        )
        if minute in moments:
            found[minute] = tallies = Tallies()
            tallies.feed(*store.rollups(ROLLOUT))
    return found


def view(of: MinuteSums, now: int) -> View:
    state = replace(
        started(at=NOW),
        phase=Phase.PROGRESSING,
        step=0,
        share_bp=5_000,
        version=1,
        step_version=1,
        hold_from=NOW,
    )
    return View(
        plan=PLAN,
        state=state,
        tallies=of,
        in_force=InForceTime([(NOW, start_of(now))]),
        now=start_of(now),
        judged=now - 1,
        touched=(),
        moved=(),
    )


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    requests=st.sampled_from([1.0, 2.0]),
    late=st.sampled_from([SOON, LATE]),
    after=st.lists(st.integers(DELAY_MIN + 1, UNTIL_MIN - 1), min_size=2, max_size=4),
)
def test_a_simulated_proof_is_the_one_that_live_counting_makes_of_the_same_stream(
    seed, requests, late, after
):
    scenario = Scenario(text="", loss=Fault(size=0.1), favours=0.05, lateness=late)
    made = streams(
        PLAN, scenario, seed=seed, units_per_minute=5.0, escalation=0.1, requests_per_unit=requests
    )
    dense = DenseTallies(NAMES, first=FIRST, room=1_000, columns=made.columns)
    knowledge = Knowledge(dense, delay_min=DELAY_MIN)
    dense.begin(1, NAMES)
    drawn = made.draw(SPLIT, 0, FIRST, LENGTH_MIN)
    dense.add(drawn.counted)
    for coming in drawn.coming:
        knowledge.take(1, coming)
    of_moments = live(list(drawn.coming), {FIRST + moment for moment in after})

    forwards = list(of_moments.items())
    for now, tallies in (*forwards, *forwards[::-1]):
        knowledge.know(now)
        for intent in NAMES:
            simulated, lived = (read(view(one, now), LOSS, intent) for one in (dense, tallies))
            assert simulated == lived
            assert lived.passing is not None
            assert simulated.passing is not None
            assert simulated.passing.log_e == pytest.approx(lived.passing.log_e, abs=1e-9)
    # That something is said at all, and by people: the last hours hold a proof against so large a loss.
    last = view(of_moments[max(of_moments)], max(of_moments))
    assert max(of_moments) < FIRST + 90 or (read(last, LOSS, "refund").failing is not None)


# What becomes of rollouts


def test_a_judge_that_favours_a_losing_candidate_promotes_it_alone_and_not_beside_people():
    hours = timedelta(hours=1)
    rules = (replace(LOSS, limit=0.03, window=12 * hours),)
    steps = (
        Step(share_bp=1_000, hold=6 * hours),
        Step(share_bp=2_500, hold=4 * hours, advance=Advance.PROVEN),
        Step(share_bp=5_000, hold=hours),
    )
    labels = Labels(delay=hours, judge=ERRS)
    alone = replace(PLAN, rules=rules, steps=steps, labels=labels)
    beside = replace(alone, labels=replace(labels, people_u=200_000))
    favoured = Scenario(text="", loss=Fault(size=0.06), favours=0.06)

    def endings(of: Plan) -> list[Ending]:
        setup = Setup(
            plan=of,
            traffic=Traffic(units_per_minute=50.0, mix={"refund": 0.5, "order-status": 0.5}),
            scenario=favoured,
            start=NOW,
            seed=7,
            max_days=7,
        )
        return [one.ending for one in trials_of(setup, range(8))]

    assert endings(alone) == [Ending.COMPLETED] * 8
    assert endings(beside) == [Ending.PAUSED] * 8


# Proofs over many ends


def test_a_proof_is_there_in_the_minutes_in_which_a_look_at_each_finds_it():
    made = streams(units_per_minute=60.0)
    dense = DenseTallies(NAMES, first=FIRST, room=2_000, columns=made.columns)
    dense.begin(1, NAMES)
    dense.add(made.draw(SPLIT, 0, FIRST, DAY).counted)
    moments = np.arange(FIRST + 30, FIRST + DAY, 17)

    together = proven(view(dense, FIRST + DAY), LOSS, "refund", moments - DELAY_MIN)

    alone = [read(view(dense, int(now)), LOSS, "refund").passing for now in moments]
    assert together.tolist() == [one is not None and one.reached for one in alone]
    assert together.any()
    assert not together.all()
