"""Second parse of a plan's rules: metric, limit, scope, evidence, and the alpha that each has."""

from __future__ import annotations

import re
from collections.abc import Mapping as AbstractMapping
from datetime import timedelta
from fractions import Fraction

from controller.plans.document import Mapping, Scalar, Sequence
from controller.plans.nearest import did_you_mean
from controller.plans.reading import Reading, had, was_read
from controller.plans.schema import SpecShape
from controller.plans.schema_base import Resume, Shape
from controller.plans.schema_rules import RuleShape
from controller.plans.units import UnitError, parse_limit, shown
from controller.rollout.evidence.rules import PROVABLE_USD, has_confident_form, is_provable
from controller.rollout.metrics import (
    CATALOGUE,
    PER_HOUR,
    Kind,
    MeasureUnit,
    Metric,
    custom_rate,
)
from controller.rollout.plan import (
    Evidence,
    Rule,
    Scope,
    Then,
)
from controller.rollout.timeline import MINUTE, minutes
from controller.rollout.units import format_duration, format_percent

_PROVABLE = "only rates, percentiles, their ratio, accuracy, accuracy_delta and cost_per_correct can be proven"
_LEAST_ALPHA = Fraction(1, 10**9)  # less is lost in the rounding of what is left
_NAMED_METRIC = re.compile(r"custom\.([A-Za-z][A-Za-z0-9_]{0,62})")


def read_rule(shape: RuleShape, spec: SpecShape, reading: Reading) -> Rule | None:
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
        usual=None if shape.spike is None else shape.spike.over,
    )


def _min_samples(shape: RuleShape, metric: Metric) -> int:
    if shape.min_samples is not None:
        return shape.min_samples
    return 1 if metric.subject in PER_HOUR else 500


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
        if scope is Scope.CRITICAL and not reading.partial and not any_critical(spec):
            reading.refuse_node(
                written,
                "no intent is critical, so this rule would judge nothing; "
                "mark one with `critical: true`",
            )
        return scope, ()
    known = written_names(spec)
    seen: set[str] = set()
    for scalar in shape.intents:
        if scalar.text not in known:
            hint = did_you_mean(scalar.text, known)
            reading.refuse_node(scalar, f"unknown intent {shown(scalar.text)}{hint}")
        elif scalar.text in seen:
            reading.refuse_node(scalar, f"{shown(scalar.text)} is named twice; keep one")
        seen.add(scalar.text)
    return Scope.NAMED, tuple(scalar.text for scalar in shape.intents)


def any_critical(spec: SpecShape) -> bool:
    return any(intent.critical for intent in spec.intents)


def written_names(spec: SpecShape) -> tuple[str, ...]:
    """The names of intents as the file has them, even where the rest of an intent has no shape."""
    intents = spec.node.entries.get("intents")
    items = intents.value.items if intents and isinstance(intents.value, Sequence) else []
    entries = (item.entries.get("name") for item in items if isinstance(item, Mapping))
    values = (entry.value for entry in entries if entry is not None)
    return tuple(name.text for name in values if isinstance(name, Scalar))


def _check_rule_values(shape: RuleShape, scope: Scope, reading: Reading) -> None:
    if shape.window == timedelta(0):
        reading.refuse(shape, "window", "a window of 0 holds no data; write one such as `1h`")
    check_minutes(
        shape,
        {"window": shape.window, "for": shape.sustained, "minWindow": shape.min_window},
        reading,
    )
    _check_min_window(shape, reading)
    if shape.min_samples == 0:
        reading.refuse(
            shape, "minSamples", "a rule cannot be judged on no samples; write at least `1`"
        )
    if shape.then is Then.PIN and scope is Scope.ALL and not had(shape, "intents"):
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


def check_minutes(
    shape: Shape, spans: AbstractMapping[str, timedelta | None], reading: Reading
) -> None:
    """Spans are judged minute by minute: what is not whole would be taken for more than it says."""
    for key, span in spans.items():
        if span is not None and span % MINUTE:
            told, whole = (format_duration(one) for one in (span, minutes(span) * MINUTE))
            reading.refuse(
                shape,
                key,
                f"{shown(told)} is no whole number of minutes, by which rules are judged; write `{whole}`",
            )


def _check_min_window(shape: RuleShape, reading: Reading) -> None:
    if shape.min_window is None:
        return
    if shape.min_window == timedelta(0):
        reading.refuse(
            shape, "minWindow", "a window of 0 holds no data to blame; write one such as `1h`"
        )
    elif shape.min_window > shape.window and was_read(shape, "window", shape.window):
        reading.refuse(
            shape,
            "minWindow",
            f"{format_duration(shape.min_window)} is longer than the window, "
            f"{format_duration(shape.window)}, so no stretch could be blamed; write at most that",
        )


def _check_evidence(shape: RuleShape, metric: Metric, reading: Reading) -> None:
    if metric.comparing and shape.arm is not None:
        reading.refuse(shape, "arm", f"{metric.name} compares both arms; leave `arm` out")
    if metric.kind is Kind.LOSS and had(shape, "below"):
        reading.refuse(
            shape, "below", f"{metric.name} is a loss, and a small one is good; write `above`"
        )
    why = _unprovable(shape, metric)
    if why is None:
        return
    for key, value in (("minWindow", shape.min_window), ("alpha", shape.alpha)):
        if value is not None:
            reading.refuse(shape, key, f"{why}; leave `{key}` out")
    if shape.evidence is Evidence.CONFIDENT:
        reading.refuse(shape, "evidence", f"{why}; write `observed`")


def _unprovable(shape: RuleShape, metric: Metric) -> str | None:
    """Why the rule can have no proof, so that what only concerns one has no effect on it; None if it can."""
    if not has_confident_form(metric):
        return f"{metric.name} has no confident form: {_PROVABLE}"
    if had(shape, "spike"):
        return "a spike has no confident form: what is usual is only estimated"
    if metric.kind in (Kind.QUANTILE_RATIO, Kind.COST) and shape.below is not None:
        return f"{metric.name} has no confident form with `below`"
    return None


def check_alphas(spec: SpecShape, rules: tuple[Rule, ...], reading: Reading) -> None:
    """Parts of alpha are above nothing, together not more than the plan's, and leave something for the other rules."""
    asked = [(shape, shape.alpha) for shape in spec.rules if shape.alpha is not None]
    for shape, alpha in asked:
        if alpha < _LEAST_ALPHA:
            reading.refuse(
                shape, "alpha", "at `0%` nothing could ever be proven; write a part such as `1%`"
            )
    if not asked or not 0 < spec.alpha < Fraction(1, 2) or (had(spec, "alpha") and reading.partial):
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
    if others and left < _LEAST_ALPHA:
        reading.refuse(
            asked[-1][0],
            "alpha",
            f"with it nothing is left of the plan's alpha of {whole} for {', '.join(others)}, which could then "
            "never be proven; lower one, or write a larger `alpha` under `spec`",
        )


def _limit(shape: RuleShape, metric: Metric, reading: Reading) -> float | None:
    given = [key for key in ("above", "below", "spike") if had(shape, key)]
    if len(given) != 1:
        told = " and ".join(f"`{key}`" for key in given)
        both = (
            f"gives {'both ' if len(given) == 2 else ''}{told}; keep one"
            if given
            else "has no limit; write `above:` or `below:`"
        )
        reading.refuse(shape, given[-1] if given else "", f"the rule {both}")
        return None
    if given == ["spike"]:
        return _spike(shape, metric, reading)
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


_NO_SPIKE = (Kind.LOSS, Kind.SAMPLE_RATIO)


def _spike(shape: RuleShape, metric: Metric, reading: Reading) -> float | None:
    """How many times its usual figure the metric may be."""
    spike = shape.spike
    if spike is None:  # its shape was wrong, and that was said
        return None
    if metric.kind in _NO_SPIKE:
        why = "is held against the other arm already, and near 0 nothing is so many times its usual"
        reading.refuse(shape, "spike", f"{metric.name} {why}; write `above`")
    if spike.factor <= 1:
        reading.refuse(spike, "factor", "its usual figure is no spike; write more than `1`")
    check_minutes(spike, {"over": spike.over}, reading)
    if spike.over < shape.window:
        reading.refuse(
            spike,
            "over",
            f"{format_duration(spike.over)} is shorter than the window, {format_duration(shape.window)}, and says "
            "less of what is usual than the window itself; write at least that",
        )
    return float(spike.factor)


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
    least, most = PROVABLE_USD
    if metric.kind is Kind.COST and not least <= limit <= most and _asks_for_proof(shape):
        return (
            f"{text} leaves nothing to prove: a proof is of a limit above 0 and up to {most:,.0f} USD, "
            "such as `0.001 USD`"
        )
    share = metric.unit is MeasureUnit.FRACTION and has_confident_form(metric)
    if share and not 0 < limit < 1 and _asks_for_proof(shape):
        return f"{text} leaves nothing to prove: a proof is of a limit between 0% and 100%, such as `99.9%`"
    return None


def _asks_for_proof(shape: RuleShape) -> bool:
    return (
        shape.evidence is Evidence.CONFIDENT
        or shape.alpha is not None
        or shape.min_window is not None
    )
