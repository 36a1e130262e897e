"""What a tick costs, against the number of requests in its window and the number of plans.

Run: python benchmarks/tick.py [--json] [--requests 10000 100000 1000000] [--plans 1 10 100]

One plan with five intents, eight rules and a 72-hour window on a fresh SQLite file. The window is filled with minute
rows as ingest writes them, a given number of requests spread over 72 hours; then each tick finds one more minute. A
tick is everything: reading what changed, every reading, `decide`, the note in the store, the target. Figures are
medians; the ratio is to the smallest case of the same run, which is what "flat" means.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

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


class Case:
    """Some plans on one database, each at its first step with a window full of requests."""

    def __init__(self, folder: Path, *, requests: int, plans: int) -> None:
        self.clock = ManualClock(BEGIN)
        self.store = open_store(f"sqlite:///{folder}/{requests}-{plans}.db", migrate=True)
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
        for i in range(minutes):
            at = BEGIN + MINUTE * (i * 4_320 // minutes)
            for rollout in self.rollouts:
                self.store.ingest(batch(rollout, 2, at, per_minute, self.sent), at)
                self.sent += per_minute
        self.clock.set(BEGIN + 72 * HOUR)

    def tick_ms(self) -> float:
        """Median milliseconds of one tick that finds one more minute of ten requests."""
        times = []
        for i in range(max(TICKS, 2 * len(self.rollouts))):
            rollout = self.rollouts[i % len(self.rollouts)]
            if i % len(self.rollouts) == 0:
                self.clock.advance(MINUTE)
            self.store.ingest(batch(rollout, 2, self.clock.now(), 10, self.sent), self.clock.now())
            self.sent += 10
            begun = time.perf_counter()
            self.reconciler.tick(rollout)
            times.append(1_000 * (time.perf_counter() - begun))
        return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--plans", type=int, nargs="*", default=[1, 10, 100])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for requests in asked.requests:
            case = Case(Path(folder), requests=requests, plans=1)
            rows.append({"requests": requests, "plans": 1, "tick_ms": case.tick_ms()})
            print(f"{requests} requests done", file=sys.stderr)
        for plans in asked.plans:
            case = Case(Path(folder), requests=1_000, plans=plans)
            rows.append({"requests": 1_000, "plans": plans, "tick_ms": case.tick_ms()})
            print(f"{plans} plans done", file=sys.stderr)
    if asked.json:
        print(json.dumps(rows))
        return
    print(f"{'requests in window':>20} {'plans':>6} {'tick ms':>9} {'ratio':>6}")
    for group in ("requests", "plans"):
        first = None
        for row in (
            rows[: len(asked.requests)] if group == "requests" else rows[len(asked.requests) :]
        ):
            first = first or row["tick_ms"]
            print(
                f"{row['requests']:>20,} {row['plans']:>6} {row['tick_ms']:>9.2f} "
                f"{row['tick_ms'] / first:>6.2f}"
            )


if __name__ == "__main__":
    main()
