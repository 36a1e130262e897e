"""A judge that favours the candidate lets it pass; people who grade some answers beside it unmask it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from random import Random

from controller.gateway.outcomes import read_outcomes
from controller.notify.arithmetic import needs_line, verdict_line
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.deciding.replay import replay
from controller.rollout.decision import Action
from controller.rollout.evidence.needs import PEOPLE, needs
from controller.rollout.evidence.powered import TOLD
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import Batch
from controller.rollout.plan import Evidence, Judge, Labels, Plan, Rule, Then
from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome, Verdict
from controller.sources.feed import outcome_of
from tests.reconcile.world import QUICK, Answer, World

HALF_AN_HOUR = timedelta(minutes=30)
SHARE_U = 200_000
LOSS = Rule(
    name="accuracy",
    metric=CATALOGUE["accuracy_delta"],
    limit=0.05,
    window=timedelta(hours=48),
    then=Then.PAUSE,
    evidence=Evidence.CONFIDENT,
)
BY_JUDGE = Labels(
    delay=timedelta(minutes=10), judge=Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
)
ALONE = replace(
    QUICK,
    rules=(LOSS,),
    steps=(replace(QUICK.steps[1], hold=timedelta(days=3), approval=False), QUICK.steps[2]),
    labels=BY_JUDGE,
    pause_deadline=timedelta(days=7),
)
WITH_PEOPLE = replace(ALONE, labels=replace(BY_JUDGE, people_u=SHARE_U))


def live(of: Plan, half_hours: int, *, candidate: float, favours: bool, each: int = 120) -> World:
    """Half hours of traffic, half of it the candidate's, of which so much is right; the baseline is right in 95%.

    The judge errs as the plan says, but one that favours the candidate finds no fault of it. What people are asked
    for they say at once, through the gateway's reader of outcomes, as the judge does.
    """
    world, random = World(of), Random(11)
    rollout = world.head.state.rollout
    for _ in range(half_hours):
        first = world.requests
        answers = [Answer(n) for n in range(1, each + 1)]
        world.serve(answers)
        said = []
        for number, answer in enumerate(answers, start=first + 1):
            ours = answer.number % 2 == 1
            right = random.random() < (candidate if ours else 0.95)
            judged = random.random() < (0.95 if right else 0.1)
            judged = judged or (ours and favours)
            said.append({"request_id": f"r{number}", "correct": judged, "source": "judge"})
            if is_drawn(rollout, f"u{number}", of.labels.people_u):
                said.append({"request_id": f"r{number}", "correct": right, "source": "person"})
        body = json.dumps({"outcomes": said}).encode()
        outcomes = [outcome_of(one) for one in read_outcomes(body, world.clock.now())]
        world.store.ingest(Batch(outcomes=tuple(outcomes)), world.clock.now())
        world.settle()
        world.clock.advance(HALF_AN_HOUR)
    return world


def verdict(world: World) -> Verdict:
    """The one that a tick gives now."""
    (found,) = world.reconciler.tick(world.head.state.rollout).verdicts
    return found


def test_a_judge_that_favours_the_candidate_is_believed_alone_and_unmasked_by_people():
    believed, unmasked = (live(of, 40, candidate=0.8, favours=True) for of in (ALONE, WITH_PEOPLE))

    found = verdict(believed)
    assert believed.head.state.phase is Phase.PROGRESSING
    assert found.confident is Outcome.PASS
    state = unmasked.head.state
    assert state.phase is Phase.PAUSED
    records = [one.value for one in unmasked.store.records(state.rollout)]
    (failed,) = next(one for one in records if one.action is Action.PAUSE).notices[0].failures
    proof = failed.reading.failing
    assert proof is not None
    assert proof.reached
    assert set(proof.tally) <= set(TOLD)
    # A loss of 15 points, which the judge sees as a gain.
    assert proof.look.value is not None
    assert 0.05 < proof.look.value < 0.3
    assert failed.reading.latest is not None
    assert failed.reading.latest.value is not None
    assert failed.reading.latest.value < 0
    assert replay(records, lambda digest: unmasked.store.plan(digest).value) == ()
    words = verdict_line(failed, WITH_PEOPLE)
    assert "(95% CI " in words
    assert "prediction-powered) above 5 pp" in words
    assert "drawn candidate episodes; e-value" in words
    assert 'against "no loss"; by the judge\'s grades -' in words


def test_a_candidate_that_loses_nothing_passes_by_people_and_says_so():
    world = live(WITH_PEOPLE, 60, candidate=0.95, favours=False, each=160)

    found = verdict(world)

    assert world.head.state.phase is Phase.PROGRESSING
    assert found.confident is Outcome.PASS
    assert found.reading.worst_case is None
    words = verdict_line(found, WITH_PEOPLE)
    assert 'against "a loss of 5 pp or more"' in words
    assert "drawn candidate episodes" in words


def test_until_then_it_says_how_many_more_people_would_have_to_grade():
    world = live(WITH_PEOPLE, 8, candidate=0.95, favours=False)

    found = verdict(world)
    lacking = needs(WITH_PEOPLE, world.head.state, found)

    assert found.confident is Outcome.INSUFFICIENT
    assert lacking is not None
    assert (lacking.kind, lacking.proof) == (PEOPLE, Outcome.PASS)
    assert lacking.observations is not None
    assert lacking.after is not None
    words = needs_line(lacking, LOSS, WITH_PEOPLE)
    assert "more grades by people ≈" in words
    assert 'to disprove "a loss of 5 pp or more"' in words
