"""A candidate whose answers are too often wrong is stopped by proof, and the record of it replays to the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.notify.arithmetic import verdict_line
from controller.rollout.deciding.replay import replay
from controller.rollout.metrics import CATALOGUE, custom_rate
from controller.rollout.observation import Outcome
from controller.rollout.plan import Evidence, Labels, Rule, Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome as Verdict
from tests.reconcile.world import MINUTE, QUICK, Answer, World

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
    now = world.clock.now()

    def learnt(request: str, answer: Answer) -> Outcome:
        good = not (bad and answer.number % 20 in (1, 3, 5))
        return Outcome(
            id=f"o/{request}",
            observation=request,
            at=now,
            correct=float(good),
            flags={"custom.polite": good},
        )

    world.serve(map(Answer, range(1, 41)), learnt=learnt)


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
