"""Which controller leads, and what it may do while it does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """Who leads, as the one row about it says.

    `holder` is empty where nobody does: before the first, and after one that resigned. `fence` is the one that was
    taken with the lead. `beat` rises with every renewal. `term` is how long the lead lasts without one; the holder
    chose it.
    """

    holder: str
    fence: int
    beat: int
    term: timedelta


class LeadershipStore(Protocol):
    """The lease by which one controller leads. It holds no moment of time: every contender counts on its own clock."""

    def leadership(self) -> Leadership:
        """The row as it is. Cheap."""
        ...

    def take_lead(self, seen: Leadership, *, holder: str, term: timedelta) -> Leadership:
        """Lead from now on, under a fence higher than every one before; lower ones are refused from now on.

        Compare-and-set: Conflict, and nothing changes, unless the row is still what was seen. Whether it may be taken
        is for the caller to know (`controller.reconcile.lead`).
        """
        ...

    def renew_lead(self, held: Leadership) -> Leadership:
        """Raise the beat. Conflict if holder and fence are not in the row any more. Never waits for an ingest."""
        ...

    def resign_lead(self, held: Leadership) -> None:
        """Leave it to whoever comes next; harmless if it was lost."""
        ...


class Mandate(Protocol):
    """A controller's permission to act: to tick, to grant, to send. Once it is gone it does not come back.

    It is asked before every act, and after those that take long. What is under way when it ends, the fence refuses.
    """

    def holds(self) -> bool:
        """Whether one may act at this moment. Cheap; asks nobody."""
        ...

    def revoke(self, why: str) -> None:
        """It was learnt that another controller leads: nothing more is done under this one."""
        ...


class Ending(Protocol):
    """Whether it is time to end: an event, or a reason of another kind."""

    def is_set(self) -> bool:
        """Once it is, it stays so."""
        ...


class Unrivalled:
    """The mandate of a controller that is alone with its store (in memory, say), until it learns otherwise."""

    def __init__(self) -> None:
        self._rival = ""

    def holds(self) -> bool:
        return not self._rival

    def revoke(self, why: str) -> None:
        self._rival = why
