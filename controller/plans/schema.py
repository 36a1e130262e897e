"""The shape of a plan's file, as pydantic models.

Each model mirrors one object of the file: its keys, their kinds, defaults and descriptions. What the values mean
together is judged afterwards, in `controller.plans.meaning`. A field marked `NOT_YET` is part of the format and is
checked here, but has no effect in this release, so that a plan which uses it is refused.
"""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from controller.plans import leaves
from controller.plans.schema_arms import (
    ArmShape,
    AssignmentShape,
    CandidateShape,
    IntentShape,
    LabelsShape,
    MatchShape,
)
from controller.plans.schema_base import (
    NOT_YET,
    Boolean,
    Duration,
    Latency,
    Money,
    Name,
    PlanName,
    Rate,
    Shape,
    ShareBp,
    Url,
)
from controller.plans.schema_notify import NotifyShape
from controller.plans.schema_rules import (
    FreezeShape,
    PriorsShape,
    RuleShape,
    StepShape,
    TrafficShape,
)
from controller.rollout.plan import (
    OnLoss,
    PauseShare,
)

API_VERSION = "canaryctl.dev/v1alpha1"
KIND = "RolloutPlan"


class BudgetShape(Shape):
    """What may be spent."""

    per_hour: Money | None = Field(None, alias="perHour", description="In one hour.")
    per_day: Money | None = Field(None, alias="perDay", description="In one day.")
    per_month: Money | None = Field(None, alias="perMonth", description="In one month.")


class FallbackShape(Shape):
    """What happens to a request whose arm does not answer."""

    on_error: Boolean | None = Field(
        None, alias="onError", description="Send it to the other arm once."
    )
    timeout: Latency | None = Field(None, description="When an arm counts as not answering.")


class ShadowShape(Shape):
    """Requests that both arms answer, for pairs."""

    share: ShareBp = Field(description="The part of baseline traffic that is copied.")
    budget: BudgetShape | None = Field(None, description="What the copies may cost.")


class CacheShape(Shape):
    """Answers that are kept for equal requests."""

    ttl: Duration = Field(description="How long an answer is kept.")


class RetentionShape(Shape):
    """How long raw data is kept."""

    observations: Duration | None = Field(None, description="Raw observations.")
    payloads: Duration | None = Field(None, description="Payloads of pairs.")


class ReviewShape(Shape):
    """Answers that people grade."""

    share: ShareBp = Field(description="The part of answers, drawn at random on each arm.")
    queue: Name | None = Field(None, description="Whose they are.")


class GateShape(Shape):
    """A system that is asked before each advance."""

    url: Url = Field(description="Answers 200 to let go on.")
    timeout: Latency | None = Field(None, description="When no answer holds.")


class SpecShape(Shape):
    """What is asked."""

    baseline: ArmShape = Field(description="The model to move from.")
    candidate: CandidateShape = Field(description="The model to move to.")
    match: MatchShape | None = Field(
        None,
        description="Which requests are this plan's; by default those for the baseline's name.",
    )
    assignment: AssignmentShape = Field(description="How traffic is divided.")
    intents: list[IntentShape] = Field(description="The kinds of requests; at least one.")
    labels: LabelsShape | None = Field(
        None, description="When outcomes arrive, and what grades them."
    )
    traffic: TrafficShape = Field(description="Where the split is put in force.")
    steps: list[StepShape] = Field(description="Shares to go through, each above the one before.")
    holdback: ShareBp = Field(
        0,
        description='A control that stays on the baseline at "100%".',
        json_schema_extra={"default": "0%"},
    )
    bake: Duration = Field(
        timedelta(0), description="How long rules keep running after the last step."
    )
    rules: list[RuleShape] = Field(description="Failure rules; at least one.")
    notify: NotifyShape | None = Field(None, description="Who is told.")
    alpha: Rate = Field(
        Fraction(5, 100), description="The chance of any false stop in the whole migration."
    )
    priors: PriorsShape | None = Field(None, description="What the bets assume.")
    freeze: list[FreezeShape] = Field(
        default_factory=list, description="Stretches in which nothing advances."
    )
    max_blind: Duration = Field(
        timedelta(minutes=30), alias="maxBlind", description="Unmeasured time before a pause."
    )
    pause_share: Annotated[PauseShare, leaves.choice(PauseShare)] = Field(
        PauseShare.HOLD, alias="pauseShare", description="The candidate's share while paused."
    )
    pause_deadline: Duration = Field(
        timedelta(hours=24), alias="pauseDeadline", description="A longer pause becomes a rollback."
    )
    on_controller_loss: Annotated[OnLoss, leaves.choice(OnLoss)] = Field(
        OnLoss.BASELINE,
        alias="onControllerLoss",
        description="What a gateway does when it has had no word for its lease.",
    )
    accept_cost_increase: Boolean = Field(
        False, alias="acceptCostIncrease", description="Needed when the candidate costs more."
    )
    gate: Annotated[list[GateShape] | None, NOT_YET] = Field(
        None, description="Systems that are asked before each advance."
    )
    depends_on: Annotated[list[PlanName] | None, NOT_YET] = Field(
        None, alias="dependsOn", description="Plans that must be complete first."
    )
    budget: Annotated[BudgetShape | None, NOT_YET] = Field(None, description="What may be spent.")
    fallback: Annotated[FallbackShape | None, NOT_YET] = Field(
        None, description="What happens to a request whose arm does not answer."
    )
    shadow: Annotated[ShadowShape | None, NOT_YET] = Field(
        None, description="Requests that both arms answer."
    )
    cache: Annotated[CacheShape | None, NOT_YET] = Field(None, description="Kept answers.")
    retention: Annotated[RetentionShape | None, NOT_YET] = Field(
        None, description="How long raw data is kept."
    )
    review: Annotated[ReviewShape | None, NOT_YET] = Field(
        None, description="Answers that people grade."
    )


class MetadataShape(Shape):
    """What the plan is called."""

    name: PlanName = Field(description="Identifies the plan; a rollout is found by it.")


class PlanShape(Shape):
    """A rollout plan: how traffic moves from one model to another, and what stops it."""

    api_version: Annotated[str, leaves.constant(API_VERSION)] = Field(
        alias="apiVersion", description="The version of this format."
    )
    kind: Annotated[str, leaves.constant(KIND)] = Field(description="What this object is.")
    metadata: MetadataShape = Field(description="What the plan is called.")
    spec: SpecShape = Field(description="What is asked.")
