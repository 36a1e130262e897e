"""The demonstration's Slack: simulated, in the director's process, and kept in the folder when that ends."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from controller.clock import Clock
from controller.simulate.services.slack import SimulatedSlack
from controller.simulate.services.slack_rooms import Posted, Room

CHANNEL: Final = "llm-oncall"


def opened(clock: Clock, file: Path) -> SimulatedSlack:
    """A Slack with the demonstration's channel, and what was said in it before."""
    return SimulatedSlack(clock, [_kept(file) if file.exists() else Room(name=CHANNEL)])


def keep(slack: SimulatedSlack, file: Path) -> None:
    messages = [asdict(one) for one in slack.room(CHANNEL).messages]
    file.write_text(json.dumps(messages), encoding="utf-8")


def threads(file: Path) -> list[list[str]]:
    """Each thread's texts as they are at the end: the message above it, then its replies."""
    room = _kept(file)
    return [[one.text, *(reply.text for reply in room.replies(one.ts))] for one in room.parents]


def _kept(file: Path) -> Room:
    messages = [Posted(**one) for one in json.loads(file.read_text(encoding="utf-8"))]
    return Room(name=CHANNEL, messages=messages)
