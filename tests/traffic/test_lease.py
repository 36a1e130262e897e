from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import Conflict
from controller.ports import LEASE, Split, Standing
from controller.rollout.plan import OnLoss
from controller.traffic import lease
from controller.traffic.lease import Lease
from tests.traffic.factories import NOW, SECOND, split

EXPIRY = NOW + LEASE


def held(one: Split, *, since: datetime = NOW) -> Lease:
    return Lease(split=one, since=since)


# What one replica has in force


def test_a_replica_without_a_split_serves_the_baseline():
    assert lease.standing(None, NOW) == Standing(split=None, since=None)
    assert lease.share_bp(None, "refund", NOW) == 0


def test_a_lease_runs_until_the_moment_before_its_expiry():
    last = EXPIRY - timedelta(microseconds=1)

    assert lease.standing(held(split()), last) == Standing(split=split(), since=NOW)


def test_at_its_expiry_the_baseline_takes_over():
    assert lease.standing(held(split()), EXPIRY) == Standing(
        split=None, since=None, expired_at=EXPIRY
    )


def test_a_lease_that_holds_stays_in_force_and_says_when_it_ran_out():
    stays = split(on_expiry=OnLoss.HOLD)

    assert lease.standing(held(stays), EXPIRY) == Standing(
        split=stays, since=NOW, expired_at=EXPIRY
    )


def test_a_split_of_zeros_does_not_run_out():
    off = split(0)

    assert lease.standing(held(off), EXPIRY + LEASE) == Standing(split=off, since=NOW)


def test_an_intent_that_the_split_does_not_name_goes_to_the_baseline():
    assert lease.share_bp(held(split()), "unheard-of", NOW) == 0


# What a replica accepts


@pytest.mark.parametrize("lower", [split(version=1, fence=2), split(version=9, fence=1)])
def test_a_lower_fence_or_version_is_refused(lower):
    with pytest.raises(Conflict, match="lower than the present fence 2, version 2"):
        lease.receive(held(split(version=2, fence=2)), lower, NOW)


def test_other_shares_under_the_same_number_are_refused():
    with pytest.raises(Conflict, match="Other shares need a higher version"):
        lease.receive(held(split(1_000)), split(2_500), NOW)


def test_zeros_under_the_same_number_put_the_candidate_off_for_good():
    off = lease.receive(held(split(1_000)), lease.zeroed(split(1_000)), NOW)

    assert lease.share_bp(off, "refund", NOW) == 0
    with pytest.raises(Conflict):
        lease.receive(off, split(1_000, expires=EXPIRY + LEASE), NOW + SECOND)


def test_a_split_that_arrives_after_its_own_expiry_is_refused():
    with pytest.raises(Conflict, match="Renew the lease"):
        lease.receive(None, split(on_expiry=OnLoss.HOLD), EXPIRY)


def test_a_renewal_keeps_since_and_never_shortens_the_lease():
    longer = split(expires=EXPIRY + LEASE)

    renewed = lease.receive(held(split()), longer, NOW + SECOND)
    reordered = lease.receive(renewed, split(), NOW + SECOND)

    assert renewed == reordered == Lease(split=longer, since=NOW)


def test_a_renewal_after_the_expiry_starts_anew():
    later = EXPIRY + SECOND

    renewed = lease.receive(held(split()), split(expires=EXPIRY + LEASE), later)

    assert lease.standing(renewed, later).since == later
    assert lease.standing(renewed, later).expired_at is None


def test_a_new_leaders_fence_does_not_interrupt_the_split():
    taken_over = lease.receive(held(split(fence=1)), split(fence=2), NOW + SECOND)

    assert taken_over == Lease(split=split(fence=2), since=NOW)


def test_a_new_version_starts_now_even_with_the_same_shares():
    assert lease.receive(held(split()), split(version=2), NOW + SECOND).since == NOW + SECOND


# Several replicas as one


def standing(one: Split, *, since: datetime = NOW) -> Standing:
    return Standing(split=one, since=since)


COLD = Standing(split=None, since=None)
RAN_OUT = Standing(split=None, since=None, expired_at=EXPIRY)


def test_a_split_is_in_force_everywhere_since_the_last_replica_took_it():
    later = NOW + SECOND

    assert lease.everywhere(
        [standing(split(), since=later), standing(split(), since=NOW)]
    ) == standing(split(), since=later)


def test_the_lowest_version_speaks_and_is_not_in_force_everywhere():
    told = lease.everywhere([standing(split(version=2)), standing(split(version=1))])

    assert told == Standing(split=split(version=1), since=None)


def test_a_cold_replica_does_not_hide_a_candidate_that_another_serves():
    assert lease.everywhere([standing(split()), COLD]) == Standing(split=split(), since=None)


def test_an_expired_replica_does_not_hide_a_candidate_that_another_serves():
    told = lease.everywhere([standing(split()), RAN_OUT])

    assert told == Standing(split=split(), since=None, expired_at=EXPIRY)


def test_a_rollback_is_in_force_where_it_was_acknowledged_or_the_lease_ran_out():
    off = split(0, version=2)

    assert lease.everywhere([standing(off), RAN_OUT]) == standing(off, since=EXPIRY)


@pytest.mark.parametrize("order", [1, -1])
def test_off_under_the_same_version_is_not_done_while_a_replica_still_serves(order):
    replicas = [standing(lease.zeroed(split())), standing(split())]

    assert lease.everywhere(replicas[::order]) == Standing(split=split(), since=None)


def test_nothing_is_in_force_when_every_lease_ran_out():
    assert lease.everywhere([RAN_OUT, COLD]) == RAN_OUT


# Properties


@dataclass(frozen=True)
class Arrival:
    split: Split
    at: datetime


@st.composite
def arrivals(draw) -> list[Arrival]:
    """Splits with small numbers, so that they meet, at moments that rise."""
    moments = sorted(draw(st.lists(st.integers(0, 30), min_size=1, max_size=12)))
    return [
        Arrival(
            split=split(
                draw(st.sampled_from([0, 0, 500, 1_000, 5_000])),
                fence=draw(st.integers(1, 3)),
                version=draw(st.integers(1, 3)),
                expires=NOW + timedelta(seconds=draw(st.integers(0, 40))),
                on_expiry=draw(st.sampled_from(OnLoss)),
            ),
            at=NOW + second * SECOND,
        )
        for second in moments
    ]


def received(held: Lease | None, arrival: Arrival) -> Lease | None:
    try:
        return lease.receive(held, arrival.split, arrival.at)
    except Conflict:
        return held


@given(arrivals())
def test_invariant_1_the_share_never_exceeds_the_largest_unexpired_split_received(sent):
    now: Lease | None = None
    accepted: list[Split] = []
    for arrival in sent:
        before, now = now, received(now, arrival)
        accepted += [arrival.split] if now != before else []
        for moment in (arrival.at, arrival.at + 5 * SECOND, arrival.at + 60 * SECOND):
            permitted = [
                one.shares["refund"]
                for one in accepted
                if moment < one.expires or one.on_expiry is OnLoss.HOLD
            ]
            assert lease.share_bp(now, "refund", moment) <= max(permitted, default=0)


@given(arrivals())
def test_invariant_2_only_a_higher_number_brings_the_candidate_back(sent):
    now: Lease | None = None
    for arrival in sent:
        before, now = now, received(now, arrival)
        if before and now and lease.gives_nothing(before.split) and now.split.shares["refund"]:
            assert lease.order(now.split) > lease.order(before.split)


@given(arrivals())
def test_what_is_held_never_goes_back(sent):
    numbers = []
    now: Lease | None = None
    for arrival in sent:
        now = received(now, arrival)
        numbers += [lease.order(now.split)] if now else []

    assert numbers == sorted(numbers)


@given(arrivals())
def test_receiving_a_split_twice_is_receiving_it_once(sent):
    now: Lease | None = None
    for arrival in sent:
        now = received(now, arrival)
        assert received(now, arrival) == now


@given(arrivals(), st.integers(0, 60))
def test_time_alone_only_takes_from_the_candidate(sent, seconds):
    now: Lease | None = None
    for arrival in sent:
        now = received(now, arrival)
    last = sent[-1].at

    assert lease.share_bp(now, "refund", last + seconds * SECOND) <= lease.share_bp(
        now, "refund", last
    )
