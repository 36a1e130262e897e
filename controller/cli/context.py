"""What every command is handed: the world outside the process, as values."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TextIO, cast

import typer

from controller.clock import Clock, SystemClock

if TYPE_CHECKING:
    from controller.ports import Store
    from controller.settings import Settings
    from controller.wiring import Opening

DEBUG = "CANARY_DEBUG"
"""Set to 1, a defect shows its traceback; read by itself, because a defect may keep the settings from being read."""


@dataclass(kw_only=True)
class Context:
    """One invocation. Built in `main`; a test builds its own with a ManualClock and its own streams."""

    environ: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)
    wait: Callable[[float], object] = time.sleep
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    _closers: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(cls, ctx: typer.Context) -> Context:
        return cast(Context, ctx.obj)

    @cached_property
    def settings(self) -> Settings:
        from controller.settings import load_settings

        return load_settings(self.environ)

    def actor(self, given: str | None) -> str:
        return given or self.settings.actor

    def store(self) -> Store:
        """The store that the settings name; NotFound if nothing was ever applied to it."""
        from controller.wiring import Opening

        return self._open(Opening.PRESENT)

    def store_made(self) -> Store:
        """The same, made first if it is an embedded one that is missing."""
        from controller.wiring import Opening

        return self._open(Opening.CREATED)

    def store_upgraded(self) -> Store:
        """The same, made or brought to this release's schema first."""
        from controller.wiring import Opening

        return self._open(Opening.UPGRADED)

    def store_or_empty(self) -> Store:
        """The same, or an empty one to compare with if it is missing; nothing is made."""
        from controller.wiring import Opening

        return self._open(Opening.OR_EMPTY)

    def _open(self, opening: Opening) -> Store:
        from controller.wiring import open_store

        store = open_store(self.settings.database_url, opening)
        self._closers.append(store.close)
        return store

    def close(self) -> None:
        """Close what was opened; harmless if nothing was."""
        while self._closers:
            self._closers.pop()()

    def say(self, text: str) -> None:
        """A line for the person, never for the pipe."""
        # In one write: a log line of another thread on the same stream comes before or after it, never inside.
        self.stderr.write(f"{text}\n")
