"""A candidate that answers slowly is stopped by proof, and the record of it replays to the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controller.rollout.deciding.replay import replay
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.plan import Evidence, Rule, Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome
from tests.reconcile.world import MINUTE, QUICK, Answer, World

SLOW = Rule(
    name="slow",
    metric=CATALOGUE["latency_p95"],
    limit=2.0,
    window=timedelta(hours=24),
    then=Then.ROLLBACK,
    evidence=Evidence.CONFIDENT,
)
PLAN = replace(QUICK, rules=(SLOW,), steps=(replace(QUICK.steps[0], hold=timedelta(days=3)),))


def serve(world: World, *, slow: bool) -> None:
    """A minute's requests of both arms; of the candidate's a fifth are slow, or none."""

    def latency_us(number: int) -> int:
        return 3 * MICRO if slow and number % 10 == 1 else MICRO

    world.serve(Answer(n, quantities={"latency_us": latency_us(n)}) for n in range(1, 41))


def test_a_slow_candidate_is_rolled_back_by_proof_and_the_record_replays():
    world = World(PLAN)
    for slow in [False] * 5 + [True] * 20:
        serve(world, slow=slow)
        world.settle()
        world.clock.advance(MINUTE)

    state = world.head.state
    records = [one.value for one in world.store.records(state.rollout)]
    (failed,) = records[-1].notices[0].failures
    assert state.phase is Phase.ROLLED_BACK
    assert (failed.outcome, failed.observed) == (Outcome.FAIL, Outcome.INSUFFICIENT)
    proof = failed.reading.failing
    assert proof is not None
    assert proof.reached
    assert proof.look.value is not None
    assert 0.05 < proof.look.value <= 0.2
    assert replay(records, lambda digest: world.store.plan(digest).value) == ()
