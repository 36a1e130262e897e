"""The application under demonstration: asks the gateway until it is answered, keeps its own log, grades later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from controller.demo.traffic import Question, text_of
from controller.gateway.app import CHAT, OUTCOMES
from controller.gateway.assign import INTENT_HEADER, UNIT_HEADER
from controller.gateway.serve import ARM, ESCALATED, REQUEST_ID

AT_ONCE: Final = 24
AGAIN_S: Final = 0.05

_NOT_SENT: Final = aiohttp.ClientConnectorError
_BROKEN: Final = (aiohttp.ClientError, TimeoutError, ConnectionError)


@dataclass(slots=True)
class Counts:
    """What the application saw so far."""

    answered: dict[str, int] = field(default_factory=dict)  # by assigned arm
    escalated: int = 0
    lost: int = 0  # were under way when a connection ended; asked again


@dataclass(frozen=True, slots=True)
class _Graded:
    due: int
    outcome: dict[str, Any]


class Application:
    """Asks minute by minute, from `minute` on. `address` tells where the gateway is."""

    def __init__(self, log: Path, address: Callable[[], Awaitable[str]], *, minute: int) -> None:
        self.counts = Counts()
        self._address = address
        self._answered: set[str] = set()
        self._grades: list[_Graded] = []
        self._read(log)
        self._grades = [one for one in self._grades if one.due >= minute]
        self._log = log.open("ab", buffering=0)
        self._log.write(b"\n")  # after what may be half a line
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE),
            headers={"Authorization": "Bearer simulated"},
            timeout=aiohttp.ClientTimeout(total=60),
        )
        self._places = asyncio.Semaphore(AT_ONCE)

    async def ask(self, questions: Iterable[Question], minute: int) -> None:
        """Ask each until it is answered; those that were, in an earlier life, are not asked again."""
        fresh = [one for one in questions if one.key not in self._answered]
        # Turns of one conversation never share a minute, so the order within it does not matter.
        await asyncio.gather(*(self._ask(one, minute) for one in fresh))

    async def grade(self, minute: int) -> None:
        """Send what is learnt by this minute. Sent twice it counts once."""
        due = [one for one in self._grades if one.due <= minute]
        for start in range(0, len(due), 500):
            outcomes = [one.outcome for one in due[start : start + 500]]
            await self._post_outcomes(json.dumps({"outcomes": outcomes}).encode())
        self._grades = [one for one in self._grades if one.due > minute]

    async def close(self) -> None:
        await self._session.close()
        self._log.close()

    async def _ask(self, question: Question, minute: int) -> None:
        tries = 0
        async with self._places:
            while True:
                try:
                    if await self._asked(question, minute, f"{question.key}.{tries}"):
                        return
                except _NOT_SENT:
                    pass
                except _BROKEN:
                    self.counts.lost += 1
                    self._write(
                        {"lost": question.key, "minute": minute, "id": f"{question.key}.{tries}"}
                    )
                    tries += 1
                await asyncio.sleep(AGAIN_S)

    async def _asked(self, question: Question, minute: int, name: str) -> bool:
        headers = {
            REQUEST_ID: name,
            "Content-Type": "application/json",
            UNIT_HEADER: question.unit,
            INTENT_HEADER: question.intent,
        }
        url = await self._address() + CHAT
        async with self._session.post(url, data=question.body(), headers=headers) as response:
            body = await response.read()
        if response.status != 200:
            self._write({"refused": question.key, "minute": minute, "status": response.status})
            return False
        answer = {
            "answered": question.key,
            "minute": minute,
            "id": response.headers[REQUEST_ID],
            "arm": response.headers.get(ARM),
            "escalated": ESCALATED in response.headers,
            "right": question.is_right(text_of(body, stream=question.stream)),
            "due": minute + question.graded_after,
        }
        self._write(answer)
        self._note(answer)
        return True

    async def _post_outcomes(self, body: bytes) -> None:
        while True:
            try:
                url = await self._address() + OUTCOMES
                async with self._session.post(url, data=body) as response:
                    said = await response.text()
            except _BROKEN:
                await asyncio.sleep(AGAIN_S)
                continue
            if response.status != 202:
                raise RuntimeError(f"the gateway refused outcomes: {response.status} {said}")
            return

    def _note(self, answer: dict[str, Any]) -> None:
        self._answered.add(answer["answered"])
        arm = str(answer["arm"])
        self.counts.answered[arm] = self.counts.answered.get(arm, 0) + 1
        self.counts.escalated += bool(answer["escalated"])
        outcome = {
            "request_id": answer["id"],
            "correct": answer["right"],
            "source": "application",
        }
        self._grades.append(_Graded(due=answer["due"], outcome=outcome))

    def _write(self, entry: dict[str, Any]) -> None:
        self._log.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def _read(self, log: Path) -> None:
        """What an earlier life saw; the last line may be cut off."""
        if not log.exists():
            return
        for line in log.read_bytes().split(b"\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "answered" in entry:
                self._note(entry)
            self.counts.lost += "lost" in entry
