"""What gateways send: JSON lines, counted, and the rollouts they touch judged again at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controller.clock import Clock
from controller.errors import DataError
from controller.ports import UNTOLD, Store, Telemetry
from controller.sources.feed import read_feed


class Intake:
    """Ingests on any controller, leader or not. `wake` is told which rollouts were touched."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        wake: Callable[[Iterable[str]], None],
        telemetry: Telemetry = UNTOLD,
    ) -> None:
        self._telemetry = telemetry
        self._store = store
        self._clock = clock
        self._wake = wake
        self._rollouts: set[str] = set()

    def __call__(self, lines: bytes) -> None:
        """Count some lines. DataError if one of them can never be counted, and then none was; Unreachable."""
        try:
            self._count(lines)
        except DataError:
            self._telemetry.refused(sum(1 for line in lines.split(b"\n") if line.strip()))
            raise

    def _count(self, lines: bytes) -> None:
        try:
            text = lines.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"gateway: not UTF-8: {error}") from error
        batch = read_feed(text.split("\n"), file="gateway", store=self._store, known=self._rollouts)
        if batch.observations or batch.outcomes or batch.pairs:
            received = self._store.ingest(batch, self._clock.now())
            self._telemetry.ingested(received)
            self._wake(received.touched)
