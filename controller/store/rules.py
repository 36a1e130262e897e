"""What every store holds to, whatever it keeps things in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import timedelta

from controller.errors import ChainBroken, Conflict, Fenced, NotFound
from controller.ports import Commit, Leadership, VerifiedStretch
from controller.rollout.counting.items import LONGEST_US
from controller.rollout.record import GENESIS


def admit(commit: Commit, head: tuple[int, str] | None, fence: int) -> None:
    """Conflict unless the commit's fence and expected head are the store's; `head` is the present (seq, hash).

    A command carries no fence: it commits by the head that it expects.

    ChainBroken if the record does not follow from the head that it was made on: a fault of the caller.
    """
    record = commit.record.value
    admit_fence(commit.fence, fence, record.rollout)
    seq = 0 if head is None else head[0]
    present = None if head is None else head[1]
    if commit.expected != present:
        raise Conflict(
            f"{record.rollout}: decided on {_short(commit.expected)}, but the head is record {seq} "
            f"({_short(present)}). Read it again, and repeat if it still makes sense."
        )
    if (record.seq, record.prev) != (seq + 1, present or GENESIS):
        raise ChainBroken(
            f"{record.rollout}: record {record.seq} does not follow record {seq} ({_short(present)}). "
            "A record's number is one more than the head's, and its `prev` the head's hash."
        )


def admit_fence(fence: int | None, present: int, what: str = "notes") -> None:
    """Fenced if a fence is lower than the store's; None is a command's, or nobody's."""
    if fence is not None and fence < present:
        raise Fenced(
            f"{what}: written under fence {fence}, but fence {present} was taken since: "
            "another controller leads. This one must stop acting."
        )


def admit_split(commit: Commit, newest: int | None) -> None:
    """Conflict if a split of this or a later version was committed; `newest` is the last one's."""
    if commit.split is not None and newest is not None and commit.split.version <= newest:
        raise Conflict(
            f"{commit.record.value.rollout}: split version {commit.split.version} is not above version {newest}, "
            "which is in force. Read the head again; versions rise with every change of a share."
        )


def outbox_id(rollout: str, key: str, destination: str) -> str:
    """A delivery's dedupe key: what a rollout owes once to somebody is sent there once."""
    return f"{rollout}:{key}@{destination}"


def floor_for(before: int, now: int, longest: int, present: int) -> int:
    """The new floor, all in microseconds: not within the longest horizon, and never below the present one."""
    return max(present, min(before, now - longest))


def kept_from(table: str, floor: int) -> int:
    """Up to where rows may go: a request above the floor may be part of an episode that began a day before."""
    return floor - LONGEST_US if table in ("episodes", "labels", "by_people") else floor


def no_rollout(wanted: str, known: Iterable[str]) -> NotFound:
    """With the names that it may have been: rollouts' (`name/attempt`) and bare ones."""
    names = {*known} | {name.rpartition("/")[0] or name for name in known}
    close = difflib.get_close_matches(wanted, sorted(names), n=3)
    if close:
        return NotFound(f"There is no rollout {wanted}. Did you mean {' or '.join(close)}?")
    return NotFound(f"There is no rollout {wanted}, nor one with a similar name. `get` lists all.")


def no_plan(digest: str) -> NotFound:
    return NotFound(f"There is no plan revision {digest}. `history` names a rollout's revisions.")


def no_notice(notice_id: str) -> NotFound:
    return NotFound(f"There is no notice {notice_id} in the outbox.")


def joined(
    stretches: Sequence[VerifiedStretch], new: VerifiedStretch
) -> tuple[list[VerifiedStretch], VerifiedStretch | None]:
    """The stretches of the same version that the new one touches, and the one that takes their place.

    None takes it where nothing changes: an empty stretch, or one that is covered already.
    """
    if new.start >= new.end:
        return [], None
    touching = [
        one
        for one in stretches
        if one.version == new.version and one.start <= new.end and new.start <= one.end
    ]
    whole = VerifiedStretch(
        version=new.version,
        start=min(one.start for one in (*touching, new)),
        end=max(one.end for one in (*touching, new)),
    )
    return ([], None) if touching == [whole] else (touching, whole)


NOBODY = Leadership(holder="", fence=0, beat=0, term=timedelta(0))
"""The leadership of a fresh database."""


def not_as_seen(seen: Leadership, present: Leadership) -> Conflict:
    return Conflict(
        f"The lead is not {_told(seen)} any more, it is {_told(present)}. Look again, for a full term."
    )


def not_held(held: Leadership) -> Fenced:
    return Fenced(
        f"The lead that {held.holder} took with fence {held.fence} was taken since: another controller leads. "
        "This one must stop acting."
    )


def _told(row: Leadership) -> str:
    return f"{row.holder or 'nobody'}'s (fence {row.fence}, beat {row.beat})"


def _short(head: str | None) -> str:
    return "no record" if head is None else f"{head[:12]}…"
