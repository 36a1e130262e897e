"""A notifier in memory: for tests, simulations and the demo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.notify.failure import Undelivered
from controller.notify.words import Message, words
from controller.ports import Owed
from controller.rollout.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One delivery, with the words that a person would have read."""

    owed: Owed
    message: Message


class MemoryNotifier:
    """Keeps what it delivers, in order, and can be asked for it. `fail` makes attempts fail."""

    def __init__(self, *, pace: timedelta = timedelta(0), settle: timedelta = timedelta(0)) -> None:
        self.pace = pace
        self.settle = settle
        self.sent: list[Sent] = []
        self.attempts = 0
        self.refreshed: list[str] = []
        self._failures: list[Undelivered] = []

    def fail(
        self,
        times: int,
        *,
        wait: timedelta | None = None,
        doubtful: bool = False,
        lasting: bool = False,
        alone: bool = True,
    ) -> None:
        """The next `times` attempts fail; one that is `doubtful` delivers all the same."""
        said = "the notifier in memory was told to fail"
        failure = Undelivered(said, wait=wait, doubtful=doubtful, lasting=lasting, alone=alone)
        self._failures += [failure] * times

    def send(self, owed: Owed, plan: Plan) -> str:
        self.attempts += 1
        failure = self._failures.pop(0) if self._failures else None
        if failure is None or failure.doubtful:
            self.sent.append(Sent(owed=owed, message=words(owed.notice, plan, owed.rollout)))
        if failure is not None:
            raise failure
        return str(len(self.sent))

    def find(self, owed: Owed, plan: Plan) -> str | None:
        places = (place for place, one in enumerate(self.sent, 1) if one.owed.id == owed.id)
        return next(map(str, places), None)

    def refresh(self, destination: str, stale: datetime) -> None:
        self.refreshed.append(destination)

    @property
    def messages(self) -> list[Message]:
        return [one.message for one in self.sent]
