"""Faults on real processes: two controllers, a gateway's link, a PostgreSQL with a synchronous standby. Invariant 7.

However they come, each rollout takes the steps that it takes without them, once and in order; its records are whole and
replay; its notices are delivered; and its gateway never has more than was committed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.faults.replicated import Replicated
from tests.faults.schedules import Findings, Schedule, check, check_world
from tests.faults.team import Team
from tests.postgres import cluster

SEED = 20261121
_log = structlog.get_logger(__name__)
WORLDS, IN_EACH = 25, 8  # 200 schedules


@pytest.fixture(scope="module")
def databases() -> Iterator[Replicated]:
    one = Replicated(cluster()._bindir)
    yield one
    one.close()


def play(
    folder: Path, databases: Replicated, number: int, schedules: list[Schedule], findings: Findings
) -> None:
    """Some schedules, one after the other, on one world; of three worlds two have clocks that are wrong."""
    folder.mkdir()
    rng = random.Random(f"{SEED}/{number}")

    async def world() -> None:
        team = Team(folder, databases, rng, skewed=number % 3 != 0)
        async with team.running():
            for schedule in schedules:
                began = time.monotonic()
                try:
                    rollout = await schedule.run(team)
                    check(team, schedule, rollout, findings)
                except BaseException as error:
                    error.add_note(f"world {number}, {schedule}, folder {folder}")
                    raise
                _log.info("schedule", of=str(schedule), took_s=round(time.monotonic() - began, 1))
            check_world(team, findings)

    asyncio.run(world())


def test_without_faults(tmp_path: Path, databases: Replicated):
    findings = Findings()
    schedules = [Schedule(number, bad, ()) for number, bad in enumerate((False, True))]

    play(tmp_path / "world", databases, 0, schedules, findings)

    assert (findings.schedules, findings.repeated, findings.expiries) == (2, 0, 0)


@pytest.mark.timeout(180)
def test_a_handful_of_schedules(tmp_path: Path, databases: Replicated):
    findings = Findings()
    schedules = [
        Schedule(0, False, ((20, "kill_leader"),)),
        Schedule(1, True, ((17, "halt_leader"),)),
        Schedule(2, False, ((12, "fail_over"),)),
    ]

    play(tmp_path / "world", databases, 1, schedules, findings)

    assert findings.schedules == len(schedules)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_schedules(tmp_path: Path, databases: Replicated):
    findings = Findings()
    began = time.monotonic()
    for world in range(WORLDS):
        rng = random.Random(f"{SEED}/schedules/{world}")
        first = world * IN_EACH
        schedules = [Schedule.drawn(number, rng) for number in range(first, first + IN_EACH)]
        play(tmp_path / f"world{world}", databases, world, schedules, findings)

    _log.info("schedules", found=str(findings), took_s=round(time.monotonic() - began))
    assert findings.schedules >= 200
