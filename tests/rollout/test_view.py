"""Which windows are judged in a tick, and what there is to measure in them, at the numbers themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.evidence.availability import (
    Counted,
    availability,
    blind,
    by_chance,
    counted,
    expected_rate,
)
from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.rules import alpha_of
from controller.rollout.evidence.view import _union, whole_windows
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Arm
from controller.rollout.state import Epoch, Phase
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Availability
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan
from tests.rollout.test_readings import START, row, view

HALF_HOUR = replace(ESCALATION, window=timedelta(minutes=30))
LABELLED = replace(HALF_HOUR, name="labelled", metric=CATALOGUE["hallucination_rate"])
OF = plan(labels=replace(plan().labels, delay=timedelta(minutes=90)))
EPOCH = Epoch(number=0, start=NOW)


def ends(of, rule, epoch=EPOCH) -> list[int]:
    return (of.span(rule, epoch).ends - START).tolist()


# Which windows


@pytest.mark.parametrize(
    ("rule", "delay", "last"),
    [(HALF_HOUR, 90, 121), (LABELLED, 90, 30), (LABELLED, 0, 121)],
    ids=["unlabelled", "labelled", "labels at once"],
)
def test_the_last_window_closes_after_the_present_minute_or_before_the_first_without_labels(
    rule, delay, last
):
    of = plan(labels=replace(plan().labels, delay=timedelta(minutes=delay)))

    at = view([], minutes=120, of=of)

    assert at.watermark(rule) == START + last
    assert ends(at, rule) == [last]


def test_since_the_last_judgement_each_window_that_closed_is_judged():
    # Judged up to the minute 116 of 120: of the unlabelled those that closed in the four minutes since.
    at = view([], minutes=120, of=OF, judged=START + 116)

    assert ends(at, HALF_HOUR) == [118, 119, 120, 121]
    assert ends(at, LABELLED) == [27, 28, 29, 30]
    # What was judged a moment ago is judged no further than now.
    assert ends(view([], minutes=120, of=OF, judged=START + 130), HALF_HOUR) == [121]


def test_a_change_has_the_windows_judged_again_that_hold_it_no_further_than_now_or_the_epoch():
    at = replace(
        view([], minutes=120, of=OF, judged=START + 119),
        touched=[START + 2, START + 20],
        moved=[START + 100],
    )

    assert ends(at, HALF_HOUR) == list(range(101, 122))
    assert ends(at, LABELLED) == list(range(3, 31))
    younger = Epoch(number=1, start=NOW + timedelta(minutes=105))
    assert ends(at, HALF_HOUR, younger) == list(range(106, 122))
    # With `for` a change is in the stretches of those that close so long after.
    lasting = replace(HALF_HOUR, window=timedelta(minutes=5), sustained=timedelta(minutes=4))
    assert ends(at, lasting) == [*range(101, 110), 121]


def test_without_for_those_windows_are_measured_that_are_judged():
    at = replace(view([], minutes=120, of=OF, judged=START + 119), moved=[START + 60])

    span = at.span(HALF_HOUR, EPOCH)

    assert (span.ends - START).tolist() == [*range(61, 91), 121]
    assert span.windows.ends.tolist() == span.ends.tolist()
    assert len(span.complete) == 31


def test_with_for_the_windows_of_the_stretch_before_are_measured_too():
    lasting = replace(HALF_HOUR, sustained=timedelta(minutes=10))
    at = view([], minutes=120, of=OF, judged=START + 119)

    span = at.span(lasting, EPOCH)

    assert (span.ends - START).tolist() == [121]
    assert (span.windows.ends - START).tolist() == list(range(111, 122))
    assert (span.windows.starts - START).tolist() == list(range(81, 92))
    assert span.complete.tolist() == [True] * 11


def test_rules_of_one_window_for_and_epoch_share_what_they_look_at_and_others_do_not():
    at = view([], minutes=120, of=OF)

    whole = at.span(HALF_HOUR, EPOCH)

    assert at.span(replace(HALF_HOUR, name="other"), EPOCH) is whole
    for other, epoch in (
        (LABELLED, EPOCH),
        (ESCALATION, EPOCH),
        (replace(HALF_HOUR, sustained=timedelta(minutes=5)), EPOCH),
        (HALF_HOUR, Epoch(number=1, start=NOW + timedelta(hours=1))),
    ):
        assert at.span(other, epoch) is not whole


def test_a_window_is_complete_where_it_was_in_force_alone_or_among_others():
    gap = InForceTime([(NOW, NOW + timedelta(minutes=117))])

    for judged, expected in ((None, [False]), (START + 117, [True, False, False])):
        at = replace(view([], minutes=120, of=OF, judged=judged), in_force=gap)
        assert at.span(HALF_HOUR, EPOCH).complete.tolist() == expected


def test_the_alpha_of_a_rule_is_by_its_epoch_and_where_it_has_its_own_by_its_name():
    own, other = (
        replace(ESCALATION, name=name, alpha=part) for name, part in (("a", 0.01), ("b", 0.02))
    )
    of = plan(rules=(ACCURACY, ESCALATION, own, other))
    at = view([], minutes=9, of=of)

    for rule in (ESCALATION, own, other, ACCURACY):
        for epoch in (EPOCH, Epoch(number=1, start=NOW)):
            for _ in range(2):  # looked up, and remembered
                assert at.alpha(rule, epoch) == alpha_of(of, rule, epoch)


@pytest.mark.parametrize(
    ("ranges", "last", "numbers"),
    [
        ([], 9, [9]),
        ([(9, 9)], 9, [9]),
        ([(3, 5)], 9, [3, 4, 5, 9]),
        ([(6, 8)], 9, [6, 7, 8, 9]),
        ([(7, 9)], 9, [7, 8, 9]),
        ([(5, 7), (3, 3), (6, 8)], 12, [3, 5, 6, 7, 8, 12]),
        ([(2, 3), (4, 5), (7, 6)], 9, [2, 3, 4, 5, 9]),
        ([(2, 8), (3, 4)], 9, [2, 3, 4, 5, 6, 7, 8, 9]),
        ([(4, 3), (8, 8)], 8, [8]),
    ],
)
def test_ends_are_told_in_order_once_and_with_the_last(ranges, last, numbers):
    assert _union(ranges, last).tolist() == numbers


def test_windows_reach_back_no_further_than_the_epoch_and_never_past_their_end():
    several = whole_windows(HALF_HOUR, 100, np.array([90, 110, 130, 140]))

    assert several.starts.tolist() == [90, 100, 100, 110]
    assert several.ends.tolist() == [90, 110, 130, 140]
    for end, start in ((90, 90), (110, 100), (130, 100), (140, 110)):
        assert whole_windows(HALF_HOUR, 100, np.array([end])).one == (start, end)


# What there is


def test_traffic_and_samples_are_counted_by_arm_in_the_last_window_after_it_and_in_the_step():
    of = OF
    loss = replace(ACCURACY, window=timedelta(minutes=20))
    counts = {"n": 10, "graded": 4, "e": 9, "e.graded": 3}
    rows = [row(START + i, counts) for i in range(120)]
    rows += [
        row(START + i, {"n": 2, "graded": 1, "e.graded": 1}, arm="baseline")
        for i in range(0, 120, 2)
    ]
    state = at_step(0, of, started_at=NOW, step_started_at=NOW + timedelta(minutes=5))
    at = view(rows, minutes=119, of=of, state=state)

    # Labels are due after 90 minutes: windows end at 29, younger is what came in the 91 minutes after it.
    baseline, candidate = counted(at, loss, "refund", START)

    assert candidate == Counted(traffic=200, known=80, younger=910, in_step=24 * 3)
    assert baseline == Counted(traffic=20, known=10, younger=90, in_step=12)
    (rate,) = counted(at, replace(LABELLED, arm=Arm.BASELINE), "refund", START)
    assert (rate.traffic, rate.known) == (2 * 15, 0)
    (young,) = counted(at, replace(LABELLED, window=timedelta(hours=9)), "refund", START + 25)
    assert young.traffic == 4 * 10
    (other,) = counted(at, LABELLED, "order-status", START)
    assert other == Counted(traffic=0, known=0, younger=0, in_step=0)


def test_a_step_younger_than_the_labels_has_no_samples_yet():
    rows = [row(START + i, {"n": 1, "d.error": 1}) for i in range(60)]
    errors = replace(HALF_HOUR, metric=CATALOGUE["error_rate"])
    for since, samples in ((59, 1), (60, 0), (61, 0)):
        state = at_step(0, OF, started_at=NOW, step_started_at=NOW + timedelta(minutes=since))
        (found,) = counted(view(rows, minutes=59, of=OF, state=state), errors, "refund", START)
        assert found.in_step == samples


def test_a_step_that_began_after_the_last_labelled_minute_has_no_samples_of_labels():
    rows = [row(START + i, {"n": 1, "d.grounding_failure": 1}) for i in range(120)]
    state = at_step(0, OF, started_at=NOW, step_started_at=NOW + timedelta(minutes=60))

    (found,) = counted(view(rows, minutes=119, of=OF, state=state), LABELLED, "refund", START)

    assert (found.known, found.in_step) == (29, 0)


def had(traffic: int, known: int, younger: int = 0) -> Counted:
    return Counted(traffic=traffic, known=known, younger=younger, in_step=0)


@pytest.mark.parametrize(
    ("arms", "found"),
    [
        ([had(1, 1), had(1, 1)], Availability.MEASURED),
        ([had(1, 1), had(1, 0)], Availability.NO_DATA),
        ([had(1, 1), had(0, 0)], Availability.NO_TRAFFIC),
        ([had(0, 0, 5), had(0, 0, 1)], Availability.NOT_DUE),
        ([had(0, 0, 5), had(0, 0, 0)], Availability.NO_TRAFFIC),
        ([had(9, 9, 1), had(0, 0, 1)], Availability.NOT_DUE),
    ],
)
def test_what_is_missing_of_either_arm_is_told(arms, found):
    at = view([], minutes=9, of=OF)

    assert availability(at, ACCURACY, arms) is found


def test_only_what_compares_needs_a_control():
    full = view([], minutes=9, of=OF, state=at_step(3, OF, share_bp=10_000))
    nearly = view([], minutes=9, of=OF, state=at_step(3, OF, share_bp=9_999))

    assert availability(full, ACCURACY, [had(1, 1)]) is Availability.NO_CONTROL
    assert availability(full, ESCALATION, [had(1, 1)]) is Availability.MEASURED
    assert availability(nearly, ACCURACY, [had(1, 1)]) is Availability.MEASURED


# Blind


ERRORS = replace(HALF_HOUR, name="errors", metric=CATALOGUE["error_rate"])


def blind_minutes(rows, *, minutes: int, rule=ERRORS, intent=None, **changes) -> float:
    state = at_step(0, OF, started_at=NOW, **changes)
    found = blind(view(rows, minutes=minutes, of=OF, state=state), rule, intent)
    return found / timedelta(minutes=1)


def test_minutes_are_blind_from_the_last_that_was_measured_in_the_arm_and_intent():
    checked = {"n": 2, "d.error": 2}
    rows = [row(START + i, checked if i < 4 else {"n": 2}) for i in range(20)]
    other = [row(START + i, checked, intent="order-status") for i in range(20)]
    baseline = [row(START + i, checked, arm="baseline") for i in range(20)]

    assert blind_minutes(rows, minutes=19) == 16
    assert blind_minutes([*rows, *baseline], minutes=19, intent="refund") == 16
    assert blind_minutes([*rows, *other], minutes=19, intent="refund") == 16
    assert blind_minutes([*rows, *other], minutes=19, intent="order-status") == 0
    assert blind_minutes([*rows, *other], minutes=19) == 0
    # From where the hold's clock last started
    assert blind_minutes(rows, minutes=19, hold_from=NOW + timedelta(minutes=10)) == 10
    many = [row(START + i, checked if i < 4 else {"n": 90}) for i in range(20)]
    assert blind_minutes(many, minutes=19, hold_from=NOW + timedelta(minutes=19)) == 0  # by chance
    many[19] = row(START + 19, {"n": 2_000})
    assert blind_minutes(many, minutes=19, hold_from=NOW + timedelta(minutes=19)) == 1
    assert blind_minutes(rows, minutes=19, hold_from=NOW + timedelta(minutes=20)) == 0


def test_an_intent_is_blind_in_the_minutes_of_its_own_traffic():
    rows = [row(START + i, {"n": 9, "e": 9}) for i in (5, 6)]
    rows += [row(START + i, {"n": 9, "e": 9}, intent="order-status") for i in range(20)]

    assert blind_minutes(rows, minutes=19, intent="refund") == 2
    assert blind_minutes(rows, minutes=19, intent="order-status") == 20


def test_nothing_is_blind_without_a_share_before_the_first_step_or_for_what_is_always_known():
    rows = [row(START + i, {"n": 2}) for i in range(20)]
    complaints = replace(ERRORS, metric=CATALOGUE["complaint_rate"])
    ratio = replace(ERRORS, metric=CATALOGUE["sample_ratio"])

    assert blind_minutes(rows, minutes=19) == 20
    assert blind_minutes(rows, minutes=19, share_bp=0) == 0
    assert blind_minutes(rows, minutes=19, phase=Phase.PENDING) == 0
    assert blind_minutes(rows, minutes=190, rule=complaints) == 0
    assert blind_minutes(rows, minutes=19, rule=ratio) == 0
    # A minute that was measured in part ends it, and so does one in which all was.
    assert blind_minutes([*rows[:19], row(START + 19, {"n": 9, "d.error": 1})], minutes=19) == 0
    assert start_of(START) == NOW


@pytest.mark.parametrize(("missed", "minutes"), [(62, 0), (63, 1)])
def test_a_gap_is_chance_by_the_rate_at_which_requests_were_measured(missed, minutes):
    # A fifth was measured, 100 requests: 0.8^62 × 101 × 102 = 0.0101, and 0.8^63 × 101 × 102 = 0.0081.
    rows = [row(START, {"n": 500, "d.error": 100}), row(START + 1, {"n": missed})]

    assert blind_minutes(rows, minutes=1) == minutes
    # On another intent all were, and then more were missed.
    other = [
        row(START, {"n": 500, "d.error": 500}, intent="order-status"),
        row(START + 1, {"n": 40}, intent="order-status"),
    ]
    assert blind_minutes([*rows, *other], minutes=1, intent="refund") == minutes


def test_after_a_single_request_that_was_measured_the_next_that_is_not_is_no_chance():
    rows = [row(START, {"n": 1, "d.error": 1}), row(START + 1, {"n": 5})]

    assert blind_minutes(rows, minutes=1) == 1


def test_a_single_request_that_was_measured_of_several_says_how_often_that_happens():
    # A tenth of ten: 0.9^20 × 2 × 3 = 0.73.
    rows = [row(START, {"n": 10, "d.error": 1}), row(START + 1, {"n": 20})]

    assert blind_minutes(rows, minutes=1) == 0
    assert by_chance(1, 10, 20, expected=1.0) is True
    assert by_chance(1, 1, 20, expected=1.0) is False


def test_only_what_outcomes_tell_is_of_a_sample():
    sampled = plan(labels=replace(plan().labels, sampled_u=100_000))

    assert expected_rate(sampled, ACCURACY) == 0.1
    assert expected_rate(sampled, ERRORS) == 1.0


def test_of_a_sample_the_first_grade_is_waited_for_as_long_as_chance_may_take():
    sampled = replace(OF, labels=replace(OF.labels, sampled_u=100_000, delay=timedelta(0)))
    rule = replace(ACCURACY, window=timedelta(minutes=30))

    def blind_after(missed: int) -> float:
        rows = [row(START + i, {"n": 1}) for i in range(missed)]
        state = at_step(0, sampled, started_at=NOW)
        found = blind(view(rows, minutes=missed, of=sampled, state=state), rule, "refund")
        return found / timedelta(minutes=1)

    # A tenth is to be graded: 0.9^50 × 1 × 2 = 0.0103, and 0.9^51 × 2 = 0.0093.
    assert blind_after(50) == 0
    assert blind_after(51) == 51


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.7])
def test_a_healthy_sample_is_hardly_ever_called_blind(rate):
    """One in a hundred of 4,000 rollouts at most, and three standard errors: 1,000 requests each, measured or not."""
    measured = np.random.default_rng(7).random((4_000, 1_000)) < rate
    requests = np.arange(1, 1_001)
    known = np.cumsum(measured, axis=1)
    until_last = np.maximum.accumulate(np.where(measured, requests, 0), axis=1)

    chance = by_chance(known, until_last, requests - until_last, expected=rate)

    assert (~chance & ~measured).any(axis=1).mean() <= 0.01 + 3 * (0.01 * 0.99 / 4_000) ** 0.5
