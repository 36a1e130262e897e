"""Sums through packs, histograms and remembered marks: recounted minute by minute, one fixed history of each."""

from __future__ import annotations

import numpy as np
import pytest

from controller.rollout.counting.columns import divided, lesser, zero_if_nan
from controller.rollout.counting.sums import OPEN, PACK, Histogram, Sums, histogram_sums, is_label
from controller.rollout.counting.tallies import About, Tallies
from controller.rollout.evidence.reader import Reader, Windows
from controller.rollout.observation import BOTH_ARMS, Cohort
from tests.rollout.test_readings import row

KEYS = ("a", "b")


def rows_of(first: int, last: int, step: int) -> dict[int, dict[str, int]]:
    """Every `step`-th minute: a counts each, b every seventh of them."""
    minutes = range(first, last, step)
    return {m: {"a": m % 5 + 1} | ({"b": 2} if i % 7 == 0 else {}) for i, m in enumerate(minutes)}


def summed(known, end: int, key: str, start: int = 0) -> int:
    return sum(stats.get(key, 0) for minute, stats in known.items() if start <= minute < end)


@pytest.fixture
def packed():
    """Some four packs and the open rows, with room between the minutes, and what they hold."""
    known = rows_of(10, 1_300, 3)
    sums = Sums()
    sums.replace(known)
    assert len(known) > 4 * PACK + OPEN / 2
    return sums, known


def assert_sums(sums: Sums, known) -> None:
    every = np.arange(0, 1_400, 7)
    table = sums.until(every, KEYS)
    for at, key in enumerate(KEYS):
        assert table[:, at].tolist() == [summed(known, end, key) for end in every.tolist()]


def test_what_lies_before_any_minute_is_summed_through_packs_and_open_rows(packed):
    sums, known = packed
    assert_sums(sums, known)
    # Around where packs end and open rows begin
    for minute in range(1_100, 1_200):
        several = np.array([minute, minute + 1, minute + 50])
        assert sums.until(several, ("a",))[:, 0].tolist() == [
            summed(known, end, "a") for end in several.tolist()
        ]
    assert sums.until(np.empty(0, dtype=np.int64), KEYS).shape == (0, 2)


@pytest.mark.parametrize("step", [3, 7, 25, 64])
def test_what_is_remembered_of_packs_is_right_wherever_windows_move(packed, step):
    sums, known = packed
    # Eight windows of different lengths, more than are remembered, move on together.
    for end in range(700, 1_400, step * 5):
        for length in (1, 4, 30, 60, 61, 200, 360, 500):
            for minute in (end - length, end):
                assert sums.until_one(minute, KEYS) == [summed(known, minute, key) for key in KEYS]
    few = np.array([9, 10, 11, 201, 202, 203, 204])
    assert sums.until(few, ("a",))[:, 0].tolist() == [summed(known, m, "a") for m in few.tolist()]


@pytest.mark.parametrize("at", [10, 11, 190, 202, 394, 700, 1_100, 1_159, 1_160, 1_299, 5])
def test_a_late_change_moves_all_that_comes_after_it(packed, at):
    sums, known = packed
    for minute in range(0, 1_300, 40):
        sums.until_one(minute, KEYS)  # so that something is remembered

    first = sums.replace({at: {"a": 100, "b": 1}, at + 60: {"c": 9}})
    again = sums.replace({at: {"a": 100, "b": 1}})

    known |= {at: {"a": 100, "b": 1}, at + 60: {"c": 9}}
    assert (first, again) == ({at, at + 60}, set())
    for minute in range(0, 1_300, 41):
        assert sums.until_one(minute, KEYS) == [summed(known, minute, key) for key in KEYS]
    assert_sums(sums, known)
    assert sums.until_one(1_400, ("c",)) == [9]


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "with a later one"])
def test_what_is_remembered_of_a_pack_goes_with_a_change_before_its_end(packed, beside):
    sums, known = packed
    for number, at in enumerate(range(472, 533, 2)):
        sums.until_one(500, KEYS)  # eight rows from there on are remembered
        change = {at: {"a": number + 1}} | ({1_200: {"b": number}} if beside else {})

        sums.replace(change)

        known |= change
        for minute in range(496, 530):
            assert sums.until_one(minute, KEYS) == [summed(known, minute, key) for key in KEYS]


def test_minutes_in_which_something_counted_are_found_in_packs_and_open_rows(packed):
    sums, known = packed

    for start in range(0, 1_400, 91):
        for end in (start, start + 1, start + 90, start + 400, 1_500):
            held = [m for m in known if known[m].get("b") and start <= m < end]
            assert sums.minutes_with("b", start, end).tolist() == held
    for end in range(0, 1_400, 3):
        earlier = [m for m in known if known[m].get("b") and m < end]
        assert sums.last_minute_with("b", end) == max(earlier, default=None)
    # What came in a few early minutes alone lies behind all the packs that follow.
    sums.replace({13: {"rare": 3}, 16: {"rare": 1}})
    assert [sums.last_minute_with("rare", end) for end in (13, 14, 16, 17, 900, 1_400)] == [
        *(None, 13, 13),
        *(16, 16, 16),
    ]
    assert sums.minutes_with("rare", 0, 1_400).tolist() == [13, 16]
    sums.replace({313: {"odd": 1}})  # in the second pack alone
    assert sums.last_minute_with("odd", 1_400) == 313
    assert sums.minutes_with("never", 0, 1_400).tolist() == []
    assert sums.last_minute_with("never", 1_400) is None


def test_nothing_is_summed_of_nothing():
    sums = Sums()

    assert sums.replace({}) == set()
    assert sums.replace({7: {}}) == set()
    assert sums.until_one(5, KEYS) == [0, 0]
    assert sums.until(np.array([0, 9]), KEYS).tolist() == [[0, 0], [0, 0]]
    assert sums.minutes_with("a", 0, 9).tolist() == []
    assert sums.last_minute_with("a", 9) is None


def test_blocks_and_every_pair_are_labels_and_requests_are_not():
    assert all(map(is_label, ("graded", "e.correct_u", "b.-111111", "p.10", "pv.500000")))
    assert not any(map(is_label, ("n", "e", "f.escalated", "s.cost_nusd", "x.latency.35")))


# Histograms


def test_a_histogram_keeps_what_was_set_last_and_tells_what_changed():
    histogram = Histogram()

    assert histogram.replace({}) == set()
    assert histogram.replace({5: {1: 2, 3: 1}, 9: {1: 4}}) == {5, 9}
    assert histogram.replace({9: {1: 4}, 7: {-2: 6}}) == {7}
    assert histogram.between(0, 99)[0].tolist() == [5, 5, 7, 9]
    assert histogram.replace({5: {1: 2, 3: 2}, 11: {}}) == {5}

    minutes, buckets, counts = histogram.between(5, 10)
    assert (minutes.tolist(), buckets.tolist(), counts.tolist()) == (
        [5, 5, 7, 9],
        [1, 3, -2, 1],
        [2, 2, 6, 4],
    )
    told, sums = histogram_sums([histogram], np.array([5, 6, 0]), np.array([10, 8, 5]))
    assert told == (-2, 1, 3)
    assert sums.tolist() == [[6, 6, 2], [6, 0, 0], [0, 0, 0]]


def test_a_histogram_of_nothing_has_no_buckets_for_any_window():
    told, sums = histogram_sums([Histogram()], np.array([0, 3]), np.array([5, 9]))

    assert (told, sums.shape) == ((), (2, 0))


def test_what_is_forgotten_of_a_histogram_is_what_came_before():
    histogram = Histogram()
    histogram.replace({minute: {1: minute} for minute in range(1, 33)})

    histogram.forget(20)

    assert histogram.between(20, 99)[2].tolist() == list(range(20, 33))
    assert len(histogram.between(0, 20)[0]) == 0
    histogram.forget(
        21
    )  # a single minute of thirteen is not worth a copy, or is: what is asked for is the same
    assert histogram.between(21, 99)[2].tolist() == list(range(21, 33))


# Groups


def fed(*rows):
    tallies = Tallies()
    tallies.feed(rows, 1)
    return tallies


def test_statistics_are_of_the_arm_the_intent_and_the_cohort_that_is_asked_for():
    tallies = fed(
        row(3, {"n": 1}),
        row(2, {"n": 2}, intent="order-status"),
        row(4, {"n": 4}, version=9),
        row(5, {"n": 8}, arm="baseline"),
        row(5, {"n": 16}, cohort=Cohort.OUTSIDE),
        row(6, {"b.1000000": 1, "b.-250000": 1, "pv.0": 2}, arm=BOTH_ARMS),
        row(6, {"b.500000": 1, "pv.500000": 1}, arm=BOTH_ARMS, intent="order-status"),
    )
    reader = Reader(tallies)
    (n,) = tallies.places(("n",), "candidate")

    asked = [("candidate", None), ("candidate", "refund"), ("baseline", None), ("nobody", None)]
    for (arm, intent), expected in zip(asked, (7, 5, 8, 0), strict=True):
        assert tallies.row(9, arm=arm, intent=intent)[n] == expected
        assert reader.before(9, ("n",), arm=arm, intent=intent) == [expected]
        assert reader.between(0, 9, ("n",), arm=arm, intent=intent) == [expected]
        many = tallies.until(np.array([9, 2]), ("n",), arm=arm, intent=intent)
        assert many.tolist() == [[expected], [0]]
    assert reader.between(3, 9, ("n",), arm="candidate", intent="refund") == [5]
    for windows in (Windows.single(0, 9), Windows.of(np.array([0, 4]), np.array([9, 9]))):
        (of_refund,) = reader.over(windows, ("n",), arm="candidate", intent="refund")
        assert np.atleast_1d(of_refund).tolist() == [5, 4][: len(windows.ends)]
    assert tallies.row(9, arm="candidate", intent=None, compared=False)[n] == 23
    assert tallies.values_of_blocks("refund") == ("b.-250000", "b.1000000")
    assert tallies.values_of_blocks(None) == ("b.-250000", "b.500000", "b.1000000")
    assert tallies.values_of_pairs("refund") == ("pv.0",)
    assert tallies.values_of_pairs("returns") == ()
    assert tallies.minutes_with("n", 0, 9, arm="candidate", intent="refund").tolist() == [3, 4]
    assert tallies.minutes_with("n", 0, 9, arm="nobody", intent=None).tolist() == []
    assert tallies.last_minute_with("n", 9, arm="candidate", intent="order-status") == 2
    assert tallies.last_minute_with("n", 9, arm="candidate", intent=None) == 4
    for intent, there in (("refund", False), ("order-status", True), (None, True)):
        keys = ("b.500000", "p.11")
        assert tallies.has_any(keys, arm=BOTH_ARMS, intent=intent) is there


def test_a_single_window_is_told_as_one():
    assert Windows.of(np.array([2]), np.array([5])).one == (2, 5)
    assert Windows.of(np.array([2]), np.array([5])).length_min == 3
    assert Windows.of(np.array([2, 3]), np.array([5, 9])).one is None


def test_a_stratums_window_is_what_came_within_it():
    tallies = fed(*(row(minute, {"n": minute}) for minute in range(1, 9)))
    ((version, intent, sums),) = tallies.strata(arm="candidate", intent="refund")
    reader = Reader(tallies)

    assert (version, intent) == (2, "refund")
    assert reader.over_stratum(sums, Windows.single(3, 6), ("n",)) == [3 + 4 + 5]
    (many,) = reader.over_stratum(sums, Windows.of(np.array([3, 1]), np.array([6, 4])), ("n",))
    assert np.asarray(many).tolist() == [12, 6]
    assert list(tallies.strata(arm="baseline", intent="refund")) == []
    assert list(tallies.strata(arm="candidate", intent="order-status")) == []


# What is remembered at marks


class Asked:
    """What is summed at marks, and which marks it was asked for."""

    def __init__(self, tallies: Tallies, *keys: str) -> None:
        self.tallies, self.keys = tallies, keys
        self.marks: list[list[int]] = []

    def __call__(self, marks):
        self.marks.append(marks.tolist())
        return self.tallies.until(marks, self.keys, arm="candidate", intent=None)

    def at(self, *marks: int, arm: str = "candidate") -> list[list[int]]:
        asked = np.array(marks, dtype=np.int64)
        about = About(self.keys, None)
        found = self.tallies.at_marks(asked, arm=arm, about=about, until=self)
        return found.tolist()


def test_only_marks_that_are_new_are_looked_up():
    asked = Asked(fed(*(row(minute, {"n": 1}) for minute in range(10))), "n")

    assert asked.at(2, 5, 7) == [[2], [5], [7]]
    assert asked.at(2, 5, 7) == [[2], [5], [7]]
    assert asked.at(5, 7, 9) == [[5], [7], [9]]
    assert asked.at(1, 5, 8, 9) == [[1], [5], [8], [9]]
    assert asked.at() == []
    assert asked.at(3) == [[3]]
    assert asked.marks == [[2, 5, 7], [9], [1, 8], [3]]


def test_a_change_has_the_marks_after_it_looked_up_anew_and_one_of_labels_those_that_hold_labels():
    tallies = fed(*(row(minute, {"n": 1, "graded": 0}) for minute in range(10)))
    firm, labels = Asked(tallies, "n"), Asked(tallies, "graded")
    for one in (firm, labels):
        one.at(2, 5, 7)
        one.marks.clear()

    tallies.feed([row(4, {"n": 1, "graded": 1})], 2)

    # A mark counts what comes before it, so the one at 2 stands.
    assert labels.at(2, 5, 7) == [[0], [1], [1]]
    assert firm.at(2, 5, 7) == [[2], [5], [7]]
    assert (labels.marks, firm.marks) == ([[5, 7]], [])

    tallies.feed([row(5, {"n": 3})], 3)

    assert firm.at(2, 5, 7) == [[2], [5], [9]]
    assert firm.marks == [[7]]


def test_the_marks_of_one_arm_stand_while_another_changes():
    tallies = fed(*(row(minute, {"n": 1}) for minute in range(10)))
    asked = Asked(tallies, "n")
    asked.at(5)
    asked.at(5, arm="matched")

    def asked_anew() -> int:
        asked.marks.clear()
        asked.at(5)
        asked.at(5, arm="matched")  # of both arms side by side
        return len(asked.marks)

    for rows, anew in (
        ([row(1, {"p.11": 9}, arm=BOTH_ARMS)], 0),
        ([row(1, {"n": 9}, arm="baseline")], 1),
        ([row(1, {"n": 9})], 2),
        ([row(6, {"n": 9})], 0),
    ):
        tallies.feed(rows, 2)
        assert asked_anew() == anew


def test_what_moved_is_told_of_every_group_and_histogram():
    tallies = Tallies()
    assert tallies.seq == 0

    moved = tallies.feed(
        [
            row(1, {"n": 1}),
            row(2, {"n": 1}, intent="order-status"),
            row(3, {"h.latency.4": 1}),
            row(4, {"h.latency.4": 1}, arm="baseline"),
            row(5, {"graded": 1}),
        ],
        7,
    )

    assert (moved, tallies.seq) == ({1, 2, 3, 4}, 7)


def test_what_no_rule_asks_for_is_left_out_and_what_comes_after_it_is_not():
    tallies = Tallies(keep=lambda key: key != "e")

    tallies.feed([row(1, {"e": 5, "n": 3}), row(2, {"n": 4, "e": 5})], 1)

    assert Reader(tallies).before(9, ("n", "e"), arm="candidate", intent=None) == [7, 0]


def test_histograms_are_kept_from_the_very_minute_on_that_they_are_not_forgotten_before():
    tallies = fed(row(0, {"h.latency.4": 2}))
    asked = (np.array([0]), np.array([9]))

    first = tallies.histogram("h.latency.", *asked, arm="candidate", intent=None)
    tallies.forget_histograms(3)
    tallies.feed([row(at, {"h.latency.4": 1}) for at in (2, 3, 4)], 2)

    assert first[1].tolist() == [[2]]
    later = tallies.histogram(
        "h.latency.", np.array([3]), np.array([9]), arm="candidate", intent=None
    )
    assert later[1].tolist() == [[2]]


def test_the_last_minute_is_what_was_last_said_of_it():
    tallies = fed(row(1, {"n": 2}), row(2, {"n": 3}))

    tallies.feed([row(2, {"n": 5})], 2)

    assert Reader(tallies).before(9, ("n",), arm="candidate", intent=None) == [7]


def test_a_histogram_is_of_everything_that_it_was_ever_fed():
    tallies = fed(row(0, {"h.latency.4": 2}))
    window = (np.array([0]), np.array([9]))

    tallies.feed([row(1, {"h.latency.5": 3})], 2)

    buckets, counts = tallies.histogram("h.latency.", *window, arm="candidate", intent=None)
    assert (buckets, counts.tolist()) == ((4, 5), [[2, 3]])


# Figures of one window and of many


def test_what_is_not_there_is_not_a_number_and_adds_nothing():
    assert zero_if_nan(float("nan")) == 0
    assert zero_if_nan(0.25) == 0.25
    assert np.asarray(zero_if_nan(np.array([np.nan, 0.25]))).tolist() == [0, 0.25]
    assert np.isnan(divided(1, 0))
    # One of the two may be a number for all windows.
    assert np.asarray(divided(np.array([3, 4]), 2)).tolist() == [1.5, 2]
    assert np.asarray(divided(6, np.array([3, 4]))).tolist() == [2, 1.5]
    assert np.asarray(lesser(np.array([3, 9]), 5)).tolist() == [3, 5]
    assert np.asarray(lesser(5, np.array([3, 9]))).tolist() == [3, 5]
    assert lesser(2, 7) == 2
