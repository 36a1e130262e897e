from __future__ import annotations

from functools import cache

import pytest

from controller.cli.backtested import points
from controller.errors import DataError
from controller.simulate.backtest.paired_report import ALL, PairedLine, paired_report
from controller.simulate.backtest.results import pair_up, read_results
from tests.simulate.factories import SHARED, graded, needs_shared, recording

FILES = ("mcpmark", "ikp", "ikp_evidence", "epoch", "benchpress")
COMPARISONS = (
    ("gpt-4.1", "gpt-4.1-mini"),
    ("gpt-4o-mini", "gpt-4.1-mini"),
    ("gpt-4.1", "gpt-4.1-nano"),
)
# Both p_item are estimates from 20,000 draws, each with a standard error of at most 0.0036.
P_ITEM_TOLERANCE = 0.015


def readme_tables() -> list[tuple[str, str, tuple[str, ...]]]:
    """(baseline, candidate, cells) of every row under "Paired comparison" in the data's own README."""
    rows, models = [], ("", "")
    for line in (SHARED / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("### ") and " → " in line:
            baseline, candidate = line.removeprefix("### ").split(" → ")
            models = (baseline, candidate)
        elif line.startswith("| ") and models[0] and not line.startswith("| source"):
            rows.append((*models, tuple(cell.strip() for cell in line.strip("|").split("|"))))
    return rows


@cache
def report_of(source: str, baseline: str, candidate: str) -> dict[str, PairedLine]:
    results = read_results(SHARED / f"{source}.csv.gz")
    report = paired_report(pair_up(results, baseline=baseline, candidate=candidate))
    return {line.intent: line for line in report.lines}


@needs_shared
@pytest.mark.parametrize(("baseline", "candidate"), COMPARISONS)
def test_the_tables_of_the_shared_recordings_are_those_of_their_readme(baseline, candidate):
    rows = [cells for *models, cells in readme_tables() if models == [baseline, candidate]]

    assert rows
    for source, intent, *cells in rows:
        line = report_of(source, baseline, candidate)[intent]
        assert shown(line) == cells[:5] + cells[5:7] + cells[8:], (source, intent)
        assert_same_p_item(line.p_item, cells[7])


def shown(line: PairedLine) -> list[str]:
    """A line as the README writes it, without p_item."""
    table = line.table
    counts = (table.pairs, table.both, table.only_baseline, table.only_candidate, table.neither)
    ratios = (line.cost_ratio, line.latency_p50_ratio, line.latency_p95_ratio)
    return [
        *(str(count) for count in counts),
        f"{100 * line.delta:+.1f}",
        "<0.0001" if line.p < 0.0001 else f"{line.p:.4f}",
        *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
    ]


def assert_same_p_item(found: float | None, cell: str) -> None:
    if not cell:
        assert found is None
        return
    assert found is not None
    wanted = 0.0 if cell == "<0.0001" else float(cell)
    assert found == pytest.approx(wanted, abs=P_ITEM_TOLERANCE)


def test_delta_is_the_candidate_minus_the_baseline():
    line = paired_report(recording(*graded([1, 1, 1, 0], [1, 0, 0, 0]))).lines[0]

    assert line.delta == pytest.approx(-0.5)
    assert (line.table.only_baseline, line.table.only_candidate) == (2, 0)
    assert line.interval[0] < -0.5 < line.interval[1]


def test_the_total_follows_the_intents_and_is_left_out_where_there_is_only_one():
    one = recording(*graded([1], [1], intent="a"))
    two = recording(*graded([1], [1], intent="a"), *graded([1], [0], intent="b"))

    assert [line.intent for line in paired_report(one).lines] == ["a"]
    assert [line.intent for line in paired_report(two).lines] == ["a", "b", ALL]


def test_an_item_run_four_times_speaks_once_by_p_item():
    repeated = recording(*graded([1] * 8, [0] * 8, trials=4))

    line = paired_report(repeated).lines[0]

    assert line.p == pytest.approx(2 * 0.5**8)  # eight pairs, as if independent
    assert line.p_item == pytest.approx(
        0.5, abs=0.02
    )  # two items: both signs alike in 2 of 4 flips


def test_pairs_without_both_grades_are_left_out_and_counted():
    rows = ("s,a,i,1,old,1", "s,a,i,1,new,", "s,a,j,1,old,1", "s,a,j,1,new,0")

    report = paired_report(recording(*rows))

    assert report.ungraded == 1
    assert report.lines[0].table.pairs == 1


def test_a_recording_without_any_grade_has_no_table():
    with pytest.raises(DataError, match="no pair has a grade"):
        paired_report(recording("s,a,i,1,old,", "s,a,i,1,new,"))


def test_ratios_are_over_the_pairs_where_both_sides_are_known():
    header = "source,intent,item_id,trial,model,correct,cost_usd,latency_s"
    rows = ("s,a,i,1,old,1,0.4,2", "s,a,i,1,new,1,0.1,1", "s,a,j,1,old,1,99,", "s,a,j,1,new,1,,9")

    line = paired_report(recording(*rows, header=header)).lines[0]

    assert line.cost_ratio == pytest.approx(0.25)
    assert line.latency_p50_ratio == pytest.approx(0.5)


def test_nothing_known_has_no_ratio():
    line = paired_report(recording(*graded([1], [1]))).lines[0]

    assert (line.cost_ratio, line.latency_p50_ratio, line.latency_p95_ratio) == (None, None, None)


@pytest.mark.parametrize(
    ("fraction", "told"),
    [(0.0312, "+3.1"), (-0.0312, "-3.1"), (0.0, "+0.0"), (-0.0004, "+0.0"), (-0.0005001, "-0.1")],
)
def test_a_difference_has_a_sign_and_nothing_is_not_below_nothing(fraction, told):
    assert points(fraction) == told
