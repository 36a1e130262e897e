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
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import Load, percentile
from benchmarks.processes import (
    FIRST,
    HOST,
    OTHERS,
    answers,
    canaryctl,
    cpu_s,
    free_port,
    on,
    rss_mib,
    served,
    status,
    until,
)
from benchmarks.rollout import MODEL, plan, start
from benchmarks.servers import serve_pass_through, serve_swallowing_link, serve_upstream
from benchmarks.wire import CHAT
from controller.store.open import open_store

BUDGET = 0.5
LITELLM_BUDGET = 40
ADDED_BUDGET_MS = 2.0
LITELLM: Mapping[str, Mapping[str, Any]] = {
    "litellm": {},
    "litellm, metered": {"callbacks": ["prometheus"]},
}


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
            lambda: answers(port, "/health/liveliness") or process.poll() is not None,
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
