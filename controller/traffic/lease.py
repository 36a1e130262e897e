"""What one replica has in force, from the splits it has received: the whole arithmetic of a lease.

The rules, each once:

* Splits are ordered by (fence, version). A lower one is refused; what is held never goes back.
* (fence, version) names the shares. An equal one with the same shares renews the lease, and never shortens it; with
  other shares it is refused, unless all of them are 0: putting the candidate off needs no newer version. So nothing
  but a higher (fence, version) can bring the candidate back after that.
* A lease runs in [received, expires). From `expires` on, `on_expiry` holds: BASELINE leaves nothing in force, HOLD
  leaves the split in force; both say when the lease ran out, until a renewal.
* A split of zeros gives the candidate nothing, so there is nothing to give up: it does not run out.
* A split that arrives after its own expiry is refused; otherwise HOLD would put in force what was never permitted.

Pure. Shared by every target that keeps splits itself, and by the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from controller.errors import Conflict
from controller.ports import Split, Standing
from controller.rollout.plan import OnLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The newest split that a replica accepted, and since when its shares have been in force there."""

    split: Split
    since: datetime


def order(split: Split) -> tuple[int, int]:
    """What splits of one rollout are ordered by: (fence, version)."""
    return split.fence, split.version


def gives_nothing(split: Split) -> bool:
    """Whether every share of the candidate is 0."""
    return not any(split.shares.values())


def zeroed(split: Split) -> Split:
    """The split that puts the candidate off: same fence, version and intents, every share 0."""
    return replace(split, shares=dict.fromkeys(split.shares, 0))


def has_run_out(split: Split, now: datetime) -> bool:
    """Whether a split's lease is over at `now`; one of zeros has none that could be."""
    return split.expires <= now and not gives_nothing(split)


def receive(held: Lease | None, split: Split, now: datetime) -> Lease:
    """What is held after `split` arrives at `now`. Conflict if it is refused; what is held then stays."""
    if has_run_out(split, now):
        raise Conflict(
            f"{_named(split)} arrived at {now}, after its lease had run out at {split.expires}. "
            "Renew the lease and set it again."
        )
    if held is None:
        return Lease(split=split, since=now)
    if order(split) < order(held.split):
        raise Conflict(
            f"{_named(split)} is lower than the present fence {held.split.fence}, version "
            f"{held.split.version}: somebody else wrote since. Read the rollout again."
        )
    if order(split) == order(held.split):
        return _renewed(held, split, now)
    return Lease(split=split, since=_since(held, split, now))


def standing(held: Lease | None, now: datetime) -> Standing:
    """What one replica has in force at `now`."""
    if held is None:
        return Standing(split=None, since=None)
    if not has_run_out(held.split, now):
        return Standing(split=held.split, since=held.since)
    match held.split.on_expiry:
        case OnLoss.BASELINE:
            return _ran_out(held.split, None, None)
        case OnLoss.HOLD:
            return _ran_out(held.split, held.split, held.since)
        case unknown:
            assert_never(unknown)


def _ran_out(ended: Split, split: Split | None, since: datetime | None) -> Standing:
    return Standing(split=split, since=since, expired_at=ended.expires, expired_fence=ended.fence)


def share_bp(held: Lease | None, intent: str, now: datetime) -> int:
    """The candidate's share of an intent at one replica; 0 for an intent that its split does not name."""
    split = standing(held, now).split
    return split.shares.get(intent, 0) if split else 0


def everywhere(replicas: Sequence[Standing]) -> Standing:
    """The standing of several replicas as one.

    `split` is the lowest in force at any of them, and None only if none has one: a rollback that one replica has not
    heard of is never reported as done because another replica's lease ran out. Of two of one (fence, version), of which
    one puts the candidate off, the other is the lower. `since` is given only when every
    replica serves these very shares (for a split of zeros, a replica with nothing in force does). `expired_at` is
    the first expiry among replicas that still await a renewal; it does not matter once the candidate is off.
    """
    splits = [one.split for one in replicas if one.split]
    expired = [(one.expired_fence, one.expired_at) for one in replicas if one.expired_at]
    fence, expired_at = min(expired, default=(0, None))
    if not splits:
        return Standing(split=None, since=None, expired_at=expired_at, expired_fence=fence)
    lowest = min(splits, key=lambda one: (order(one), gives_nothing(one)))
    since = _since_everywhere(lowest, replicas)
    if since and gives_nothing(lowest):
        expired_at = None
    return Standing(split=lowest, since=since, expired_at=expired_at, expired_fence=fence)


def _since_everywhere(split: Split, replicas: Sequence[Standing]) -> datetime | None:
    moments = []
    for one in replicas:
        if one.split and _is_same(one.split, split) and one.since:
            moments.append(one.since)
        elif one.split is None and gives_nothing(split):
            moments.extend([one.expired_at] if one.expired_at else [])
        else:
            return None
    return max(moments)


def _is_same(one: Split, other: Split) -> bool:
    return order(one) == order(other) and _same_shares(one, other)


def _renewed(held: Lease, split: Split, now: datetime) -> Lease:
    if _same_shares(held.split, split):
        longer = max(split, held.split, key=lambda one: one.expires)
        return Lease(split=longer, since=_since(held, split, now))
    if gives_nothing(split):
        return Lease(split=split, since=now)
    raise Conflict(
        f"{_named(split)} has shares {dict(split.shares)}, but {dict(held.split.shares)} are in force under that "
        "number. Other shares need a higher version."
    )


def _since(held: Lease, split: Split, now: datetime) -> datetime:
    """A new leader's fence alone does not interrupt a split; another version, other shares or an expiry do."""
    goes_on = held.split.version == split.version and _same_shares(held.split, split)
    return held.since if goes_on and not has_run_out(held.split, now) else now


def _same_shares(one: Split, other: Split) -> bool:
    return (dict(one.shares), one.salt) == (dict(other.shares), other.salt)


def _named(split: Split) -> str:
    return f"{split.rollout}: the split of fence {split.fence}, version {split.version}"
