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
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from benchmarks.databases import DATABASES, database, present, version
from benchmarks.many_plans import BATCH_S, HISTORY_MIN, MINUTE, Traffic, populate, rollout_of
from benchmarks.one_core import Controller, control
from controller.cli.background import collect_seldom

SETTLE_S = 75.0  # until nothing is left of the burst of a start: more than an interval
ROLLBACKS = 20
BUDGET = {"judged_s": 60.0, "rss_mib": 1024.0, "rollback_s": 1.0}


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
