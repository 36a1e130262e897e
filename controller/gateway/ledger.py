"""What is noted of each request: an observation, as one JSON line for the spool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controller.gateway.assign import Placement
from controller.gateway.meter import Usage, quantities_of
from controller.gateway.splits import Claim
from controller.rollout.plan import Arm

MICRO = 1_000_000


@dataclass(slots=True)
class Entry:
    """One request while it is answered. `error` is None where nobody can say: the client went away first."""

    id: str
    at: datetime
    claim: Claim
    placement: Placement
    calls: list[tuple[Usage | None, Arm]] = field(default_factory=list)
    error: bool | None = None
    escalated: bool = False
    retried: bool = False
    latency_s: float | None = None
    first_s: float | None = None


def line_of(entry: Entry) -> bytes:
    """The observation as `controller.sources.feed` reads it."""
    place = entry.placement
    observation = {
        "kind": "observation",
        "id": entry.id,
        "rollout": entry.claim.rollout,
        "at": entry.at.isoformat(),
        "unit": place.unit,
        "arm": place.arm.value,
        "intent": place.intent,
        "version": place.version,
        "cohort": place.cohort.value,
        "assigned": place.assigned,
        "flags": _flags(entry),
        "quantities": _quantities(entry),
    }
    return _line(observation)


def outcome_line(outcome: Mapping[str, object]) -> bytes:
    return _line({"kind": "outcome", **outcome})


# Made once: `json.dumps` with options makes one for every call.
_written = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _line(value: object) -> bytes:
    return _written(value).encode() + b"\n"


def _flags(entry: Entry) -> dict[str, bool | None]:
    return {"error": entry.error, "escalated": entry.escalated, "retry": entry.retried}


def _quantities(entry: Entry) -> dict[str, int]:
    route = entry.claim.route
    calls: Sequence[tuple[Usage | None, Arm]] = entry.calls
    known = quantities_of((usage, route.model(arm).price) for usage, arm in calls)
    for name, seconds in (("latency_us", entry.latency_s), ("ttft_us", entry.first_s)):
        if seconds is not None:
            known[name] = round(seconds * MICRO)
    return known
