"""What the demonstration tells: two products, their models' skills, and what people do.

Everything follows from the records and the time, so a demonstration that goes on tells the same story.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controller.ports import Head, Store
from controller.rollout.decision import Action
from controller.rollout.record import Record, Sealed
from controller.rollout.state import Phase
from controller.simulate.services.upstream import Skill

HEALTHY: Final = "support-bot"
WORSE: Final = "product-search"
THINKS_FOR: Final = timedelta(minutes=20)
"""How long the person on call takes to resume."""
STRUCK_AFTER: Final = timedelta(minutes=45)
RESUME_REASON: Final = "prompt for sizes mended, checked by hand on 50 requests"
AFTERWARDS: Final = timedelta(minutes=5)

GOOD: Final = Skill(accuracy=0.97)
WEAK: Final = Skill(accuracy=0.97, by_intent={"sizes": 0.80})
OVERLOADED: Final = Skill(accuracy=0.97, shedding=0.08)


@dataclass(frozen=True, slots=True)
class Product:
    """An application: the model it asks for, its intents by weight, its new conversations a minute.

    `rate` while its rollout runs, `quiet_rate` else.
    """

    name: str
    model: str
    intents: Mapping[str, int]
    rate: float
    quiet_rate: float


PRODUCTS: Final = (
    Product(HEALTHY, "gpt-4.1", {"refund": 6, "order-status": 3, "legal": 1}, 14.0, 1.0),
    Product(WORSE, "gpt-4o", {"sizes": 6, "brands": 3}, 14.0, 0.0),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the story is: which rollout runs, with which skills, and whether it is over."""

    running: str | None
    skills: Mapping[str, Skill]
    over: bool


def scene(store: Store, now: datetime) -> Scene:
    """The present scene."""
    heads = {head.state.name: head for head in store.heads()}
    running = _running(heads)
    worse = heads.get(WORSE)
    resumed = worse is not None and _is_resumed(store.records(worse.state.rollout))
    skills = {
        "gpt-4.1": GOOD,
        "gpt-4.1-mini": GOOD,
        "gpt-4o": GOOD,
        "gpt-4o-mini": OVERLOADED if resumed else WEAK,
    }
    ended = worse is not None and worse.state.phase is Phase.ROLLED_BACK
    over = ended and worse is not None and now >= worse.state.updated_at + AFTERWARDS
    return Scene(running=running, skills=skills, over=over)


def _running(heads: Mapping[str, Head]) -> str | None:
    """The rollout that is under way; the next one that is to be started if none is."""
    for name in (HEALTHY, WORSE):
        head = heads.get(name)
        if head is None or head.state.phase.judged:
            return name
    return None


def to_resume(head: Head, now: datetime) -> bool:
    """Whether the person on call resumes a rollout now."""
    paused = head.state.paused
    return paused is not None and now >= paused.since + THINKS_FOR


def to_strike(store: Store, now: datetime) -> bool:
    """Whether the second rollout is in its middle, where a demonstration with several controllers loses its leader."""
    worse = next((head for head in store.heads() if head.state.name == WORSE), None)
    return (
        worse is not None
        and worse.state.phase.judged
        and now >= worse.state.started_at + STRUCK_AFTER
    )


def _is_resumed(records: Sequence[Sealed[Record]] | Iterable[Sealed[Record]]) -> bool:
    return any(one.value.action is Action.RESUME for one in records)
