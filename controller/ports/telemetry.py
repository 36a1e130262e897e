"""Who is told what the controller does, and who can be woken."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from controller.ports.rollouts import Head
from controller.ports.target import Standing
from controller.rollout.observation import Ingested
from controller.rollout.record import Record, Sealed
from controller.rollout.status import Status


class Ticked(StrEnum):
    """How one tick ended."""

    HELD = "held"  # nothing to decide
    DECIDED = "decided"  # a record was committed
    OVERTAKEN = "overtaken"  # somebody else committed first
    UNREACHABLE = "unreachable"  # the database or a target did not answer
    FAILED = "failed"  # a defect


class Telemetry:
    """Is told what the controller does, as it does it: for metrics, probes and log lines. This one does nothing.

    No call raises, blocks or decides anything; they come from any thread.
    """

    def turned(self) -> None:
        """The worker came round: it is not stuck."""

    def running(self, rollouts: Iterable[str]) -> None:
        """These are ticked from now on; what is known of others is out of date."""

    def ticked(self, rollout: str, ended: Ticked, *, took_s: float, waited_s: float | None) -> None:
        """A tick ended. `waited_s`: from the wake that it answered to its end; None if its minute had come."""

    def decided(self, record: Sealed[Record], *, took_s: float) -> None:
        """A decision was committed, so long after its tick began."""

    def judged(self, head: Head, status: Status, standing: Standing | None) -> None:
        """What a tick saw, and what its target said; None where that could not be had."""

    def ingested(self, received: Ingested) -> None:
        """A batch was counted."""

    def refused(self, lines: int) -> None:
        """Lines that can never be counted were sent."""

    def scheduled(self, job: str, what: str) -> None:
        """A job of the scheduler did not run as it should: missed, overrun or failed."""

    def delivered(self, destination: str, *, failed: bool) -> None:
        """A notice was handed to a destination, or could not be."""

    def database_failed(self) -> None:
        """The database did not answer a call."""


UNTOLD = Telemetry()


class Wakeable(Protocol):
    """Something that can be told that a rollout should be judged now rather than at the next minute."""

    def wake(self, rollouts: Iterable[str]) -> None: ...
