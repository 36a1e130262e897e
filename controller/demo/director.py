"""Runs a demonstration in lock step: a simulated minute ends when everything in it is answered, counted and judged.

The director holds the clock. In each minute the application asks and grades, the gateway hands in what it observed,
the controller judges, and the gateway hears what came of it; only then does time move on. While a process is down
time stands still, and the minute goes on when it is back. So what is decided does not depend on how fast, or how
often interrupted, the machine is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import aiohttp
from aiohttp import web

from controller.clock import elapsed
from controller.demo import channel, controller_process, gateway_process, story
from controller.demo.application import Application, Counts
from controller.demo.clock import FileClock
from controller.demo.place import START, TOKEN, Place, plan_file
from controller.demo.processes import Processes, free_pair, free_port
from controller.demo.traffic import questions
from controller.errors import Conflict, Refused, Unreachable
from controller.plans.load import load_file
from controller.plans.models import bundled_models
from controller.ports import Leadership, Store
from controller.reconcile.submit import submit
from controller.rollout.commands import Apply, Resume
from controller.simulate.services.upstream import SimulatedModels

MINUTE: Final = timedelta(minutes=1)
ACTOR: Final = "demo"
TEAM_TERM_S: Final = "5"
"""Of the machine's time: so long passes in the story's worst minute."""
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What a demonstration is made of; kept in its folder, so that it goes on as it began."""

    seed: int
    controllers: int = 1


@dataclass(frozen=True, slots=True)
class Moment:
    """What a watcher is shown after each minute."""

    now: datetime
    running: str | None
    counts: Counts
    restarts: int
    said: str | None = None


Watcher = Callable[[Moment], None]


class Director:
    """One demonstration, from wherever its folder says that it is, to its end."""

    def __init__(
        self,
        place: Place,
        store: Store,
        setup: Setup,
        watch: Watcher,
        *,
        database: str,
        environ: Mapping[str, str],
    ) -> None:
        self._place = place
        self._store = store
        self._seed = setup.seed
        self._watch = watch
        self._clock = FileClock.begun(place.clock, START)
        self._models = SimulatedModels({}, seed=setup.seed)
        self._slack = channel.opened(self._clock, place.slack)
        self._ports = {"upstream": free_port(), "slack": free_port(), "gateway": free_pair()}
        self._controllers = [free_port() for _ in range(setup.controllers)]
        own = {name: one for name, one in environ.items() if not name.startswith("CANARY_")}
        if setup.controllers > 1:
            own["CANARY_LEADER_TERM_S"] = TEAM_TERM_S
        self._processes = Processes(
            place,
            {
                **own,
                "CANARY_DATABASE_URL": database,
                "CANARY_SLACK_URL": f"http://127.0.0.1:{self._ports['slack']}/api/",
                "CANARY_SLACK_TOKEN": self._slack.token,
            },
            ended=self._free_the_lead,
        )

    async def run(self) -> None:
        """To the end of the story. Cancelled, it ends its processes and can go on later."""
        upstream = await self._served(self._models.app(), "upstream")
        slack = await self._served(self._slack.app(), "slack")
        application = Application(self._place.requests, self._gateway, minute=self._minute())
        session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            await self._start()
            await self._until(session, self._at_controllers(controller_process.READY))
            while not await self._played(application, session):
                pass
        finally:
            self._clock.save()
            await self._processes.stop()
            await session.close()
            await application.close()
            await upstream.cleanup()
            await slack.cleanup()
            channel.keep(self._slack, self._place.slack)

    async def _served(self, app: web.Application, name: str) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._ports[name]).start()
        return runner

    async def _start(self) -> None:
        folder, ports = str(self._place.folder), self._ports
        controllers = ",".join(self._at_controllers(""))
        upstream = f"http://127.0.0.1:{ports['upstream']}"
        for number, port in enumerate(self._controllers, start=1):
            name = "controller" if len(self._controllers) == 1 else f"controller-{number}"
            arguments = [controller_process.__name__, folder, str(port)]
            await self._processes.start(name, partial(list, arguments))
        await self._processes.start(
            "gateway",
            lambda: [
                gateway_process.__name__,
                folder,
                str(ports["gateway"]),
                controllers,
                upstream,
            ],
        )

    async def _played(self, application: Application, session: aiohttp.ClientSession) -> bool:
        """One minute; whether the story is over."""
        now, minute = self._clock.now(), self._minute()
        scene = story.scene(self._store, now)
        self._models.skills = dict(scene.skills)
        self._people(scene.running, now)
        struck = self._strike(now)
        for product in story.PRODUCTS:
            rate = product.rate if product.name == scene.running else product.quiet_rate
            await application.ask(questions(product, rate, minute, self._seed), minute)
        await application.grade(minute)
        await self._until(session, [f"{self._side()}{gateway_process.DELIVERED}"], settled=False)
        await self._until(session, self._at_controllers(controller_process.MINUTE))
        said = self._taken_over(struck) if struck is not None else None
        restarts = self._processes.restarts()
        self._watch(Moment(now, scene.running, application.counts, restarts, said))
        if scene.over and self._is_told():
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

    def _strike(self, now: datetime) -> Struck | None:
        """In the middle of the second rollout the leader is killed, once, where there is another controller."""
        if len(self._controllers) < 2 or self._place.struck.exists():
            return None
        if not story.to_strike(self._store, now):
            return None
        row = self._store.leadership()
        name = self._processes.kill(_pid(row)) if row.holder else None
        if name is None:
            return None  # nobody leads just now: the next minute
        self._place.struck.touch()
        return Struck(name, row.fence, elapsed())

    def _free_the_lead(self, pid: int) -> None:
        """A sole controller that was killed need not be waited for: who started it has seen its end."""
        if len(self._controllers) > 1:
            return
        try:
            row = self._store.leadership()
            if row.holder and _pid(row) == pid:
                self._store.resign_lead(row)
        except (Conflict, Unreachable):
            return  # then its term is waited for

    def _taken_over(self, struck: Struck) -> str:
        row, took_s = self._store.leadership(), elapsed() - struck.at
        return (
            f"{struck.name} was killed (SIGKILL) while it led under fence {struck.fence}; "
            f"{row.holder} leads under fence {row.fence} now, and ended this minute {took_s:.1f} s later"
        )

    def _is_told(self) -> bool:
        """Whether everybody was told everything, and what is shown of the present is."""
        shown = {thread.rollout: thread.seq for thread in self._store.threads()}
        return not self._store.backlog() and all(
            shown.get(head.state.rollout, head.seq) >= head.seq for head in self._store.heads()
        )

    async def _until(
        self, session: aiohttp.ClientSession, urls: Sequence[str], *, settled: bool = True
    ) -> None:
        """Ask processes until one has done its part of the minute; they may be killed and come back meanwhile."""
        while True:
            for url in urls:
                if self._processes.failed is not None:
                    raise self._processes.failed
                if await _done(session, url, settled=settled):
                    return
            await asyncio.sleep(0.05)

    def _minute(self) -> int:
        return (self._clock.now() - START) // MINUTE

    async def _gateway(self) -> str:
        if self._processes.failed is not None:
            raise self._processes.failed
        return f"http://127.0.0.1:{self._ports['gateway']}"

    def _side(self) -> str:
        return f"http://127.0.0.1:{self._ports['gateway'] + 1}"

    def _at_controllers(self, path: str) -> list[str]:
        return [f"http://127.0.0.1:{port}{path}" for port in self._controllers]


@dataclass(frozen=True, slots=True)
class Struck:
    """A controller that was killed, the fence that it led under, and when, by `elapsed`."""

    name: str
    fence: int
    at: float


def _pid(row: Leadership) -> int:
    """Of the process that leads: see `controller.wiring`."""
    return int(row.holder.rsplit(":", 2)[1])


async def _done(session: aiohttp.ClientSession, url: str, *, settled: bool) -> bool:
    limit = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        async with session.post(url, timeout=limit) as response:
            if response.status >= 300:
                return False
            return not settled or bool((await response.json())["settled"])
    except (aiohttp.ClientError, TimeoutError):
        return False


def begun(place: Place, seed: int, controllers: int) -> Setup:
    """The setup in a folder; made there if there is none."""
    if place.setup.exists():
        return Setup(**json.loads(place.setup.read_text(encoding="utf-8")))
    setup = Setup(seed=seed, controllers=controllers)
    place.folder.mkdir(parents=True, exist_ok=True)
    place.setup.write_text(json.dumps(asdict(setup)), encoding="utf-8")
    return setup
