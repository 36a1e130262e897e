"""The contract of `controller.ports.MetricsStore.ingest`, at its boundaries, for every store there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from controller.errors import DataError
from controller.ports import Store
from controller.rollout.observation import Batch, Cohort, Grades
from controller.rollout.plan import Unit
from controller.rollout.timeline import minute_of
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

# Ingest: what is accepted


def test_everything_sent_is_in_one_bucket_of_the_receipt(store: Store):
    started(store, horizon=DAY)
    old = observation("old", at=NOW - 2 * DAY)

    received = send(
        store,
        observation("a"),
        observation("a"),
        old,
        observation("nobody's", rollout="other/1"),
        outcome("a", 1.0),
        outcome("old", 1.0),
        outcome("not yet", 1.0),
        pair("p", baseline=True, candidate=False),
        pair("p", baseline=True, candidate=False),
        pair("q", baseline=True, candidate=False, rollout="other/1"),
    )

    assert (received.accepted, received.duplicate, received.unknown) == (4, 2, 2)
    assert (received.waiting, received.too_late, received.touched) == (1, 1, (ROLLOUT,))


def test_what_is_sent_again_counts_once(store: Store):
    started(store)
    sent = (
        observation("a"),
        outcome("a", 1.0),
        outcome("b", 1.0),
        pair("p", baseline=True, candidate=True),
    )
    send(store, *sent)
    before = contents(store)

    again = send(store, *sent)

    assert (again.accepted, again.duplicate, again.touched) == (0, 4, ())
    assert contents(store) == before


def test_two_threads_that_send_the_same_batch_count_it_once(store: Store):
    started(store)
    sent = [observation(str(n), unit=f"u{n % 7}") for n in range(200)]

    with ThreadPoolExecutor(4) as threads:
        received = list(threads.map(lambda _: send(store, *sent), range(4)))

    assert sorted(one.accepted for one in received) == [0, 0, 0, 200]
    assert totals(store)["n"] == 200
    assert store.tips()[ROLLOUT] == (1, 1)


def test_an_empty_batch_changes_nothing(store: Store):
    started(store)

    assert send(store).touched == ()
    assert store.tips()[ROLLOUT] == (1, 0)


def test_nothing_is_stored_for_an_unknown_rollout(store: Store):
    sent = observation("a")
    assert send(store, sent).unknown == 1

    started(store)

    assert send(store, sent).accepted == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (observation("x", flags={"eror": True}), "observation x: no flag is called eror"),
        (observation("x", quantities={"tokens": 1}), "observation x: no quantity is called tokens"),
        (observation("x", quantities={"cost_nusd": -1}), "observation x: .* negative"),
        (outcome("a", 1.5), "outcome of a: correct is 1.5"),
        (outcome("a", float("nan")), "outcome of a: correct is nan"),
        (outcome("a", flags={"rejected": True}), "outcome of a: no flag is called rejected"),
        # What one database keeps and another does not.
        (observation("nul\0"), r"observation 'nul\\x00': .* NUL"),
        (outcome("a", name="half \ud83d"), r"outcome 'half \\ud83d': .* half a surrogate pair"),
        (observation("x", version=2**31), "observation 'x': a number is too large"),
        (observation("x", quantities={"cost_nusd": 2**63}), "observation 'x': a number is too"),
    ],
)
def test_a_batch_with_something_that_cannot_be_counted_is_refused_whole(
    store: Store, wrong, words: str
):
    started(store)
    before = contents(store)

    with pytest.raises(DataError, match=words):
        send(store, observation("a"), wrong)

    assert contents(store) == before


# Ingest: outcomes


def test_an_outcome_waits_for_its_observation(store: Store):
    started(store)
    assert send(store, outcome("a", 1.0)).waiting == 1
    assert store.refused(ROLLOUT)["waiting"] == 1

    received = send(store, observation("a"))

    assert (received.accepted, received.waiting) == (1, 0)
    assert totals(store)["correct_u"] == 1_000_000
    assert store.refused(ROLLOUT)["waiting"] == 0


def test_a_waiting_outcome_that_is_sent_again_is_a_duplicate(store: Store):
    started(store)
    send(store, outcome("a", 1.0))

    assert send(store, outcome("a", 1.0), outcome("a", 1.0)).duplicate == 2


@pytest.mark.parametrize("unit", [Unit.CONVERSATION, Unit.REQUEST])
@pytest.mark.parametrize("cohort", list(Cohort))
def test_an_outcome_is_accepted_up_to_the_horizon_and_no_microsecond_longer(
    store: Store, unit: Unit, cohort: Cohort
):
    started(store, unit=unit, horizon=DAY)
    send(store, observation("a", cohort=cohort))

    on_time = send(store, outcome("a", 1.0, name="first"), now=NOW + DAY)
    late = send(store, outcome("a", 0.0, name="second"), now=NOW + DAY + MICROSECOND)

    assert (on_time.accepted, late.accepted, late.too_late) == (1, 0, 1)
    assert totals(store)["graded"] == 1
    assert store.refused(ROLLOUT)["too_late"] == 1


def test_the_horizon_runs_from_the_episodes_start(store: Store):
    started(store, horizon=DAY)
    send(store, observation("a", unit="ann"), observation("b", unit="ann", at=NOW + 20 * MINUTE))

    assert send(store, outcome("b", 1.0), now=NOW + DAY + MINUTE).too_late == 1


def test_a_refused_outcome_is_remembered(store: Store):
    started(store, horizon=DAY)
    send(store, observation("a"))
    send(store, outcome("a", 1.0), now=NOW + 2 * DAY)

    again = send(store, outcome("a", 1.0), now=NOW + 2 * DAY)

    assert (again.duplicate, again.too_late) == (1, 0)
    assert store.refused(ROLLOUT)["too_late"] == 1


def test_a_waiting_outcome_is_refused_when_its_observation_comes_too_late(store: Store):
    started(store, horizon=DAY)
    send(store, outcome("a", 1.0), now=NOW)

    received = send(store, observation("a", at=NOW - MINUTE), now=NOW + DAY)

    assert (received.accepted, received.too_late) == (1, 0), (
        "the outcome was told of when it was sent"
    )
    assert "graded" not in totals(store)
    assert store.refused(ROLLOUT) == {"waiting": 0, "too_late": 1, "expired": 0}


def test_an_outcome_stops_waiting_after_the_longest_horizon(store: Store):
    started(store, horizon=HOUR)
    started(store, rollout="other/1", horizon=DAY)
    send(store, outcome("never", 1.0))

    send(store, now=NOW + DAY)
    assert store.refused(ROLLOUT)["waiting"] == 1
    send(store, now=NOW + DAY + MICROSECOND)

    assert store.refused(ROLLOUT) == {"waiting": 0, "too_late": 0, "expired": 1}
    assert send(store, outcome("never", 1.0), now=NOW + 2 * DAY).duplicate == 1


def test_of_two_outcomes_that_wait_for_one_observation_the_younger_one_still_counts(store: Store):
    started(store, horizon=DAY)
    send(store, outcome("a", 0.0, name="older"))
    send(store, outcome("a", 1.0, name="younger"), now=NOW + HOUR)
    send(store, now=NOW + DAY + MINUTE)
    assert store.refused(ROLLOUT) == {"waiting": 1, "too_late": 0, "expired": 1}

    send(store, observation("a", at=NOW + DAY), now=NOW + DAY + MINUTE)

    assert store.refused(ROLLOUT) == {"waiting": 0, "too_late": 0, "expired": 1}
    assert totals(store)["correct_u"] == 1_000_000


def test_a_late_outcome_lands_in_the_minute_of_its_episode_and_changes_that_row_only(store: Store):
    started(store)
    later = NOW + 10 * MINUTE
    send(store, observation("a", unit="ann"), observation("b", unit="ann", at=later))
    seq = store.tips()[ROLLOUT][1]

    received = send(store, outcome("a", 1.0), now=NOW + 2 * DAY)

    assert received.touched == (ROLLOUT,)
    changed, present = store.rollups(ROLLOUT, changed_after=seq)
    assert [(row.minute, row.seq) for row in changed] == [(minute_of(NOW), present)]
    assert present == seq + 1
    assert totals(store, at=NOW)["e.correct_u"] == 1_000_000


def test_an_outcome_that_says_nothing_new_touches_no_window(store: Store):
    started(store)
    send(store, observation("a", flags={"escalated": True}))

    received = send(store, outcome("a", flags={"escalated": True}))

    assert (received.accepted, received.touched) == (1, ())


# Ingest: grades and flags


def grade(store: Store) -> tuple[int | None, int | None]:
    total = totals(store)
    attempt = total.get("correct_u", 0) if "graded" in total else None
    return attempt, total.get("served_u", 0) if "served" in total else None


@pytest.mark.parametrize(
    ("flags", "outcomes", "expected"),
    [
        ({}, (), (None, None)),
        ({}, (outcome("a", 0.25),), (250_000, 250_000)),
        ({"error": True}, (), (0, None)),
        ({"error": False, "escalated": False}, (), (None, None)),
        # What was served is not the candidate's own once it was escalated.
        ({"escalated": True}, (outcome("a", 1.0),), (0, 1_000_000)),
        ({"escalated": True}, (outcome("a", 1.0, grades=Grades.ATTEMPT),), (1_000_000, None)),
        (
            {},
            (outcome("a", 1.0), outcome("a", name="b", flags={"escalated": True})),
            (0, 1_000_000),
        ),
        # Two thirds, rounded to millionths.
        (
            {},
            (
                outcome("a", 1.0, name="1"),
                outcome("a", 1.0, name="2", grades=Grades.ATTEMPT),
                outcome("a", 0.0, name="3"),
            ),
            (666_667, 500_000),
        ),
    ],
)
def test_a_grade_is_that_of_the_assigned_arms_own_answer(store: Store, flags, outcomes, expected):
    started(store)

    send(store, observation("a", flags=flags))
    for one in outcomes:
        send(store, one)

    assert grade(store) == expected


def test_a_flag_that_is_true_once_stays_true(store: Store):
    started(store)
    send(store, observation("a", flags={"refusal": False}))
    send(store, outcome("a", name="1", flags={"refusal": True, "complaint": False}))
    send(store, outcome("a", name="2", flags={"refusal": False}))

    total = totals(store)

    assert (total["f.refusal"], total["d.refusal"], total["ef.refusal"], total["ed.refusal"]) == (
        1,
        1,
        1,
        1,
    )
    assert (total.get("f.complaint"), total["d.complaint"]) == (None, 1)


def test_what_is_not_known_is_absent(store: Store):
    started(store)

    send(store, observation("a", flags={"error": False}, quantities={"cost_nusd": 0}))

    assert totals(store) == {"n": 1, "e": 1, "d.error": 1, "ed.error": 1, "c.cost_nusd": 1}


def test_quantities_are_summed_and_latencies_go_to_buckets(store: Store):
    started(store)
    # ln 1 / ln 1.02 = 0; ln 2 / ln 1.02 = 35.003, rounded up
    for name, latency_us in (("a", 1_000_000), ("b", 2_000_000), ("c", 2_000_000)):
        send(store, observation(name, quantities={"latency_us": latency_us}))

    total = totals(store)

    assert (total["c.latency_us"], total["s.latency_us"]) == (3, 5_000_000)
    assert (total["h.latency.0"], total["h.latency.36"]) == (1, 2)


def test_pairs_are_counted_by_who_was_right(store: Store):
    started(store)

    send(
        store, pair("1", baseline=True, candidate=False), pair("2", baseline=True, candidate=False)
    )
    send(store, pair("3", baseline=False, candidate=True, at=NOW + MINUTE))

    assert totals(store, arm="both", at=NOW) == {"p.10": 2}
    assert totals(store, arm="both", at=NOW + MINUTE) == {"p.01": 1}


def test_a_pair_of_several_runs_is_counted_once_by_its_mean_difference(store: Store):
    started(store)

    send(store, pair("1", baseline=0.75, candidate=0.5), pair("2", baseline=0.5, candidate=0.5))
    send(store, pair("1", baseline=0.75, candidate=0.5), pair("3", baseline=1.0, candidate=0.0))

    assert totals(store, arm="both", at=NOW) == {"pv.250000": 1, "pv.0": 1, "p.10": 1}


def test_a_request_outside_the_comparison_is_counted_by_request_only(store: Store):
    started(store)

    send(store, observation("a", cohort=Cohort.OUTSIDE, flags={"error": True}, assigned=True))

    assert totals(store, cohort=Cohort.OUTSIDE) == {
        "n": 1,
        "units": 1,
        "f.error": 1,
        "d.error": 1,
        "graded": 1,
    }


# Ingest: episodes


@pytest.mark.parametrize(
    ("offsets", "episodes"),
    [
        # Heard until the end of its five minutes, from which on it is silent.
        ([timedelta(0), 35 * MINUTE - MICROSECOND], 1),
        ([timedelta(0), 35 * MINUTE], 2),
        ([5 * MINUTE - MICROSECOND, 35 * MINUTE - MICROSECOND], 1),
        ([5 * MINUTE - MICROSECOND, 35 * MINUTE], 2),
        # Earlier than the anchor by less than half an hour: the anchor stays.
        ([timedelta(0), -30 * MINUTE + MICROSECOND], 1),
        ([timedelta(0), -30 * MINUTE], 2),
        ([n * 20 * MINUTE for n in range(72)], 1),
        ([n * 20 * MINUTE for n in range(73)], 2),  # the last one 24 h after the start
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_episode_ends_after_half_an_hour_of_silence_or_a_day(
    store: Store, offsets: list[timedelta], episodes: int, together: bool
):
    started(store)
    sent = [observation(str(n), unit="ann", at=NOW + by) for n, by in enumerate(offsets)]

    for batch in [sent] if together else [[one] for one in sent]:
        send(store, *batch)

    assert totals(store)["e"] == episodes
    assert totals(store, at=NOW + offsets[0])["e"] == 1


@pytest.mark.parametrize(
    "other", [{"arm": BASELINE}, {"intent": "order-status"}, {"version": 2}, {"unit": "bob"}]
)
def test_an_episode_is_one_unit_on_one_arm_in_one_intent_and_split(store: Store, other):
    started(store)

    send(store, observation("a", unit="ann"), observation("b", **{"unit": "ann", **other}))

    assert totals(store)["e"] == 2


def test_with_requests_as_units_each_is_its_own_episode(store: Store):
    started(store, unit=Unit.REQUEST)

    send(store, observation("a", unit="ann"), observation("b", unit="ann"))
    send(store, outcome("a", 1.0), outcome("b", 0.0, flags={"complaint": True}))

    total = totals(store)
    assert (total["e"], total["e.graded"], total["e.correct_u"], total["ef.complaint"]) == (
        2,
        2,
        1_000_000,
        1,
    )


def test_an_episode_is_graded_by_the_mean_of_its_requests(store: Store):
    started(store)
    send(store, *(observation(name, unit="ann", flags={"error": name == "c"}) for name in "abcd"))
    send(store, outcome("a", 1.0), outcome("b", 0.5))

    total = totals(store)

    assert (total["graded"], total["correct_u"]) == (3, 1_500_000)
    assert (total["e.graded"], total["e.correct_u"], total["ef.error"]) == (1, 500_000, 1)


# Ingest: rollouts


def test_a_revision_changes_what_is_too_late(store: Store):
    started(store, horizon=DAY)
    store.commit(commit(store.head(ROLLOUT), of=plan(horizon=2 * DAY)))
    send(store, observation("a"))

    assert send(store, outcome("a", 1.0), now=NOW + 2 * DAY).accepted == 1


def test_a_batch_may_hold_several_rollouts(store: Store):
    started(store)
    started(store, rollout="other/1", unit=Unit.REQUEST)

    received = store.ingest(
        Batch(
            observations=(observation("a"), observation("b", rollout="other/1")),
            outcomes=(outcome("a", 1.0), outcome("b", 0.0)),
        ),
        NOW,
    )

    assert (received.accepted, received.touched) == (4, ("other/1", ROLLOUT))
    assert totals(store)["correct_u"] == 1_000_000
    assert totals(store, "other/1")["e.graded"] == 1
