"""Windows of simulated requests by bucket: percentiles and sums are those of single requests."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from controller.simulate.drawn.histograms import (
    Buckets,
    BucketSums,
    counts_above,
    over_windows,
    quantile_buckets,
)
from controller.stats.histogram import quantile, value_of

LENGTH = 12
minute = st.lists(st.integers(-120, 90), max_size=6)
of_intent = st.lists(minute, min_size=LENGTH, max_size=LENGTH)
windows = st.lists(
    st.tuples(st.integers(0, LENGTH), st.integers(0, LENGTH)).map(sorted), min_size=1, max_size=8
)


def counted(minutes: list[list[int]], *, dense: bool) -> Buckets:
    n = np.array([len(one) for one in minutes])
    buckets = np.array([bucket for one in minutes for bucket in one], dtype=np.int16)
    if not dense:
        return Buckets(n.cumsum(), buckets, None)
    entries = [np.unique(one, return_counts=True) for one in minutes]
    until = np.cumsum([len(one) for one, _ in entries])
    kept = np.concatenate([one for one, _ in entries]).astype(np.int16)
    return Buckets(until, kept, np.concatenate([times for _, times in entries]).astype(np.int64))


def sums_of(intents: list[list[list[int]]], parts: int, *, dense: bool) -> list[BucketSums]:
    """Filled in so many parts, the first as it is and the others by entries that are counted, where asked."""
    found = []
    for minutes in intents:
        sums = BucketSums()
        for number, part in enumerate(np.array_split(np.arange(LENGTH), parts)):
            of = [minutes[at] for at in part.tolist()]
            sums.extend(counted(of, dense=dense and number > 0))
        found.append(sums)
    return found


@given(
    st.lists(of_intent, min_size=1, max_size=3),
    windows,
    st.sampled_from([0.5, 0.95, 0.99]),
    st.integers(1, 3),
    st.booleans(),
)
def test_percentiles_and_sums_of_windows_are_those_of_single_requests(
    intents, asked, q, parts, dense
):
    sums = sums_of(intents, parts, dense=dense)
    starts, ends = (np.array(at) for at in zip(*asked, strict=True))

    places, n = quantile_buckets(sums, q, starts, ends)
    buckets, table = over_windows(sums, starts, ends)

    for number, (start, end) in enumerate(asked):
        seen = [one for minutes in intents for each in minutes[start:end] for one in each]
        assert n[number] == len(seen)
        counts = dict(zip(buckets, table[number].tolist(), strict=True))
        assert {k: v for k, v in counts.items() if v} == {k: seen.count(k) for k in set(seen)}
        if seen:
            expected = quantile({k: seen.count(k) for k in set(seen)}, q)
            assert value_of(int(places[number])) == expected


@given(of_intent, st.integers(-130, 100), st.booleans())
def test_what_lies_above_a_bucket_is_counted_by_minute(minutes, bucket, dense):
    found = counts_above(counted(minutes, dense=dense), bucket)

    assert found.tolist() == [sum(one > bucket for one in each) for each in minutes]


@given(of_intent, st.integers(0, LENGTH - 1), of_intent)
def test_what_is_forgotten_is_drawn_anew(minutes, end, others):
    sums = BucketSums()
    sums.extend(counted(minutes, dense=False))
    sums.cut(end)
    sums.extend(counted(others[end:], dense=True))

    expected = minutes[:end] + others[end:]
    of = sums.between(0, LENGTH)
    assert counts_above(of, -200).tolist() == [len(one) for one in expected]
    first = sums.between(0, end)
    assert first.buckets.tolist() == [one for each in minutes[:end] for one in each]


def test_requests_in_their_order_are_entries_until_they_are_many_more_than_buckets():
    n = np.array([3, 0, 400])
    buckets = np.array([5, 4, 5, *([4] * 150), *([5] * 250)], dtype=np.int16)

    few = Buckets.counted(n[:2], buckets[:3], 4, 2)
    assert (few.times, few.until.tolist()) == (None, [3, 3])

    many = Buckets.counted(n, buckets, 4, 2)
    assert many.until.tolist() == [2, 2, 4]
    assert many.buckets.tolist() == [4, 5, 4, 5]
    assert many.times is not None
    assert many.times.tolist() == [1, 2, 150, 250]
