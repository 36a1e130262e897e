"""Time in force for one window and for many: the same answer."""

from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.evidence.force import InForceTime
from controller.rollout.timeline import minute_of
from tests.rollout.factories import NOW

START = minute_of(NOW)
seconds = st.integers(-1_000, 9_000)
stretches = st.lists(st.tuples(seconds, seconds).map(sorted), max_size=6)


@given(stretches, st.integers(1, 90), st.integers(-10, 60), st.integers(-20, 160))
def test_a_window_alone_is_complete_where_it_is_among_many(spans, window_min, epoch, end):
    held = InForceTime(
        [(NOW + timedelta(seconds=one), NOW + timedelta(seconds=other)) for one, other in spans]
    )

    alone = held.is_complete(START + end, window_min, START + epoch)

    ends = np.array([START + end, START + end + 1])
    assert alone == bool(held.complete(ends, window_min, START + epoch)[0])


def test_a_window_may_lack_two_minutes_and_no_more():
    held = InForceTime(
        [
            (NOW, NOW + timedelta(minutes=58)),
            (NOW + timedelta(minutes=60), NOW + timedelta(minutes=70)),
        ]
    )

    assert held.is_complete(START + 60, 60, START)
    assert held.is_complete(START + 61, 60, START)
    assert not held.is_complete(START + 59, 60, START)  # begins before the epoch
    short = InForceTime([(NOW, NOW + timedelta(minutes=57))])
    assert not short.is_complete(START + 60, 60, START)
