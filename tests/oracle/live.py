"""The product as it runs: lines are ingested, a reconciler ticks, and what it stored is read back as documents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from controller.clock import ManualClock
from controller.errors import Refused
from controller.plans.load import load_text
from controller.plans.models import bundled_models
from controller.ports import Store
from controller.reconcile.submit import submit
from controller.reconcile.tick import Reconciler
from controller.rollout.commands import AnyCommand, Apply
from controller.sources.feed import read_feed
from controller.traffic.memory import MemoryTarget

Document = dict[str, Any]
LEASE = timedelta(days=30)  # a controller that is away for hours does not let it run out here


@dataclass(frozen=True)
class Told:
    """What a tick left behind: the state that it began with, its verdicts, and the record if it decided anything."""

    at: datetime
    state: Document
    verdicts: list[Document]
    record: Document | None
    version: int  # that it put in force


class Live:
    """One rollout of a plan, which is a document too."""

    def __init__(self, plan: Document, store: Store, begin: datetime) -> None:
        self.clock, self.store = ManualClock(begin), store
        text = json.dumps(plan)
        read = load_text(text, file="plan", today=date(2026, 1, 5), models=bundled_models())
        name = plan["metadata"]["name"]
        submit(store, self.clock, name, Apply(plan=read, actor="ann", reason="go"))
        self.rollout = f"{name}/1"
        self._known: set[str] = set()
        self._target = MemoryTarget(self.clock)
        self.restart()

    def restart(self) -> None:
        """Another controller, which remembers nothing."""
        fence = self.store.take_fence()
        self._reconciler = Reconciler(
            store=self.store, target=self._target, clock=self.clock, fence=fence, lease=LEASE
        )

    def ingest(self, lines: Iterable[Document]) -> None:
        sent = [json.dumps(_as_sent(line)) for line in lines]
        batch = read_feed(sent, file="feed", store=self.store, known=self._known)
        self.store.ingest(batch, self.clock.now())

    def command(self, command: AnyCommand) -> bool:
        """Whether it was obeyed."""
        try:
            submit(self.store, self.clock, self.rollout, command)
        except Refused:
            return False
        return True

    def tick(self) -> Told:
        before = self._last()
        self._reconciler.tick(self.rollout)
        judged = self.store.judged(self.rollout)
        assert judged is not None
        after = self._last()
        return Told(
            at=self.clock.now(),
            state=before["state"],
            verdicts=list(judged.status["verdicts"]),  # type: ignore[call-overload]  # JSON
            record=after if after["seq"] > before["seq"] else None,
            version=after["state"]["version"],
        )

    def state(self) -> Document:
        return self._last()["state"]

    def splits(self) -> list[tuple[datetime, int, int]]:
        """Since when, under which version, the candidate had which share of an intent that is not pinned."""
        return [
            (one.since, one.version, max(one.shares.values()))
            for one in self.store.splits(self.rollout)
        ]

    def _last(self) -> Document:
        return json.loads(self.store.records(self.rollout)[-1].text)


def _as_sent(line: Document) -> Document:
    """What is not said is left out."""
    silent = line["kind"] == "outcome" and line["correct"] is None
    return {name: value for name, value in line.items() if not (silent and name == "correct")}
