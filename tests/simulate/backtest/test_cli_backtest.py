from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from controller.cli.context import Context
from controller.cli.main import run
from tests.cli.plan_text import plan_text
from tests.simulate.backtest.test_paired_report import readme_tables
from tests.simulate.factories import (
    BY_BOTH,
    HEADER,
    ROOT,
    SHARED,
    csv_of,
    graded,
    graded_by_both,
    needs_shared,
)

PLAN = plan_text(
    unit="request",
    intents="[{name: refund, critical: true}]",
    steps=("share: 50%, hold: 2h",),
    rules=(
        "name: accuracy, metric: accuracy_delta, intents: critical, above: 1.5pp, window: 24h, evidence: confident, "
        "then: pause",
    ),
)
ALIKE = graded([1] * 9 + [0], [1] * 9 + [0])
WORSE = graded([1] * 10, [0] * 10)
SOME_WORSE = graded([1] * 10, [1, 0] * 5)


class Terminal:
    """One invocation's streams."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.out, self.err = io.StringIO(), io.StringIO()

    def backtest(
        self,
        *options: str,
        rows=ALIKE,
        plan: str = PLAN,
        columns: str = "",
        header: str = HEADER,
    ) -> int:
        (self.directory / "plan.yaml").write_text(plan, encoding="utf-8")
        text = (
            csv_of(*rows, header=header)
            .replace(",old,", ",gpt-4.1,")
            .replace(",new,", ",gpt-4.1-mini,")
        )
        (self.directory / "r.csv").write_text(text, encoding="utf-8")
        files = ("--plan", f"{self.directory}/plan.yaml", "--data", f"{self.directory}/r.csv")
        context = Context(environ={"COLUMNS": columns}, stdout=self.out, stderr=self.err)
        return run(["backtest", *files, "--units-per-day", "2400", *options], context)

    @property
    def printed(self) -> str:
        return self.out.getvalue()


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_a_rollout_that_completes_exits_with_0_and_prints_every_section(terminal: Terminal):
    assert terminal.backtest() == 0

    for part in (
        "Backtest",
        "Decisions",
        "0% → 50%",
        "The recording itself, by pairs",
        "COMPLETED",
    ):
        assert part in terminal.printed
    assert terminal.err.getvalue() == ""


def test_a_pause_exits_with_3_and_prints_its_arithmetic(terminal: Terminal):
    assert terminal.backtest(rows=WORSE) == 3

    line = next(line for line in terminal.printed.splitlines() if "accuracy_delta 100 pp" in line)
    assert "above 1.5 pp" in line  # piped: the whole arithmetic on one line
    assert "candidate 0% of" in line
    assert "PAUSED at 50%" in terminal.printed


def test_eighty_columns_are_kept_and_nothing_is_cut_off(terminal: Terminal):
    terminal.backtest(rows=WORSE, columns="80")

    narrow = terminal.printed
    assert (
        max(len(line) for line in narrow.splitlines() if str(terminal.directory) not in line) <= 80
    )
    assert "…" not in narrow
    assert "candidate 0% of" in " ".join(narrow.split())


def test_json_holds_decisions_pairs_and_the_ending_and_nothing_else_is_printed(terminal: Terminal):
    assert terminal.backtest("-o", "json", rows=WORSE) == 3

    document = json.loads(terminal.printed)
    assert document["kind"] == "Backtest"
    assert [one["action"] for one in document["decisions"]] == ["start", "advance", "pause"]
    assert document["paired"]["lines"][0]["table"]["only_baseline"] == 10
    assert (document["ending"], document["seed"], document["share_bp"]) == ("paused", 1, 5_000)


def test_a_database_keeps_the_records_for_history_and_replay(terminal: Terminal, tmp_path: Path):
    url = f"sqlite:///{tmp_path}/kept.db"
    assert terminal.backtest("--database", url, rows=WORSE) == 3

    out = io.StringIO()
    later = Context(environ={"CANARY_DATABASE_URL": url}, stdout=out, stderr=io.StringIO())
    assert run(["replay", "small"], later) == 0
    assert "3 records replayed, every decision the same" in out.getvalue()


def test_exports_every_draw(terminal: Terminal, tmp_path: Path):
    terminal.backtest("--export-draws", f"{tmp_path}/draws.csv", "-o", "json")

    units = sum(arm["requests"] for arm in json.loads(terminal.printed)["arms"].values())
    with (tmp_path / "draws.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == units


def test_a_rule_that_the_data_cannot_feed_is_told_before_anything_is_decided(terminal: Terminal):
    latency = PLAN + "    - {name: slow, metric: latency_p95, above: 3s, window: 1h, then: pause}\n"

    assert terminal.backtest(plan=latency) == 3

    printed = terminal.printed
    assert printed.index("rule slow (latency_p95) is UNMEASURED") < printed.index("Decisions")
    assert "latency_p95 not measured" in printed


# Several plans, several seeds

LOOSE = PLAN.replace("above: 1.5pp", "above: 90pp").replace("name: small", "name: loose")


def two_plans(terminal: Terminal, text: str = LOOSE) -> tuple[str, ...]:
    (terminal.directory / "other.yaml").write_text(text, encoding="utf-8")
    return ("--plan", f"{terminal.directory}/other.yaml")


def test_two_plans_are_told_side_by_side_with_what_differs(terminal: Terminal):
    lenient = LOOSE.replace("then: pause", "then: rollback")

    assert terminal.backtest(*two_plans(terminal, lenient), rows=SOME_WORSE) == 3

    printed = terminal.printed
    assert printed.count("The recording itself, by pairs") == 1
    assert "Backtest of 2 plans" in printed
    assert "small and loose decide alike until" in printed
    assert "small pauses at 50% (accuracy on refund), loose goes on" in printed
    assert "accuracy on refund: accuracy_delta" in printed
    endings = [line.split()[:4] for line in printed.splitlines() if " at 50%  " in line]
    assert endings == [["small", "PAUSED", "at", "50%"], ["loose", "COMPLETED", "at", "50%"]]


def test_two_plans_in_json_are_a_list_of_what_each_gives_alone(terminal: Terminal):
    assert terminal.backtest(*two_plans(terminal), "-o", "json", rows=WORSE) == 3
    together = json.loads(terminal.printed)

    alone = Terminal(terminal.directory)
    alone.backtest("-o", "json", rows=WORSE)

    assert together["kind"] == "BacktestList"
    assert [one["plan"] for one in together["items"]] == ["small", "loose"]
    assert len(together["differences"]) == 1
    first = json.loads(alone.printed)
    assert {name: together["items"][0][name] for name in first} == first


def test_plans_of_one_name_are_told_apart_by_their_files(terminal: Terminal):
    other = two_plans(terminal, PLAN)

    assert terminal.backtest(*other, "-o", "name") == 0

    assert terminal.printed.split() == ["plan", "other"]


def test_many_seeds_give_shares_and_times_with_intervals_on_any_number_of_processes(terminal):
    options = (*two_plans(terminal), "--repeat", "7", "-o", "json")
    assert terminal.backtest(*options, "--processes", "1", rows=WORSE) == 3
    beside = Terminal(terminal.directory)
    assert beside.backtest(*options, "--processes", "2", rows=WORSE) == 3

    document = json.loads(terminal.printed)
    assert document == json.loads(beside.printed)
    assert document["seeds"] == [1, 2, 3, 4, 5, 6, 7]
    strict, loose = document["plans"]
    assert strict["endings"]["paused"]["runs"] == 7
    assert strict["stopped_by"] == {"accuracy on refund": 7}
    until = strict["until_stop_s"]
    took = sorted(run["took_s"] for run in strict["runs"])
    assert (until["lower"], until["median"], until["upper"]) == (took[0], took[3], took[6])
    assert strict["until_completion_s"]["median"] is None
    pairs = document["seed_by_seed"][0]
    assert pairs["sooner"] + pairs["alike"] + pairs["later"] == 7
    assert loose["plan"] == "loose"


def test_many_seeds_are_told_in_words(terminal: Terminal):
    assert terminal.backtest("--repeat", "6", "--processes", "1", rows=WORSE) == 3

    printed = terminal.printed
    assert "Backtest on 6 seeds" in printed
    assert "100% (61..100)" in printed  # Wilson: 6 of 6
    assert "small was stopped by accuracy on refund: 6." in printed


def test_every_run_must_complete_for_a_zero(terminal: Terminal):
    assert terminal.backtest("--repeat", "2", "--processes", "1") == 0


@pytest.mark.parametrize("option", ["--database", "--export-draws"])
def test_what_one_run_leaves_behind_is_refused_for_several(terminal: Terminal, option: str):
    assert terminal.backtest("--repeat", "2", option, "x.db") == 2

    assert f"{option}: found 2 runs (plans × seeds)" in terminal.err.getvalue()


# Items that were run several times

REPEATED = graded([1] * 60, [0] * 60, trials=10)


def test_items_that_were_run_several_times_are_asked_once_and_are_one_pair_each(terminal):
    slow = PLAN.replace("hold: 2h", "hold: 48h")

    assert terminal.backtest("--units-per-day", "60", rows=REPEATED, plan=slow) == 3

    printed = terminal.printed
    assert "each asked once" in printed
    assert "What counts is p item" in printed
    assert "6 units" in printed
    assert "NOT FINISHED at 50%" in printed
    # Six pairs of 1, bets at 0.15, 0.3 and 0.6: (1.15⁶ + 1.3⁶ + 1.6⁶) / 3 = 7.9; sixty would be 6 × 10¹¹.
    assert 'e-value 7.9 < 53.3 against "no loss"' in printed


def test_they_are_drawn_again_and_again_where_that_is_asked_for_and_it_says_what_that_means(
    terminal,
):
    assert terminal.backtest("--again", rows=REPEATED) == 3

    assert "Note: 6 of 6 items were run several times" in terminal.printed
    assert "PAUSED at 50%" in terminal.printed


@needs_shared
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_runs_of_an_agents_tasks_are_no_independent_evidence_and_the_rule_does_not_fire(seed: str):
    """mcpmark, filesystem: 11 of 120 runs are lost (p = 0.001), in five of thirty tasks (p = 0.065)."""
    out = io.StringIO()

    code = run(
        [
            *("backtest", "--plan", f"{ROOT}/rollout_plans/agent-tasks.yaml", "--seed", seed),
            *("--data", f"{SHARED}/mcpmark.csv.gz", "-o", "json"),
            *("--arrivals", f"{SHARED}/azure_llm_trace_2023.csv.gz"),
        ],
        Context(environ={}, stdout=out, stderr=io.StringIO()),
    )

    document = json.loads(out.getvalue())
    line = next(one for one in document["paired"]["lines"] if one["intent"] == "filesystem")
    assert (line["p"] < 0.0011, line["p_item"] > 0.05) == (True, True)
    assert (code, document["ending"]) == (3, "not finished")
    assert {one["action"] for one in document["decisions"]} == {"start", "advance"}
    assert document["verdicts"][0]["outcome"] == "insufficient"


@needs_shared
@pytest.mark.parametrize("source", ["ikp", "mcpmark", "epoch", "benchpress"])
def test_the_paired_table_is_printed_as_in_the_readme_of_the_recording(source: str):
    """Also for a plan that knows none of the recording's intents: that is refused after the table."""
    out, err = io.StringIO(), io.StringIO()
    files = (
        "--plan",
        f"{ROOT}/rollout_plans/quality-only.yaml",
        "--data",
        f"{SHARED}/{source}.csv.gz",
    )

    code = run(["backtest", *files, "--max-days", "1"], Context(environ={}, stdout=out, stderr=err))

    wanted = [
        list(filter(None, cells))
        for baseline, candidate, (of, *cells) in readme_tables()
        if (baseline, candidate, of) == ("gpt-4.1", "gpt-4.1-mini", source)
    ]
    printed = [line.split() for line in out.getvalue().splitlines()]
    for row in wanted:
        found = next(cells for cells in printed if cells[:2] == row[:2])
        assert without_p_item(found, source) == without_p_item(row, source)
    assert code == (3 if source == "ikp" else 2)
    assert ("none of its intents" in err.getvalue()) == (source != "ikp")


def without_p_item(cells: list[str], source: str) -> list[str]:
    """p_item is drawn: `test_paired_report` compares it within its error."""
    return cells[:8] + cells[9:] if source in ("mcpmark", "epoch") else cells


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--critical", "refnd"), "--critical refnd: the plan has no such intent; it has refund."),
        (("--approve-after", "soon"), "--approve-after: "),
        (("--on-pause", "wait"), "--on-pause: 'wait' is neither stop nor resume."),
        (("--arrivals", "nowhere.csv"), "nowhere.csv: no such file"),
        (("--workload", "code"), "--workload code: wanted --arrivals FILE beside it"),
    ],
)
def test_input_that_cannot_be_used_exits_with_2_and_says_why(terminal, options, message):
    assert terminal.backtest(*options) == 2

    assert message in terminal.err.getvalue()
    assert "Decisions" not in terminal.printed


JUDGED = PLAN.replace(
    "horizon: 7d}",
    "horizon: 7d, judge: {sensitivity: 95%, specificity: 90%}, people: {share: 50%}}",
)


def test_a_recording_with_one_grade_is_refused_where_people_grade_too(terminal: Terminal):
    assert terminal.backtest(plan=JUDGED) == 2

    said = " ".join(terminal.err.getvalue().split())
    assert "people grade beside a judge in small (labels.people), and no pair has their" in said
    assert "Traceback" not in said


def test_both_grades_are_told_apart(terminal: Terminal):
    rows = graded_by_both([(1, 1)] * 9 + [(0, 0)], [(1, 1)] * 7 + [(1, 0)] * 3)
    told, document = (
        terminal.backtest(*form, rows=rows, header=BY_BOTH, plan=JUDGED, columns="200")
        for form in ((), ("-o", "json"))
    )

    assert told == document
    text, _, rest = terminal.printed.partition('{\n  "apiVersion"')
    assert "The recording itself, by pairs, by the judge's grades" in text
    assert "The recording itself, by pairs, by people's grades" in text
    assert "on the candidate 100% and 0% (stated: 95% and 90%)" in " ".join(text.split())
    found = json.loads('{\n  "apiVersion"' + rest)
    (by_judge,), (by_people,) = (found[name]["lines"] for name in ("paired", "paired_by_people"))
    assert (by_judge["delta"], by_people["delta"]) == (pytest.approx(0.1), pytest.approx(-0.2))
