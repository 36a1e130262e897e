"""A sudden jump of a metric pauses a rollout without any limit that somebody knew, and the record replays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controller.notify.arithmetic import verdict_line
from controller.rollout.deciding.replay import replay
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Rule, Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome
from tests.reconcile.world import MINUTE, QUICK, Answer, World

JUMP = Rule(
    name="jump",
    metric=CATALOGUE["error_rate"],
    limit=3.0,
    usual=timedelta(days=7),
    window=15 * MINUTE,
    then=Then.PAUSE,
    min_samples=50,
)
PLAN = replace(QUICK, rules=(JUMP,), steps=(replace(QUICK.steps[0], hold=timedelta(days=3)),))


def serve(world: World, *, failing: int) -> None:
    """A minute's requests, 20 of each arm; of the candidate's so many fail."""
    world.serve(Answer(n, {"error": n % 2 == 1 and n < 2 * failing}) for n in range(1, 41))


def test_a_jump_pauses_and_the_record_of_it_replays():
    world = World(PLAN)
    for failing in [1] * 60 + [6] * 20:
        serve(world, failing=failing)
        world.settle()
        if world.head.state.phase is Phase.PAUSED:
            break
        world.clock.advance(MINUTE)

    state = world.head.state
    records = [one.value for one in world.store.records(state.rollout)]
    (failed,) = records[-1].notices[0].failures
    worst = failed.reading.worst
    assert state.phase is Phase.PAUSED
    assert (failed.outcome, failed.confident) == (Outcome.FAIL, Outcome.NOT_APPLICABLE)
    assert worst is not None
    # One in twenty before: three times that is passed after seven of fifteen minutes with six in twenty.
    assert worst.usual == 0.05
    assert worst.value == (8 * 1 + 7 * 6) / 300
    assert "above 3 × its usual 5% in the 7d before" in verdict_line(failed, PLAN)
    assert replay(records, lambda digest: world.store.plan(digest).value) == ()


def test_what_is_always_so_is_no_jump():
    world = World(PLAN)
    for _ in range(60):
        serve(world, failing=6)
        world.settle()
        world.clock.advance(MINUTE)

    assert world.head.state.phase is Phase.PROGRESSING
