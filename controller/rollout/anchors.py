"""The hourly anchors: all heads at once, chained, so that no single rollout's chain can be rewritten unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from controller.errors import ChainBroken
from controller.rollout.codec import text_digest
from controller.rollout.record import GENESIS, Anchor, Sealed, seal


def anchor_hour(at: datetime) -> datetime:
    """The UTC hour that an anchor stands for; there is at most one anchor in each."""
    return at.replace(minute=0, second=0, microsecond=0)


def next_anchor(
    last: Sealed[Anchor] | None, heads: Mapping[str, tuple[int, str]], at: datetime
) -> Sealed[Anchor] | None:
    """The anchor that is due at `at` for these heads (sequence and hash by rollout); None if none is.

    None is due while there is no rollout, in an hour that has one, and before the last one.
    """
    if not heads or (last is not None and anchor_hour(at) <= anchor_hour(last.value.at)):
        return None
    seq, prev = (0, GENESIS) if last is None else (last.value.seq, last.hash)
    named = {rollout: f"{number}:{head}" for rollout, (number, head) in heads.items()}
    return seal(Anchor(seq=seq + 1, at=at, heads=named, prev=prev))


def verify_anchors(
    anchors: Iterable[Sealed[Anchor]], record_hash: Callable[[str, int], str | None]
) -> None:
    """ChainBroken names the first anchor (oldest first) that does not follow, or that a record contradicts.

    `record_hash(rollout, seq)` is the hash of a present record, None if there is none.
    """
    prev, seq = GENESIS, 0
    for sealed in anchors:
        _verify_link(sealed, seq, prev)
        for rollout, head in sealed.value.heads.items():
            _verify_head(sealed.value, rollout, head, record_hash)
        prev, seq = sealed.hash, sealed.value.seq


def _verify_link(sealed: Sealed[Anchor], seq: int, prev: str) -> None:
    anchor = sealed.value
    if text_digest(sealed.text) != sealed.hash:
        raise ChainBroken(
            f"anchor {anchor.seq} of {anchor.at:%Y-%m-%d %H:%M}Z does not hash to {sealed.hash[:12]}…: "
            "it was changed after it was written. Compare with an exported copy."
        )
    if anchor.seq != seq + 1:
        raise ChainBroken(
            f"anchor {anchor.seq} follows anchor {seq}; anchor {seq + 1} is missing. Compare with an exported copy."
        )
    if anchor.prev != prev:
        raise ChainBroken(
            f"anchor {anchor.seq} says that the one before it hashes to {anchor.prev[:12]}…, "
            f"but anchor {seq} hashes to {prev[:12]}…: one of the two was replaced."
        )


def _verify_head(
    anchor: Anchor, rollout: str, head: str, record_hash: Callable[[str, int], str | None]
) -> None:
    number, _, expected = head.partition(":")
    found = record_hash(rollout, int(number))
    if found is None:
        raise ChainBroken(
            f"anchor {anchor.seq} of {anchor.at:%Y-%m-%d %H:%M}Z holds record {number} of {rollout}, "
            "which is not there: its chain was cut. Compare with an exported copy."
        )
    if found != expected:
        raise ChainBroken(
            f"anchor {anchor.seq} of {anchor.at:%Y-%m-%d %H:%M}Z holds record {number} of {rollout} as "
            f"{expected[:12]}…, but it hashes to {found[:12]}…: its chain was rewritten. Compare with an exported copy."
        )
