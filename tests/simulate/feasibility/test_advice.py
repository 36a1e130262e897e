"""Advice: every suggestion is applied, and what it was for is gone."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta

import pytest

from controller.plans.finding import Level
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Arm, Evidence, Judge, Labels, Step
from controller.simulate.feasibility.advice import Advice, advice
from controller.simulate.feasibility.outlook import Outlook, feasibility
from controller.simulate.scenarios import Traffic, intent_mix
from controller.simulate.usual import Usual
from tests.simulate.factories import rule, shipped_plan
from tests.simulate.feasibility.test_feasibility import (
    ACCURACY,
    DAY,
    ESCALATION,
    HOUR,
    MIX,
    STEPS,
    advised,
    ground,
    outlook,
    planned,
)

SHIPPED = (
    "gpt-4.1-to-mini.yaml",
    "gpt-4o-mini-to-gpt-4.1-mini.yaml",
    "two-weeks-at-20-percent.yaml",
)


def traffic(units_per_day: float, **changes) -> Traffic:
    return replace(Traffic(units_per_minute=units_per_day / 1_440, mix=MIX), **changes)


def about(found: tuple[Advice, ...], code: str) -> list[Advice]:
    return [one for one in found if one.finding.code == code]


def keys(of: Outlook) -> set[tuple[str, str]]:
    return {(one.finding.code, one.finding.path) for one in advised(of)}


@pytest.mark.parametrize("units_per_day", [500, 5_000, 20_000, 72_000])
@pytest.mark.parametrize("path", SHIPPED)
def test_each_suggestion_takes_the_warning_away(path, units_per_day):
    plan = shipped_plan(path)
    mix = intent_mix(plan, {})
    of = Outlook(plan=plan, traffic=Traffic(units_per_minute=units_per_day / 1_440, mix=mix))

    for one in advised(of):
        assert one.finding.level is Level.WARNING
        for suggestion in one.suggestions:
            assert suggestion.text in one.finding.message
            assert (one.finding.code, one.finding.path) not in keys(suggestion.outlook)


def test_a_plan_with_enough_traffic_is_not_warned_about():
    assert advised(outlook(planned(ACCURACY, ESCALATION, bake=7 * DAY))) == ()


def test_a_proof_that_comes_too_late_is_told_with_what_helps():
    (found,) = about(advised(outlook(traffic=traffic(10_000))), "cannot-be-proven-in-time")

    assert found.finding.path == "spec.steps[1].hold"
    assert "accuracy_delta: leaving 50% asks for proof, and hold 24h gives" in found.finding.message
    assert "labels on refund with those of the steps before" in found.finding.message
    assert next(one.text.split()[0] for one in found.suggestions) == "hold"
    assert found.suggestions[-1].text.endswith("shadow pairs")


def test_a_deadline_is_made_longer_where_there_is_one():
    steps = (STEPS[0], replace(STEPS[1], deadline=2 * DAY), STEPS[2])

    (found,) = about(
        advised(outlook(planned(steps=steps), traffic(10_000))), "cannot-be-proven-in-time"
    )

    assert found.finding.path == "spec.steps[1].deadline"
    assert found.suggestions[0].text.startswith("deadline ")


def test_a_proof_that_no_length_brings_is_told_as_such():
    # An escalated answer is wrong and always graded, so a tenth of labels has the candidate look worse than the limit.
    few = traffic(10_000, label_rate=0.1)

    (found,) = about(advised(outlook(traffic=few)), "cannot-be-proven-in-time")

    assert "no number of them proves a loss below 1.5 pp" in found.finding.message
    assert [one.text.split()[-1] for one in found.suggestions] == ["pairs"]


def test_labels_that_make_a_good_candidate_look_worse_are_told_with_how_many_would_do():
    (found,) = about(advised(outlook(traffic=traffic(10_000, label_rate=0.2))), "biased-labels")

    assert "seems to lose 5.38 pp, against a limit of 1.5 pp" in found.finding.message
    told, more = found.suggestions
    assert told.text == "`labels: {sampled: 20%}`"
    assert told.outlook.plan.labels.sampled_u == 200_000
    for one in found.suggestions:
        assert about(advised(one.outlook), "biased-labels") == []
    # 0.95 − 0.95 r / (0.985 r + 0.015) is a tenth of the limit, 0.15 points, at r = 0.0142275 / 0.0157275 = 90.5%
    assert more.text == "a label rate of 91%"


def test_samples_that_a_step_asks_for_and_does_not_get_are_told():
    steps = (replace(STEPS[0], min_samples=500), *STEPS[1:])

    (found,) = about(advised(outlook(planned(steps=steps), traffic(5_000))), "samples-not-in-time")

    # 66 h × 5,000 / 24 × 20% × 10%
    assert (
        "asks for 500 samples, and hold 72h gives about 275 labels for accuracy_delta on refund"
        in (found.finding.message)
    )
    assert [one.text.split()[0] for one in found.suggestions] == ["hold", "20%", "minSamples"]


def test_a_window_that_never_holds_enough_samples_is_told():
    written = replace(ESCALATION, evidence=Evidence.OBSERVED)

    (found,) = about(
        advised(outlook(planned(ACCURACY, written, bake=7 * DAY), traffic(4_000))),
        "too-few-samples",
    )

    # 24 h × 4,000 × 80% × 10%
    assert (
        "a window of 24h holds about 320 requests at 10%, and as written the rule asks for 500"
        in (found.finding.message)
    )
    # Longer windows, more of the share and fewer samples were tried, and would stop more than 5% of healthy rollouts.
    (alone,) = found.suggestions
    assert alone.text == "`evidence: confident` together with window 36h"


def test_what_lets_a_window_hold_enough_is_told_where_healthy_rollouts_stay_far_from_the_limit():
    written = replace(ESCALATION, evidence=Evidence.OBSERVED)
    of = outlook(planned(ACCURACY, written, bake=7 * DAY), traffic(4_000, escalation=0.004))

    (found,) = about(advised(of), "too-few-samples")

    assert [one.text.split()[0] for one in found.suggestions] == ["window", "20%", "minSamples"]
    for one in found.suggestions:
        changed = feasibility(one.outlook)
        shares = [row.stopped.share for row in changed.rows if row.stopped is not None]
        assert shares
        assert math.prod(1 - share for share in shares) >= 1 - of.plan.alpha


def test_where_nothing_is_known_of_healthy_answers_no_change_is_told_as_harmless():
    slow = replace(ESCALATION, metric=CATALOGUE["latency_p95"], limit=2.0, window=HOUR)
    of = outlook(
        planned(ACCURACY, replace(slow, evidence=Evidence.OBSERVED), bake=7 * DAY), traffic(4_000)
    )

    (found,) = about(advised(of), "too-few-samples")

    assert found.suggestions
    assert "; what it would then do to healthy rollouts is not known; use " in found.finding.message


def test_a_hold_that_the_baseline_does_not_outlive_is_not_told():
    retiring = replace(planned().baseline, shutdown=date(2026, 10, 1))
    plan = replace(planned(), baseline=retiring)
    of = outlook(plan, traffic(2_000))

    (found,) = about(advice(ground(of)), "cannot-be-proven-in-time")

    # 72 h, that hold and no bake from the first of September on
    kept = about(advised(outlook(traffic=traffic(2_000))), "cannot-be-proven-in-time")
    assert kept[0].suggestions[0].text.startswith("hold ")
    assert [one.text.split()[-1] for one in found.suggestions] == ["pairs"]


def test_a_retirement_that_rules_out_what_would_help_is_told():
    labels = Labels(
        delay=6 * HOUR, judge=Judge(sensitivity=0.9, specificity=0.9), people_u=1_000_000
    )
    retiring = replace(planned().baseline, model="old", shutdown=date(2026, 9, 20))
    of = outlook(replace(planned(labels=labels), baseline=retiring), traffic(300))

    (found,) = about(advised(of), "cannot-be-proven-in-time")

    assert found.suggestions == ()
    assert "; old is shut down on 2026-09-20, and no plan is to outlive that; what is left is " in (
        found.finding.message
    )


def test_where_nothing_helps_it_is_said_with_what_was_tried():
    few = replace(ESCALATION, evidence=Evidence.OBSERVED, window=HOUR)

    (found,) = about(advised(outlook(planned(few), traffic(100))), "too-few-samples")

    assert found.suggestions == ()
    assert "; nothing that was tried helps without another warning (longer windows, " in (
        found.finding.message
    )


def test_a_regression_that_no_window_is_long_enough_for_is_told():
    of = outlook(planned(ACCURACY, bake=7 * DAY), traffic(2_000))

    (found,) = about(advised(of), "cannot-be-caught")

    assert "at no step is a window of 72h enough to catch 3 pp on refund by proof in 90%" in (
        found.finding.message
    )


def test_a_cost_that_no_window_is_long_enough_for_is_told_with_what_helps():
    right = rule("cost_per_correct", limit=0.002, window=6 * HOUR, evidence=Evidence.CONFIDENT)
    usual = Usual(request_usd=dict.fromkeys(Arm, 0.0015))
    of = outlook(planned(right, bake=7 * DAY), traffic(500), usual=usual)

    (found,) = about(advised(of), "cannot-be-caught")

    assert "cost_per_correct: at no step is a window of 6h enough to catch 0.003 USD by proof" in (
        found.finding.message
    )
    assert found.suggestions
    for one in found.suggestions:
        assert not about(advised(one.outlook), "cannot-be-caught")


def test_people_who_grade_more_are_told_where_a_rough_judge_catches_nothing():
    judge = Judge(model="gpt-5", sensitivity=0.75, specificity=0.7)
    labels = Labels(delay=6 * HOUR, judge=judge, people_u=20_000)
    of = outlook(planned(ACCURACY, labels=labels, bake=7 * DAY), traffic(20_000))

    (found,) = about(advised(of), "cannot-be-caught")

    (people,) = [one for one in found.suggestions if "labels.people" in one.text]
    assert not about(advised(people.outlook), "cannot-be-caught")


def test_a_first_share_can_be_changed_too():
    steps = (
        Step(share_bp=500, hold=72 * HOUR, min_samples=200),
        Step(share_bp=5_000, hold=timedelta(days=40)),
    )

    (found,) = about(advised(outlook(planned(steps=steps), traffic(5_000))), "samples-not-in-time")

    assert any(one.text.endswith("% share in step 1") for one in found.suggestions)


def test_what_is_known_of_one_share_says_nothing_of_another():
    """A law that is kept for one plan was once taken for another's, and a share was told that was not enough."""
    of = outlook(planned(), traffic(10_000))
    rule = of.plan.rules[0]
    list(of.provings())
    first, second, last = of.plan.steps
    steps = (first, replace(second, share_bp=6_000), last)

    changed = replace(of, plan=replace(of.plan, steps=steps))

    afresh = outlook(changed.plan, traffic(10_000))
    assert changed.proven_in_time(rule, "refund", 1) == afresh.proven_in_time(rule, "refund", 1)
    assert changed.proven_in_time(rule, "refund", 1) != of.proven_in_time(rule, "refund", 1)
