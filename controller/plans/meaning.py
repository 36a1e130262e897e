"""Second parse of a plan: shape -> `Plan`. What the values mean together, and every refusal that follows from it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from ipaddress import ip_address
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from controller.plans import cost
from controller.plans.document import Mapping, Node, Place, Problems, Scalar, Sequence
from controller.plans.models import ModelTable, usd_per_million
from controller.plans.nearest import did_you_mean, nearest
from controller.plans.schema import (
    ArmShape,
    ChannelsShape,
    FreezeShape,
    IntentShape,
    JudgeShape,
    PlanShape,
    PriceShape,
    PriorsShape,
    Resume,
    RuleShape,
    Shape,
    SlackShape,
    SpecShape,
    StepShape,
    WebhookShape,
)
from controller.plans.units import UnitError, parse_duration, parse_limit, shown
from controller.rollout.metrics import CATALOGUE, Kind, MeasureUnit, Metric, custom_rate
from controller.rollout.plan import (
    Evidence,
    Freeze,
    Intent,
    Judge,
    Labels,
    ModelRef,
    Plan,
    Price,
    Priors,
    Rule,
    Scope,
    Severity,
    Slack,
    Step,
    Then,
    Webhook,
)
from controller.rollout.rules import CONFIDENT_KINDS, is_provable
from controller.rollout.timeline import MINUTE
from controller.rollout.units import format_duration, format_percent, format_share

_PROVABLE = "only rates, percentiles and accuracy_delta can be proven"
LEAST_ALPHA = Fraction(1, 10**9)  # less is lost in the rounding of what is left
SPENT_PER_HOUR = ("per_hour", "tokens_per_hour")  # subjects of the catalogue
_NAMED_METRIC = re.compile(r"custom\.([A-Za-z][A-Za-z0-9_]{0,62})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a plan is read against. With `partial`, some of the file had no shape, and nothing is said about
    what may be missing because of that."""

    problems: Problems
    models: ModelTable
    today: date
    partial: bool

    def refuse(self, shape: Shape, key: str, message: str) -> None:
        """Report a problem at the value of a key; at the object itself where the key was left out."""
        entry = shape.node.entries.get(key)
        if entry is None:
            self.problems.add(shape.node.place, shape.node.path, message)
        else:
            self.problems.add(entry.value.place, entry.value.path, message)

    def refuse_node(self, node: Node, message: str) -> None:
        self.problems.add(node.place, node.path, message)


def read_meaning(shape: PlanShape, reading: Reading) -> Plan | None:
    """The plan that a shape asks for; None where it cannot be. Every refusal goes to `reading.problems`."""
    spec = shape.spec
    baseline = _model(spec.baseline, reading)
    candidate = _model(spec.candidate, reading)
    _check_arms(spec, baseline, candidate, reading)
    intents = _intents(spec, reading)
    steps = _steps(spec, reading)
    rules = tuple(rule for one in spec.rules if (rule := _rule(one, spec, reading)) is not None)
    _check_alphas(spec, rules, reading)
    _refuse_twice(spec.rules, "rule", reading)
    _check_target(spec, reading)
    _check_spec_values(spec, reading)
    freezes = tuple(one for item in spec.freeze if (one := _freeze(item, reading)) is not None)
    labels = _labels(spec, reading)
    priors = _priors(spec.priors, reading)
    slack = _slack(spec.notify.slack if spec.notify else None, reading)
    webhook = _webhook(spec.notify.webhook if spec.notify else None, reading)
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
        if not _had(arm, "price"):
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


def _had(shape: Shape, key: str) -> bool:
    """Whether the file has the key, even with a value that has no shape."""
    return key in shape.node.entries


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
    if _had(spec, "acceptCostIncrease") and reading.partial:
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
        reading.refuse(
            spec,
            "holdback",
            f"a holdback of {format_share(spec.holdback)} leaves nothing of the last share, "
            f"{format_share(before.share)}; a usual one is `1%`",
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


# -- rules ------------------------------------------------------------------------------------------------------------


def _rule(shape: RuleShape, spec: SpecShape, reading: Reading) -> Rule | None:
    scope, names = _rule_scope(shape, spec, reading)
    _check_rule_values(shape, scope, reading)
    metric = _metric(shape, reading)
    if metric is None:
        return None
    _check_evidence(shape, metric, reading)
    limit = _limit(shape, metric, reading)
    if limit is None:
        return None
    return Rule(
        name=shape.name,
        metric=metric,
        limit=limit,
        below=shape.below is not None,
        window=shape.window,
        then=shape.then,
        evidence=shape.evidence,
        scope=scope,
        intents=names,
        arm=shape.arm,
        sustained=shape.sustained,
        min_samples=_min_samples(shape, metric),
        min_window=shape.min_window or MINUTE,
        alpha=None if shape.alpha is None else float(shape.alpha),
        severity=shape.severity,
        auto_resume=shape.resume is Resume.AUTO,
    )


def _min_samples(shape: RuleShape, metric: Metric) -> int:
    if shape.min_samples is not None:
        return shape.min_samples
    return 1 if metric.subject in SPENT_PER_HOUR else 500


def _metric(shape: RuleShape, reading: Reading) -> Metric | None:
    known = CATALOGUE.get(shape.metric)
    if known is not None:
        return known
    if custom := _NAMED_METRIC.fullmatch(shape.metric):
        return custom_rate(custom[1])
    hint = did_you_mean(shape.metric, CATALOGUE)
    reading.refuse(
        shape,
        "metric",
        f"unknown metric {shown(shape.metric)}{hint}; your own flags are written `custom.NAME`",
    )
    return None


def _rule_scope(
    shape: RuleShape, spec: SpecShape, reading: Reading
) -> tuple[Scope, tuple[str, ...]]:
    if shape.intents is None:
        return Scope.ALL, ()
    written = shape.node.entries["intents"].value
    if isinstance(written, Scalar):
        scope = Scope(written.text)
        if scope is Scope.CRITICAL and not reading.partial and not _any_critical(spec):
            reading.refuse_node(
                written,
                "no intent is critical, so this rule would judge nothing; "
                "mark one with `critical: true`",
            )
        return scope, ()
    known = _written_names(spec)
    seen: set[str] = set()
    for scalar in shape.intents:
        if scalar.text not in known:
            hint = did_you_mean(scalar.text, known)
            reading.refuse_node(scalar, f"unknown intent {shown(scalar.text)}{hint}")
        elif scalar.text in seen:
            reading.refuse_node(scalar, f"{shown(scalar.text)} is named twice; keep one")
        seen.add(scalar.text)
    return Scope.NAMED, tuple(scalar.text for scalar in shape.intents)


def _any_critical(spec: SpecShape) -> bool:
    return any(intent.critical for intent in spec.intents)


def _written_names(spec: SpecShape) -> tuple[str, ...]:
    """The names of intents as the file has them, even where the rest of an intent has no shape."""
    intents = spec.node.entries.get("intents")
    items = intents.value.items if intents and isinstance(intents.value, Sequence) else []
    entries = (item.entries.get("name") for item in items if isinstance(item, Mapping))
    values = (entry.value for entry in entries if entry is not None)
    return tuple(name.text for name in values if isinstance(name, Scalar))


def _check_rule_values(shape: RuleShape, scope: Scope, reading: Reading) -> None:
    if shape.window == timedelta(0):
        reading.refuse(shape, "window", "a window of 0 holds no data; write one such as `1h`")
    _check_min_window(shape, reading)
    if shape.min_samples == 0:
        reading.refuse(
            shape, "minSamples", "a rule cannot be judged on no samples; write at least `1`"
        )
    if shape.then is Then.PIN and scope is Scope.ALL and not _had(shape, "intents"):
        reading.refuse(
            shape,
            "then",
            "`pin` sends an intent back to the baseline, and this rule judges all traffic as one; "
            "add `intents: each`, `critical` or a list",
        )
    if shape.resume is Resume.AUTO and shape.then is not Then.PAUSE:
        reading.refuse(
            shape,
            "resume",
            f"`auto` ends a pause, and this rule causes none (`then: {shape.then.value}`); leave it out",
        )


def _check_min_window(shape: RuleShape, reading: Reading) -> None:
    if shape.min_window is None:
        return
    if shape.min_window == timedelta(0):
        reading.refuse(
            shape, "minWindow", "a window of 0 holds no data to blame; write one such as `1h`"
        )
    elif shape.min_window > shape.window and _was_read(shape, "window", shape.window):
        reading.refuse(
            shape,
            "minWindow",
            f"{format_duration(shape.min_window)} is longer than the window, "
            f"{format_duration(shape.window)}, so no stretch could be blamed; write at most that",
        )


def _was_read(shape: Shape, key: str, span: timedelta) -> bool:
    """Whether a duration is the one that the file has, and does not stand in for one that has no shape."""
    entry = shape.node.entries.get(key)
    try:
        return (
            entry is not None
            and isinstance(entry.value, Scalar)
            and parse_duration(entry.value.text) == span
        )
    except UnitError:
        return False


def _check_evidence(shape: RuleShape, metric: Metric, reading: Reading) -> None:
    if metric.comparing and shape.arm is not None:
        reading.refuse(shape, "arm", f"{metric.name} compares both arms; leave `arm` out")
    if metric.kind is Kind.LOSS and _had(shape, "below"):
        reading.refuse(
            shape, "below", f"{metric.name} is a loss, and a small one is good; write `above`"
        )
    _check_proof(shape, metric, reading)
    if shape.evidence is not Evidence.CONFIDENT:
        return
    if metric.kind not in CONFIDENT_KINDS:
        reading.refuse(
            shape,
            "evidence",
            f"{metric.name} has no confident form: {_PROVABLE}; write `observed`",
        )
    elif shape.below is not None:
        reading.refuse(
            shape, "evidence", "`confident` with `below` is not supported yet; write `observed`"
        )


def _check_proof(shape: RuleShape, metric: Metric, reading: Reading) -> None:
    """What only concerns a proof has no effect on a rule that can have none."""
    if metric.kind not in CONFIDENT_KINDS:
        why = f"{metric.name} has no confident form: {_PROVABLE}"
    elif shape.below is not None:
        why = "a rule with `below` has no confident form yet"
    else:
        return
    for key, value in (("minWindow", shape.min_window), ("alpha", shape.alpha)):
        if value is not None:
            reading.refuse(shape, key, f"{why}; leave `{key}` out")


def _check_alphas(spec: SpecShape, rules: tuple[Rule, ...], reading: Reading) -> None:
    """Parts of alpha are above nothing, together not more than the plan's, and leave something for the other rules."""
    asked = [(shape, shape.alpha) for shape in spec.rules if shape.alpha is not None]
    for shape, alpha in asked:
        if alpha < LEAST_ALPHA:
            reading.refuse(
                shape, "alpha", "at `0%` nothing could ever be proven; write a part such as `1%`"
            )
    if (
        not asked
        or not 0 < spec.alpha < Fraction(1, 2)
        or (_had(spec, "alpha") and reading.partial)
    ):
        return  # the plan's own is wrong, or stands in for one that is: that was said
    whole, left = format_percent(float(spec.alpha)), spec.alpha
    for shape, alpha in asked:
        left -= alpha
        if left < 0:
            taken = format_percent(float(spec.alpha - left))
            reading.refuse(
                shape,
                "alpha",
                f"with it the rules take {taken} in all, of the plan's alpha of {whole}; "
                "lower one, or write a larger `alpha` under `spec`",
            )
            return
    others = [rule.name for rule in rules if rule.alpha is None and is_provable(rule)]
    if others and left < LEAST_ALPHA:
        reading.refuse(
            asked[-1][0],
            "alpha",
            f"with it nothing is left of the plan's alpha of {whole} for {', '.join(others)}, which could then "
            "never be proven; lower one, or write a larger `alpha` under `spec`",
        )


def _limit(shape: RuleShape, metric: Metric, reading: Reading) -> float | None:
    given = [key for key in ("above", "below") if _had(shape, key)]
    if len(given) != 1:
        both = (
            "gives both `above` and `below`; keep one"
            if given
            else "has no limit; write `above:` or `below:`"
        )
        reading.refuse(shape, "below" if given else "", f"the rule {both}")
        return None
    text = shape.above if given[0] == "above" else shape.below
    if text is None:  # its shape was wrong, and that was said
        return None
    try:
        limit = parse_limit(metric, text)
    except UnitError as error:
        reading.refuse(shape, given[0], f"{error} (the limit of {metric.name})")
        return None
    if wrong := _wrong_limit(shape, metric, limit):
        reading.refuse(shape, given[0], wrong)
    return limit


def _wrong_limit(shape: RuleShape, metric: Metric, limit: float) -> str | None:
    """Why a rule with this limit could never fail, or could not be proven; None if it can."""
    text = shown(shape.above or shape.below or "")
    if metric.kind is Kind.RATE and shape.above is not None and not 0 < limit < 1:
        return f"{text} leaves nothing to test: a limit lies between 0% and 100%, such as `0.01%`"
    if metric.kind is Kind.LOSS and not 0 < limit < 1:
        return f"{text} leaves no loss to look for; a margin is above 0pp, such as `1.5pp`"
    if shape.above is not None and metric.unit is MeasureUnit.FRACTION and limit >= 1:
        return f"{metric.name} is never above {text}, so the rule could never fail"
    if shape.below is not None and limit <= 0:
        return f"{metric.name} is never below {text}, so the rule could never fail"
    return None


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
    if shape.horizon <= shape.delay:
        reading.refuse(
            shape,
            "horizon" if _had(shape, "horizon") else "delay",
            f"labels would be refused after {format_duration(shape.horizon)}, before they are complete "
            f"at {format_duration(shape.delay)}; `horizon` is longer than `delay`",
        )
    judge = None if shape.judge is None else _judge(shape.judge, spec, reading)
    return Labels(delay=shape.delay, horizon=shape.horizon, judge=judge)


def _judge(shape: JudgeShape, spec: SpecShape, reading: Reading) -> Judge:
    together = shape.sensitivity + shape.specificity
    if together <= 1:
        reading.refuse(
            shape,
            "specificity" if _had(shape, "specificity") else "sensitivity",
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


def _freeze(shape: FreezeShape, reading: Reading) -> Freeze | None:
    dated = [key for key in ("start", "end") if _had(shape, key)]
    repeated = [key for key in ("cron", "duration", "timeZone") if _had(shape, key)]
    if bool(dated) == bool(repeated):
        reading.refuse_node(
            shape.node,
            "a freeze has either `start` and `end`, or `cron`, `duration` and `timeZone`",
        )
        return None
    return _dated_freeze(shape, reading) if dated else _repeated_freeze(shape, reading)


def _dated_freeze(shape: FreezeShape, reading: Reading) -> Freeze | None:
    if shape.start is None or shape.end is None:
        missing = [key for key in ("start", "end") if not _had(shape, key)]
        if missing:
            reading.refuse_node(shape.node, f"a freeze with dates also needs `{missing[0]}`")
        return None
    if shape.end <= shape.start:
        reading.refuse(shape, "end", "the freeze ends before it starts")
    return Freeze(reason=shape.reason, start=shape.start, end=shape.end)


def _repeated_freeze(shape: FreezeShape, reading: Reading) -> Freeze | None:
    zone = shape.time_zone or "UTC"
    if shape.time_zone is not None and not _is_zone(zone):
        hint = did_you_mean(zone, available_timezones())
        reading.refuse(
            shape,
            "timeZone",
            f"unknown time zone {shown(zone)}{hint}; IANA names such as `Europe/Berlin`",
        )
        return None
    for key, value in (("cron", shape.cron), ("duration", shape.duration)):
        if value is None:
            if not _had(shape, key):
                reading.refuse_node(shape.node, f"a repeated freeze also needs `{key}`")
            return None
    if shape.duration == timedelta(0):
        reading.refuse(shape, "duration", "a freeze of 0 freezes nothing; write one such as `60h`")
    if wrong := _wrong_cron(shape.cron or "", zone, reading.today):
        reading.refuse(shape, "cron", wrong)
    return Freeze(reason=shape.reason, cron=shape.cron, duration=shape.duration, zone=zone)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown names, and paths that are no zone
        return False
    return True


def _wrong_cron(cron: str, zone: str, today: date) -> str | None:
    """What is wrong with a cron schedule; None if it comes, and everybody reads it the same way."""
    from apscheduler.triggers.cron import CronTrigger  # 150 ms, and few plans have one

    wanted = "expected five fields `minute hour day month weekday`, such as `0 18 * * fri`"
    parts = cron.split()
    if len(parts) != 5:
        return f"{shown(cron)} has {len(parts)} fields; {wanted}"
    if re.search(r"[0-9]", parts[4]):
        return (
            f"{shown(parts[4])} as a weekday could mean two days (Sunday is 0 in cron, Monday in "
            "APScheduler); write `sun` … `sat`"
        )
    try:
        trigger = CronTrigger.from_crontab(cron, timezone=zone)
        start = datetime.combine(today, time(), tzinfo=UTC)
        comes = trigger.get_next_fire_time(None, start) is not None
    except (ValueError, OverflowError) as error:
        why = " ".join(str(error).split())[:160]
        return f"{shown(cron)} is not a cron schedule: {why}; {wanted}"
    return None if comes else f"{shown(cron)} is a date that never comes"


# -- who is told ------------------------------------------------------------------------------------------------------


def _slack(shape: SlackShape | None, reading: Reading) -> Slack | None:
    if shape is None:
        return None
    own = {} if shape.channels is None else _channels(shape, shape.channels, reading)
    return Slack(
        channel=shape.channel,
        info=own.get(Severity.INFO),
        warning=own.get(Severity.WARNING),
        critical=own.get(Severity.CRITICAL),
        least=shape.least,
    )


def _channels(shape: SlackShape, own: ChannelsShape, reading: Reading) -> dict[Severity, str]:
    found = {}
    for severity in Severity:
        channel: str | None = getattr(own, severity.value)
        if channel is None:
            continue
        if not severity.reaches(shape.least):
            reading.refuse(
                own,
                severity.value,
                f"nothing would go there: `from: {shape.least.value}` leaves out `{severity.value}`",
            )
        found[severity] = channel
    return found


def _webhook(shape: WebhookShape | None, reading: Reading) -> Webhook | None:
    if shape is None:
        return None
    try:
        parts = urlsplit(shape.url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        reading.refuse(shape, "url", f"not an address: {error}")
        return None
    if not shape.url.isascii():
        reading.refuse(
            shape,
            "url",
            "an address is ASCII: write other letters of its path as %XX, of its host as xn--…",
        )
        return None
    if wrong := _wrong_address(parts.scheme, host, secret=parts.username is not None):
        reading.refuse(shape, "url", wrong)
        return None
    return Webhook(
        name=host if port is None else f"{host}:{port}", url=shape.url, least=shape.least
    )


def _wrong_address(scheme: str, host: str, *, secret: bool) -> str:
    if not host:
        return "no host in it; write an address such as `https://pager.example.com/canary`"
    if secret:
        return (
            "a name or password in an address is readable for all who read the plan; leave it out: "
            "the receiver knows canaryctl by its signature"
        )
    if scheme == "http" and not _is_this_host(host):
        return "http:// is for this host alone; write https://"
    return ""


def _is_this_host(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
