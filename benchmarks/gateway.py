"""One gateway process beside a bare aiohttp pass-through, same upstream, same load, rounds interleaved.

    python -m benchmarks.gateway [--rounds N] [--litellm PROGRAM] [--json]

Real processes: the gateway is `canaryctl gateway`; it and the pass-through have the first core, everything else the
others (everything shares where there is one). The upstream is a raw asyncio server that answers a fixed 1 KB chat
completion at once; the pass-through reads a body, POSTs it and returns what comes. A plan with `unit: conversation`
splits the traffic 50:50, and every request has a line in the spool before its answer leaves. Two gateways:

- `counted`: lines go to a `canaryctl run` on a SQLite file, which counts them while requests are answered
- `swallowed`: the link takes lines and forgets them, so that only the gateway's own work is left

With the program of a LiteLLM proxy (`pip install 'litellm[proxy]' prometheus-client` in an environment of its own;
`--litellm`, or LITELLM in the environment) that is asked too: one worker on the same core, two deployments of equal
weight behind one model name, no database, no key. `litellm` counts nothing; `litellm, metered` has its Prometheus
metrics on, which is what it has for what a gateway's spool is for.

Throughput is a closed loop of 32 connections. Latency is an open loop of 300 requests/s, timed from the moment at which
a request was due; `added` is a percentile less the same percentile of the upstream asked directly. CPU is the
gateway process's own, user and system, per request of the closed loop. Ratios are within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from controller.clock import SystemClock
from controller.ports import Store
from controller.reconcile.submit import submit
from controller.rollout.commands import Apply, Promote
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Intent, ModelRef, Plan, Price, Rule, Step, Then, Unit
from controller.store.open import open_store
from controller.traffic.hub import GatewayTarget

HOST = "127.0.0.1"
TOKEN = "benchmarks-have-no-secrets"  # noqa: S105 # of a link on this host that lives for a minute
CONNECTIONS = 32
PER_SECOND = 300
CONVERSATIONS = 5_000
BUDGET = 0.5
LITELLM_BUDGET = 40
ADDED_BUDGET_MS = 2.0
CORES = sorted(os.sched_getaffinity(0))
FIRST, OTHERS = set(CORES[:1]), set(CORES[1:] or CORES)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CHAT = "/v1/chat/completions"
MODEL = "gpt-4.1"
LITELLM: Mapping[str, Mapping[str, Any]] = {
    "litellm": {},
    "litellm, metered": {"callbacks": ["prometheus"]},
}

_SPAWN = multiprocessing.get_context("spawn")


# The processes


@contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """What is started in this block has these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def served(serve: Callable[..., Any], *arguments: object) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its port and process id. `serve` sends the port when it listens."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=serve, args=(there, *arguments), daemon=True)
    process.start()
    try:
        if not here.poll(30):
            raise TimeoutError(f"{serve.__name__} does not listen after 30 s")
        yield here.recv(), process.pid or 0
    finally:
        process.terminate()
        process.join()


@contextmanager
def canaryctl(
    *arguments: str, log: Path, port: int, alive: str = "/livez", **settings: object
) -> Iterator[int]:
    """The command in a process of its own, once it answers on its port: its process id."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CANARY_")}
    environ |= {f"CANARY_{name.upper()}": str(value) for name, value in settings.items()}
    environ |= {"CANARY_LINK_TOKEN": TOKEN, "CANARY_LOG_FORMAT": "json"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            (sys.executable, "-m", "controller.cli.main", *arguments), stderr=out, env=environ
        )
    try:
        until(lambda: _answers(port, alive) or process.poll() is not None, what=arguments[0])
        if process.poll() is not None:
            raise RuntimeError(f"canaryctl {arguments[0]} ended:\n{log.read_text()}")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        return int(bound.getsockname()[1])


def status(port: int) -> dict[str, Any]:
    """What a gateway says of itself."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/canary/status", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def until(holds: Callable[[], bool], *, what: str, limit_s: float = 30.0) -> float:
    """Wait; the seconds that it took."""
    begun = time.perf_counter()
    while not holds():
        if time.perf_counter() - begun > limit_s:
            raise TimeoutError(f"{what}: not within {limit_s:g} s")
        time.sleep(0.02)
    return time.perf_counter() - begun


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=1):
            return True
    except OSError:
        return False


# The servers that are not canaryctl's


def _completion() -> bytes:
    """A chat completion of 1 KB, with its head."""
    text = "The parcel left the warehouse and will be with you in two days. " * 9
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text[:560],
        "refusal": None,
        "annotations": [],
    }
    answer = {
        "id": "chatcmpl-fixed",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 230,
            "completion_tokens": 118,
            "total_tokens": 348,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "fp_fixed",
    }
    body = json.dumps(answer).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_fixed\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Message:
    """Bytes of one HTTP/1.1 connection, cut at whole messages; every message has a content-length."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> bytes | None:
        """A whole message if there is one now."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        low = self._buffer[:head].lower()
        at = low.find(b"content-length:")
        length = int(low[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        end = head + 4 + length
        if len(self._buffer) < end:
            return None
        message, self._buffer = self._buffer[:end], self._buffer[end:]
        return message


class _Fixed(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._message = _Message()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._message.feed(data) is not None:
            self._transport.write(self._answer)  # type: ignore[attr-defined] # TCP: it writes


def serve_upstream(ready: Connection) -> None:
    async def serve() -> None:
        answer = _completion()
        server = await asyncio.get_running_loop().create_server(lambda: _Fixed(answer), HOST, 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def serve_pass_through(ready: Connection, upstream: str) -> None:
    """What any gateway on aiohttp pays: a server that reads a body, a client that sends it on."""
    import aiohttp
    from aiohttp import web

    async def serve() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                body, kind = await request.read(), {"Content-Type": "application/json"}
                async with session.post(upstream, data=body, headers=kind) as answer:
                    return web.Response(
                        body=await answer.read(), status=answer.status, headers=kind
                    )

            runner = web.ServerRunner(web.Server(handle, access_log=None))
            await runner.setup()
            await web.TCPSite(runner, HOST, 0, backlog=1024).start()
            ready.send(runner.addresses[0][1])
            await asyncio.Event().wait()

    asyncio.run(serve())


def serve_swallowing_link(ready: Connection) -> None:
    """A controller that has one rollout in force and forgets what gateways hand in."""
    from aiohttp import web

    from controller.logs import configure_logging
    from controller.reconcile.tick import Reconciler
    from controller.store.memory import MemoryStore
    from controller.traffic.link import LocalLink
    from controller.traffic.link_server import link_app

    configure_logging("json", "warning", stream=sys.stderr)
    clock, store, long = SystemClock(), MemoryStore(), timedelta(hours=1)
    hub = GatewayTarget(clock, term=long)
    rollout = start(store, plan())
    Reconciler(store=store, target=hub, clock=clock, fence=1, lease=long).tick(rollout)

    async def serve() -> None:
        app = link_app(LocalLink(hub, lambda _: None, clock), hub.replicas, token=TOKEN)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        ready.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


# The plan


def plan(
    name: str = "bench",
    model: str = MODEL,
    *,
    unit: Unit = Unit.CONVERSATION,
    rule: Rule | None = None,
) -> Plan:
    """Half of one model's traffic for a candidate, for as long as the benchmark takes."""
    price = Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1600))
    errors = Rule(
        name="errors",
        metric=CATALOGUE["error_rate"],
        limit=0.5,
        window=timedelta(minutes=30),
        then=Then.ROLLBACK,
    )
    return Plan(
        name=name,
        baseline=ModelRef(model=model, price=price),
        candidate=ModelRef(model=f"{model}-mini", price=price),
        match_model=model,
        unit=unit,
        intents=(Intent(name="refund"), Intent(name="other")),
        steps=(Step(share_bp=5_000, hold=timedelta(days=30)), Step(share_bp=10_000)),
        rules=(rule or errors,),
    )


def start(store: Store, made: Plan) -> str:
    """A rollout in its first step."""
    clock = SystemClock()
    rollout = submit(store, clock, made.name, Apply(plan=made, actor="benchmark")).state.rollout
    submit(store, clock, rollout, Promote(actor="benchmark"))
    return rollout


# The load


def request_of(model: str, *, unit: str, intent: str = "refund") -> bytes:
    """A chat request of 1 KB, as bytes on the wire."""
    asked = "Where is my parcel, and can I still send it back when it comes too late? " * 12
    messages = [
        {"role": "system", "content": "You answer for a shop. Be brief and polite."},
        {"role": "user", "content": asked[:800]},
    ]
    body = json.dumps({"model": model, "messages": messages, "temperature": 0.2}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer sk-none\r\n"
        "content-type: application/json\r\naccept: application/json\r\nuser-agent: benchmark\r\n"
        f"x-canary-unit: {unit}\r\nx-canary-intent: {intent}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, answered: Callable[[_Client], None]) -> None:
        self._answered = answered
        self._message = _Message()
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> None:
        self.transport.write(request)  # type: ignore[attr-defined] # TCP: it writes

    def data_received(self, data: bytes) -> None:
        answer = self._message.feed(data)
        if answer is None:
            return
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:500].decode(errors="replace"))
        self._answered(self)


class Load:
    """Takes its requests in turn; an answer that is none ends the benchmark."""

    def __init__(self) -> None:
        self._requests = [request_of(MODEL, unit=f"conv-{i}") for i in range(CONVERSATIONS)]
        self._next = 0

    def closed(self, port: int, seconds: float) -> tuple[int, float]:
        """Requests answered, and seconds, of 32 connections that ask again at once."""
        return asyncio.run(self._closed(port, seconds))

    def open(self, port: int, seconds: float) -> list[float]:
        """Seconds from the moment at which each request was due, 300 a second, to its answer's end."""
        return asyncio.run(self._open(port, seconds))

    def _request(self) -> bytes:
        self._next = (self._next + 1) % len(self._requests)
        return self._requests[self._next]

    async def _closed(self, port: int, seconds: float) -> tuple[int, float]:
        count, begun = 0, time.perf_counter()

        def answered(client: _Client) -> None:
            nonlocal count
            count += 1
            client.ask(self._request())

        clients = [await _connected(port, answered) for _ in range(CONNECTIONS)]
        begun = time.perf_counter()
        with _failing_loudly() as failure:
            for one in clients:
                one.ask(self._request())
            await asyncio.wait((failure,), timeout=seconds)
        took = time.perf_counter() - begun
        for one in clients:
            one.transport.close()
        return count, took

    async def _open(self, port: int, seconds: float) -> list[float]:
        times: list[float] = []
        free: list[_Client] = []

        def answered(client: _Client) -> None:
            times.append(time.perf_counter() - client.due)
            free.append(client)

        clients = [await _connected(port, answered) for _ in range(8)]
        free += clients
        total, begun = round(seconds * PER_SECOND), time.perf_counter() + 0.05
        with _failing_loudly() as failure:
            for number in range(total):
                due = begun + number / PER_SECOND
                await _moment(due)
                if not free:
                    clients.append(await _connected(port, answered))
                    free.append(clients[-1])
                client = free.pop()
                client.due = due
                client.ask(self._request())
            deadline = time.perf_counter() + 5
            while len(times) < total and not failure.done() and time.perf_counter() < deadline:
                await asyncio.sleep(0.005)
        for one in clients:
            one.transport.close()
        if len(times) < total:
            raise TimeoutError(f"{total - len(times)} of {total} requests had no answer")
        return times


async def _connected(port: int, answered: Callable[[_Client], None]) -> _Client:
    here = asyncio.get_running_loop()
    _, client = await here.create_connection(lambda: _Client(answered), HOST, port)
    return client


@contextmanager
def _failing_loudly() -> Iterator[asyncio.Future[None]]:
    """What goes wrong in a protocol is raised at the end of the block; the future is done as soon as it happens."""
    here = asyncio.get_running_loop()
    failure: asyncio.Future[None] = here.create_future()

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not failure.done():
            failure.set_exception(context.get("exception") or RuntimeError(context["message"]))

    here.set_exception_handler(note)
    yield failure
    here.set_exception_handler(None)
    if failure.done():
        failure.result()


async def _moment(due: float) -> None:
    """Until a moment, to some microseconds: the loop's own timer is a millisecond coarse."""
    early = due - time.perf_counter() - 0.002
    if early > 0:
        await asyncio.sleep(early)
    while time.perf_counter() < due:
        await asyncio.sleep(0)


# What is measured


@dataclass
class Case:
    """One address that is asked. `pid` 0: its process is not looked at. `settle` ends a round, of a gateway. One that
    cannot keep up with 300 requests a second is not asked for its latency.
    """

    name: str
    port: int
    pid: int = 0
    settle: Callable[[], float] | None = None
    keeps_up: bool = True
    rates: list[float] = field(default_factory=list)
    times: list[list[float]] = field(default_factory=list)
    requests: int = 0
    cpu_s: float = 0.0
    late_s: list[float] = field(default_factory=list)

    def throughput(self, load: Load, seconds: float) -> None:
        before = cpu_s(self.pid)
        count, took = load.closed(self.port, seconds)
        self.cpu_s += cpu_s(self.pid) - before
        self.requests += count
        self.rates.append(count / took)
        self.late_s.append(self.settled())

    def latency(self, load: Load, seconds: float) -> None:
        self.times.append(load.open(self.port, seconds))
        self.settled()

    def settled(self) -> float:
        return self.settle() if self.settle is not None else 0.0


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has had, user and system, all threads."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("VmRSS:")) / 1024


@contextmanager
def cases(litellm: str | None = None) -> Iterator[list[Case]]:
    """Everything, running."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as made:
        folder, enter = Path(made), stack.enter_context
        with on(OTHERS):
            upstream, _ = enter(served(serve_upstream))
            swallowing, _ = enter(served(serve_swallowing_link))
            counting = enter(_counting(folder))
        models = f"http://{HOST}:{upstream}/v1"
        with on(FIRST):
            bare, bare_pid = enter(served(serve_pass_through, f"http://{HOST}:{upstream}{CHAT}"))
            gateways = [
                enter(_gateway(folder / name, models, link))
                for name, link in (("swallowed", swallowing), ("counted", counting))
            ]
            proxies = [
                enter(_litellm(litellm, folder, models, name, settings))
                for name, settings in LITELLM.items()
                if litellm
            ]
        enter(on(OTHERS))
        yield [
            Case("direct", upstream),
            Case("pass-through", bare, bare_pid),
            *gateways,
            *proxies,
        ]


@contextmanager
def _counting(folder: Path) -> Iterator[int]:
    """`canaryctl run` with one rollout; the port of its link."""
    url, port = f"sqlite:///{folder}/canary.db", free_port()
    store = open_store(url, migrate=True)
    start(store, plan())
    store.close()
    log = folder / "run.log"
    with canaryctl("run", "--listen", f"{HOST}:{port}", log=log, port=port, database_url=url):
        yield port


@contextmanager
def _gateway(folder: Path, models: str, link: int) -> Iterator[Case]:
    port = free_port()
    folder.mkdir()
    arguments = ("--controller", f"http://{HOST}:{link}", "--upstream", models)
    listen = ("--listen", f"{HOST}:{port}")
    log = folder / "gateway.log"
    with canaryctl(
        "gateway", *arguments, *listen, log=log, port=port, gateway_dir=folder / "state"
    ) as pid:
        until(lambda: _in_force(port), what=f"{folder.name}: a share in force")
        yield Case(folder.name, port, pid, lambda: _delivered(port))


@contextmanager
def _litellm(
    program: str, folder: Path, models: str, name: str, settings: Mapping[str, Any]
) -> Iterator[Case]:
    """Its proxy as its documentation starts it, with one worker, splitting one model name evenly over two."""
    port = free_port()
    deployments = [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": models,
                "api_key": "sk-none",
                "weight": 1,
            },
        }
        for model in (MODEL, f"{MODEL}-mini")
    ]
    config, log = folder / f"{name}.json", folder / f"{name}.log"
    told = {"model_list": deployments, "litellm_settings": settings}
    config.write_text(json.dumps(told))  # JSON is YAML
    arguments = ("--config", str(config), "--host", HOST, "--port", str(port), "--num_workers", "1")
    # Without a key it has the least to do.
    environ = os.environ | {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            (program, *arguments), stdout=out, stderr=out, cwd=folder, env=environ
        )
    try:
        until(
            lambda: _answers(port, "/health/liveliness") or process.poll() is not None,
            what="litellm",
            limit_s=120,
        )
        if process.poll() is not None:
            raise RuntimeError(f"{program} ended:\n{log.read_text()[-2_000:]}")
        yield Case(name, port, process.pid, keeps_up=False)
    finally:
        process.terminate()
        process.wait(15)


def _in_force(port: int) -> bool:
    return any(share for one in status(port)["splits"] for share in one["shares"].values())


def _delivered(port: int) -> float:
    """Wait until nothing is spooled; the seconds that it took."""
    return until(
        lambda: status(port)["spool"]["pending_bytes"] == 0, what="everything counted", limit_s=60
    )


def measure(
    rounds: int, seconds: float, open_rounds: int, open_s: float, litellm: str | None
) -> list[dict[str, Any]]:
    load = Load()
    with cases(litellm) as listed:
        for one in listed:  # every connection and code path once
            load.closed(one.port, 0.5)
            one.settled()
        for number in range(max(rounds, open_rounds)):
            for one in listed:
                if number < rounds:
                    one.throughput(load, seconds)
            for one in listed:
                if number < open_rounds and one.keeps_up:
                    one.latency(load, open_s)
            print(f"round {number + 1} done", file=sys.stderr)
        return [_row(one, listed) for one in listed]


def _row(case: Case, listed: Sequence[Case]) -> dict[str, Any]:
    direct, bare = listed[0], listed[1]
    proxies = {one.name: _ratio(case, one) for one in listed if not one.keeps_up}
    row: dict[str, Any] = {
        "name": case.name,
        "rate": _spread(case.rates),
        "of_pass_through": _ratio(case, bare),
        "of_litellm": proxies.get("litellm"),
        "of_litellm_metered": proxies.get("litellm, metered"),
        "cpu_ms": 1_000 * case.cpu_s / case.requests if case.pid else None,
        "rss_mib": rss_mib(case.pid) if case.pid and case is not bare else None,
        "late_s": _spread(case.late_s),
    }
    for name, at in (("p50", 0.50), ("p99", 0.99)):
        of = _percentile_ms(case, at) if case.times else None
        row[f"{name}_ms"] = of
        row[f"added_{name}_ms"] = of - _percentile_ms(direct, at) if of is not None else None
    return row


def _ratio(case: Case, other: Case) -> dict[str, float]:
    return _spread([own / one for own, one in zip(case.rates, other.rates, strict=True)])


def _or_dash(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _percentile_ms(case: Case, at: float) -> float:
    """Of a round, then the median over the rounds: one bad second of the machine is one round's."""
    return 1_000 * statistics.median(percentile(times, at) for times in case.times)


def percentile(values: Sequence[float], at: float) -> float:
    """The smallest value that so large a part is not above."""
    ordered = sorted(values)
    return ordered[max(0, -int(-at * len(ordered) // 1) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of the closed loop")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round")
    parser.add_argument("--open-rounds", type=int, default=3)
    parser.add_argument("--open-seconds", type=float, default=5.0)
    parser.add_argument("--litellm", metavar="PROGRAM", default=os.environ.get("LITELLM"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = measure(
        asked.rounds, asked.seconds, asked.open_rounds, asked.open_seconds, asked.litellm
    )
    if asked.json:
        budgets = {
            "budget": BUDGET,
            "litellm_budget": LITELLM_BUDGET,
            "added_budget_ms": ADDED_BUDGET_MS,
        }
        print(json.dumps({**budgets, "measured": rows}, indent=2))
        return
    print(f"{'':<17}{'req/s':>8}{'range':>16}{'of pass-through':>24}", end="")
    print(f"{'× LiteLLM':>11}{'metered':>9}{'CPU ms':>8}{'RSS':>6}", end="")
    print(f"{'p50 ms':>9}{'added':>7}{'p99 ms':>9}{'added':>7}")
    for one in rows:
        rate, ratio = one["rate"], one["of_pass_through"]
        print(
            f"{one['name']:<17}{rate['median']:>8,.0f}{rate['least']:>8,.0f}..{rate['most']:<6,.0f}"
            f"{ratio['median']:>10.0%} ({ratio['least']:>4.0%} .. {ratio['most']:>4.0%})"
            f"{_or_dash(one['of_litellm'] and one['of_litellm']['median'], 1):>11}"
            f"{_or_dash(one['of_litellm_metered'] and one['of_litellm_metered']['median'], 1):>9}"
            f"{_or_dash(one['cpu_ms'], 3):>8}{_or_dash(one['rss_mib'], 0):>6}"
            f"{_or_dash(one['p50_ms'], 2):>9}{_or_dash(one['added_p50_ms'], 2):>7}"
            f"{_or_dash(one['p99_ms'], 2):>9}{_or_dash(one['added_p99_ms'], 2):>7}"
        )
    counted = next(one for one in rows if one["name"] == "counted")["late_s"]
    print(
        f"budget {BUDGET:.0%} of the pass-through; after a round everything was counted within "
        f"{counted['median']:.1f} s ({counted['least']:.1f} .. {counted['most']:.1f})"
    )


if __name__ == "__main__":
    main()
