"""What the confident rule makes of real answers at real arrivals: it clears what is alike and catches what is worse.

gpt-4.1 to gpt-4.1-mini on `ikp`, arrivals of the Azure conversation trace, 5,000 units a day: universal facts (T1) are
0.5 points worse, facts of the middle (T3) 5.5, facts of the long tail (T5) 28 (`docs/recorded-results.md`).
"""

from __future__ import annotations

import os
from functools import cache

import pytest

from controller.cli.backtest_runs import run
from controller.simulate.backtest.arrivals import read_trace
from controller.simulate.backtest.policies import Run, runs_of
from controller.simulate.backtest.results import pair_up, read_results
from controller.simulate.backtest.run import Setup, with_critical
from controller.simulate.endings import Ending
from controller.simulate.processes import in_processes
from tests.simulate.factories import SHARED, needs_shared, shipped_plan

pytestmark = needs_shared
T3_MEDIAN_H = (34.5, 38.0)
"""95% interval of the median over 100 seeds, as documented."""


@cache
def on(critical: str) -> Setup:
    results = read_results(SHARED / "ikp.csv.gz")
    return Setup(
        plan=with_critical(shipped_plan("quality-only.yaml"), [critical]),
        recording=pair_up(results, baseline="gpt-4.1", candidate="gpt-4.1-mini"),
        arrivals=read_trace(SHARED / "azure_llm_trace_2023.csv.gz", units_per_day=5_000),
        seed=1,
    )


def many(critical: str, seeds: range) -> list[Run]:
    setups = [(on(critical).with_seed(seed),) for seed in seeds]
    return list(in_processes(run, setups, os.cpu_count() or 1))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_loss_on_the_long_tail_is_caught_within_two_days(seed: int):
    found = run(on("fact_T5").with_seed(seed))

    assert found.ending is Ending.PAUSED
    assert found.stopped_by == ("accuracy on fact_T5",)
    assert found.until_stop_h < 48


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_loss_in_the_middle_is_caught_in_the_documented_time():
    found = runs_of(many("fact_T3", range(1, 21)))

    assert found.stopped_by == {"accuracy on fact_T3": 20}
    assert found.until_stop.interval is not None
    lower, upper = found.until_stop.interval
    assert lower <= T3_MEDIAN_H[1]
    assert upper >= T3_MEDIAN_H[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_alike_is_cleared():
    found = many("fact_T1", range(1, 3))

    assert [one.ending for one in found] == [Ending.COMPLETED] * 2
    assert {one.path[-1][1] for one in found} == {9_900}
