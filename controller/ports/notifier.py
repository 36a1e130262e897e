"""Who tells people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from controller.ports.rollouts import Owed
from controller.rollout.plan import Plan


class Notifier(Protocol):
    """Delivers notices to the destinations of one kind. Called in several threads, for each destination in one.

    `pace` is the least time between two sends to one destination. One of unknown fate is left alone for `settle`.
    """

    @property
    def pace(self) -> timedelta: ...

    @property
    def settle(self) -> timedelta: ...

    def send(self, owed: Owed, plan: Plan) -> str:
        """Deliver, and say what the receiver calls it. `plan` is the revision that the notice was decided under.

        Unreachable if it was not delivered: `controller.notify.failure.Undelivered` says what is known of it; of any
        other error nothing is, so the receiver may have it.
        """
        ...

    def find(self, owed: Owed, plan: Plan) -> str | None:
        """What the receiver calls it, if an earlier attempt of unknown fate did reach it.

        None if it did not, or if the receiver tells repeats apart by `Owed.id` itself: then it is sent (again).
        """
        ...

    def refresh(self, destination: str, stale: datetime) -> None:
        """Bring up to date what is shown of the present at a destination: one thread that is behind (`Store.threads`).

        Errors as for `send`.
        """
        ...
