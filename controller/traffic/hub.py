"""The traffic target `gateway`: what the gateways are told, and what they say is in force.

A replica's report is its acknowledgement and its heartbeat. Between reports it is taken to hold what it last said,
until the longest lease that it was ever granted has run out; from then on it does `on_expiry`. So a rollback is
verified when every replica has acknowledged it, or can no longer hold anything else.

Terms are counted on the monotonic clock, from the moment of the grant. A replica counts from a moment that is not
later (see `Word`), so it never holds a lease for longer than it is believed to here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import RLock

import structlog

from controller.clock import Clock
from controller.errors import Unreachable
from controller.ports import Granted, Held, Report, Split, Standing
from controller.rollout.plan import OnLoss
from controller.traffic import lease
from controller.traffic.lease import Lease

FORGET = timedelta(hours=24)
"""A silent replica whose plan accepts `hold` may serve the candidate for as long as it lives; after this it is not
believed to live."""

Ended = tuple[int, datetime]
"""The end of a lease, as its leader names it: its fence, and a moment of that leader's clock. In their order: a higher
fence was taken later, whatever the clocks say."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Replica:
    """What is known of one gateway, by rollout.

    `until` is when the longest lease it was granted ends, monotonic; `ends` is the `expires` that names that lease.
    `granted` is what it was told since its last report, where that gives the candidate anything: it may hold that.
    """

    heard: float
    heard_at: datetime
    held: Mapping[str, Held] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)
    ends: dict[str, Ended] = field(default_factory=dict)
    granted: dict[str, Split] = field(default_factory=dict)
    lost: int = 0

    def lengthen(self, rollout: str, until: float, ends: Ended) -> None:
        """It may hold a lease that lasts until then."""
        self.until[rollout] = max(until, self.until.get(rollout, until))
        self.ends[rollout] = max(ends, self.ends.get(rollout, ends))

    def may_serve(self, rollout: str) -> bool:
        """Whether it may hold a split that gives the candidate anything."""
        held = self.held.get(rollout)
        return rollout in self.granted or (held is not None and any(held.shares.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A replica for whoever looks: when it was last heard, and which version of each rollout it acknowledged."""

    name: str
    heard_at: datetime
    versions: Mapping[str, int]
    lost: int


class GatewayTarget:
    """See the module. `term` is how long an earlier controller's leases may still run: the lease in the settings.

    A process that has just started does not know which replicas an earlier one granted leases to, so for that long it
    does not say what is in force of a rollout that an earlier one may have given traffic to. What a replica then
    reports reaches back, so no time in force is lost.
    """

    def __init__(self, clock: Clock, *, term: timedelta) -> None:
        self._clock = clock
        self._term = term.total_seconds()
        self._started = clock.monotonic()
        self._accepted: dict[str, Lease] = {}
        self._new_here: set[str] = set()
        self._replicas: dict[str, _Replica] = {}
        self._noted: dict[str, Ended] = {}  # the last expiry that was read, or known here
        self._unread: dict[str, Ended] = {}  # of leases that an earlier process had granted
        self._listeners: dict[str, Callable[[], None]] = {}
        self._changed: Callable[[Iterable[str]], None] = lambda _: None
        self._dismissed = False
        self._lock = RLock()

    def when_changed(self, wake: Callable[[Iterable[str]], None]) -> None:
        """Have somebody told which rollouts' standing moved: they may be judged at once."""
        self._changed = wake

    # As a target

    def read(self, rollout: str) -> Standing:
        with self._lock:
            self._require_known(rollout)
            together = lease.everywhere(list(self._standings(rollout)))
            unread = self._unread.get(rollout)
            if unread is None:
                return together
            self._noted[rollout] = unread
            if together.expired_at is not None:
                return together
            return replace(together, expired_at=unread[1], expired_fence=unread[0])

    def set(self, split: Split) -> None:
        with self._lock:
            before = self._accepted.get(split.rollout)
            self._accepted[split.rollout] = lease.receive(before, split, self._clock.now())
            if before is None and split.version == 1:
                self._new_here.add(split.rollout)
            self._settle_expiries(split.rollout)
            due = [
                tell
                for name, tell in self._listeners.items()
                if name in self._replicas and self._is_due(self._replicas[name], split.rollout)
            ]
        for tell in due:
            tell()

    def off(self, split: Split) -> None:
        self.set(lease.zeroed(split))

    # As the controller's end of the link

    def hear(self, report: Report) -> None:
        """Take in what a replica says."""
        with self._lock:
            before = self._replicas.get(report.replica)
            if report.leaving:
                self._replicas.pop(report.replica, None)
                moved: AbstractSet[str] = before.held.keys() if before is not None else set()
            else:
                moved = self._note(report, before)
        if moved:
            self._changed(sorted(moved))

    def grants(self, name: str, *, renew: bool) -> tuple[Granted, ...]:
        """What a replica is to be told now; with `renew` also leases that are not yet half over.

        What is returned counts as granted from here on, whether or not it arrives.
        """
        with self._lock:
            replica = self._replicas.get(name)
            if replica is None:
                return ()
            now, monotonic = self._clock.now(), self._clock.monotonic()
            given = []
            for rollout, accepted in self._accepted.items():
                split = accepted.split
                if lease.has_run_out(split, now) or not self._is_wanted(
                    replica, split, renew=renew
                ):
                    continue
                term_s = max(0.0, (split.expires - now).total_seconds())
                replica.lengthen(rollout, monotonic + term_s, (split.fence, split.expires))
                if not lease.gives_nothing(split):
                    replica.granted[rollout] = split
                given.append(Granted(split=split, term_s=term_s))
            return tuple(given)

    def has_news(self, name: str) -> bool:
        """Whether there is something that a replica is to be told at once."""
        with self._lock:
            replica = self._replicas.get(name)
            if replica is None or self._dismissed:
                return self._dismissed
            return any(self._is_due(replica, one) for one in self._accepted)

    def dismiss(self) -> None:
        """This controller leads no more: reports that are held back are answered at once, by telling so."""
        with self._lock:
            self._dismissed = True
            waiting = list(self._listeners.values())
        for tell in waiting:
            tell()

    def listen(self, name: str, tell: Callable[[], None]) -> None:
        """Call `tell`, from any thread, when there is something for a replica; one listener a replica."""
        with self._lock:
            self._listeners[name] = tell

    def unlisten(self, name: str, tell: Callable[[], None]) -> None:
        with self._lock:
            if self._listeners.get(name) is tell:
                del self._listeners[name]

    def replicas(self) -> tuple[Seen, ...]:
        """Every gateway that is counted, by name."""
        with self._lock:
            return tuple(
                Seen(
                    name=name,
                    heard_at=one.heard_at,
                    versions={rollout: held.version for rollout, held in one.held.items()},
                    lost=one.lost,
                )
                for name, one in sorted(self._replicas.items())
            )

    def settled(self) -> bool:
        """Whether every replica holds the splits that were last set, with more than half of each term left."""
        with self._lock:
            return not any(self.has_news(name) for name in self._replicas)

    # What is in force

    def _is_known(self, rollout: str) -> bool:
        """Whether every replica that may hold a lease for a rollout has been heard, or its lease is over."""
        return rollout in self._new_here or self._clock.monotonic() >= self._started + self._term

    def _require_known(self, rollout: str) -> None:
        if self._is_known(rollout):
            return
        raise Unreachable(
            f"{rollout}: this controller has just started and is still learning which gateways hold a lease from "
            "before. It is asked again at the next tick."
        )

    def _standings(self, rollout: str) -> Iterator[Standing]:
        for replica in self._replicas.values():
            granted = replica.granted.get(rollout)
            held = replica.held.get(rollout)
            told_so = held is not None and _expired(held) and granted is None
            if self._has_run_out(replica, rollout) and not told_so:
                yield self._run_out(replica, rollout)
                continue
            word = self._by_its_word(replica, held)
            if word.split is None and granted is not None:
                # It says that it has nothing, but said so before this was granted.
                yield replace(word, split=granted)
            else:
                yield word

    def _by_its_word(self, replica: _Replica, held: Held | None) -> Standing:
        if held is None:
            return Standing(split=None, since=None)
        split = self._split_of(held)
        current = held.expired_at if _expired(held) else None
        fence = held.expired_fence if current is not None else 0
        if held.age_s is None:
            return Standing(split=None, since=None, expired_at=current, expired_fence=fence)
        since = replica.heard_at - timedelta(seconds=held.age_s)
        return Standing(split=split, since=since, expired_at=current, expired_fence=fence)

    def _run_out(self, replica: _Replica, rollout: str) -> Standing:
        """A replica that was not heard of for as long as any lease of its could last."""
        fence, ended = replica.ends[rollout]
        return Standing(
            split=self._kept_on(replica, rollout), since=None, expired_at=ended, expired_fence=fence
        )

    def _kept_on(self, replica: _Replica, rollout: str) -> Split | None:
        """The lowest split that a replica may serve although its lease ran out."""
        held, granted = replica.held.get(rollout), replica.granted.get(rollout)
        if held is not None and _holds_on(held):
            return self._split_of(held)
        return granted if granted is not None and granted.on_expiry is OnLoss.HOLD else None

    def _has_run_out(self, replica: _Replica, rollout: str) -> bool:
        """Whether a replica may have served the candidate, under leases that are all over now."""
        return replica.may_serve(rollout) and replica.until[rollout] <= self._clock.monotonic()

    def _split_of(self, held: Held) -> Split:
        """The split as the replica has it; the rest of it from what was accepted here, which it is compared with."""
        accepted = self._accepted.get(held.rollout)
        if accepted is None:
            raise Unreachable(f"{held.rollout}: nothing was set since this controller started.")
        return replace(
            accepted.split,
            fence=held.fence,
            version=held.version,
            shares=dict(held.shares),
            salt=held.salt,
            expires=held.expires,
            on_expiry=held.on_expiry,
        )

    # What replicas say

    def _note(self, report: Report, before: _Replica | None) -> AbstractSet[str]:
        """Take in a report; the rollouts whose standing at this replica moved."""
        monotonic, now = self._clock.monotonic(), self._clock.now()
        held = {one.rollout: one for one in report.held}
        replica = _Replica(heard=monotonic, heard_at=now, held=held, lost=report.lost)
        if before is not None:
            replica.until, replica.ends = before.until, before.ends
        for one in report.held:
            # Also of leases that an earlier process granted.
            replica.lengthen(one.rollout, monotonic + one.left_s, (one.fence, one.expires))
            self._note_expiry(one)
        self._replicas[report.replica] = replica
        if report.lost and (before is None or before.lost != report.lost):
            _log.warning("gateway_lost_lines", replica=report.replica, lost=report.lost)
        if before is None:
            _log.info("gateway_heard", replica=report.replica, holds=len(held))
        known = before.held if before is not None else {}
        return {
            rollout
            for rollout in held.keys() | known.keys()
            if _gist(held.get(rollout)) != _gist(known.get(rollout))
        }

    def _note_expiry(self, held: Held) -> None:
        if held.expired_at is None:
            return
        last = (held.expired_fence, held.expired_at)
        noted = self._noted.get(held.rollout)
        if noted is None or last > noted:
            self._unread[held.rollout] = max(last, self._unread.get(held.rollout, last))

    def _settle_expiries(self, rollout: str) -> None:
        """A split is set after the expiries were read and recorded: they are not told twice."""
        if not self._is_known(rollout):
            return  # nothing could be read
        noted = self._noted.get(rollout)
        if noted is not None and self._unread.get(rollout) == noted:
            del self._unread[rollout]
        for name, replica in list(self._replicas.items()):
            if self._has_run_out(replica, rollout):
                ended = replica.ends[rollout]
                self._noted[rollout] = max(ended, self._noted.get(rollout, ended))
            if self._is_gone(replica):
                _log.warning("gateway_gone", replica=name, last_heard=replica.heard_at.isoformat())
                del self._replicas[name]

    def _is_gone(self, replica: _Replica) -> bool:
        """Whether a replica can hold nothing any more, and that was told; it is counted again when heard again."""
        silent_s = self._clock.monotonic() - replica.heard
        held_on = any(map(_holds_on, replica.held.values())) or any(
            one.on_expiry is OnLoss.HOLD for one in replica.granted.values()
        )
        if silent_s < (FORGET.total_seconds() if held_on else self._term):
            return False
        return not any(
            replica.may_serve(rollout)
            and (not self._has_run_out(replica, rollout) or self._is_untold(replica, rollout))
            for rollout in replica.until
        )

    def _is_untold(self, replica: _Replica, rollout: str) -> bool:
        """Whether the end of a replica's lease is still to be read, for a rollout that goes on."""
        accepted = self._accepted.get(rollout)
        if accepted is None or lease.gives_nothing(accepted.split):
            return False
        ended, noted = replica.ends[rollout], self._noted.get(rollout)
        # A split that was not renewed for so long is nobody's.
        given_up = accepted.split.expires + timedelta(seconds=self._term) <= self._clock.now()
        return not given_up and (noted is None or noted < ended)

    # What replicas are told

    def _is_due(self, replica: _Replica, rollout: str) -> bool:
        """Whether a replica is to be told at once, not just when its report has waited long enough.

        What has run out here is not granted, so it is no news: a report that waits for it would never wait.
        """
        split = self._accepted[rollout].split
        if lease.has_run_out(split, self._clock.now()):
            return False
        return self._is_wanted(replica, split, renew=False)

    def _is_wanted(self, replica: _Replica, split: Split, *, renew: bool) -> bool:
        held = replica.held.get(split.rollout)
        if held is None or _expired(held):
            return True
        if (held.fence, held.version) != lease.order(split):
            return True
        if dict(held.shares) != dict(split.shares):
            return True
        if split.expires <= held.expires:
            return False  # of one fence, so of one clock
        left_s = held.left_s - (self._clock.monotonic() - replica.heard)
        return renew or left_s < self._term / 2


def _expired(held: Held) -> bool:
    """Whether the lease that a replica holds has run out, by its own word.

    A replica counts from when it asked, perhaps earlier than the grant: of a lease that it saw run out too early it is
    granted the rest, under the same name.
    """
    return held.left_s <= 0 and (held.expired_fence, held.expired_at) == (held.fence, held.expires)


def _holds_on(held: Held) -> bool:
    """Whether a replica goes on giving the candidate traffic after its lease."""
    return held.on_expiry is OnLoss.HOLD and any(held.shares.values())


def _gist(held: Held | None) -> object:
    """What of a replica's word a decision may hang on; renewals are not part of it."""
    if held is None:
        return None
    return held.fence, held.version, dict(held.shares), held.age_s is None, held.expired_at
