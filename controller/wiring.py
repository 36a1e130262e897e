"""The one place where adapters are named and built.

What canaryctl brings is in the maps below. Others add theirs as entry points (`canaryctl.traffic_targets`,
`.metric_sources`, `.notifiers`, `.checks`), each naming a factory; a name of ours cannot be taken. An unknown name is
an error that lists the known ones.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from controller.clock import Clock, SystemClock
from controller.errors import NotFound, SettingsError
from controller.ports import UNTOLD

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pydantic import SecretStr

    from controller.gateway.app import Gateway
    from controller.gateway.uplink import Pace
    from controller.notify.slack import SlackNotifier
    from controller.notify.webhook import WebhookNotifier
    from controller.ports import Ending, Link, Notifier, Store, Target, Telemetry
    from controller.reconcile.lead import Contender, HeldMandate
    from controller.reconcile.tenure import Tenure, Tenures
    from controller.reconcile.tick import Reconciler
    from controller.rollout.plan import Plan
    from controller.settings import Settings
    from controller.store.diagnose import Diagnosis
    from controller.telemetry.operations import Operations

T = TypeVar("T")


class Kind(StrEnum):
    """The groups of entry points."""

    TRAFFIC_TARGETS = "canaryctl.traffic_targets"
    METRIC_SOURCES = "canaryctl.metric_sources"
    NOTIFIERS = "canaryctl.notifiers"
    CHECKS = "canaryctl.checks"


class Opening(StrEnum):
    """How a database is opened."""

    PRESENT = "present"  # it must be there, at this release's schema
    CREATED = "created"  # the same, but an embedded one that is not there is made
    UPGRADED = "upgraded"  # made, or brought to this release's schema
    OR_EMPTY = "or_empty"  # if the file is not there, an empty one in memory to look at instead


# Stores, by the scheme of their address


def open_store(url: str, opening: Opening = Opening.CREATED) -> Store:
    """The store at an address such as `CANARY_DATABASE_URL`'s. NotFound, SchemaBehind; see `Opening`."""
    factory = _known("database", url.partition(":")[0], STORES)
    return factory(url, opening)


def diagnose_database(url: str) -> Diagnosis:
    """What the database at an address says of itself, whatever its schema; nothing is made. Unreachable."""
    from controller.store.diagnose import diagnose

    return diagnose(url)


def memory_store() -> Store:
    """An empty store that is gone with the process."""
    from controller.store.memory import MemoryStore

    return MemoryStore()


def _sqlite(url: str, opening: Opening) -> Store:
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    missing = not path.exists()
    # Said before the database's libraries are loaded: `check` looks for history wherever it runs.
    if missing and opening is Opening.PRESENT:
        raise NotFound(
            f"There is no database {path} yet. `canaryctl apply -f PLAN` makes it; "
            "CANARY_DATABASE_URL names another one."
        )
    if missing and opening is Opening.OR_EMPTY:
        return memory_store()
    from controller.store.open import open_store as opened

    return opened(url, migrate=missing or opening is Opening.UPGRADED)


def _postgresql(url: str, opening: Opening) -> Store:
    """Upgraded by `canaryctl db upgrade` alone: other controllers run on it, perhaps of the release before."""
    from controller.store.open import open_store as opened

    return opened(url, migrate=opening is Opening.UPGRADED)


STORES: Mapping[str, Callable[[str, Opening], Store]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "postgresql+psycopg": _postgresql,
}


# Traffic targets, by the name in a plan's `traffic`


def memory_target(clock: Clock) -> Target:
    """A target in this process: what it is told is in force at once."""
    return target("memory", clock)


def target(name: str, clock: Clock) -> Target:
    factory: Callable[[Clock], Target] = named(Kind.TRAFFIC_TARGETS, name)
    return factory(clock)


def _memory(clock: Clock) -> Target:
    from controller.traffic.memory import MemoryTarget

    return MemoryTarget(clock)


def _gateway(clock: Clock) -> Target:
    from controller.ports import LEASE
    from controller.traffic.hub import GatewayTarget

    return GatewayTarget(clock, term=LEASE)


# Notifiers


def notifier(name: str, settings: Settings, store: Store, clock: Clock) -> Notifier:
    """What delivers to the destinations of one kind: `slack` to `slack:#llm-oncall`."""
    factory: Callable[[Settings, Store, Clock], Notifier] = named(Kind.NOTIFIERS, name)
    return factory(settings, store, clock)


def notifiers(settings: Settings, store: Store, clock: Clock) -> Mapping[str, Notifier]:
    """All that a plan can name, by kind of destination."""
    return {name: notifier(name, settings, store, clock) for name in BUILT_IN[Kind.NOTIFIERS]}


def try_destination(destination: str, plan: Plan | None, settings: Settings, clock: Clock) -> str:
    """Send a test message there; what came of it, in words. Unreachable, with what to do."""
    from controller.rollout.destinations import SLACK, kind_of, place_of

    if kind_of(destination) == SLACK:
        return _slack(settings, memory_store(), clock).test(place_of(destination))
    if plan is None or plan.webhook is None:
        raise NotFound(f"No plan says where {destination} is.")
    return _webhook(settings, memory_store(), clock).test(plan.webhook)


def _log(_settings: Settings, _store: Store, _clock: Clock) -> Notifier:
    from controller.notify.log import LogNotifier

    return LogNotifier()


def _slack(settings: Settings, store: Store, clock: Clock) -> SlackNotifier:
    from controller.notify.slack import SlackNotifier
    from controller.notify.slack_api import SlackApi

    api = SlackApi(token=_secret(settings.slack_token), url=settings.slack_url)
    return SlackNotifier(store, clock, api)


def _webhook(settings: Settings, store: Store, clock: Clock) -> WebhookNotifier:
    from controller.notify.webhook import WebhookNotifier

    return WebhookNotifier(store, clock, secret=_secret(settings.webhook_secret))


def _secret(setting: SecretStr | None) -> str | None:
    return None if setting is None else setting.get_secret_value()


BUILT_IN: Mapping[Kind, Mapping[str, Callable[..., Any]]] = {
    Kind.TRAFFIC_TARGETS: {"memory": _memory, "gateway": _gateway},
    Kind.METRIC_SOURCES: {},
    Kind.NOTIFIERS: {"log": _log, "slack": _slack, "webhook": _webhook},
    Kind.CHECKS: {},
}


def named(kind: Kind, name: str) -> Callable[..., Any]:
    """The factory of an adapter: ours, or the one that an installed package brings under this name."""
    return _known(kind.value, name, {**_third_party(kind), **BUILT_IN[kind]})


def _third_party(kind: Kind) -> dict[str, Callable[..., Any]]:
    from importlib.metadata import entry_points

    def lazily(point: EntryPoint) -> Callable[..., Any]:
        def build(*arguments: object) -> Any:
            return point.load()(*arguments)

        return build

    return {point.name: lazily(point) for point in entry_points(group=kind.value)}


def _known(what: str, name: str, known: Mapping[str, T]) -> T:
    found = known.get(name)
    if found is None:
        names = ", ".join(sorted(known)) or "none"
        raise SettingsError(f"{what}: {name!r} is not known; known are {names}.")
    return found


# The controller


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """One of the controllers on a database: it contends for the lead, decides while it leads, and always ingests."""

    contender: Contender
    tenures: Tenures
    link: Link


def build_controller(
    settings: Settings,
    store: Store,
    clock: Clock,
    telemetry: Telemetry | None = None,
    *,
    serve: Callable[[Tenure, Ending], None] | None = None,
) -> Controller:
    """A controller; `tenures.run_until` starts it. `serve` is what it does while it leads, else its loop.

    By default its decisions are told to the log alone.
    """
    from controller.reconcile.intake import Intake
    from controller.reconcile.lead import Contender
    from controller.reconcile.tenure import TenureLink, Tenures
    from controller.telemetry.journal import Journal

    telemetry = telemetry or Journal()
    contender = Contender(
        store,
        holder=_process_name(),
        term=timedelta(seconds=settings.leader_term_s),
        # The machine's own, whatever time it is in the rollouts: several processes contend.
        monotonic=SystemClock().monotonic,
    )

    def build(mandate: HeldMandate) -> Tenure:
        return _build_tenure(settings, store, clock, telemetry, mandate)

    tenures = Tenures(contender, build, serve or _loop, telemetry)
    link = TenureLink(tenures, Intake(store, clock, tenures.wake, telemetry), clock)
    return Controller(contender=contender, tenures=tenures, link=link)


@contextmanager
def controller_running(controller: Controller) -> Iterator[None]:
    """The controller, in a thread; at the end it finishes its tick, sends what is owed and resigns."""
    stop = threading.Event()
    thread = threading.Thread(
        target=controller.tenures.run_until, args=(stop,), name="controller", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _build_tenure(
    settings: Settings, store: Store, clock: Clock, telemetry: Telemetry, mandate: HeldMandate
) -> Tenure:
    from controller.notify.sender import Sender
    from controller.notify.sending import Sending
    from controller.reconcile.housekeeping import Housekeeping
    from controller.reconcile.loop import Loop
    from controller.reconcile.tenure import Tenure
    from controller.traffic.hub import GatewayTarget

    hub = GatewayTarget(clock, term=timedelta(seconds=settings.lease_s))
    reconciler = build_reconciler(settings, store, hub, clock, mandate.fence, telemetry)
    sending = Sending(
        Sender(
            store=store,
            notifiers=notifiers(settings, store, clock),
            clock=clock,
            may_send=mandate.holds,
            telemetry=telemetry,
        )
    )
    loop = Loop(
        reconciler=reconciler,
        sender=sending,
        store=store,
        clock=clock,
        interval_s=settings.tick_interval_s,
        telemetry=telemetry,
        mandate=mandate,
        housekeeping=Housekeeping(store, clock, keep=timedelta(days=settings.retention_d)),
    )
    hub.when_changed(loop.wake)
    return Tenure(mandate=mandate, loop=loop, reconciler=reconciler, sending=sending, hub=hub)


def _loop(tenure: Tenure, stop: Ending) -> None:
    tenure.loop.run_until(stop)


def _process_name() -> str:
    """Readable, and never used again: HOST:PID:RANDOM."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def build_reconciler(
    settings: Settings,
    store: Store,
    target: Target,
    clock: Clock,
    fence: int,
    telemetry: Telemetry = UNTOLD,
) -> Reconciler:
    """A reconciler that decides under a fence."""
    from controller.reconcile.tick import Reconciler

    return Reconciler(
        store=store,
        target=target,
        clock=clock,
        fence=fence,
        lease=timedelta(seconds=settings.lease_s),
        telemetry=telemetry,
    )


# Operation


def build_operations(settings: Settings) -> Operations:
    """What answers probes and scrapes, before there is a controller: it looks whether the database is ready for one."""
    from controller.telemetry.health import stuck_after
    from controller.telemetry.operations import Operations

    def look() -> None:
        open_store(settings.database_url, Opening.PRESENT).close()

    return Operations(look, stuck_after_s=stuck_after(settings.tick_interval_s))


def attach(operations: Operations, controller: Controller, store: Store, clock: Clock) -> None:
    """From now on this controller is what is looked at."""
    from controller.reconcile.lead import Role as LeadRole
    from controller.telemetry.health import Role
    from controller.telemetry.operations import Gateway, Office, Owing, Sources

    def gateways() -> list[Gateway] | None:
        tenure, now = controller.tenures.current, clock.now()
        if tenure is None:
            return None
        return [
            Gateway(name=one.name, heard_age_s=(now - one.heard_at).total_seconds(), lost=one.lost)
            for one in tenure.hub.replicas()
        ]

    def owing() -> list[Owing]:
        now = clock.now()
        return [
            Owing(
                destination=one.destination,
                undelivered=one.count,
                oldest_age_s=(now - one.oldest).total_seconds(),
            )
            for one in store.backlog()
        ]

    def lag_s() -> float | None:
        tenure = controller.tenures.current
        return tenure.loop.lag_s() if tenure is not None else None

    def office() -> Office:
        state = controller.contender.state()
        if state.role is LeadRole.STANDBY:
            return Office(role=Role.STANDBY, fence=None)
        return Office(role=Role.LEADER, fence=state.fence, renewed_age_s=state.unrenewed_s)

    store.when_failing(operations.database_failed)
    operations.attach(
        Sources(lag_s=lag_s, gateways=gateways, owing=owing, office=office),
        store.check,
    )


# The gateway


def build_gateway(
    folder: Path, link: Link, upstream: str, clock: Clock, pace: Pace | None = None
) -> Gateway:
    """A gateway that keeps its state in a folder. Called in an event loop."""
    from controller.gateway.app import Gateway

    return Gateway(link=link, upstream=upstream, folder=folder, clock=clock, pace=pace)


def link_to(controllers: Sequence[str], token: str) -> Link:
    """The link to the controllers of one database, elsewhere. Called in an event loop."""
    from controller.gateway.http_link import HttpLink

    return HttpLink(controllers, token=token)


def shortcomings(plan: Plan, settings: Settings) -> tuple[str, ...]:
    """What this process cannot do of what a plan asks, in words for whoever starts the controller."""
    found = []
    if plan.slack is not None and settings.slack_token is None:
        found.append(
            f"CANARY_SLACK_TOKEN is not set: notices for Slack ({plan.slack.channel}) stay owed, the log has them"
        )
    if plan.webhook is not None and settings.webhook_secret is None:
        found.append(
            f"CANARY_WEBHOOK_SECRET is not set: notices for the webhook at {plan.webhook.name} stay owed, "
            "the log has them"
        )
    return tuple(found)
