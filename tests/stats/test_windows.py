"""The sliding window where starts come and go one at a time, and where there was traffic before the first of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from controller.errors import StatisticsError
from controller.stats.betting import (
    NO_START,
    log_e,
    log_threshold,
    loss_bets,
    rate_bets,
    windowed_log_e,
)

RATE = np.array([0.0, 1.0])
PAIR = np.array([-1.0, 0.0, 1.0])
TWO_PERCENT = rate_bets(limit=0.02, alternative=0.03)
NO_LOSS = loss_bets(margin=0.0, effect=0.1, variance=0.3)
LENGTH = 60


def prefix_of(minutes):
    return np.vstack([np.zeros((1, minutes.shape[1]), dtype=np.int64), minutes.cumsum(axis=0)])


def all_margins(table, values, bets, starts, ends, window, least, needed):
    """(E, K): log E of each start at each end over what it needs; -inf where it does not serve."""
    counts = np.maximum(table[ends][:, None] - table[starts], 0)
    span = ends[:, None] - starts
    margins = log_e(counts, values, bets) - needed
    margins[(span < least) | (span > window)] = -np.inf
    return margins


@pytest.mark.parametrize("seed", range(60))
def test_the_strongest_and_all_that_fire_are_told_wherever_windows_lie(seed):
    """Against every start of every end; evidence comes and goes, and the first start has traffic behind it."""
    random = np.random.default_rng(seed)
    values, bets = (PAIR, NO_LOSS) if seed % 2 else (RATE, TWO_PERCENT)
    worse = np.sin(np.arange(LENGTH) / random.uniform(2, 12)) > random.uniform(-0.5, 0.9)
    mean = np.where(worse[:, None], [2.0, 3.0, 5.0], [3.0, 3.0, 2.0])[:, : len(values)]
    table = prefix_of(random.poisson(mean * random.choice([0.3, 1.0, 20.0])))
    starts = np.arange(random.integers(3, 9), LENGTH, random.integers(2, 7))
    ends = np.arange(starts[0], LENGTH + 1)
    window = int(random.integers(4, 30))
    least = int(random.integers(1, window + 1))
    margins = all_margins(table, values, bets, starts, ends, window, least, 0.0)
    # So much that some ends just fire, or that none does.
    highest = margins.max(axis=1)
    served = np.isfinite(highest)
    needed = highest[served].max() * random.choice([0.2, 0.9, 1.1]) + random.uniform(
        0, 1, len(starts)
    )
    margins = margins - needed

    found = [
        windowed_log_e(
            table[starts],
            table[ends],
            values,
            bets,
            starts=starts,
            ends=ends,
            window_min=window,
            min_window_min=least,
            thresholds=needed,
            strongest_only=only,
        )
        for only in (False, True)
    ]

    best = margins.max(axis=1)
    assert found[0].margin[served] == pytest.approx(best[served], abs=1e-9)
    assert np.array_equal(found[0].start[served], starts[margins.argmax(axis=1)][served])
    assert (found[0].start[~served] == NO_START).all()
    wanted = served & ((best >= 0) | (best == best.max()))
    assert found[1].margin[wanted] == pytest.approx(best[wanted], abs=1e-9)
    told = np.isfinite(found[1].margin)
    assert np.array_equal(found[1].margin[told], found[0].margin[told])


def test_an_end_alone_is_told_as_among_others():
    random = np.random.default_rng(3)
    table = prefix_of(random.poisson([30.0, 1.0], size=(LENGTH, 2)))
    starts, ends = np.arange(5, LENGTH, 4), np.array([20, 33, 59])

    def at(which):
        return windowed_log_e(
            table[starts],
            table[which],
            RATE,
            TWO_PERCENT,
            starts=starts,
            ends=which,
            window_min=24,
            min_window_min=3,
            thresholds=np.linspace(3, 4, len(starts)),
        )

    together = at(ends)

    for place, end in enumerate(ends.tolist()):
        alone = at(np.array([end]))
        assert alone.start[0] == together.start[place]
        assert alone.start.dtype == together.start.dtype == np.int64
        assert alone.log_e[0] == pytest.approx(together.log_e[place], abs=1e-12)
        assert alone.margin[0] == pytest.approx(together.margin[place], abs=1e-12)


def test_a_start_that_is_refused_at_one_end_is_refused_at_many():
    usual: dict[str, Any] = {
        "values": RATE,
        "bets": TWO_PERCENT,
        "window_min": 9,
        "min_window_min": 1,
    }

    def attempt(starts, ends, opened, closed):
        return windowed_log_e(
            np.array(opened),
            np.array(closed),
            starts=np.array(starts),
            ends=np.array(ends),
            thresholds=1.0,
            **usual,
        )

    with pytest.raises(StatisticsError, match="ascend"):
        attempt([0, 0], [1], [[0, 0], [0, 0]], [[2, 2]])
    with pytest.raises(StatisticsError, match="ascend"):
        attempt([0, 5, 3], [6], [[0, 0]] * 3, [[2, 2]])
    # What was seen before an end cannot be less than what was seen before a start that serves it.
    with pytest.raises(StatisticsError, match="negative"):
        attempt([0], [1, 2], [[5, 5]], [[2, 2], [9, 9]])
    with pytest.raises(StatisticsError, match="negative"):
        attempt([0, 1], [2, 3], [[5, 5], [4, 5]], [[9, 9], [9, 9]])
    # Also where such a window would be the weakest of its end.
    with pytest.raises(StatisticsError, match="negative"):
        attempt([0, 1], [2, 3], [[0, 0], [0, 9]], [[5, 5], [9, 9]])


def test_no_number_of_sights_is_infinite():
    with pytest.raises(StatisticsError, match="infinite"):
        log_e(np.array([1.0, math.inf]), RATE, TWO_PERCENT)


def test_a_first_end_that_fires_by_a_start_that_serves_no_other_is_told():
    minutes = np.zeros((40, 2), dtype=np.int64)
    minutes[0] = [0, 25]  # only the first start sees these,
    minutes[1:10] = [50, 0]
    minutes[20:25] = [0, 20]  # and much later it is far worse.
    table = prefix_of(minutes)
    starts, ends = np.array([0, 1, 15]), np.arange(10, 31)

    told, all_ = (
        windowed_log_e(
            table[starts],
            table[ends],
            RATE,
            TWO_PERCENT,
            starts=starts,
            ends=ends,
            window_min=10,
            min_window_min=1,
            thresholds=3.0,
            strongest_only=only,
        )
        for only in (True, False)
    )

    assert all_.fires[0]
    assert not all_.fires[1]
    assert (told.start[0], told.margin[0]) == (0, all_.margin[0])


def test_the_threshold_of_one_start_is_a_plain_number_and_of_many_an_array():
    one = log_threshold(alpha=0.05, start_number=3, planned_starts=72, first=0.25)
    many = log_threshold(alpha=0.05, start_number=np.array([3, 4]), planned_starts=72, first=0.25)

    assert type(one) is float
    assert many.shape == (2,)


@pytest.mark.parametrize(
    ("planned", "first", "others", "left"),
    [
        (1, 1, 1, 1.0),
        (4, 4, 4, 1.0),  # a quarter is the even split, which has all of alpha in overtime
        (5, 4, 4 / 0.75, 0.75),
        (8, 4, 7 / 0.75, 0.75),
        (9, 4, 8 / 0.75, 0.75),
    ],
)
def test_a_few_starts_share_alpha_evenly_and_more_leave_the_first_a_quarter(
    planned, first, others, left
):
    def needed(start):
        return log_threshold(alpha=0.05, start_number=start, planned_starts=planned, first=0.25)

    assert needed(1) == pytest.approx(math.log(first / 0.05))
    if planned > 1:
        assert needed(2) == needed(planned) == pytest.approx(math.log(others / 0.05))
    late = planned + 3
    assert needed(late) == pytest.approx(math.log(late * (late + 1) / (left * planned * 0.05)))


def test_a_window_fires_at_its_threshold():
    def at(threshold):
        return windowed_log_e(
            np.array([[0, 0]]),
            np.array([[90, 10]]),
            RATE,
            TWO_PERCENT,
            starts=np.array([0]),
            ends=np.array([1]),
            window_min=1,
            min_window_min=1,
            thresholds=threshold,
        )

    reached = float(at(1.0).log_e[0])

    assert (at(reached).margin[0], bool(at(reached).fires[0])) == (0, True)
    assert not at(np.nextafter(reached, math.inf)).fires[0]
