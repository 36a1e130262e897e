"""Requests of a conversation that are graded one by one: the law, counted again request by request."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.simulate.picks import Picks

MOST = 400  # requests: of a mean of 4 no more in a float


def geometric(mean: float, k: int) -> float:
    return (1 - 1 / mean) ** (k - 1) / mean


def binomial(n: int, k: int, chance: float) -> float:
    return math.comb(k, n) * chance**n * (1 - chance) ** (k - n)


def negative_binomial(order: int, mean: float, k: int) -> float:
    """The sum of so many geometric numbers from 0 on, each with that mean."""
    stop = 1 / (1 + mean)
    return math.comb(order + k - 1, k) * stop**order * (1 - stop) ** k


@pytest.mark.parametrize(("mean", "rate"), [(4.0, 0.2), (2.5, 0.7), (4.0, 1.0), (1.0, 0.3)])
def test_a_unit_has_a_grade_where_any_of_its_requests_is_picked(mean: float, rate: float):
    none = math.fsum(geometric(mean, k) * (1 - rate) ** k for k in range(1, MOST))

    assert Picks(mean=mean, rate=rate).units == pytest.approx(1 - none, abs=1e-12)


def test_half_of_the_conversations_of_four_have_a_grade_where_a_fifth_of_the_answers_has():
    of = Picks(mean=4.0, rate=0.2)

    # 0.2 × 4 / (1 + 3 × 0.2): two and a half times as many as if conversations were picked
    assert of.units == pytest.approx(0.5)
    # and those have 0.8 / 0.5 grades each, of 1.6 + 1.5 × 2.6 requests
    assert 1 + of.more == pytest.approx(1.6)
    assert of.left == pytest.approx(1.5)


@pytest.mark.parametrize(("mean", "rate"), [(4.0, 0.2), (2.5, 0.7), (4.0, 0.9)])
def test_requests_with_a_grade_and_without_are_as_often_together_as_in_units_whose_requests_are_picked(
    mean: float, rate: float
):
    of = Picks(mean=mean, rate=rate)
    for others in range(12):
        without = (1 - of.units) * negative_binomial(1, of.left, others - 1) if others else 0.0
        assert without == pytest.approx(
            geometric(mean, others) * binomial(0, others, rate) if others else 0.0, abs=1e-14
        )
        for graded in range(1, 12):
            units = of.units * geometric(1 + of.more, graded)
            together = units * negative_binomial(graded + 1, of.left, others)
            counted = geometric(mean, graded + others) * binomial(graded, graded + others, rate)
            assert together == pytest.approx(counted, abs=1e-14)


@given(st.floats(0.0, 1.0))
def test_of_one_request_a_unit_is_graded_as_often_as_its_request(rate: float):
    of = Picks(mean=1.0, rate=rate)

    assert (of.units, of.more, of.left) == (rate, 0.0, 0.0)


@given(st.floats(1.0, 100.0))
def test_where_every_answer_is_graded_every_unit_is_and_where_none_is_none(mean: float):
    everything, nothing = Picks(mean=mean, rate=1.0), Picks(mean=mean, rate=0.0)

    assert everything.units == pytest.approx(1.0)
    assert everything.left == 0.0
    assert (nothing.units, nothing.more, nothing.left) == (0.0, 0.0, mean - 1)


@given(st.floats(1.0, 100.0), st.floats(0.0, 1.0))
def test_all_requests_are_those_that_are_picked_and_those_that_are_not(mean: float, rate: float):
    of = Picks(mean=mean, rate=rate)

    picked = of.units * (1 + of.more)
    others = 1 - of.units + of.left * (1 + picked)
    assert picked == pytest.approx(rate * mean)
    assert picked + others == pytest.approx(mean)
