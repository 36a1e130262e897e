"""The same work on many things, in several processes beside one another; the answers in the order of the things."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def in_processes(
    work: Callable[[*Arguments], T], tasks: Sequence[tuple[*Arguments]], processes: int
) -> Iterator[T]:
    """`work` of each task's arguments. It must be importable by its name; one process is this one."""
    if min(processes, len(tasks)) <= 1:
        for task in tasks:
            yield work(*task)
        return
    # Spawned: a fork of a process with threads (a progress bar has one) may hang.
    with ProcessPoolExecutor(
        min(processes, len(tasks)),
        mp_context=get_context("spawn"),
        initializer=_leave_interrupts,
    ) as pool:
        made = [pool.submit(work, *task) for task in tasks]
        try:
            for one in made:
                yield one.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the one that was asked deals with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
