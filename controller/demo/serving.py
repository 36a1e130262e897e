"""What the processes of a demonstration share: serve until SIGTERM, or until the director is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from aiohttp import web

_LOOK_S: Final = 1.0


async def serve_until_told(runner: web.AppRunner, port: int) -> None:
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await told_to_end()
    await runner.cleanup()


async def told_to_end() -> None:
    """Returns at SIGTERM, or when the parent process is gone: nobody would end this one any more."""
    told, parent = asyncio.Event(), os.getppid()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    # Ctrl-C goes to the whole group of processes; the director decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while not told.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(told.wait(), _LOOK_S)
        except TimeoutError:
            continue
