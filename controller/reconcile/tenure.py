"""A controller among others: it takes in what gateways observe at all times, and decides while it leads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from controller.clock import Clock, elapsed
from controller.errors import NotLeading
from controller.notify.sending import Sending
from controller.ports import Ending, Mandate, Report, Telemetry, Word
from controller.reconcile.lead import Contender, HeldMandate
from controller.reconcile.loop import Loop
from controller.reconcile.tick import Reconciler
from controller.traffic.hub import GatewayTarget, Seen
from controller.traffic.link import LocalLink

_LOOK_S: Final = 0.2
BEGINNING_S: Final = 5.0
"""For how long a report waits for somebody to lead; a lead that nobody holds is taken sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """What a controller is while it leads, under one fence.

    New with each: what was known of gateways, of metrics and of tips may be another controller's past by then.
    """

    mandate: Mandate
    loop: Loop
    reconciler: Reconciler
    sending: Sending
    hub: GatewayTarget


class Tenures:
    """Leads whenever its contender does: builds a tenure, has it served, and lets it go when it ends."""

    def __init__(
        self,
        contender: Contender,
        build: Callable[[HeldMandate], Tenure],
        serve: Callable[[Tenure, Ending], None],
        telemetry: Telemetry,
    ) -> None:
        self._contender = contender
        self._build = build
        self._serve = serve
        self._telemetry = telemetry
        self._current: Tenure | None = None

    @property
    def current(self) -> Tenure | None:
        """The present tenure, where there is one whose mandate holds."""
        tenure = self._current
        return tenure if tenure is not None and tenure.mandate.holds() else None

    def required(self) -> Tenure:
        """The present tenure; NotLeading, with who does lead."""
        tenure = self.current
        if tenure is None:
            raise NotLeading(self._who_leads())
        return tenure

    def undecided(self) -> bool:
        """Whether nobody was seen to lead: at the start, and after a leader has resigned."""
        return self.current is None and self._contender.state().holder in ("", self._contender.name)

    def wake(self, rollouts: Iterable[str]) -> None:
        """Have rollouts judged at once if this controller leads; the leader finds them by itself, within a second."""
        tenure = self.current
        if tenure is not None:
            tenure.loop.wake(rollouts)

    def replicas(self) -> Sequence[Seen]:
        """The gateways that the leader counts. NotLeading."""
        return self.required().hub.replicas()

    def run_until(self, stop: threading.Event) -> None:
        """Contend and lead by turns until `stop` is set; then what is due is finished and the lead resigned."""
        ended = threading.Event()
        keeper = threading.Thread(
            target=self._contender.run_until, args=(ended,), name="lead", daemon=True
        )
        keeper.start()
        try:
            while not stop.is_set():
                self._telemetry.turned()  # a standby is not stuck
                mandate = self._contender.mandate(_LOOK_S)
                if mandate is not None:
                    self._lead(self._build(mandate), stop)
        finally:
            ended.set()
            keeper.join()
            self._contender.resign()

    def _lead(self, tenure: Tenure, stop: threading.Event) -> None:
        self._current = tenure
        try:
            self._serve(tenure, _Over(stop, tenure.mandate))
        finally:
            self._current = None
            tenure.hub.dismiss()
            self._telemetry.running(())

    def _who_leads(self) -> str:
        state = self._contender.state()
        if state.holder in ("", state.name):
            return f"{state.name} does not lead, and has seen nobody who does."
        return f"{state.name} does not lead. {state.holder} does, as far as it knows."


@dataclass(frozen=True, slots=True)
class _Over:
    """A tenure is over when the process is told to stop, or when its mandate is."""

    stop: threading.Event
    mandate: Mandate

    def is_set(self) -> bool:
        return self.stop.is_set() or not self.mandate.holds()


class TenureLink:
    """`controller.ports.Link` on whatever tenure there is. Ingest is for every controller, a poll for the leader."""

    def __init__(self, tenures: Tenures, ingest: Callable[[bytes], None], clock: Clock) -> None:
        self._tenures = tenures
        self._ingest = ingest
        self._clock = clock

    async def poll(self, report: Report, *, wait_s: float) -> Word:
        if not report.leaving:
            await self._begun(min(wait_s, BEGINNING_S))
        return await self._local(self._tenures.required()).poll(report, wait_s=wait_s)

    async def _begun(self, within_s: float) -> None:
        """Wait while nobody leads: whoever asks at that moment would be sent away for seconds."""
        until = elapsed() + within_s
        while self._tenures.undecided() and elapsed() < until:
            await asyncio.sleep(0.02)

    async def ingest(self, lines: bytes) -> None:
        await asyncio.to_thread(self._ingest, lines)

    async def close(self) -> None:
        return None

    def _local(self, tenure: Tenure) -> LocalLink:
        return LocalLink(tenure.hub, self._ingest, self._clock, tenure.mandate)
