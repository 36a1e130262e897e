"""A traffic target in memory: for tests, simulations and the demo; held to the contract of every target."""

from __future__ import annotations

from threading import Lock

from controller.clock import Clock
from controller.errors import Unreachable
from controller.ports import Split, Standing
from controller.traffic import lease
from controller.traffic.lease import Lease


class MemoryTarget:
    """Some replicas that keep splits as leases, by the rules of `controller.traffic.lease`.

    `set` is accepted or refused as a whole, then handed to every replica that takes word at the moment. `off` hands
    out the split with every share 0. Its (fence, version) may equal the present one; a lower one is refused, for a
    leader that was replaced must not act. After it nothing but a higher (fence, version) brings the candidate back,
    however much time passes and whatever is renewed.

    `read` tells what the replicas have in force (see `lease.everywhere`), by their own word.

    To rehearse trouble: `hold_acks` keeps word from a replica, which then lives on what it has until its lease runs
    out; `release_acks` hands it what it missed. `cut` makes every call raise Unreachable, while the replicas and
    their leases run on; `mend` ends that.
    """

    def __init__(self, clock: Clock, *, replicas: int = 1) -> None:
        if replicas < 1:
            raise ValueError(f"replicas is {replicas}; a target has at least one")
        self._clock = clock
        self._accepted: dict[str, Lease] = {}
        self._replicas: tuple[dict[str, Lease], ...] = tuple({} for _ in range(replicas))
        self._held: set[int] = set()
        self._reachable = True
        self._lock = Lock()

    def read(self, rollout: str) -> Standing:
        with self._lock:
            self._require_reachable()
            now = self._clock.now()
            return lease.everywhere(
                [lease.standing(held.get(rollout), now) for held in self._replicas]
            )

    def set(self, split: Split) -> None:
        with self._lock:
            self._require_reachable()
            held = self._accepted.get(split.rollout)
            self._accepted[split.rollout] = lease.receive(held, split, self._clock.now())
            for replica in self._listening():
                self._tell(replica, split.rollout)

    def off(self, split: Split) -> None:
        self.set(lease.zeroed(split))

    def share_bp(self, rollout: str, intent: str, *, replica: int = 0) -> int:
        """The candidate's share of an intent that one replica serves now, in basis points."""
        with self._lock:
            held = self._replicas[replica].get(rollout)
            return lease.share_bp(held, intent, self._clock.now())

    def hold_acks(self, replica: int = 0) -> None:
        """From now on this replica hears nothing."""
        with self._lock:
            self._held.add(self._checked(replica))

    def release_acks(self, replica: int = 0) -> None:
        """The replica hears again, first of all what it missed and is still permitted."""
        with self._lock:
            self._held.discard(self._checked(replica))
            for rollout in self._accepted:
                self._tell(replica, rollout)

    def cut(self) -> None:
        """Every call raises Unreachable until `mend`."""
        self._reachable = False

    def mend(self) -> None:
        self._reachable = True

    def _tell(self, replica: int, rollout: str) -> None:
        split, now = self._accepted[rollout].split, self._clock.now()
        if lease.has_run_out(split, now):
            return  # it was missed, and is no longer permitted
        held = self._replicas[replica]
        held[rollout] = lease.receive(held.get(rollout), split, now)

    def _listening(self) -> list[int]:
        return [replica for replica in range(len(self._replicas)) if replica not in self._held]

    def _checked(self, replica: int) -> int:
        if not 0 <= replica < len(self._replicas):
            raise ValueError(f"replica is {replica}, not in 0..{len(self._replicas) - 1}")
        return replica

    def _require_reachable(self) -> None:
        if not self._reachable:
            raise Unreachable("the target in memory was cut off. `mend` it and repeat.")
