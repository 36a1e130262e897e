"""How many arrivals can be counted on."""

from __future__ import annotations

import math

import pytest

from controller.errors import StatisticsError
from controller.stats.power import arrivals_at_least


def test_arrivals_are_a_poisson_number():
    assert arrivals_at_least(1, 2.0) == pytest.approx(1 - math.exp(-2))
    # 1 − e⁻² (1 + 2 + 2)
    assert arrivals_at_least(3, 2.0) == pytest.approx(1 - 5 * math.exp(-2))


def test_none_is_always_there_and_where_nothing_comes_nothing_else_is():
    assert arrivals_at_least(0, 0.0) == 1
    assert arrivals_at_least(1, 0.0) == 0


@pytest.mark.parametrize(("count", "expected"), [(-1, 2.0), (1, -2.0), (1, math.nan)])
def test_what_is_no_count_is_refused(count: int, expected: float):
    with pytest.raises(StatisticsError):
        arrivals_at_least(count, expected)
