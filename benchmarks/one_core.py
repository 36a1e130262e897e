"""A controller's process on one core, told what to do on standard input, and how it is asked from another one."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from controller.clock import SystemClock
from controller.ports import Head, Split, Standing, Telemetry
from controller.reconcile.intake import Intake
from controller.reconcile.loop import Loop
from controller.reconcile.tick import Reconciler
from controller.rollout.status import Status
from controller.store.open import open_store
from controller.traffic.memory import MemoryTarget

LEASE = timedelta(days=1)  # nobody renews for the gateways that are not there


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
