"""Time in force, by the clock: what is counted once, what a window may lack, and where nothing is known."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.evidence.force import InForceTime, merged
from controller.rollout.timeline import minute_of
from tests.rollout.factories import NOW

START = minute_of(NOW)


def at(minutes: float):
    return NOW + timedelta(minutes=minutes)


def stretches(*spans):
    return [(at(one), at(other)) for one, other in spans]


def test_stretches_are_told_in_order_and_once():
    assert merged(stretches((50, 60), (0, 10), (5, 20), (20, 30), (40, 40), (55, 52))) == stretches(
        (0, 30), (50, 60)
    )
    assert merged(stretches((0, 30), (5, 10))) == stretches((0, 30))  # one within another
    assert merged([]) == []


def test_time_within_is_what_lies_in_both():
    held = InForceTime(stretches((0, 10), (20, 30)))

    found = [
        held.within(at(one), at(other)) / timedelta(minutes=1)
        for one, other in ((-5, 40), (5, 25), (10, 20), (12, 18), (0, 10), (28, 60), (40, 50))
    ]

    assert found == pytest.approx([20, 10, 0, 0, 10, 2, 0])
    assert held.within(at(9), at(5)) == timedelta(0)
    assert held.within(at(5), at(5)) == timedelta(0)
    assert InForceTime([]).within(at(0), at(9)) == timedelta(0)


def test_every_stretch_counts_however_many_there_are():
    held = InForceTime(stretches((0, 10), (20, 30), (40, 55), (60, 61)))

    assert held.within(at(5), at(60.5)) / timedelta(minutes=1) == pytest.approx(
        30.5
    )  # 5 + 10 + 15 + ½
    found = held.before(START + np.array([5, 15, 25, 35, 45, 58, 99]))
    assert found.tolist() == pytest.approx([5, 10, 15, 20, 25, 35, 36])


def test_what_lies_before_the_first_stretch_was_not_in_force():
    held = InForceTime(stretches((2, 60)))

    # Two minutes may lack, whether they are the window's first or its last.
    assert held.is_complete(START + 60, 60, START)
    assert held.complete(START + np.array([60, 61]), 60, START).tolist() == [True, True]
    assert not InForceTime(stretches((2.05, 60))).is_complete(START + 60, 60, START)


def test_minutes_before_are_counted_to_the_fraction():
    held = InForceTime(stretches((0.5, 10), (20, 30)))

    found = held.before(START + np.array([-3, 0, 1, 10, 15, 20, 25, 30, 99]))

    assert found.tolist() == pytest.approx([0, 0, 0.5, 9.5, 9.5, 9.5, 14.5, 19.5, 19.5])
    assert InForceTime([]).before(START + np.array([0, 5])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("span", "window", "complete"),
    [
        ((0, 58), 60, True),  # two minutes are the least that may lack
        ((0, 57.95), 60, False),
        ((0, 198), 200, True),
        ((0, 297), 300, True),  # a hundredth of a long window
        ((0, 296.9), 300, False),
        ((0, 1_425.6), 1_440, True),
        ((0, 1_425.5), 1_440, False),
        ((0, 1), 3, True),
        ((0, 0.95), 3, False),
    ],
)
def test_a_window_may_lack_two_minutes_or_a_hundredth(span, window, complete):
    held = InForceTime(stretches(span))

    assert held.is_complete(START + window, window, START) is complete
    ends = np.array([START + window, START + window])
    assert held.complete(ends, window, START).tolist() == [complete, complete]


def test_a_window_begins_no_earlier_than_its_epoch():
    held = InForceTime(stretches((-100, 100)))

    assert held.is_complete(START + 60, 60, START)
    assert not held.is_complete(START + 60, 60, START + 1)
    assert held.complete(START + np.array([59, 60, 61]), 60, START).tolist() == [False, True, True]


def test_nothing_in_force_completes_no_window():
    nothing = InForceTime([])

    assert not nothing.is_complete(START + 60, 60, START)
    assert nothing.complete(START + np.array([60, 61]), 60, START).tolist() == [False, False]
