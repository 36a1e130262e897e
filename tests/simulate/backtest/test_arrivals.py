from __future__ import annotations

import numpy as np
import pytest

from controller.errors import DataError
from controller.simulate.backtest.arrivals import DAY_S, Poisson, Trace, parse_trace, read_trace
from tests.simulate.factories import SHARED, needs_shared


def trace(*seconds: float, units_per_day: float) -> Trace:
    text = "workload,t_s\n" + "".join(f"conv,{t}\n" for t in seconds)
    return parse_trace(text, file="t.csv", units_per_day=units_per_day, workload="conv")


def test_a_trace_is_stretched_to_the_mean_rate_and_repeated():
    # Three arrivals at 0, 1 and 3 s: mean gap 1.5 s, so a pass of 4.5 s becomes half a day at six a day.
    pattern = trace(10, 11, 13, units_per_day=6)

    assert pattern.pass_s == pytest.approx(DAY_S / 2)
    assert pattern.day(0) / DAY_S == pytest.approx(
        [0, 1 / 9, 3 / 9, 1 / 2, 1 / 2 + 1 / 9, 1 / 2 + 3 / 9]
    )
    assert pattern.day(1) == pytest.approx(pattern.day(0) + DAY_S)


def test_a_pass_that_is_longer_than_a_day_goes_on_the_next_day():
    pattern = trace(0, 1, 2, 3, units_per_day=1.6)  # a pass of 2.5 days

    days = [len(pattern.day(number)) for number in range(5)]

    assert sum(days) == 8  # two passes of four
    assert all(np.all(pattern.day(n) // DAY_S == n) for n in range(5))


@pytest.mark.parametrize(
    "pattern", [Poisson(units_per_day=5_000, seed=7), trace(0, 1, 5, units_per_day=5_000)]
)
def test_arrivals_rise_within_their_day_and_keep_the_mean_rate(pattern):
    days = [pattern.day(number) for number in range(10)]

    assert all(np.all(np.diff(day) >= 0) for day in days)
    assert all(np.all(day // DAY_S == number) for number, day in enumerate(days))
    # Poisson: 50,000 arrivals with a standard deviation of 224.
    assert sum(map(len, days)) == pytest.approx(50_000, abs=5 * 224)


def test_poisson_days_are_the_same_for_the_same_seed_and_only_then():
    one, same, other = (Poisson(units_per_day=100, seed=seed).day(3) for seed in (1, 1, 2))

    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_an_unknown_workload_is_named_beside_the_known():
    with pytest.raises(DataError) as caught:
        parse_trace("workload,t_s\nconv,1\ncode,2\n", file="t.csv", units_per_day=1, workload="cnv")

    assert str(caught.value) == (
        "t.csv: no workload 'cnv' (did you mean `conv`?). Rows per workload: conv (1), code (1)."
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("conv,one\n", r"t\.csv:2: t_s is 'one'; wanted seconds, not negative"),
        ("conv,\nconv,2\n", r"t\.csv:2: t_s is empty"),
        ("conv,5\nconv,5\n", "no two different arrival times"),
    ],
)
def test_a_trace_without_usable_times_is_refused(rows: str, message: str):
    with pytest.raises(DataError, match=message):
        parse_trace("workload,t_s\n" + rows, file="t.csv", units_per_day=1, workload="conv")


@needs_shared
def test_the_shared_trace_keeps_its_bursts():
    pattern = read_trace(SHARED / "azure_llm_trace_2023.csv.gz", units_per_day=5_000)

    hours = np.bincount((np.concatenate([pattern.day(n) for n in range(4)]) // 3_600).astype(int))

    assert len(pattern.offsets) == 19_366  # the data's README, conv
    # Independent arrivals would have a variance of the mean.
    assert hours.var() > 3 * hours.mean()
