"""Where a rollout stands. A state is only ever the one that its last record carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from controller.rollout.plan import Plan, Then
from controller.rollout.verdict import Verdict


class Phase(StrEnum):
    """
    PENDING ──advance──> PROGRESSING ──last step held──> BAKING ──baked──> COMPLETE ──> RETIRED
       └───────────────────────┴── pause <──> resume ──────┘
    and from every phase before COMPLETE, rollback ──> ROLLED_BACK, which only `retry` leaves (as a new attempt).
    """

    PENDING = "pending"  # nothing shifted yet
    PROGRESSING = "progressing"
    PAUSED = "paused"
    BAKING = "baking"
    COMPLETE = "complete"
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"

    @property
    def judged(self) -> bool:
        """Whether rules are judged: in every state that can still change by itself."""
        return self in (Phase.PENDING, Phase.PROGRESSING, Phase.PAUSED, Phase.BAKING)


class Cause(StrEnum):
    """Why a decision was taken, in one word; the words for people are made from it in `controller.notify.words`."""

    COMMAND = "command"
    RULE = "rule"
    BLIND = "blind"
    PAUSE_DEADLINE = "pause_deadline"
    CLEAR = "clear"
    PROVEN = "proven"
    BAKED = "baked"
    RECOVERED = "recovered"
    LEASE = "lease"
    MISMATCH = "mismatch"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The stretch of evidence that a rule judges: number 0 from the rollout's begin, a new one at every resume."""

    number: int
    start: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A percentile of the baseline, frozen before what is judged against it: the upper edge of a log bucket.

    In force from the minute after `since`, until another one is.
    """

    bucket: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A FAIL, latched for its epoch. Acknowledged by a resume (a person's, or by itself) or an override, it stays on
    record.
    """

    rule: str
    intent: str | None
    epoch: int
    at: datetime
    then: Then
    acknowledged: bool = False
    auto_resume: bool = False  # as its rule had it then: a later revision does not end a pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What a pause froze, and until when a person may still end it."""

    since: datetime
    deadline: datetime
    cause: Cause
    phase: Phase  # to go back to
    share_bp: int  # before the pause
    held: timedelta  # credit of the hold's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One rollout between two decisions.

    `share_bp` is what is committed for unpinned intents; the split in force can only be smaller (invariant 1).
    `held` is the credit of the hold's clock, which runs on from `hold_from` while the split is verified in force.
    """

    rollout: str  # name/attempt
    name: str
    attempt: int
    plan_digest: str
    revision: int
    salt: str
    phase: Phase
    step: int  # -1 before the first
    share_bp: int
    version: int  # of the split; rises with every change of a share
    step_version: int  # the split's version when the step began
    pins: tuple[str, ...] = ()  # intents sent back to the baseline by a rule or a person
    epochs: Mapping[str, Epoch] = field(default_factory=dict)
    references: Mapping[str, tuple[Reference, ...]] = field(
        default_factory=dict
    )  # by metric and intent, oldest first
    failures: tuple[Failure, ...] = ()
    approved: bool = False
    started_at: datetime
    step_started_at: datetime
    hold_from: datetime
    held: timedelta = timedelta(0)
    paused: Pause | None = None
    expired_at: datetime | None = None  # the last lease expiry that was recorded
    expired_fence: int = 0  # and the fence that the lease was granted under
    told: tuple[str, ...] = ()  # one-time notices already sent in this step
    updated_at: datetime

    def epoch(self, rule: str) -> Epoch:
        return self.epochs.get(rule) or Epoch(number=0, start=self.started_at)

    def failed(self, verdict: Verdict) -> bool:
        """Whether this FAIL is already latched in the verdict's epoch."""
        return any(
            (one.rule, one.intent, one.epoch)
            == (verdict.rule, verdict.intent, verdict.reading.epoch)
            for one in self.failures
        )

    @property
    def open_failures(self) -> tuple[Failure, ...]:
        return tuple(one for one in self.failures if not one.acknowledged)


def shares(plan: Plan, state: State) -> dict[str, int]:
    """The committed split: basis points of the candidate for each intent of the plan."""
    return {
        intent.name: 0 if intent.pinned or intent.name in state.pins else state.share_bp
        for intent in plan.intents
    }
