"""What commands that stay have in common: services with an event loop in threads of their own, and a collector that
seldom runs.
"""

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


def collect_seldom() -> None:
    """Have the cycle collector look at few objects, and seldom. Once everything is loaded, before work begins.

    A request and an ingest leave little behind that only it frees, and each time it looks at every young object, often
    at all: a tenth of a request's time (benchmarks/gateway.py) and an eighth of an ingest's (benchmarks/ingest.py).
    """
    import gc

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
