"""Checks of the models: whether the upstream answers, serves both arms' models, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any, Final

from controller.doctor import http
from controller.doctor.finding import Finding, failed, ok, warning
from controller.errors import DataError, Unreachable
from controller.ports import Head
from controller.rollout.plan import ModelRef, Plan
from controller.rollout.state import Phase
from controller.rollout.status import Status
from controller.rollout.verdict import Health

KEY: Final = "OPENAI_API_KEY"
NEAR: Final = timedelta(days=60)
"""A model that ends this soon after a rollout could is worth a warning."""
_NANO: Final = 10**9
_RECENT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the upstream serves, by name, with the day it ends where the upstream tells it."""

    ends: Mapping[str, date | None]
    answered: datetime | None  # by its own clock


def of_upstream(url: str, key: str | None) -> tuple[Finding, Served | None]:
    """Whether it answers, and what it serves if it says so."""
    wanted, shown = "a list of models at GET /models", _without_secret(url)
    try:
        answer = http.get(f"{url.rstrip('/')}/models", token=key)
    except Unreachable as error:
        return failed(
            "upstream",
            f"{shown} cannot be reached: {error}",
            wanted=wanted,
            todo="is CANARY_UPSTREAM_URL an OpenAI client's base URL, and may this host reach it?",
        ), None
    if answer.status in (401, 403):
        return _unauthorised(shown, answer.status, key), Served(ends={}, answered=answer.date)
    try:
        ends = _listed(answer)
    except DataError as error:
        return failed(
            "upstream",
            f"{shown}/models answered {answer.status}, {error}",
            wanted=wanted,
            todo="CANARY_UPSTREAM_URL is an OpenAI client's base URL, such as https://api.openai.com/v1",
        ), None
    return ok("upstream", f"{shown} answers and lists {len(ends)} models"), Served(
        ends=ends, answered=answer.date
    )


def _unauthorised(shown: str, status: int, key: str | None) -> Finding:
    wanted = "a key that it accepts"
    if key is None:
        return warning(
            "upstream",
            f"{shown} answers, but asks for a key ({status})",
            wanted=wanted,
            todo=f"set {KEY} for this command to see its models; the gateway passes on the application's own",
        )
    return failed(
        "upstream",
        f"{shown} answers, but refuses the key in {KEY} ({status})",
        wanted=wanted,
        todo=f"replace the key in {KEY}",
    )


def _listed(answer: http.Answer) -> dict[str, date | None]:
    """DataError if it is no list of models."""
    if answer.status != 200:
        raise DataError("which is no list of models")
    listed = answer.json()
    try:
        return {str(one["id"]): _day(one.get("shutdown_date")) for one in listed["data"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError("which is no list of models") from error


def _day(value: Any) -> date | None:
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def of_arms(head: Head, served: Served | None, now: datetime) -> Iterator[Finding]:
    """Both arms' models: there, and for as long as the rollout needs them."""
    plan = head.plan
    for arm, ref in (("baseline", plan.baseline), ("candidate", plan.candidate)):
        name = f"{plan.name}: {arm}"
        if served is not None and served.ends and ref.model not in served.ends:
            yield failed(
                name,
                f"{ref.model} is not among the {len(served.ends)} models that the upstream lists",
                wanted=f"a model that is served, for the {arm}",
                todo="mend the plan's model, or see whether this key may use it",
            )
            continue
        yield _lasting(name, arm, ref, head, _end(ref, served), now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    day: date
    source: str


def _end(ref: ModelRef, served: Served | None) -> _End | None:
    """The upstream's own word goes before what was known when the plan was read."""
    told = served.ends.get(ref.model) if served is not None else None
    if told is not None:
        return _End(day=told, source="the upstream")
    if ref.shutdown is not None:
        return _End(day=ref.shutdown, source="the plan's model table")
    return None


def _lasting(
    name: str, arm: str, ref: ModelRef, head: Head, end: _End | None, now: datetime
) -> Finding:
    if end is None:
        return ok(name, f"{ref.model}; no end is announced")
    over = (now + remaining(head)).date()
    lost = "a rollback would have nowhere to go" if arm == "baseline" else "its requests would fail"
    told = f"{ref.model} is shut down on {end.day} ({end.source})"
    wanted = f"a model that outlives the rollout, which could end on {over}"
    todo = "finish sooner, or roll back and plan for another model"
    if end.day <= now.date():
        return failed(name, f"{told}: {lost.replace('would', 'will')}", wanted=wanted, todo=todo)
    if over >= end.day:
        return failed(name, f"{told}; from then on {lost}", wanted=wanted, todo=todo)
    days = (end.day - now.date()).days
    if end.day - over <= NEAR:
        beyond = f"{NEAR.days} days to spare after the rollout, which could end on {over}"
        return warning(name, f"{told}, in {days} days", wanted=beyond, todo=todo)
    return ok(name, f"{told}, in {days} days")


def remaining(head: Head) -> timedelta:
    """How long the rollout needs at least from now on: its holds and its bake; nothing once it is complete."""
    plan, state = head.plan, head.state
    match state.phase:
        case Phase.COMPLETE | Phase.RETIRED | Phase.ROLLED_BACK:
            return timedelta(0)
        case Phase.BAKING:
            return plan.bake
        case _:
            return sum((step.hold for step in plan.steps[max(0, state.step) :]), plan.bake)


def of_baseline(plan: Plan, status: Status | None, now: datetime) -> Finding:
    """Whether the baseline answers, by the requests of the last hour: that costs nothing.

    What was seen longer ago says nothing of now.
    """
    name = f"{plan.name}: baseline answers"
    looked = status is not None and now - status.at < _RECENT
    health = status.seen.baseline if status is not None and looked else Health.UNKNOWN
    match health:
        case Health.ANSWERING:
            return ok(name, "most of its requests of the last hour")
        case Health.FAILING:
            return failed(
                name,
                "most of its requests of the last hour failed",
                wanted="a baseline that answers: a rollback needs somewhere to go",
                todo="look at the upstream's status; nothing is raised meanwhile",
            )
        case Health.UNKNOWN:
            return warning(
                name,
                "no request of the last hour says so",
                wanted="a baseline that answers: a rollback needs somewhere to go",
                todo="`canaryctl doctor --probe` asks it for one token",
            )


def probe_baseline(plan: Plan, url: str, key: str | None) -> Finding:
    """Ask the baseline for one token. It costs what one small request costs, which is said."""
    name = f"{plan.name}: baseline answers"
    model = plan.baseline.model
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "ping"}],
        "max_completion_tokens": 1,
    }
    wanted = "an answer: a rollback needs somewhere to go"
    try:
        answer = http.post(f"{url.rstrip('/')}/chat/completions", body, token=key)
        said = answer.json()
    except (Unreachable, DataError) as error:
        return failed(name, f"{model}: {error}", wanted=wanted, todo="look at the upstream")
    if answer.status != 200:
        return failed(
            name,
            f"{model} answered {answer.status}: {_message(said)}",
            wanted=wanted,
            todo="look at the upstream's status, the key and its limits",
        )
    return ok(name, f"{model} answered a probe, which cost {_cost(plan.baseline, said)}")


def _message(said: Any) -> str:
    try:
        return str(said["error"]["message"])
    except (KeyError, TypeError):
        return "no reason was given"


def _cost(ref: ModelRef, said: Any) -> str:
    try:
        given, made = int(said["usage"]["prompt_tokens"]), int(said["usage"]["completion_tokens"])
    except (KeyError, TypeError, ValueError):
        return "an unknown amount: no usage was told"
    if ref.price is None:
        return f"{given} and {made} tokens"
    usd = Fraction(given * ref.price.input + made * ref.price.output, _NANO)
    return f"{float(usd):.7f} USD ({given} input and {made} output tokens)"


def _without_secret(url: str) -> str:
    """The address without what may stand before an @."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def active(heads: Sequence[Head]) -> list[Head]:
    """The newest attempt of each plan that still needs its models."""
    newest = {head.state.name: head for head in heads}  # the last of a name is its newest
    over = (Phase.RETIRED, Phase.ROLLED_BACK)
    return [head for head in newest.values() if head.state.phase not in over]
