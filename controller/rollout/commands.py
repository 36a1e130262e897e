"""What a person or another system asks. Every command goes through `decide` like the passing of time does."""

from __future__ import annotations

from dataclasses import dataclass

from controller.rollout.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`expected` is the record number that the asker saw last; a rollout that moved on refuses the command."""

    actor: str
    reason: str = ""
    expected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Command):
    """Start a rollout of this plan, or amend the running one (a new revision)."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseNow(Command):
    """Freeze the share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Command):
    """End a pause: the failed rules start a new epoch, the old failure stays on record as acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(Command):
    """Go to the next step now: skips hold, samples, proof and approval, never a FAIL unless its rule is overridden."""

    override: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve(Command):
    """Permit leaving the current step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(Command):
    """Put the candidate off, at once, everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(Command):
    """A new attempt after a rollback, with fresh evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinIntent(Command):
    """Send one intent back to the baseline and let the rest go on."""

    intent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire(Command):
    """End the holdback of a complete rollout and sign off what is left on the baseline."""


AnyCommand = Apply | PauseNow | Resume | Promote | Approve | Rollback | Retry | PinIntent | Retire
