from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from controller.cli.context import Context
from controller.cli.main import run
from tests.simulate.factories import ROOT, SHARED, csv_of, graded, needs_shared
from tests.simulate.test_paired_report import readme_tables

PLAN = """\
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {name: small}
spec:
  baseline: {model: gpt-4.1}
  candidate: {model: gpt-4.1-mini}
  assignment: {unit: request}
  intents: [{name: refund, critical: true}]
  labels: {delay: 1h, horizon: 7d}
  traffic: {gateway: {}}
  steps: [{share: 50%, hold: 2h}]
  rules:
    - {name: accuracy, metric: accuracy_delta, intents: critical, above: 1.5pp, window: 24h,
       evidence: confident, then: pause}
"""
ALIKE = graded([1] * 9 + [0], [1] * 9 + [0])
WORSE = graded([1] * 10, [0] * 10)


class Terminal:
    """One invocation's streams."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.out, self.err = io.StringIO(), io.StringIO()

    def backtest(self, *options: str, rows=ALIKE, plan: str = PLAN, columns: str = "") -> int:
        (self.directory / "plan.yaml").write_text(plan, encoding="utf-8")
        text = csv_of(*rows).replace(",old,", ",gpt-4.1,").replace(",new,", ",gpt-4.1-mini,")
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
    ],
)
def test_input_that_cannot_be_used_exits_with_2_and_says_why(terminal, options, message):
    assert terminal.backtest(*options) == 2

    assert message in terminal.err.getvalue()
    assert "Decisions" not in terminal.printed
