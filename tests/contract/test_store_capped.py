"""The contract of `controller.ports.MetricsStore.ingest` about costs that are summed up to a cap, for every store."""

from __future__ import annotations

import itertools

import pytest

from controller.ports import Store
from controller.rollout.plan import Unit
from tests.accounting.factories import (
    BASELINE,
    HOUR,
    NOW,
    ROLLOUT,
    commit,
    observation,
    outcome,
    plan,
    send,
    started,
    totals,
)

LIMITS = (0.002, 0.0005)
CAP, LOWER = "k.cost.20000000", "k.cost.5000000"
UNITS = [Unit.CONVERSATION, Unit.REQUEST]


def cost(name: str, nusd: int, **of):
    return observation(name, quantities={"cost_nusd": nusd}, **of)


def capped(store: Store, rollout: str = ROLLOUT) -> dict[str, int]:
    return {key: n for key, n in totals(store, rollout).items() if key.startswith("k.")}


@pytest.mark.parametrize("unit", UNITS)
def test_each_request_counts_with_what_it_cost_up_to_ten_times_each_limit(store: Store, unit: Unit):
    started(store, unit=unit, cost_limits=LIMITS)

    send(
        store, cost("a", 1_000_000), cost("b", 7_000_000), cost("c", 900_000_000), observation("d")
    )

    assert capped(store) == {CAP: 28_000_000, LOWER: 11_000_000}
    assert totals(store)["s.cost_nusd"] == 908_000_000


def test_arms_and_minutes_have_sums_of_their_own(store: Store):
    started(store, cost_limits=LIMITS[:1])

    send(store, cost("a", 1_000), cost("b", 2_000, arm=BASELINE), cost("c", 4_000, at=NOW + HOUR))

    assert totals(store, arm="baseline")[CAP] == 2_000
    assert totals(store, at=NOW + HOUR)[CAP] == 4_000
    assert totals(store)[CAP] == 7_000


@pytest.mark.parametrize("unit", UNITS)
def test_the_same_comes_of_any_order_and_of_everything_twice(store: Store, unit: Unit):
    sent = [cost("a", 30_000_000), cost("b", 3_000_000), outcome("a", 1.0), outcome("b", 0.0)]
    for number, order in enumerate(itertools.permutations(sent)):
        rollout = f"support-bot-{number}/1"
        started(store, rollout=rollout, unit=unit, cost_limits=LIMITS[:1])
        named = [
            observation(f"{number} {one.id}", rollout=rollout, quantities=one.quantities)
            if hasattr(one, "quantities")
            else outcome(f"{number} {one.observation}", one.correct)
            for one in order
        ]
        for one in (*named, *named):
            send(store, one)

        assert capped(store, rollout) == {CAP: 23_000_000}


def test_a_rollout_without_such_a_rule_has_none_also_beside_one_that_has(store: Store):
    started(store, cost_limits=LIMITS[:1])
    started(store, rollout="other/1")

    send(store, cost("a", 1_000), cost("b", 2_000, rollout="other/1"))

    assert capped(store) == {CAP: 1_000}
    assert capped(store, "other/1") == {}


def test_a_revision_with_another_limit_counts_up_to_its_own_from_then_on(store: Store):
    started(store, cost_limits=LIMITS[:1])
    send(store, cost("a", 30_000_000))
    store.commit(commit(store.head(ROLLOUT), of=plan(cost_limits=LIMITS[1:])))

    send(store, cost("b", 30_000_000))
    assert capped(store) == {CAP: 20_000_000, LOWER: 5_000_000}

    store.commit(commit(store.head(ROLLOUT), of=plan()))
    send(store, cost("c", 30_000_000))
    assert capped(store) == {CAP: 20_000_000, LOWER: 5_000_000}
