"""Where e-processes start, how many are planned, and when a stretch without measurements is blindness."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.evidence.readings import read
from controller.rollout.evidence.starts import (
    ends_served,
    planned_starts,
    start_threshold,
    starts_and_thresholds,
    starts_of,
)
from controller.rollout.metrics import CATALOGUE
from controller.rollout.state import Epoch
from controller.rollout.timeline import minute_of, start_of
from tests.rollout.factories import ACCURACY, ESCALATION, HOUR, NOW, at_step, plan
from tests.rollout.test_readings import START, row, view

DAY_MIN = 24 * 60
ERRORS = replace(ESCALATION, name="errors", metric=CATALOGUE["error_rate"])


@pytest.mark.parametrize(
    ("rule", "every", "planned"), [(ESCALATION, 60, 24), (ACCURACY, 360, 4)], ids=["rate", "loss"]
)
def test_starts_are_the_epochs_first_minute_and_every_full_hour_or_six(rule, every, planned):
    begin = NOW + timedelta(minutes=17)
    first = minute_of(begin)

    passed, starts = starts_of(
        rule, Epoch(number=0, start=begin), first + DAY_MIN, reached_from=first
    )

    assert passed == 0
    assert starts[0] == first
    full = [minute for minute in range(first + 1, first + DAY_MIN) if minute % every == 0]
    assert starts[1:].tolist() == full
    assert planned_starts(rule, DAY_MIN, first) == len(starts) == planned + 1
    assert planned_starts(rule, DAY_MIN, 0) == planned
    assert planned_starts(rule, DAY_MIN + 1, 0) == planned + 1
    # The last full hour (or six) is not begun: 17 minutes and all but 18 of a day.
    assert planned_starts(rule, DAY_MIN - 18, 17) == planned


@given(
    rule=st.sampled_from([ESCALATION, ACCURACY]),
    begins=st.integers(0, DAY_MIN),
    horizon_min=st.integers(60, 30 * DAY_MIN),
)
def test_the_starts_of_the_planned_time_spend_alpha_whenever_an_epoch_begins(
    rule, begins, horizon_min
):
    first = minute_of(NOW) + begins
    epoch = Epoch(number=0, start=start_of(first))
    rule = replace(rule, window=timedelta(days=40))  # all starts are within reach of its end

    starts, needed = starts_and_thresholds(
        rule, epoch, np.array([first + horizon_min]), alpha=0.05, horizon_min=horizon_min
    )

    assert len(starts) == len(needed)
    assert np.exp(-needed).sum() == pytest.approx(0.05)


@pytest.mark.parametrize(("begins", "starts"), [(0, 3), (1, 4), (59, 4), (60, 3)])
def test_where_few_starts_are_planned_each_has_an_even_part_of_alpha(begins, starts):
    begun = start_threshold(ERRORS, alpha=0.05, horizon_min=180, first=begins)
    unknown = start_threshold(ERRORS, alpha=0.05, horizon_min=180)

    assert begun == pytest.approx(math.log(starts / 0.05))
    assert unknown == pytest.approx(math.log(3 / 0.05))


def test_starts_that_no_window_reaches_are_counted_and_left_out():
    first = minute_of(NOW)
    epoch = Epoch(number=0, start=NOW)
    _, every = starts_of(ESCALATION, epoch, first + DAY_MIN, reached_from=first)

    passed, starts = starts_of(ESCALATION, epoch, first + DAY_MIN, reached_from=first + 601)

    assert starts.tolist() == [minute for minute in every.tolist() if minute >= first + 601]
    assert every.tolist()[passed:] == starts.tolist()


@pytest.mark.parametrize(
    ("missed", "blind"),
    [
        # After 50 that were measured it is no chance from 0.01 / (51 × 52) = 3.77e-6 on.
        (18, 0),  # (1/2)^18 = 3.81e-6
        (19, 1),  # (1/2)^19 = 1.9e-6
    ],
)
def test_a_gap_is_blindness_where_chance_would_hardly_leave_one_in_a_whole_rollout(missed, blind):
    of = plan(rules=(ERRORS,))
    half_known = {"n": 100, "e": 100, "d.error": 50, "ed.error": 50}
    rows = [row(START, half_known), row(START + 1, {"n": missed, "e": missed})]

    found = read(view(rows, minutes=1, of=of), ERRORS, None)

    assert found.blind == timedelta(minutes=blind)


def test_minutes_without_traffic_are_not_blind_and_what_was_never_measured_is():
    of = plan(rules=(ERRORS,))
    rows = [row(START + minute, {"n": 1, "e": 1}) for minute in (0, 1, 5)]

    assert read(view(rows, minutes=9, of=of), ERRORS, None).blind == timedelta(minutes=3)
    # The hold's clock started two minutes before the last of them.
    late = at_step(0, of, started_at=NOW, hold_from=NOW + timedelta(minutes=3))
    found = read(view(rows, minutes=9, of=of, state=late), ERRORS, None)
    assert found.blind == timedelta(minutes=1)
    none = at_step(0, of, started_at=NOW, share_bp=0)
    assert read(view(rows, minutes=9, of=of, state=none), ERRORS, None).blind == timedelta(0)


@pytest.mark.parametrize("begun", [0, 17])
def test_many_ends_are_served_as_each_alone(begun):
    """Whole hours alone may be blamed: an end goes by the last full hour after which one was over, or the epoch's."""
    rule = replace(ESCALATION, window=HOUR, min_window=HOUR)
    epoch = Epoch(number=0, start=start_of(begun))
    ends = np.arange(begun + 60, begun + 300)

    found = ends_served(rule, epoch, ends)

    def served(end: int) -> int:
        latest = end - 60
        return min(end, max(latest - latest % 60, begun) + 60)

    assert found.tolist() == sorted({served(end) for end in ends.tolist()})
    for end in ends.tolist():
        assert ends_served(rule, epoch, np.array([end])).tolist() == [served(end)]
    free = replace(rule, min_window=timedelta(minutes=1))
    assert ends_served(free, epoch, ends).tolist() == ends.tolist()
