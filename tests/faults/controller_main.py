"""A controller's process under test: the real wiring on a story's clock, which its host reads with an error.

CANARY_DATABASE_URL=… python -m tests.faults.controller_main CLOCK PORT OFFSET_S TERM_S
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

from controller.clock import Clock
from controller.demo.clock import FileClock
from controller.demo.controller_process import Minutes, serve
from controller.logs import configure_logging
from controller.ports import Store
from controller.reconcile.tenure import Tenure, Tenures
from controller.settings import load_settings

LEASE_S = 300
MINUTE = timedelta(minutes=1)


class OffClock:
    """Another clock, read some seconds ahead (or behind) on a host that was started at another time."""

    def __init__(self, clock: Clock, offset_s: float) -> None:
        self._clock = clock
        self._offset_s = offset_s

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._offset_s)

    def monotonic(self) -> float:
        return self._clock.monotonic() + 7 * self._offset_s


class RealMinutes(Minutes):
    """Every rollout is judged in every minute by whoever leads, whatever another host's clock said before."""

    patience_s = 0.3

    def __init__(self, tenures: Tenures, store: Store, clock: Clock) -> None:
        super().__init__(tenures, store, clock)
        self._done: dict[str, tuple[int, datetime]] = {}

    def work(self, tenure: Tenure) -> bool:
        turn = tenure.reconciler.fence, self.clock.now()
        # What is over is another schedule's, and is left alone but for the minute in which it ends.
        due = [
            one.state.rollout
            for one in self.store.heads()
            if self._done.get(one.state.rollout) != turn
            and (one.state.phase.judged or one.state.updated_at >= turn[1] - MINUTE)
        ]
        tenure.loop.wake(due)
        tenure.loop.work(timeout_s=0)
        for head in self.store.heads():
            judged = self.store.judged(head.state.rollout)
            if judged is not None and judged.through == max(turn[1], head.state.updated_at):
                self._done[head.state.rollout] = turn
        return all(self._done.get(one) == turn for one in due)


def main() -> None:
    file, port, offset_s, term_s = sys.argv[1:5]
    configure_logging("json", "info")
    settings = load_settings(
        {
            "CANARY_DATABASE_URL": os.environ["CANARY_DATABASE_URL"],
            "CANARY_LEASE_S": str(LEASE_S),
            "CANARY_LEADER_TERM_S": term_s,
        }
    )
    serve(settings, OffClock(FileClock(Path(file)), float(offset_s)), int(port), RealMinutes)


if __name__ == "__main__":
    main()
