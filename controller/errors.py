"""Every error that canaryctl raises on purpose, as one tree.

    CanaryError                      exit code 1
    ├── PlanError                    2   a plan that cannot be accepted; carries every problem with its position
    ├── SettingsError                2   the process's own settings
    ├── DataError                    2   a data file that cannot be read as what it should be
    ├── NotFound                     4   no such rollout, plan, rule or record
    ├── Conflict                     5   somebody else committed first; read again and repeat
    │   └── Fenced                   5   another controller leads; this one must stop acting
    ├── Refused                      5   a command that the rollout's state does not permit
    ├── ChainBroken                  1   records that do not follow from one another
    ├── SchemaBehind                 1   the database's schema is not this release's
    ├── Unreachable                  1   a database, target, source or notifier that did not answer
    │   └── NotLeading               1   a controller that does not lead; another one does, or will
    └── StatisticsError (ValueError) 1   input for which a statistic has no value

Branch on what the caller can do: mend the input (exit 2), look elsewhere (4), read again (5), wait (Unreachable).
"""

from __future__ import annotations

from dataclasses import dataclass


class CanaryError(Exception):
    """Something canaryctl can explain; its text is for the person who reads it."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One thing wrong with an input file, at a one-based line and column."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}:"
        return f"{where} {self.path}: {self.message}" if self.path else f"{where} {self.message}"


class PlanError(CanaryError):
    """A plan that cannot be accepted: all its problems at once, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class SettingsError(CanaryError):
    """A setting of the process that cannot be used."""

    exit_code = 2


class DataError(CanaryError):
    """A data file that cannot be read as what it should be."""

    exit_code = 2


class NotFound(CanaryError):
    """No such rollout, plan, rule or record."""

    exit_code = 4


class Conflict(CanaryError):
    """Somebody else committed first. Read again, and repeat if it still makes sense."""

    exit_code = 5


class Fenced(Conflict):
    """Written under a fence that is not the highest any more: another controller leads. Stop acting."""


class Refused(CanaryError):
    """A command that the rollout's state does not permit; the text says why and what would."""

    exit_code = 5


class ChainBroken(CanaryError):
    """A record that does not follow from the one before it, or whose content was changed."""


class SchemaBehind(CanaryError):
    """The database's schema is not this release's. Run `canaryctl db upgrade`."""


class Unreachable(CanaryError):
    """A database, target, source or notifier did not answer. Wait and repeat."""


class NotLeading(Unreachable):
    """Asked of a controller that does not lead. Ask another one, or wait until one does."""


class StatisticsError(CanaryError, ValueError):
    """Input for which a statistic has no value: n = 0, counts above n, NaN, a negative."""
