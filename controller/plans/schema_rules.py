"""Shapes of what moves traffic and what stops it: steps, rules, freezes, and what is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, InstanceOf

from controller.plans import leaves
from controller.plans.document import Scalar
from controller.plans.schema_base import (
    NOT_YET,
    Approval,
    Count,
    Duration,
    MetricName,
    Moment,
    Name,
    Open,
    Quantity,
    Rate,
    Ratio,
    Resume,
    Sentence,
    Shape,
    ShareBp,
)
from controller.rollout.plan import (
    Advance,
    Arm,
    Evidence,
    Severity,
    Then,
)


def _intents(node: object) -> object:
    if isinstance(node, Scalar) and node.text in leaves.SCOPES:
        return (node,)
    if isinstance(node, Scalar):
        raise leaves.problem(
            f"{leaves.describe(node)} is not one of {leaves.SCOPE_WORDS}; "
            f"intents by name are a list: `[{node.text[:40] or 'refund'}]`"
        )
    if not isinstance(node, list) or not node or not all(isinstance(i, Scalar) for i in node):
        raise leaves.problem(
            f"expected {leaves.SCOPE_WORDS}, or a list of names such as `[refund]`"
        )
    return tuple(node)


@dataclass(frozen=True, slots=True)
class _IntentsSchema:
    def __get_pydantic_json_schema__(self, _core: Any, _handler: Any) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "string", "enum": list(leaves.SCOPES)},
                {"type": "array", "items": leaves.NAMED.schema, "minItems": 1},
            ],
            "x-expects": f"{leaves.SCOPE_WORDS}, or a list of names such as `[refund]`",
        }


# The scalars themselves: a name is looked up later, and an unknown one is reported at its own place.
RuleIntents = Annotated[tuple[InstanceOf[Scalar], ...], BeforeValidator(_intents), _IntentsSchema()]


class TrafficShape(Shape):
    """Where the split is put in force: exactly one target."""

    gateway: Open | None = Field(None, description="canaryctl's own gateway; `{}`.")
    http_route: Annotated[Open | None, NOT_YET] = Field(
        None, alias="httpRoute", description="A Gateway API HTTPRoute."
    )
    virtual_service: Annotated[Open | None, NOT_YET] = Field(
        None, alias="virtualService", description="An Istio VirtualService."
    )
    ai_gateway_route: Annotated[Open | None, NOT_YET] = Field(
        None, alias="aiGatewayRoute", description="An Envoy AI Gateway route."
    )
    litellm: Annotated[Open | None, NOT_YET] = Field(None, description="A LiteLLM proxy.")
    flagd: Annotated[Open | None, NOT_YET] = Field(None, description="A flagd flag.")
    config_map: Annotated[Open | None, NOT_YET] = Field(
        None, alias="configMap", description="A Kubernetes ConfigMap."
    )


class StepShape(Shape):
    """A share to hold, for how long, and what must be true to leave it."""

    share: ShareBp = Field(description="The candidate's part of traffic; rises from step to step.")
    hold: Duration = Field(
        timedelta(0), description="Time with the split verified in force before the next step."
    )
    min_samples: Count = Field(
        0,
        alias="minSamples",
        description="Candidate requests, and samples of each rule, before the next step.",
    )
    approval: Annotated[Approval | None, leaves.choice(Approval)] = Field(
        None, description="`required`: a person approves leaving this step."
    )
    advance: Annotated[Advance | None, leaves.choice(Advance)] = Field(
        None,
        description="`clear`: no rule fails or is unmeasured (the default up to 50%); `proven`: "
        "every critical intent passes by the confident bound (the default above).",
    )
    deadline: Duration | None = Field(
        None,
        description="How long after the step began it is told as stuck, once, with what it still waits for. It goes on "
        "waiting: nothing is skipped, and nothing is rolled back. Not shorter than `hold`.",
    )


class SpikeShape(Shape):
    """A metric against what it was before the window: so many times its usual figure is too much."""

    factor: Ratio = Field(description="How many times the usual figure; above 1.")
    over: Duration = Field(
        timedelta(days=7),
        description="What is usual: the stretch before each window, as far back as the rollout goes. Not shorter than "
        "the window.",
    )


class RuleShape(Shape):
    """When the candidate has failed, and what happens then."""

    name: Name = Field(description="Unique in the plan; commands and notices use it.")
    metric: MetricName = Field(description="One of the catalogue, or `custom.NAME`.")
    above: Quantity | None = Field(None, description="The rule fails above this limit.")
    below: Quantity | None = Field(None, description="The rule fails below this limit.")
    window: Duration = Field(
        description="The stretch of time that is judged, ending at each minute."
    )
    then: Annotated[Then, leaves.choice(Then)] = Field(description="What a failure does.")
    intents: RuleIntents | None = Field(
        None, description="What is judged: all traffic as one (default), or intents each alone."
    )
    evidence: Annotated[Evidence, leaves.choice(Evidence)] = Field(
        Evidence.OBSERVED,
        description="`observed`: the value over a complete window is past the limit; `confident`: "
        "proven at every look.",
    )
    sustained: Duration = Field(
        timedelta(0),
        alias="for",
        description="How long the limit must stay passed. A proof blames no shorter stretch either.",
    )
    min_samples: Count | None = Field(
        None,
        alias="minSamples",
        description="Per arm, before the observed form is judged. Default 500; 1 for what is spent per hour, "
        "which is accounting and no estimate.",
    )
    arm: Annotated[Arm | None, leaves.choice(Arm)] = Field(
        None, description="The arm that is measured, where the metric is of one arm."
    )
    alpha: Rate | None = Field(
        None,
        description="This rule's part of the plan's alpha, over all its intents, for rates, percentiles, their ratio, "
        "accuracy, accuracy_delta and cost_per_correct: the chance that a proof stops a rollout which keeps the limit. "
        "A larger part proves sooner; the rules without one share what is left equally.",
    )
    min_window: Duration | None = Field(
        None,
        alias="minWindow",
        description="The shortest stretch that a proof may blame, for rates, percentiles, their ratio, accuracy, "
        "accuracy_delta and cost_per_correct: with `1h` short ones too, with the window's own length whole windows "
        "only. Never shorter than `for`.",
        json_schema_extra={"default": "1m"},
    )
    spike: SpikeShape | None = Field(
        None,
        description="In place of `above` or `below`: the rule fails where the metric over its window is above so many "
        "times what it was before, by default over the trailing week. Judged as written; there is no proof of it.",
    )
    resume: Annotated[Resume, leaves.choice(Resume)] = Field(
        Resume.MANUAL,
        description="How a pause that this rule causes ends: `manual`, by a person; `auto`, by itself as well, once "
        "this rule passes again on windows that end after the pause. Where several rules pause, each needs `auto`.",
    )
    severity: Annotated[Severity | None, leaves.choice(Severity)] = Field(
        None,
        description="How loudly a failure is told. Default: `warning` for `then: notify`, else `critical`.",
    )


class FreezeShape(Shape):
    """Each is from `start` to `end`, or lasts `duration` from whenever `cron` says, in `timeZone`."""

    start: Moment | None = Field(None, description="The first instant.")
    end: Moment | None = Field(None, description="The first instant after it.")
    cron: Sentence | None = Field(
        None, description="When it begins, as five fields of cron; weekdays by name (`fri`)."
    )
    duration: Duration | None = Field(None, description="How long it lasts from each begin.")
    time_zone: Sentence | None = Field(
        None, alias="timeZone", description="IANA name of the zone that `cron` is read in; UTC."
    )
    reason: Sentence = Field("", description="Shown while it holds.")


class PriorsShape(Shape):
    """What the bets assume; a wrong guess costs time, never validity."""

    accuracy: Rate = Field(Fraction(95, 100), description="The baseline's usual accuracy.")
    discordance: Rate = Field(
        Fraction(5, 100), description="How often the arms differ in being right."
    )
