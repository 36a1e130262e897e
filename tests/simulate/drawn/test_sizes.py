"""Sums of what several requests take: drawn at once, they are as those of single requests are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from controller.simulate.drawn.sizes import POWERS, SIZES, drawn, relative, sums

SEED = 5


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("n", [1, 2, 7, 50, 3 * 2**POWERS + 5])
def test_a_sum_is_spread_as_the_sum_of_single_sizes(n: int, cv: float):
    runs = 20_000
    random = np.random.default_rng(SEED)

    found = np.sort(sums(random, np.full(runs, n), cv))

    single = relative(cv)
    added = sum((single[random.integers(0, SIZES, runs)] for _ in range(n)), start=np.zeros(runs))
    # Kolmogorov and Smirnov's distance of two samples: above this in one of 10,000
    at = np.concatenate([found, added])
    ours, theirs = (np.sort(one).searchsorted(at, side="right") / runs for one in (found, added))
    assert np.abs(ours - theirs).max() < math.sqrt(-math.log(0.5e-4) / 2) * math.sqrt(2 / runs)


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_the_mean_and_the_variance_of_a_sum_are_those_of_its_sizes(cv: float):
    class Each:
        """Each size of a law once, in their order, as a generator's numbers of 64 bits."""

        @property
        def bit_generator(self):
            return self

        def random_raw(self, n):
            return np.arange(4 * n, dtype=np.uint16).view(np.uint64)

    variance = relative(cv).var()
    for power in range(POWERS):
        n = 1 << power
        law = sums(Each(), np.full(SIZES, n), cv)  # type: ignore[arg-type]  # as a generator

        assert law.mean() == pytest.approx(n, rel=1e-12)
        assert law.var() == pytest.approx(n * variance, rel=1e-3)


@pytest.mark.parametrize("n", [0, 1, 7, 100_000])
def test_each_size_is_drawn_as_often_as_every_other(n: int):
    found = drawn(np.random.default_rng(SEED), n)

    assert found.shape == (n,)
    often = np.bincount(found >> 8, minlength=256)
    # Chi squared with 255 degrees of freedom: its mean, and five standard deviations
    if n > 1_000:
        assert ((often - n / 256) ** 2 / (n / 256)).sum() < 255 + 5 * math.sqrt(2 * 255)
        assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4.5 / math.sqrt(n)


def test_nothing_takes_nothing_and_each_number_has_a_sum_of_its_own():
    found = sums(np.random.default_rng(SEED), np.array([0, 4_000, 0, 1]), 1.0)

    assert found[[0, 2]].tolist() == [0.0, 0.0]
    assert found[1] == pytest.approx(4_000, rel=0.1)
    assert found[3] in relative(1.0)
