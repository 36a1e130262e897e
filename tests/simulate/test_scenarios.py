"""Scenarios and traffic from their words."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from controller.errors import DataError
from controller.rollout.plan import Arm, Intent
from controller.simulate.scenarios import (
    FORMS,
    HEALTHY,
    Traffic,
    about,
    intent_mix,
    parse_scenario,
    rates,
)
from tests.simulate.factories import plan

PLAN = plan(
    intents=(
        Intent(name="refund", critical=True),
        Intent(name="other"),
        Intent(name="legal", pinned=True),
    )
)
TRAFFIC = Traffic(units_per_minute=50.0, mix={"refund": 0.2, "other": 0.5, "legal": 0.3})


def of(text: str, *, arm: Arm = Arm.CANDIDATE, intent: str = "refund", minutes=range(2_880)):
    return rates(
        PLAN,
        TRAFFIC,
        parse_scenario(text, PLAN),
        arm=arm,
        intent=intent,
        minutes=np.array(minutes),
    )


def test_the_healthy_one_answers_like_the_baseline_and_escalates_as_usual():
    assert parse_scenario("healthy", PLAN) == HEALTHY
    assert of("healthy").escalated == 0.015
    assert of("healthy").wrong == pytest.approx(0.05)
    assert of("healthy", arm=Arm.BASELINE).escalated == 0


def test_a_loss_is_on_the_critical_intents_of_the_candidate_alone():
    assert of("loss=3pp").wrong == pytest.approx(0.08)
    assert of("loss=3pp", intent="other").wrong == pytest.approx(0.05)
    assert of("loss=3pp", arm=Arm.BASELINE).wrong == pytest.approx(0.05)


def test_without_a_critical_intent_a_loss_is_on_all():
    uncritical = plan(intents=(Intent(name="refund"), Intent(name="other")))

    assert "on other, refund" in about(uncritical, parse_scenario("loss=3pp", uncritical))


def test_what_escalates_is_wrong():
    assert of("escalation=8%").wrong == pytest.approx(0.08)
    assert of("escalation=3%").wrong == pytest.approx(0.05)


def test_what_fails_is_escalated_beside_what_escalates_anyway():
    found = of("error=2%")

    assert (found.failed, found.escalated) == (0.02, pytest.approx(0.035))


def test_a_fault_begins_when_it_was_said_to():
    escalated = of("escalation=5%@24h").escalated

    assert isinstance(escalated, np.ndarray)
    assert escalated[[0, 1_439, 1_440, 2_879]].tolist() == [0.015, 0.015, 0.05, 0.05]
    assert parse_scenario("escalation=5%@24h", PLAN).since == timedelta(hours=24)


def test_a_daily_swing_leaves_the_mean_of_every_day_as_it_is():
    escalated = of("daily-swing=80%", minutes=range(1_000, 1_000 + 1_440)).escalated

    assert isinstance(escalated, np.ndarray)
    assert escalated.mean() == pytest.approx(0.015)
    assert (escalated.min(), escalated.max()) == (pytest.approx(0.003), pytest.approx(0.027))


def test_a_ramp_of_the_mix_makes_the_harder_intents_as_hard_for_both_arms():
    for arm in Arm:
        assert of("ramp-mix", arm=arm, intent="other").wrong == pytest.approx(0.15)
        assert of("ramp-mix", arm=arm, intent="refund").wrong == pytest.approx(0.05)


def test_a_drift_grows_evenly_and_stays():
    wrong = of("drift=4pp@2d", minutes=range(4 * 1_440)).wrong

    assert isinstance(wrong, np.ndarray)
    assert wrong[[0, 1_440, 2_880, 5_000]] == pytest.approx([0.05, 0.07, 0.09, 0.09])
    assert np.diff(wrong[:2_880]) == pytest.approx(0.04 / 2_880)


def test_a_drift_is_on_the_intents_of_a_loss_and_of_the_candidate_alone():
    assert of("drift", intent="other").wrong == pytest.approx(0.05)
    assert of("drift", arm=Arm.BASELINE).wrong == pytest.approx(0.05)
    assert parse_scenario("drift", PLAN).since == timedelta(0)


def test_a_judge_errs_on_both_arms_and_not_on_what_needs_no_judge():
    text = "judge-noise=95%,80%"
    candidate, baseline = of(text), of(text, arm=Arm.BASELINE)

    # Of the baseline 80% of 5% wrong ones and 5% of 95% right ones; of the candidate's wrong ones 1.5% escalated.
    assert baseline.graded_wrong == pytest.approx(0.8 * 0.05 + 0.05 * 0.95)
    assert candidate.graded_wrong == pytest.approx(0.015 + 0.8 * 0.035 + 0.05 * 0.95)
    assert (candidate.wrong, baseline.wrong) == (pytest.approx(0.05), pytest.approx(0.05))


def test_without_a_judge_grades_are_as_the_answers_are():
    assert of("escalation=8%").graded_wrong == of("escalation=8%").wrong


@pytest.mark.parametrize("form", FORMS.values())
def test_every_form_that_is_listed_is_read_with_and_without_what_is_in_brackets(form: str):
    for text in (form.replace("[", "").replace("]", ""), form.partition("[")[0]):
        assert parse_scenario(text, PLAN).text == text
        assert about(PLAN, parse_scenario(text, PLAN))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "helthy",
            "--scenario helthy: no such scenario (did you mean `healthy`?). Known: healthy, loss=3pp[@24h]",
        ),
        ("healthy=1", "--scenario healthy=1: it takes no value; wanted healthy."),
        ("loss", "--scenario loss: it has no value; wanted loss=3pp[@24h]."),
        ("loss=3", "wanted loss=3pp[@24h]."),
        ("loss=0pp", "a loss of 0 pp is none"),
        ("escalation=5", "wanted escalation=5%[@24h]."),
        ("escalation=5%@soon", "wanted escalation=5%[@24h]."),
        ("error=120%", "`120%` is more than 100%; wanted error=2%[@24h]."),
        ("daily-swing=1h", "wanted daily-swing[=50%]."),
        ("ramp-mix=0pp", "a difference of 0 pp is none"),
        ("drift=3", "wanted drift[=3pp@7d]."),
        ("drift=0pp@7d", "a loss of 0 pp is none"),
        ("drift=3pp@0h", "what takes no time is no drift; wanted drift[=3pp@7d]."),
        ("drift=3pp@", "wanted drift[=3pp@7d]."),
        ("judge-noise=90%", "found 1 of two rates; wanted judge-noise[=90%,90%]."),
        ("judge-noise=90%,1.1", "wanted judge-noise[=90%,90%]."),
        ("judge-noise=40%,60%", "a judge whose rates add up to no more than 100% tells nothing"),
    ],
)
def test_what_cannot_be_read_says_what_was_wanted(text: str, message: str):
    with pytest.raises(DataError) as refused:
        parse_scenario(text, PLAN)

    assert message in str(refused.value)


def test_a_mix_cannot_shift_between_fewer_than_two_intents():
    with pytest.raises(DataError, match="no two intents whose mix could shift"):
        parse_scenario("ramp-mix", plan())


def test_intents_without_a_part_share_what_is_left():
    assert intent_mix(PLAN, {"refund": 0.2}) == pytest.approx(
        {"refund": 0.2, "other": 0.4, "legal": 0.4}
    )
    assert intent_mix(PLAN, {"refund": 0.2, "other": 0.8}) == pytest.approx(
        {"refund": 0.2, "other": 0.8, "legal": 0.0}
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"refnd": 0.2},
            "--intent-share refnd: the plan has no such intent (did you mean `refund`?).",
        ),
        ({"refund": 0.8, "other": 0.3}, "the parts add up to 110%; wanted at most 100%."),
        ({"refund": 0.2, "other": 0.2, "legal": 0.2}, "the parts add up to 60%; wanted 100%."),
    ],
)
def test_parts_that_cannot_be_say_why(given, message):
    with pytest.raises(DataError) as refused:
        intent_mix(PLAN, given)

    assert message in str(refused.value)
