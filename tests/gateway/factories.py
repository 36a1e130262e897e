from __future__ import annotations

import json
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from controller.gateway.message import ChatRequest
from controller.gateway.splits import Claim
from controller.ports import Granted, Split, Word
from controller.rollout.plan import Unit
from controller.rollout.route import Route
from tests.traffic.factories import ROLLOUT, ROUTE

FIRST = {"role": "user", "content": "Where is my parcel?"}
ANSWER = {"role": "assistant", "content": "On its way."}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "gpt-4.1", "messages": [FIRST], **fields}).encode()


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest(body(**fields))


def under_way(**fields: Any) -> ChatRequest:
    """A request of a conversation that has had an answer."""
    return chat(messages=[FIRST, ANSWER, FIRST], **fields)


def route(
    unit: Unit = Unit.CONVERSATION, *, window: int | None = None, longest: int | None = None
) -> Route:
    candidate = replace(ROUTE.candidate, context_window=window, output_limit=longest)
    return replace(ROUTE, unit=unit, candidate=candidate)


def claim(
    share_bp: int | None = 1_000,
    *,
    version: int = 1,
    settled: Mapping[str, int] | None = None,
    route: Route = ROUTE,
) -> Claim:
    """A claim with a share for `refund` and a pinned `legal`; nothing is in force where the share is None."""
    shares = {"refund": share_bp or 0, "legal": 0}
    return Claim(
        rollout=ROLLOUT,
        version=version,
        salt="salt",
        route=route,
        shares=None if share_bp is None else shares,
        settled=shares if settled is None else settled,
    )


def word(*splits: Split, term_s: float = 300.0, waited_s: float = 0.0) -> Word:
    granted = tuple(Granted(split=one, term_s=term_s) for one in splits)
    return Word(granted=granted, waited_s=waited_s)


DISK = 64 * 1024


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond DISK bytes: the write that would is cut off, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
