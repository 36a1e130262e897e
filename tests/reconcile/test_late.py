"""What is learnt late is judged where it belongs: in the windows that contain its request, and in no others."""

from datetime import timedelta

from controller.rollout.decision import Action
from controller.rollout.observation import Batch, Outcome
from controller.rollout.state import Phase
from tests.reconcile.world import MINUTE, World

HOUR = timedelta(hours=1)


def served(requests=20):
    """A world at its first step with quiet requests of one minute; their ids by arm are r1 … in order."""
    world = World()
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
