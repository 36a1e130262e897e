"""What a rule's fields do in a rollout that is ticked: `for`, `minWindow`, and labels that one arm lacks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.notify.arithmetic import verdict_line
from controller.rollout.deciding.replay import replay
from controller.rollout.decision import Waiting
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import Outcome
from controller.rollout.plan import Advance, Arm, Evidence, Intent, Labels, Rule, Scope, Step, Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome as Said
from tests.reconcile.world import MINUTE, QUICK, Answer, World

LONG = (Step(share_bp=5000, hold=timedelta(days=3)),)
ERRORS = Rule(
    name="errors",
    metric=CATALOGUE["error_rate"],
    limit=0.1,
    window=10 * MINUTE,
    then=Then.PAUSE,
    min_samples=20,
)
LOSS = Rule(
    name="accuracy",
    metric=CATALOGUE["accuracy_delta"],
    limit=0.05,
    window=timedelta(hours=6),
    then=Then.PAUSE,
    evidence=Evidence.CONFIDENT,
    scope=Scope.CRITICAL,
)


def minutes_until_paused(rule: Rule, failing: list[int]) -> int | None:
    """Twenty requests of each arm a minute; of the candidate's so many fail. The record of the pause replays."""
    world = World(replace(QUICK, rules=(rule,), steps=LONG))
    for minute, of_twenty in enumerate(failing):
        world.serve(Answer(n, {"error": n % 2 == 1 and n < 2 * of_twenty}) for n in range(1, 41))
        world.settle()
        state = world.head.state
        if state.phase is Phase.PAUSED:
            records = [one.value for one in world.store.records(state.rollout)]
            assert replay(records, lambda digest: world.store.plan(digest).value) == ()
            (failed,) = records[-1].notices[0].failures
            (shown,) = (failed.reading.failing, failed.reading.worst)[
                rule.evidence == "observed" :
            ][:1]
            assert shown is not None
            assert shown.window.span >= rule.min_window
            return minute
        world.clock.advance(MINUTE)
    return None


def test_a_limit_that_has_to_stay_passed_is_not_failed_by_less():
    lasting = replace(ERRORS, sustained=5 * MINUTE)
    # A minute in which all fail lies in ten windows, and one in which three more do is the last of them.
    burst = [0] * 15 + [20] + [0] * 3
    assert minutes_until_paused(ERRORS, burst) is None  # 20 of 200 is at the limit, not above it

    burst = [0] * 15 + [20, 3] + [0] * 20
    at_once = minutes_until_paused(ERRORS, burst)
    later = minutes_until_paused(lasting, burst)

    assert at_once == 16
    assert later == 21


def test_a_limit_that_is_kept_again_before_that_fails_nothing():
    lasting = replace(ERRORS, sustained=9 * MINUTE)

    assert minutes_until_paused(lasting, [0] * 15 + [20, 3] + [0] * 20) is None


def test_a_proof_blames_no_window_that_is_shorter_than_asked_for():
    quick = replace(ERRORS, evidence=Evidence.CONFIDENT, window=timedelta(hours=6))
    slow = replace(quick, min_window=40 * MINUTE)

    soon, late = (minutes_until_paused(rule, [8] * 60) for rule in (quick, slow))

    assert soon is not None
    assert late is not None
    assert soon < 10
    assert late >= 39


@pytest.mark.parametrize(
    ("every", "step"), [(0, 1), (4, 0)], ids=["all are there", "three of four are"]
)
def test_labels_that_the_candidate_lacks_count_against_a_pass(every, step):
    """All that came are right. With every fourth of the candidate's missing, a quarter may be wrong: no advance."""
    first = Step(share_bp=5000, hold=MINUTE, advance=Advance.PROVEN)
    world = World(
        replace(
            QUICK,
            intents=(Intent(name="chat", critical=True),),
            rules=(LOSS,),
            steps=(first, Step(share_bp=10_000, hold=timedelta(days=3))),
            labels=Labels(delay=MINUTE),
        )
    )

    def learnt(request: str, answer: Answer) -> Outcome:
        lacking = every and answer.arm is Arm.CANDIDATE and answer.number % (2 * every) == 1
        return Outcome(
            id=f"o/{request}",
            observation=request,
            at=world.clock.now(),
            correct=None if lacking else 1.0,
        )

    for _ in range(40):
        world.serve(map(Answer, range(1, 41)), learnt=learnt)
        world.settle()
        world.clock.advance(MINUTE)

    decision = world.reconciler.tick(world.head.state.rollout)
    (verdict,) = decision.verdicts
    assert world.head.state.step == step
    assert verdict.reading.passing is not None
    assert verdict.reading.passing.reached
    if every:
        worst = verdict.reading.worst_case
        assert worst is not None
        assert not worst.proof.reached
        assert verdict.confident is Said.INSUFFICIENT
        assert {Waiting.PROOF, Waiting.COVERAGE} <= {one.waiting for one in decision.waits}
        assert "with every missing label against it" in verdict_line(verdict, world.plan)
