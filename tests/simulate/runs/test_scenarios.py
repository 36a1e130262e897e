"""Scenarios and traffic from their words."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import DataError
from controller.rollout import plan as plans
from controller.rollout.plan import Arm, Intent, Labels, Plan
from controller.simulate.lateness import Lateness
from controller.simulate.scenario_words import FORMS, about, parse_scenario
from controller.simulate.scenarios import (
    HEALTHY,
    Fault,
    Judge,
    Traffic,
    grader,
    intent_mix,
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
HOUR = timedelta(hours=1)
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


def test_slow_and_dear_candidates_are_told_in_times():
    worse = parse_scenario("cost=1.5x+slow=2x@24h", PLAN)

    assert worse.text == "slow=2x@24h+cost=1.5x"
    assert worse.slow == Fault(size=2.0, since=24 * HOUR)
    assert worse.cost == Fault(size=1.5)
    assert worse.since == timedelta(0)
    assert about(PLAN, worse) == (
        "the candidate's requests take 2 times as long from 24h on; the candidate's requests cost 1.5 times as much"
    )
    assert of("slow=2x").wrong == pytest.approx(0.05)


@pytest.mark.parametrize("text", ["slow", "slow=2", "slow=1x", "cost=30%", "cost=0.5x@24h"])
def test_times_that_are_none_are_refused(text: str):
    with pytest.raises(DataError) as found:
        parse_scenario(text, PLAN)

    assert f"wanted {FORMS[text.partition('=')[0]]}." in str(found.value)


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


def test_a_judge_that_favours_the_candidate_finds_less_of_what_is_wrong_with_it():
    text = "loss=3pp+judge-noise=95%,80%+judge-favours=2pp"
    candidate, baseline = of(text), of(text, arm=Arm.BASELINE)

    found = 0.8 * (0.08 - 0.015) - 0.02
    assert candidate.graded_wrong == pytest.approx(0.015 + found + 0.05 * 0.92)
    assert candidate.missed == pytest.approx(0.08 - 0.015 - found)
    assert baseline.graded_wrong == pytest.approx(0.8 * 0.05 + 0.05 * 0.95)
    assert baseline.missed == pytest.approx(0.2 * 0.05)
    # It calls no more right than it would call wrong.
    everything = of("judge-favours=20pp")
    assert everything.graded_wrong == pytest.approx(0.015)
    assert everything.missed == pytest.approx(0.035)


def test_a_judge_errs_as_the_plan_states_unless_a_scenario_says_otherwise():
    stated = plans.Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
    alone = replace(PLAN, labels=replace(PLAN.labels, judge=stated))
    beside = replace(PLAN, labels=replace(PLAN.labels, judge=stated, people_u=50_000))

    def judge(of_plan: Plan, text: str) -> Judge | None:
        return grader(of_plan, parse_scenario(text, of_plan))

    as_stated, another = (
        Judge(sensitivity=0.95, specificity=0.9),
        Judge(sensitivity=0.8, specificity=0.7),
    )
    assert judge(PLAN, "healthy") is None
    assert judge(alone, "healthy") == judge(beside, "healthy") == as_stated
    assert judge(alone, "judge-favours") == as_stated
    assert judge(beside, "judge-noise=80%,70%") == another
    assert judge(alone, "judge-favours+judge-noise=80%,70%") == another
    assert judge(PLAN, "judge-favours") == Judge()


# Several at once


def test_parts_are_all_true_of_one_candidate():
    found = parse_scenario("loss=3pp@12h+escalation=4%@24h+judge-noise+late-labels=6h", PLAN)

    assert found.loss == Fault(size=0.03, since=12 * HOUR)
    assert found.escalation == Fault(size=0.04, since=24 * HOUR)
    assert found.judge is not None
    assert found.lateness == Lateness(median=6 * HOUR, most=24 * HOUR)
    assert found.since == 12 * HOUR  # the first thing goes wrong


@given(st.permutations(["loss=3pp", "escalation=4%@24h", "daily-swing", "judge-noise"]))
def test_their_order_does_not_matter(parts):
    assert parse_scenario("+".join(parts), PLAN) == parse_scenario(
        "loss=3pp+escalation=4%@24h+daily-swing+judge-noise", PLAN
    )


def test_a_swing_goes_on_about_the_rate_that_escalations_jump_to():
    escalated = of("escalation=4%@24h+daily-swing=50%").escalated

    assert isinstance(escalated, np.ndarray)
    assert escalated[:1_440].mean() == pytest.approx(0.015)
    assert escalated[1_440:].mean() == pytest.approx(0.04)
    assert escalated[1_440:].max() == pytest.approx(0.06)


def test_a_loss_and_a_shifting_mix_add_up():
    of_both = of("loss=3pp+ramp-mix=10pp", intent="other")

    assert of_both.wrong == pytest.approx(0.15)  # the loss is on the critical intent alone
    uncritical = replace(PLAN, intents=(Intent(name="refund"), Intent(name="other")))
    every = rates(
        uncritical,
        TRAFFIC,
        parse_scenario("loss=3pp+ramp-mix=10pp", uncritical),
        arm=Arm.CANDIDATE,
        intent="other",
        minutes=np.arange(9),
    )
    assert every.wrong == pytest.approx(0.18)


def test_what_is_said_of_several_is_said_of_each():
    said = about(PLAN, parse_scenario("judge-noise+loss=3pp@24h", PLAN))

    assert said.startswith("the candidate is right 3 pp less often on refund from 24h on; grades")
    assert "loses nothing" not in said
    assert "loses nothing" in about(PLAN, parse_scenario("judge-noise+escalation=4%", PLAN))
    favoured = about(PLAN, parse_scenario("judge-favours=2pp", PLAN))
    assert "it calls 2 pp of the candidate's answers right that are wrong; the" in favoured


# Late labels


def test_labels_are_late_by_a_median_and_a_ninth_decile():
    lateness = Lateness(median=6 * HOUR, most=24 * HOUR)

    delays = lateness.delays_min(np.random.default_rng(1), 100_000)

    for span, part in ((6 * HOUR, 0.5), (24 * HOUR, 0.9)):
        assert lateness.within(span) == pytest.approx(part)
        share = (delays <= span.total_seconds() / 60).mean()
        assert share == pytest.approx(part, abs=5 * 0.5 / math.sqrt(100_000))
    # ln(24 / 6) / 1.2816 = 1.0817; seven days are ln(28) / 1.0817 = 3.0805 deviations away, beyond which lie 0.103%
    assert 1 - lateness.within(timedelta(days=7)) == pytest.approx(0.00103, abs=1e-5)
    assert lateness.within(timedelta(0)) == 0


def test_labels_are_as_late_as_the_plan_waits_for_them_where_nothing_else_is_said():
    assert parse_scenario("late-labels", PLAN).lateness == Lateness(median=HOUR, most=4 * HOUR)
    assert "50.0% after labels.delay (1h)" in about(PLAN, parse_scenario("late-labels", PLAN))


def test_a_plan_that_waits_for_no_label_does_not_say_how_late_they_are():
    at_once = replace(PLAN, labels=Labels())

    with pytest.raises(DataError, match=r"labels.delay is 0.*wanted late-labels\[=6h,24h\]"):
        parse_scenario("late-labels", at_once)


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
        ("late-labels=0h", "labels that take no time are not late; wanted late-labels[=6h,24h]."),
        ("late-labels=6h,6h", "nine in ten labels take longer than half of them"),
        ("late-labels=", "wanted late-labels[=6h,24h]."),
        ("loss=3pp+los=3pp", "'los=3pp': no such scenario (did you mean `loss`?)"),
        ("loss=3pp+", "'': no such scenario"),
        (
            "loss=3pp+drift",
            "loss=3pp and drift both say how much less often the candidate is right.",
        ),
        (
            "error=1%+error=2%",
            "error=1% and error=2% both say how often its calls fail. Give one of",
        ),
        ("healthy+loss=3pp", "healthy says that nothing else is so. Leave it out"),
        ("loss=3pp+escalation=4", "wanted escalation=5%[@24h]."),
        ("judge-favours=2", "wanted judge-favours[=3pp]."),
        ("judge-favours=0pp", "a favour of 0 pp is none; wanted judge-favours[=3pp]."),
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
    ("parts", "message"),
    [
        (
            {"refnd": 0.2},
            "--intent-share refnd: the plan has no such intent (did you mean `refund`?).",
        ),
        ({"refund": 0.8, "other": 0.3}, "the parts add up to 110%; wanted at most 100%."),
        ({"refund": 0.2, "other": 0.2, "legal": 0.2}, "the parts add up to 60%; wanted 100%."),
    ],
)
def test_parts_that_cannot_be_say_why(parts, message):
    with pytest.raises(DataError) as refused:
        intent_mix(PLAN, parts)

    assert message in str(refused.value)
