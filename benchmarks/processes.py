"""Processes of a benchmark, each on its cores: how they are started, waited for and looked at."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
TOKEN = "benchmarks-have-no-secrets"  # noqa: S105 # of a link on this host that lives for a minute
CORES = sorted(os.sched_getaffinity(0))
FIRST, OTHERS = set(CORES[:1]), set(CORES[1:] or CORES)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_SPAWN = multiprocessing.get_context("spawn")


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
        until(lambda: answers(port, alive) or process.poll() is not None, what=arguments[0])
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


def answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=1):
            return True
    except OSError:
        return False


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has had, user and system, all threads."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("VmRSS:")) / 1024
