"""Fresh stores of every kind."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from multiprocessing.queues import Queue
from pathlib import Path
from tempfile import mkdtemp

from controller.errors import Conflict
from controller.ports import Store
from controller.store.memory import MemoryStore
from controller.store.open import open_store
from tests.accounting.factories import ROLLOUT, commit
from tests.postgres import cluster

_numbers = itertools.count()


@cache
def _migrated() -> Path:
    """An empty database at the present schema, made once for a test run: a copy is quicker than a migration."""
    path = Path(mkdtemp(prefix="canaryctl-tests-")) / "empty.db"
    open_store(f"sqlite:///{path}", migrate=True).close()
    return path


def fresh_database(folder: Path) -> str:
    """The address of an empty SQLite database of its own."""
    path = folder / f"store-{next(_numbers)}.db"
    shutil.copy(_migrated(), path)
    return f"sqlite:///{path}"


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield fresh_database(folder)


@contextmanager
def _postgresql(_: Path) -> Iterator[str]:
    url = cluster().fresh()
    try:
        yield url
    finally:
        cluster().start()  # the test may have stopped it
        cluster().drop(url)


DATABASES: Mapping[str, Callable[[Path], AbstractContextManager[str]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
}
"""By kind, the address of an empty database of its own at the present schema, while it is needed."""


@contextmanager
def _memory(_: Path) -> Iterator[Store]:
    yield MemoryStore()


def _in(kind: str) -> Callable[[Path], AbstractContextManager[Store]]:
    @contextmanager
    def opened(folder: Path) -> Iterator[Store]:
        with DATABASES[kind](folder) as url, closing(open_store(url, migrate=False)) as store:
            yield store

    return opened


STORES: Mapping[str, Callable[[Path], AbstractContextManager[Store]]] = {
    "memory": _memory,
    **{kind: _in(kind) for kind in DATABASES},
}
"""By kind, an empty store of its own, while it is needed."""


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
