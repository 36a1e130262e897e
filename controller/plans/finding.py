"""Remarks on a plan: what they are, and how they are put in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from controller.rollout.units import format_percent


class Level(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One remark on a plan. `path` is the field it is about; `code` is stable, for filters and tests."""

    level: Level
    code: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.path}: {self.message} [{self.code}]"


def by_level(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first; those of one level as they were found."""
    order = list(Level)
    return tuple(sorted(found, key=lambda finding: order.index(finding.level)))


def error(code: str, path: str, message: str) -> Finding:
    return Finding(level=Level.ERROR, code=code, path=path, message=message)


def warning(code: str, path: str, message: str) -> Finding:
    return Finding(level=Level.WARNING, code=code, path=path, message=message)


def info(code: str, path: str, message: str) -> Finding:
    return Finding(level=Level.INFO, code=code, path=path, message=message)


def rounded(fraction: float) -> str:
    """A fraction that was reckoned, to three digits: `0.267%`."""
    return format_percent(float(f"{fraction:.3g}"))
