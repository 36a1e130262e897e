"""One time for several processes: a file that the director writes and everybody else reads.

Eight bytes, microseconds since 1970. It stands still while nobody moves it and outlives every process, so a
demonstration that was stopped goes on in the minute in which it was.
"""

from __future__ import annotations

import mmap
import struct
from datetime import datetime
from pathlib import Path
from typing import Final

from controller.rollout.counting.items import micros, moment_of

_MICROS: Final = struct.Struct("<q")
_SECOND: Final = 1_000_000


class FileClock:
    """The time in a file, as a `Clock`: wall clock and monotonic clock are one, and neither goes back."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _MICROS.size)

    @classmethod
    def begun(cls, file: Path, start: datetime) -> FileClock:
        """The clock in a file, which is made and set to `start` if it is not there."""
        if not file.exists():
            made = file.with_suffix(".new")
            made.write_bytes(_MICROS.pack(micros(start)))
            made.replace(file)
        return cls(file)

    def now(self) -> datetime:
        return moment_of(self._read())

    def monotonic(self) -> float:
        return self._read() / _SECOND

    def set(self, moment: datetime) -> None:
        """Move it forward; ValueError if that would be back. Only the director does."""
        at = micros(moment)
        if at < self._read():
            raise ValueError(
                f"the demonstration's time is {self.now()}, it cannot go back to {moment}"
            )
        self._map[: _MICROS.size] = _MICROS.pack(at)

    def save(self) -> None:
        """Have it on the disk, not just with the operating system."""
        self._map.flush()

    def close(self) -> None:
        self._map.close()

    def _read(self) -> int:
        return int(_MICROS.unpack(self._map[: _MICROS.size])[0])
