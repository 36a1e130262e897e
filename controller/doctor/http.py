"""One question over HTTP, bounded in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from controller.errors import DataError, Unreachable

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """DataError if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise DataError(f"not JSON: {self.body[:80]!r}") from error

    @property
    def date(self) -> datetime | None:
        """The `Date` of the answer, to the second; None if it has none."""
        try:
            return parsedate_to_datetime(self.headers["Date"])
        except (KeyError, ValueError):
            return None


def get(url: str, *, token: str | None = None) -> Answer:
    """Unreachable if there is no answer in PATIENCE_S."""
    return asyncio.run(_ask("GET", url, token, None))


def post(url: str, body: Mapping[str, object], *, token: str | None = None) -> Answer:
    """The same, with a JSON body."""
    return asyncio.run(_ask("POST", url, token, body))


async def _ask(
    method: str, url: str, token: str | None, body: Mapping[str, object] | None
) -> Answer:
    import aiohttp

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.request(method, url, json=body, allow_redirects=False) as answer,
        ):
            return Answer(
                status=answer.status, headers=dict(answer.headers), body=await answer.read()
            )
    except TimeoutError as error:
        raise Unreachable(f"no answer within {PATIENCE_S:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(str(error) or repr(error)) from error
