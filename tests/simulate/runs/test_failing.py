"""Failures looked for in all minutes of a stretch at once: none that a look would find is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import judge
from controller.rollout.evidence.view import View
from controller.rollout.plan import (
    Evidence,
    Intent,
    Judge,
    Labels,
    Plan,
    Rule,
    Scope,
    Step,
    Then,
)
from controller.rollout.state import Phase, State
from controller.rollout.timeline import minute_of, start_of
from controller.rollout.verdict import Outcome
from controller.simulate.drawn.dense import DenseTallies
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.runs.failing import suspects
from controller.simulate.runs.trials import Setup, trial
from controller.simulate.scenarios import Fault, Scenario, Traffic
from tests.rollout.factories import NOW, started
from tests.simulate.factories import plan, rule
from tests.simulate.runs.test_trials import setup, small

HOUR = timedelta(hours=1)
FIRST = minute_of(NOW)
LENGTH_MIN = 600


def written(**changes: object) -> Rule:
    usual: dict[str, object] = {"window": 2 * HOUR, "min_samples": 50, "scope": Scope.EACH}
    metric = str(changes.pop("metric", "escalation_rate"))
    return rule(metric, **{**usual, **changes})  # type: ignore[arg-type]  # a factory's keywords are the rule's own


RULES = (
    written(name="as written"),
    written(name="for a while", sustained=timedelta(minutes=15)),
    written(name="proof", evidence=Evidence.CONFIDENT),
    written(name="of all", scope=Scope.ALL, limit=0.025),
    written(name="whole windows", evidence=Evidence.CONFIDENT, min_window=2 * HOUR),
    written(name="a spike", limit=1.5, usual=6 * HOUR),
    written(name="loss", metric="accuracy_delta", limit=0.015, evidence=Evidence.CONFIDENT),
    written(name="loss as written", metric="accuracy_delta", limit=0.03),
    written(name="all rollback", metric="accuracy_delta", limit=0.02, then=Then.ROLLBACK),
    written(name="accuracy", metric="accuracy", limit=0.93, below=True),
    written(name="coverage", metric="coverage", limit=0.985, below=True),
)


BY_PEOPLE = (
    written(name="loss", metric="accuracy_delta", limit=0.015, evidence=Evidence.CONFIDENT),
    written(name="loss as written", metric="accuracy_delta", limit=0.03),
    written(name="all rollback", metric="accuracy_delta", limit=0.02, then=Then.ROLLBACK),
    written(
        name="whole windows",
        metric="accuracy_delta",
        limit=0.015,
        evidence=Evidence.CONFIDENT,
        min_window=2 * HOUR,
    ),
)


def asked(rules: tuple[Rule, ...], people_u: int = 0) -> Plan:
    judge = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9) if people_u else None
    return plan(
        *rules,
        intents=(Intent(name="refund", critical=True), Intent(name="order-status")),
        steps=(Step(share_bp=3_000),),
        labels=Labels(delay=timedelta(minutes=30), judge=judge, people_u=people_u),
    )


def begun() -> State:
    changes = {"share_bp": 3_000, "version": 2, "step_version": 2, "step": 0}
    return replace(started(at=NOW), phase=Phase.PROGRESSING, **changes)  # type: ignore[arg-type]  # fields of State


def view_of(of: Plan, tallies: DenseTallies, judged: int, minute: int) -> View:
    now = start_of(minute)
    return View(
        plan=of,
        state=begun(),
        tallies=tallies,
        in_force=InForceTime([(start_of(FIRST), now)]),
        now=now,
        judged=judged,
        touched=(),
        moved=(),
    )


def drawn(
    of: Plan, seed: int, *, graded: float, escalation: float, loss: float, favours: float = 0.0
) -> DenseTallies:
    traffic = Traffic(
        units_per_minute=12.0,
        mix={"refund": 0.5, "order-status": 0.5},
        escalation=escalation,
        label_rate=graded,
    )
    fault = Fault(size=loss, since=3 * HOUR) if loss else None
    worse = Scenario(text="", loss=fault, favours=favours)
    streams = Streams(of, traffic, worse, seed, 0, FIRST)
    columns = streams.columns
    tallies = DenseTallies(tuple(streams.groups), first=FIRST, room=LENGTH_MIN, columns=columns)
    tallies.begin(2, tuple(streams.groups))
    shares = {"refund": 3_000, "order-status": 3_000}
    split = InForce(version=2, step=0, shares=shares, pinned=frozenset())
    tallies.add(streams.draw(split, 0, FIRST, LENGTH_MIN).counted)
    return tallies


@pytest.mark.parametrize("one", RULES, ids=[one.name for one in RULES])
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    escalation=st.sampled_from([0.01, 0.02, 0.03, 0.08]),
    loss=st.sampled_from([0.0, 0.05, 0.2]),
    graded=st.sampled_from([1.0, 0.97]),
    judged=st.integers(30, 300),
)
def test_the_first_minute_in_which_a_look_finds_a_failure_is_the_first_suspect_that_fails(
    one: Rule, seed: int, escalation: float, loss: float, graded: float, judged: int
):
    of = asked((one,))
    tallies = drawn(of, seed, graded=graded, escalation=escalation, loss=loss)

    assert_the_first_suspect_fails_first(of, one, tallies, FIRST + judged)


@pytest.mark.parametrize("one", BY_PEOPLE, ids=[one.name for one in BY_PEOPLE])
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    favours=st.sampled_from([0.0, 0.2]),
    judged=st.integers(30, 300),
)
def test_so_it_is_where_people_grade_beside_a_judge(
    one: Rule, seed: int, loss: float, favours: float, judged: int
):
    of = asked((one,), people_u=300_000)
    tallies = drawn(of, seed, graded=1.0, escalation=0.02, loss=loss, favours=favours)

    assert_the_first_suspect_fails_first(of, one, tallies, FIRST + judged)


def test_people_alone_name_suspects_of_a_candidate_that_the_judge_favours():
    one = BY_PEOPLE[0]
    of = asked((one,), people_u=300_000)
    tallies = drawn(of, 1, graded=1.0, escalation=0.02, loss=0.3, favours=0.3)
    view = view_of(of, tallies, FIRST + 30, FIRST + LENGTH_MIN - 1)

    found = [minute for minute, _, _ in suspects(view, tallies, {one.name})]

    # Of an hour something is proven when its labels are there: half an hour after its end.
    assert found
    assert (found[0] - minute_of(NOW)) % 60 == 30


def assert_the_first_suspect_fails_first(
    of: Plan, one: Rule, tallies: DenseTallies, since: int
) -> None:
    until = FIRST + LENGTH_MIN - 1

    def fails(minute: int, intent: str | None) -> bool:
        seen = read(view_of(of, tallies, minute - 1, minute), one, intent)
        return judge(one, seen).outcome is Outcome.FAIL

    suspected = suspects(view_of(of, tallies, since, until), tallies, {one.name})
    first = next((minute for minute, _, intent in suspected if fails(minute, intent)), None)

    intents = of.judged_intents(one)
    looked = (
        minute
        for minute in range(since + 1, until + 1)
        if any(fails(minute, intent) for intent in intents)
    )
    assert first == next(looked, None)


def test_what_has_failed_already_and_what_is_not_asked_about_is_no_suspect():
    of = asked((RULES[0],))
    tallies = drawn(of, 1, graded=1.0, escalation=0.08, loss=0.0)
    view = view_of(of, tallies, FIRST + 30, FIRST + LENGTH_MIN - 1)

    assert next(suspects(view, tallies, {"as written"}), None) is not None
    assert next(suspects(view, tallies, set()), None) is None


def blind(units_per_minute: float) -> Setup:
    """A fiftieth of the answers is graded, in a plan that bears half an hour without a label."""
    of = small(labels=Labels(delay=HOUR, sampled_u=300_000))
    given = setup(of, units_per_minute=units_per_minute, max_days=1)
    return replace(given, traffic=replace(given.traffic, label_rate=0.02))


def test_blindness_between_two_looks_is_found_in_the_minute_in_which_a_look_would_find_it():
    found = [(trial(blind(6.0), n), trial(blind(6.0), n, look_min=1)) for n in range(3)]

    assert all(rare == every for rare, every in found)
    assert any(rare.cause is not None for rare, _ in found)


def test_wealth_is_added_up_anew_after_a_cut():
    of = asked((RULES[6],))
    tallies = drawn(of, 3, graded=1.0, escalation=0.01, loss=0.2)
    whole = tallies.row(FIRST + 300, arm="both", intent="refund")
    tallies.cut(FIRST + 300)

    assert tallies.row(FIRST + LENGTH_MIN, arm="both", intent="refund") == whole
    bounds = np.array([FIRST + 300, FIRST + LENGTH_MIN])
    opened, most = tallies.wealth("refund", "x", lambda values: values[None, :], bounds, bounds)
    counts = tallies.row(FIRST + 300, arm="both", intent="refund")
    keys = tallies.values_of_blocks("refund")
    values = [int(key[2:]) / 1e6 for key in keys]
    at = tallies.places(keys, "both")
    total = sum(value * counts[place] for value, place in zip(values, at, strict=True))
    assert opened[0].tolist() == pytest.approx([total, total])
    assert most[0, 0] == pytest.approx(total)
