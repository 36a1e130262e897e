"""What a record says can be recomputed from the exported draws, by a script that knows nothing of the product."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from controller.clock import ManualClock
from controller.errors import DataError
from controller.rollout.decision import Action
from controller.rollout.plan import Evidence, Scope
from controller.rollout.record import Record
from controller.rollout.verdict import LossCounts
from controller.simulate.backtest.arrivals import Poisson
from controller.simulate.backtest.export import HEADER, draws_file
from controller.simulate.backtest.results import pair_up, read_results
from controller.simulate.backtest.run import START, Finished, Setup, World, backtest, with_critical
from controller.simulate.endings import Ending
from controller.wiring import memory_store, memory_target
from tests.simulate.factories import (
    SHARED,
    graded,
    needs_shared,
    plan,
    recording,
    rule,
    shipped_plan,
)


def recounted(path: Path, intent: str, start: str, end: str, known_at: str):
    """Graded draws and right ones, by split version and arm: plain csv and arithmetic, nothing of the product."""
    n, right = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for draw in csv.DictReader(file):
            in_window = draw["intent"] == intent and start <= draw["minute"] < end
            if in_window and draw["correct"] and draw["labelled_at"] <= known_at:
                n[int(draw["version"]), draw["arm"]] += 1
                right[int(draw["version"]), draw["arm"]] += int(draw["correct"])
    return n, right


def loss(n: Counter, right: Counter) -> float:
    """Baseline minus candidate accuracy, each split weighted by its size: Σ (N_k/N)(p_baseline,k − p_candidate,k)."""
    both = [v for v in {version for version, _ in n} if n[v, "baseline"] and n[v, "candidate"]]
    size = {v: n[v, "baseline"] + n[v, "candidate"] for v in both}
    return sum(
        size[v]
        / sum(size.values())
        * (right[v, "baseline"] / n[v, "baseline"] - right[v, "candidate"] / n[v, "candidate"])
        for v in both
    )


def run(setup: Setup, path: Path) -> Finished:
    clock = ManualClock(START)
    world = World(store=memory_store(), target=memory_target(clock), clock=clock)
    with draws_file(path) as sink:
        return backtest(setup, world, sink=sink)


def assert_record_can_be_recomputed(record: Record, path: Path, intent: str) -> None:
    reading = record.verdicts[0].reading
    look = reading.latest
    assert look is not None
    assert isinstance(look.counts, LossCounts)
    window = look.window
    n, right = recounted(
        path, intent, window.start.isoformat(), window.end.isoformat(), record.at.isoformat()
    )
    strata = {one.version: one for one in look.counts.strata}
    assert {v: (n[v, "baseline"], n[v, "candidate"]) for v in strata} == {
        v: (one.baseline_n, one.candidate_n) for v, one in strata.items()
    }
    assert {v: (right[v, "baseline"], right[v, "candidate"]) for v in strata} == {
        v: (one.baseline_correct_u // 10**6, one.candidate_correct_u // 10**6)
        for v, one in strata.items()
    }
    assert set(strata) == {version for version, _ in n}
    assert look.value == pytest.approx(loss(n, right), abs=1e-12)


def small(tmp_path: Path, *, seed: int = 1) -> Setup:
    accuracy = rule(
        "accuracy_delta",
        limit=0.015,
        scope=Scope.CRITICAL,
        evidence=Evidence.CONFIDENT,
        min_samples=10,
    )
    return Setup(
        plan=plan(accuracy),
        recording=recording(*graded([1] * 9 + [0], [0] * 8 + [1] * 2)),
        arrivals=Poisson(units_per_day=2_400, seed=seed),
        seed=seed,
        max_days=2,
    )


def test_the_pause_records_counts_accuracies_and_delta_follow_from_the_exported_draws(tmp_path):
    path = tmp_path / "draws.csv.gz"

    finished = run(small(tmp_path), path)

    assert finished.records[-1].value.action is Action.PAUSE
    assert_record_can_be_recomputed(finished.records[-1].value, path, "refund")


def test_the_file_has_a_line_for_every_draw(tmp_path):
    path = tmp_path / "draws.csv"

    finished = run(small(tmp_path), path)

    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER
    assert [int(row["draw"]) for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) == sum(tally.requests for tally in finished.tallies.values())


def test_the_same_backtest_writes_the_same_bytes(tmp_path):
    one, same = tmp_path / "one.csv.gz", tmp_path / "same.csv.gz"

    run(small(tmp_path), one)
    run(small(tmp_path), same)

    assert one.read_bytes() == same.read_bytes()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with (
        pytest.raises(DataError, match="cannot be written"),
        draws_file(tmp_path / "no" / "such.csv"),
    ):
        pass


def on_ikp(critical: str) -> Setup:
    quality = with_critical(shipped_plan("quality-only.yaml"), [critical])
    results = read_results(SHARED / "ikp.csv.gz")
    return Setup(
        plan=quality,
        recording=pair_up(results, baseline="gpt-4.1", candidate="gpt-4.1-mini"),
        arrivals=Poisson(units_per_day=5_000, seed=1),
        seed=1,
    )


@needs_shared
def test_with_long_tail_facts_critical_it_pauses_on_counts_that_anybody_can_recompute(tmp_path):
    path = tmp_path / "draws.csv.gz"

    finished = run(on_ikp("fact_T5"), path)

    assert finished.ending is Ending.PAUSED
    assert_record_can_be_recomputed(finished.records[-1].value, path, "fact_T5")


@needs_shared
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_universal_facts_critical_no_rule_stops_the_rollout(tmp_path):
    finished = run(on_ikp("fact_T1"), tmp_path / "draws.csv.gz")

    assert finished.ending is Ending.COMPLETED
    assert not {Action.PAUSE, Action.ROLLBACK} & {one.value.action for one in finished.records}
