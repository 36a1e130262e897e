"""What the last tick saw: the view behind `get`, `describe` and `watch`. Not a record; replaced at every tick."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from controller.rollout.codec import Json, canonical, decode
from controller.rollout.decision import Action, Wait
from controller.rollout.verdict import Seen, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    at: datetime
    action: Action
    seen: Seen
    verdicts: tuple[Verdict, ...]
    waits: tuple[Wait, ...]


def status_text(status: Status) -> str:
    """How it is kept. Each reading is told by its verdict, and most of the text: it is written once."""
    return canonical(replace(status, seen=replace(status.seen, readings=())))


def status_of(kept: Json) -> Status:
    """What `status_text` told, read as JSON."""
    status = decode(Status, kept)
    readings = tuple(verdict.reading for verdict in status.verdicts)
    return replace(status, seen=replace(status.seen, readings=readings))
