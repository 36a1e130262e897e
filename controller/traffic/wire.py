"""The link over HTTP: paths, and values to JSON and back. Both ends import it, so they cannot drift apart."""

from __future__ import annotations

import json
from typing import Final, TypeVar

from controller.errors import DataError
from controller.ports import Report, Word
from controller.rollout.codec import decode, dumps, encode

POLL: Final = "/link/v1/poll"
INGEST: Final = "/link/v1/ingest"
STATUS: Final = "/link/v1/status"
WAIT: Final = "wait"
"""Query parameter of a poll: the longest that it may be held back, in seconds."""

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
NOT_LEADING: Final = 421
"""The status of a controller that does not lead (Misdirected Request, RFC 9110, 15.5.20)."""
LARGEST: Final = 16 * 1024 * 1024
"""Bytes of one request body."""

Message = TypeVar("Message", Report, Word)


def written(message: Report | Word) -> bytes:
    return dumps(encode(message)).encode()


def read(kind: type[Message], body: bytes) -> Message:
    """DataError if the body is not such a message."""
    try:
        return decode(kind, json.loads(body))
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise DataError(
            f"not a {kind.__name__.lower()} of this release: {error!r}. Gateways and controllers must be of one."
        ) from error
