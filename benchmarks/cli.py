"""Start-up of the command line: `python benchmarks/cli.py [--runs N] [--json]`.

Wall time of whole processes, median of N, as a ratio to a bare interpreter in the same run. Bytecode is compiled
once, before measuring, as an installed package has it. Budgets: --help 250 ms, get 600 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

PLAN = Path(__file__).parents[1] / "rollout_plans" / "gpt-4.1-to-mini.yaml"
MAIN = ("-m", "controller.cli.main")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    name: str
    budget_ms: float | None
    median_ms: float
    fastest_ms: float
    ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), given.runs)
    if given.json:
        print(json.dumps([asdict(one) for one in results], indent=2))
        return
    print(f"{'':8} {'median':>9} {'fastest':>9} {'× bare':>7}  budget")
    for one in results:
        budget = f"{one.budget_ms:.0f} ms" if one.budget_ms is not None else "-"
        print(
            f"{one.name:8} {one.median_ms:6.0f} ms {one.fastest_ms:6.0f} ms {one.ratio:7.1f}  {budget}"
        )


def measure(folder: Path, runs: int) -> list[Measured]:
    environ = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "CANARY_DATABASE_URL": f"sqlite:///{folder}/canary.db",
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    elapsed((*MAIN, "apply", "-f", str(PLAN)), environ)
    commands: dict[str, tuple[tuple[str, ...], float | None]] = {
        "bare": (("-c", "pass"), None),
        "--help": ((*MAIN, "--help"), 250),
        "get": ((*MAIN, "get"), 600),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):  # the first compiles
        for name, (arguments, _) in commands.items():
            took = elapsed(arguments, environ)
            if number:
                times[name].append(took)
    bare = statistics.median(times["bare"])
    return [
        Measured(
            name=name,
            budget_ms=budget,
            median_ms=statistics.median(times[name]),
            fastest_ms=min(times[name]),
            ratio=statistics.median(times[name]) / bare,
        )
        for name, (_, budget) in commands.items()
    ]


def elapsed(arguments: tuple[str, ...], environ: dict[str, str]) -> float:
    """Milliseconds of one process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environ)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
