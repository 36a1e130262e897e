"""Shapes of what is compared: the arms, what is split between them, its intents and its labels."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from controller.plans import leaves
from controller.plans.schema_base import (
    NOT_YET,
    Boolean,
    Count,
    Day,
    Duration,
    Latency,
    ModelName,
    Money,
    Name,
    Open,
    Rate,
    Sentence,
    Shape,
)
from controller.rollout.plan import (
    Arm,
    Unit,
)


class PriceShape(Shape):
    """List price in USD per million tokens."""

    input: Money = Field(description="Input tokens, USD per million.")
    cached_input: Money | None = Field(
        None,
        alias="cachedInput",
        description="Cached input tokens, USD per million; without it they cost as much as others.",
    )
    output: Money = Field(description="Output tokens, USD per million.")


class ArmShape(Shape):
    """A model, and what the dated model table does not know or should not say about it."""

    model: ModelName = Field(description="The model's name as the provider spells it.")
    price: PriceShape | None = Field(
        None, description="Overrides the model table; required for a model that it does not know."
    )
    context_window: Count | None = Field(
        None, alias="contextWindow", description="Tokens; overrides the model table."
    )
    output_limit: Count | None = Field(
        None, alias="outputLimit", description="Output tokens; overrides the model table."
    )
    shutdown: Day | None = Field(
        None, description="The day the provider stops serving the model; overrides the table."
    )


class RequestShape(Shape):
    """What is changed in requests to one arm."""

    system_message: Sentence | None = Field(
        None, alias="systemMessage", description="Replaces the system message."
    )
    parameters: Open | None = Field(None, description="Sampling parameters, such as temperature.")


class CandidateShape(ArmShape):
    """The model to move to."""

    request: Annotated[RequestShape | None, NOT_YET] = Field(
        None, description="A tuned system message or parameters for this arm."
    )


class MatchShape(Shape):
    """Which requests are this plan's."""

    model: ModelName = Field(description="The `model` that clients ask for.")


class AssignmentShape(Shape):
    """How traffic is divided."""

    unit: Annotated[Unit, leaves.choice(Unit)] = Field(
        description="What is assigned to an arm and stays there."
    )


class SlaShape(Shape):
    """Latency that an intent must keep."""

    latency_p95: Latency | None = Field(None, alias="latencyP95", description="95th percentile.")
    ttft_p95: Latency | None = Field(
        None, alias="ttftP95", description="Time to first token, 95th percentile."
    )


class IntentMatchShape(Shape):
    """One way to recognise an intent."""

    header: Name | None = Field(None, description="A request header.")
    metadata: Name | None = Field(None, description="A key of the request's metadata.")
    equals: Sentence | None = Field(None, description="The value it must have.")
    contains: Sentence | None = Field(None, description="Text that the value must contain.")


class IntentShape(Shape):
    """A kind of request."""

    name: Name = Field(description="As requests carry it in `x-canary-intent`.")
    critical: Boolean = Field(False, description="Judged by rules with `intents: critical`.")
    pin: Annotated[Arm | None, leaves.choice(Arm, only=(Arm.BASELINE,))] = Field(
        None, description="`baseline`: this intent never leaves the baseline."
    )
    sla: Annotated[SlaShape | None, NOT_YET] = Field(None, description="Latency it must keep.")
    match: Annotated[list[IntentMatchShape] | None, NOT_YET] = Field(
        None, description="How to recognise the intent when the client does not name it."
    )


class JudgeShape(Shape):
    """What grades answers in place of people, and how often it is right."""

    model: ModelName | None = Field(
        None,
        description="The model that judges. It cannot be one of the arms' models: a judge never grades its own "
        "model's answers against another's.",
    )
    sensitivity: Rate = Field(
        description="How often it calls a right answer right, measured against labels of people."
    )
    specificity: Rate = Field(
        description="How often it calls a wrong answer wrong. The two together are more than 100%."
    )


class PeopleShape(Shape):
    """What people grade beside the judge."""

    share: Rate = Field(
        description="Which part of the units (conversations, users or requests) they grade, drawn by a hash of the "
        "unit's name. They have to grade nearly all that is drawn, on both arms, by `labels.delay`. Fixed for a "
        "rollout."
    )


class LabelsShape(Shape):
    """When outcomes arrive, and what grades them."""

    delay: Duration = Field(
        timedelta(0), description="Labels are complete this long after the request."
    )
    horizon: Duration = Field(
        timedelta(days=7), description="Labels are refused this long after the request."
    )
    judge: JudgeShape | None = Field(
        None,
        description="Whose grades the labels are, where it is known to err: a pass of accuracy_delta is then proven "
        "against a margin as much smaller as the judge shows a loss. Left out, labels are taken for true.",
    )
    people: PeopleShape | None = Field(
        None,
        description="People who grade a random share of the answers beside the judge, sent as outcomes with `source: "
        "person`. A pass of accuracy_delta is then proven by their grades, the judge's only adding to them, so a judge "
        "that favours the candidate passes nothing. Needs `judge`.",
    )
    sampled: Rate = Field(
        Fraction(1),
        description="Which part of the answers is graded, each picked at random, whatever it is like. An escalated or "
        "failed answer is wrong without a grade, and counts within that part alone, as all others do. Fixed for a "
        "rollout.",
    )
