"""`POST /v1/outcomes`: what the application learnt about answers, by request id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from controller.errors import DataError
from controller.sources.feed import outcome_of

MOST: Final = 1_000
"""Outcomes in one request."""


def read_outcomes(body: bytes, now: datetime) -> list[dict[str, Any]]:
    """The outcomes of a request, as fields of the feed. DataError with everything that is wrong; then none counts.

    One object, or `{"outcomes": [...]}`. `request_id` is what the answer carried as `x-canary-request-id`. Without an
    `id` an outcome is named by what it says, so that the same words sent twice count once.
    """
    listed = _listed(body)
    problems, outcomes = [], []
    for number, one in enumerate(listed):
        try:
            outcomes.append(_outcome(one, now))
        except DataError as error:
            problems.append(f"outcomes[{number}]: {error}")
    if problems:
        raise DataError("\n".join(problems))
    return outcomes


def _listed(body: bytes) -> list[Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}") from error
    if not isinstance(read, dict):
        raise DataError('expected an object: one outcome, or {"outcomes": [...]}')
    listed = read.get("outcomes") if read.keys() == {"outcomes"} else [read]
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST:
        raise DataError(f"outcomes: expected a list of 1 to {MOST} outcomes")
    return listed


def _outcome(one: Any, now: datetime) -> dict[str, Any]:
    if not isinstance(one, dict):
        raise DataError("expected an object")
    if "observation" in one:
        raise DataError("observation: unknown field; did you mean request_id?")
    if "request_id" not in one:
        raise DataError("request_id: missing; it is the x-canary-request-id of the answer")
    fields = {name: value for name, value in one.items() if name != "request_id"}
    fields["observation"] = one["request_id"]
    fields.setdefault("at", now.isoformat())
    fields.setdefault("id", _name(one))
    outcome_of(fields)  # refuses what could not be counted
    return fields


def _name(one: Mapping[str, Any]) -> str:
    said = {name: value for name, value in one.items() if name != "at"}
    text = json.dumps(said, sort_keys=True, default=str)
    return f"{one['request_id']}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"
