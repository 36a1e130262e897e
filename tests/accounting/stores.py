"""Fresh stores of every kind. PostgreSQL joins as one more entry of STORES."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from functools import cache
from multiprocessing.queues import Queue
from pathlib import Path
from tempfile import mkdtemp

from controller.errors import Conflict
from controller.store.memory import MemoryStore
from controller.store.open import open_store
from controller.store.sql import SqlStore
from tests.accounting.factories import ROLLOUT, commit

AnyStore = MemoryStore | SqlStore
_numbers = itertools.count()


@cache
def _migrated() -> Path:
    """An empty database at the present schema, made once for a test run: a copy is quicker than a migration."""
    path = Path(mkdtemp(prefix="canaryctl-tests-")) / "empty.db"
    open_store(f"sqlite:///{path}", migrate=True).close()
    return path


def fresh_database(folder: Path) -> str:
    """The address of an empty database of its own."""
    path = folder / f"store-{next(_numbers)}.db"
    shutil.copy(_migrated(), path)
    return f"sqlite:///{path}"


def sqlite(folder: Path) -> SqlStore:
    return open_store(fresh_database(folder), migrate=False)


def memory(_: Path) -> MemoryStore:
    return MemoryStore()


STORES: dict[str, Callable[[Path], AnyStore]] = {"memory": memory, "sqlite": sqlite}


def commit_in_another_process(url: str, results: Queue[int]) -> None:
    store = open_store(url, migrate=False)
    done = 0
    while done < 3:
        try:
            store.commit(commit(store.head(ROLLOUT)))
            done += 1
        except Conflict:
            pass  # read again, and repeat
    results.put(done)
    store.close()
