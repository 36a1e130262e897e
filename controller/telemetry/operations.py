"""One process's operation: what it is told, and what it answers at `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from controller.errors import Unreachable
from controller.ports import Head, Standing, Telemetry, Ticked
from controller.rollout.observation import Ingested
from controller.rollout.record import Record, Sealed
from controller.rollout.status import Status
from controller.telemetry import catalogue
from controller.telemetry.health import Check, Probe, Pulse, Readiness, Role, State
from controller.telemetry.journal import Journal
from controller.telemetry.meters import Meters, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """This process's part in leadership. `renewed_age_s`: since it last renewed it; None where nothing is renewed."""

    role: Role
    fence: int | None
    renewed_age_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owing:
    """What a destination is owed: how many notices, and for how long the oldest has waited."""

    destination: str
    undelivered: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that the controller counts on. `lost`: lines, since it started."""

    name: str
    heard_age_s: float
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a running controller is read. Each may raise Unreachable; what a standby does not know is None."""

    lag_s: Callable[[], float | None]
    gateways: Callable[[], Iterable[Gateway] | None]
    owing: Callable[[], Iterable[Owing]]
    office: Callable[[], Office]


class Operations(Telemetry):
    """Told by the controller, asked by probes and scrapes. Made before the controller: it says why there is none yet.

    `look` looks at the database: SchemaBehind, Unreachable.
    """

    def __init__(self, look: Callable[[], None], *, stuck_after_s: float) -> None:
        self._pulse = Pulse(stuck_after_s=stuck_after_s)
        self._journal = Journal()
        self._meters = Meters()
        self._probe = Probe(look)
        self._sources: Sources | None = None
        self._destinations: frozenset[str] = frozenset()
        self._meters.read_from(self._of_process)
        self._meters.read_from(self._of_controller)

    def attach(self, sources: Sources, look: Callable[[], None]) -> None:
        """A controller runs: from now on it and its own database are looked at."""
        self._probe = Probe(look)
        self._sources = sources

    # Asked

    def stuck(self) -> str | None:
        """Why the process should be restarted; None while it lives."""
        return self._pulse.stuck()

    def readiness(self) -> Readiness:
        """Blocks for at most the probe's bound."""
        return Readiness(role=self._role(), checks=(*self._probe.checks(), self._loop()))

    def metrics(self) -> bytes:
        """The answer of a scrape. Blocks."""
        if self._role() is not Role.LEADER:
            self._meters.running(())  # the leader's word is the present one
        return self._meters.expose()

    def _role(self) -> Role:
        sources = self._sources
        if sources is None:
            return Role.STARTING
        try:
            return sources.office().role
        except Unreachable:
            return Role.STANDBY  # whoever cannot reach the database leads nobody

    def _loop(self) -> Check:
        if self._sources is None:
            reason = "it starts when the database is there"
            return Check(name="loop", state=State.FAILED, reason=reason)
        stuck = self._pulse.stuck()
        state = State.OK if stuck is None else State.FAILED
        return Check(name="loop", state=state, reason=stuck or "")

    # Read at a scrape

    def _of_process(self) -> Iterator[Reading]:
        yield catalogue.TURN_AGE, self._pulse.age_s(), ()
        for check in self.readiness().checks:
            if check.state is not State.UNKNOWN:
                yield catalogue.CHECK, float(check.state is State.OK), (check.name,)

    def _of_controller(self) -> Iterator[Reading]:
        sources = self._sources
        if sources is None:
            return
        lag_s, gateways = sources.lag_s(), sources.gateways()
        if lag_s is not None:
            yield catalogue.TICK_LAG, lag_s, ()
        if gateways is not None:
            yield from _of_gateways(gateways)
        yield from _of_office(sources)
        yield from self._of_outbox(sources)

    def _of_outbox(self, sources: Sources) -> Iterator[Reading]:
        """A destination that was ever owed something and is not now is owed 0."""
        try:
            owing = {one.destination: one for one in sources.owing()}
        except Unreachable:
            return
        self._destinations |= owing.keys()
        for destination in sorted(self._destinations):
            one = owing.get(destination)
            yield catalogue.OUTBOX, one.undelivered if one else 0, (destination,)
            if one is not None:
                yield catalogue.OUTBOX_AGE, one.oldest_age_s, (destination,)

    # Told

    def turned(self) -> None:
        self._pulse.turned()

    def running(self, rollouts: Iterable[str]) -> None:
        self._meters.running(rollouts)

    def ticked(self, rollout: str, ended: Ticked, *, took_s: float, waited_s: float | None) -> None:
        self._meters.ticked(rollout, ended, took_s=took_s, waited_s=waited_s)

    def decided(self, record: Sealed[Record], *, took_s: float) -> None:
        self._journal.decided(record, took_s=took_s)
        self._meters.decided(record, took_s=took_s)

    def judged(self, head: Head, status: Status, standing: Standing | None) -> None:
        self._meters.judged(head, status, standing)

    def ingested(self, received: Ingested) -> None:
        self._meters.ingested(received)

    def refused(self, lines: int) -> None:
        self._meters.refused(lines)

    def scheduled(self, job: str, what: str) -> None:
        self._meters.scheduled(job, what)

    def delivered(self, destination: str, *, failed: bool) -> None:
        self._destinations |= {destination}
        self._meters.delivered(destination, failed=failed)

    def database_failed(self) -> None:
        self._meters.database_failed()


def _of_gateways(gateways: Iterable[Gateway]) -> Iterator[Reading]:
    known = sorted(gateways, key=lambda one: one.heard_age_s, reverse=True)
    yield catalogue.GATEWAYS, len(known), ()
    for one in known[: catalogue.REPLICAS]:
        yield catalogue.GATEWAY_AGE, one.heard_age_s, (one.name,)
        yield catalogue.GATEWAY_LOST, one.lost, (one.name,)


def _of_office(sources: Sources) -> Iterator[Reading]:
    try:
        office = sources.office()
    except Unreachable:
        return
    yield catalogue.LEADER, float(office.role is Role.LEADER), ()
    if office.fence is not None:
        yield catalogue.FENCE, office.fence, ()
    if office.renewed_age_s is not None:
        yield catalogue.RENEWAL_AGE, office.renewed_age_s, ()
