"""The contract of `controller.ports.MetricsStore.ingest` about accuracy blocks, for every store there is."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from controller.ports import Store
from controller.rollout.observation import Observation, Outcome
from controller.rollout.timeline import minute_of
from tests.accounting.factories import (
    BASELINE,
    CANDIDATE,
    DAY,
    HALF,
    HOUR,
    MICROSECOND,
    MINUTE,
    NOW,
    ROLLOUT,
    SECOND,
    commit,
    observation,
    outcome,
    send,
    started,
)


def graded(name: str, arm, correct: float, *, at=NOW, **more) -> tuple[Observation, Outcome]:
    return observation(name, arm=arm, at=at, **more), outcome(name, correct)


def blocks(store: Store, intent: str = "refund") -> dict[tuple[int, str], int]:
    """Counts by minutes after NOW and value."""
    return blocks_by_intent(store).get(intent, {})


def blocks_by_intent(store: Store) -> dict[str, dict[tuple[int, str], int]]:
    found: dict[str, dict[tuple[int, str], int]] = {}
    for row in store.rollups(ROLLOUT)[0]:
        for key, count in row.stats.items():
            if key.startswith("b."):
                found.setdefault(row.intent, {})[row.minute - minute_of(NOW), key] = count
    return found


def test_a_block_at_ten_percent_is_one_candidate_and_nine_baseline_labels(store: Store):
    started(store, shares={"refund": 1000})
    for number in range(8):
        send(store, *graded(f"b{number}", BASELINE, 1.0, at=NOW + number * MINUTE))
    send(store, *graded("c", CANDIDATE, 1.0), now=NOW + HOUR)
    assert blocks(store) == {}

    send(store, *graded("b8", BASELINE, 0.0, at=NOW + 3 * MINUTE), now=NOW + HOUR)

    # 8/9 − 1 = −0.111111, in the minute of the latest member
    assert blocks(store) == {(7, "b.-111111"): 1}


def test_a_block_above_half_is_one_baseline_label_and_several_candidate_ones(store: Store):
    started(store, shares={"refund": 8000})
    send(store, *graded("b", BASELINE, 1.0))
    for number in range(4):
        assert blocks(store) == {}
        send(store, *graded(f"c{number}", CANDIDATE, 0.0))

    assert blocks(store) == {(0, "b.1000000"): 1}


@pytest.mark.parametrize(
    "shares", [{"refund": 0}, {"refund": 10_000}, {"order-status": 5000}, None]
)
def test_there_are_no_blocks_without_a_concurrent_control(store: Store, shares):
    started(store, shares=shares)

    send(store, *graded("b", BASELINE, 1.0), *graded("c", CANDIDATE, 1.0))

    assert blocks(store) == {}


def test_labels_are_used_once_in_the_order_of_their_episodes_starts(store: Store):
    started(store)
    send(store, *graded("b2", BASELINE, 0.0, at=NOW + MINUTE), *graded("b1", BASELINE, 1.0))
    send(store, *graded("c1", CANDIDATE, 1.0), *graded("c2", CANDIDATE, 1.0), now=NOW + 2 * MINUTE)

    assert blocks(store) == {(0, "b.0"): 1, (1, "b.-1000000"): 1}


def test_within_a_minute_too_labels_stand_by_their_start(store: Store):
    started(store, delay=HOUR)
    send(store, *graded("first, graded last", BASELINE, 1.0, at=NOW + SECOND)[:1])
    send(store, *graded("second", BASELINE, 0.0, at=NOW + 2 * SECOND))
    send(store, outcome("first, graded last", 1.0))

    send(store, *graded("c", CANDIDATE, 1.0), now=NOW + HOUR)

    assert blocks(store) == {(0, "b.0"): 1}


def test_a_label_is_used_once_its_start_minute_is_the_delay_ago(store: Store):
    started(store, delay=6 * HOUR)
    at = NOW + 59 * SECOND
    send(store, *graded("b", BASELINE, 1.0, at=at), *graded("c", CANDIDATE, 0.0, at=NOW), now=at)

    send(store, observation("d"), now=NOW + 6 * HOUR - MICROSECOND)
    assert blocks(store) == {}
    send(store, observation("e"), now=NOW + 6 * HOUR)

    assert blocks(store) == {(0, "b.1000000"): 1}


def test_a_batch_closes_blocks_of_intents_and_splits_that_it_brings_nothing_to(store: Store):
    started(store, delay=HOUR)
    send(store, *graded("b", BASELINE, 1.0), *graded("c", CANDIDATE, 0.0))
    store.commit(commit(store.head(ROLLOUT), shares=HALF, version=2))

    later = observation("d", intent="order-status", version=2, at=NOW + HOUR)
    received = send(store, later, now=NOW + HOUR)

    assert blocks(store) == {(0, "b.1000000"): 1}
    assert received.touched == (ROLLOUT,)


def test_a_batch_that_is_sent_again_later_closes_what_has_matured_by_then(store: Store):
    started(store, delay=HOUR)
    sent = (*graded("b", BASELINE, 1.0), *graded("c", CANDIDATE, 0.0))
    assert send(store, *sent).accepted == 4

    again = send(store, *sent, now=NOW + HOUR)

    assert (again.duplicate, again.touched) == (4, (ROLLOUT,))
    assert blocks(store) == {(0, "b.1000000"): 1}


def test_a_batch_of_another_rollout_closes_no_blocks(store: Store):
    started(store, delay=HOUR)
    started(store, rollout="other/1")
    send(store, *graded("b", BASELINE, 1.0), *graded("c", CANDIDATE, 0.0))

    send(store, observation("d", rollout="other/1"), now=NOW + HOUR)

    assert blocks(store) == {}


def test_a_label_that_is_later_than_the_delay_joins_where_its_start_belongs(store: Store):
    started(store, delay=HOUR)
    late = observation("b1", arm=BASELINE)
    send(store, late, *graded("b2", BASELINE, 0.0, at=NOW + MINUTE))
    send(store, observation("d"), now=NOW + 2 * HOUR)

    send(store, outcome("b1", 1.0), *graded("c", CANDIDATE, 1.0), now=NOW + 3 * HOUR)

    assert blocks(store) == {(0, "b.0"): 1}


def test_however_much_matures_at_once_every_block_closes(store: Store):
    started(store, shares={"refund": 2500}, delay=HOUR)
    for number in range(100):
        at = NOW + number * SECOND
        send(store, *graded(f"c{number}", CANDIDATE, 1.0, at=at))
    baseline = [graded(f"b{number}", BASELINE, 1.0) for number in range(250)]
    send(store, *(one for label in baseline for one in label))

    send(store, observation("d"), now=NOW + 2 * HOUR)

    # 250 // 3, in the minutes of the candidate's labels: 60 and 23
    assert blocks(store) == {(0, "b.0"): 60, (1, "b.0"): 23}


def test_a_failure_known_at_once_waits_for_its_turn_like_a_success_that_is_known_late(
    store: Store,
):
    """Equal arms: each answer is right or wrong with probability 1/2, and every combination is one world, an intent.

    Two thirds are the baseline's, so a block is two of its labels and one of the candidate's. Failures are known at
    once, successes when the delay is over. By minute: two baseline answers and a candidate one; then the same; then
    two baseline answers that find no partner. Expected is arithmetic: the same six labels in every world.
    """
    minutes, arms = (0, 0, 0, 1, 1, 1, 2, 2), "bbcbbcbb"
    worlds = {"".join(world): world for world in itertools.product("01", repeat=len(arms))}
    started(store, shares=dict.fromkeys(worlds, 3333), delay=6 * HOUR)

    def sent(minute: int, value: str) -> list[tuple[Observation, Outcome]]:
        return [
            graded(
                f"{name} {place}",
                BASELINE if arms[place] == "b" else CANDIDATE,
                1.0,
                at=NOW + minute * MINUTE + place * SECOND,
                intent=name,
                flags={"error": value == "0"},
            )
            for name, world in worlds.items()
            for place in reversed(range(len(arms)))
            if minutes[place] == minute and world[place] == value
        ]

    for value, minute in itertools.product("01", range(3)):
        send(store, *(answer for answer, _ in sent(minute, value)), now=NOW + minute * MINUTE)
    values: dict[str, dict[int, Fraction]] = {}
    for minute in range(3):
        successes = [grade for _, grade in sent(minute, "1")]
        send(store, *successes, now=NOW + minute * MINUTE + 6 * HOUR)
        values = {name: values_by_minute(found) for name, found in blocks_by_intent(store).items()}
        closed = [value for world in values.values() for value in world.values()]
        assert len(closed) == min(minute + 1, 2) * len(worlds), "in every world as many"
        assert sum(closed) == 0, "equal arms: the expectation is exactly 0 at every watermark"

    assert values == {
        name: {
            first: Fraction(int(world[place]) + int(world[place + 1]), 2) - int(world[place + 2])
            for first, place in ((0, 0), (1, 3))
        }
        for name, world in worlds.items()
    }


def values_by_minute(found: dict[tuple[int, str], int]) -> dict[int, Fraction]:
    """A block's value, one a minute."""
    assert set(found.values()) == {1}
    return {minute: Fraction(int(key.removeprefix("b.")), 1_000_000) for minute, key in found}


def test_labels_of_different_intents_and_splits_are_never_compared(store: Store):
    started(store)
    store.commit(commit(store.head(ROLLOUT), shares=HALF, version=2))

    send(store, *graded("b", BASELINE, 1.0), *graded("c", CANDIDATE, 1.0, version=2))
    send(store, *graded("d", CANDIDATE, 1.0, intent="order-status"))

    assert blocks(store) == {}


def test_a_block_is_amended_in_its_minute_when_a_member_is_graded_again(store: Store):
    started(store)
    send(store, *graded("b", BASELINE, 1.0), *graded("c", CANDIDATE, 1.0))
    assert blocks(store) == {(0, "b.0"): 1}

    received = send(store, outcome("c", 0.0, name="review"), now=NOW + DAY)

    assert blocks(store) == {(0, "b.500000"): 1}
    assert received.touched == (ROLLOUT,)


def test_a_label_in_line_is_graded_again_before_its_block_closes(store: Store):
    started(store)
    send(store, *graded("b", BASELINE, 1.0))

    send(store, outcome("b", 0.0, name="review"), *graded("c", CANDIDATE, 1.0))

    assert blocks(store) == {(0, "b.-500000"): 1}
