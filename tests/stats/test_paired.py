"""Paired accuracy: exact p-values in integers, symmetries, refusals."""

import math
from fractions import Fraction
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.paired import (
    PairedTable,
    bonett_price,
    mcnemar_asymptotic,
    mcnemar_exact,
    mcnemar_midp,
    newcombe_paired,
    sign_flip_p,
    tango,
)

brief = settings(max_examples=60, deadline=None)


def pairs(*, b, c, both=0, neither=0):
    return PairedTable(both=both, only_baseline=b, only_candidate=c, neither=neither)


def exactly(b, c):
    n, m = b + c, min(b, c)
    return min(Fraction(1), Fraction(2 * sum(math.comb(n, i) for i in range(m + 1)), 2**n))


any_table = st.tuples(*(st.integers(0, k) for k in (300, 60, 60, 300))).filter(any)


def of(cells):
    both, b, c, neither = cells
    return pairs(b=b, c=c, both=both, neither=neither)


@brief
@given(st.integers(0, 900), st.integers(0, 900))
def test_the_exact_test_equals_integer_arithmetic(b, c):
    if b + c == 0:
        return

    assert mcnemar_exact(pairs(b=b, c=c)) == pytest.approx(float(exactly(b, c)), rel=1e-11)


def test_the_exact_test_survives_a_million_discordant_pairs():
    # The normal tail with continuity correction: (1500 - 1) / sqrt(1,001,500) = 1.4979.
    expected = math.erfc(1_499 / math.sqrt(1_001_500) / math.sqrt(2))

    assert mcnemar_exact(pairs(b=500_000, c=501_500)) == pytest.approx(expected, rel=1e-5)


def test_a_hopeless_split_has_a_p_value_of_zero_in_doubles():
    assert mcnemar_exact(pairs(b=0, c=1_000_000)) == 0.0


@pytest.mark.parametrize("each", [1, 2, 40])
def test_midp_of_an_even_split_takes_half_of_the_point(each):
    # Fagerland, Lydersen & Laake 2013: 1 - f(b) / 2 when b = c.
    point = math.comb(2 * each, each) / 2 ** (2 * each)

    assert mcnemar_midp(pairs(b=each, c=each)) == pytest.approx(1 - point / 2, rel=1e-12)


@brief
@given(any_table)
def test_swapping_the_models_turns_every_interval_round(cells):
    table = of(cells)
    swapped = of((cells[0], cells[2], cells[1], cells[3]))

    for method in (tango, newcombe_paired, bonett_price):
        there, back = method(table), method(swapped)
        assert -1 <= there.lower <= there.upper <= 1
        assert (there.lower, there.upper) == pytest.approx((-back.upper, -back.lower), abs=1e-8)


@brief
@given(any_table)
def test_score_intervals_enclose_the_loss(cells):
    table = of(cells)

    for method in (tango, newcombe_paired):
        found = method(table)
        assert found.lower - 1e-9 <= table.loss <= found.upper + 1e-9


def test_no_discordant_pair_leaves_an_interval_around_zero():
    found = tango(pairs(b=0, c=0, both=95, neither=5))

    # Solve n D = z sqrt(n D (1 - D)): D = z^2 / (n + z^2), both ways.
    assert (found.lower, found.upper) == pytest.approx((-0.0369935, 0.0369935), abs=1e-6)


def test_no_discordant_pair_leaves_a_narrow_interval_at_a_low_level():
    found = tango(pairs(b=0, c=0, both=95, neither=5), level=0.1)

    z = NormalDist().inv_cdf(0.55)
    expected = z * z / (100 + z * z)
    assert (found.lower, found.upper) == pytest.approx((-expected, expected), rel=1e-6)


def test_sign_flips_agree_with_all_flips_of_a_small_sample():
    # 2^4 = 16 flips of 1, 2, 3, 4: only the two extreme ones reach 10, so p = 2/16.
    assert sign_flip_p([1, 2, 3, 4], draws=20_000, seed=1) == pytest.approx(0.125, abs=0.01)


def test_sign_flips_are_repeatable_and_never_zero():
    differences = [0.5] * 60

    assert sign_flip_p(differences, draws=999, seed=3) == 1 / 1_000
    assert sign_flip_p(differences, draws=999, seed=3) == sign_flip_p(
        differences, draws=999, seed=3
    )


def test_prompts_without_any_difference_are_no_evidence():
    assert sign_flip_p([0.0, 0.0], draws=99, seed=0) == 1.0


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: pairs(b=0, c=0),
        lambda: pairs(b=-1, c=3),
        lambda: pairs(b=1.5, c=3),
        lambda: pairs(b=math.nan, c=3),
        lambda: mcnemar_exact(pairs(b=0, c=0, both=5)),
        lambda: mcnemar_midp(pairs(b=0, c=0, both=5)),
        lambda: mcnemar_asymptotic(pairs(b=0, c=0, both=5)),
        lambda: tango(pairs(b=1, c=1), level=0.0),
        lambda: sign_flip_p([], draws=10, seed=0),
        lambda: sign_flip_p([math.nan], draws=10, seed=0),
        lambda: sign_flip_p([1.0], draws=0, seed=0),
        lambda: sign_flip_p([1.0], draws=5, seed=-1),
    ],
)
def test_refuses_what_has_no_answer(attempt):
    with pytest.raises(StatisticsError):
        attempt()
