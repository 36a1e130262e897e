"""A store that owes, the Slack notifier, and a simulated Slack on a real socket between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from aiohttp import web

from controller.cli.background import in_background
from controller.clock import ManualClock
from controller.notify.memory import MemoryNotifier
from controller.notify.sender import Sender
from controller.notify.slack import SlackNotifier
from controller.notify.slack_api import SlackApi
from controller.ports import Owed, Thread
from controller.rollout.decision import Notice
from controller.rollout.plan import Plan, Slack
from controller.simulate.services.slack import TOKEN, SimulatedSlack
from controller.simulate.services.slack_rooms import Posted, Room
from controller.store.memory import MemoryStore
from tests.notify.factories import NOW, ROLLOUT, plan
from tests.notify.outbox import owe

OPS, PAGE = "#llm-oncall", "#llm-page"
OPS_DESTINATION = f"slack:{OPS}"
TOLD = plan(slack=Slack(channel=OPS))
ROUTED = plan(slack=Slack(channel=OPS, critical=PAGE))
SECOND = timedelta(seconds=1)


class Served:
    """An aiohttp application as a service on a free port of this host."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.port = 0

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()


@contextmanager
def served(make: Callable[[], web.Application]) -> Iterator[str]:
    with in_background(lambda: Served(make()), name="receiver") as app:
        yield f"http://127.0.0.1:{app.port}"


class SlackWorld:
    """Rollouts that owe notices to Slack, and what of it is in the channels."""

    def __init__(self, slack: SimulatedSlack, url: str, clock: ManualClock) -> None:
        self.slack = slack
        self.url = url
        self.clock = clock
        self.store = MemoryStore()
        self.log = MemoryNotifier()
        self.restart()

    def restart(self, *, token: str | None = TOKEN, timeout_s: int = 5) -> None:
        """A new process."""
        api = SlackApi(token=token, url=f"{self.url}/api/", timeout_s=timeout_s)
        self.notifier = SlackNotifier(self.store, self.clock, api)
        self.sender = Sender(self.store, {"log": self.log, "slack": self.notifier}, self.clock)

    def owe(self, *notices: Notice, rollout: str = ROLLOUT, of: Plan = TOLD) -> None:
        now = self.clock.now()
        stamped = [replace(one, at=now) for one in notices]
        owe(self.store, *stamped, rollout=rollout, of=of, at=now)

    def send(self, times: int = 6, *, step: timedelta = SECOND) -> None:
        """Send whatever can be sent while so much time passes."""
        for _ in range(times):
            self.sender.send_due()
            self.clock.advance(step)

    def room(self, name: str = OPS) -> Room:
        return self.slack.room(name)

    @property
    def parent(self) -> Posted:
        (found,) = self.room().parents
        return found

    def events(self, name: str = OPS) -> list[Posted]:
        return [one for one in self.room(name).messages if one.thread_ts is not None]

    def rows(self) -> list[Owed]:
        return [one for one in self.store.deliveries(ROLLOUT) if one.destination != "log"]

    def thread(self) -> Thread:
        (found,) = self.store.threads(rollout=ROLLOUT)
        return found

    def asked(self, method: str) -> list[str]:
        """What was answered to calls of a method."""
        return [one.answer for one in self.slack.calls if one.method == method]


@contextmanager
def slack_world(*rooms: str | Room, **options) -> Iterator[SlackWorld]:
    clock = ManualClock(NOW)
    slack = SimulatedSlack(clock, rooms or (OPS, PAGE), **options)
    with served(slack.app) as url:
        yield SlackWorld(slack, url, clock)


def header(message: Posted) -> str:
    """The title of a message as it is shown."""
    return str(next(one["text"]["text"] for one in message.blocks if one["type"] == "header"))


def shown(message: Posted) -> str:
    """All texts of a message's blocks, a line each."""
    lines: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "text" and isinstance(value, str):
                    lines.append(value)
                else:
                    walk(value)
        elif isinstance(node, list):
            for one in node:
                walk(one)

    walk(message.blocks)
    return "\n".join(lines)
