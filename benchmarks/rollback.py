"""Last bad outcome accepted -> candidate off in two gateways: `python benchmarks/rollback.py [--rollbacks N] [--json]`.

Real processes: one `canaryctl run` on a SQLite file, with the default tick interval of a minute, so that it is the
arrival of an outcome that acts and not the minute; two `canaryctl gateway`; an upstream that answers at once. Every
rollback has a rollout of its own, all of them running from the beginning: half of one model's traffic, and the rule
`escalation_rate above 10%, window 30m, minSamples 20, then rollback`. Each stands at its limit, 2 of 20 candidate
requests, until one more `POST /v1/outcomes` tips it over.

The clock starts when a gateway has answered that POST with 202. It stops when the later of the two gateways has the
split with shares of 0 in force: its log says so, and its status is asked whether that is true. Reading logs costs the
gateways nothing; a status that is asked all the while would. `decided` is when the controller had committed and told
its target.

Rollbacks in silence and rollbacks beside 20 requests a second of ten other rollouts take turns, ten of each. The last
one is placed where it hurts most, and is no part of the percentiles: its outcome arrives when the controller begins to
tick every rollout because their minute has come.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load import percentile, request_of
from benchmarks.processes import HOST, canaryctl, free_port, served, status, until
from benchmarks.rollout import plan
from benchmarks.servers import serve_upstream
from benchmarks.wire import CHAT
from controller.clock import Clock, ManualClock
from controller.ports import Note, Store, VerifiedStretch
from controller.reconcile.submit import submit
from controller.rollout.commands import Apply, Promote
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Plan, Rule, Then, Unit
from controller.store.open import open_store

SAMPLES, ESCALATED, LIMIT = 20, 2, 0.1
AGO = timedelta(minutes=32)
BUSY = 10
PER_SECOND = 20
TURN = 10
BUDGET_S = 1.0
MINUTE_S = 60.0  # CANARY_TICK_INTERVAL_S, by default
SILENCE, TRAFFIC, SWEEP = "in silence", f"beside {PER_SECOND} req/s", "in the minute's tick"


def escalating(name: str) -> Plan:
    rule = Rule(
        name="escalation",
        metric=CATALOGUE["escalation_rate"],
        limit=LIMIT,
        window=timedelta(minutes=30),
        then=Then.ROLLBACK,
        min_samples=SAMPLES,
    )
    return plan(name, name, unit=Unit.REQUEST, rule=rule)


class Caller:
    """An application at one gateway, on one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=10)

    def ask(self, model: str) -> tuple[str, str]:
        """One chat request: its id and its arm."""
        head, _, body = request_of(model, unit="", intent="other").partition(b"\r\n\r\n")
        named = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
        headers = {name.decode(): value.decode() for name, value in named}
        answer = self._post(CHAT, body, headers, 200)
        return answer.headers["x-canary-request-id"], answer.headers["x-canary-arm"]

    def escalate(self, request: str) -> None:
        """An outcome; when this returns it was accepted."""
        said = {"request_id": request, "flags": {"escalated": True}}
        headers = {"Content-Type": "application/json"}
        self._post("/v1/outcomes", json.dumps(said).encode(), headers, 202)

    def _post(
        self, path: str, body: bytes, headers: dict[str, str], expected: int
    ) -> http.client.HTTPResponse:
        self._connection.request("POST", path, body=body, headers=headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != expected:
            raise RuntimeError(f"{path}: {answer.status} {said[:300]!r}")
        return answer


class Log:
    """A process's log, read as it grows."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("rb")
        self._rest = b""
        self._found: list[dict[str, Any]] = []

    def event(self, name: str, **fields: object) -> dict[str, Any] | None:
        """The first line of this event that has these fields."""
        self._read()
        wanted = {"event": name, **fields}
        return next((one for one in self._found if wanted.items() <= one.items()), None)

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        self._found += [json.loads(one) for one in lines if one.startswith(b"{")]


@dataclass(frozen=True, slots=True)
class World:
    """Everything, running."""

    ports: tuple[int, int]
    gateways: tuple[Log, Log]
    controller: Log


@contextmanager
def running(rollouts: Sequence[str]) -> Iterator[World]:
    with ExitStack() as stack, tempfile.TemporaryDirectory() as made:
        folder, enter = Path(made), stack.enter_context
        url, link = f"sqlite:///{folder}/canary.db", free_port()
        store, begun = open_store(url, migrate=True), ManualClock(datetime.now(UTC) - AGO)
        enter(closing(store))
        for one in rollouts:
            submit(store, begun, one, Apply(plan=escalating(one), actor="benchmark"))
        upstream, _ = enter(served(serve_upstream))
        logs = [folder / f"{name}.log" for name in ("run", "a", "b")]
        listen = ("--listen", f"{HOST}:{link}")
        enter(canaryctl("run", *listen, log=logs[0], port=link, database_url=url))
        ports = (free_port(), free_port())
        for port, log in zip(ports, logs[1:], strict=True):
            where = ("--controller", f"http://{HOST}:{link}", "--listen", f"{HOST}:{port}")
            models = ("--upstream", f"http://{HOST}:{upstream}/v1")
            own = folder / log.stem
            enter(canaryctl("gateway", *where, *models, log=log, port=port, gateway_dir=own))
        for port in ports:
            until(partial(_holds, port, len(rollouts), 0), what="every rollout known")
        for one in rollouts:
            _half_an_hour_in_force(store, begun, f"{one}/1")
        for port in ports:
            until(partial(_holds, port, len(rollouts), 5_000), what="every share in force")
        yield World(ports, (Log(logs[1]), Log(logs[2])), Log(logs[0]))


def _half_an_hour_in_force(store: Store, begun: Clock, rollout: str) -> None:
    """A window is judged when it was in force throughout: let the first step have begun before it."""
    # Noted before the commit: a running controller reads what others noted when it sees a new head.
    state = store.head(rollout).state
    begin = max(begun.now(), state.updated_at)
    stretch = VerifiedStretch(version=state.version + 1, start=begin, end=datetime.now(UTC))
    store.note([Note(rollout=rollout, verified=(stretch,))])
    submit(store, begun, rollout, Promote(actor="benchmark"))


def _holds(port: int, count: int, share_bp: int) -> bool:
    held = [set(one["shares"].values()) for one in status(port)["splits"]]
    return len(held) == count and all(shares == {share_bp} for shares in held)


class Busy:
    """Other rollouts' requests, at both gateways, while it is switched on."""

    def __init__(self, world: World, rollouts: Sequence[str]) -> None:
        self._callers = [Caller(port) for port in world.ports]
        self._rollouts = rollouts
        self.on, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(1 / PER_SECOND):
            if self.on.is_set():
                number += 1
                self._callers[number % 2].ask(self._rollouts[number % len(self._rollouts)])


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from the accepted outcome."""

    beside: str
    decided_s: float
    off_s: float


def prepared(caller: Caller, model: str) -> str:
    """Bring a rollout to its limit; the request whose outcome would tip it."""
    requests: list[str] = []
    while len(requests) < SAMPLES:
        request, arm = caller.ask(model)
        if arm == "candidate":
            requests.append(request)
    for one in requests[:ESCALATED]:
        caller.escalate(one)
    return requests[-1]


def rolled_back(world: World, caller: Caller, name: str, request: str, *, beside: str) -> Took:
    rollout = f"{name}/1"
    if world.controller.event("decision", rollout=rollout, action="rollback"):
        raise RuntimeError(f"{rollout} was rolled back before its last outcome")
    caller.escalate(request)
    accepted, accepted_at = time.perf_counter(), time.time()
    off = {"shares": {"refund": 0, "other": 0}, "version": 3}  # 1: none yet, 2: the first step
    while not all(log.event("split_in_force", rollout=rollout, **off) for log in world.gateways):
        if time.perf_counter() - accepted > 20:
            raise TimeoutError(f"{rollout}: not off within 20 s")
        time.sleep(0.001)
    off_s = time.perf_counter() - accepted
    for port in world.ports:
        shares = next(one["shares"] for one in status(port)["splits"] if one["rollout"] == rollout)
        if any(shares.values()):
            raise RuntimeError(f"{rollout}: a gateway's log says off, its status {shares}")
    until(
        lambda: world.controller.event("decision", rollout=rollout, action="rollback") is not None,
        what=f"{rollout}: the decision in the log",
    )
    decided = world.controller.event("decision", rollout=rollout, action="rollback") or {}
    at = datetime.fromisoformat(decided["timestamp"]).timestamp()
    return Took(beside=beside, decided_s=at - accepted_at, off_s=off_s)


def measure(count: int) -> list[Took]:
    names = [f"bench-{number:03d}" for number in range(count)]
    others = [f"busy-{number}" for number in range(BUSY)]
    draw = random.Random(7)
    with running([*names, *others]) as world, Busy(world, others) as busy:
        caller = Caller(world.ports[0])
        tipping = {name: prepared(caller, name) for name in names}
        until(lambda: status(world.ports[0])["spool"]["pending_bytes"] == 0, what="all counted")
        print(f"{count} rollouts stand at their limit", file=sys.stderr)
        time.sleep(1)
        found = []
        for number, name in enumerate(names[:-1]):
            beside = (SILENCE, TRAFFIC)[number // TURN % 2]
            (busy.on.set if beside == TRAFFIC else busy.on.clear)()
            time.sleep(
                draw.uniform(0.2, 0.6)
            )  # at no fixed place between two polls of the database
            found.append(rolled_back(world, caller, name, tipping[name], beside=beside))
        busy.on.clear()
        _until_the_minute(world.controller)
        found.append(rolled_back(world, caller, names[-1], tipping[names[-1]], beside=SWEEP))
        return found


def _until_the_minute(controller: Log) -> None:
    """Until every rollout is about to be due: an outcome that is accepted now arrives among their ticks."""
    begun = datetime.fromisoformat((controller.event("link_listening") or {})["timestamp"])
    age_s = (datetime.now(UTC) - begun).total_seconds()
    time.sleep(MINUTE_S - age_s % MINUTE_S - 0.05)


def _figures(name: str, found: Sequence[Took]) -> dict[str, Any]:
    off, decided = [one.off_s for one in found], [one.decided_s for one in found]
    return {
        "name": name,
        "rollbacks": len(found),
        "decided_p50_s": statistics.median(decided),
        "p50_s": percentile(off, 0.5),
        "p90_s": percentile(off, 0.9),
        "p99_s": percentile(off, 0.99),
        "most_s": max(off),
        "off_s": [round(one, 4) for one in off],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rollbacks", type=int, default=61)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.rollbacks < TURN + 2:
        parser.error(f"at least {TURN + 2} rollbacks: one of each kind")
    found = measure(asked.rollbacks)
    quiet, busy, swept = (
        [one for one in found if one.beside == beside] for beside in (SILENCE, TRAFFIC, SWEEP)
    )
    rows = [
        _figures(SILENCE, quiet),
        _figures(TRAFFIC, busy),
        _figures("both", [*quiet, *busy]),
        _figures(SWEEP, swept),
    ]
    if asked.json:
        print(json.dumps({"budget_s": BUDGET_S, "measured": rows}, indent=2))
        return
    print(f"{'':<22}{'n':>5}{'decided p50':>13}{'off p50':>10}{'p90':>9}{'p99':>9}{'most':>9}")
    for one in rows:
        print(
            f"{one['name']:<22}{one['rollbacks']:>5}{one['decided_p50_s']:>11.3f} s"
            f"{one['p50_s']:>8.3f} s{one['p90_s']:>7.3f} s{one['p99_s']:>7.3f} s{one['most_s']:>7.3f} s"
        )
    print(f"budget: p99 of {BUDGET_S:g} s")


if __name__ == "__main__":
    main()
