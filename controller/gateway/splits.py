"""The splits that one gateway holds, as leases: by the rules of `controller.traffic.lease`, on its monotonic clock.

Hosts need not agree on the time. A lease comes with its term, which starts when the report was sent plus the time that
the controller held it back: no later than the controller takes it to start. On disk a lease is kept with what is
left of its term, so that a gateway that is started again goes on with it, and never takes a lower split.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from controller.clock import Clock
from controller.errors import Conflict
from controller.ports import Granted, Held, Split, Word
from controller.rollout.codec import decode, dumps, encode
from controller.rollout.counting.items import LONGEST
from controller.rollout.route import Route
from controller.rollout.timeline import EPOCH
from controller.traffic import lease
from controller.traffic.lease import Lease

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """The rollout that claims a request's model. `shares` is None while nothing of it is in force here."""

    rollout: str
    version: int
    salt: str
    route: Route
    shares: Mapping[str, int] | None
    settled: Mapping[str, int]


@dataclass(slots=True)
class _Entry:
    """A lease on this gateway's own time, and the `expires` by which the controller knows it.

    One that was given up serves nothing and is not spoken of; it is kept so that no lower split is taken.
    """

    lease: Lease
    expires: datetime
    expired_at: datetime | None = None
    expired_fence: int = 0
    given_up: bool = False


class SplitBook:
    """What this gateway holds. Not safe for threads: the gateway has one."""

    def __init__(self, clock: Clock, file: Path) -> None:
        self._clock = clock
        self._file = file
        self._entries: dict[str, _Entry] = {}
        self._by_model: dict[str, str] = {}
        self._load()

    def claim(self, model: str) -> Claim | None:
        """Whose requests for this model are; None if no rollout that is known here claims them."""
        rollout = self._by_model.get(model)
        if rollout is None:
            return None
        entry = self._entries[rollout]
        split = entry.lease.split
        standing = lease.standing(entry.lease, self._now())
        if standing.expired_at is not None:
            self._note_expiry(entry)
        in_force = standing.split is not None and not entry.given_up
        return Claim(
            rollout=rollout,
            version=split.version,
            salt=split.salt,
            route=split.route,
            shares=split.shares if in_force else None,
            settled=split.settled,
        )

    def receive(self, word: Word, *, asked: float) -> list[str]:
        """Take in the answer to a report that was sent at `asked` (monotonic). Returns what was refused, in words."""
        refused = []
        for granted in word.granted:
            try:
                self._receive(granted, asked + word.waited_s)
            except Conflict as error:
                refused.append(str(error))
        if word.granted:
            self._forget()
            self._index()
            refused += self._kept()
        return refused

    def _forget(self) -> None:
        """Let go of what no controller has spoken of for a day and what serves nothing: attempts of the past."""
        now = self._now()
        for rollout, entry in list(self._entries.items()):
            split = entry.lease.split
            silent = now - split.expires > LONGEST
            if silent and (
                lease.gives_nothing(split) or lease.standing(entry.lease, now).split is None
            ):
                del self._entries[rollout]

    def _kept(self) -> list[str]:
        """Save. What is in the way is told and tried again: a full disk must not end the link."""
        try:
            self.save()
        except OSError as error:
            return [f"{self._file}: not kept: {error}"]
        return []

    def held(self) -> tuple[Held, ...]:
        """What to report."""
        now = self._now()
        held = (one for one in self._entries.values() if not one.given_up)
        return tuple(self._held(entry, now) for entry in held)

    def give_up(self) -> None:
        """Let every lease go, on disk too. Before a goodbye: whoever was told it counts on nothing being served."""
        now = self._now()
        for entry in self._entries.values():
            given_up = replace(entry.lease.split, expires=now)
            entry.lease = replace(entry.lease, split=given_up)
            entry.given_up = True
        self.save()

    def save(self) -> None:
        """Keep it on disk, as a whole or not at all."""
        monotonic = self._clock.monotonic()
        kept = {
            "saved_at": encode(self._clock.now()),
            "entries": [
                {
                    "split": encode(replace(one.lease.split, expires=one.expires)),
                    "left_s": _seconds(one.lease.split.expires) - monotonic,
                    "expired_at": encode(one.expired_at),
                    "expired_fence": one.expired_fence,
                    "given_up": one.given_up,
                }
                for one in self._entries.values()
            ],
        }
        replace_file(self._file, dumps(kept).encode())

    def _receive(self, granted: Granted, starts: float) -> None:
        split = granted.split
        known = self._entries.get(split.rollout)
        now = self._now()
        if known is not None and lease.has_run_out(known.lease.split, now):
            self._note_expiry(known)
        here = replace(split, expires=_moment(starts + granted.term_s))
        taken = lease.receive(known.lease if known else None, here, now)
        expires = split.expires if known is None or taken.split is here else known.expires
        self._entries[split.rollout] = _Entry(
            lease=taken,
            expires=expires,
            expired_at=known.expired_at if known else None,
            expired_fence=known.expired_fence if known else 0,
        )
        if known is None or known.lease.split.version != split.version:
            _log.info(
                "split_in_force",
                rollout=split.rollout,
                fence=split.fence,
                version=split.version,
                shares=dict(split.shares),
            )

    def _held(self, entry: _Entry, now: datetime) -> Held:
        split, standing = entry.lease.split, lease.standing(entry.lease, now)
        if standing.expired_at is not None:
            self._note_expiry(entry)
        age_s = (now - standing.since).total_seconds() if standing.since is not None else None
        return Held(
            rollout=split.rollout,
            fence=split.fence,
            version=split.version,
            shares=split.shares,
            salt=split.salt,
            expires=entry.expires,
            left_s=(split.expires - now).total_seconds(),
            on_expiry=split.on_expiry,
            age_s=age_s,
            expired_at=entry.expired_at,
            expired_fence=entry.expired_fence,
        )

    def _note_expiry(self, entry: _Entry) -> None:
        ended = (entry.lease.split.fence, entry.expires)
        if entry.given_up or (entry.expired_fence, entry.expired_at) == ended:
            return
        entry.expired_fence, entry.expired_at = ended
        _log.warning(
            "lease_ran_out",
            rollout=entry.lease.split.rollout,
            expired_at=entry.expires.isoformat(),
            on_expiry=entry.lease.split.on_expiry.value,
        )

    def _index(self) -> None:
        newest: dict[str, str] = {}
        for rollout, entry in sorted(
            self._entries.items(), key=lambda one: (one[1].lease.split.route.claimed_at, one[0])
        ):
            newest[entry.lease.split.route.match_model] = rollout
        self._by_model = newest

    def _load(self) -> None:
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return
        try:
            self._entries = self._read(json.loads(content))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            aside = self._file.with_suffix(".unreadable")
            self._file.replace(aside)
            _log.error(
                "splits_unreadable", file=str(self._file), kept_as=str(aside), error=repr(error)
            )
            return
        self._index()

    def _read(self, kept: Any) -> dict[str, _Entry]:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        away_s = (now - decode(datetime, kept["saved_at"])).total_seconds()
        entries = {}
        for one in kept["entries"]:
            split = decode(Split, one["split"])
            # A clock that went back says nothing about how long this gateway was away: then nothing is left.
            left_s = one["left_s"] - away_s if away_s >= 0 else min(0.0, one["left_s"])
            here = replace(split, expires=_moment(monotonic + left_s))
            entries[split.rollout] = _Entry(
                # Not in force while this gateway was away, so not since before.
                lease=Lease(split=here, since=_moment(monotonic)),
                expires=split.expires,
                expired_at=decode(datetime, one["expired_at"]) if one["expired_at"] else None,
                expired_fence=one.get("expired_fence", 0),
                given_up=one["given_up"],
            )
        return entries

    def _now(self) -> datetime:
        return _moment(self._clock.monotonic())


def _moment(monotonic: float) -> datetime:
    """A monotonic time in the form in which leases are reckoned. Only differences mean anything."""
    return EPOCH + timedelta(seconds=monotonic)


def _seconds(moment: datetime) -> float:
    return (moment - EPOCH).total_seconds()


def replace_file(file: Path, content: bytes) -> None:
    """Write a file so that after a crash it is the old one or the new one."""
    made = file.with_suffix(".new")
    with made.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    made.replace(file)
