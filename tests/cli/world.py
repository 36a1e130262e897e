"""A command line with a clock that is moved by hand, its own streams and an SQLite file; and traffic to judge."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.cli.context import Context
from controller.cli.main import run
from controller.clock import ManualClock
from controller.ports import Store
from controller.reconcile.tick import Reconciler
from controller.traffic.memory import MemoryTarget
from controller.wiring import open_store

START = datetime(2026, 9, 1, 12, tzinfo=UTC)

PLAN = """\
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {name: support-bot}
spec:
  baseline: {model: gpt-4.1}
  candidate: {model: gpt-4.1-mini}
  assignment: {unit: request}
  intents:
    - {name: refund, critical: true}
    - {name: legal, pin: baseline}
  traffic: {gateway: {}}
  steps:
    - {share: 50%, hold: 1h, minSamples: 20}
    - {share: 100%}
  holdback: 1%
  rules:
    - {name: escalation, metric: escalation_rate, above: 2%, window: 30m, minSamples: 50, then: rollback}
    - {name: latency, metric: latency_p95_ratio, above: 1.25, window: 30m, minSamples: 50, then: pause}
    - {name: accuracy, metric: accuracy_delta, intents: critical, above: 1.5pp, window: 1h, evidence: confident,
       then: pause}
  notify: {slack: {channel: "#llm-oncall"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Keyboard(io.TextIOWrapper):
    """The same, to read from."""

    def isatty(self) -> bool:
        return True


@dataclass(kw_only=True)
class World:
    folder: Path
    migrated: Path | None = (
        None  # an empty database to start from: migrating each time takes a while
    )
    environ: dict[str, str] = field(default_factory=dict)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    _lines: int = 0
    _reconciler: Reconciler | None = None
    _store: Store | None = None

    def __post_init__(self) -> None:
        self.environ = {
            "CANARY_DATABASE_URL": self.url,
            "CANARY_ACTOR": "ada",
            **self.environ,
        }

    @property
    def url(self) -> str:
        return self.environ.get("CANARY_DATABASE_URL", f"sqlite:///{self.folder}/canary.db")

    def cli(
        self,
        *arguments: str,
        stdin: str = "",
        wait: Callable[[float], object] | None = None,
        terminal: bool = False,
        **environ: str,
    ) -> Answer:
        out, err = (Terminal() if terminal else io.StringIO()), io.StringIO()
        read = Keyboard if terminal else io.TextIOWrapper
        context = Context(
            environ={**self.environ, **environ},
            clock=self.clock,
            wait=wait or (lambda seconds: self.clock.advance(timedelta(seconds=seconds))),
            stdin=read(io.BytesIO(stdin.encode())),
            stdout=out,
            stderr=err,
        )
        code = run(arguments, context)
        return Answer(code=code, out=out.getvalue(), err=err.getvalue())

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def plan(self, text: str = PLAN, *, name: str = "plan.yaml") -> str:
        return self.file(name, text)

    def started(self, text: str = PLAN) -> World:
        """With the rollout applied, traffic on the baseline, and the first step taken."""
        if self.migrated is not None:
            shutil.copy(self.migrated, self.folder / "canary.db")
        assert self.cli("apply", "-f", self.plan(text)).code == 0
        self.ticks(1)
        self.feed(requests(self, per_arm=5, minutes=1))
        self.ticks(2)
        return self

    def feed(self, entries: Iterator[dict[str, object]]) -> Answer:
        lines = "".join(f"{json.dumps(one)}\n" for one in entries)
        answer = self.cli("ingest", "-", stdin=lines)
        assert answer.code == 0, answer.err
        return answer

    def ticks(self, minutes: int, rollout: str = "support-bot/1") -> None:
        """A controller that looks once a minute."""
        if self._reconciler is None:
            self._store = store = open_store(self.url)
            self._reconciler = Reconciler(
                store=store,
                target=MemoryTarget(self.clock),
                clock=self.clock,
                fence=store.take_fence(),
            )
        for _ in range(minutes):
            self._reconciler.tick(rollout)
            self.clock.advance(timedelta(minutes=1))

    def close(self) -> None:
        """Let go of the controller's connections."""
        if self._store is not None:
            self._store.close()

    def next_id(self) -> str:
        self._lines += 1
        return f"r{self._lines}"


def requests(
    world: World,
    *,
    per_arm: int,
    minutes: int,
    escalated: int = 0,
    latency_us: int = 800_000,
) -> Iterator[dict[str, object]]:
    """Requests of both arms in each of the minutes up to now; of the candidate's, `escalated` a minute are."""
    first = world.clock.now() - timedelta(minutes=minutes)
    for minute in range(minutes):
        at = (first + timedelta(minutes=minute)).isoformat()
        for arm in ("baseline", "candidate"):
            for number in range(per_arm):
                name = world.next_id()
                yield {
                    "kind": "observation",
                    "id": name,
                    "rollout": "support-bot",
                    "at": at,
                    "unit": name,
                    "arm": arm,
                    "intent": "refund",
                    "assigned": True,
                    "flags": {
                        "error": False,
                        "escalated": arm == "candidate" and number < escalated,
                    },
                    "quantities": {"latency_us": latency_us, "input_tokens": 900},
                }
                yield {
                    "kind": "outcome",
                    "id": f"o-{name}",
                    "observation": name,
                    "at": at,
                    "correct": True,
                }
