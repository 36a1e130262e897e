"""Two arms' rates by minute: exact under every pair of rates, and by simulation in the long run."""

from __future__ import annotations

import math
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.matched import log_e_of_wealth, log_wealth_nano, strongest_windows

LEVEL = 0.05
EFFECT = 0.025


def wealth(n, x, k, y, *, reference=LEVEL, effect=EFFECT, sign=1):
    arrays = (np.atleast_1d(np.asarray(one, dtype=np.int64)) for one in (n, x, k, y))
    return log_wealth_nano(*arrays, reference=reference, effect=effect, sign=sign)


def likely(count: int, of: int, rate: float) -> float:
    return comb(of, count) * rate**count * (1 - rate) ** (of - count)


rates = st.floats(0, 1)
sizes = st.integers(1, 9)


@given(
    n=sizes,
    k=sizes,
    pair=st.tuples(rates, rates),
    reference=st.sampled_from([0.01, 0.05, 0.5]),
    part=st.sampled_from([1 / 3, 0.5, 2.0]),
    sign=st.sampled_from([1, -1]),
)
def test_the_mean_is_at_most_one_whatever_the_rates_are_if_the_claim_is_true(
    n, k, pair, reference, part, sign
):
    low, high = sorted(pair)
    p, q = (low, high) if sign > 0 else (high, low)
    seen = list(product(range(n + 1), range(k + 1)))
    x, y = (np.array(one) for one in zip(*seen, strict=True))
    n_s, k_s = np.full(len(seen), n), np.full(len(seen), k)

    logs = wealth(n_s, x, k_s, y, reference=reference, effect=part * reference, sign=sign)

    # Every outcome of the minute, by its binomial probability.
    chances = np.array([likely(a, n, p) * likely(b, k, q) for a, b in seen])
    assert (chances @ np.exp(logs * 1e-9)).max() <= 1 + 1e-9


@given(n=sizes, k=sizes, data=st.data())
def test_each_minute_is_the_product_over_its_requests(n, k, data):
    x, y = data.draw(st.integers(0, n)), data.draw(st.integers(0, k))
    sign = data.draw(st.sampled_from([1, -1]))

    by_requests(n, x, k, y, sign)


@pytest.mark.parametrize(
    ("n", "k"), [(1, 9), (9, 1), (1, 1)], ids=["a small candidate", "a large one", "alike"]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_no_bet_can_lose_everything(n, k, sign):
    for x, y in product((0, n), (0, k)):
        by_requests(n, x, k, y, sign)


def by_requests(n: int, x: int, k: int, y: int, sign: int) -> None:
    (found,) = wealth(n, x, k, y, sign=sign)

    for factor, log in zip((0.5, 1, 2), found.tolist(), strict=True):
        a = factor * EFFECT / (LEVEL * (1 - LEVEL) * (1 + n / k))
        down, up = (LEVEL, 1 - LEVEL) if sign > 0 else (1 - LEVEL, LEVEL)
        a = min(a, 0.95 / max(down, up * n / k))
        b = a * n / k
        ones = [1 + sign * a * (one - LEVEL) for one in [1] * x + [0] * (n - x)]
        ones += [1 - sign * b * (one - LEVEL) for one in [1] * y + [0] * (k - y)]
        assert log * 1e-9 == pytest.approx(math.log(math.prod(ones)), abs=2e-9)
        assert log * 1e-9 <= math.log(math.prod(ones)) + 1e-12


def test_a_minute_that_lacks_an_arm_says_nothing():
    assert not wealth([0, 7, 0], [0, 7, 0], [9, 0, 0], [9, 0, 0]).any()


def test_a_swing_of_both_arms_together_is_no_evidence():
    # In every minute both arms have the same rate, from 0 to 40%, half of the time a lot above the reference.
    random = np.random.default_rng(3)
    stopped, runs = 0, 1_000
    for _ in range(runs):
        common = 0.2 * (1 + np.sin(np.arange(600) / 40))
        x, y = random.binomial(5, common), random.binomial(45, common)
        total = wealth(np.full(600, 5), x, np.full(600, 45), y).cumsum(axis=0)
        stopped += bool(log_e_of_wealth(total).max() >= math.log(20))

    # Ville: at most 5%.
    assert stopped <= runs * 0.05 + 2 * math.sqrt(runs * 0.05 * 0.95)


def test_a_slower_candidate_is_found_and_a_quicker_one_is_cleared():
    random = np.random.default_rng(5)

    def reached(p: float, sign: int) -> int:
        x, y = random.binomial(5, p, 3_000), random.binomial(45, 0.05, 3_000)
        total = wealth(np.full(3_000, 5), x, np.full(3_000, 45), y, sign=sign).cumsum(axis=0)
        return int((log_e_of_wealth(total) >= math.log(100)).argmax())

    # The growth of a bet of δ / (v (1 + n / k)) is about n δ² / (2 v (1 + n / k)) a minute: ln 100 and what the mean of
    # three bets costs, ln 3, over 5 × 0.05² / (2 × 0.0475 × 1.11) is 48 minutes for p = 10%.
    soon = np.median([reached(0.10, 1) for _ in range(50)])
    assert 20 <= soon <= 90
    assert 0 < reached(0.01, -1) < 1_500


@given(st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=3))
def test_the_e_value_is_the_mean_of_the_bets_wealths(logs):
    found = float(log_e_of_wealth(np.array(logs)))

    assert found == pytest.approx(math.log(sum(math.exp(one * 1e-9) for one in logs) / 3))
    of_rows = log_e_of_wealth(np.array([[0, 0, 0], logs]))
    assert of_rows.tolist() == pytest.approx([0.0, found])


@given(st.data())
def test_the_strongest_window_is_the_best_of_all_that_serve_an_end(data):
    steps = data.draw(st.lists(st.integers(-(10**9), 10**9), min_size=5, max_size=40))
    sums = np.concatenate([[0], np.cumsum(steps)])
    starts = np.arange(0, len(steps), 5)
    ends = np.array(sorted(data.draw(st.sets(st.integers(1, len(steps)), min_size=1))))
    window = data.draw(st.integers(1, 40))
    least = data.draw(st.integers(1, window))
    thresholds = 1.0 + np.arange(len(starts)) / 10

    def rows(at):
        return np.stack([sums[at]] * 3, axis=1)

    found = strongest_windows(
        rows(starts),
        rows(ends),
        starts=starts,
        ends=ends,
        window_min=window,
        min_window_min=least,
        thresholds=thresholds,
    )

    for i, end in enumerate(ends.tolist()):
        there = [
            ((sums[end] - sums[start]) * 1e-9 - needed, start)
            for start, needed in zip(starts.tolist(), thresholds.tolist(), strict=True)
            if least <= end - start <= window
        ]
        if not there:
            assert (found.margin[i], found.start[i]) == (-math.inf, -1)
            assert found.log_e[i] == -math.inf
            continue
        best = max(one for one, _ in there)
        assert found.margin[i] == pytest.approx(best)
        margin = {start: one for one, start in there}[int(found.start[i])]
        assert margin == pytest.approx(best)
        needed = thresholds[starts.tolist().index(int(found.start[i]))]
        assert found.log_e[i] == pytest.approx(margin + needed)


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(StatisticsError, match="counts of a minute"):
        wealth([3], [4], [5], [0])
    with pytest.raises(StatisticsError, match="counts of a minute"):
        wealth([3], [-1], [5], [0])
    with pytest.raises(StatisticsError, match="counts of a minute"):
        wealth([3, 3], [1], [5, 5], [0, 0])
    with pytest.raises(StatisticsError, match="reference"):
        wealth([3], [1], [5], [0], reference=1.0)
