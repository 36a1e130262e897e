"""The contract of `controller.ports.MetricsStore.prune`: raw rows go, and nothing is counted twice or lost by that."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import pytest

from controller.ports import Pruned, Store
from controller.rollout.metrics import MICRO
from controller.rollout.plan import Unit
from controller.store import retention
from tests.accounting.factories import (
    BASELINE,
    DAY,
    HOUR,
    MICROSECOND,
    MINUTE,
    NOW,
    ROLLOUT,
    commit,
    contents,
    observation,
    outcome,
    pair,
    plan,
    send,
    started,
    totals,
)

LATER = NOW + 100 * DAY


KINDS: Final = (
    "observations",
    "outcomes",
    "pairs",
    "episodes",
    "labels",
)  # and `by_people`, asked for by name


def rows_of(pruned: Pruned) -> tuple[int, ...]:
    return tuple(getattr(pruned, kind) for kind in KINDS)


def prune(store: Store, before: datetime, now: datetime) -> Pruned:
    """All parts of it."""
    parts = [store.prune(before, now)]
    while not parts[-1].finished:
        parts.append(store.prune(before, now))
    counts = (sum(column) for column in zip(*map(rows_of, parts), strict=True))
    by_people = sum(one.by_people for one in parts)
    return Pruned(
        floor=parts[-1].floor, by_people=by_people, **dict(zip(KINDS, counts, strict=True))
    )


def test_raw_rows_go_and_what_they_were_counted_in_stays(store: Store):
    started(store)
    send(
        store,
        observation("a", arm=BASELINE),
        observation("b"),
        pair("p", baseline=True, candidate=False),
    )
    send(store, outcome("a", 1.0), outcome("b", 0.0))
    before = contents(store)
    assert totals(store, arm="both") == {"p.10": 1, "b.1000000": 1}

    pruned = prune(store, LATER - 90 * DAY, LATER)

    assert rows_of(pruned) == (2, 2, 1, 2, 2)
    assert pruned.floor == LATER - 90 * DAY
    assert contents(store) == before


def test_what_is_above_the_floor_stays(store: Store):
    started(store)
    kept = [observation("at", at=LATER - 90 * DAY), observation("above", at=LATER - 30 * DAY)]
    send(store, *kept, outcome("above", 1.0, at=LATER - 30 * DAY), now=LATER - 30 * DAY)

    assert rows_of(prune(store, LATER - 90 * DAY, LATER)) == (0, 0, 0, 0, 0)

    again = send(store, *kept, outcome("above", 1.0, at=LATER - 30 * DAY), now=LATER)
    assert (again.duplicate, again.too_late, again.accepted) == (3, 0, 0)


def test_what_is_sent_again_after_it_went_is_refused_and_counted(store: Store):
    started(store)
    sent = (
        observation("a"),
        outcome("a", 1.0),
        pair("p", baseline=True, candidate=True),
    )
    send(store, *sent)
    prune(store, LATER - 90 * DAY, LATER)
    before = totals(store)

    again = send(store, *sent, observation("of yore, and new", at=NOW + DAY), now=LATER)

    assert (again.too_late, again.accepted, again.duplicate, again.waiting) == (4, 0, 0, 0)
    assert again.touched == ()
    assert totals(store) == before
    assert store.refused(ROLLOUT) == {"waiting": 0, "too_late": 4, "expired": 0}


def test_of_an_unknown_rollout_nothing_is_too_late(store: Store):
    started(store)
    prune(store, LATER - 90 * DAY, LATER)

    received = send(store, observation("a", rollout="other/1"), now=LATER)

    assert (received.unknown, received.too_late) == (1, 0)


def test_the_floor_is_exact_to_the_microsecond(store: Store):
    started(store)
    floor = LATER - 90 * DAY
    prune(store, floor, LATER)

    at, below = observation("at", at=floor), observation("below", at=floor - MICROSECOND)
    received = send(store, at, below, now=LATER)

    assert (received.accepted, received.too_late) == (1, 1)


def test_the_floor_never_falls(store: Store):
    started(store)
    first = prune(store, LATER - 30 * DAY, LATER)

    second = prune(store, LATER - 90 * DAY, LATER)

    assert first.floor == second.floor == LATER - 30 * DAY
    assert send(store, observation("a", at=LATER - 40 * DAY), now=LATER).too_late == 1


@pytest.mark.parametrize("asked", [LATER, LATER - 3 * DAY, LATER + DAY])
def test_nothing_within_any_rollouts_horizon_goes(store: Store, asked: datetime):
    started(store, horizon=7 * DAY)
    started(store, rollout="other/1", horizon=20 * DAY)
    send(store, observation("a", at=LATER - 20 * DAY), now=LATER - 20 * DAY)

    pruned = prune(store, asked, LATER)

    assert pruned.floor == LATER - 20 * DAY
    assert send(store, outcome("a", 1.0, at=LATER), now=LATER - 14 * DAY).accepted == 1


def test_without_a_rollout_there_is_no_horizon(store: Store):
    assert prune(store, LATER - DAY, LATER).floor == LATER - DAY


def test_an_episode_under_way_at_the_floor_goes_on(store: Store):
    started(store, horizon=DAY)
    floor = LATER - 10 * DAY
    for minutes in range(-600, 0, 20):  # ten hours long
        send(store, observation(f"{minutes}", unit="ann", at=floor + minutes * MINUTE), now=floor)
    prune(store, floor, LATER)

    send(store, observation("last", unit="ann", at=floor + MINUTE), now=LATER)

    assert totals(store)["e"] == 1


def test_what_people_said_goes_with_the_episode_that_it_is_about(store: Store):
    started(store, people_u=MICRO)
    sent = [outcome(name, 1.0, name=f"p-{name}", source="person") for name in ("a", "b")]
    send(store, observation("a", unit="ann"), outcome("a", 1.0), sent[0])
    send(store, observation("b", unit="bob", at=NOW + 40 * DAY), now=NOW + 40 * DAY)
    send(store, sent[1], now=NOW + 40 * DAY)
    before = totals(store)

    pruned = prune(store, NOW + 10 * DAY, LATER)

    assert (pruned.by_people, before["both"]) == (1, 1)
    assert totals(store) == before
    assert prune(store, NOW + 90 * DAY, LATER).by_people == 1


def test_a_drawn_conversation_under_way_at_the_floor_keeps_what_people_said(store: Store):
    started(store, people_u=MICRO)
    send(store, observation("a", unit="ann"), outcome("a", 1.0))
    send(store, outcome("a", 0.0, name="p-a", source="person"))
    send(store, observation("b", unit="ann", at=NOW + 20 * MINUTE))
    prune(store, NOW + 10 * MINUTE, LATER)

    # The first answer is let go of; the second is graded now, and the first still counts in the mean.
    send(store, outcome("b", 1.0, at=NOW + HOUR), now=NOW + HOUR)
    send(store, outcome("b", 1.0, name="p-b", at=NOW + HOUR, source="person"), now=NOW + HOUR)

    found = totals(store)
    assert (found["both"], found["both.person_u"], found["both.judge_u"]) == (1, MICRO // 2, MICRO)


def test_a_label_in_line_waits_however_old_it_is(store: Store):
    started(store, horizon=DAY)
    send(store, observation("a", arm=BASELINE), outcome("a", 1.0))
    assert prune(store, LATER - 30 * DAY, LATER).labels == 0

    recent = LATER - HOUR
    send(store, observation("b", at=recent), outcome("b", 0.0, at=recent), now=LATER)

    assert totals(store, arm="both") == {"b.1000000": 1}


def test_a_block_can_be_amended_as_long_as_one_of_its_labels_can(store: Store):
    started(store, horizon=DAY)
    recent = LATER - 2 * HOUR
    send(store, observation("a", arm=BASELINE), outcome("a", 1.0))
    send(store, observation("b", at=recent), outcome("b", 0.0, at=recent), now=recent)
    assert totals(store, arm="both") == {"b.1000000": 1}
    assert prune(store, LATER - 30 * DAY, LATER).labels == 0

    send(store, outcome("b", 1.0, name="a second opinion", at=LATER), now=LATER)

    assert totals(store, arm="both") == {"b.500000": 1}
    assert prune(store, LATER + 60 * DAY, LATER + 90 * DAY).labels == 2
    assert totals(store, arm="both") == {"b.500000": 1}


def test_outcomes_that_were_refused_or_waited_stay_counted(store: Store):
    started(store, horizon=DAY)
    send(store, observation("a"), outcome("never", 1.0))
    send(store, outcome("a", 1.0, name="late"), now=NOW + 2 * DAY)
    before = {"waiting": 0, "too_late": 1, "expired": 1}
    assert store.refused(ROLLOUT) == before

    assert prune(store, LATER - 30 * DAY, LATER).outcomes == 2

    assert store.refused(ROLLOUT) == before
    assert store.refused("other/1")["too_late"] == 0


def test_an_outcome_that_waits_when_it_goes_has_expired(store: Store):
    started(store, horizon=2 * DAY)
    send(store, outcome("never", 1.0), now=LATER)  # it was learnt long before it was sent
    assert store.refused(ROLLOUT)["waiting"] == 1

    prune(store, LATER - 30 * DAY, LATER)

    assert store.refused(ROLLOUT) == {"waiting": 0, "too_late": 0, "expired": 1}
    assert send(store, observation("never", at=LATER), now=LATER).accepted == 1
    assert "graded" not in totals(store)


def test_a_revision_with_a_longer_horizon_brings_nothing_back(store: Store):
    started(store, horizon=DAY)
    send(store, observation("a"))
    prune(store, LATER - 30 * DAY, LATER)
    store.commit(commit(store.head(ROLLOUT), of=plan(horizon=365 * DAY)))

    assert prune(store, LATER - 30 * DAY, LATER).floor == LATER - 30 * DAY
    received = send(store, observation("a"), outcome("a", 1.0, at=LATER), now=LATER)

    assert (received.too_late, received.waiting) == (1, 1)
    assert totals(store)["n"] == 1


@pytest.mark.parametrize("unit", [Unit.CONVERSATION, Unit.REQUEST])
def test_much_goes_in_parts(store: Store, unit: Unit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "CHUNK", 7)  # a size of work, not a clock
    started(store, unit=unit)
    names = [str(number) for number in range(40)]
    arms = (BASELINE, observation("").arm)
    send(store, *(observation(one, arm=arms[int(one) % 2]) for one in names))
    send(store, *(outcome(one, 1.0) for one in names))

    pruned = prune(store, LATER - 30 * DAY, LATER)

    episodes = 40 if unit is Unit.CONVERSATION else 0
    assert rows_of(pruned) == (40, 40, 0, episodes, 40)
    assert totals(store, arm="both") == {"b.0": 20}
    assert rows_of(prune(store, LATER - timedelta(days=29), LATER)) == (0, 0, 0, 0, 0)
