"""The units that are live on this gateway, and their arms: a raised share is for those that come later.

A unit lives until it is silent for half an hour, or a day after it began; these are an episode's bounds. What is known
survives a restart in a journal of JSON lines, `[point, arm, version, start, last]`, in milliseconds; `last` is written
anew only when it has moved by a good part of the half hour, so a conversation costs a line or two, not one a request.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from controller.rollout.accounting_state import IDLE, LONGEST
from controller.rollout.plan import Arm
from controller.rollout.timeline import EPOCH

MOST: Final = 200_000
"""Units that are remembered, some 40 MiB; beyond it those that were silent longest are forgotten, and counted."""

_IDLE_MS: Final = IDLE // timedelta(milliseconds=1)
_LONGEST_MS: Final = LONGEST // timedelta(milliseconds=1)
_STALE_MS: Final = _IDLE_MS // 6
_MILLISECOND: Final = timedelta(milliseconds=1)
_ARMS: Final = {arm.value[0]: arm for arm in Arm}

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LiveUnit:
    """One unit's arm, the split version under which it got it, and from when to when it was heard (milliseconds)."""

    arm: Arm
    version: int
    start: int
    last: int
    written: int


class LiveUnits:
    """By a unit's point, which is a hash salted by its rollout: the same unit in two rollouts has two points."""

    def __init__(self, file: Path, now: datetime, *, most: int = MOST) -> None:
        self._file = file
        self._most = most
        self._units: dict[int, LiveUnit] = {}  # by when they were last heard, oldest first
        self._lines = 0
        self.forgotten = 0
        self._load(_ms(now))
        self._journal = self._rewritten()

    def __len__(self) -> int:
        return len(self._units)

    def find(self, point: int, now: datetime) -> LiveUnit | None:
        """The unit if it is live."""
        unit = self._units.get(point)
        return unit if unit is not None and _lives(unit, _ms(now)) else None

    def put(self, point: int, arm: Arm, version: int, now: datetime) -> None:
        """A unit begins, or begins anew, under a split."""
        at = _ms(now)
        self._units.pop(point, None)
        self._units[point] = unit = LiveUnit(arm, version, at, at, at)
        self._write(point, unit)
        self._shrink(at)

    def touch(self, point: int, unit: LiveUnit, now: datetime) -> None:
        """A live unit is heard again."""
        del self._units[point]
        self._units[point] = unit
        unit.last = max(unit.last, _ms(now))
        if unit.last - unit.written >= _STALE_MS:
            unit.written = unit.last
            self._write(point, unit)

    def close(self) -> None:
        os.close(self._journal)

    def _shrink(self, now: int) -> None:
        """Let go of the oldest while they are dead, or too many."""
        while self._units:
            oldest = next(iter(self._units))
            dead = not _lives(self._units[oldest], now)
            if not dead and len(self._units) <= self._most:
                return
            del self._units[oldest]
            self.forgotten += not dead
            if self.forgotten == 1 and not dead:
                _log.warning("live_units_full", most=self._most)

    def _write(self, point: int, unit: LiveUnit) -> None:
        os.write(self._journal, _line(point, unit))
        self._lines += 1
        if self._lines > 2 * len(self._units) + 10_000:
            os.close(self._journal)
            self._journal = self._rewritten()

    def _rewritten(self) -> int:
        """A journal of what is live, in the place of the old one; open for more."""
        made = self._file.with_suffix(".new")
        with made.open("wb") as out:
            out.writelines(_line(point, unit) for point, unit in self._units.items())
        made.replace(self._file)
        self._lines = len(self._units)
        return os.open(self._file, os.O_WRONLY | os.O_APPEND)

    def _load(self, now: int) -> None:
        if not self._file.exists():
            return
        found: dict[int, LiveUnit] = {}
        with self._file.open("rb") as lines:
            for line in lines:
                unit = _read(line)
                if unit is not None:
                    found[unit[0]] = unit[1]
        alive = [(point, unit) for point, unit in found.items() if _lives(unit, now)]
        self._units = dict(sorted(alive, key=lambda one: one[1].last)[-self._most :])


def _lives(unit: LiveUnit, now: int) -> bool:
    # What was last heard may be later than the journal says.
    heard = max(unit.last, unit.written)
    return now - heard < _IDLE_MS and now - unit.start < _LONGEST_MS


def _line(point: int, unit: LiveUnit) -> bytes:
    return f'[{point},"{unit.arm.value[0]}",{unit.version},{unit.start},{unit.last}]\n'.encode()


def _read(line: bytes) -> tuple[int, LiveUnit] | None:
    """None for a line that was cut off when the process ended."""
    try:
        point, arm, version, start, last = json.loads(line)
        return int(point), LiveUnit(_ARMS[arm], int(version), int(start), int(last), int(last))
    except (ValueError, KeyError, TypeError):
        return None


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // _MILLISECOND
