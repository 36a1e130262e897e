"""Second parse of a plan: shape -> `Plan`. What the values mean together, and every refusal that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from fractions import Fraction

from controller.plans import cost
from controller.plans.document import Mapping, Place
from controller.plans.meaning_freeze import read_freeze
from controller.plans.meaning_notify import read_slack, read_webhook
from controller.plans.meaning_rules import check_alphas, check_minutes, read_rule
from controller.plans.models import ModelTable, usd_per_million
from controller.plans.nearest import nearest
from controller.plans.reading import Reading, had
from controller.plans.schema import PlanShape, SpecShape
from controller.plans.schema_arms import (
    ArmShape,
    IntentShape,
    JudgeShape,
    LabelsShape,
    PeopleShape,
    PriceShape,
)
from controller.plans.schema_rules import PriorsShape, RuleShape, StepShape
from controller.plans.units import shown
from controller.rollout.metrics import MICRO
from controller.rollout.plan import (
    Intent,
    Judge,
    Labels,
    ModelRef,
    Plan,
    Price,
    Priors,
    Scope,
    Step,
)
from controller.rollout.units import format_duration, format_percent, format_share


def read_meaning(shape: PlanShape, reading: Reading) -> Plan | None:
    """The plan that a shape asks for; None where it cannot be. Every refusal goes to `reading.problems`."""
    spec = shape.spec
    baseline = _model(spec.baseline, reading)
    candidate = _model(spec.candidate, reading)
    _check_arms(spec, baseline, candidate, reading)
    intents = _intents(spec, reading)
    steps = _steps(spec, reading)
    rules = tuple(rule for one in spec.rules if (rule := read_rule(one, spec, reading)) is not None)
    check_alphas(spec, rules, reading)
    _refuse_twice(spec.rules, "rule", reading)
    _check_target(spec, reading)
    _check_spec_values(spec, reading)
    freezes = tuple(one for item in spec.freeze if (one := read_freeze(item, reading)) is not None)
    labels = _labels(spec, reading)
    priors = _priors(spec.priors, reading)
    slack = read_slack(spec.notify.slack if spec.notify else None, reading)
    webhook = read_webhook(spec.notify.webhook if spec.notify else None, reading)
    if reading.problems or baseline is None or candidate is None:
        return None
    return Plan(
        name=shape.metadata.name,
        baseline=baseline,
        candidate=candidate,
        match_model=spec.match.model if spec.match else baseline.model,
        unit=spec.assignment.unit,
        intents=intents,
        steps=steps,
        rules=rules,
        labels=labels,
        target="gateway",
        holdback_bp=spec.holdback,
        bake=spec.bake,
        alpha=float(spec.alpha),
        priors=priors,
        freezes=freezes,
        max_blind=spec.max_blind,
        pause_share=spec.pause_share,
        pause_deadline=spec.pause_deadline,
        on_controller_loss=spec.on_controller_loss,
        accept_cost_increase=spec.accept_cost_increase,
        slack=slack,
        webhook=webhook,
    )


# -- arms -------------------------------------------------------------------------------------------------------------


def _model(arm: ArmShape, reading: Reading) -> ModelRef | None:
    facts = reading.models.find(arm.model)
    if facts is None and arm.price is None:
        if not had(arm, "price"):
            reading.refuse(arm, "model", _unknown_model(arm.model, reading.models))
        return None
    known = ModelRef(model=arm.model) if facts is None else facts.ref(arm.model)
    ref = ModelRef(
        model=arm.model,
        price=known.price if arm.price is None else _price(arm.price),
        context_window=arm.context_window or known.context_window,
        output_limit=arm.output_limit or known.output_limit,
        shutdown=arm.shutdown or known.shutdown,
    )
    for key, value in (("contextWindow", arm.context_window), ("outputLimit", arm.output_limit)):
        if value == 0:
            reading.refuse(arm, key, "`0` tokens leave no room for a request")
    if ref.shutdown is not None and ref.shutdown <= reading.today:
        reading.refuse(
            arm,
            "shutdown" if arm.shutdown else "model",
            f"{arm.model} was shut down on {ref.shutdown}; no traffic can go to it. "
            "Name a model that is served, or correct the date with `shutdown:`",
        )
    return ref


def _unknown_model(name: str, models: ModelTable) -> str:
    close = nearest(name, models.names)
    hint = f" (did you mean `{close}`?)" if close else ""
    return (
        f"unknown model {shown(name)}, not in the model table of {models.as_of}{hint}; "
        "for a model of your own give its `price: {input: … USD, output: … USD}` per million tokens"
    )


def _price(shape: PriceShape) -> Price:
    cached = shape.input if shape.cached_input is None else shape.cached_input
    return usd_per_million(input=shape.input, cached_input=cached, output=shape.output)


def _check_arms(
    spec: SpecShape, baseline: ModelRef | None, candidate: ModelRef | None, reading: Reading
) -> None:
    if spec.baseline.model == spec.candidate.model:
        reading.refuse(
            spec.candidate,
            "model",
            f"candidate and baseline are both {shown(spec.candidate.model)}; there is nothing to move",
        )
    elif baseline is not None and candidate is not None:
        _check_cost(spec, baseline, candidate, reading)


def _check_cost(spec: SpecShape, baseline: ModelRef, candidate: ModelRef, reading: Reading) -> None:
    if baseline.price is None or candidate.price is None or spec.accept_cost_increase:
        return
    if had(spec, "acceptCostIncrease") and reading.partial:
        return
    if cost.is_dearer(candidate.price, baseline.price):
        reading.refuse(
            spec.candidate,
            "model",
            f"{cost.per_request(candidate, baseline)}; "
            "if that is wanted, write `acceptCostIncrease: true` under `spec`",
        )


# -- intents, steps ---------------------------------------------------------------------------------------------------


def _intents(spec: SpecShape, reading: Reading) -> tuple[Intent, ...]:
    if not spec.intents and not reading.partial:
        reading.refuse(
            spec, "intents", "no intents; a plan needs at least one, such as `- name: chat`"
        )
    _refuse_twice(spec.intents, "intent", reading)
    for intent in spec.intents:
        if intent.critical and intent.pin is not None:
            reading.refuse(
                intent,
                "pin",
                f"{intent.name} is critical and pinned at once; a pinned intent has no candidate "
                "traffic to judge: keep one of the two",
            )
        if intent.name in {scope.value for scope in Scope}:
            reading.refuse(
                intent, "name", f"`{intent.name}` has a meaning in rules; choose another name"
            )
    if spec.intents and not reading.partial and all(intent.pin for intent in spec.intents):
        reading.refuse(
            spec, "intents", "every intent is pinned to the baseline; nothing could move"
        )
    return tuple(
        Intent(name=one.name, critical=one.critical, pinned=one.pin is not None)
        for one in spec.intents
    )


def _refuse_twice(shapes: Iterable[IntentShape | RuleShape], what: str, reading: Reading) -> None:
    first: dict[str, Place] = {}
    for shape in shapes:
        place = shape.node.entries["name"].value.place
        if shape.name in first:
            line = first[shape.name].line
            reading.refuse(
                shape,
                "name",
                f"{shown(shape.name)} is already the {what} of line {line}; rename one",
            )
        first.setdefault(shape.name, place)


_USUAL_HOLDBACK = 100  # basis points


def _steps(spec: SpecShape, reading: Reading) -> tuple[Step, ...]:
    if not spec.steps and not reading.partial:
        reading.refuse(
            spec, "steps", "no steps; a plan needs at least one, such as `- share: 100%`"
        )
    before: StepShape | None = None
    for step in spec.steps:
        _check_step(step, before, reading)
        before = step
    if before is not None and not reading.partial and spec.holdback >= before.share:
        usual = "a usual one is `1%`" if before.share > _USUAL_HOLDBACK else "write less than that"
        reading.refuse(
            spec,
            "holdback",
            f"a holdback of {format_share(spec.holdback)} leaves nothing of the last share, "
            f"{format_share(before.share)}; {usual}",
        )
    return tuple(
        Step(
            share_bp=one.share,
            hold=one.hold,
            min_samples=one.min_samples,
            approval=one.approval is not None,
            advance=one.advance,
            deadline=one.deadline,
        )
        for one in spec.steps
    )


def _check_step(step: StepShape, before: StepShape | None, reading: Reading) -> None:
    if step.share == 0:
        reading.refuse(step, "share", "a step at 0% moves nothing; shares start above 0%")
    elif before is not None and step.share <= before.share:
        verb = "repeats" if step.share == before.share else "falls below"
        reading.refuse(
            step,
            "share",
            f"{format_share(step.share)} {verb} {format_share(before.share)} of the step before "
            f"(line {before.node.place.line}); shares rise from step to step",
        )
    if step.deadline == timedelta(0):
        reading.refuse(
            step, "deadline", "`0` would be told at once; write a duration such as `14d`"
        )
    elif step.deadline is not None and step.deadline < step.hold:
        reading.refuse(
            step,
            "deadline",
            f"{format_duration(step.deadline)} are over before the step was held for its "
            f"{format_duration(step.hold)}; `deadline` is not shorter than `hold`",
        )


# -- the rest ---------------------------------------------------------------------------------------------------------


def _check_target(spec: SpecShape, reading: Reading) -> None:
    written = spec.traffic.node.entries
    if not written:
        reading.refuse_node(spec.traffic.node, "no target; write `traffic: {gateway: {}}`")
    if len(written) > 1:
        names = ", ".join(written)
        reading.refuse_node(spec.traffic.node, f"several targets ({names}); a plan has one")
    gateway = written.get("gateway")
    if gateway is not None and isinstance(gateway.value, Mapping):
        for key, entry in gateway.value.entries.items():
            reading.problems.add(
                entry.key_place,
                gateway.value.path,
                f"unknown key {shown(key)}; `gateway` has none yet",
            )


def _check_spec_values(spec: SpecShape, reading: Reading) -> None:
    if not 0 < spec.alpha < Fraction(1, 2):
        reading.refuse(
            spec, "alpha", "alpha is a chance above 0% and below 50%; a usual one is `5%`"
        )
    if not spec.rules and not reading.partial:
        reading.refuse(spec, "rules", "no rules; without one nothing could ever stop the rollout")
    for key, value in (("maxBlind", spec.max_blind), ("pauseDeadline", spec.pause_deadline)):
        if value == timedelta(0):
            reading.refuse(
                spec, key, "`0` would act at once; write a duration such as `30m` or `24h`"
            )


def _labels(spec: SpecShape, reading: Reading) -> Labels:
    shape = spec.labels
    if shape is None:
        return Labels()
    check_minutes(shape, {"delay": shape.delay}, reading)
    if shape.horizon <= shape.delay:
        reading.refuse(
            shape,
            "horizon" if had(shape, "horizon") else "delay",
            f"labels would be refused after {format_duration(shape.horizon)}, before they are complete "
            f"at {format_duration(shape.delay)}; `horizon` is longer than `delay`",
        )
    judge = None if shape.judge is None else _judge(shape.judge, spec, reading)
    return Labels(
        delay=shape.delay,
        horizon=shape.horizon,
        judge=judge,
        sampled_u=_millionths(shape, "sampled", shape.sampled, _SAMPLED, reading),
        people_u=_people_u(shape, reading),
    )


_SAMPLED = (
    "of 0% of the answers no loss could be seen; write the part that is graded, such as `30%`"
)
_PEOPLE = (
    "of 0% of the answers people could say nothing; write the share that they grade, such as `5%`"
)


def _people_u(shape: LabelsShape, reading: Reading) -> int:
    if shape.people is None:
        return 0
    if shape.judge is None:
        reading.refuse(
            shape,
            "people",
            "people grade beside a judge, and there is none; write `judge:` with how often it is right, or leave "
            "`people` out: then every grade counts alike, whoever gave it",
        )
    return _millionths(shape.people, "share", shape.people.share, _PEOPLE, reading)


def _millionths(
    shape: LabelsShape | PeopleShape, key: str, part: Fraction, none: str, reading: Reading
) -> int:
    """A part that is counted in whole millionths; `none` is what is wrong with 0."""
    millionths = part * MICRO
    if not part:
        reading.refuse(shape, key, none)
    elif millionths.denominator != 1:
        reading.refuse(
            shape,
            key,
            f"the {key} part is counted in millionths, and this is finer; write four decimals at most, such as "
            "`33.3333%`",
        )
    return int(millionths)


def _judge(shape: JudgeShape, spec: SpecShape, reading: Reading) -> Judge:
    together = shape.sensitivity + shape.specificity
    if together <= 1:
        reading.refuse(
            shape,
            "specificity" if had(shape, "specificity") else "sensitivity",
            f"sensitivity and specificity together are {format_percent(float(together))}: such a judge tells no more "
            "than a coin, and no loss could be seen by it; they are more than 100% together, such as 95% and 90%",
        )
    for word, arm in (("baseline", spec.baseline), ("candidate", spec.candidate)):
        if shape.model is not None and _same_model(shape.model, arm.model, reading.models):
            reading.refuse(
                shape,
                "model",
                f"{shape.model} is the {word}'s model, and a judge never grades its own model's answers against "
                "another's; name a third model, or have people grade",
            )
    return Judge(
        sensitivity=float(shape.sensitivity),
        specificity=float(shape.specificity),
        model=shape.model,
    )


def _same_model(one: str, other: str, models: ModelTable) -> bool:
    known = models.find(one)
    return one == other or (known is not None and known == models.find(other))


def _priors(shape: PriorsShape | None, reading: Reading) -> Priors:
    if shape is None:
        return Priors()
    for key, value in (("accuracy", shape.accuracy), ("discordance", shape.discordance)):
        if not 0 < value < 1:
            reading.refuse(shape, key, "a prior lies above 0% and below 100%, such as `95%`")
    return Priors(accuracy=float(shape.accuracy), discordance=float(shape.discordance))
