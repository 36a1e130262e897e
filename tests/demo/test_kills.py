"""A demonstration whose controller and gateway are killed again and again, at random moments, goes on as if not."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from controller.demo.clock import FileClock
from controller.demo.place import START, Place
from tests.demo.aftermath import Ledger, Told, beyond_what_was_committed, flips, told

KILLS = 50  # of each
PARTS = ("controller", "gateway")
UP_S = (0.05, 0.6)  # how long a part may live between two kills, beside its start
SEED = 20261121


class Killer:
    """Kills parts of a demonstration by the pids that it writes down."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()

    def until_it_ends(self, director: subprocess.Popen[str], deadline: float) -> None:
        while director.poll() is None and time.monotonic() < deadline:
            time.sleep(self._random.uniform(*UP_S))
            part = self._random.choice(PARTS)
            if self.kills[part] < KILLS:
                self._kill(part)

    def _kill(self, part: str) -> None:
        """Only one that has come up: a process that is killed before it is there proves nothing."""
        try:
            pid = int(self._place.pid(part).read_text())
            if not (self._leads(pid) if part == "controller" else _listens(pid)):
                return
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ValueError, ProcessLookupError, sqlite3.OperationalError):
            return
        self.kills[part] += 1

    def _leads(self, pid: int) -> bool:
        """Whether a controller leads: one that waits for the term of the one before is not there yet."""
        file = self._place.database.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
            (holder,) = database.execute("SELECT holder FROM leadership").fetchone()
        return str(holder).split(":")[1:2] == [str(pid)]


def _listens(pid: int) -> bool:
    """Whether a process has a socket open."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        return any("socket:" in str(one.readlink()) for one in folder.iterdir())
    except OSError:
        return False


def conserved(story: Told, ledger: Ledger, last_minute: int) -> None:
    """Whatever was answered is counted once; what is counted beside it was under way when a process was killed."""
    stored = Counter(row["id"] for row in ledger.observations())
    claimed = {name for name, one in story.answered.items() if one["arm"] is not None}
    assert max(stored.values()) == 1
    assert claimed <= stored.keys()
    assert stored.keys() - claimed <= story.lost.keys()
    by_arm = Counter((row["rollout"], row["arm"]) for row in ledger.observations())
    assert ledger.counted() == by_arm
    assert ledger.outcome_fates() == story.graded(last_minute)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_demonstration_survives_fifty_kills_of_each_process(tmp_path: Path):
    kills: Counter[str] = Counter()
    for run in range(4):
        place = Place(tmp_path / f"run{run}")
        director = subprocess.Popen(
            [sys.executable, "-m", "controller.cli.main", "demo", "--dir", str(place.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        killer = Killer(place, SEED + run)
        killer.until_it_ends(director, time.monotonic() + 400)
        said, _ = director.communicate(timeout=60)
        kills += killer.kills

        assert director.returncode == 0, said  # `audit verify` is part of it
        _check(place)
        if all(kills[part] >= KILLS for part in PARTS):
            break
    assert all(kills[part] >= KILLS for part in PARTS), kills


def _last_minute(place: Place) -> int:
    clock = FileClock(place.clock)
    minute = (clock.now() - START) // timedelta(minutes=1)
    clock.close()
    return minute


def _check(place: Place) -> None:
    story, ledger = told(place), Ledger(place)
    try:
        assert ledger.phases() == {"support-bot": "complete", "product-search": "rolled_back"}
        assert story.refused == []
        assert set(story.lost.values()) <= story.keys.keys()  # asked again, and answered
        assert max(story.keys.values()) == 1
        conserved(story, ledger, _last_minute(place))
        assert list(beyond_what_was_committed(ledger)) == []
        assert list(flips(ledger)) == []
    finally:
        ledger.close()
