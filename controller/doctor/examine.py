"""All checks, in the order in which they explain one another. Each ends in a finding, whatever is broken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from controller.clock import Clock
from controller.doctor import database, models, process, rollouts, slack
from controller.doctor.finding import Finding, failed, ok, warning
from controller.errors import CanaryError, SettingsError, Unreachable
from controller.ports import Head, Store
from controller.rollout.destinations import SLACK, WEBHOOK, every_destination, kind_of, place_of
from controller.rollout.state import Phase
from controller.rollout.status import Status, status_of

if TYPE_CHECKING:
    from controller.settings import Settings

T = TypeVar("T")
DATABASE_PATIENCE_S: Final = 15.0
UNWATCHED: Final = 5
"""Intervals without a look at a rollout after which nobody judges it."""
_HTTP_CLOCK: Final = timedelta(seconds=1)  # how exactly an HTTP `Date` tells the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What is examined. `probe`: ask each baseline for one token, which costs money."""

    environ: Mapping[str, str]
    clock: Clock
    wait: Callable[[float], object]
    probe: bool = False


def examine(patient: Patient) -> Iterator[Finding]:
    """Every finding, as soon as it is there. Nothing is changed anywhere; no secret is in any of them."""
    from controller.settings import load_settings

    try:
        settings = load_settings(patient.environ)
    except SettingsError as error:
        yield failed(
            "settings",
            str(error),
            wanted="settings that are known and make sense",
            todo="mend the environment; `canaryctl settings` shows what there is",
        )
        return
    given = sum(1 for one in settings.describe() if one.source.startswith(("CANARY_", "file ")))
    yield ok("settings", f"{given} given, the others at their defaults")
    yield from _all(patient, settings)


def _all(patient: Patient, settings: Settings) -> Iterator[Finding]:
    store = yield from _database(patient, settings)
    try:
        heads = store.heads() if store is not None else []
        if store is not None:
            yield process.of_lead(store.leadership(), store.leadership, patient.wait)
        yield process.of_controller(settings.ops_listen)
        yield from process.of_link(settings.link_listen, _secret(settings.link_token))
        yield from _disks(settings)
        served = yield from _upstream(patient, settings)
        token = _secret(settings.slack_token)
        yield from slack.of_slack(token, settings.slack_url, _places(heads, SLACK))
        yield slack.of_webhook(_secret(settings.webhook_secret), _places(heads, WEBHOOK))
        if store is not None:
            yield from _rollouts(patient, settings, store, heads, served)
    except Unreachable as error:
        # It answered a moment ago.
        yield database.unreachable(str(error))
    finally:
        if store is not None:
            store.close()


def _database(patient: Patient, settings: Settings) -> Generator[Finding, None, Store | None]:
    """The store, where it can be used."""
    from controller.wiring import Opening, diagnose_database, open_store

    url = settings.database_url
    shown = next(one.value for one in settings.describe() if one.name == "database_url")
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    if url.startswith("sqlite") and not path.exists():
        yield warning(
            "database",
            f"there is no {path} yet",
            wanted="the database that controllers and commands share",
            todo="`canaryctl apply -f PLAN` makes it; CANARY_DATABASE_URL names another one",
        )
        return None
    try:
        found = bounded(lambda: diagnose_database(url), DATABASE_PATIENCE_S)
        yield from database.of_database(found, shown)
        if found.clock is not None:
            yield database.of_clock(
                "the database", found.clock, patient.clock.now(), slack=timedelta(0)
            )
        return None if found.schema_problem else open_store(url, Opening.PRESENT)
    except CanaryError as error:
        yield database.unreachable(str(error))
        return None


def bounded(work: Callable[[], T], patience_s: float) -> T:
    """What `work` gives or raises; Unreachable if that takes too long. It is then left behind in its thread."""
    outcome: list[T | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # handed to the thread that waits, which raises it
            outcome.append(error)

    thread = threading.Thread(target=run, name="doctor", daemon=True)
    thread.start()
    thread.join(patience_s)
    if not outcome:
        raise Unreachable(f"no answer within {patience_s:g} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _disks(settings: Settings) -> Iterator[Finding]:
    if settings.database_url.startswith("sqlite:///"):
        path = Path(settings.database_url.removeprefix("sqlite:///").partition("?")[0])
        yield process.of_disk("database", path.parent)
    yield process.of_disk("gateway", Path(settings.gateway_dir))


def _upstream(
    patient: Patient, settings: Settings
) -> Generator[Finding, None, models.Served | None]:
    """What the upstream serves, where it is known."""
    url = settings.upstream_url
    if url is None:
        yield warning(
            "upstream",
            "CANARY_UPSTREAM_URL is not set for this command",
            wanted="the models' address, to ask it what it serves",
            todo="set it as for `up` or `gateway`, such as https://api.openai.com/v1",
        )
        return None
    finding, served = models.of_upstream(url, patient.environ.get(models.KEY) or None)
    yield finding
    if served is not None and served.answered is not None:
        yield database.of_clock(
            "the upstream", served.answered, patient.clock.now(), slack=_HTTP_CLOCK
        )
    return served


def _places(heads: Sequence[Head], kind: str) -> list[str]:
    """What running plans name of one kind of destination, each once."""
    every = (one for head in models.active(heads) for one in every_destination(head.plan))
    return list(dict.fromkeys(place_of(one) for one in every if kind_of(one) == kind))


def _rollouts(
    patient: Patient,
    settings: Settings,
    store: Store,
    heads: Sequence[Head],
    served: models.Served | None,
) -> Iterator[Finding]:
    now = patient.clock.now()
    unwatched = timedelta(seconds=UNWATCHED * settings.tick_interval_s)
    yield from rollouts.of_outbox(store.backlog(), now)
    for head in _newest(heads):
        status = _status(store, head)
        yield from rollouts.of_rollout(head, status, now, unwatched=unwatched)
        if head.state.phase is not Phase.ROLLED_BACK:
            yield from models.of_arms(head, served, now)
        if patient.probe and settings.upstream_url is not None:
            key = patient.environ.get(models.KEY) or None
            yield models.probe_baseline(head.plan, settings.upstream_url, key)
        else:
            yield models.of_baseline(head.plan, status, now)


def _newest(heads: Sequence[Head]) -> list[Head]:
    newest = {head.state.name: head for head in heads}  # the last of a name is its newest
    return [head for head in newest.values() if head.state.phase is not Phase.RETIRED]


def _status(store: Store, head: Head) -> Status | None:
    judged = store.judged(head.state.rollout)
    return status_of(judged.status) if judged is not None and judged.status else None


def _secret(value: object) -> str | None:
    from pydantic import SecretStr

    return value.get_secret_value() if isinstance(value, SecretStr) else None
