from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pytest

from controller.plans.diff import Change, diff
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import (
    Arm,
    Freeze,
    Intent,
    Judge,
    Labels,
    OnLoss,
    PauseShare,
    Plan,
    Priors,
    Rule,
    Severity,
    Slack,
    Step,
    Unit,
    Webhook,
)
from tests.plans.factories import load, plan_text

PLAN = load(plan_text())


def change(*edits: tuple[str, str]) -> Change:
    (only,) = diff(PLAN, load(plan_text(*edits)))
    return only


def test_equal_plans_have_no_difference():
    assert diff(PLAN, load("# a comment\n" + plan_text())) == ()


def test_a_changed_limit_starts_a_new_epoch_of_its_rule():
    assert change(("above: 2%", "above: 3%")) == Change(
        path="spec.rules[escalation]",
        old="escalation_rate above 2% over 24h, then rollback",
        new="escalation_rate above 3% over 24h, then rollback",
        effect="starts a new epoch of this rule: its evidence so far no longer counts",
    )


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (("unit: conversation", "unit: user"), "spec.assignment.unit"),
        (
            ("candidate: {model: gpt-4.1-mini}", "candidate: {model: gpt-4o-mini}"),
            "spec.candidate.model",
        ),
        (("match: {model: gpt-4.1} ", "match: {model: other} "), "spec.match.model"),
    ],
)
def test_what_cannot_change_while_a_rollout_runs_says_refused(edit: tuple[str, str], path: str):
    found = change(edit)

    assert found.path == path
    assert found.effect.startswith("refused: ")


def test_an_intent_that_would_get_traffic_without_a_step_says_refused():
    found = change(("{name: legal, pin: baseline}", "{name: legal}"))

    assert (found.path, found.old, found.new) == ("spec.intents[legal]", "pinned", "ordinary")
    assert found.effect.startswith("refused: it would get candidate traffic without a step")


def test_a_changed_share_does_not_move_traffic_by_itself():
    found = change(("share: 25%", "share: 20%"))

    assert (found.path, found.old, found.new) == ("spec.steps[1].share", "25%", "20%")
    assert found.effect.startswith("the share in force stays as it is")


def test_a_removed_step_and_rule_are_told():
    found = diff(PLAN, replace(PLAN, steps=PLAN.steps[:-1], rules=PLAN.rules[:-1]))

    assert [(one.path, one.new) for one in found] == [
        ("spec.steps[3]", None),
        ("spec.rules[spend]", None),
    ]


CHANGED: dict[str, Any] = {
    "name": "other",
    "baseline": replace(PLAN.baseline, shutdown=date(2028, 1, 1)),
    "candidate": replace(PLAN.candidate, price=PLAN.baseline.price),
    "match_model": "other",
    "unit": Unit.USER,
    "intents": (*PLAN.intents, Intent(name="new")),
    "steps": (*PLAN.steps[:-1], replace(PLAN.steps[-1], min_samples=7)),
    "rules": PLAN.rules[1:],
    "labels": Labels(delay=timedelta(hours=1)),
    "target": "other",
    "holdback_bp": 200,
    "bake": timedelta(days=1),
    "alpha": 0.01,
    "priors": Priors(accuracy=0.9),
    "freezes": (Freeze(cron="0 18 * * fri", duration=timedelta(hours=62)),),
    "max_blind": timedelta(minutes=5),
    "pause_share": PauseShare.ZERO,
    "pause_deadline": timedelta(hours=1),
    "on_controller_loss": OnLoss.HOLD,
    "accept_cost_increase": True,
    "slack": Slack(channel="#other"),
    "webhook": Webhook(name="pager", url="https://pager/x"),
}


@pytest.mark.parametrize("field", [field.name for field in fields(Plan)])
def test_no_field_of_a_plan_changes_unseen(field: str):
    assert diff(PLAN, replace(PLAN, **{field: CHANGED[field]}))


RULE_CHANGES: dict[str, Any] = {
    "below": True, "limit": 0.5, "window": timedelta(days=2), "evidence": PLAN.rules[0].evidence,
    "usual": timedelta(days=3),
    "sustained": timedelta(minutes=1), "min_samples": 9, "arm": Arm.BASELINE, "alternative": 0.1,
    "min_window": timedelta(hours=1), "alpha": 0.01, "auto_resume": True,
    "scope": PLAN.rules[0].scope, "then": PLAN.rules[0].then, "metric": PLAN.rules[0].metric, "name": "other",
    "intents": None, "severity": Severity.INFO,
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in fields(Rule)])
def test_no_field_of_a_rule_changes_unseen(field: str):
    if field == "intents":  # they count only with their scope
        new = load(plan_text(("intents: critical", "intents: [refund]"))).rules[0]
        assert diff(PLAN, replace(PLAN, rules=(new, *PLAN.rules[1:])))
        return
    rules = (PLAN.rules[0], replace(PLAN.rules[1], **{field: RULE_CHANGES[field]}), *PLAN.rules[2:])

    assert diff(PLAN, replace(PLAN, rules=rules))


@pytest.mark.parametrize(
    ("alpha", "effect"),
    [  # accuracy and escalation share 5%: 2.5% each
        ("1%", "its evidence so far counts, and a proof asks for more of it"),
        ("4%", "starts a new epoch of this rule: its evidence so far no longer counts"),
    ],
)
def test_a_smaller_part_of_alpha_keeps_the_evidence_and_a_larger_one_does_not(alpha, effect):
    own, *others = diff(
        PLAN, load(plan_text(("window: 72h", f"window: 72h\n      alpha: {alpha}")))
    )

    assert own == Change(
        path="spec.rules[accuracy].alpha",
        old=None,
        new=alpha,
        effect=f"{effect}; rules without an alpha share what is left, and one whose part grows starts a new epoch too",
    )
    assert len(others) == (alpha == "1%")


def test_a_smaller_part_of_alpha_does_not_keep_evidence_of_another_limit():
    edits = ("window: 72h", "window: 72h\n      alpha: 1%"), ("above: 1.5pp", "above: 2pp")

    effects = {one.path: one.effect for one in diff(PLAN, load(plan_text(*edits)))}

    assert effects["spec.rules[accuracy].alpha"].startswith("starts a new epoch of this rule")


def test_a_changed_deadline_counts_from_the_steps_begin():
    found = change(("hold: 48h}", "hold: 48h, deadline: 5d}"))

    assert (found.path, found.old, found.new) == ("spec.steps[1].deadline", None, "120h")
    assert found.effect.startswith("counts from when the step began")


STEP_CHANGES: dict[str, Any] = {
    "share_bp": 9_000, "hold": timedelta(days=3), "min_samples": 1, "approval": True,
    "advance": "proven", "deadline": timedelta(days=9),
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in fields(Step)])
def test_no_field_of_a_step_changes_unseen(field: str):
    steps = (*PLAN.steps[:-1], replace(PLAN.steps[-1], **{field: STEP_CHANGES[field]}))

    assert diff(PLAN, replace(PLAN, steps=steps))


def test_a_changed_judge_starts_the_accuracy_rules_anew():
    judged = "{delay: 6h, horizon: 7d, judge: {model: gpt-5, sensitivity: 95%, specificity: 90%}}"
    new = load(plan_text(("{delay: 6h, horizon: 7d}", judged)))

    assert diff(PLAN, new) == (
        Change(
            path="spec.labels.judge",
            old=None,
            new="gpt-5, sensitivity 95%, specificity 90%",
            effect="what its errors hide is reckoned with anew, in force from the next tick",
        ),
        Change(
            path="spec.rules",
            old=None,
            new=None,
            effect="starts a new epoch of accuracy too: with this a proof is another one, and evidence so far no "
            "longer counts",
        ),
    )


SPENDING = replace(PLAN.rules[0], name="right", metric=CATALOGUE["cost_per_correct"], limit=0.01)
DEARER = replace(PLAN.candidate, price=PLAN.baseline.price)
LONGER = (replace(PLAN.steps[0], hold=timedelta(days=9)), *PLAN.steps[1:])


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"candidate": DEARER}, ["right"]),
        ({"labels": Labels(delay=timedelta(hours=1), horizon=PLAN.labels.horizon)}, ["accuracy", "right"]),
        ({"steps": LONGER}, ["accuracy", "escalation", "latency", "right"]),
        ({"max_blind": timedelta(minutes=5)}, []),
    ],
    ids=["a price", "the delay of labels", "a longer hold", "nothing that proofs are made of"],
)  # fmt: skip
def test_rules_that_start_anew_by_something_else_are_named(
    changes: dict[str, Any], anew: list[str]
):
    old = replace(PLAN, rules=(*PLAN.rules, SPENDING))

    found = [one.effect for one in diff(old, replace(old, **changes)) if one.path == "spec.rules"]

    assert [one.partition(" too:")[0] for one in found] == (
        [f"starts a new epoch of {', '.join(anew)}"] if anew else []
    )


LABEL_CHANGES: dict[str, Any] = {
    "delay": timedelta(hours=1), "horizon": timedelta(days=9),
    "judge": Judge(sensitivity=0.9, specificity=0.9), "sampled_u": 300_000, "people_u": 50_000,
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in fields(Labels)])
def test_no_field_of_labels_changes_unseen(field: str):
    labels = replace(PLAN.labels, **{field: LABEL_CHANGES[field]})

    assert diff(PLAN, replace(PLAN, labels=labels))


def test_another_sampled_part_is_refused_while_a_rollout_runs():
    found = change(("{delay: 6h, horizon: 7d}", "{delay: 6h, horizon: 7d, sampled: 30%}"))

    assert (found.path, found.old, found.new) == ("spec.labels.sampled", "100%", "30%")
    assert found.effect.startswith("refused: the sampled part cannot change while a rollout runs")


def test_another_share_that_people_grade_is_refused_while_a_rollout_runs():
    judged = "{delay: 6h, horizon: 7d, judge: {model: gpt-5, sensitivity: 95%, specificity: 90%}"
    old = load(plan_text(("{delay: 6h, horizon: 7d}", f"{judged}}}")))
    new = load(plan_text(("{delay: 6h, horizon: 7d}", f"{judged}, people: {{share: 5%}}}}")))

    (found,) = diff(old, new)

    assert (found.path, found.old, found.new) == ("spec.labels.people.share", None, "5%")
    assert found.effect.startswith("refused: the share that people grade cannot change")
