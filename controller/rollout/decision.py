"""What one tick concluded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from controller.rollout.plan import Severity
from controller.rollout.state import Cause, Failure, State
from controller.rollout.verdict import Verdict


class Action(StrEnum):
    """What a decision does. Only ADVANCE (`promote` is one), RESUME, RETRY and RETIRE can raise the share."""

    HOLD = "hold"
    START = "start"
    AMEND = "amend"
    ADVANCE = "advance"
    APPROVE = "approve"
    BAKE = "bake"
    COMPLETE = "complete"
    PAUSE = "pause"
    RESUME = "resume"
    PIN = "pin"
    ROLLBACK = "rollback"
    RETRY = "retry"
    RETIRE = "retire"
    EXPIRE = "expire"  # a split's lease ran out; the committed share goes back in force
    NOTIFY = "notify"  # nothing moves; something is told once
    MEASURE = "measure"  # nothing moves, nothing is told; a percentile of the baseline is frozen to compare with
    REFUSE = "refuse"  # a command that the state does not permit


class Waiting(StrEnum):
    """What an advance still waits for."""

    IN_FORCE = "in_force"  # the split is not verified in force
    HOLD_TIME = "hold_time"
    SAMPLES = "samples"
    APPROVAL = "approval"
    RULE_FAILED = "rule_failed"
    UNMEASURED = "unmeasured"
    PROOF = "proof"
    SAMPLE_RATIO = "sample_ratio"
    FREEZE = "freeze"
    BASELINE = "baseline"  # does not answer, is unknown, or retires
    COVERAGE = "coverage"  # label coverage differs between the arms
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One thing an advance waits for: `have` of `need` where that can be counted (s for times)."""

    waiting: Waiting
    rule: str | None = None
    intent: str | None = None
    have: float | None = None
    need: float | None = None
    detail: str = ""


class Refusal(StrEnum):
    """Why a command was refused."""

    MOVED_ON = "moved_on"  # the rollout has newer records than the asker saw
    SUPERSEDED = "superseded"  # a stop came first in the same tick
    EXISTS = "exists"  # nothing to change: this revision is in force
    NOT_PAUSED = "not_paused"
    ALREADY_PAUSED = "already_paused"
    NOT_RUNNING = "not_running"
    NOT_ROLLED_BACK = "not_rolled_back"
    NOT_COMPLETE = "not_complete"
    NO_APPROVAL_ASKED = "no_approval_asked"
    LAST_STEP = "last_step"
    RULE_FAILED = "rule_failed"
    NEEDS_REASON = "needs_reason"
    UNKNOWN_RULE = "unknown_rule"
    UNKNOWN_INTENT = "unknown_intent"
    ALREADY_PINNED = "already_pinned"
    IMMUTABLE = "immutable"  # arms and unit cannot be amended
    STOPPED = "stopped"  # a new revision cannot clear a pause or a rollback
    FROZEN = "frozen"
    BASELINE = "baseline"
    NOT_STARTED = "not_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message owed to someone. `key` is unique within the rollout: what is owed once is sent once."""

    key: str
    action: Action
    cause: Cause
    severity: Severity
    at: datetime
    share_before_bp: int
    share_after_bp: int
    failures: tuple[Verdict, ...] = ()
    deadline: datetime | None = None
    actor: str = ""
    reason: str = ""
    detail: str = ""
    waits: tuple[Wait, ...] = ()  # what is missing, where that is told
    lacking: tuple[Verdict, ...] = ()  # of the rules among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Action, why, on which verdicts, what it waits for, the next state and what is owed to whom."""

    action: Action
    cause: Cause
    state: State
    verdicts: tuple[Verdict, ...] = ()
    waits: tuple[Wait, ...] = ()
    failures: tuple[Failure, ...] = ()  # latched by this decision
    notices: tuple[Notice, ...] = ()
    refusal: Refusal | None = None
    refusal_detail: str = ""
    held: timedelta = timedelta(0)

    @property
    def recorded(self) -> bool:
        """Whether it enters the chain. A refusal is answered, not recorded: it changed nothing."""
        return self.action not in (Action.HOLD, Action.REFUSE)
