"""Runs the benchmarks and writes docs/benchmarks.md with what they told: one command, the whole page.

    python -m benchmarks.write [NAME ...] [--none]

With names only those are run; what the others told the last time is kept in docs/benchmarks.json. `--none` runs nothing
and writes the page anew. A benchmark that fails keeps its last result, and this command ends with its exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controller.clock import SystemClock

FOLDER: Final = Path(__file__).resolve().parent.parent
KEPT: Final = FOLDER / "docs" / "benchmarks.json"
PAGE: Final = FOLDER / "docs" / "benchmarks.md"
MOST_LOAD: Final = 0.3  # of all cores, before a benchmark begins: above it other work is under way

HEADING: Final = """\
# Benchmarks

`python -m benchmarks.write` runs them and writes this page; `python -m benchmarks.NAME` runs one. Where it can each
measures against a peer or a smaller case in the same run, because only ratios travel between machines; the other
figures are of one run on the machine that is named beside them. No test looks at the time: what the design counts on
(that a tick asks the database the same however much there is, say) is held by tests that count.
"""

Told = Any


@dataclass(frozen=True, slots=True)
class Section:
    """A benchmark and its part of the page. `told` is what it printed with --json."""

    title: str
    intro: str
    body: Callable[[Told], list[str]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def skipped(row: Mapping[str, Any]) -> bool:
    return "skipped" in row


def left_out(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each database that was not there."""
    return [f"\n{row['database']} was left out: {row['skipped']}" for row in rows if skipped(row)]


def tick(told: Told) -> list[str]:
    rows = [row for row in told["measured"] if not skipped(row)]
    lines = table(
        (
            "database",
            "requests in the window",
            "plans",
            "tick",
            "of it the note",
            "CPU",
            "CPU, ratio",
            "memory a plan",
        ),
        [
            (
                row["database"],
                f"{row['requests']:,}",
                f"{row['plans']:,}",
                f"{row['tick_ms']:.1f} ms",
                f"{row['note_ms']:.1f} ms",
                f"{row['cpu_ms']:.1f} ms",
                f"× {row['ratio']:.2f}",
                f"{row['kept_kib']:.0f} KiB",
            )
            for row in rows
        ],
    )
    return [*lines, f"\nBudget: {told['budget_ms']:.0f} ms.", *left_out(told["measured"])]


def _judged_within(row: Mapping[str, Any]) -> str:
    within, seconds = row["each_judged_within_s"], row["seconds"]
    return f"{within:.1f} s" if within <= seconds else f"not all in {seconds:.0f} s"


SCALE: Final[Sequence[tuple[str, Callable[[Mapping[str, Any]], str]]]] = (
    ("plans, requests", lambda row: f"{row['plans']:,}, {row['requests_per_s']:.0f} a second"),
    ("a start: until each was judged", lambda row: f"{row['caught_up_s']:.1f} s"),
    ("steady: each was judged within", _judged_within),
    ("worst gap between two judgements of one plan", lambda row: f"{row['worst_gap_s']:.1f} s"),
    (
        "judgements",
        lambda row: (
            f"{row['ticks_per_s']:.0f} a second, each {row['cpu_ms_per_judgement']:.1f} ms of CPU, all else included"
        ),
    ),
    ("of its core", lambda row: f"{row['core']:.0%}"),
    (
        "memory",
        lambda row: f"{row['rss_mib']:.0f} MiB, {row['kib_per_plan']:.0f} KiB a plan",
    ),
    (
        "accepted → candidate off, p50 and slowest of 20",
        lambda row: f"{row['rollback_p50_s']:.2f} s, {row['rollback_max_s']:.2f} s",
    ),
)


def scale(told: Told) -> list[str]:
    rows = [row for row in told["measured"] if not skipped(row)]
    lines = table(
        ("", *(row["database"] for row in rows)),
        [(what, *(shown(row) for row in rows)) for what, shown in SCALE],
    )
    budget = told["budget"]
    words = (
        f"\nBudget: each plan judged in {budget['judged_s']:.0f} s on one core, {budget['rss_mib']:,.0f} MiB, "
        f"a rollback in {budget['rollback_s']:.0f} s."
    )
    return [*lines, words, *left_out(told["measured"])]


def ingest(told: Told) -> list[str]:
    rows = [row for row in told["measured"] if not skipped(row)]
    lines = table(
        ("database", "unit", "bare bulk insert", "ingest", "ratio", "with an outcome each"),
        [
            (
                str(row.get("database", "SQLite")),
                row["unit"],
                f"{row['bare']:,} rows/s",
                f"{row['ingest']:,} rows/s",
                f"{row['ratio']:.0%}",
                f"{row['with_outcomes']:,} rows/s, {row['ratio_with_outcomes']:.0%}",
            )
            for row in rows
        ],
    )
    return [*lines, f"\nBudget: {told['budget']:.0%}.", *left_out(told["measured"])]


def cli(told: Told) -> list[str]:
    return table(
        ("command", "median", "fastest", "× a bare interpreter", "budget"),
        [
            (
                row["name"],
                f"{row['median_ms']:.0f} ms",
                f"{row['fastest_ms']:.0f} ms",
                f"{row['ratio']:.1f}",
                f"{row['budget_ms']:.0f} ms" if row["budget_ms"] is not None else "",
            )
            for row in told
        ],
    )


def gateway(told: Told) -> list[str]:
    rows = told["measured"]
    lines = table(
        (
            "",
            "closed loop",
            "of the pass-through",
            "× LiteLLM",
            "× LiteLLM, metered",
            "CPU a request",
            "RSS",
            "added, p50 / p99",
        ),
        [
            (
                row["name"],
                _range(row["rate"], "{:,.0f}") + " req/s",
                _range(row["of_pass_through"], "{:.0%}"),
                _range(row["of_litellm"], "{:.1f}"),
                _range(row["of_litellm_metered"], "{:.1f}"),
                _unless_unknown(row["cpu_ms"], "{:.3f} ms"),
                _unless_unknown(row["rss_mib"], "{:.0f} MiB"),
                _added(row),
            )
            for row in rows
        ],
    )
    late = next(row for row in rows if row["name"] == "counted")["late_s"]
    words = (
        f"\nBudget: {told['budget']:.0%} of the pass-through, {told['litellm_budget']} × LiteLLM where that is metered "
        "too ([ADR 027](adr/027-the-gateways-peer-counts-as-it-does.md)), a p99 of "
        f"{told['added_budget_ms']:.0f} ms added. Medians of the rounds, with their range; ratios are within a round. "
        f"After a round everything was counted within {_range(late, '{:.1f}')} s."
    )
    return [*lines, words]


def soak(told: Told) -> list[str]:
    points = told["points"]
    shown = [points[i] for i in sorted({0, len(points) // 4, len(points) // 2, len(points) - 1})]
    lines = table(
        ("requests answered", *(f"{one['requests']:,.0f}" for one in shown)),
        [("memory of the gateway", *(f"{one['rss_mib']:.1f} MiB" for one in shown))],
    )
    words = f"\nBudget: {told['budget_mib']:.0f} MiB, and flat. Most: {told['most_mib']:.1f} MiB."
    return [*lines, words]


def _added(row: Told) -> str:
    if row["added_p50_ms"] is None:
        return ""
    return f"{row['added_p50_ms']:.1f} / {row['added_p99_ms']:.1f} ms"


def _unless_unknown(value: float | None, shown: str) -> str:
    return "" if value is None else shown.format(value)


def _range(spread: Mapping[str, float] | None, shown: str) -> str:
    if spread is None:
        return ""
    if spread["least"] == spread["most"]:
        return shown.format(spread["median"])
    least, most = shown.format(spread["least"]), shown.format(spread["most"])
    return f"{shown.format(spread['median'])} ({least}..{most})"


def rollback(told: Told) -> list[str]:
    lines = table(
        ("", "rollbacks", "controller decided, p50", "candidate off, p50", "p90", "p99"),
        [
            (
                row["name"],
                str(row["rollbacks"]),
                f"{row['decided_p50_s']:.3f} s",
                *(f"{row[name]:.3f} s" for name in ("p50_s", "p90_s", "p99_s")),
            )
            for row in told["measured"]
        ],
    )
    return [*lines, f"\nBudget: a p99 of {told['budget_s']:.0f} s."]


def simulate(told: Told) -> list[str]:
    rows = told["measured"]
    lines = table(
        ("", "plan", "runs", "completed", "wall", "CPU a run", "CPU of 1,000 runs, by processes"),
        [
            (
                row["name"],
                f"`{row['plan']}`",
                f"{row['runs']:,}",
                f"{row['completed']:,}",
                f"{row['wall_s']:.0f} s",
                f"{row['cpu_ms_a_run']:.0f} ms",
                f"{row['cpu_ms_a_run'] / row['processes']:.0f} s on each of {row['processes']}",
            )
            for row in rows
        ],
    )
    return [
        *lines,
        f"\nBudget: {told['budget_s']} s for 1,000 runs on two cores, of labels in time, without a ratio "
        "of percentiles.",
    ]


SECTIONS: Final[Mapping[str, Section]] = {
    "tick": Section(
        "A tick",
        "One plan with five intents, eight rules (twelve readings) and a 72-hour window, each tick with ten new "
        "requests: reading what changed, every reading, `decide`, the target, and the note of it, which a controller "
        "writes for many ticks at once. Memory is what stays of one plan once it is read anew. The ratio is to the "
        "smallest case of the same database.",
        tick,
    ),
    "scale": Section(
        "Ten thousand plans",
        "Every plan at a step of 10%, two intents, four rules, windows of a day; the loop, its ingest and a target in "
        "memory in one process on one core, the database's server and the source of the requests on another. A "
        "fifth of the requests is for a hundredth of the plans, every second one is graded. Each plan starts with two "
        "hours of a request a minute or two. What is steady is measured from a minute after the start on.",
        scale,
    ),
    "ingest": Section(
        "Ingest",
        "Batches of 1,000 observations beside SQLAlchemy Core's bulk insert of the same rows into a table like "
        "`observations`, in turns.",
        ingest,
    ),
    "cli": Section("The command line", "From the start of the process to its end.", cli),
    "gateway": Section(
        "The gateway",
        "One `canaryctl gateway` beside a bare aiohttp pass-through, same upstream and load, rounds interleaved. Of "
        "*swallowed* the link takes the lines and forgets them (the gateway's own cost), of *counted* a controller on "
        "SQLite counts them meanwhile. Gateway or pass-through have one core; load, upstream and controller share the "
        "other. What is added is timed from when a request was due, less what the upstream takes asked directly.",
        gateway,
    ),
    "soak": Section(
        "A gateway's memory",
        "The gateway *counted* of above, asked by 32 connections without a pause.",
        soak,
    ),
    "rollback": Section(
        "A rollback, through real processes",
        "From the 202 of the last bad outcome at one gateway until two gateways have shares of 0 in force. One "
        "controller on SQLite with the default interval; 61 rollouts at their limit, one rule each, and ten others. Up "
        "to 0.1 s of each is the time for which a gateway lets lines gather.",
        rollback,
    ),
    "simulate": Section(
        "A simulation",
        "`canaryctl simulate` of healthy rollouts over two weeks: 50 units a minute, five intents of which one is "
        "critical and has a fifth of them. The whole command with all its processes. What bounds it is many short "
        "steps, none of which is most of it: a third is drawing days and adding up, a third looking for failures in "
        "all minutes of two days at once, a quarter some ten to fifteen looks a run. With a ratio of percentiles it is "
        "its proof, which bets on each minute of each intent; with late labels standing each of them in line.",
        simulate,
    ),
}


def machine() -> str:
    """What the figures are of."""
    from benchmarks.databases import Missing, version

    try:
        databases = f"SQLite {sqlite3.sqlite_version}, {version('postgresql')}"
    except Missing:
        databases = f"SQLite {sqlite3.sqlite_version}"
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {databases}"


def run(name: str) -> dict[str, Any] | None:
    """What a benchmark told, on what, when, and whether it was alone; None if it failed."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    print(f"{name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
    ended = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        print(f"{name} ended with {ended.returncode}; its last result stands.", file=sys.stderr)
        return None
    return {
        "on": machine(),
        "at": f"{SystemClock().now():%-d %B %Y}",
        "alone": busy <= MOST_LOAD,
        "told": json.loads(ended.stdout),
    }


def page(kept: Mapping[str, Any]) -> str:
    lines = [HEADING]
    for name, section in SECTIONS.items():
        if name not in kept:
            continue
        one = kept[name]
        beside = "" if one["alone"] else ", beside other work"
        lines += [f"## {section.title}", "", section.intro, "", *section.body(one["told"]), ""]
        lines += [f"`python -m benchmarks.{name}`: {one['on']}, {one['at']}{beside}.", ""]
    return "\n".join(map(wrapped, lines)).rstrip() + "\n"


def wrapped(line: str) -> str:
    """Prose is broken into lines; tables are not, nor what is broken already."""
    if "|" in line or "\n" in line.strip():
        return line
    begin = "\n" if line.startswith("\n") else ""
    return begin + textwrap.fill(line.strip(), 118, break_on_hyphens=False, break_long_words=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--none", action="store_true", help="run nothing, write the page")
    asked = parser.parse_args()
    unknown = set(asked.names) - SECTIONS.keys()
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(SECTIONS)}")
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    failed = False
    for name in () if asked.none else asked.names or SECTIONS:
        result = run(name)
        failed = failed or result is None
        if result is not None:
            kept[name] = result
            KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(kept))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
