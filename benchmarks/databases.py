"""The databases that a benchmark runs on: a SQLite file, or a PostgreSQL server of its own that syncs its writes."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from controller.store.open import open_store

DATABASES: Final = ("sqlite", "postgresql")


class Missing(Exception):
    """A database that is not installed here; the message says what to install."""


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The address of an empty database at the present schema; it is gone at the end. Missing."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="canaryctl-bench-") as folder:
            url = f"sqlite:///{folder}/canary.db"
            open_store(url, migrate=True).close()
            yield url
        return
    from tests.postgres import SETTINGS, WANTED, Cluster, programs

    bindir = programs()
    if bindir is None:
        raise Missing(WANTED)
    cluster = Cluster(
        bindir, {**SETTINGS, "fsync": "on", "full_page_writes": "on", "autovacuum": "on"}
    )
    try:
        yield cluster.fresh()
    finally:
        cluster.close()


def version(kind: str) -> str:
    """What is measured, such as `SQLite 3.40.1`. Missing."""
    if kind == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    import subprocess

    from tests.postgres import WANTED, programs

    bindir = programs()
    if bindir is None:
        raise Missing(WANTED)
    told = subprocess.run(
        [str(Path(bindir) / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    return f"PostgreSQL {told.stdout.split()[2]}"


def present(kinds: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Each kind, with why it is left out if it is."""
    for kind in kinds:
        try:
            version(kind)
        except Missing as why:
            yield kind, str(why)
        else:
            yield kind, None
