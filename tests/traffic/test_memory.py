from __future__ import annotations

import pytest

from controller.clock import ManualClock
from controller.errors import Unreachable
from controller.ports import LEASE, Standing
from controller.rollout.plan import OnLoss
from controller.traffic.lease import zeroed
from controller.traffic.memory import MemoryTarget
from tests.traffic.factories import NOW, ROLLOUT, SECOND, split


def two_replicas() -> tuple[MemoryTarget, ManualClock]:
    clock = ManualClock(NOW)
    return MemoryTarget(clock, replicas=2), clock


def test_a_split_is_verified_once_the_last_replica_has_it():
    target, clock = two_replicas()
    target.set(split(1_000))
    target.hold_acks(1)
    target.set(split(2_500, version=2))
    assert target.read(ROLLOUT) == Standing(split=split(1_000), since=None)

    clock.advance(SECOND)
    target.release_acks(1)

    assert target.read(ROLLOUT) == Standing(split=split(2_500, version=2), since=NOW + SECOND)


def test_a_rollback_is_not_done_while_a_replica_still_serves_the_candidate():
    target, clock = two_replicas()
    target.set(split())
    target.hold_acks(1)
    target.off(split(version=2))

    assert target.share_bp(ROLLOUT, "refund", replica=1) == 1_000
    assert target.read(ROLLOUT) == Standing(split=split(), since=None)

    clock.advance(LEASE)

    assert target.share_bp(ROLLOUT, "refund", replica=1) == 0
    assert target.read(ROLLOUT) == Standing(split=zeroed(split(version=2)), since=NOW + LEASE)


def test_a_replica_that_holds_serves_the_candidate_until_it_hears_of_the_rollback():
    target, clock = two_replicas()
    target.set(split(on_expiry=OnLoss.HOLD))
    target.hold_acks(1)
    target.off(split(version=2))
    clock.advance(LEASE)
    assert target.read(ROLLOUT).split == split(on_expiry=OnLoss.HOLD)

    target.release_acks(1)

    assert target.read(ROLLOUT).split == zeroed(split(version=2))


def test_a_replica_that_missed_a_renewal_runs_out_by_itself():
    target, clock = two_replicas()
    target.set(split())
    target.hold_acks(1)
    renewed = split(expires=NOW + 2 * LEASE)
    target.set(renewed)
    clock.advance(LEASE)

    assert target.share_bp(ROLLOUT, "refund", replica=1) == 0
    assert target.read(ROLLOUT) == Standing(split=renewed, since=None, expired_at=NOW + LEASE)


def test_a_replica_is_not_handed_a_split_that_ran_out_meanwhile():
    target, clock = two_replicas()
    target.hold_acks(1)
    target.set(split(on_expiry=OnLoss.HOLD))
    clock.advance(LEASE)
    target.release_acks(1)

    assert target.share_bp(ROLLOUT, "refund", replica=0) == 1_000
    assert target.share_bp(ROLLOUT, "refund", replica=1) == 0


def test_a_target_that_is_cut_off_answers_nothing_while_its_leases_run_on():
    target, clock = two_replicas()
    target.set(split())
    target.cut()
    for call in (
        lambda: target.read(ROLLOUT),
        lambda: target.set(split()),
        lambda: target.off(split()),
    ):
        with pytest.raises(Unreachable):
            call()

    clock.advance(LEASE)
    target.mend()

    assert target.read(ROLLOUT) == Standing(split=None, since=None, expired_at=NOW + LEASE)


def test_a_target_without_replicas_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        MemoryTarget(ManualClock(NOW), replicas=0)
