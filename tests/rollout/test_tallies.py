"""Prefix sums against plain sums, whatever the order in which minutes come, change and are forgotten."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.tallies import Sums

KEYS = ("a", "b", "c")
minutes = st.integers(0, 60)
stats = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 9), max_size=3)
changes = st.lists(st.dictionaries(minutes, stats, max_size=6), max_size=12)
brief = settings(max_examples=200, deadline=None)


def plain(known, start, end, key):
    return sum(row.get(key, 0) for minute, row in known.items() if start <= minute < end)


@brief
@given(changes, st.lists(st.tuples(minutes, minutes), min_size=1, max_size=5))
def test_a_window_is_a_difference_of_two_rows(fed, windows):
    sums, known = Sums(), {}
    for change in fed:
        sums.replace(change)
        known.update(change)

    for one, other in windows:
        start, end = min(one, other), max(one, other)
        before, after = sums.until(np.array([start, end]), (*KEYS, "never seen"))
        assert list(after - before) == [*(plain(known, start, end, key) for key in KEYS), 0]
        for key in KEYS:
            held = sorted(m for m, row in known.items() if row.get(key) and start <= m < end)
            assert list(sums.minutes_with(key, start, end)) == held
            earlier = [m for m, row in known.items() if row.get(key) and m < end]
            assert sums.last_minute_with(key, end) == max(earlier, default=None)


@brief
@given(changes, changes, minutes, st.tuples(minutes, minutes))
def test_what_is_forgotten_changes_no_later_window(first, second, mark, window):
    sums, known = Sums(), {}
    for change in first:
        sums.replace(change)
        known.update(change)
    sums.forget(mark)
    for change in second:
        later = {minute: row for minute, row in change.items() if minute >= mark}
        sums.replace(later)
        known.update(later)

    start, end = max(min(window), mark), max(*window, mark)
    before, after = sums.until(np.array([start, end]), KEYS)
    assert list(after - before) == [plain(known, start, end, key) for key in KEYS]
