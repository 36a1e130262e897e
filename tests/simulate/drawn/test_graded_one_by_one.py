"""Conversations of which answers are graded one by one: drawn ones count as those that the real ingest counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.counting.tallies import Tallies
from controller.rollout.metrics import MICRO
from controller.rollout.observation import Observation, Outcome
from controller.rollout.plan import Arm, Labels, Plan, Scope, Unit
from controller.rollout.timeline import minute_of
from controller.simulate.drawn.dense import Columns
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.lateness import Lateness
from controller.simulate.scenarios import HEALTHY, Scenario, Traffic
from controller.simulate.usual import Usual
from controller.store.memory import MemoryStore
from tests.accounting.factories import (
    HOUR,
    NOW,
    ROLLOUT,
    observation,
    outcome,
    send,
    started,
    totals,
)
from tests.simulate.factories import plan, rule

MEAN = 4.0
RATE = 0.2
RATE_U = 200_000
ACCURACY, ESCALATION = 0.8, 0.1
DAY = 1_440
LOSS = rule("accuracy_delta", scope=Scope.CRITICAL)
PER_CORRECT = rule("cost_per_correct", limit=0.01)
KNOWN = Usual(request_usd={Arm.BASELINE: 0.004, Arm.CANDIDATE: 0.002})
SOON = Lateness(median=timedelta(minutes=1), most=timedelta(minutes=2))
KEYS = (
    *("e", "n", "ef.escalated", "f.escalated"),
    *("e.graded", "e.correct_u", "graded", "correct_u"),
)


def planned(*rules, sampled_u: int = RATE_U, unit: Unit = Unit.CONVERSATION) -> Plan:
    labels = Labels(delay=24 * HOUR, sampled_u=sampled_u)
    return plan(*rules, unit=unit, labels=labels)


def drawn(of: Plan, scenario: Scenario = HEALTHY, days: int = 10, **changes) -> np.ndarray:
    """What the candidate has, by `KEYS` and minute."""
    usual = Traffic(
        units_per_minute=20.0,
        mix={"refund": 1.0},
        accuracy=ACCURACY,
        escalation=ESCALATION,
        label_rate=RATE,
        requests_per_unit=MEAN,
    )
    traffic = replace(usual, **changes)
    made = Streams(of, traffic, scenario, 7, 0, 0, KNOWN)
    split = InForce(version=1, step=0, shares={"refund": 5_000}, pinned=frozenset())
    table = made.draw(split, 0, 0, days * DAY).counted.compared["candidate"][0]
    return np.array([row_of(table, made.columns, key) for key in KEYS])


def row_of(table: np.ndarray, columns: Columns, key: str) -> np.ndarray:
    place = columns.places.get(key)
    assert place is not None or key == "correct_u", key
    return table[place] if place is not None else np.full(table.shape[1], -1)


def counted_live(units: int, sampled_u: int = RATE_U) -> Mapping[str, int]:
    """What the real ingest makes of so many conversations of the candidate whose answers are picked one by one."""
    random = np.random.default_rng(5)
    store = MemoryStore()
    started(store, unit=Unit.CONVERSATION, sampled_u=sampled_u)
    sent: list[Observation | Outcome] = []
    requests = random.geometric(1 / MEAN, units)
    fates = random.random(units)
    for number, (many, fate) in enumerate(zip(requests.tolist(), fates.tolist(), strict=True)):
        escalated, right = fate < ESCALATION, fate >= 1 - ACCURACY
        for place, picked in enumerate((random.random(many) < RATE).tolist()):
            name = f"{number}-{place}"
            flags = {"escalated": escalated, "error": False}
            sent.append(observation(name, unit=f"unit {number}", flags=flags))
            if picked:  # of an escalated one the answer that was served, which is the baseline's
                sent.append(outcome(name, float(right or escalated)))
    send(store, *sent)
    return totals(store, arm="candidate")


def expected(units: float, rate: float, sampled: float) -> Mapping[str, tuple[float, float]]:
    """Each sum and its standard error, by conversations of every size: a Poisson number of them."""
    sizes = np.arange(1, 400)
    often = (1 - 1 / MEAN) ** (sizes - 1) / MEAN

    def graded(part: float, chance: float) -> tuple[float, float]:
        return units * part * float(often @ (1 - (1 - chance) ** sizes)), 1.0

    def requests(part: float, chance: float) -> tuple[float, float]:
        mean = float(often @ (chance * sizes))
        square = float(often @ (chance * (1 - chance) * sizes + (chance * sizes) ** 2))
        return units * part * mean, square / mean

    def both(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
        variance = one[0] * one[1] + other[0] * other[1]
        return one[0] + other[0], variance / (one[0] + other[0])

    found = {
        "e": graded(1.0, 1.0),
        "n": requests(1.0, 1.0),
        "ef.escalated": graded(ESCALATION, 1.0),
        "f.escalated": requests(ESCALATION, 1.0),
        "e.graded": both(graded(ESCALATION, sampled), graded(1 - ESCALATION, rate)),
        "e.correct_u": graded(ACCURACY, rate),
        "graded": both(requests(ESCALATION, sampled), requests(1 - ESCALATION, rate)),
        "correct_u": requests(ACCURACY, rate),
    }
    return {key: (mean, math.sqrt(mean * spread)) for key, (mean, spread) in found.items()}


def off(found: float, key: str, wanted: Mapping[str, tuple[float, float]]) -> float:
    """By how many standard errors."""
    mean, error = wanted[key]
    return abs(found / (MICRO if key.endswith("_u") else 1) - mean) / error


@pytest.mark.parametrize("sampled_u", [RATE_U, MICRO])
def test_the_real_ingest_counts_conversations_by_the_law_of_their_picked_answers(sampled_u: int):
    units = 5_000

    found = counted_live(units, sampled_u)

    wanted = expected(units, RATE, sampled_u / MICRO)
    assert {key: off(found[key], key, wanted) < 4.5 for key in KEYS} == dict.fromkeys(KEYS, True)
    if sampled_u == RATE_U:
        # Half of them have a grade, not a fifth.
        assert found["e.graded"] / found["e"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("sampled_u", [RATE_U, MICRO])
@pytest.mark.parametrize(
    ("rules", "scenario"),
    [
        ((LOSS,), HEALTHY),
        ((rule("escalation_rate"),), HEALTHY),
        ((LOSS, PER_CORRECT), HEALTHY),
        ((LOSS, PER_CORRECT), replace(HEALTHY, lateness=SOON)),
    ],
    ids=["labels", "sums", "requests", "late"],
)
def test_drawn_conversations_count_as_the_law_of_their_picked_answers_says(
    rules, scenario: Scenario, sampled_u: int
):
    of = planned(*rules, sampled_u=sampled_u)

    found = dict(zip(KEYS, drawn(of, scenario).sum(axis=1).tolist(), strict=True))

    wanted = expected(20 * 0.5 * 10 * DAY, RATE, sampled_u / MICRO)
    keys = [key for key in KEYS if key != "correct_u" or PER_CORRECT in rules]
    assert {key: off(found[key], key, wanted) < 4.5 for key in keys} == dict.fromkeys(keys, True)


@pytest.mark.parametrize("scenario", [HEALTHY, replace(HEALTHY, lateness=SOON)])
def test_a_minute_with_many_requests_has_as_many_more_grades(scenario: Scenario):
    """Where conversations are picked at all, long ones are: what they count together is the law's too."""
    table = drawn(planned(LOSS, PER_CORRECT), scenario, days=20)
    n, graded, units, right = (
        table[KEYS.index(key)] for key in ("n", "graded", "e.graded", "correct_u")
    )

    sizes = np.arange(1, 400)
    often = (1 - 1 / MEAN) ** (sizes - 1) / MEAN
    some = 1 - (1 - RATE) ** sizes
    # Of a compound Poisson sum, 10 conversations a minute: covariances are 10 E[XY].
    for one, other, mean in (
        (n, graded, RATE * sizes**2),
        (n, units, sizes * some),
        (graded, units, RATE * sizes),
        (graded, graded, RATE * (1 - RATE) * sizes + (RATE * sizes) ** 2),
        (n, right / MICRO, ACCURACY * RATE * sizes**2),
    ):
        assert np.cov(one, other)[0, 1] == pytest.approx(10 * float(often @ mean), rel=0.06)


def test_each_conversation_with_a_grade_is_one_label_of_a_block():
    of = planned(LOSS)
    traffic = Traffic(
        units_per_minute=30.0, mix={"refund": 1.0}, label_rate=RATE, requests_per_unit=MEAN
    )
    split = InForce(version=1, step=0, shares={"refund": 5_000}, pinned=frozenset())

    counted = Streams(of, traffic, HEALTHY, 7, 0, 0).draw(split, 0, 0, 600).counted

    (blocks,) = counted.blocks
    graded = [
        int(counted.compared[arm.value][0, columns_of(of, traffic).graded].sum()) for arm in Arm
    ]
    assert len(blocks.minutes) == min(graded)


def columns_of(of: Plan, traffic: Traffic) -> Columns:
    return Streams(of, traffic, HEALTHY, 7, 0, 0).columns


@pytest.mark.parametrize(
    ("changes", "unit"),
    [({"requests_per_unit": 1.0}, Unit.REQUEST), ({"label_rate": 1.0}, Unit.CONVERSATION)],
)
def test_one_request_or_a_grade_of_each_leaves_units_as_they_were(changes, unit: Unit):
    """A unit is then graded whole or not at all: as many requests as it has, or none."""
    table = drawn(planned(LOSS, sampled_u=MICRO, unit=unit), days=1, **changes)

    found = {key: row.sum() for key, row in zip(KEYS, table, strict=True)}
    part = found["e.graded"] / found["e"]
    assert part == pytest.approx(
        changes.get("label_rate", ESCALATION + (1 - ESCALATION) * RATE), abs=0.02
    )
    assert found["graded"] == (found["n"] if "label_rate" in changes else found["e.graded"])


def test_late_grades_of_picked_answers_are_those_that_the_real_ingest_had():
    """Each sum of grades, minute by minute, of the drawn conversations sent with their picked answers alone."""
    of = planned(LOSS, PER_CORRECT, sampled_u=MICRO)
    traffic = Traffic(
        units_per_minute=6.0,
        mix={"refund": 1.0},
        accuracy=ACCURACY,
        escalation=ESCALATION,
        label_rate=RATE,
        requests_per_unit=MEAN,
    )
    first = minute_of(NOW)
    made = Streams(of, traffic, replace(HEALTHY, lateness=SOON), 7, 0, first, KNOWN)
    split = InForce(version=1, step=0, shares={"refund": 5_000}, pinned=frozenset())
    made_of = made.draw(split, 0, first, 60)
    store = MemoryStore()
    started(store, unit=Unit.CONVERSATION)
    for coming in made_of.coming:
        for number, (minute, right, requests, known) in enumerate(
            zip(
                *(
                    one.tolist()
                    for one in (coming.minutes, coming.right, coming.requests, coming.known)
                ),
                strict=True,
            )
        ):
            for place in range(requests):
                name = f"{coming.arm.value}-{number}-{place}"
                escalated = known == minute
                send(
                    store,
                    observation(
                        name,
                        unit=f"{coming.arm.value}-{number}",
                        at=NOW + (minute - first) * timedelta(minutes=1),
                        arm=coming.arm,
                        flags={"escalated": escalated, "error": False},
                    ),
                    *([] if escalated else [outcome(name, float(right))]),
                )
    tallies = Tallies()
    tallies.feed(*store.rollups(ROLLOUT))
    keys = ("e.graded", "e.correct_u", "graded", "correct_u")
    minutes = np.arange(first, first + 61)
    for arm in Arm:
        live = np.diff(tallies.until(minutes, keys, arm=arm.value, intent="refund"), axis=0).T
        table = made_of.counted.compared[arm.value][0]
        assert live.tolist() == [row_of(table, made.columns, key).tolist() for key in keys]
