"""Sending beside the controller's loop, which only wakes it: no decision ever waits for a notifier.

One thread sees what is due and starts another for each destination that is free, so that destinations do not wait for
each other either. What is sent is a matter of `Sender` alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

import structlog

from controller.clock import elapsed
from controller.errors import Unreachable
from controller.notify.sender import Sender
from controller.rollout.destinations import kind_of

POLL_S: Final = 1.0  # how soon what another process owes is noticed, and a wait that is over
GRACE_S: Final = 10.0  # how long the end waits for what is on its way
MOST_OF_A_KIND: Final = 8  # destinations of one kind that are sent to at a time
_SOONEST_S: Final = 0.02

_log = structlog.get_logger(__name__)


class Sending:
    """Runs a `Sender` in threads of its own from `start` to `stop`. A thread that hangs dies with the process: what it
    was sending is found in doubt by the next one, and looked up."""

    def __init__(self, sender: Sender, *, poll_s: float = POLL_S, grace_s: float = GRACE_S) -> None:
        self._sender = sender
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._busy: set[str] = set()
        self._woken = False
        self._stopping = False
        self._ended = False  # nothing is begun from here on
        self._signal = threading.Condition()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send what is owed; harmless if it was begun."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="notices", daemon=True)
            self._watcher.start()

    def wake(self) -> None:
        """Something may be owed: look at once. From any thread; never waits for anybody."""
        with self._signal:
            self._woken = True
            self._signal.notify_all()

    def stop(self) -> None:
        """Send what is due and can be sent, for at most the time of grace; then begin nothing more."""
        with self._signal:
            self._stopping = True
            self._signal.notify_all()
        if self._watcher is not None:
            self._watcher.join(self._grace_s)
        with self._signal:
            self._ended = True

    def _watch(self) -> None:
        while not self._stopping:
            self._begin()
            with self._signal:
                if not (self._woken or self._stopping):
                    self._signal.wait(self._pause_s())
                self._woken = False
        until = elapsed() + self._grace_s
        while (self._begin() or self._busy) and elapsed() < until:
            with self._signal:
                self._signal.wait(min(self._poll_s, _SOONEST_S))

    def _pause_s(self) -> float:
        opens = self._sender.opens_in()
        return (
            self._poll_s
            if opens is None
            else min(self._poll_s, max(opens.total_seconds(), _SOONEST_S))
        )

    def _begin(self) -> bool:
        """Start on every destination that is due and free; whether there was one."""
        try:
            due = self._sender.due()
        except Unreachable as error:
            _log.warning("store_unreachable", error=str(error))
            return False
        except Exception:
            # The thread's top: what is owed stays owed, and the next look may find it mended.
            _log.exception("send_failed")
            return False
        begun = [one for one in due if self._claim(one)]
        for destination in begun:
            threading.Thread(
                target=self._send, args=(destination,), name=f"notices {destination}", daemon=True
            ).start()
        return bool(begun)

    def _claim(self, destination: str) -> bool:
        with self._signal:
            of_its_kind = Counter(map(kind_of, self._busy))[kind_of(destination)]
            if self._ended or destination in self._busy or of_its_kind >= MOST_OF_A_KIND:
                return False
            self._busy.add(destination)
            return True

    def _send(self, destination: str) -> None:
        try:
            self._sender.send_to(destination)
        except Unreachable as error:
            _log.warning("store_unreachable", error=str(error))
        except Exception:
            # The thread's top: a defect in one notice must not end the sending of the others.
            _log.exception("send_failed", destination=destination)
        finally:
            with self._signal:
                self._busy.discard(destination)
                if self._stopping:
                    self._signal.notify_all()
