"""The oracle itself: on the page's example, on single observations, and on starts and thresholds."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from tests.oracle.betting import against_a_loss, against_a_share, log_e, starts, threshold


def test_the_example_of_the_page():
    bets = against_a_share(0.02, below=False)

    wealth = 20 * bets.gains(1.0) + 380 * bets.gains(0.0)

    assert bets.sizes == pytest.approx((0.2551, 0.5102, 1.0204), abs=5e-5)
    assert wealth == pytest.approx([2.519, 4.212, 6.028], abs=5e-4)
    assert log_e(wealth) == pytest.approx(5.105, abs=5e-4)
    needed = [threshold(k, alpha=0.05, planned=72, first=0.25) for k in (1, 2, 72, 73)]
    assert needed == pytest.approx([4.382, 7.546, 7.546, 7.601], abs=5e-4)


def test_a_product_over_single_observations():
    bets = against_a_loss(0.015, 0.0528, guarded=True)
    values = [0.0, 1.0, 0.0, -1 / 9, 8 / 9, 0.0]

    wealth = sum((bets.gains(one) for one in values), start=np.zeros(3))

    products = [math.prod(1 + size * value for value in values) for size in bets.sizes]
    assert math.exp(log_e(wealth)) == pytest.approx(sum(products) / 3)


@pytest.mark.parametrize("first", [0.25, 0.75])
@pytest.mark.parametrize("planned", [1, 3, 4, 5, 72])
def test_starts_spend_alpha_in_the_planned_time_and_no_more_than_that_again(planned, first):
    parts = [
        math.exp(-threshold(k, alpha=0.05, planned=planned, first=first)) for k in range(1, 20_000)
    ]

    assert sum(parts[:planned]) == pytest.approx(0.05)
    assert sum(parts) <= 2 * 0.05
    assert all(one >= other for one, other in pairwise(parts))


def test_the_first_start_is_the_epochs_and_the_others_are_full_hours():
    assert starts(487, 660, 60) == [487, 540, 600]
    assert starts(480, 601, 60) == [480, 540, 600]
    assert starts(487, 1081, 360) == [487, 720, 1080]
