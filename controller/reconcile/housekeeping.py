"""What is due about once a day: letting go of raw rows that are older than the retention."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from controller.clock import Clock
from controller.ports import Pruned, Store

EVERY: Final = timedelta(days=1)
AGAIN: Final = timedelta(hours=1)  # after a failure

log = structlog.get_logger(__name__)


class Housekeeping:
    """Looked at in every turn of the loop; mostly it is not due. Each look does a part of the work: none takes long."""

    def __init__(self, store: Store, clock: Clock, *, keep: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep
        self._due: datetime | None = None
        self._begun: datetime | None = None  # of the work under way: all its parts have one floor

    def look(self) -> None:
        """Do a part of what is due. Unreachable, and it is tried again later."""
        now = self._clock.now()
        if self._due is not None and now < self._due:
            return
        self._due = now + AGAIN
        begun = self._begun = self._begun or now
        pruned = self._store.prune(begun - self._keep, begun)
        if _rows(pruned):
            log.info("pruned", floor=pruned.floor.isoformat(), **_rows(pruned))
        if pruned.finished:
            self._begun, self._due = None, now + EVERY
        else:
            self._due = now


def _rows(pruned: Pruned) -> dict[str, int]:
    counts = {
        "observations": pruned.observations,
        "outcomes": pruned.outcomes,
        "pairs": pruned.pairs,
        "episodes": pruned.episodes,
        "labels": pruned.labels,
        "by_people": pruned.by_people,
    }
    return {kind: count for kind, count in counts.items() if count}
