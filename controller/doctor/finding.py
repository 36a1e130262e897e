"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, or cannot be known from here; somebody should look
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor: what was looked at and found and, unless all is well, what was wanted and what to do."""

    check: str
    level: Level
    found: str
    wanted: str = ""
    todo: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check=check, level=Level.OK, found=found)


def warning(check: str, found: str, *, wanted: str, todo: str) -> Finding:
    return Finding(check=check, level=Level.WARNING, found=found, wanted=wanted, todo=todo)


def failed(check: str, found: str, *, wanted: str, todo: str) -> Finding:
    return Finding(check=check, level=Level.FAILED, found=found, wanted=wanted, todo=todo)
