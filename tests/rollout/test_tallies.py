"""Prefix sums against plain sums, whatever the order in which minutes come, change and are forgotten."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.counting.sums import Histogram, Sums, histogram_sums
from controller.rollout.counting.tallies import About, Tallies
from controller.rollout.observation import Cohort, RollupRow

KEYS = ("a", "b", "c")
minutes = st.integers(0, 400)  # several packs
stats = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 9), max_size=3)
many = st.builds(lambda first, row: dict.fromkeys(range(first, first + 150), row), minutes, stats)
changes = st.lists(st.dictionaries(minutes, stats, max_size=6) | many, max_size=12)
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

    marks = np.arange(0, 600, 3)
    table = sums.until(marks, KEYS)  # many at once are looked up in another way than few
    for mark, row in zip(marks[::40], table[::40], strict=True):
        assert list(row) == [plain(known, 0, mark, key) for key in KEYS]
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
@given(changes)
def test_what_was_set_last_is_told_as_moved_where_it_is_different(fed):
    sums = Sums()
    known: dict[int, dict[str, int]] = {}
    for change in fed:
        moved = sums.replace(change)
        assert moved == {
            minute
            for minute, row in change.items()
            if any(row.get(key, 0) != known.get(minute, {}).get(key, 0) for key in KEYS)
        }
        known.update(change)


buckets = st.dictionaries(st.integers(-3, 5), st.integers(1, 9), max_size=3)


@brief
@given(
    st.lists(st.dictionaries(minutes, buckets, max_size=6), max_size=8),
    st.lists(st.dictionaries(minutes, buckets, max_size=6), max_size=8),
    minutes,
    st.lists(st.tuples(minutes, minutes), min_size=1, max_size=4),
)
def test_a_histogram_over_windows_is_that_of_its_entries(first, second, mark, windows):
    histogram, known = Histogram(), {}
    for change in first:
        histogram.replace(change)
        known.update(change)
    histogram.forget(mark)
    for change in second:
        later = {minute: counts for minute, counts in change.items() if minute >= mark}
        histogram.replace(later)
        known.update(later)

    ordered = [(max(min(pair), mark), max(*pair, mark)) for pair in windows]
    starts, ends = (np.array(one) for one in zip(*ordered, strict=True))
    told, sums = histogram_sums([histogram, Histogram()], starts, ends)

    for (start, end), row in zip(ordered, sums, strict=True):
        inside = [counts for minute, counts in known.items() if start <= minute < end]
        for bucket in range(-3, 6):
            expected = sum(counts.get(bucket, 0) for counts in inside)
            assert (row[told.index(bucket)] if bucket in told else 0) == expected


def until(tallies):
    return lambda marks: tallies.until(marks, ("n",), arm="candidate", intent=None)


def counted(minute, n):
    return RollupRow(
        rollout="support-bot/1", minute=minute, version=1, arm="candidate", intent="refund",
        endpoint="chat.completions", cohort=Cohort.COMPARED, seq=1, stats={"n": n},
    )  # fmt: skip


@brief
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 60), st.integers(1, 9), max_size=4),
            st.sets(st.integers(0, 70), max_size=6),
        ),
        max_size=8,
    )
)
def test_what_is_remembered_of_marks_is_what_would_be_summed_anew(ticks):
    tallies = Tallies()
    for changed, marks in ticks:
        tallies.feed([counted(minute, n) for minute, n in changed.items()], 1)
        asked = np.array(sorted(marks), dtype=np.int64)

        found = tallies.at_marks(
            asked, arm="candidate", about=About(("n",), None), until=until(tallies)
        )

        assert found.tolist() == until(tallies)(asked).tolist()


def test_windows_none_of_which_ended_hold_up_no_later_row():
    tallies = Tallies(keep=lambda _: True)
    none = np.empty(0, dtype=np.int64)
    row = counted(7, 3)

    tallies.at_marks(none, arm="candidate", about=About(("n",), None), until=until(tallies))
    tallies.feed([row], 1)

    assert tallies.until(np.array([8]), ("n",), arm="candidate", intent=None).tolist() == [[3]]


def test_what_was_remembered_before_a_percentile_was_frozen_is_found_by_those_before_it():
    first, second = (10, (3, 4)), (20, (5, 6))
    names = ("latency_p95_ratio", "7")

    assert About(names, "refund", (first, second)).earlier == About(names, "refund", (first,))
    assert About(names, "refund", (first,)).earlier is None
    assert About(names, "refund").earlier is None
