"""A notifier in memory: for tests, simulations and the demo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from controller.notify.sender import Busy
from controller.notify.words import Message, words
from controller.ports import Owed
from controller.rollout.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One delivery, with the words that a person would have read."""

    owed: Owed
    message: Message


class MemoryNotifier:
    """Keeps what it delivers, in order. `fail` makes it unreachable for a number of attempts."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.attempts = 0
        self._failures: list[timedelta] = []

    def fail(self, times: int, *, wait: timedelta = timedelta(0)) -> None:
        """The next `times` attempts raise Busy (an Unreachable), each with this wait."""
        self._failures += [wait] * times

    def send(self, owed: Owed, plan: Plan) -> None:
        self.attempts += 1
        if self._failures:
            raise Busy("the notifier in memory was told to fail", wait=self._failures.pop(0))
        self.sent.append(Sent(owed=owed, message=words(owed.notice, plan, owed.rollout)))

    @property
    def messages(self) -> list[Message]:
        return [one.message for one in self.sent]
