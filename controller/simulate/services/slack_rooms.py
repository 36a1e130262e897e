"""What the simulated Slack holds: channels, and in them messages with all their versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

BOT: Final = "U0CANARY"


@dataclass(slots=True, kw_only=True)
class Posted:
    """A message. `versions` are its texts, the present one last."""

    ts: str
    text: str
    blocks: list[dict[str, Any]]
    user: str = BOT
    thread_ts: str | None = None
    broadcast: bool = False
    metadata: dict[str, Any] | None = None
    versions: list[str] = field(default_factory=list)
    tombstone: bool = False


@dataclass(slots=True, kw_only=True)
class Room:
    """A channel, with its messages in their order."""

    name: str
    id: str = ""
    member: bool = True
    private: bool = False
    archived: bool = False
    messages: list[Posted] = field(default_factory=list)

    def find(self, ts: str) -> Posted | None:
        return next((one for one in self.messages if one.ts == ts), None)

    def replies(self, ts: str) -> list[Posted]:
        return [one for one in self.messages if one.thread_ts == ts]

    @property
    def parents(self) -> list[Posted]:
        return [one for one in self.messages if one.thread_ts is None and not one.tombstone]
