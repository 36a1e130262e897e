"""`canaryctl simulate`, from start to end: `python -m benchmarks.simulate [--runs N] [--processes N] [--json]`.

Healthy rollouts over two weeks at 50 units a minute, five intents, one of them with a fifth of the units: shipped
plans, with a request in each unit and with conversations, with labels that come late, and with latencies told. Requests
are so small that the plans' rules on costs, which are simulated too, do not stop them. Wall time of the whole
command, and the CPU of all its processes, which other work on the machine disturbs less. Budget: 1,000 runs in 60 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

PLANS: Final = Path(__file__).parents[1] / "rollout_plans"
MAIN: Final = ("-m", "controller.cli.main", "simulate")
RUNS: Final = 1_000
BUDGET_S: Final = 60  # of 1,000 runs, on two cores
MORE: Final = ("billing", "shipping", "returns")
TRAFFIC: Final = (
    "--units-per-minute",
    "50",
    "--intent-share",
    "refund=20%",
    "--start",
    "2026-01-05",
    "--input-tokens",
    "250",
    "--output-tokens",
    "50",
)
ONE: Final = ("--requests-per-unit", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    file: str
    each: bool = False  # whether the accuracy rule is on each of the five intents
    options: tuple[str, ...] = ONE
    part: float = 1.0  # of the runs


CASES: Final = (
    Case(name="rules on one intent and on all", file="gpt-4.1-to-mini.yaml"),
    Case(name="the same, conversations of four requests", file="gpt-4.1-to-mini.yaml", options=()),
    Case(name="a rule on each intent, another on two", file="two-weeks-at-20-percent.yaml"),
    Case(name="two rules on each of five intents", file="two-weeks-at-20-percent.yaml", each=True),
    Case(
        name="the third, and a percentile of latencies",
        file="two-weeks-at-20-percent.yaml",
        options=(*ONE, "--latency", "1.2s,3s"),
    ),
    Case(
        name="the first, and a ratio of percentiles",
        file="gpt-4.1-to-mini.yaml",
        options=(*ONE, "--latency", "1.2s,3s"),
        part=0.1,
    ),
    Case(
        name="the first, labels late by 2 h and 8 h",
        file="gpt-4.1-to-mini.yaml",
        options=(*ONE, "--scenario", "late-labels=2h,8h"),
        part=0.02,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of one command; `completed` says that the same was decided as ever."""

    name: str
    plan: str
    runs: int
    processes: int
    completed: int
    wall_s: float
    cpu_s: float

    @property
    def cpu_ms_a_run(self) -> float:
        return 1_000 * self.cpu_s / self.runs


def written(case: Case, folder: Path) -> Path:
    """The shipped plan with five intents, in a file."""
    text = (PLANS / case.file).read_text(encoding="utf-8")
    last = "    - {name: order-status}\n"
    if last not in text:
        raise LookupError(
            f"{case.file} has no intent order-status; this benchmark adds others after it"
        )
    text = text.replace(last, last + "".join(f"    - {{name: {name}}}\n" for name in MORE))
    if case.each:
        text = text.replace("[refund, order-status]", f"[refund, order-status, {', '.join(MORE)}]")
    path = folder / f"{CASES.index(case)}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def measured(case: Case, runs: int, processes: int, folder: Path) -> Measured:
    runs = max(round(runs * case.part), 1)
    counted = ("--runs", str(runs), "--processes", str(processes), "-o", "json")
    command = [sys.executable, *MAIN, str(written(case, folder)), *TRAFFIC, *case.options, *counted]
    cpu_s, begun = _cpu_of_children_s(), time.perf_counter()
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    wall_s = time.perf_counter() - begun
    (scenario,) = json.loads(ended.stdout)["scenarios"]
    return Measured(
        name=case.name,
        plan=case.file,
        runs=runs,
        processes=processes,
        completed=scenario["endings"]["completed"]["runs"],
        wall_s=wall_s,
        cpu_s=_cpu_of_children_s() - cpu_s,
    )


def _cpu_of_children_s() -> float:
    """Of all that have ended, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            one = measured(case, asked.runs, asked.processes, Path(folder))
            found.append(one)
            print(
                f"{one.name}: {one.runs:,} runs in {one.wall_s:.0f} s, {one.cpu_ms_a_run:.0f} ms of CPU each, "
                f"{one.completed:,} completed",
                file=sys.stderr,
                flush=True,
            )
    if asked.json:
        rows = [{**asdict(one), "cpu_ms_a_run": one.cpu_ms_a_run} for one in found]
        print(json.dumps({"budget_s": BUDGET_S, "measured": rows}))


if __name__ == "__main__":
    main()
