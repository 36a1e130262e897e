"""A whole controller on in-memory adapters, with effects that can be cut off at any boundary."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock, RLock

from controller.clock import ManualClock
from controller.errors import Conflict, Refused, Unreachable
from controller.notify.memory import MemoryNotifier
from controller.notify.sender import Sender
from controller.reconcile.submit import submit
from controller.reconcile.tick import Reconciler
from controller.rollout.commands import AnyCommand, Apply
from controller.rollout.decision import Action
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import Batch, Observation, Outcome
from controller.rollout.plan import Arm, Evidence, Intent, Plan, Rule, Step, Then
from controller.store.memory import MemoryStore
from controller.traffic.memory import MemoryTarget
from tests.rollout.factories import plan

BEGIN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rate(name: str, metric: str, then: Then) -> Rule:
    return Rule(
        name=name,
        metric=CATALOGUE[metric],
        limit=0.02,
        window=timedelta(hours=24),
        then=then,
        evidence=Evidence.OBSERVED,
    )


# One rule that pauses and one that rolls back, both proven by a single burst of bad requests.
QUICK = replace(
    plan(),
    name="quick",
    intents=(Intent(name="chat"), Intent(name="legal", pinned=True)),
    steps=(
        Step(share_bp=1000, hold=MINUTE, min_samples=10),
        Step(share_bp=5000, hold=MINUTE, approval=True),
        Step(share_bp=10_000),
    ),
    rules=(
        rate("errors", "error_rate", Then.PAUSE),
        rate("escalation", "escalation_rate", Then.ROLLBACK),
    ),
    bake=2 * MINUTE,
    pause_deadline=timedelta(hours=2),
)

QUIET, ERRORS, ESCALATIONS = "quiet", "errors", "escalations"
EFFECTS = {
    "store": ("commit", "note", "sending", "delivered", "undelivered", "anchor"),
    "target": ("set", "off"),
    "notifier": ("send",),
}


NOTHING: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """One of a minute's requests: the arms take turns, the candidate has those with odd numbers, from 1."""

    number: int
    flags: Mapping[str, bool] = field(default_factory=dict)
    quantities: Mapping[str, int] = field(default_factory=dict)

    @property
    def arm(self) -> Arm:
        return Arm.CANDIDATE if self.number % 2 else Arm.BASELINE


# A copy of an adapter needs a lock of its own; locks know no copying.
copyreg.pickle(type(Lock()), lambda _: (Lock, ()))
copyreg.pickle(type(RLock()), lambda _: (RLock, ()))


class Crash(BaseException):
    """The process ends here."""


@dataclass(slots=True)
class Fuse:
    """At the `at`-th boundary the process ends. Every effect has a boundary before it and one after it."""

    at: int | None = None
    passed: int = 0

    def boundary(self) -> None:
        if self.at is not None and self.passed == self.at:
            self.passed += 1
            raise Crash
        self.passed += 1


class Fused:
    """An adapter whose named effects have a boundary before and one after them."""

    def __init__(self, adapter: object, effects: tuple[str, ...], fuse: Fuse) -> None:
        self._adapter = adapter
        self._effects = effects
        self._fuse = fuse

    def __getattr__(self, name: str):
        attribute = getattr(self._adapter, name)
        return self._with_boundaries(attribute) if name in self._effects else attribute

    def _with_boundaries(self, effect: Callable) -> Callable:
        def call(*args, **kwargs):
            self._fuse.boundary()
            done = effect(*args, **kwargs)
            self._fuse.boundary()
            return done

        return call


class World:
    """Store, target, notifier and clock outlive a crash; the controller does not."""

    def __init__(self, of: Plan = QUICK) -> None:
        self.plan = of
        self.clock = ManualClock(BEGIN)
        self.store = MemoryStore()
        self.target = MemoryTarget(self.clock)
        self.notifier = MemoryNotifier()
        self.requests = 0
        submit(self.store, self.clock, of.name, Apply(plan=of, actor="ann", reason="go"))
        self.restart()

    def copy(self) -> World:
        """The same world once more, so that another future can be tried on it."""
        other = object.__new__(World)
        memo: dict = {}
        lasting = (self.clock, self.store, self.target, self.notifier)
        other.clock, other.store, other.target, other.notifier = deepcopy(lasting, memo)
        other.plan, other.requests = self.plan, self.requests
        other.restart()
        return other

    def restart(self, fuse: Fuse | None = None) -> None:
        """A new controller process, with a fence of its own."""
        fuse = fuse or Fuse()
        self.fuse = fuse
        self.fused_store = Fused(self.store, EFFECTS["store"], fuse)
        target = Fused(self.target, EFFECTS["target"], fuse)
        self.reconciler = Reconciler(
            store=self.fused_store,
            target=target,
            clock=self.clock,
            fence=self.store.take_fence(),
            lease=timedelta(minutes=10),
        )
        notifier = Fused(self.notifier, EFFECTS["notifier"], fuse)
        self.sender = Sender(self.fused_store, {"log": notifier}, self.clock)

    @property
    def head(self):
        return self.store.head(self.plan.name)

    def traffic(self, kind: str) -> None:
        """A minute's requests under the split in force; a burst of bad ones proves its rule's failure at once."""
        standing = self.target.read(self.head.state.rollout)
        if standing.split is None:
            return
        flags = {"error": kind == ERRORS, "escalated": kind == ESCALATIONS}
        share = standing.split.shares["chat"]
        batch = [self._request(Arm.BASELINE, standing.split.version, {}) for _ in range(20)]
        if share:
            batch += [
                self._request(Arm.CANDIDATE, standing.split.version, flags) for _ in range(20)
            ]
        self.store.ingest(Batch(observations=tuple(batch)), self.clock.now())

    def serve(
        self,
        answers: Iterable[Answer],
        *,
        learnt: Callable[[str, Answer], Outcome] | None = None,
    ) -> None:
        """A minute's requests as they were answered, whatever is in force; with what is `learnt` of each, by its id."""
        told = list(answers)
        version = self.head.state.version
        requests = [
            self._request(one.arm, version, one.flags, one.quantities, always=("error",))
            for one in told
        ]
        outcomes = (
            []
            if learnt is None
            else [learnt(request.id, one) for request, one in zip(requests, told, strict=True)]
        )
        batch = Batch(observations=tuple(requests), outcomes=tuple(outcomes))
        self.store.ingest(batch, self.clock.now())

    def _request(
        self,
        arm: Arm,
        version: int,
        flags: Mapping[str, bool],
        quantities: Mapping[str, int] = NOTHING,
        *,
        always: Iterable[str] = ("error", "escalated"),
    ) -> Observation:
        self.requests += 1
        return Observation(
            id=f"r{self.requests}",
            rollout=self.head.state.rollout,
            at=self.clock.now(),
            unit=f"u{self.requests}",
            arm=arm,
            intent="chat",
            version=version,
            flags={**dict.fromkeys(always, False), **flags},
            quantities=quantities,
        )

    def command(self, command: AnyCommand) -> bool:
        """Whether it was carried out. The asker fixes what he saw, so a repeat cannot act twice."""
        try:
            submit(self.fused_store, self.clock, self.plan.name, command)
        except (Refused, Conflict):
            return False
        return True

    def settle(self) -> list[Action]:
        """Tick until nothing more happens at this instant, and send what is owed.

        A tick that only put a split in force looks quiet; the next one finds it verified. So two in a row are needed.
        """
        actions: list[Action] = []
        quiet = 0
        for _ in range(24):
            try:
                decision = self.reconciler.tick(self.head.state.rollout)
            except (Conflict, Unreachable):
                continue
            self.sender.send_due()
            quiet = 0 if decision.recorded else quiet + 1
            if quiet == 2:
                return actions
            actions.append(decision.action)
        raise AssertionError(f"does not come to rest: {actions}")

    def kind(self) -> tuple:
        """The situation without the numbers that merely label evidence: attempts, epochs, failures of the past."""
        state = self.head.state
        return (
            state.phase,
            state.step,
            state.share_bp,
            state.pins,
            state.approved,
            tuple(sorted({one.rule for one in state.open_failures})),
            state.paused is not None and (state.paused.phase, state.paused.share_bp),
            tuple(sorted(state.told)),
        )

    def situation(self) -> tuple:
        """Where the rollout stands, without numbers that merely count ticks."""
        state = self.head.state
        return (
            state.attempt,
            state.phase,
            state.step,
            state.share_bp,
            state.pins,
            state.approved,
            tuple((one.rule, one.epoch, one.acknowledged) for one in state.failures),
            tuple(sorted((rule, epoch.number) for rule, epoch in state.epochs.items())),
            state.paused is not None and (state.paused.phase, state.paused.share_bp),
            tuple(sorted(state.told)),
        )
