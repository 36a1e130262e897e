"""Ten thousand active plans on one controller that has one core.

    python -m benchmarks.scale [--plans N] [--rate N] [--seconds N] [--database sqlite postgresql] [--json]

Every plan is at its first step of 10% with two intents and four rules (accuracy 24 h, escalation 24 h, errors 1 h,
latency ratio 1 h for 15 min) and has some minutes of history. The controller's loop, its ingest and its target in
memory are one process on one core; this one, which writes the requests, and the database's server are on the others.
First it starts, as after a restart: until every plan was judged. Then requests come at `--rate` a second over all
plans, a hundredth of which have a fifth of them; every second request is graded later. After a while some plans get
twenty escalated requests at once, one plan after the other: from the answer of the ingest to the candidate off.
A judgement is everything that a tick does but its note, which waits up to half a second for others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select

from benchmarks.databases import DATABASES, database, present, version
from controller.cli.background import collect_seldom
from controller.clock import ManualClock, SystemClock
from controller.ports import Head, Note, Split, Standing, Telemetry
from controller.reconcile.intake import Intake
from controller.reconcile.loop import Loop
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
from controller.rollout.status import Status
from controller.store import schema
from controller.store.open import open_store
from controller.traffic.memory import MemoryTarget

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
INTENTS = ("refund", "order-status")
HISTORY_MIN = 120
LEASE = timedelta(days=1)  # nobody renews for the gateways that are not there
BATCH_S = 0.1
SETTLE_S = 75.0  # until nothing is left of the burst of a start: more than an interval
ROLLBACKS = 20
BUDGET = {"judged_s": 60.0, "rss_mib": 1024.0, "rollback_s": 1.0}


def plan(name: str) -> Plan:
    def rule(name: str, metric: str, limit: float, window: timedelta, **rest: object) -> Rule:
        usual = Rule(
            name=name, metric=CATALOGUE[metric], limit=limit, window=window, then=Then.PAUSE
        )
        return replace(usual, **rest)  # type: ignore[arg-type] # the fields differ from rule to rule

    price = Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1600))
    return Plan(
        name=name,
        baseline=ModelRef(model="gpt-4.1", price=price),
        candidate=ModelRef(model="gpt-4.1-mini", price=price),
        match_model=f"gpt-4.1-{name}",
        unit=Unit.REQUEST,
        intents=tuple(Intent(name=one, critical=one == "refund") for one in INTENTS),
        steps=(Step(share_bp=1000, hold=72 * HOUR, min_samples=500), Step(share_bp=10_000)),
        rules=(
            rule(
                "accuracy",
                "accuracy_delta",
                0.015,
                24 * HOUR,
                scope=Scope.CRITICAL,
                evidence=Evidence.CONFIDENT,
            ),
            rule("escalation", "escalation_rate", 0.02, 24 * HOUR, then=Then.ROLLBACK),
            rule("errors", "error_rate", 0.5, HOUR),
            rule("latency", "latency_p95_ratio", 5.0, HOUR, sustained=15 * MINUTE),
        ),
        labels=Labels(delay=MINUTE),
        holdback_bp=100,
        max_blind=timedelta(days=30),
    )


def rollout_of(number: int) -> str:
    return f"plan-{number:05}/1"


def request(
    draw: random.Random, name: str, rollout: str, at: datetime, *, bad: bool = False
) -> Observation:
    return Observation(
        id=name,
        rollout=rollout,
        at=at,
        unit=name,
        arm=Arm.CANDIDATE if bad or draw.random() < 0.1 else Arm.BASELINE,
        intent=INTENTS[draw.random() < 0.5],
        version=2,
        assigned=True,
        flags={"error": False, "escalated": bad},
        quantities={
            "input_tokens": 5_000,
            "output_tokens": 1_000,
            "cost_nusd": 3_600_000,
            "latency_us": 800_000 + draw.randrange(400_000),
        },
    )


# The world before


def populate(url: str, plans: int, begun: datetime) -> None:
    """Plans at their first step, with some requests counted and judged, as the controller before left them.

    One is really applied, promoted and sent its requests; the others are its rows under other names.
    """
    store, first = open_store(url, migrate=False), rollout_of(0)
    clock, one = ManualClock(begun), plan(first.removesuffix("/1"))
    submit(store, clock, one.name, Apply(plan=one, actor="benchmark", reason="scale"))
    submit(store, clock, one.name, Promote(actor="benchmark", reason="scale"))
    draw = random.Random(5)
    for minute in range(HISTORY_MIN):
        at = begun + minute * MINUTE
        sent = (request(draw, f"h{minute}", first, at), request(draw, f"i{minute}", first, at))
        store.ingest(Batch(observations=sent[: 1 + minute % 2]), at)
    seq = store.sight(first).seq
    store.note([Note(rollout=first, through=datetime.now(UTC), seq=seq)])
    with store._database.engine.begin() as connection:
        for table in (schema.plans, schema.rollouts, *COPIED):
            _copy(connection, table, store.head(first), plans)
    store.close()


COPIED = (schema.records, schema.splits, schema.judged, schema.minutes)


def _copy(connection: Connection, table: Table, head: Head, plans: int) -> None:
    """The first plan's rows for every other, with its name, its digest and its hashes exchanged for others'."""
    rows = [dict(row._mapping) for row in connection.execute(select(table))]
    for begin in range(1, plans, 500):
        numbers = range(begin, min(begin + 500, plans))
        copies = [_renamed(row, head, number) for number in numbers for row in rows]
        if copies:
            connection.execute(table.insert(), copies)


def _renamed(row: Mapping[str, Any], head: Head, number: int) -> dict[str, Any]:
    name, digest = head.state.name, head.state.plan_digest
    other = f"{number:05}"
    mark = f"p{other}"  # no hash has a "p": none of the first plan's can be another's

    def renamed(text: str) -> str:
        return text.replace(name, f"plan-{other}").replace(digest, mark + digest[6:])

    copy = {key: renamed(one) if isinstance(one, str) else one for key, one in row.items()}
    for key in ("head_hash", "hash"):
        if key in copy:
            copy[key] = mark + copy[key][6:]
    return copy


# The controller


class Watch(Telemetry):
    """When every rollout was judged."""

    def __init__(self) -> None:
        self.judgements: list[tuple[float, str]] = []

    def judged(self, head: Head, status: Status, standing: Standing | None) -> None:
        self.judgements.append((time.perf_counter(), head.state.rollout))


class Off(MemoryTarget):
    """Says when a candidate was put off."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.at: dict[str, float] = {}

    def off(self, split: Split) -> None:
        super().off(split)
        self.at.setdefault(split.rollout, time.perf_counter())


class Silent:
    """Nothing is sent."""

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


def control(url: str) -> None:
    """The controller's process: lines come in on standard input, answers go out on standard output."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    store, watch, target = open_store(url, migrate=False), Watch(), Off()
    clock = SystemClock()
    reconciler = Reconciler(
        store=store,
        target=target,
        clock=clock,
        fence=store.take_fence(),
        lease=LEASE,
        telemetry=watch,
    )
    loop = Loop(
        reconciler=reconciler,
        sender=Silent(),
        store=store,
        clock=clock,
        interval_s=60,
        telemetry=watch,
    )
    intake, stop = Intake(store, clock, loop.wake), threading.Event()
    before_mib = _rss_mib()
    thread = threading.Thread(target=loop.run_until, args=(stop,), daemon=True)
    begun = time.perf_counter()
    thread.start()
    while header := sys.stdin.buffer.read(5):
        kind, size = struct.unpack("<cI", header)
        body = sys.stdin.buffer.read(size)
        if kind == b"l":
            intake(body)
        elif kind == b"b":  # bad news of one rollout
            intake(body)
            rollout, accepted = json.loads(body.split(b"\n")[0])["rollout"], time.perf_counter()
            while rollout not in target.at and time.perf_counter() < accepted + 60:
                time.sleep(0.002)
            _say({"rollback_s": target.at.get(rollout, float("inf")) - accepted})
        else:
            _say(_told(watch, begun, before_mib, loop))
    stop.set()
    thread.join()


def _say(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _told(watch: Watch, begun: float, before_mib: float, loop: Loop) -> dict[str, object]:
    return {
        "now": time.perf_counter() - begun,
        "cpu_s": time.process_time(),
        "rss_mib": _rss_mib(),
        "empty_mib": before_mib,
        "lag_s": loop.lag_s(),
        "judgements": [(at - begun, rollout) for at, rollout in list(watch.judgements)],
    }


def _rss_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError("/proc/self/status has no VmRSS")


class Controller:
    """The other process, from here."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "benchmarks.scale", "--control", url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("no pipes")
        self._in, self._out = self._process.stdin, self._process.stdout

    def send(self, kind: bytes, body: bytes = b"") -> None:
        self._in.write(struct.pack("<cI", kind, len(body)) + body)
        self._in.flush()

    def ask(self, kind: bytes, body: bytes = b"") -> dict[str, Any]:
        self.send(kind, body)
        told: dict[str, Any] = json.loads(self._out.readline())
        return told

    def close(self) -> None:
        # Its database goes with it; to end in order it would first tick all that is due.
        self._process.kill()
        self._process.wait()


# The traffic


class Traffic:
    """Lines of requests, and of grades for those of some seconds ago."""

    def __init__(self, plans: int, rate: int) -> None:
        self._draw = random.Random(11)
        self._plans, self._rate = plans, rate
        self._sent = 0
        self._ungraded: list[str] = []

    def batch(self) -> bytes:
        now = datetime.now(UTC)
        requests = [self._request(now) for _ in range(round(self._rate * BATCH_S))]
        graded, self._ungraded = (
            self._ungraded[: len(requests) // 2],
            self._ungraded[len(requests) // 2 :],
        )
        outcomes = [
            Outcome(
                id=f"o{one}",
                observation=one,
                at=now,
                correct=float(int(one[1:]) % 20 > 0),
                grades=Grades.ATTEMPT,
            )
            for one in (graded if self._sent > 20 * self._rate else ())
        ]
        self._ungraded += [one.id for one in requests[::2]]
        return b"\n".join([*map(_line, requests), *map(_outcome_line, outcomes)])

    def _request(self, now: datetime) -> Observation:
        self._sent += 1
        busy = self._draw.random() < 0.2
        number = self._draw.randrange(max(1, self._plans // 100) if busy else self._plans)
        return request(self._draw, f"r{self._sent}", rollout_of(number), now)

    def bad(self, rollout: str) -> bytes:
        now = datetime.now(UTC)
        names = (f"bad-{rollout}-{i}" for i in range(20))
        return b"\n".join(_line(request(self._draw, one, rollout, now, bad=True)) for one in names)


def _line(one: Observation) -> bytes:
    fields = {
        "kind": "observation",
        "id": one.id,
        "rollout": one.rollout,
        "at": one.at.isoformat(),
        "unit": one.unit,
        "arm": one.arm,
        "intent": one.intent,
        "version": one.version,
        "assigned": one.assigned,
        "flags": dict(one.flags),
        "quantities": dict(one.quantities),
    }
    return json.dumps(fields).encode()


def _outcome_line(one: Outcome) -> bytes:
    fields = {
        "kind": "outcome",
        "id": one.id,
        "observation": one.observation,
        "at": one.at.isoformat(),
        "correct": one.correct,
        "grades": one.grades,
    }
    return json.dumps(fields).encode()


# The measurement


def measure(kind: str, *, plans: int, rate: int, seconds: int) -> dict[str, object]:
    with database(kind) as url:
        begun = datetime.now(UTC) - HISTORY_MIN * MINUTE
        since = time.perf_counter()
        populate(url, plans, begun)
        print(f"{kind}: {plans} plans after {time.perf_counter() - since:.0f} s", file=sys.stderr)
        controller = Controller(url)
        try:
            return {"database": version(kind), "plans": plans, "rate": rate} | _run(
                controller, plans, rate, seconds
            )
        finally:
            controller.close()


def _run(controller: Controller, plans: int, rate: int, seconds: int) -> dict[str, object]:
    started = _until_all_were_judged(controller, plans)
    print(f"  all judged {started['caught_up_s']:.1f} s after the start", file=sys.stderr)
    traffic = Traffic(plans, rate)
    _send(controller, traffic, SETTLE_S)
    before = controller.ask(b"?")
    sent = _send(controller, traffic, seconds)
    after = controller.ask(b"?")
    print(f"  {sent} requests in {after['now'] - before['now']:.0f} s", file=sys.stderr)
    rollbacks = []
    for number in range(ROLLBACKS):
        _send(controller, traffic, 1)
        told = controller.ask(b"b", traffic.bad(rollout_of(plans - 1 - number)))
        rollbacks.append(told["rollback_s"])
    return (
        started
        | _steady(before, after, plans)
        | {
            "requests_per_s": sent / (after["now"] - before["now"]),
            "rollback_p50_s": statistics.median(rollbacks),
            "rollback_max_s": max(rollbacks),
        }
    )


def _until_all_were_judged(controller: Controller, plans: int) -> dict[str, Any]:
    while True:
        time.sleep(1)
        told = controller.ask(b"?")
        first = dict(reversed([(rollout, at) for at, rollout in told["judgements"]]))
        if len(first) == plans:
            return {
                "caught_up_s": max(first.values()),
                "caught_up_cpu_s": told["cpu_s"],
                "empty_mib": told["empty_mib"],
            }


def _send(controller: Controller, traffic: Traffic, seconds: float) -> int:
    """At the rate, if the controller takes it; it is waited for where it does not."""
    begun, batches = time.perf_counter(), 0
    while (now := time.perf_counter()) < begun + seconds:
        controller.send(b"l", traffic.batch())
        batches += 1
        time.sleep(max(0.0, begun + batches * BATCH_S - now))
    return batches * round(traffic._rate * BATCH_S)


def _steady(before: Mapping[str, Any], after: Mapping[str, Any], plans: int) -> dict[str, object]:
    start, end = before["now"], after["now"]
    times: dict[str, list[float]] = {}
    for at, rollout in after["judgements"]:
        times.setdefault(rollout, []).append(at)
    ticks = sum(start <= at <= end for at, _ in after["judgements"])
    within = [_first_after(each, start) - start for each in times.values()]
    gaps = [max(_gaps(each, start, end)) for each in times.values()]
    cpu_s = after["cpu_s"] - before["cpu_s"]
    return {
        "seconds": end - start,
        "each_judged_within_s": max(within) if len(times) == plans else float("inf"),
        "worst_gap_s": max(gaps),
        "ticks_per_s": ticks / (end - start),
        "core": cpu_s / (end - start),
        # Ingest, polling and all else of the process included.
        "cpu_ms_per_judgement": 1_000 * cpu_s / ticks,
        "lag_s": after["lag_s"],
        "rss_mib": after["rss_mib"],
        "kib_per_plan": (after["rss_mib"] - after["empty_mib"]) * 1024 / plans,
    }


def _first_after(times: list[float], start: float) -> float:
    return next((at for at in times if at >= start), float("inf"))


def _gaps(times: list[float], start: float, end: float) -> Iterator[float]:
    """Between neighbouring judgements, those before and after the stretch included."""
    known = [*times, end]
    for one, following in pairwise(known):
        if following >= start and one <= end:
            yield following - one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", help=argparse.SUPPRESS)
    parser.add_argument("--plans", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=100)
    parser.add_argument("--database", nargs="*", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.control:
        collect_seldom()  # as `canaryctl run` does
        control(asked.control)
        return
    rows: list[dict[str, object]] = []
    for kind, missing in present(asked.database):
        if missing is not None:
            rows.append({"database": kind, "skipped": missing})
            continue
        rows.append(measure(kind, plans=asked.plans, rate=asked.rate, seconds=asked.seconds))
    if asked.json:
        print(json.dumps({"budget": BUDGET, "measured": rows}, indent=2))
        return
    for row in rows:
        for name, value in row.items():
            print(f"{name:>22} {value:.2f}" if isinstance(value, float) else f"{name:>22} {value}")


if __name__ == "__main__":
    main()
