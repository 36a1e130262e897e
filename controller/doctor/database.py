"""Checks of the database and of the clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from controller.doctor.finding import Finding, failed, ok, warning

if TYPE_CHECKING:
    from controller.store.diagnose import Diagnosis

SKEW_WARNING: Final = timedelta(seconds=2)
SKEW_FAILED: Final = timedelta(seconds=30)


def of_database(found: Diagnosis, address: str) -> Iterator[Finding]:
    """What it is, whether its schema is this release's, and whether it can be written to."""
    size = "" if found.size_bytes is None else f", {megabytes(found.size_bytes)}"
    yield ok("database", f"{found.product} at {address}{size}")
    if found.schema_problem is not None:
        yield failed(
            "schema",
            found.schema_problem,
            wanted="this release's schema",
            todo="`canaryctl db upgrade`, when every controller on it is of this release or waits for it",
        )
        return
    yield ok("schema", "this release's")
    if found.write_problem is not None:
        yield failed(
            "write",
            found.write_problem,
            wanted="a database that this user may write to",
            todo="grant INSERT, UPDATE and DELETE; look for a read-only replica, a full disk or a long transaction",
        )
        return
    yield ok("write", "a trial was written and taken back")


def unreachable(problem: str) -> Finding:
    return failed(
        "database",
        problem,
        wanted="an answer",
        todo="is it up, is CANARY_DATABASE_URL right, may this host reach it?",
    )


def of_clock(whose: str, theirs: datetime, ours: datetime, *, slack: timedelta) -> Finding:
    """Our clock against another host's. `slack` is how exactly theirs can be known. Decides nothing."""
    skew = abs(theirs - ours)
    words = f"{skew.total_seconds():.1f} s {'ahead of' if ours > theirs else 'behind'} {whose}"
    name = f"clock ({whose})"
    wanted = f"at most {SKEW_WARNING.total_seconds():g} s"
    todo = "synchronise this host's clock (NTP); leases and records carry its time"
    if skew > SKEW_FAILED + slack:
        return failed(name, words, wanted=wanted, todo=todo)
    if skew > SKEW_WARNING + slack:
        return warning(name, words, wanted=wanted, todo=todo)
    return ok(name, f"within {(SKEW_WARNING + slack).total_seconds():g} s of {whose}")


def megabytes(size_bytes: int) -> str:
    """`1.2 MB`, `3.4 GB`."""
    if size_bytes >= 10**9:
        return f"{size_bytes / 10**9:.1f} GB"
    return f"{size_bytes / 10**6:.1f} MB"
