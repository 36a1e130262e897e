"""In which stretches of a simulated rollout the candidate had a share: its split was in force in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from controller.rollout.evidence.force import InForceTime, Stretch


@dataclass(slots=True)
class Shifting:
    """Stretches that are over, and when the present one began; None: there is none."""

    _over: list[Stretch] = field(default_factory=list)
    _since: datetime | None = None

    def change(self, at: datetime, *, shifts: bool) -> None:
        """From a moment on the candidate has a share, or none."""
        if shifts and self._since is None:
            self._since = at
        elif not shifts and self._since is not None:
            self._over.append((self._since, at))
            self._since = None

    def until(self, now: datetime) -> InForceTime:
        present = [] if self._since is None else [(self._since, now)]
        return InForceTime([*self._over, *present])
