"""What the last tick saw: the view behind `get`, `describe` and `watch`. Not a record; replaced at every tick."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.rollout.decision import Action, Wait
from controller.rollout.verdict import Seen, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    at: datetime
    action: Action
    seen: Seen
    verdicts: tuple[Verdict, ...]
    waits: tuple[Wait, ...]
