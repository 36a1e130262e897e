"""What a tick costs, against the number of requests in its window and the number of plans.

    python -m benchmarks.tick [--json] [--requests 10000 100000 1000000] [--plans 1 10 100]
                              [--database sqlite postgresql]

One plan with five intents, eight rules and a 72-hour window on a fresh database. The window is filled with minute
rows as ingest writes them, a given number of requests spread over 72 hours; then each tick finds one more minute. A
tick is everything: reading what changed, every reading, `decide`, the note in the store, the target. Figures are
medians; the ratio is of CPU to the smallest case of the same run, which is what "flat" means. `note` is the part that a
controller does for many ticks at once, `kept_kib` what it keeps of one rollout. Where other work shares the machine,
the CPU says more than the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from benchmarks.databases import DATABASES, database, present, version
from controller.cli.background import collect_seldom
from controller.clock import ManualClock
from controller.reconcile.submit import submit
from controller.reconcile.tick import Reconciler
from controller.rollout.commands import Apply, Promote
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import Batch, Grades, Observation, Outcome
from controller.rollout.plan import (
    Arm,
    Evidence,
    Intent,
    Labels,
    ModelRef,
    Plan,
    Price,
    Rule,
    Scope,
    Step,
    Then,
    Unit,
)
from controller.store.open import open_store
from controller.traffic.memory import MemoryTarget

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
INTENTS = ("refund", "order-status", "returns", "billing", "other")
TICKS = 40
TOGETHER = 2_000  # requests that are ingested at once to fill a window
BUDGET_MS = 5.0


def plan(name: str) -> Plan:
    def rule(name: str, metric: str, limit: float, window: timedelta, **rest: object) -> Rule:
        base = Rule(
            name=name, metric=CATALOGUE[metric], limit=limit, window=window, then=Then.PAUSE
        )
        return replace(base, **rest)  # type: ignore[arg-type] # the fields differ from rule to rule

    price = Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1600))
    return Plan(
        name=name,
        baseline=ModelRef(model="gpt-4.1", price=price),
        candidate=ModelRef(model="gpt-4.1-mini", price=price),
        match_model=f"gpt-4.1-{name}",
        unit=Unit.REQUEST,
        intents=tuple(Intent(name=one, critical=one == "refund") for one in INTENTS),
        steps=(Step(share_bp=1000, hold=timedelta(days=30)), Step(share_bp=10_000)),
        rules=(
            rule(
                "accuracy",
                "accuracy_delta",
                0.015,
                72 * HOUR,
                scope=Scope.CRITICAL,
                evidence=Evidence.CONFIDENT,
            ),
            rule("escalation", "escalation_rate", 0.02, 24 * HOUR, then=Then.ROLLBACK),
            rule("errors", "error_rate", 0.05, HOUR),
            rule("schema", "schema_failure_rate", 0.05, 24 * HOUR),
            rule("latency", "latency_p95_ratio", 1.25, HOUR, sustained=15 * MINUTE),
            rule("ttft", "ttft_p95", 4.0, HOUR),
            rule("spend", "cost_per_hour", 1e9, HOUR),
            rule("refusals", "refusal_rate", 0.05, 24 * HOUR, scope=Scope.EACH),
        ),
        labels=Labels(delay=6 * HOUR),
        holdback_bp=100,
        max_blind=timedelta(days=30),
    )


def batch(rollout: str, version: int, at: datetime, n: int, first: int) -> Batch:
    """One minute's requests, a tenth of them the candidate's, all graded."""
    requests = [
        Observation(
            id=f"{rollout}-{first + i}",
            rollout=rollout,
            at=at,
            unit=f"{first + i}",
            arm=Arm.CANDIDATE if i % 10 == 0 else Arm.BASELINE,
            intent=INTENTS[(i // 10) % len(INTENTS)],
            version=version,
            assigned=True,
            flags={
                "error": False,
                "escalated": False,
                "schema_failure": False,
                "refusal": i % 300 == 0,
            },
            quantities={
                "input_tokens": 5_000,
                "output_tokens": 1_000,
                "cost_nusd": 3_600_000,
                "latency_us": 800_000 + 1_000 * (i % 400),
                "ttft_us": 200_000 + 500 * (i % 400),
            },
        )
        for i in range(n)
    ]
    outcomes = [
        Outcome(
            id=f"o-{one.id}",
            observation=one.id,
            at=at,
            correct=float(i % 20 != 0),
            grades=Grades.ATTEMPT,
        )
        for i, one in enumerate(requests)
    ]
    return Batch(observations=tuple(requests), outcomes=tuple(outcomes))


def _joined(batches: Sequence[Batch]) -> Batch:
    return Batch(
        observations=tuple(one for each in batches for one in each.observations),
        outcomes=tuple(one for each in batches for one in each.outcomes),
    )


class Case:
    """Some plans on one database, each at its first step with a window full of requests."""

    def __init__(self, url: str, *, requests: int, plans: int) -> None:
        self.clock = ManualClock(BEGIN)
        self.store = open_store(url, migrate=True)
        self.target = MemoryTarget(self.clock)
        self.reconciler = Reconciler(
            store=self.store,
            target=self.target,
            clock=self.clock,
            fence=self.store.take_fence(),
            lease=timedelta(days=30),
        )
        self.rollouts = [self._start(f"plan-{i}") for i in range(plans)]
        self.sent = 0
        self._fill(requests)
        for rollout in self.rollouts:
            self.reconciler.tick(rollout)

    def _start(self, name: str) -> str:
        apply = Apply(plan=plan(name), actor="benchmark", reason="tick")
        rollout = submit(self.store, self.clock, name, apply).state.rollout
        submit(self.store, self.clock, rollout, Promote(actor="benchmark", reason="tick"))
        self.reconciler.tick(rollout)
        return rollout

    def _fill(self, requests: int) -> None:
        """72 hours of requests, in at most 4,320 minutes of at least ten."""
        minutes = min(4_320, max(1, requests // 10))
        per_minute = requests // minutes
        waiting: list[Batch] = []
        for i in range(minutes):
            at = BEGIN + MINUTE * (i * 4_320 // minutes)
            for rollout in self.rollouts:
                waiting.append(batch(rollout, 2, at, per_minute, self.sent))
                self.sent += per_minute
            if len(waiting) * per_minute >= TOGETHER or i == minutes - 1:
                self.store.ingest(_joined(waiting), at)
                waiting.clear()
        self.clock.set(BEGIN + 72 * HOUR)

    def kept_kib(self) -> float:
        """What a controller keeps of one rollout, once it has read it anew."""
        other = Reconciler(
            store=self.store, target=self.target, clock=self.clock, fence=self.reconciler.fence
        )
        tracemalloc.start()
        other.judge(self.rollouts[0])
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept / 1024

    def measure(self) -> dict[str, float]:
        """Median milliseconds of one tick that finds one more minute of ten requests, and of its parts."""
        times: dict[str, list[float]] = {"tick_ms": [], "note_ms": [], "cpu_ms": []}
        for i in range(max(TICKS, 2 * len(self.rollouts))):
            rollout = self.rollouts[i % len(self.rollouts)]
            if i % len(self.rollouts) == 0:
                self.clock.advance(MINUTE)
            self.store.ingest(batch(rollout, 2, self.clock.now(), 10, self.sent), self.clock.now())
            self.sent += 10
            cpu, begun = time.process_time(), time.perf_counter()
            self.reconciler.judge(rollout)
            judged = time.perf_counter()
            self.reconciler.flush()
            ended = time.perf_counter()
            times["tick_ms"].append(1_000 * (ended - begun))
            times["note_ms"].append(1_000 * (ended - judged))
            times["cpu_ms"].append(1_000 * (time.process_time() - cpu))
        return {name: statistics.median(one) for name, one in times.items()}

    def close(self) -> None:
        self.store.close()


def cases(asked: argparse.Namespace) -> list[tuple[str, int, int]]:
    """(what is varied, requests, plans)"""
    by_requests = [("requests", requests, 1) for requests in asked.requests]
    return by_requests + [("plans", 1_000, plans) for plans in asked.plans]


def measure(kind: str, asked: argparse.Namespace) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for varied, requests, plans in cases(asked):
        with database(kind) as url:
            case = Case(url, requests=requests, plans=plans)
            told = case.measure() | {"kept_kib": case.kept_kib()}
            case.close()
        first = next((one for one in rows if one["varied"] == varied), None)
        ratio = told["cpu_ms"] / float(str(first["cpu_ms"])) if first is not None else 1.0
        row = {"database": version(kind), "varied": varied, "requests": requests, "plans": plans}
        rows.append({**row, **told, "ratio": ratio})
        print(f"{kind}: {requests} requests, {plans} plans done", file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--plans", type=int, nargs="*", default=[1, 10, 100])
    parser.add_argument("--database", nargs="*", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    collect_seldom()  # as `canaryctl run` does
    rows: list[dict[str, object]] = []
    for kind, missing in present(asked.database):
        rows += (
            measure(kind, asked) if missing is None else [{"database": kind, "skipped": missing}]
        )
    if asked.json:
        print(json.dumps({"budget_ms": BUDGET_MS, "measured": rows}, indent=2))
        return
    for row in rows:
        print("  ".join(f"{name} {_shown(value)}" for name, value in row.items()))


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
