"""Two controllers as processes, a gateway's real link, a PostgreSQL that fails over; and a story's minutes on top.

Story time stands still until a minute's observations are counted, every rollout is judged and the gateway has heard of
it; leadership and everything between processes runs in the machine's own time. So faults may come at any moment of a
minute, and yet a run decides what it decides without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp

from controller.demo import controller_process
from controller.demo.clock import FileClock
from controller.demo.place import TOKEN
from controller.demo.processes import free_port
from controller.errors import Conflict, Unreachable
from controller.gateway.http_link import HttpLink
from controller.gateway.splits import SplitBook
from controller.gateway.spool import Spool
from controller.gateway.uplink import Pace, Uplink
from controller.plans.load import load_text
from controller.plans.models import bundled_models
from controller.ports import Granted, Report, Store, Word
from controller.reconcile.submit import submit
from controller.rollout.commands import Apply
from controller.rollout.state import Phase
from controller.store.open import open_store
from tests.faults.controller_main import OffClock
from tests.faults.replicated import Replicated

BEGIN: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
TERM_S: Final = 0.8
PATIENCE_S: Final = 120.0
REQUESTS: Final = 20  # a minute
ENDED: Final = frozenset((Phase.COMPLETE, Phase.ROLLED_BACK))
# Holds are longer than clocks are wrong: what comes from a host's future is judged when its clock is there. The window
# is longer than two are apart: in a shorter one a leader sees no traffic of a gateway that is behind, and holds.
PLAN: Final = """
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {{name: {name}}}
spec:
  baseline: {{model: {name}-old, price: {{input: 2 USD, output: 8 USD}}}}
  candidate: {{model: {name}-new, price: {{input: 0.40 USD, output: 1.60 USD}}}}
  assignment: {{unit: request}}
  intents: [{{name: chat}}]
  traffic: {{gateway: {{}}}}
  steps:
    - {{share: 10%, hold: 15m, minSamples: 4}}
    - {{share: 50%, hold: 15m}}
    - {{share: 100%}}
  holdback: 5%
  bake: 15m
  rules:
    - {{name: escalation, metric: escalation_rate, above: 20%, window: 40m, minSamples: 10, then: rollback}}
"""


class RecordingLink:
    """A link that can be cut, and remembers every split that it brought."""

    def __init__(self, link: HttpLink) -> None:
        self._link = link
        self.cut = False
        self.granted: list[Granted] = []

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        self._require()
        word = await self._link.poll(report, wait_s=wait_s)
        self._require()
        self.granted.extend(word.granted)
        return word

    async def ingest(self, lines: bytes) -> None:
        self._require()
        await self._link.ingest(lines)
        self._require()  # what was counted, and not acknowledged, comes again

    async def close(self) -> None:
        await self._link.close()

    def _require(self) -> None:
        if self.cut:
            raise Unreachable("the link is down")


@dataclass
class Part:
    """One controller: its process, and everything that its processes ever logged."""

    port: int
    log: Path
    running: subprocess.Popen[bytes] | None = None
    stopped: bool = False

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self._all() if one.get("event") == event]

    def notices(self, rollout: str) -> list[dict[str, Any]]:
        """Those of one rollout that reached the log."""
        return [
            one
            for one in self._all()
            if "notice" in one and one["rollout"] == rollout and "body" in one
        ]

    def _all(self) -> list[dict[str, Any]]:
        whole = self.log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in whole if line.startswith("{")]


@dataclass
class Told:
    """What the harness saw of one rollout at its gateway: minute by minute the share in force."""

    shares: list[tuple[datetime, int]] = field(default_factory=list)


class Team:
    """See the module. `skewed`: each controller's clock is wrong by up to ten minutes, another error at each start."""

    def __init__(
        self, folder: Path, databases: Replicated, rng: random.Random, *, skewed: bool
    ) -> None:
        self.folder = folder
        self.databases = databases
        self.rng = rng
        self.skewed = skewed
        self.url = databases.fresh()
        self.clock = FileClock.begun(folder / "clock", BEGIN)
        self.store: Store = open_store(self.url, migrate=False)
        self.parts = [Part(free_port(), folder / f"controller{number}.log") for number in (0, 1)]
        self.told: dict[str, Told] = {}
        self.sent: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Team]:
        for part in self.parts:
            self.start(part)
        link = HttpLink([f"http://127.0.0.1:{one.port}" for one in self.parts], token=TOKEN)
        self.link = RecordingLink(link)
        here = OffClock(self.clock, self._error_s())
        self.spool = Spool(self.folder / "spool")
        self.book = SplitBook(here, self.folder / "splits.json")
        self._uplink = Uplink(
            link=self.link, book=self.book, spool=self.spool, clock=here, replica="gw-1",
            pace=Pace(wait_s=1.0, linger_s=0.0),
        )  # fmt: skip
        tasks = [
            asyncio.create_task(one) for one in (self._uplink.listen(), self._uplink.deliver())
        ]
        self.session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for part in self.parts:
                self.end(part)
            await self.session.close()
            await self.link.close()
            self.spool.close()
            self.store.close()
            self.clock.close()

    # Its controllers

    def start(self, part: Part) -> None:
        with part.log.open("ab") as log:
            part.running = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.faults.controller_main"),
                    *(str(self.folder / "clock"), str(part.port)),
                    *(str(self._error_s()), str(TERM_S)),
                ],
                env={**os.environ, "CANARY_DATABASE_URL": self.url},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        part.stopped = False

    def kill(self, part: Part) -> None:
        if part.running is not None:
            part.running.kill()
            part.running.wait()

    def end(self, part: Part) -> None:
        if part.running is None or part.running.poll() is not None:
            return
        if part.stopped:
            self.go_on(part)
        part.running.terminate()
        try:
            part.running.wait(20)
        except subprocess.TimeoutExpired:
            self.kill(part)
            raise

    def halt(self, part: Part) -> None:
        assert part.running is not None
        part.running.send_signal(signal.SIGSTOP)
        part.stopped = True

    def go_on(self, part: Part) -> None:
        assert part.running is not None
        part.running.send_signal(signal.SIGCONT)
        part.stopped = False

    async def leader(self) -> Part | None:
        """Who leads by its own word, as far as it can be asked."""
        for part in self.parts:
            if not part.stopped and await self._asked(part, "/link/v1/status", "GET") is not None:
                return part
        return None

    def _error_s(self) -> float:
        """How wrong a host's clock is."""
        return self.rng.choice((0.0, -600.0, 600.0, self.rng.uniform(-600, 600))) * self.skewed

    # Its minutes

    def apply(self, name: str) -> str:
        plan = load_text(
            PLAN.format(name=name), file=name, today=BEGIN.date(), models=bundled_models()
        )
        command = Apply(actor="ann", reason="test", plan=plan)
        rollout = f"{name}/1"
        self.told[rollout] = Told()
        self.sent[rollout] = 0
        while True:
            try:
                submit(self.store, self.clock, name, command)
            except (Unreachable, Conflict):
                if self.phase(rollout) is not None:
                    return rollout
            else:
                return rollout

    def phase(self, rollout: str) -> Phase | None:
        heads = {one.state.rollout: one for one in self._patiently(self.store.heads)}
        return heads[rollout].state.phase if rollout in heads else None

    async def minute(self, rollout: str, *, bad: bool) -> None:
        """Requests are answered and counted, everything is judged, the gateway has heard of it; then time moves on."""
        self._answer(rollout, bad=bad)
        async with asyncio.timeout(PATIENCE_S):
            # The link may be cut while this waits for it.
            while self.spool.pending and not self.link.cut:
                await asyncio.sleep(0.002)
        await self._judged()
        self.clock.set(self.clock.now() + MINUTE)

    def _answer(self, rollout: str, *, bad: bool) -> None:
        """What the gateway would note of a minute's requests under the split that it holds."""
        claim = self.book.claim(f"{rollout.partition('/')[0]}-old")
        if claim is None:
            return
        share = claim.shares.get("chat", 0) if claim.shares is not None else 0
        self.told[rollout].shares.append((self.clock.now(), share))
        for number in range(REQUESTS):
            self.sent[rollout] += 1
            candidate = number * 10_000 < share * REQUESTS
            line = {
                "kind": "observation",
                "id": f"{rollout}:{self.sent[rollout]}",
                "rollout": rollout,
                "at": self.clock.now().isoformat(),
                "unit": f"{rollout}:{self.sent[rollout]}",
                "arm": "candidate" if candidate else "baseline",
                "intent": "chat",
                "version": claim.version,
                "assigned": claim.shares is not None,  # without a lease nobody is assigned
                "flags": {"error": False, "escalated": candidate and bad and share >= 5_000},
            }
            self.spool.append(json.dumps(line).encode() + b"\n")

    async def _judged(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            asked = [asyncio.create_task(self._ends(part)) for part in self.parts]
            _, rest = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            for one in rest:
                one.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def _ends(self, part: Part) -> None:
        """Ask one controller until it has ended the minute; one that was stopped answers when it goes on."""
        while True:
            said = await self._asked(part, controller_process.MINUTE, "POST")
            # With the link cut nobody can have heard of it.
            if said is not None and (said["settled"] or self.link.cut):
                return
            await asyncio.sleep(0.02)

    async def _asked(self, part: Part, path: str, method: str) -> Any:
        limit = aiohttp.ClientTimeout(total=10.0 if not part.stopped else 0.5)
        url = f"http://127.0.0.1:{part.port}{path}"
        try:
            async with self.session.request(method, url, timeout=limit) as answer:
                return await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _patiently(self, ask: Any) -> Any:
        for _ in range(600):
            try:
                return ask()
            except Unreachable:
                continue
        raise AssertionError("the database did not come back")
