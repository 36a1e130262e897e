"""A service with an event loop, in a thread of its own, for as long as a command runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Service(Protocol):
    """Something that is started and stopped in one event loop."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


S = TypeVar("S", bound=Service)


@contextmanager
def in_background(build: Callable[[], S], *, name: str) -> Iterator[S]:
    """The service, started; stopped at the end. `build` is called in the event loop; what it raises is raised here."""
    import asyncio  # a fifth of the start of every command, if each loaded it

    started: Future[tuple[S, Callable[[], None]]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(build, started)), name=name, daemon=True
    )
    thread.start()
    service, end = started.result()
    try:
        yield service
    finally:
        end()
        thread.join()


async def _serve(build: Callable[[], S], started: Future[tuple[S, Callable[[], None]]]) -> None:
    import asyncio

    here, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        service = build()
        await service.start()
    except BaseException as error:  # handed to the thread that waits, which raises it
        started.set_exception(error)
        return

    def end() -> None:
        here.call_soon_threadsafe(ended.set)

    started.set_result((service, end))
    await ended.wait()
    await service.stop()
