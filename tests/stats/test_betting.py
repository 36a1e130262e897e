"""The betting e-process and its sliding window, against products taken observation by observation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.betting import (
    NO_START,
    Bets,
    bets,
    gain_bets,
    log_e,
    log_e_of,
    log_increments,
    log_threshold,
    loss_bets,
    rate_bets,
    windowed_log_e,
)

RATE = np.array([0.0, 1.0])
PAIR = np.array([-1.0, 0.0, 1.0])
BLOCK = np.array([-1.0, -0.5, 0.0, 1 / 3, 1.0])
TWO_PERCENT = rate_bets(limit=0.02, alternative=0.03)

brief = settings(max_examples=60, deadline=None)
counts_of = lambda width: st.lists(st.integers(0, 12), min_size=width, max_size=width)


def windowed(prefix, values, bets, *, starts, ends, **rest):
    """`windowed_log_e` on a table of prefix sums by minute."""
    table = np.asarray(prefix)
    return windowed_log_e(
        table[starts], table[ends], values, bets, starts=starts, ends=ends, **rest
    )


def multiplied(observations, against: Bets) -> float:
    """Log of the mean of three plain products."""
    products = [1.0, 1.0, 1.0]
    for v in observations:
        products = [
            p * (1 + b * (v - against.m)) for p, b in zip(products, against.lambdas, strict=True)
        ]
    return math.log(sum(products) / 3)


def tables(width):
    """Counts by minute, (T, width)."""
    minute = st.lists(st.integers(0, 3), min_size=width, max_size=width)
    return st.lists(minute, min_size=1, max_size=14).map(np.array)


def prefix_of(minutes):
    return np.vstack([np.zeros((1, minutes.shape[1]), dtype=np.int64), minutes.cumsum(axis=0)])


def by_hand(minutes, values, against, starts, end, window, least, needed):
    """The best (margin, start, log E) over starts, by products; None when no start is admissible."""
    found = [
        (multiplied(np.repeat(values, minutes[s:end].sum(axis=0)), against) - needed[k], s, k)
        for k, s in enumerate(starts)
        if end - window <= s <= end - least
    ]
    return max(found, key=lambda f: f[0], default=None)


@brief
@given(st.permutations(list(np.repeat(BLOCK, [3, 1, 4, 2, 2]))))
def test_the_order_of_observations_does_not_matter(observations):
    against = loss_bets(margin=0.015, effect=0.015, variance=0.05)

    assert float(log_e(np.array([3, 1, 4, 2, 2]), BLOCK, against)) == pytest.approx(
        multiplied(observations, against), abs=1e-9
    )


@brief
@given(counts_of(5), st.floats(-0.3, 0.3), st.floats(0.001, 0.5))
def test_counts_give_the_product_over_observations(counts, margin, effect):
    against = loss_bets(margin=margin, effect=effect, variance=0.05)

    assert float(log_e(np.array(counts), BLOCK, against)) == pytest.approx(
        multiplied(np.repeat(BLOCK, counts), against), abs=1e-9
    )


@brief
@given(counts_of(2), counts_of(2))
def test_evidence_of_two_windows_adds_up_bet_by_bet(one, two):
    increments = log_increments(RATE, TWO_PERCENT)
    merged = increments @ np.array(one) + increments @ np.array(two)

    together = float(log_e(np.array(one) + np.array(two), RATE, TWO_PERCENT))

    assert together == pytest.approx(np.logaddexp.reduce(merged) - math.log(3), abs=1e-9)


@brief
@given(st.integers(0, 40), st.integers(0, 2_000), st.floats(0.001, 0.6))
def test_a_step_at_exactly_the_limit_gains_nothing_on_average(hits, misses, limit):
    against = rate_bets(limit=limit, alternative=1.5 * limit)
    now = np.array([misses, hits])

    after_miss, after_hit = np.exp(log_e(now + np.eye(2, dtype=int), RATE, against))

    before = math.exp(float(log_e(now, RATE, against)))
    assert limit * after_hit + (1 - limit) * after_miss == pytest.approx(before, rel=1e-9)


@brief
@given(counts_of(3))
def test_swapping_the_arms_turns_loss_into_gain(counts):
    swapped = np.array(counts[::-1])
    gain = gain_bets(margin=0.015, effect=0.015, variance=0.05)
    loss = loss_bets(margin=-0.015, effect=0.015, variance=0.05)

    gained = log_e(np.array(counts), -PAIR, gain)

    assert float(gained) == pytest.approx(float(log_e(swapped, PAIR, loss)), abs=1e-12)


@brief
@given(st.floats(0.001, 0.5), st.floats(0.001, 0.5), st.floats(0.01, 1))
def test_factors_of_the_best_bet_are_as_asked(margin, effect, variance):
    asked = gain_bets(margin=margin, effect=effect, variance=variance, factors=(0.5, 0.75, 1.5))

    cap = 0.95 / (1 - margin)
    assert asked.m == -margin
    assert asked.lambdas == pytest.approx(
        [min(f * effect / variance, cap) for f in (0.5, 0.75, 1.5)]
    )


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), st.floats(0.001, 0.4))
def test_one_row_of_counts_needs_no_array(counts, variance):
    against = loss_bets(margin=0.015, effect=0.015, variance=variance)

    found = log_e_of(counts, PAIR, against)

    assert found == pytest.approx(
        float(log_e(np.array(counts), PAIR, against)), rel=1e-12, abs=1e-12
    )


def test_no_observations_are_no_evidence():
    assert float(log_e(np.zeros(2), RATE, TWO_PERCENT)) == 0.0


def test_ten_million_observations_stay_on_the_log_scale():
    found = log_e(np.array([[0, 10_000_000], [10_000_000, 0]]), RATE, TWO_PERCENT)

    largest = 10_000_000 * math.log1p(TWO_PERCENT.lambdas[2] * 0.98) - math.log(3)
    assert found[0] == pytest.approx(largest, rel=1e-12)
    smallest = 10_000_000 * math.log1p(-TWO_PERCENT.lambdas[0] * 0.02) - math.log(3)
    assert found[1] == pytest.approx(smallest, rel=1e-12)


def test_fractional_episodes_count_by_their_value():
    thirds = np.array([0.0, 1 / 3, 2 / 3, 1.0])

    found = float(log_e(np.array([90, 5, 3, 2]), thirds, TWO_PERCENT))

    assert found == pytest.approx(
        multiplied(np.repeat(thirds, [90, 5, 3, 2]), TWO_PERCENT), abs=1e-9
    )


def test_bets_never_risk_more_than_95_percent():
    reckless = bets(effect=0.5, variance=0.001, m=0.02, lo=0.0)

    assert reckless.lambdas == (0.95 / 0.02,) * 3
    assert log_increments(RATE, reckless)[:, 0] == pytest.approx([math.log(0.05)] * 3)


@pytest.mark.parametrize("width", [2, 5])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_window_rule_equals_products_over_every_admissible_start(width, data):
    minutes = data.draw(tables(width))
    values, length = (RATE if width == 2 else BLOCK), len(minutes)
    against = TWO_PERCENT if width == 2 else loss_bets(margin=0.0, effect=0.1, variance=0.3)
    starts = sorted(data.draw(st.sets(st.integers(0, length), max_size=6)))
    ends = data.draw(st.lists(st.integers(0, length), max_size=6))
    window = data.draw(st.integers(1, length + 2))
    least = data.draw(st.integers(1, window))
    needed = np.array(
        data.draw(st.lists(st.floats(-3, 3), min_size=len(starts), max_size=len(starts)))
    )

    found = windowed(
        prefix_of(minutes),
        values,
        against,
        starts=np.array(starts, dtype=np.int64),
        ends=np.array(ends, dtype=np.int64),
        window_min=window,
        min_window_min=least,
        thresholds=needed,
    )

    assert found.log_e.shape == found.start.shape == found.margin.shape == (len(ends),)
    for row, end in enumerate(ends):
        best = by_hand(minutes, values, against, starts, end, window, least, needed)
        if best is None:
            assert (found.log_e[row], found.start[row]) == (-np.inf, NO_START)
            assert not found.fires[row]
        else:
            k = starts.index(found.start[row])
            assert end - window <= found.start[row] <= end - least
            assert found.margin[row] == pytest.approx(best[0], abs=1e-9)
            assert found.log_e[row] - needed[k] == pytest.approx(best[0], abs=1e-9)


def test_catching_up_in_chunks_equals_one_end_at_a_time():
    minutes = np.random.default_rng(7).poisson([40, 1], size=(4_320, 2))
    sums = np.repeat(prefix_of(minutes), 16, axis=1)  # 32 values: more than one chunk

    def at(*ends):
        return windowed(
            sums,
            np.linspace(0, 1, 32),
            TWO_PERCENT,
            starts=np.arange(0, 4_320, 60),
            ends=np.array(ends),
            window_min=1_440,
            min_window_min=60,
            thresholds=math.log(72 / 0.05),
        )

    at_once = at(*range(1, 4_321))

    for end in (30, 60, 1_500, 2_999, 4_320):
        assert at(end).log_e[0] == at_once.log_e[end - 1]
        assert at(end).start[0] == at_once.start[end - 1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([0.0, 0.01, 0.02, 0.2]),
    per_minute=st.sampled_from([0.05, 3.0, 400.0]),
    every=st.integers(5, 90),
    window=st.integers(30, 400),
    least=st.integers(1, 30),
    even=st.booleans(),
)
def test_starts_that_are_left_out_are_never_the_best(
    seed, rate, per_minute, every, window, least, even
):
    """Against every admissible start of every end, each with its own exponentials."""
    random = np.random.default_rng(seed)
    minutes = random.poisson([per_minute * (1 - rate), per_minute * rate], size=(700, 2))
    table = prefix_of(minutes)
    starts, ends = np.arange(0, 700, every), np.sort(random.integers(0, 701, 200))
    needed = np.zeros(len(starts)) if even else random.uniform(0, 5, len(starts))

    def told(**only):
        return windowed(
            table,
            RATE,
            TWO_PERCENT,
            starts=starts,
            ends=ends,
            window_min=window,
            min_window_min=least,
            thresholds=needed,
            **only,
        )

    found, strongest = told(), told(strongest_only=True)

    margins = log_e(np.maximum(table[ends][:, None] - table[starts], 0), RATE, TWO_PERCENT) - needed
    span = ends[:, None] - starts
    margins[(span < least) | (span > window)] = -np.inf
    assert found.margin == pytest.approx(margins.max(axis=1), abs=1e-9)
    served = np.isfinite(found.margin)
    assert np.array_equal(found.start[served], starts[margins.argmax(axis=1)][served])
    assert (found.start[~served] == NO_START).all()
    # Those that fire or are the strongest of all are always told, the others rightly or not at all.
    looked_for = found.fires | (found.margin == found.margin.max())
    there = np.isfinite(strongest.margin)
    assert there[looked_for & served].all()
    for one, same in zip(
        (found.log_e, found.start, found.margin),
        (strongest.log_e, strongest.start, strongest.margin),
        strict=True,
    ):
        assert np.array_equal(one[there], same[there])


def test_names_the_start_with_the_largest_margin_not_the_largest_evidence():
    minutes = np.array([[5, 5], [5, 4]])  # the longer window has more evidence

    found = windowed(
        prefix_of(minutes),
        RATE,
        TWO_PERCENT,
        starts=np.array([0, 1]),
        ends=np.array([2]),
        window_min=2,
        min_window_min=1,
        thresholds=np.array([9.0, 0.5]),
    )

    assert found.start[0] == 1
    assert found.fires[0]


@brief
@given(
    st.floats(1e-4, 0.5), st.integers(1, 200), st.integers(1, 3_000), st.sampled_from([0.25, 0.75])
)
def test_thresholds_spend_alpha_on_plan_and_at_most_alpha_on_overtime(
    alpha, planned, overtime, first
):
    starts = np.arange(1, planned + overtime + 1)

    needed = log_threshold(alpha=alpha, start_number=starts, planned_starts=planned, first=first)
    spent = np.exp(-needed)

    assert math.fsum(spent[:planned]) == pytest.approx(alpha, rel=1e-9)
    # A telescope: sum of H / (k (k + 1)) from H + 1 to K is H / (H + 1) - H / (K + 1).
    left = 1 - first if planned > 1 / first else 1.0
    expected = left * alpha * (planned / (planned + 1) - planned / (planned + overtime + 1))
    assert math.fsum(spent[planned:]) == pytest.approx(expected, rel=1e-9)
    assert math.fsum(spent[planned:]) < left * alpha


@pytest.mark.parametrize("first", [0.25, 0.75])
@pytest.mark.parametrize("planned", [1, 2, 4, 5, 12, 72, 336])
def test_thresholds_never_fall_from_one_start_to_the_next(planned, first):
    needed = log_threshold(
        alpha=0.05, start_number=np.arange(1, 500), planned_starts=planned, first=first
    )

    assert (np.diff(needed) >= -1e-12).all()
    one = log_threshold(alpha=0.05, start_number=73, planned_starts=planned, first=first)
    assert one == needed[72]


def test_the_first_start_has_its_part_of_alpha_and_never_less_than_another():
    def needed(start, planned, first=0.25):
        return log_threshold(alpha=0.05, start_number=start, planned_starts=planned, first=first)

    assert [needed(k, 72) for k in (1, 2, 72)] == pytest.approx(
        [math.log(1 / 0.0125), math.log(71 / 0.0375), math.log(71 / 0.0375)]
    )
    assert [needed(k, 12, 0.75) for k in (1, 2, 12)] == pytest.approx(
        [math.log(1 / 0.0375), math.log(11 / 0.0125), math.log(11 / 0.0125)]
    )
    for planned in range(1, 5):
        assert needed(1, planned) == needed(planned, planned) == math.log(planned / 0.05)
    assert needed(1, 1) == needed(1, 1, 0.75) == pytest.approx(math.log(1 / 0.05))


def test_a_healthy_canary_at_the_limit_is_stopped_at_most_as_often_as_promised():
    random = np.random.default_rng(20)
    starts, ends = np.arange(0, 24), np.arange(1, 25)
    stopped = 0
    for _ in range(400):
        hits = random.binomial(300, 0.02, size=24)
        found = windowed(
            prefix_of(np.column_stack([300 - hits, hits])),
            RATE,
            TWO_PERCENT,
            starts=starts,
            ends=ends,
            window_min=24,
            min_window_min=1,
            thresholds=math.log(24 / 0.2),
        )
        stopped += bool(found.fires.any())

    assert stopped / 400 <= 0.2


GOOD = {
    "starts": np.array([0]),
    "ends": np.array([1]),
    "window_min": 2,
    "min_window_min": 1,
    "thresholds": 3.0,
}


@pytest.mark.parametrize(
    "bad",
    [
        {"starts": np.array([1, 0])},
        {"starts": np.array([0.5])},
        {"ends": np.array([[1]])},
        {"min_window_min": 0},
        {"min_window_min": 3},
        {"thresholds": math.nan},
        {"thresholds": np.array([1.0, 2.0])},
        {"opened": np.array([0, 0])},
        {"opened": np.array([[0, 0, 0]])},
        {"closed": np.array([[math.nan, 1]])},
        {"opened": np.array([[5, 5]])},
    ],
    ids=str,
)
def test_refuses_a_window_that_makes_no_sense(bad):
    given_ = {"opened": np.array([[0, 0]]), "closed": np.array([[2, 2]])} | GOOD | bad
    opened, closed = given_.pop("opened"), given_.pop("closed")

    with pytest.raises(StatisticsError):
        windowed_log_e(opened, closed, RATE, TWO_PERCENT, **given_)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: rate_bets(limit=0.0, alternative=0.03),
        lambda: rate_bets(limit=0.03, alternative=0.03),
        lambda: rate_bets(limit=0.03, alternative=1.2),
        lambda: loss_bets(margin=-1.0, effect=0.1, variance=0.1),
        lambda: loss_bets(margin=0.01, effect=0.0, variance=0.1),
        lambda: gain_bets(margin=0.01, effect=0.1, variance=math.nan),
        lambda: bets(effect=0.1, variance=0.1, m=0.0, lo=0.0),
        lambda: Bets(m=0.1, lambdas=(1.0, math.inf, 1.0)),
        lambda: Bets(m=0.1, lambdas=(1.0, 1.0)),  # type: ignore[arg-type]  # what a careless caller does
        lambda: log_increments(np.array([]), TWO_PERCENT),
        lambda: log_increments(np.array([-1.0, 0.0]), TWO_PERCENT),
        lambda: log_increments(np.array([math.nan]), TWO_PERCENT),
        lambda: log_e(np.array([1, -1]), RATE, TWO_PERCENT),
        lambda: log_e(np.array([1.0, math.nan]), RATE, TWO_PERCENT),
        lambda: log_e(np.array([1, 2, 3]), RATE, TWO_PERCENT),
        lambda: log_e(np.array(3), RATE, TWO_PERCENT),
        lambda: log_e_of([1, -1], RATE, TWO_PERCENT),
        lambda: log_e_of([1, 2, 3], RATE, TWO_PERCENT),
        lambda: log_e_of([], RATE, TWO_PERCENT),
        lambda: log_threshold(alpha=0.0, start_number=1, planned_starts=1, first=0.5),
        lambda: log_threshold(alpha=0.05, start_number=0, planned_starts=1, first=0.5),
        lambda: log_threshold(alpha=0.05, start_number=1, planned_starts=0, first=0.5),
        lambda: log_threshold(alpha=0.05, start_number=1, planned_starts=1, first=1.0),
    ],
)
def test_refuses_what_has_no_e_value(attempt):
    with pytest.raises(StatisticsError):
        attempt()


def test_what_is_wrong_with_a_threshold_is_told_by_its_name():
    with pytest.raises(StatisticsError, match=r"^first is 1\.0"):
        log_threshold(alpha=0.05, start_number=1, planned_starts=1, first=1.0)
