"""A loop on a world in memory, with somebody who is told what it does."""

from __future__ import annotations

from datetime import timedelta

from controller.notify.sending import Sending
from controller.ports import Telemetry
from controller.reconcile.loop import Loop
from controller.reconcile.tick import Reconciler
from tests.reconcile.world import QUIET, World


class Told(Telemetry):
    """Keeps what it is told."""

    def __init__(self):
        self.records = []
        self.ticks = []
        self.statuses = []
        self.troubles = []
        self.rollouts: tuple[str, ...] = ()
        self.turns = 0

    def turned(self):
        self.turns += 1

    def running(self, rollouts):
        self.rollouts = tuple(rollouts)

    def ticked(self, rollout, ended, *, took_s, waited_s):
        self.ticks.append((rollout, ended, waited_s))

    def decided(self, record, *, took_s):
        self.records.append(record)

    def judged(self, head, status, standing):
        self.statuses.append((head, status, standing))

    def scheduled(self, job, what):
        self.troubles.append((job, what))


class Defective:
    """A reconciler that meets a defect in everything."""

    def ahead(self, rollouts):
        """Nothing is read."""

    def judge(self, rollout):
        raise ArithmeticError("a defect")

    def flush(self):
        """Nothing was judged."""

    def tip(self, rollout):
        return None

    def forget(self, rollout):
        """Nothing is known."""


def loop_on(
    world: World, telemetry: Telemetry, *, ticking=None, store=None, poll_s: float = 1.0
) -> Loop:
    reconciler = Reconciler(
        store=world.store,
        target=world.target,
        clock=world.clock,
        fence=world.store.take_fence(),
        lease=timedelta(minutes=10),
        telemetry=telemetry,
    )
    return Loop(
        reconciler=ticking or reconciler,
        sender=Sending(world.sender),
        store=store or world.store,
        clock=world.clock,
        interval_s=60,
        poll_s=poll_s,
        telemetry=telemetry,
    )


def about_to_advance() -> World:
    """Its baseline answers, so the next tick takes the first step."""
    world = World()
    world.settle()
    world.traffic(QUIET)
    return world


def worked(world: World, telemetry: Telemetry, *, times: int = 1) -> Loop:
    """A loop that has ticked everything so many times."""
    loop = loop_on(world, telemetry)
    for _ in range(times):
        loop.wake_all()
        loop.work(timeout_s=0)
    return loop
