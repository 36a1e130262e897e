"""Units that live on a gateway: for how long, how many, and what a restart leaves of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.gateway.live import LiveUnit, LiveUnits
from controller.rollout.counting.items import IDLE, LONGEST
from controller.rollout.plan import Arm
from tests.gateway.factories import DISK, full_disk
from tests.traffic.factories import NOW, SECOND

MINUTE = timedelta(minutes=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "live.jsonl"


def live(units: LiveUnits, point: int, now: datetime) -> LiveUnit:
    """A unit that is live."""
    unit = units.find(point, now)
    assert unit is not None
    return unit


def touched(units: LiveUnits, point: int, now: datetime) -> None:
    units.touch(point, live(units, point, now), now)


def test_a_unit_lives_until_it_was_silent_for_half_an_hour(file):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 7, NOW)

    assert live(units, 1, NOW + IDLE - SECOND).arm is Arm.CANDIDATE
    assert live(units, 1, NOW + IDLE - SECOND).version == 7
    assert units.find(1, NOW + IDLE) is None


def test_a_unit_that_is_heard_again_lives_on_but_never_longer_than_a_day(file):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 7, NOW)
    at = NOW
    while at + 20 * MINUTE < NOW + LONGEST:
        at += 20 * MINUTE
        touched(units, 1, at)

    assert units.find(1, NOW + LONGEST - SECOND) is not None
    assert units.find(1, NOW + LONGEST) is None


def test_a_clock_that_goes_back_kills_nobody(file):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 7, NOW)
    touched(units, 1, NOW - MINUTE)

    assert units.find(1, NOW - MINUTE) is not None
    assert units.find(1, NOW + IDLE - SECOND) is not None


@pytest.mark.parametrize("late", [4 * MINUTE, 5 * MINUTE, 20 * MINUTE])
def test_a_unit_that_lives_keeps_its_arm_over_a_restart_whenever_it_was_last_heard(file, late):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 7, NOW)
    touched(units, 1, NOW + late)
    units.close()

    again = LiveUnits(file, NOW + late + IDLE - SECOND)

    unit = live(again, 1, NOW + late + IDLE - SECOND)
    assert (unit.arm, unit.version) == (Arm.CANDIDATE, 7)
    assert again.find(2, NOW) is None


def test_restarts_alone_keep_nobody_alive(file):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 7, NOW)
    units.close()
    for minutes in range(0, 40, 3):
        units = LiveUnits(file, NOW + minutes * MINUTE)
        units.close()

    assert units.find(1, NOW + 39 * MINUTE) is None


def test_a_conversation_costs_a_line_or_two_and_not_one_a_request(file):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.BASELINE, 1, NOW)
    for second in range(600):
        touched(units, 1, NOW + second * SECOND)

    assert len(file.read_bytes().splitlines()) == 2


def test_the_last_line_of_a_unit_counts(file):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 1, NOW)
    units.put(1, Arm.BASELINE, 2, NOW + SECOND)
    units.close()

    unit = live(LiveUnits(file, NOW + SECOND), 1, NOW + SECOND)

    assert (unit.arm, unit.version) == (Arm.BASELINE, 2)


@pytest.mark.parametrize(
    "line",
    [b'[2,"c",1', b"", b"\xff", b"{}", b'[2,"x",1,1,1]', b"[2,[],1,1,1]", b"[1e999,1,1,1,1]"],
)
def test_a_line_that_was_cut_off_or_is_none_is_skipped(file, line):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 1, NOW)
    units.close()
    with file.open("ab") as journal:
        journal.write(line)

    again = LiveUnits(file, NOW)
    again.put(3, Arm.BASELINE, 1, NOW)
    again.close()

    assert len(LiveUnits(file, NOW)) == 2


def test_beyond_the_most_the_longest_silent_are_forgotten_and_counted(file):
    units = LiveUnits(file, NOW, most=3)
    for point in range(4):
        units.put(point, Arm.CANDIDATE, 1, NOW + point * SECOND)
        touched(units, 0, NOW + point * SECOND)

    assert units.forgotten == 1
    assert [point for point in range(4) if units.find(point, NOW + 4 * SECOND)] == [0, 2, 3]


def test_the_dead_make_room_and_are_not_counted_as_forgotten(file):
    units = LiveUnits(file, NOW, most=2)
    for point in range(2):
        units.put(point, Arm.CANDIDATE, 1, NOW)
    units.put(2, Arm.CANDIDATE, 1, NOW + IDLE)

    assert (len(units), units.forgotten) == (2, 0)
    assert units.find(2, NOW + IDLE) is not None


def test_a_unit_that_ended_is_known_by_the_split_under_which_it_got_its_arm_also_after_a_restart(
    file,
):
    units = LiveUnits(file, NOW)
    units.put(1, Arm.CANDIDATE, 7, NOW)
    units.close()

    again = LiveUnits(file, NOW + 2 * IDLE)

    assert again.find(1, NOW + 2 * IDLE) is None
    assert again.is_known(1, 7)
    assert not again.is_known(1, 8)
    assert not again.is_known(2, 7)


def test_the_journal_does_not_grow_for_ever(file):
    units = LiveUnits(file, NOW, most=10)
    for point in range(25_000):
        units.put(point, Arm.CANDIDATE, 1, NOW)

    assert len(file.read_bytes().splitlines()) < 11_000
    units.close()
    assert LiveUnits(file, NOW, most=10).find(24_999, NOW) is not None


def test_a_disk_that_takes_nothing_keeps_no_answer_back(file):
    units = LiveUnits(file, NOW)
    with full_disk():
        for point in range(5_000):
            units.put(point, Arm.CANDIDATE, 1, NOW)
    units.put(5_000, Arm.BASELINE, 1, NOW)
    units.close()

    assert file.stat().st_size > DISK
    assert live(units, 4_999, NOW).arm is Arm.CANDIDATE
    again = LiveUnits(file, NOW)
    assert live(again, 0, NOW).arm is Arm.CANDIDATE
    assert live(again, 5_000, NOW).arm is Arm.BASELINE  # not spoilt by the half line before it
