"""The processes of a demonstration: started, and started again when they end."""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.demo.place import Place
from controller.errors import CanaryError

ENDS_S: Final = 10.0
TRIES: Final = 5
"""Ends in a row, each within a second of the start, before a part is given up."""


class PartFailed(CanaryError):
    """A process of the demonstration that does not stay up."""


@dataclass(slots=True)
class Part:
    """One process: how it is started, and how often it was."""

    name: str
    arguments: Callable[[], list[str]]
    process: Process | None = None
    starts: int = 0
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)


class Processes:
    """Keeps parts up. `failed` is set to what a person should be told when one cannot be."""

    def __init__(
        self, place: Place, environ: Mapping[str, str], ended: Callable[[int], None]
    ) -> None:
        """`ended` is told the pid of each that ended, before another one takes its place."""
        self._place = place
        self._environ = environ
        self._ended = ended
        self._parts: dict[str, Part] = {}
        self.failed: PartFailed | None = None

    async def start(self, name: str, arguments: Callable[[], list[str]]) -> None:
        part = Part(name, arguments)
        self._parts[name] = part
        await self._begin(part)
        part.watcher = asyncio.create_task(self._keep_up(part))

    def restarts(self) -> int:
        return sum(part.starts - 1 for part in self._parts.values())

    def kill(self, pid: int) -> str | None:
        """Kill the part of this pid; its name, None if there is none. It is started again."""
        for part in self._parts.values():
            if part.process is not None and part.process.pid == pid:
                part.process.kill()
                return part.name
        return None

    async def stop(self) -> None:
        """End them, the last started first: a gateway says goodbye to its controller."""
        for part in reversed(self._parts.values()):
            if part.watcher is not None:
                part.watcher.cancel()
            if part.process is not None and part.process.returncode is None:
                part.process.terminate()
                try:
                    await asyncio.wait_for(part.process.wait(), ENDS_S)
                except TimeoutError:
                    part.process.kill()
                    await part.process.wait()
            self._place.pid(part.name).unlink(missing_ok=True)

    async def _begin(self, part: Part) -> None:
        with self._place.log(part.name).open("ab") as log:
            part.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *part.arguments(), stdout=log, stderr=log, env=self._environ
            )
        part.starts += 1
        self._place.pid(part.name).write_text(f"{part.process.pid}\n", encoding="ascii")

    async def _keep_up(self, part: Part) -> None:
        loop, quick = asyncio.get_running_loop(), 0
        while part.process is not None:
            begun = loop.time()
            code = await part.process.wait()
            # A part that was killed had its reasons outside; one that ends by itself at once cannot live.
            quick = quick + 1 if code > 0 and loop.time() - begun < 1.0 else 0
            if quick >= TRIES:
                self.failed = PartFailed(
                    f"The {part.name} ended {quick} times with {code}; {self._place.log(part.name)} says why."
                )
                return
            self._ended(part.process.pid)
            await self._begin(part)


def free_port() -> int:
    """A loopback port that nobody has just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def free_pair() -> int:
    """The first of two neighbouring ports that nobody has just now."""
    while True:
        port = free_port()
        with socket.socket() as other:
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
