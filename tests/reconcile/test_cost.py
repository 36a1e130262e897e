"""A candidate whose right answers cost too much is stopped by proof, and the record of it replays to the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controller.notify.arithmetic import title_line, verdict_line
from controller.rollout.deciding.replay import replay
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import Outcome as Learnt
from controller.rollout.plan import Evidence, Labels, Rule, Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome
from tests.reconcile.world import MINUTE, QUICK, Answer, World

LIMIT_NUSD = 2_000_000
DEAR = Rule(
    name="right",
    metric=CATALOGUE["cost_per_correct"],
    limit=0.002,
    window=timedelta(hours=24),
    then=Then.PAUSE,
    evidence=Evidence.CONFIDENT,
)
DELAY = timedelta(minutes=3)
PLAN = replace(
    QUICK,
    rules=(DEAR,),
    steps=(replace(QUICK.steps[0], hold=timedelta(days=3)),),
    labels=Labels(delay=DELAY),
)


def serve(world: World, *, nusd: int) -> None:
    """A minute's requests of both arms, the candidate's at so much each. Nine in ten are right."""

    def cost(number: int) -> int:
        return nusd if number % 2 else 100 * LIMIT_NUSD

    def learnt(name: str, answer: Answer) -> Learnt:
        return Learnt(
            id=f"of {name}",
            observation=name,
            at=world.clock.now(),
            correct=float(answer.number % 20 != 1),
        )

    world.serve((Answer(n, quantities={"cost_nusd": cost(n)}) for n in range(1, 41)), learnt=learnt)
    world.settle()
    world.clock.advance(MINUTE)


def test_a_candidate_whose_right_answers_cost_too_much_is_paused_by_proof_and_the_record_replays():
    world = World(PLAN)
    for nusd in [LIMIT_NUSD // 2] * 5 + [3 * LIMIT_NUSD] * 40:
        serve(world, nusd=nusd)

    state = world.head.state
    records = [one.value for one in world.store.records(state.rollout)]
    paused = next(one for one in records if one.notices and one.notices[0].failures)
    (failed,) = paused.notices[0].failures
    assert state.phase is Phase.PAUSED
    assert (failed.outcome, failed.observed) == (Outcome.FAIL, Outcome.INSUFFICIENT)
    proof = failed.reading.failing
    assert proof is not None
    assert proof.reached
    assert proof.tally["requests"] == proof.tally["graded"]
    assert proof.tally["correct_u"] == 0.9 * MICRO * proof.tally["graded"]
    assert proof.look.value is not None
    assert 0.002 < proof.look.value < 0.007
    assert replay(records, lambda digest: world.store.plan(digest).value) == ()
    line = verdict_line(failed, world.plan)
    assert line.startswith("cost_per_correct 0.00")
    assert "each counted up to 0.02 USD" in line
    assert 'against "at most 0.002 USD"' in line
    assert title_line(failed, world.plan).endswith("above 0.002 USD")


def test_one_at_the_limit_goes_on():
    world = World(PLAN)
    for _ in range(60):
        serve(world, nusd=int(0.9 * LIMIT_NUSD))

    assert world.head.state.phase is Phase.PROGRESSING
