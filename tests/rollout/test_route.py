"""What a data plane needs of a plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.codec import decode, encode
from controller.rollout.plan import Arm, Intent, ModelRef, Unit
from controller.rollout.route import Route, over_limits, route_of, settled_shares
from controller.rollout.state import Phase
from tests.rollout.factories import at_step, plan
from tests.traffic.factories import NOW, ROUTE

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Committed:
    """A split that was committed."""

    shares: dict[str, int]
    since: datetime


def committed(refund: int, since: datetime, **shares: int) -> Committed:
    return Committed({"refund": refund, **shares}, since)


def limited(window: int | None = None, longest: int | None = None) -> Route:
    candidate = ModelRef(model="gpt-4.1-mini", context_window=window, output_limit=longest)
    return replace(ROUTE, candidate=candidate, unit=Unit.USER)


def test_each_arm_has_its_model():
    assert ROUTE.model(Arm.BASELINE).model == "gpt-4.1"
    assert ROUTE.model(Arm.CANDIDATE).model == "gpt-4.1-mini"


def test_what_the_plan_pins_and_what_the_rollout_pinned_never_leaves_the_baseline():
    asked = plan(
        intents=(Intent(name="refund"), Intent(name="legal", pinned=True), Intent(name="sales"))
    )

    route = route_of(asked, at_step(0, asked, pins=("sales", "legal")))

    assert route.pinned == ("legal", "sales")
    assert (route.baseline, route.candidate) == (asked.baseline, asked.candidate)
    assert (route.match_model, route.unit) == (asked.match_model, asked.unit)


def test_a_rollout_claims_its_model_from_its_start_on():
    state = at_step(0)

    assert route_of(plan(), state).claimed_at == state.started_at


# Limits


@pytest.mark.parametrize(
    ("route", "tokens", "asked", "over"),
    [
        (limited(), 10**9, 10**9, False),
        (limited(window=100), 100, None, False),
        (limited(window=100), 101, None, True),
        (limited(window=100), 60, 40, False),
        (limited(window=100), 60, 41, True),
        (limited(longest=50), 10**9, None, False),
        (limited(longest=50), 1, 50, False),
        (limited(longest=50), 1, 51, True),
    ],
)
def test_a_request_is_over_the_limits_as_far_as_those_are_known(route, tokens, asked, over):
    assert over_limits(route, input_tokens=tokens, output_tokens=asked) is over


# What has settled


def test_a_share_has_settled_when_it_was_committed_for_as_long_as_a_unit_lives():
    splits = [committed(0, NOW - 30 * DAY), committed(1_000, NOW - DAY), committed(2_500, NOW)]

    assert settled_shares(splits, NOW - DAY) == {"refund": 1_000}
    assert settled_shares(splits, NOW - DAY - HOUR) == {"refund": 0}
    assert settled_shares(splits, NOW) == {"refund": 2_500}
    assert settled_shares(splits, NOW + DAY) == {"refund": 2_500}


def test_the_lowest_share_in_between_is_what_has_settled():
    splits = [
        committed(5_000, NOW - 30 * DAY),
        committed(1_000, NOW - 2 * HOUR),
        committed(5_000, NOW - HOUR),
    ]

    assert settled_shares(splits, NOW - DAY) == {"refund": 1_000}


def test_each_intent_has_its_own():
    splits = [committed(1_000, NOW - 2 * DAY, sales=500), committed(2_500, NOW, sales=0)]

    assert settled_shares(splits, NOW - DAY) == {"refund": 1_000, "sales": 0}


def test_an_intent_that_is_new_has_settled_at_0_for_before_it_was_the_baselines():
    splits = [committed(1_000, NOW - 2 * DAY), committed(1_000, NOW - HOUR, sales=1_000)]

    assert settled_shares(splits, NOW - DAY) == {"refund": 1_000, "sales": 0}
    assert settled_shares(splits, NOW - HOUR) == {"refund": 1_000, "sales": 1_000}


def test_an_intent_that_the_plan_had_once_has_settled_at_0():
    splits = [committed(1_000, NOW - DAY, sales=1_000), committed(1_000, NOW)]

    assert settled_shares(splits, NOW - HOUR) == {"refund": 1_000, "sales": 0}


def test_before_anything_was_committed_nothing_has_settled():
    assert settled_shares([], NOW) == {}


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 40)), min_size=1, max_size=8),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_whatever_the_share_was_when_a_unit_came_it_was_at_least_what_has_settled(
    steps, since, came
):
    hours = sorted(hour for _, hour in steps)
    splits = [
        committed(share, NOW + hour * HOUR) for (share, _), hour in zip(steps, hours, strict=True)
    ]
    at = NOW + max(since, came, hours[0]) * HOUR
    in_force = [one for one in splits if one.since <= at][-1]

    settled = settled_shares(splits, NOW + since * HOUR)

    assert settled["refund"] <= in_force.shares["refund"]


def test_a_route_says_how_many_units_people_grade():
    asked = plan(labels=replace(plan().labels, people_u=50_000))

    assert route_of(asked, at_step(0, asked)).people_u == 50_000
    for phase in Phase:
        state = replace(at_step(0, asked), phase=phase)
        # What they say of a rollout that has ended is of no use to anybody.
        assert bool(route_of(asked, state).people_u) == phase.judged
    kept = encode(route_of(asked, at_step(0, asked)))
    del kept["people_u"]  # as a controller of the release before says it
    assert decode(Route, kept).people_u == 0
