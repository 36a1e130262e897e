"""A step that takes longer than its deadline: told once, with what is missing; nothing moves because of it."""

from __future__ import annotations

from dataclasses import replace

from controller.rollout.commands import PauseNow, Resume
from controller.rollout.deciding.replay import replay
from controller.rollout.decision import Action
from controller.rollout.observation import Batch, Outcome
from controller.rollout.plan import Advance, Intent, Labels, Plan, Step
from controller.rollout.state import Phase
from tests.reconcile.world import MINUTE, QUICK, QUIET, World
from tests.rollout.factories import ACCURACY

UNPROVEN = replace(
    QUICK,
    intents=(Intent(name="chat", critical=True),),
    steps=(
        Step(
            share_bp=5000,
            hold=MINUTE,
            min_samples=1_000,
            advance=Advance.PROVEN,
            deadline=6 * MINUTE,
        ),
        Step(share_bp=10_000),
    ),
    rules=(*QUICK.rules, ACCURACY),
    labels=Labels(),
)


def serve(world: World) -> None:
    """Twenty requests on each arm that has traffic, with right answers."""
    before = world.requests
    world.traffic(QUIET)
    graded = tuple(
        Outcome(id=f"o{number}", observation=f"r{number}", at=world.clock.now(), correct=1.0)
        for number in range(before + 1, world.requests + 1)
    )
    world.store.ingest(Batch(outcomes=graded), world.clock.now())


def at_its_first_step(of: Plan) -> World:
    world = World(of=of)
    world.settle()
    serve(world)  # a baseline that answers
    world.settle()
    assert world.head.state.phase is Phase.PROGRESSING
    return world


def minute(world: World) -> list[Action]:
    world.clock.advance(MINUTE)
    serve(world)
    return world.settle()


def told(world: World) -> list[str]:
    """What was said of a deadline."""
    return [
        one.message.body
        for one in world.notifier.sent
        if one.owed.notice.detail == "deadline" and one.owed.notice.action is Action.NOTIFY
    ]


def test_it_is_told_once_with_all_that_is_missing_and_moves_nothing():
    world = at_its_first_step(UNPROVEN)

    before = [minute(world) for _ in range(5)]
    assert (told(world), {action for one in before for action in one}) == ([], {Action.HOLD})
    for _ in range(10):
        minute(world)
        world.restart()

    (text,) = told(world)
    # Six minutes of twenty requests on each arm.
    assert "samples: 120 of 1,000 for the candidate's requests in this step" in text
    assert "samples: 120 of 1,000 for accuracy_delta on chat" in text
    assert "proof: accuracy_delta on chat is not proven to keep its limit; accuracy_delta" in text
    # 120 blocks of no loss, k = 1: variance 0.05 × 0.95 × 2, bets 0.079, 0.118 and 0.237 on 1.5 points each.
    assert 'e-value 1.3 < 20 against "a loss of 1.5 pp or more"' in text
    assert "coverage" not in text
    assert (world.head.state.phase, world.head.state.share_bp) == (Phase.PROGRESSING, 5_000)


def test_it_counts_from_the_steps_begin_and_a_pause_does_not_repeat_it():
    world = at_its_first_step(UNPROVEN)
    for _ in range(6):
        minute(world)
    assert len(told(world)) == 1

    assert world.command(PauseNow(actor="ann", reason="lunch"))
    minute(world)
    assert world.command(Resume(actor="ann", reason="back"))
    for _ in range(3):
        minute(world)

    assert len(told(world)) == 1


def test_one_that_is_over_in_a_pause_is_told_when_the_rollout_goes_on():
    world = at_its_first_step(UNPROVEN)
    minute(world)
    assert world.command(PauseNow(actor="ann", reason="lunch"))
    for _ in range(8):
        minute(world)
    while_paused = told(world)

    assert world.command(Resume(actor="ann", reason="back"))
    minute(world)

    assert (while_paused, len(told(world))) == ([], 1)


def test_a_step_that_is_left_in_time_is_not_told():
    in_time = replace(UNPROVEN.steps[0], min_samples=10, advance=Advance.CLEAR)
    world = at_its_first_step(replace(UNPROVEN, steps=(in_time, UNPROVEN.steps[1])))

    for _ in range(10):
        minute(world)

    assert told(world) == []
    assert world.head.state.step == 1


def test_what_was_told_is_decided_again_from_its_record():
    world = at_its_first_step(UNPROVEN)
    for _ in range(6):
        minute(world)

    records = [one.value for one in world.store.records(world.head.state.rollout)]

    assert [len(one.waits) for one in records[-1].notices] == [5]
    assert replay(records, lambda digest: world.store.plan(digest).value) == ()
