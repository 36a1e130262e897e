"""The units that are live on this gateway, or were, and their arms: a raised share is for those that come later.

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

from controller.rollout.counting.items import IDLE, LONGEST
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
    """One unit's arm, the split version under which it got it, and from when to when it was heard (milliseconds).

    `written` is what the journal says of `last`: up to a part of the half hour earlier.
    """

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
        self._torn = False
        self._unkept = 0
        self.forgotten = 0
        self._load(_ms(now))
        self._journal = self._rewritten()

    def __len__(self) -> int:
        return len(self._units)

    def find(self, point: int, now: datetime) -> LiveUnit | None:
        """The unit if it is live."""
        unit = self._units.get(point)
        return unit if unit is not None and _lives(unit, _ms(now)) else None

    def is_known(self, point: int, version: int) -> bool:
        """Whether the unit, live or not, got its arm under this split before: it is not counted as assigned again."""
        unit = self._units.get(point)
        return unit is not None and unit.version == version

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
            self._write(point, unit)

    def close(self) -> None:
        os.close(self._journal)

    def _shrink(self, now: int) -> None:
        """Let go of those that were silent longest, where there are too many."""
        while len(self._units) > self._most:
            oldest = next(iter(self._units))
            live = _lives(self._units.pop(oldest), now)
            self.forgotten += live
            if live and self.forgotten == 1:
                _log.warning("live_units_full", most=self._most)

    def _write(self, point: int, unit: LiveUnit) -> None:
        """Never raises: a disk that is full must not keep an answer back; the unit is then known until a restart."""
        unit.written = unit.last
        # Half a line must not spoil the next one.
        line = b"\n" * self._torn + _line(point, unit)
        try:
            self._torn = os.write(self._journal, line) < len(line)
            self._lines += 1
            if self._lines > 2 * len(self._units) + 10_000:
                full, self._journal = self._journal, self._rewritten()
                os.close(full)
        except OSError as error:
            self._unkept += 1
            if self._unkept.bit_count() == 1:  # told, but not a line for every request
                _log.error("live_units_not_kept", units=self._unkept, error=str(error))

    def _rewritten(self) -> int:
        """A journal of what is known, in the place of the old one; open for more."""
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
                read = _read(line)
                if read is not None:
                    found[read[0]] = read[1]
        for unit in found.values():
            # It may have been heard after that was last written.
            unit.last = max(unit.last, min(unit.last + _STALE_MS, now))
        self._units = dict(sorted(found.items(), key=lambda one: one[1].last)[-self._most :])


def _lives(unit: LiveUnit, now: int) -> bool:
    return now - unit.last < _IDLE_MS and now - unit.start < _LONGEST_MS


def _line(point: int, unit: LiveUnit) -> bytes:
    return f'[{point},"{unit.arm.value[0]}",{unit.version},{unit.start},{unit.written}]\n'.encode()


def _read(line: bytes) -> tuple[int, LiveUnit] | None:
    """None for a line that was cut off when the process ended."""
    try:
        point, arm, version, start, last = json.loads(line)
        return int(point), LiveUnit(_ARMS[arm], int(version), int(start), int(last), int(last))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // _MILLISECOND
