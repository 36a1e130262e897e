"""The shape of a plan's file, as pydantic models, and the JSON Schema made of them.

Each model mirrors one object of the file: its keys, their kinds, defaults and descriptions. What the values mean
together is judged afterwards, in `controller.plans.meaning`. A field marked `NOT_YET` is part of the format and is
checked here, but has no effect in this release, so that a plan which uses it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf
from pydantic.json_schema import GenerateJsonSchema, SkipJsonSchema

from controller.plans import leaves
from controller.plans.document import Mapping, Scalar
from controller.rollout.plan import (
    Advance,
    Arm,
    Evidence,
    OnLoss,
    PauseShare,
    Severity,
    Then,
    Unit,
)
from controller.rollout.units import format_duration, format_percent

API_VERSION = "canaryctl.dev/v1alpha1"
KIND = "RolloutPlan"
NODE_KEY = "\0node"  # no key of a file can be this: control characters are refused before
SCHEMA_ID = "https://canaryctl.dev/schemas/v1alpha1/rollout-plan.schema.json"

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class NotYet:
    """Marks a field that is known and checked, but refused because it has no effect yet."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(core), "x-supported": False}


NOT_YET = NotYet()


class Approval(StrEnum):
    """Who lets a step go on."""

    REQUIRED = "required"


class Resume(StrEnum):
    """How a pause ends."""

    MANUAL = "manual"
    AUTO = "auto"


ShareBp = Annotated[int, leaves.SHARE]
Rate = Annotated[Fraction, leaves.RATE]
Duration = Annotated[timedelta, leaves.DURATION]
Latency = Annotated[timedelta, leaves.LATENCY]
Money = Annotated[Fraction, leaves.MONEY]
Count = Annotated[int, leaves.COUNT]
Ratio = Annotated[Fraction, leaves.RATIO]
Quantity = Annotated[str, leaves.QUANTITY]
Boolean = Annotated[bool, leaves.BOOLEAN]
Day = Annotated[date, leaves.DAY]
Moment = Annotated[datetime, leaves.MOMENT]
Name = Annotated[str, leaves.NAMED]
PlanName = Annotated[str, leaves.PLAN_NAMED]
ModelName = Annotated[str, leaves.MODEL_NAMED]
MetricName = Annotated[str, leaves.METRIC_NAMED]
Channel = Annotated[str, leaves.CHANNEL]
Url = Annotated[str, leaves.URL]
Sentence = Annotated[str, leaves.SENTENCE]


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


class Shape(BaseModel):
    """An object of the file; `node` is where it stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: SkipJsonSchema[InstanceOf[Mapping]] = Field(alias=NODE_KEY, repr=False)


class Open(BaseModel):
    """Any object: its fields come with the feature."""

    model_config = ConfigDict(extra="allow", frozen=True)


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
    sampled: Rate = Field(
        Fraction(1),
        description="Which part of the answers is graded, each picked at random, whatever it is like. An escalated or "
        "failed answer is wrong without a grade, and counts within that part alone, as all others do. Fixed for a "
        "rollout.",
    )


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
        "accuracy and accuracy_delta: the chance that a proof stops a rollout which keeps the limit. A larger part "
        "proves sooner; the rules without one share what is left equally.",
    )
    min_window: Duration | None = Field(
        None,
        alias="minWindow",
        description="The shortest stretch that a proof may blame, for rates, percentiles, their ratio, accuracy and "
        "accuracy_delta: with `1h` short ones too, with the window's own length whole windows only. Never shorter than "
        "`for`.",
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
    """A stretch in which nothing advances: `start` and `end`, or `cron`, `duration` and `timeZone`."""

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


class ChannelsShape(Shape):
    """Slack channels for some severities; the others go to `channel`."""

    info: Channel | None = Field(None, description="For progress.")
    warning: Channel | None = Field(None, description="For what a person should look at.")
    critical: Channel | None = Field(None, description="For stops.")


class SlackShape(Shape):
    """Where Slack messages go."""

    channel: Channel = Field(description='`"#name"` in quotes, or a channel id.')
    channels: ChannelsShape | None = Field(None, description="Other channels, by severity.")
    least: Annotated[Severity, leaves.choice(Severity)] = Field(
        Severity.INFO, alias="from", description="The least severity that is told."
    )


class WebhookShape(Shape):
    """An address that gets each notice as signed JSON; see docs/notifications.md."""

    url: Url = Field(description="https://, or http:// on this host.")
    least: Annotated[Severity, leaves.choice(Severity)] = Field(
        Severity.INFO, alias="from", description="The least severity that is told."
    )


class NotifyShape(Shape):
    """Who is told, beside the log."""

    slack: SlackShape | None = Field(None, description="Slack channels.")
    webhook: WebhookShape | None = Field(None, description="A system of your own.")


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
    rules: list[RuleShape] = Field(description="When the candidate has failed.")
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


class _Generator(GenerateJsonSchema):
    """Defaults as they would be written in a plan."""

    def encode_default(self, dft: Any) -> Any:
        match dft:
            case timedelta():
                return format_duration(dft)
            case Fraction():
                return format_percent(float(dft))
            case StrEnum():
                return dft.value
            case _:
                return super().encode_default(dft)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a plan, with units, defaults and descriptions."""
    schema = PlanShape.model_json_schema(schema_generator=_Generator)
    body = _without_noise(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": KIND,
        **{key: value for key, value in body.items() if key != "title"},
    }


def schema_text() -> str:
    """The schema as it is exported: `canaryctl schema`, and the file that sample plans point editors at."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _without_noise(value: Any) -> Any:
    """Drop generated titles and null branches (a key is left out, never null); say what is not supported."""
    if isinstance(value, list):
        return [_without_noise(item) for item in value]
    if not isinstance(value, AbstractMapping):
        return value
    node = {key: _without_noise(item) for key, item in value.items()}
    if isinstance(node.get("title"), str):
        del node["title"]
    if "default" in node and node["default"] is None:
        del node["default"]
    branches = [one for one in node.get("anyOf", ()) if one != {"type": "null"}]
    if len(branches) == 1:
        del node["anyOf"]
        node = {**branches[0], **node}
    if node.get("x-supported") is False:
        node["description"] = f"Not supported yet. {node.get('description', '')}".strip()
    return node
