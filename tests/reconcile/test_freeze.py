"""When a freeze holds: by dates, and by a schedule with a duration in its own time zone."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.reconcile.freeze import active_freeze, next_begin, thawed
from controller.rollout.plan import Freeze

WEEKEND = Freeze(cron="0 18 * * fri", duration=timedelta(hours=62), zone="Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_dates_are_half_open():
    freeze = Freeze(start=utc("2026-12-20T00:00"), end=utc("2027-01-02T00:00"), reason="year end")

    held = [
        active_freeze([freeze], utc(at))
        for at in (
            "2026-12-19T23:59",
            "2026-12-20T00:00",
            "2027-01-01T23:59",
            "2027-01-02T00:00",
        )
    ]

    assert held == [None, "year end", "year end", None]


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        # Friday 18:00 in Berlin is 17:00 UTC in winter and 16:00 UTC in summer; 62 hours later is Monday 08:00.
        ("2026-11-20T16:59", False),
        ("2026-11-20T17:00", True),
        ("2026-11-22T12:00", True),
        ("2026-11-23T06:59", True),
        ("2026-11-23T07:00", False),
        ("2026-07-17T15:59", False),
        ("2026-07-17T16:00", True),
    ],
)
def test_a_schedule_holds_from_its_start_for_its_duration_in_its_own_zone(at, holds):
    assert (active_freeze([WEEKEND], utc(at)) is not None) is holds


def test_starts_that_come_sooner_than_the_duration_hold_without_a_gap():
    hourly = Freeze(cron="0 * * * *", duration=timedelta(hours=1), reason="always")

    assert all(
        active_freeze([hourly], utc("2026-11-20T00:00") + timedelta(minutes=17 * i))
        for i in range(200)
    )


def test_the_first_freeze_that_holds_is_named():
    quiet = Freeze(start=utc("2030-01-01T00:00"), end=utc("2030-02-01T00:00"), reason="far away")

    assert active_freeze([quiet, WEEKEND], utc("2026-11-21T00:00")) == "0 18 * * fri"


FRIDAY = utc("2026-11-20T00:00")


@pytest.mark.parametrize(
    ("at", "free"),
    [
        ("2026-11-20T16:59", "2026-11-20T16:59"),
        ("2026-11-20T17:00", "2026-11-23T07:00"),
        ("2026-11-23T06:59", "2026-11-23T07:00"),
        # The clocks go back in this weekend: 62 hours from Friday 16:00 UTC.
        ("2026-10-24T12:00", "2026-10-26T06:00"),
    ],
)
def test_what_a_schedule_freezes_thaws_when_its_duration_is_over(at, free):
    assert thawed([WEEKEND], utc(at), FRIDAY + timedelta(days=30)) == utc(free)


def test_overlapping_freezes_thaw_together():
    dated = Freeze(start=utc("2026-11-23T06:00"), end=utc("2026-11-23T09:30"))

    assert thawed([WEEKEND, dated], utc("2026-11-21T00:00"), utc("2026-12-01T00:00")) == dated.end


@pytest.mark.parametrize(
    "freeze",
    [
        Freeze(cron="0 * * * *", duration=timedelta(hours=1)),
        Freeze(cron="*/20 * * * *", duration=timedelta(minutes=30)),
        Freeze(start=utc("2026-11-01T00:00")),
    ],
)
def test_what_never_thaws_is_told_as_the_end_of_what_was_asked(freeze):
    assert thawed([freeze], FRIDAY, FRIDAY + timedelta(days=2)) == FRIDAY + timedelta(days=2)


def test_the_next_freeze_is_the_first_that_begins_later_even_within_another():
    dated = Freeze(start=utc("2026-11-21T00:00"), end=utc("2026-11-22T00:00"))
    begins = [
        next_begin([WEEKEND, dated], utc(at))
        for at in ("2026-11-20T16:59", "2026-11-20T17:00", "2026-11-21T00:00")
    ]

    assert begins == [
        utc(at) for at in ("2026-11-20T17:00", "2026-11-21T00:00", "2026-11-27T17:00")
    ]
    assert next_begin([dated], utc("2026-11-21T00:00")) is None
