"""Episodes that are live, in memory: most of what an ingest would read was written by the ingests just before.

They are what the database has for as long as a rollout's ingest sequence is the one that was left here, for whoever
changes an episode raises it. One who ingests takes a rollout's out and gives them back after its commit: where that
fails, or another ingested meanwhile, the database is asked again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING, Final

from controller.rollout.counting.items import HEARD_US, Episode

if TYPE_CHECKING:
    from controller.store.ingest import Reach

MOST_UNITS: Final = 50_000
"""Of all rollouts together; one takes some 600 bytes."""
SLACK_US: Final = 2 * HEARD_US
"""By how much a request may be earlier than those before it and its unit still be known."""

_heard = attrgetter("heard")


@dataclass(slots=True)
class Units:
    """Of one rollout the units whose episodes are known."""

    seq: int = -1  # the ingest sequence at which they are
    swept: int = 0  # in microseconds
    _known: dict[str, _Unit] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._known)

    def unknown(self, reach: Reach) -> list[str]:
        """The units of which the database may have more."""
        known, low, active = self._known.get, reach.low, reach.active
        return [
            unit
            for unit in reach.units
            if (one := known(unit)) is None or one.low > low or one.active > active
        ]

    def learn(self, reach: Reach, episodes: Iterable[Episode]) -> None:
        """Take in all that the database has of a reach."""
        for unit in reach.units:
            self._known[unit] = _Unit(reach.low, reach.active)
        for episode in episodes:
            self._known[episode.unit].episodes.append(episode)

    def begin(self, episode: Episode) -> None:
        """Take in a new one."""
        known = self._known.get(episode.unit)
        if known is not None:
            known.episodes.append(episode)

    def episodes(self, units: Iterable[str]) -> list[Episode]:
        known = self._known
        return [episode for unit in units for episode in known[unit].episodes]

    def sweep(self, active: int) -> None:
        """Forget who was not heard at this moment or later; seldom, for all are looked at."""
        if active < self.swept + HEARD_US:
            return
        self.swept = active
        self._known = {
            unit: one
            for unit, one in self._known.items()
            if one.episodes and max(map(_heard, one.episodes)) >= active - SLACK_US
        }


@dataclass(slots=True)
class _Unit:
    """Its episodes that start at `low` or later and were heard at `active` or later, and perhaps others."""

    low: int
    active: int
    episodes: list[Episode] = field(default_factory=list)


class Live:
    """What is known of every rollout, as far as there is room: whose was used longest ago goes first."""

    def __init__(self, room: int = MOST_UNITS) -> None:
        self._room = room  # units
        self._rollouts: OrderedDict[str, Units] = OrderedDict()
        self._lock = Lock()

    def take(self, rollout: str, seq: int) -> Units:
        """What is known of a rollout at this ingest sequence; nobody else has it until it is given back."""
        with self._lock:
            found = self._rollouts.pop(rollout, None)
            if found is not None:
                self._room += len(found)
        return found if found is not None and found.seq == seq else Units()

    def give_back(self, rollout: str, units: Units) -> None:
        with self._lock:
            before = self._rollouts.pop(rollout, None)  # of another who ingested meanwhile
            self._room += 0 if before is None else len(before)
            self._rollouts[rollout] = units
            self._room -= len(units)
            while self._room < 0:
                _, gone = self._rollouts.popitem(last=False)
                self._room += len(gone)
