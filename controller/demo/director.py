"""Runs a demonstration in lock step: a simulated minute ends when everything in it is answered, counted and judged.

The director holds the clock. In each minute the application asks and grades, the gateway hands in what it observed,
the controller judges, and the gateway hears what came of it; only then does time move on. While a process is down
time stands still, and the minute goes on when it is back. So what is decided does not depend on how fast, or how
often interrupted, the machine is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import aiohttp
from aiohttp import web

from controller.demo import controller_process, gateway_process, story
from controller.demo.application import Application, Counts
from controller.demo.clock import FileClock
from controller.demo.place import START, TOKEN, Place, plan_file
from controller.demo.processes import Processes, free_pair, free_port
from controller.demo.traffic import questions
from controller.errors import Refused
from controller.plans.load import load_file
from controller.plans.models import bundled_models
from controller.ports import Store
from controller.reconcile.submit import submit
from controller.rollout.commands import Apply, Resume
from controller.simulate.upstream import SimulatedModels

MINUTE: Final = timedelta(minutes=1)
ACTOR: Final = "demo"
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What a demonstration is made of; kept in its folder, so that it goes on as it began."""

    seed: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What a watcher is shown after each minute."""

    now: datetime
    running: str | None
    counts: Counts
    restarts: int


Watcher = Callable[[Moment], None]


class Director:
    """One demonstration, from wherever its folder says that it is, to its end."""

    def __init__(self, place: Place, store: Store, setup: Setup, watch: Watcher) -> None:
        self._place = place
        self._store = store
        self._seed = setup.seed
        self._watch = watch
        self._clock = FileClock.begun(place.clock, START)
        self._models = SimulatedModels({}, seed=setup.seed)
        self._processes = Processes(place)
        self._ports = {"upstream": free_port(), "controller": free_port(), "gateway": free_pair()}

    async def run(self) -> None:
        """To the end of the story. Cancelled, it ends its processes and can go on later."""
        upstream = web.AppRunner(self._models.app(), access_log=None)
        await upstream.setup()
        await web.TCPSite(upstream, "127.0.0.1", self._ports["upstream"]).start()
        application = Application(self._place.requests, self._gateway, minute=self._minute())
        session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            await self._start()
            await self._until(
                session, f"{self._controller()}{controller_process.READY}", settled=True
            )
            while not await self._played(application, session):
                pass
        finally:
            self._clock.save()
            await self._processes.stop()
            await session.close()
            await application.close()
            await upstream.cleanup()

    async def _start(self) -> None:
        folder, ports = str(self._place.folder), self._ports
        controller = f"http://127.0.0.1:{ports['controller']}"
        upstream = f"http://127.0.0.1:{ports['upstream']}"
        await self._processes.start(
            "controller", lambda: [controller_process.__name__, folder, str(ports["controller"])]
        )
        await self._processes.start(
            "gateway",
            lambda: [gateway_process.__name__, folder, str(ports["gateway"]), controller, upstream],
        )

    async def _played(self, application: Application, session: aiohttp.ClientSession) -> bool:
        """One minute; whether the story is over."""
        now, minute = self._clock.now(), self._minute()
        scene = story.scene(self._store, now)
        self._models.skills = dict(scene.skills)
        self._people(scene.running, now)
        for product in story.PRODUCTS:
            rate = product.rate if product.name == scene.running else product.quiet_rate
            await application.ask(questions(product, rate, minute, self._seed), minute)
        await application.grade(minute)
        await self._until(session, f"{self._side()}{gateway_process.DELIVERED}")
        await self._until(session, f"{self._controller()}{controller_process.MINUTE}", settled=True)
        self._watch(Moment(now, scene.running, application.counts, self._processes.restarts()))
        if scene.over:
            return True
        self._clock.set(now + MINUTE)
        return False

    def _people(self, running: str | None, now: datetime) -> None:
        """The platform team applies the next plan; the person on call resumes what was paused."""
        if running is None:
            return
        heads = {head.state.name: head for head in self._store.heads()}
        head = heads.get(running)
        if head is None:
            plan = load_file(plan_file(running), today=START.date(), models=bundled_models())
            apply = Apply(actor=ACTOR, reason="cheaper, if it is as good", plan=plan)
            submit(self._store, self._clock, running, apply)
        elif story.to_resume(head, now):
            resume = Resume(actor=ACTOR, reason=story.RESUME_REASON)
            try:
                submit(self._store, self._clock, head.state.rollout, resume)
            except Refused:
                return  # a stop came first; the next minute shows it

    async def _until(
        self, session: aiohttp.ClientSession, url: str, *, settled: bool = False
    ) -> None:
        """Ask a process until it has done its part of the minute; it may be killed and come back meanwhile."""
        while True:
            if self._processes.failed is not None:
                raise self._processes.failed
            try:
                async with session.post(
                    url, timeout=aiohttp.ClientTimeout(total=_PATIENCE_S)
                ) as response:
                    done = response.status < 300
                    if done and settled:
                        done = bool((await response.json())["settled"])
                    if done:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.05)

    def _minute(self) -> int:
        return (self._clock.now() - START) // MINUTE

    async def _gateway(self) -> str:
        if self._processes.failed is not None:
            raise self._processes.failed
        return f"http://127.0.0.1:{self._ports['gateway']}"

    def _side(self) -> str:
        return f"http://127.0.0.1:{self._ports['gateway'] + 1}"

    def _controller(self) -> str:
        return f"http://127.0.0.1:{self._ports['controller']}"


def begun(place: Place, seed: int) -> Setup:
    """The setup in a folder; made there if there is none."""
    if place.setup.exists():
        return Setup(**json.loads(place.setup.read_text(encoding="utf-8")))
    place.folder.mkdir(parents=True, exist_ok=True)
    place.setup.write_text(json.dumps({"seed": seed}), encoding="utf-8")
    return Setup(seed=seed)
