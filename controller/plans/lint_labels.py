"""Lints of labels: when they come, who grades, and how much of the answers."""

from __future__ import annotations

from collections.abc import Iterator

from controller.plans.finding import Finding, info, rounded, warning
from controller.rollout.evidence.powered import has_people, policy_of
from controller.rollout.evidence.rules import is_provable, kept_limit
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import Plan, Unit
from controller.rollout.units import format_duration, format_percent, format_points


def on_labels(plan: Plan) -> Iterator[Finding]:
    """Every finding on labels."""
    for lint in (_label_delay, _judged, _people, _sampled):
        yield from lint(plan)


def _label_delay(plan: Plan) -> Iterator[Finding]:
    losses = [rule.name for rule in plan.rules if rule.metric.kind is Kind.LOSS]
    if losses and not plan.labels.delay:
        yield warning(
            "no-label-delay",
            "spec.labels.delay",
            f"{losses[0]}: with no delay an answer that fails is judged before those whose grades come later, "
            "and the arm that fails at once looks worse than it is; write how long grades take, such as `6h`",
        )


def _judged(plan: Plan) -> Iterator[Finding]:
    """What the errors of a judge do to the limits that proofs are held against."""
    judge = plan.labels.judge
    if judge is None:
        return
    for rule in plan.rules:
        if rule.metric.kind is Kind.ACCURACY and is_provable(rule):
            limit, shown = format_percent(rule.limit), rounded(kept_limit(plan, rule))
            yield info(
                "judged-labels",
                "spec.labels.judge",
                f"{rule.name}: the judge shows a true accuracy of {limit} as {shown}, so that is what proofs are "
                "against; as written, the rule goes by its labels as they are",
            )
        if rule.metric.kind is Kind.LOSS and not plan.labels.people_u:
            margin = format_points(float(f"{kept_limit(plan, rule):.4g}"))
            yield info(
                "judged-labels",
                "spec.labels.judge",
                f"{rule.name}: the judge shows a loss of {format_points(rule.limit)} as {margin}, so a pass is proven "
                "against that; a fail needs no more than before",
            )
    if judge.model is None:
        yield warning(
            "unnamed-judge",
            "spec.labels.judge",
            "the judge's model is not named, so nobody can tell that it is not one of the arms' models; "
            "write `model:`",
        )


def _people(plan: Plan) -> Iterator[Finding]:
    """What people's grades beside a judge ask of them, and what they change."""
    labels = plan.labels
    if not labels.people_u:
        return
    path, share = "spec.labels.people", format_percent(labels.people)
    losses = [rule.name for rule in plan.rules if has_people(plan, rule) and is_provable(rule)]
    if not losses:
        yield warning(
            "people-in-vain",
            path,
            f"no rule on accuracy_delta is proven, so what people say of {share} of the {plan.unit.value}s changes "
            "nothing",
        )
        return
    yield info(
        "graded-by-people",
        path,
        f"{', '.join(losses)}: a pass is proven by people's grades of {share} of the {plan.unit.value}s beside the "
        f"judge's of all, whose weight is {policy_of(plan).weight:.2f}; people have to grade nearly all that is drawn "
        f"within {format_duration(labels.delay)}, as outcomes with `source: person`. A fail is proven by either; as "
        "written, and on one arm, rules go by the judge's labels",
    )


def _sampled(plan: Plan) -> Iterator[Finding]:
    """What a sample of labels asks of who grades."""
    labels = plan.labels
    if labels.sampled_u >= MICRO:
        return
    path, part = "spec.labels.sampled", format_percent(labels.sampled)
    by_grades = [
        one for one in plan.rules if one.metric.labelled and one.metric.kind is not Kind.RATE
    ]
    if not by_grades:
        yield warning(
            "sampled-in-vain",
            path,
            f"no rule is judged by grades: that {part} of the answers have one changes nothing",
        )
        return
    whole = (
        ""
        if plan.unit is Unit.REQUEST
        else f", answer by answer and not by whole {plan.unit.value}s"
    )
    yield info(
        "sampled-labels",
        path,
        f"graders are expected to pick {part} of the answers at random, whatever they are like{whole}; escalated and "
        f"failed ones, wrong without a grade, count in {part} too, and where another part is graded `describe` says so",
    )
