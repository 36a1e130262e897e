"""What is learnt late is judged where it belongs: in the windows that contain its request, and in no others."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.rollout.decision import Action
from controller.rollout.observation import Batch, Outcome
from controller.rollout.plan import Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Availability
from tests.reconcile.world import ESCALATIONS, MINUTE, QUICK, World

HOUR = timedelta(hours=1)


def served(requests=20, *, of=QUICK):
    """A world at its first step with quiet requests of one minute; their ids by arm are r1 … in order."""
    world = World(of)
    world.settle()
    world.traffic("quiet")
    world.settle()
    first = world.requests + 1
    for _ in range(requests // 20):
        world.traffic("quiet")
    return world, [f"r{i}" for i in range(first, world.requests + 1)]


def escalated(world, names):
    outcomes = tuple(
        Outcome(
            id=f"late-{name}", observation=name, at=world.clock.now(), flags={"escalated": True}
        )
        for name in names
    )
    return world.store.ingest(Batch(outcomes=outcomes), world.clock.now())


def test_outcomes_that_come_ten_hours_later_roll_back_on_the_window_of_their_requests():
    world, names = served(40)
    asked_at = world.clock.now()
    for _ in range(10):
        world.clock.advance(HOUR)
        world.settle()
    assert world.head.state.phase is not Phase.ROLLED_BACK

    received = escalated(world, names)
    decision = world.reconciler.tick(world.head.state.rollout)

    assert received.touched == (world.head.state.rollout,)
    assert decision.action is Action.ROLLBACK
    (failed,) = decision.notices[0].failures
    proof = failed.reading.failing
    assert proof is not None
    assert proof.window.start <= asked_at < proof.window.end


SHORT = replace(
    QUICK, rules=tuple(replace(rule, window=timedelta(hours=2)) for rule in QUICK.rules)
)


def test_what_is_learnt_after_the_traffic_stopped_still_rolls_back():
    world, names = served(40, of=SHORT)
    for _ in range(10):
        world.clock.advance(HOUR)
        world.settle()

    escalated(world, names)
    decision = world.reconciler.tick(world.head.state.rollout)

    assert decision.action is Action.ROLLBACK
    (failed,) = decision.notices[0].failures
    assert failed.reading.availability is Availability.NO_TRAFFIC
    assert failed.reading.failing is not None
    assert failed.reading.failing.reached


@pytest.mark.parametrize("away", [HOUR, 10 * HOUR])
def test_a_controller_that_was_away_rolls_back_for_what_happened_meanwhile(away):
    world, _ = served(20, of=SHORT)
    world.traffic(ESCALATIONS)
    world.clock.advance(away)

    decision = world.reconciler.tick(world.head.state.rollout)

    assert decision.action is Action.ROLLBACK


def test_a_failure_that_is_only_told_is_not_lost_to_an_expiry_in_the_same_tick():
    told = tuple(replace(rule, then=Then.NOTIFY) for rule in SHORT.rules)
    world, _ = served(20, of=replace(SHORT, rules=told))
    world.traffic(ESCALATIONS)
    world.clock.advance(10 * HOUR)

    assert world.settle()[:2] == [Action.EXPIRE, Action.NOTIFY]

    assert [one.rule for one in world.head.state.failures] == ["escalation"]


def test_a_late_outcome_is_refused_beyond_the_horizon_and_judges_nothing():
    world, names = served(40)
    world.clock.advance(world.plan.labels.horizon + MINUTE)
    world.settle()
    before = world.store.judged(world.head.state.rollout)

    received = escalated(world, names)
    decision = world.reconciler.tick(world.head.state.rollout)

    assert (received.too_late, received.touched) == (len(names), ())
    assert decision.action is Action.HOLD
    assert before is not None
    assert before.through == world.clock.now()
