"""A candidate whose answers are too often wrong is stopped by proof, and the record of it replays to the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.notify.arithmetic import verdict_line
from controller.rollout.metrics import CATALOGUE, custom_rate
from controller.rollout.observation import Batch, Observation, Outcome
from controller.rollout.plan import Arm, Evidence, Labels, Rule, Then
from controller.rollout.replay import replay
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome as Verdict
from tests.reconcile.world import MINUTE, QUICK, World

RIGHT = Rule(
    name="right",
    metric=CATALOGUE["accuracy"],
    limit=0.9,
    below=True,
    window=timedelta(hours=24),
    then=Then.ROLLBACK,
    evidence=Evidence.CONFIDENT,
)
POLITE = replace(RIGHT, name="polite", metric=custom_rate("polite"))


def serve(world: World, *, bad: bool) -> None:
    """A minute's requests of both arms with their outcomes; of the candidate's 30% are wrong and rude, or none."""
    version = world.head.state.version
    numbers = range(world.requests + 1, world.requests + 41)
    world.requests += len(numbers)
    now = world.clock.now()
    requests = [
        Observation(
            id=f"r{number}",
            rollout=world.head.state.rollout,
            at=now,
            unit=f"u{number}",
            arm=Arm.CANDIDATE if number % 2 else Arm.BASELINE,
            intent="chat",
            version=version,
            flags={"error": False},
        )
        for number in numbers
    ]
    wrong = {number for number in numbers if bad and number % 20 in (1, 3, 5)}
    outcomes = [
        Outcome(
            id=f"o{number}",
            observation=f"r{number}",
            at=now,
            correct=0.0 if number in wrong else 1.0,
            flags={"custom.polite": number not in wrong},
        )
        for number in numbers
    ]
    world.store.ingest(Batch(observations=tuple(requests), outcomes=tuple(outcomes)), now)


@pytest.mark.parametrize("rule", [RIGHT, POLITE], ids=["accuracy", "a rate"])
def test_a_worse_candidate_is_rolled_back_by_proof_and_the_record_replays(rule):
    steps = (replace(QUICK.steps[0], hold=timedelta(days=3)),)
    world = World(replace(QUICK, rules=(rule,), steps=steps, labels=Labels(delay=MINUTE)))
    for bad in [False] * 5 + [True] * 25:
        serve(world, bad=bad)
        world.settle()
        world.clock.advance(MINUTE)

    state = world.head.state
    records = [one.value for one in world.store.records(state.rollout)]
    (failed,) = records[-1].notices[0].failures
    assert state.phase is Phase.ROLLED_BACK
    assert (failed.outcome, failed.observed) == (Verdict.FAIL, Verdict.INSUFFICIENT)
    proof = failed.reading.failing
    assert proof is not None
    assert proof.reached
    assert proof.look.value is not None
    assert 0.7 <= proof.look.value < 0.9
    assert 'against "at least 90%"' in verdict_line(failed, world.plan)
    assert replay(records, lambda digest: world.store.plan(digest).value) == ()
