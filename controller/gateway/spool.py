"""What the controller has not counted yet, on disk: JSON lines in segments, oldest first.

A line is written before the answer that it is about has left whole, so an answered request is counted even if the
process is killed right after. Lines are in the operating system's hands then, not on the platter: a power cut loses
the last few. Delivered lines go at segment's granularity; what is sent twice after a restart is counted once, by id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

SEGMENT: Final = 8 * 1024 * 1024
BATCH: Final = 512 * 1024
RESENT: Final = 1024 * 1024
"""A segment that was delivered goes from this size on; a smaller one is sent again after a restart, to no effect."""
MOST: Final = 1024 * 1024 * 1024
"""Bytes on disk. At some 600 bytes a request that is 1.7 million requests: 100 minutes at 300 a second."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Segment:
    path: Path
    size: int
    sent: int = 0  # up to here it was delivered


@dataclass(frozen=True, slots=True)
class Parcel:
    """Whole lines from one segment, to be delivered and then struck off."""

    lines: bytes
    segment: Path
    end: int


class Spool:
    """Append, take, strike off. One process at a time; `refused.jsonl` keeps what can never be counted.

    `most` bounds it in bytes. When it is full new lines are dropped and counted in `lost`: requests are answered all
    the same.
    """

    def __init__(self, folder: Path, *, most: int = MOST, segment: int = SEGMENT) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._most = most
        self._segment = segment
        self.lost = 0
        self._segments = deque(_left_over(folder))
        # What a killed process wrote last may be half a line, so nothing is appended to it.
        self._number = _number(self._segments[-1].path) if self._segments else 0
        self._out = -1
        self._torn = False  # the last segment ends in half a line
        self._begin()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._signal()

    @property
    def pending(self) -> int:
        """Bytes that were not delivered yet."""
        return sum(one.size - one.sent for one in self._segments)

    def append(self, line: bytes) -> None:
        """One line, with its end. Never raises: a disk that is full must not keep an answer back."""
        if self.pending + len(line) > self._most:
            self._lose("full")
            return
        try:
            if self._torn or self._segments[-1].size >= self._segment:
                self._begin()
            written = os.write(self._out, line)
        except OSError as error:
            self._lose(str(error))
            return
        self._segments[-1].size += written
        if written < len(line):
            # The next line would be the rest of it.
            self._torn = True
            self._lose("cut off")
        self._filled.set()
        self._emptied.clear()

    def take(self) -> Parcel | None:
        """The oldest lines that were not struck off; None if there are none."""
        while self._segments:
            first = self._segments[0]
            lines = self._read(first)
            if lines:
                return Parcel(lines, first.path, first.sent + len(lines))
            if len(self._segments) == 1:
                break
            # What is left of a segment that nobody writes any more is half a line.
            self._segments.popleft()
            first.path.unlink(missing_ok=True)
        self._signal()
        return None

    def strike(self, parcel: Parcel) -> None:
        """A parcel was delivered."""
        first = self._segments[0]
        if first.path == parcel.segment:
            first.sent = parcel.end
        if first.sent >= first.size >= RESENT and len(self._segments) == 1:
            # Where that cannot be, it goes when there is another.
            with contextlib.suppress(OSError):
                self._begin()
        if first.sent >= first.size and len(self._segments) > 1:
            self._segments.popleft()
            first.path.unlink(missing_ok=True)
        self._signal()

    def refuse(self, line: bytes, why: str) -> None:
        """Put a line aside that can never be counted, for a person to look at."""
        self.lost += 1
        file = self._folder / "refused.jsonl"
        _log.error("line_refused", why=why, kept_in=str(file))
        try:
            with file.open("ab") as out:
                out.write(line if line.endswith(b"\n") else line + b"\n")
        except OSError as error:
            _log.error("line_not_kept", line=line.decode(errors="replace"), error=str(error))

    async def filled(self) -> None:
        """Wait until there is something to take."""
        await self._filled.wait()

    async def emptied(self) -> None:
        """Wait until everything was delivered."""
        await self._emptied.wait()

    def close(self) -> None:
        os.close(self._out)
        last = self._segments[-1]
        if last.size == 0:
            last.path.unlink(missing_ok=True)

    def _read(self, segment: _Segment) -> bytes:
        """Up to a batch of whole lines after what was sent; more if one line is longer."""
        wanted = BATCH
        while True:
            with segment.path.open("rb") as source:
                source.seek(segment.sent)
                found = source.read(wanted)
            end = found.rfind(b"\n") + 1
            if end or len(found) < wanted:
                return found[:end]
            wanted *= 2

    def _begin(self) -> None:
        path = self._folder / f"{self._number + 1:010d}.jsonl"
        made = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        if self._out >= 0:
            os.close(self._out)
        self._out, self._torn = made, False
        self._number += 1
        self._segments.append(_Segment(path, 0))

    def _lose(self, why: str) -> None:
        self.lost += 1
        if self.lost.bit_count() == 1:  # 1, 2, 4, 8 …: told, but not a line for every request
            _log.error("spool_lost_lines", lost=self.lost, why=why)

    def _signal(self) -> None:
        if self.pending:
            self._filled.set()
            self._emptied.clear()
        else:
            self._filled.clear()
            self._emptied.set()


def _left_over(folder: Path) -> list[_Segment]:
    paths = sorted(one for one in folder.glob("*.jsonl") if one.stem.isdigit())
    return [_Segment(path, path.stat().st_size) for path in paths]


def _number(path: Path) -> int:
    return int(path.stem)
