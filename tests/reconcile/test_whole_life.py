"""The shipped plan through its whole life, the seven-day bake included: real ingest, real ticks, simulated requests."""

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.clock import ManualClock
from controller.notify.memory import MemoryNotifier
from controller.notify.sender import Sender
from controller.plans.load import load_file
from controller.plans.models import bundled_models
from controller.reconcile.submit import submit
from controller.reconcile.tick import Reconciler
from controller.rollout.assignment import assign
from controller.rollout.commands import Apply, Approve
from controller.rollout.deciding.replay import fold, replay
from controller.rollout.decision import Action
from controller.rollout.observation import Batch, Cohort, Grades, Observation, Outcome
from controller.rollout.plan import Arm
from controller.rollout.record import verify_chain
from controller.rollout.state import Phase
from controller.store.memory import MemoryStore
from controller.traffic.memory import MemoryTarget

PLAN = load_file(
    Path("rollout_plans/gpt-4.1-to-mini.yaml"), today=date(2026, 1, 5), models=bundled_models()
)
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
EVERY = timedelta(minutes=15)
ANN: dict[str, Any] = {"actor": "ann", "reason": "reviewed"}
INTENTS = ("refund", "refund", "order-status", "legal")


class Product:
    """Simulated clients of a product: conversations of one request, some wrong, some escalated, all graded at once."""

    def __init__(self, clock, store, target, rollout, *, per_tick):
        self.clock, self.store, self.target, self.rollout = clock, store, target, rollout
        self.per_tick = per_tick
        self.n = 0
        self.luck = random.Random(4)

    def serve(self, *, wrong_every, escalated_every):
        split = self.target.read(self.rollout).split
        requests = [self._request(split, escalated_every) for _ in range(self.per_tick)]
        outcomes = [self._outcome(one, wrong_every) for one in requests]
        self.store.ingest(
            Batch(observations=tuple(requests), outcomes=tuple(outcomes)), self.clock.now()
        )

    def _request(self, split, escalated_every):
        self.n += 1
        intent = INTENTS[self.n % len(INTENTS)]
        share = split.shares[intent] if split else 0
        arm = assign(split.salt, f"c{self.n}", share) if split else Arm.BASELINE
        escalated = arm is Arm.CANDIDATE and self.luck.random() < 1 / escalated_every
        return Observation(
            id=f"r{self.n}",
            rollout=self.rollout,
            at=self.clock.now() - timedelta(minutes=self.n % 15),
            unit=f"c{self.n}",
            arm=arm,
            intent=intent,
            version=split.version if split else 0,
            cohort=Cohort.OUTSIDE if intent == "legal" else Cohort.COMPARED,
            assigned=intent != "legal",
            flags={"error": False, "escalated": escalated},
            quantities={
                "input_tokens": 5_000,
                "output_tokens": 1_000,
                "cost_nusd": 18_000_000 if arm is Arm.BASELINE else 3_600_000,
                "latency_us": 800_000,
            },
        )

    def _outcome(self, request, wrong_every):
        wrong = self.luck.random() < 1 / wrong_every[request.arm]
        return Outcome(
            id=f"o-{request.id}",
            observation=request.id,
            at=self.clock.now(),
            correct=0.0 if wrong else 1.0,
            grades=Grades.ATTEMPT,
        )


def life(*, wrong_every, escalated_every=100, per_tick=120, until_days=20):
    """Run until the rollout ends; (store, rollout, [(time, action, share)], notifier, target)."""
    clock, store = ManualClock(BEGIN), MemoryStore()
    target, notifier = MemoryTarget(clock), MemoryNotifier()
    rollout = submit(store, clock, PLAN.name, Apply(plan=PLAN, **ANN)).state.rollout
    reconciler = Reconciler(
        store=store, target=target, clock=clock, fence=store.take_fence(), lease=timedelta(hours=1)
    )
    sender = Sender(store, {"log": MemoryNotifier(), "slack": notifier}, clock)
    product = Product(clock, store, target, rollout, per_tick=per_tick)
    events = []
    while clock.now() < BEGIN + timedelta(days=until_days):
        clock.advance(EVERY)
        product.serve(wrong_every=wrong_every, escalated_every=escalated_every)
        decision = reconciler.tick(rollout)
        store.anchor(clock.now())
        sender.send_due()
        if decision.recorded:
            events.append((clock.now(), decision.action, decision.state.share_bp))
        if decision.action is Action.NOTIFY and decision.notices[0].detail == "approval":
            submit(store, clock, rollout, Approve(**ANN))
        if decision.state.phase in (Phase.COMPLETE, Phase.ROLLED_BACK, Phase.PAUSED):
            break
    return store, rollout, events, notifier, target


def audit(store, rollout):
    sealed = store.records(rollout)
    assert verify_chain(sealed) == store.head(rollout).hash
    assert fold(one.value for one in sealed) == store.head(rollout).state
    assert replay((one.value for one in sealed), lambda digest: store.plan(digest).value) == ()


@pytest.mark.timeout(600)
def test_a_healthy_candidate_goes_all_the_way():
    equal = {Arm.BASELINE: 20, Arm.CANDIDATE: 20}
    # So few that no draw of arms, which a plan's digest decides, takes a day of some 840 requests over 2%.
    store, rollout, events, notifier, target = life(wrong_every=equal, escalated_every=400)

    shares = [share for _, action, share in events if action is Action.ADVANCE]
    times = {share: at for at, action, share in events if action is Action.ADVANCE}
    ends = {action: at for at, action, _ in events}
    assert shares == [1000, 2500, 5000, 9900]
    assert times[2500] - times[1000] >= timedelta(hours=72)
    assert times[5000] - times[2500] >= timedelta(hours=48)
    assert times[9900] - times[5000] >= timedelta(hours=24)
    assert ends[Action.COMPLETE] - ends[Action.BAKE] >= timedelta(days=7)
    assert target.share_bp(rollout, "refund") == 9900
    assert target.share_bp(rollout, "legal") == 0
    assert len(notifier.sent) == sum(len(one.value.notices) for one in store.records(rollout))
    audit(store, rollout)


@pytest.mark.timeout(600)
def test_a_candidate_that_loses_accuracy_is_paused_in_the_first_step():
    worse = {Arm.BASELINE: 20, Arm.CANDIDATE: 8}
    store, rollout, events, notifier, _ = life(wrong_every=worse, until_days=5)

    at, action, share = events[-1]
    assert (action, share) == (Action.PAUSE, 1000)
    assert at < BEGIN + timedelta(days=3)
    assert "PAUSED" in notifier.messages[-1].title
    audit(store, rollout)


@pytest.mark.timeout(600)
def test_a_candidate_that_escalates_too_much_is_rolled_back():
    equal = {Arm.BASELINE: 20, Arm.CANDIDATE: 20}
    store, rollout, events, _, target = life(wrong_every=equal, escalated_every=25, until_days=5)

    assert events[-1][1:] == (Action.ROLLBACK, 0)
    assert target.share_bp(rollout, "refund") == 0
    audit(store, rollout)
