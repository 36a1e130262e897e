"""Costs against grades by minute: by hand, never more than the true process, and rarely wrong at the limit."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.balanced import Balance, log_wealth_nano
from controller.stats.matched import log_e_of_wealth

FAIL = Balance(most=10.0, reference=0.95, effect=0.475)
PASS = Balance(most=100.0, reference=0.95, effect=0.95 / 3)
JUDGED = Balance(most=10.0, reference=0.95, effect=0.475, low=-0.125, high=1.125)


def wealth(n, spent, graded, right, *, balance=FAIL, sign=1):
    """`spent` in units of the limit."""
    n, graded = (np.atleast_1d(np.asarray(one, dtype=np.int64)) for one in (n, graded))
    spent, right = (np.atleast_1d(np.asarray(one, dtype=np.float64)) for one in (spent, right))
    return log_wealth_nano(n, spent / balance.most, graded, right, balance=balance, sign=sign)


def bets(balance: Balance, n: int, graded: int, factor: float, sign: int):
    """What is bet on each cost and on each grade, and the part of the first: from the words of the module."""
    m = balance.reference
    of_costs = math.sqrt(m * (balance.most - m))
    of_grades = math.sqrt(n / graded * (m - balance.low) * (balance.high - m))
    part = of_costs / (of_costs + of_grades)
    a = factor * balance.effect / (of_costs + of_grades) ** 2
    falls = (m, balance.high - m) if sign > 0 else (balance.most - m, m - balance.low)
    a = min(a, 0.95 * part / falls[0], 0.95 * (1 - part) / (n / graded * falls[1]))
    return a / part, a * n / graded / (1 - part), part


def true_log(costs, grades, *, balance, factor, sign) -> float:
    """ln E with every cost and grade as it is; grades as their values between `low` and `high`."""
    on_cost, on_grade, part = bets(balance, len(costs), len(grades), factor, sign)
    m = balance.reference
    costs_log = sum(math.log(1 + sign * on_cost * (one - m)) for one in costs)
    grades_log = sum(math.log(1 - sign * on_grade * (one - m)) for one in grades)
    return part * costs_log + (1 - part) * grades_log


def test_a_minute_by_hand():
    # 4 requests cost 8 limits in all, 2 of 2 graded answers are right: r = 0.5, K = 4, effect 0.5.
    # Standard deviations sqrt(0.5 x 3.5) = 1.3229 and sqrt(2 x 0.25) = 0.7071, t = 0.6517, a = 0.5 / 2.03^2 = 0.12134;
    # a' = 0.18619, b' = 2 a / 0.3483 = 0.69673. Of the costs two count as 4 and two as 0:
    # 0.6517 (2 ln 1.65167 + 2 ln 0.90690) + 0.3483 x 2 ln 0.65164 = 0.5265 - 0.2983 = 0.2282.
    by_hand = Balance(most=4.0, reference=0.5, effect=0.5)

    (logs,) = wealth(4, 8, 2, 2, balance=by_hand)

    assert logs[1] * 1e-9 == pytest.approx(0.2282, abs=2e-4)


costs = st.lists(st.floats(0, 10), min_size=1, max_size=12)
grades = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(costs, grades, st.sampled_from([FAIL, JUDGED]), st.sampled_from([1, -1]))
def test_sums_never_say_more_than_every_cost_and_grade_would(spent, graded, balance, sign):
    values = [balance.low + (balance.high - balance.low) * one for one in graded]

    (logs,) = wealth(
        len(spent),
        min(sum(spent), 10 * len(spent)),
        len(graded),
        min(sum(graded), len(graded)),
        balance=balance,
        sign=sign,
    )

    for factor, log in zip((0.5, 1, 2), logs.tolist(), strict=True):
        true = true_log(spent, values, balance=balance, factor=factor, sign=sign)
        assert log * 1e-9 <= true + 1e-9


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "balance",
    [
        FAIL,
        PASS,
        JUDGED,
        Balance(most=10.0, reference=0.5, effect=50.0),  # as much as is not to lose everything
        Balance(most=1.5, reference=0.9, effect=50.0),
    ],
)
@pytest.mark.parametrize(
    ("dear", "cheap", "right", "wrong"),
    [(3, 0, 0, 2), (0, 3, 2, 0), (1, 9, 1, 0), (1, 0, 0, 9), (2, 3, 4, 1)],
)
def test_of_costs_and_grades_that_are_all_or_nothing_sums_say_all(
    dear, cheap, right, wrong, balance, sign
):
    costs, grades = [balance.most] * dear + [0] * cheap, [1] * right + [0] * wrong
    values = [balance.low + (balance.high - balance.low) * one for one in grades]

    (logs,) = wealth(len(costs), sum(costs), len(grades), sum(grades), balance=balance, sign=sign)

    for factor, log in zip((0.5, 1, 2), logs.tolist(), strict=True):
        true = true_log(costs, values, balance=balance, factor=factor, sign=sign)
        assert log * 1e-9 == pytest.approx(true, abs=2e-9)


@given(st.lists(st.floats(0, 1_000), min_size=1, max_size=12), grades)
def test_costs_counted_up_to_a_cap_say_no_more_than_what_was_spent(spent, graded):
    up_to = [min(one, FAIL.most) for one in spent]

    (logs,) = wealth(len(spent), sum(up_to), len(graded), min(sum(graded), len(graded)))

    for factor, log in zip((0.5, 1, 2), logs.tolist(), strict=True):
        assert log * 1e-9 <= true_log(spent, graded, balance=FAIL, factor=factor, sign=1) + 1e-9


@given(
    n=st.integers(1, 4),
    all_graded=st.booleans(),
    balance=st.sampled_from([FAIL, PASS]),
    sign=st.sampled_from([1, -1]),
    chances=st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    cost=st.floats(0, 1),
)
def test_the_mean_is_at_most_one_whatever_a_requests_cost_has_to_do_with_its_grade(
    n, all_graded, balance, sign, chances, cost
):
    # A request is right or wrong, cheap (0) or dear, all four with any chances: the claim is true at its limit, or
    # where the mean of costs lies on its right side.
    weights = np.array(chances) / sum(chances)
    kinds = list(zip([(0, 1), (0, 0), (1, 1), (1, 0)], weights.tolist(), strict=True))
    right, dear = (sum(w for kind, w in kinds if kind[at]) for at in (1, 0))
    highest = min(right / dear, balance.most)
    price = highest * cost if sign > 0 else highest + (balance.most - highest) * cost
    if sign < 0 and price * dear < right * (1 - 1e-9):
        return  # no cost is high enough
    graded = n if all_graded else 1

    mean = np.zeros(3)
    for drawn in product(kinds, repeat=n):
        chance = math.prod(w for _, w in drawn)
        spent = sum(price for (is_dear, _), _ in drawn if is_dear)
        good = sum(good for (_, good), _ in drawn[:graded])
        (logs,) = wealth(n, min(spent, n * balance.most), graded, good, balance=balance, sign=sign)
        mean += chance * np.exp(logs * 1e-9)

    assert mean.max() <= 1 + 1e-6


def test_a_minute_that_lacks_requests_or_grades_says_nothing():
    assert not wealth([0, 7, 0], [0, 70, 0], [9, 0, 0], [9, 0, 0]).any()


def served(random, *, minutes: int, a_minute: int, dearer: float, graded: float = 1.0):
    """Sums by minute. A tenth of the answers is wrong, half of those escalated, six times as dear as others; costs are
    log-normal beside that, with a coefficient of variation of 2. At `dearer` 1 the mean cost is exactly the limit times
    the accuracy.
    """
    shape = (minutes, a_minute)
    wrong = random.random(shape) < 0.1
    escalated = wrong & (random.random(shape) < 0.5)
    sigma = math.sqrt(math.log(5))
    cost = random.lognormal(-(sigma**2) / 2, sigma, shape) * np.where(escalated, 6.0, 1.0)
    cost *= dearer * 0.9 / (1 + 0.05 * 5)
    known = random.random(shape) < graded
    return (
        np.full(minutes, a_minute),
        np.minimum(cost, FAIL.most).sum(axis=1),
        known.sum(axis=1),
        (known & ~wrong).sum(axis=1).astype(float),
    )


def stops(random, runs: int, **of) -> list[int | None]:
    """The minute of each run in which 1/alpha was reached, alpha 5%."""
    found: list[int | None] = []
    for _ in range(runs):
        over = log_e_of_wealth(wealth(*served(random, **of)).cumsum(axis=0)) >= math.log(20)
        found.append(int(over.argmax()) + 1 if over.any() else None)
    return found


@pytest.mark.parametrize("graded", [1.0, 0.3])
def test_at_the_limit_hardly_any_run_is_stopped_ever(graded):
    runs = 1_000

    found = stops(
        np.random.default_rng(11), runs, minutes=1_440, a_minute=5, dearer=1.0, graded=graded
    )

    # Ville: at most 5%, however costs are spread and whatever they have to do with grades.
    stopped = sum(one is not None for one in found)
    assert stopped <= runs * 0.05 + 2 * math.sqrt(runs * 0.05 * 0.95)


def test_at_the_worst_costs_there_are_at_most_alpha_is_stopped():
    # A cost is nothing or all of the cap, and what is dear is wrong: keeping sums alone loses nothing. 8.5% cost ten
    # limits, 85% are right. The plain product of both bets stops 6.6% of such runs.
    random, runs, minutes = np.random.default_rng(13), 1_000, 1_440
    tight = Balance(most=10.0, reference=0.85, effect=0.425)
    five = np.full(minutes, 5)
    stopped = 0
    for _ in range(runs):
        drawn = random.random((minutes, 5))
        spent, right = 10.0 * (drawn < 0.085).sum(axis=1), (drawn >= 0.15).sum(axis=1)
        logs = wealth(five, spent, five, right, balance=tight).cumsum(axis=0)
        stopped += bool(log_e_of_wealth(logs).max() >= math.log(20))

    assert 0 < stopped <= runs * 0.05 + 2 * math.sqrt(runs * 0.05 * 0.95)


def test_half_as_dear_again_is_caught_within_hours_and_three_times_as_dear_within_minutes():
    random = np.random.default_rng(12)

    def median(dearer: float) -> float:
        found = stops(random, 60, minutes=2_880, a_minute=5, dearer=dearer)
        return float(np.median([one or math.inf for one in found]))

    # Some 1,100 requests at 1.5 times the limit by the growth of the bets (docs/adr/028), 95 at 3 times; five a minute.
    assert 60 < median(1.5) < 600
    assert median(3.0) < 60


def test_sums_that_cannot_be_are_refused():
    with pytest.raises(StatisticsError, match="sums of a minute"):
        wealth([3], [31], [3], [2])
    with pytest.raises(StatisticsError, match="sums of a minute"):
        wealth([3], [3], [3], [math.nan])
    with pytest.raises(StatisticsError, match="sums of a minute"):
        wealth([3], [-1], [3], [2])
    with pytest.raises(StatisticsError, match="reference"):
        Balance(most=0.5, reference=0.9, effect=0.1)
