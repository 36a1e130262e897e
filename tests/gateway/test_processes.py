"""The commands as processes of their own, over real sockets: what an operator starts, kills and starts again."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from controller.cli.context import Context
from controller.cli.main import run
from controller.simulate.services.upstream import SimulatedModels, Skill
from tests.accounting.stores import DATABASES
from tests.gateway.servers import HOST, eventually, simulated

TOKEN = "a token of this test alone"
NAME = "support-bot"
REFUND = {"x-canary-intent": "refund"}
PLAN = """\
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {name: support-bot}
spec:
  baseline: {model: old-model, price: {input: 2 USD, output: 8 USD}}
  candidate: {model: new-model, price: {input: 0.40 USD, output: 1.60 USD}}
  assignment: {unit: request}
  intents: [{name: refund}]
  traffic: {gateway: {}}
  steps: [{share: 50%, hold: 1h}]
  rules:
    - {name: escalation, metric: escalation_rate, above: 50%, window: 30m, minSamples: 50, then: rollback}
"""


@dataclass
class Process:
    """One command, and what it said."""

    running: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def said(self) -> str:
        return self.err.read_text(encoding="utf-8")

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.lines() if one.get("event") == event]

    def lines(self) -> list[dict[str, Any]]:
        """Its log; an unfinished last line is left out."""
        whole = self.said.rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in whole if line.startswith("{")]

    def until(self, event: str) -> dict[str, Any]:
        """The first log line of an event; AssertionError with all that was said if the process ends before."""

        def found() -> bool:
            assert self.running.poll() is None, self.said
            return bool(self.logged(event))

        eventually(found)
        return self.logged(event)[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.running.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        return self.running.wait(timeout=20)


@dataclass
class Host:
    """A folder with a database and a plan, and the processes that were started in it."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    started: list[Process] = field(default_factory=list)

    def start(self, *arguments: str, **environ: str) -> Process:
        number = len(self.started)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        with out.open("wb") as to_out, err.open("wb") as to_err:
            running = subprocess.Popen(
                [sys.executable, "-m", "controller.cli.main", *arguments],
                cwd=self.folder,
                env=self._environ(environ),
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
            )
        self.started.append(Process(running, out, err))
        return self.started[-1]

    def cli(self, *arguments: str) -> Any:
        """A command that ends well, run in this process; what it printed, read as JSON if it is."""
        out, err = io.StringIO(), io.StringIO()
        code = run(arguments, Context(environ=self._environ({}), stdout=out, stderr=err))
        assert code == 0, err.getvalue()
        return json.loads(out.getvalue()) if "json" in arguments else out.getvalue()

    def refused(self, *arguments: str, **environ: str) -> str:
        """The one line of a command that exits with 2."""
        process = self.start(*arguments, **environ)
        assert process.ended() == 2, process.said
        lines = process.said.splitlines()
        assert len(lines) == 1, process.said
        return lines[0]

    def controller(self, listen: str = f"{HOST}:0", **environ: str) -> tuple[Process, str]:
        """`canaryctl run`, and the address of its link."""
        process = self.start("run", "--listen", listen, CANARY_LINK_TOKEN=TOKEN, **environ)
        return process, process.until("link_listening")["address"]

    def gateway(self, name: str, controller: str, upstream: str, **environ: str) -> Gateway:
        """`canaryctl gateway` with a folder of its own."""
        given = {"CANARY_LINK_TOKEN": TOKEN, "CANARY_GATEWAY_DIR": str(self.folder / name)}
        options = ("--controller", f"http://{controller}", "--upstream", upstream)
        process = self.start("gateway", *options, "--listen", f"{HOST}:0", **{**given, **environ})
        listening = process.until("gateway_started")["listening"]
        return Gateway(process, f"http://{listening}/v1", self.folder / name)

    def plan(self) -> str:
        file = self.folder / "plan.yaml"
        file.write_text(PLAN, encoding="utf-8")
        return str(file)

    def end(self) -> None:
        for one in self.started:
            if one.running.poll() is None:
                one.running.kill()
                one.running.wait(timeout=10)

    def _environ(self, given: dict[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "CANARY_DATABASE_URL": f"sqlite:///{self.folder}/canary.db",
            "CANARY_ACTOR": "ada",
            "CANARY_OPS_LISTEN": f"{HOST}:0",
            **self.environ,
            **given,
        }


@dataclass(frozen=True, slots=True)
class Gateway:
    process: Process
    url: str
    folder: Path

    def asked(self, times: int, *, first: int = 0) -> list[Asked]:
        """So many questions, each answered."""
        with openai.OpenAI(base_url=self.url, api_key="sk-test", max_retries=0) as there:
            return [_asked(there, number) for number in range(first, first + times)]

    def spooled(self) -> int:
        """Bytes in its spool's files."""
        return sum(one.stat().st_size for one in (self.folder / "spool").glob("0*.jsonl"))

    def arms(self, times: int = 40) -> set[str | None]:
        return {one.arm for one in self.asked(times)}


@dataclass(frozen=True, slots=True)
class Asked:
    name: str
    arm: str | None  # None if the request was passed through


def _asked(there: openai.OpenAI, number: int) -> Asked:
    raw = there.chat.completions.with_raw_response.create(
        model="old-model",
        messages=[{"role": "user", "content": f"[refund] {number} + 25 = ?"}],
        extra_headers=REFUND,
    )
    completion = raw.parse()
    assert completion.choices[0].message.content is not None
    assert str(number + 25) in completion.choices[0].message.content
    arm = raw.headers.get("x-canary-arm")
    served = {"baseline": "old-model", "candidate": "new-model", None: "old-model"}[arm]
    assert completion.model == served
    return Asked(raw.headers["x-canary-request-id"], arm)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    models = SimulatedModels({"old-model": Skill(), "new-model": Skill()}, seed=1)
    with simulated(models) as url:
        yield url


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.end()


@contextmanager
def taken() -> Iterator[str]:
    """An address that somebody else listens on."""
    with closing(socket.socket()) as there:
        there.bind((HOST, 0))
        there.listen()
        yield f"{HOST}:{there.getsockname()[1]}"


def share_of(host: Host) -> int:
    (rollout,) = host.cli("get", "-o", "json")["items"]
    return rollout["share_bp"]


def both_arms(gateway: Gateway) -> Callable[[], bool]:
    return lambda: gateway.arms() == {"baseline", "candidate"}


def only_baseline(gateway: Gateway) -> Callable[[], bool]:
    return lambda: gateway.arms(20) == {"baseline"}


# The gateway is small

SMALL = """
import asyncio, json, sys, threading, urllib.request
from pathlib import Path
from controller.cli.background import in_background
from controller.clock import SystemClock
from controller.wiring import build_gateway, link_to


class Served:
    def __init__(self):
        link = link_to(["http://127.0.0.1:9"], "a token of this test alone")
        self.gateway = build_gateway(Path(sys.argv[2]), link, sys.argv[1], SystemClock())

    async def start(self):
        await self.gateway.start("127.0.0.1", 0)

    async def stop(self):
        await self.gateway.stop()


with in_background(Served, name="gateway") as served:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{served.gateway.port}/v1/chat/completions",
        data=json.dumps({"model": "old-model", "messages": [{"role": "user", "content": "hi"}]}).encode(),
        headers={"Authorization": "Bearer sk-test"},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.load(answer)["model"] == "old-model"
json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stderr)
"""
HEAVY = {
    "alembic",
    "apscheduler",
    "kubernetes",
    "numpy",
    "openai",
    "pandas",
    "scipy",
    "slack_sdk",
    "sqlalchemy",
    "statsmodels",
}


def test_a_gateway_that_has_answered_has_loaded_nothing_heavy(upstream, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SMALL, upstream, str(tmp_path / "gateway")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert "aiohttp" in loaded
    assert loaded & HEAVY == set()


# Everything in one process


@pytest.fixture(params=list(DATABASES))
def database(request: pytest.FixtureRequest, host: Host) -> Iterator[str]:
    """The kind of the host's database, which is there and empty."""
    with DATABASES[request.param](host.folder) as url:
        host.environ["CANARY_DATABASE_URL"] = url
        yield request.param
        host.end()


def test_up_answers_requests_moves_the_rollout_and_ends_at_a_signal(host, database, upstream):
    up = host.start("up", "--plan", host.plan(), "--upstream", upstream, "--listen", f"{HOST}:0")
    listening = up.until("gateway_started")["listening"]
    gateway = Gateway(up, f"http://{listening}/v1", host.folder / "canaryctl-gateway")

    # Without a split a request passes through, and is of no rollout.
    eventually(lambda: "baseline" in gateway.arms(1))
    eventually(both_arms(gateway))

    assert share_of(host) == 5_000
    assert up.stop() == 0
    assert "Traceback" not in up.said
    words = [line for line in up.said.splitlines() if not line.startswith("{")]
    assert words == [
        "support-bot/1 started",
        f"Gateway: {gateway.url} is an OpenAI client's base URL now.",
    ]
    assert [one for one in up.lines() if one["level"] != "info"] == []


# One controller, two gateways


def test_two_gateways_follow_one_controller(host, database, upstream):
    host.cli("apply", "-f", host.plan(), "--reason", "test")
    _, address = host.controller()
    gateways = [host.gateway(name, address, upstream) for name in ("one", "two")]

    for gateway in gateways:
        eventually(both_arms(gateway))
    host.cli("rollback", NAME, "--reason", "enough")
    for gateway in gateways:
        eventually(only_baseline(gateway))

    assert share_of(host) == 0
    # A command reaches every gateway at once: nothing waited for the tick, which is a minute away.
    assert [one.process.stop() for one in gateways] == [0, 0]
    for gateway in gateways:
        assert "Traceback" not in gateway.process.said
        assert {one["level"] for one in gateway.process.lines()} == {"info"}


def test_a_gateway_with_a_wrong_token_is_told_so_and_answers_all_the_same(host, upstream):
    host.cli("apply", "-f", host.plan(), "--reason", "test")
    _, address = host.controller()
    gateway = host.gateway("one", address, upstream, CANARY_LINK_TOKEN="a token of somebody else")

    told = gateway.process.until("controller_unreachable")

    assert "401" in told["error"]
    assert "CANARY_LINK_TOKEN" in told["error"]
    assert gateway.arms(5) == {None}


# What is refused, in one line


def test_a_gateway_says_what_it_is_missing(host, upstream):
    models, controller = ("--upstream", upstream), ("--controller", "http://127.0.0.1:9")
    token = {"CANARY_LINK_TOKEN": TOKEN}

    assert "CANARY_UPSTREAM_URL" in host.refused("gateway", *controller, **token)
    assert "CANARY_CONTROLLER_URL" in host.refused("gateway", *models, **token)
    assert "CANARY_LINK_TOKEN" in host.refused("gateway", *models, *controller)


def test_an_address_that_is_taken_is_one_line(host, upstream):
    models, controller = ("--upstream", upstream), ("--controller", "http://127.0.0.1:9")
    token = {"CANARY_LINK_TOKEN": TOKEN}

    with taken() as address:
        for arguments in (
            ("gateway", *models, *controller, "--listen", address),
            ("up", *models, "--listen", address),
            ("up", *models, "--listen", f"{HOST}:0", "--ops-listen", address),
            ("run", "--listen", address),
            ("run", "--listen", f"{HOST}:0", "--ops-listen", address),
        ):
            line = last_line(host, *arguments, **token)
            assert line.startswith(f"{address} cannot be listened on: ")
            assert "already in use" in line


def last_line(host: Host, *arguments: str, **environ: str) -> str:
    """The one line of a command that exits with 2 after it has logged."""
    process = host.start(*arguments, **environ)
    assert process.ended() == 2, process.said
    lines = [line for line in process.said.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, process.said
    assert {one["level"] for one in process.lines()} <= {"info"}, process.said
    return lines[0]


def test_two_gateways_do_not_share_a_folder(host, upstream):
    host.gateway("one", "127.0.0.1:9", upstream)

    line = host.refused(
        "gateway", "--controller", "http://127.0.0.1:9", "--upstream", upstream,
        "--listen", f"{HOST}:0", CANARY_LINK_TOKEN=TOKEN, CANARY_GATEWAY_DIR=str(host.folder / "one"),
    )  # fmt: skip

    assert "another gateway uses it" in line
    assert "CANARY_GATEWAY_DIR" in line


@pytest.mark.parametrize("option", ["--upstream", "--controller"])
def test_what_is_no_address_is_refused(option, host, upstream):
    given = {"--upstream": upstream, "--controller": "http://127.0.0.1:9", option: "models"}
    arguments = [word for pair in given.items() for word in pair]

    line = host.refused("gateway", *arguments, CANARY_LINK_TOKEN=TOKEN)

    assert "'models' is not an address" in line


# What is killed


def test_a_gateway_that_is_killed_right_after_its_answers_loses_none_of_them(host, upstream):
    host.cli("apply", "-f", host.plan(), "--reason", "test")
    _, address = host.controller()
    gateway = host.gateway("one", address, upstream)
    eventually(both_arms(gateway))

    # When it is killed and started again, several times, in the midst of its deliveries
    answered: list[Asked] = []
    for _ in range(3):
        answered += gateway.asked(30)
        gateway.process.stop(signal.SIGKILL)
        gateway = host.gateway("one", address, upstream)

    # Then the restarted one goes on with its split, and everything answered is counted once
    assert {one.arm for one in answered} == {"baseline", "candidate"}
    eventually(lambda: {one.name for one in answered} <= set(counted(host)))
    assert set(counted(host).values()) == {1}


@pytest.mark.slow
def test_a_controller_that_is_killed_for_longer_than_the_lease_loses_nothing(host, upstream):
    host.environ = {
        "CANARY_TICK_INTERVAL_S": "1",
        "CANARY_LEASE_S": "3",
        "CANARY_LEADER_TERM_S": "1",
    }
    host.cli("apply", "-f", host.plan(), "--reason", "test")
    controller, address = host.controller()
    gateway = host.gateway("one", address, upstream)
    asked: list[Asked] = []

    def ask(times: int = 20) -> set[str | None]:
        asked.extend(gateway.asked(times, first=len(asked)))
        return {one.arm for one in asked[-times:]}

    # Given: a split in force
    eventually(lambda: ask() == {"baseline", "candidate"})

    # When the controller is killed, everything is answered, after the lease by the baseline, and kept
    controller.stop(signal.SIGKILL)
    before = gateway.spooled()
    eventually(lambda: ask() == {"baseline"} and gateway.process.logged("lease_ran_out"))
    assert ask() == {"baseline"}
    assert gateway.spooled() > before

    # Then, when it is back, the share comes back, and everything that was answered is counted once
    _, _ = host.controller(address)
    eventually(lambda: ask() == {"baseline", "candidate"})
    answered = Counter(one.name for one in asked if one.arm is not None)
    eventually(lambda: set(counted(host)) >= set(answered))
    eventually(lambda: "expire" in actions(host), within_s=10)
    assert counted(host) == answered
    assert set(answered.values()) == {1}
    assert share_of(host) == 5_000
    assert actions(host).count("expire") == 1
    assert ask() == {"baseline", "candidate"}
    assert gateway.process.stop() == 0


def counted(host: Host) -> Counter[str]:
    with closing(sqlite3.connect(host.folder / "canary.db", timeout=10)) as database:
        return Counter(name for (name,) in database.execute("SELECT id FROM observations"))


def actions(host: Host) -> list[str]:
    return [one["action"] for one in host.cli("history", NAME, "-o", "json")["items"]]
