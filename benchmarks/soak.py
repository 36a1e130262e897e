"""Memory of one gateway over a million requests: what it holds must not grow with what it has answered.

    python -m benchmarks.soak [--requests N] [--json]

The `counted` gateway of `benchmarks.gateway`: conversations are split evenly, every request has a line in the spool,
and a controller counts them meanwhile. A closed loop of 32 connections asks until a million requests were answered;
resident memory of the gateway's process is read at every twentieth of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks.gateway import cases
from benchmarks.load import Load
from benchmarks.processes import rss_mib, status

REQUESTS = 1_000_000
POINTS = 20
ROUND_S = 5.0
BUDGET_MIB = 150.0


def measure(requests: int) -> dict[str, Any]:
    """Memory in MiB by requests answered, after a first twentieth that warms it up."""
    load, answered = Load(), 0
    points: list[dict[str, float]] = []
    with cases() as listed:
        case = next(one for one in listed if one.name == "counted")
        while answered < requests:
            count, _ = load.closed(case.port, ROUND_S)
            answered += count
            if answered >= requests * (len(points) + 1) / POINTS:
                points.append({"requests": answered, "rss_mib": rss_mib(case.pid)})
                print(f"{answered:,} requests: {points[-1]['rss_mib']:.0f} MiB", file=sys.stderr)
        case.settled()
        kept = status(case.port)
    first, last = points[0]["rss_mib"], points[-1]["rss_mib"]
    return {
        "budget_mib": BUDGET_MIB,
        "points": points,
        "most_mib": max(one["rss_mib"] for one in points),
        "grown_mib": last - first,
        "spooled_bytes": kept["spool"]["pending_bytes"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    told = measure(asked.requests)
    if asked.json:
        print(json.dumps(told, indent=2))
        return
    for one in told["points"]:
        print(f"{one['requests']:>12,.0f} requests  {one['rss_mib']:>6.1f} MiB")
    print(f"grown by {told['grown_mib']:.1f} MiB; budget {told['budget_mib']:.0f} MiB, and flat")


if __name__ == "__main__":
    main()
