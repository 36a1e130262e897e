"""A candidate that answers more slowly than the baseline is stopped by proof, and the record of it replays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controller.notify.arithmetic import title_line, verdict_line
from controller.reconcile.observe import Observer
from controller.rollout.deciding.replay import replay
from controller.rollout.decision import Action
from controller.rollout.evidence.comparison import LEAST, reference_key
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.plan import Evidence, Rule, Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome
from controller.stats.histogram import bucket_of, upper_edge
from tests.reconcile.world import MINUTE, QUICK, Answer, World

SLOWER = Rule(
    name="slower",
    metric=CATALOGUE["latency_p95_ratio"],
    limit=1.25,
    window=timedelta(hours=1),
    then=Then.ROLLBACK,
    evidence=Evidence.CONFIDENT,
)
PLAN = replace(QUICK, rules=(SLOWER,), steps=(replace(QUICK.steps[0], hold=timedelta(days=3)),))
KEY = reference_key(SLOWER, None)


def serve(world: World, *, slow: bool, busy: bool = False, each: int = 40) -> None:
    """A minute's requests, half of each arm: one in ten takes 2 s, and of a slow candidate four in ten 4 s.

    While it is busy everything takes three times as long, on both arms.
    """

    def seconds(number: int) -> int:
        if slow and number % 2 and number % 10 < 4:
            return 4
        return 2 if number % 20 < 2 else 1

    times = 3 * MICRO if busy else MICRO
    world.serve(
        Answer(n, quantities={"latency_us": seconds(n) * times}) for n in range(1, each + 1)
    )


def run(world: World, *minutes: dict[str, bool]) -> None:
    for each in minutes:
        serve(world, **each)
        world.settle()
        world.clock.advance(MINUTE)


def actions(world: World) -> list[Action]:
    return [one.value.action for one in world.store.records(world.head.state.rollout)]


def test_a_slower_candidate_is_rolled_back_by_proof_and_the_record_replays():
    world = World(PLAN)
    run(world, *[{"slow": False}] * 12, *[{"slow": True}] * 30)

    state = world.head.state
    records = [one.value for one in world.store.records(state.rollout)]
    (failed,) = records[-1].notices[0].failures
    assert state.phase is Phase.ROLLED_BACK
    assert (failed.outcome, failed.observed) == (Outcome.FAIL, Outcome.INSUFFICIENT)
    proof = failed.reading.failing
    assert proof is not None
    assert proof.reached
    assert proof.claim == upper_edge(bucket_of(2.0))
    assert replay(records, lambda digest: world.store.plan(digest).value) == ()
    words = verdict_line(failed, PLAN)
    assert "(1.25 × the baseline's p95 of 2.04s when it was frozen)" in words
    assert 'against "above 2.55s no more often than the baseline above 2.04s"' in words
    assert title_line(failed, PLAN).startswith("latency_p95_ratio ")


def test_what_slows_both_arms_down_stops_nothing():
    world = World(PLAN)
    run(world, *[{"slow": False}] * 12, *[{"slow": False, "busy": True}] * 40)

    assert world.head.state.phase is Phase.PROGRESSING


def test_the_percentile_is_frozen_once_when_there_are_enough_requests_and_nobody_is_told():
    world = World(PLAN)
    run(world, *[{"slow": False}] * 20)

    (frozen,) = world.head.state.references[KEY]
    known = sum(one is Action.MEASURE for one in actions(world))
    assert frozen.bucket == bucket_of(2.0)
    assert known == 1  # at 20 a minute, the first share came before there were a hundred
    assert LEAST > 20
    (record,) = [
        one.value
        for one in world.store.records(world.head.state.rollout)
        if one.value.action is Action.MEASURE
    ]
    assert record.notices == ()
    assert record.share_before_bp == record.state.share_bp


def test_a_new_controller_reads_the_same_from_the_store():
    world = World(PLAN)
    run(world, *[{"slow": False}] * 70)
    rollout, now = world.head.state.rollout, world.clock.now()

    def readings(observer: Observer):
        return observer.seen(observer.look(rollout), None, now).readings

    kept, fresh = (
        world.reconciler._observer,
        Observer(world.store),
    )  # what it remembers is the point

    found = readings(kept)
    assert found == readings(fresh)
    assert found[0].passing is not None
    assert found[0].passing.tally["candidate"] > 1_000


def test_a_step_freezes_another_percentile_and_each_minute_keeps_its_own():
    first, second, last = QUICK.steps
    steps = (
        replace(first, hold=30 * MINUTE),
        replace(second, hold=timedelta(days=3), approval=False),
        last,
    )
    world = World(replace(PLAN, steps=steps))
    quiet, busy = {"slow": False}, {"slow": False, "busy": True}
    run(world, *[quiet] * 12, *[busy] * 50)
    rollout, now = world.head.state.rollout, world.clock.now()

    def reading(observer: Observer):
        (found,) = observer.seen(observer.look(rollout), None, now).readings
        return found

    buckets = [one.bucket for one in world.head.state.references[KEY]]
    kept, fresh = (
        world.reconciler._observer,
        Observer(world.store),
    )  # what it remembers is the point
    found = reading(kept)
    assert world.head.state.step == 1
    assert buckets == [bucket_of(2.0), bucket_of(6.0)]
    assert found == reading(fresh)
    assert found.passing is not None
    assert found.passing.claim == upper_edge(bucket_of(6.0))
    # One in ten is above the p95 of its time on either arm, but for the busy minutes before the step: all of them.
    assert found.passing.tally["baseline.above"] > 0.1 * found.passing.tally["baseline"]
