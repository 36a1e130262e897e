"""The hash that gives a unit its arm: how many get the candidate, and who stays as a share rises."""

from __future__ import annotations

import hashlib

import pytest

from controller.rollout.assignment import assign, below, point
from controller.rollout.plan import Arm

UNITS = [f"conversation-{number}" for number in range(20_000)]


def candidates(salt: str, share_bp: int) -> set[str]:
    return {unit for unit in UNITS if assign(salt, unit, share_bp) is Arm.CANDIDATE}


@pytest.mark.parametrize("share_bp", [1, 100, 1_000, 5_000, 9_900])
def test_as_many_units_get_the_candidate_as_its_share_says(share_bp):
    found = len(candidates("a salt", share_bp))

    share, n = share_bp / 10_000, len(UNITS)
    # Within five standard deviations of a binomial number
    assert abs(found - n * share) <= 5 * (n * share * (1 - share)) ** 0.5


def test_nobody_gets_it_at_nothing_and_everybody_at_all():
    assert candidates("a salt", 0) == set()
    assert candidates("a salt", 10_000) == set(UNITS)
    assert (below(0, 0), below(0, 1)) == (False, True)
    assert (below(2**64 - 1, 9_999), below(2**64 - 1, 10_000)) == (False, True)
    # A half of the circle ends before its middle.
    assert (below(2**63 - 1, 5_000), below(2**63, 5_000)) == (True, False)


def test_a_rising_share_keeps_whoever_had_the_candidate():
    tenth, half = candidates("a salt", 1_000), candidates("a salt", 5_000)

    assert tenth < half


def test_another_salt_asks_others():
    one, other = candidates("a salt", 1_000), candidates("another salt", 1_000)

    # A tenth of a tenth of 20,000 by chance
    assert 120 <= len(one & other) <= 280


def test_a_place_is_eight_bytes_of_the_hash_of_salt_and_unit_kept_apart():
    digest = hashlib.sha256(b"2:abc").digest()

    assert point("ab", "c") == sum(byte << (8 * (7 - i)) for i, byte in enumerate(digest[:8]))
    assert point("a", "bc") != point("ab", "c")


@pytest.mark.parametrize("share_bp", [-1, 10_001])
def test_a_share_beyond_all_or_nothing_is_refused(share_bp):
    with pytest.raises(ValueError, match="not in 0"):
        assign("a salt", "a unit", share_bp)
