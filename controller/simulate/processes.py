"""The same work on many things, in several processes beside one another; the answers in the order of the things."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
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
        initializer=_as_a_helper,
    ) as pool:
        made = [pool.submit(work, *task) for task in tasks]
        try:
            for one in made:
                yield one.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _as_a_helper() -> None:
    """Ctrl-C reaches every process of a terminal; the one that was asked deals with it, and its end is everybody's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A helper waits on a pipe that its siblings hold open too: it would never learn that nobody asks any more."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
