"""The hash chain: one record per decision, each bound to the one before.

hash(record) = SHA-256 of the canonical JSON of the record, which contains the previous record's hash. The head's
hash is the compare-and-set token of the rollout: who commits must have read the present head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from controller.errors import ChainBroken
from controller.rollout.codec import canonical, text_digest
from controller.rollout.commands import AnyCommand
from controller.rollout.decision import Action, Notice
from controller.rollout.state import Cause, State
from controller.rollout.verdict import Seen, Verdict

GENESIS = "0" * 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What happened, who or what did it, on which evidence, under which plan, and the state it led to.

    `seen`, `command` and the previous record's state are `decide`'s inputs: a record can be replayed.
    """

    rollout: str
    seq: int  # from 1
    at: datetime
    actor: str
    reason: str
    action: Action
    cause: Cause
    plan_digest: str
    fence: int | None  # of the leader; None for a command
    command: AnyCommand | None
    seen: Seen
    verdicts: tuple[Verdict, ...]
    notices: tuple[Notice, ...]
    share_before_bp: int
    state: State
    prev: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed(Generic[T]):
    """A value with the very text that was hashed. A later release may read the text into more fields; the text and
    its hash stay as they were written."""

    value: T
    text: str
    hash: str


def seal(value: T) -> Sealed[T]:
    text = canonical(value)
    return Sealed(value=value, text=text, hash=text_digest(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """All rollouts' heads at one hour, chained in turn: what ties the chains to one another."""

    seq: int
    at: datetime
    heads: dict[str, str]  # rollout -> "seq:hash"
    prev: str


def verify_chain(records: Iterable[Sealed[Record]]) -> str:
    """The head's hash of a rollout's records, oldest first; ChainBroken names the first that does not follow."""
    prev, seq = GENESIS, 0
    for sealed in records:
        record = sealed.value
        if text_digest(sealed.text) != sealed.hash:
            raise ChainBroken(
                f"{record.rollout}: record {record.seq} does not hash to {sealed.hash[:12]}…: "
                "it was changed after it was written. Compare with an exported copy."
            )
        if record.seq != seq + 1:
            raise ChainBroken(
                f"{record.rollout}: record {record.seq} follows record {seq}; "
                f"record {seq + 1} is missing. Compare with an exported copy."
            )
        if record.prev != prev:
            raise ChainBroken(
                f"{record.rollout}: record {record.seq} says that the one before it hashes to {record.prev[:12]}…, "
                f"but record {seq} hashes to {prev[:12]}…: one of the two was replaced."
            )
        prev, seq = sealed.hash, record.seq
    return prev
