"""Labels of a judge that errs: a pass needs a smaller margin, a fail the same as ever."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.commands import Apply
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action, Waiting
from controller.rollout.evidence.proofs import failing_bets, passing_bets
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import judge, kept_limit
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Advance, Judge, Plan, Step
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Outcome
from controller.stats.noise import true_difference, true_rate
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan, seen
from tests.rollout.test_readings import START, labels, row, view

LOSS = replace(ACCURACY, window=timedelta(hours=2), min_samples=1)
PROMPT = plan(
    rules=(LOSS,),
    labels=replace(plan().labels, delay=timedelta(0)),
    steps=(Step(share_bp=1000, advance=Advance.PROVEN), Step(share_bp=9000)),
)
ERRS = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)


def judged_by(one: Judge | None, of: Plan = PROMPT) -> Plan:
    return replace(of, labels=replace(of.labels, judge=one))


def without_loss(blocks: int):
    """So many blocks in which the arms are equally good, and their labels."""
    return [
        labels(START + 1, 9 * blocks, 9 * blocks, arm="baseline"),
        labels(START + 1, blocks, blocks, arm="candidate"),
        row(START + 1, {"b.0": blocks}, arm=BOTH_ARMS),
    ]


def test_the_margin_of_a_pass_shrinks_as_the_judge_shows_a_loss():
    of = judged_by(ERRS)

    # 0.015 × (0.95 + 0.9 − 1)
    assert kept_limit(of, LOSS) == pytest.approx(0.01275)
    assert kept_limit(PROMPT, LOSS) == 0.015
    assert kept_limit(of, ESCALATION) == 0.02
    assert passing_bets(of, LOSS, "blocks").m == pytest.approx(-0.01275)
    assert failing_bets(of, LOSS, "blocks") == failing_bets(PROMPT, LOSS, "blocks")


def test_the_proof_of_a_pass_is_bet_against_the_smaller_margin():
    found = read(view(without_loss(700), minutes=119, of=judged_by(ERRS)), LOSS, "refund").passing

    variance = 0.05 * 0.95 * (1 + 1 / 9)
    logs = []
    for factor in (0.5, 0.75, 1.5):
        bet = min(factor * 0.01275 / variance, 0.95 / (1 - 0.01275))
        logs.append(700 * math.log1p(bet * 0.01275))
    expected = max(logs) + math.log(sum(math.exp(one - max(logs)) for one in logs) / 3)
    assert found is not None
    assert found.claim == pytest.approx(0.01275)
    assert found.log_e == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3_000), st.floats(0.55, 1.0), st.floats(0.55, 1.0))
def test_a_judge_never_makes_a_pass_easier(blocks, sensitivity, specificity):
    rows = without_loss(blocks)
    errs = judged_by(Judge(sensitivity=sensitivity, specificity=specificity))

    passing = [
        read(view(rows, minutes=119, of=of), LOSS, "refund").passing for of in (errs, PROMPT)
    ]

    assert passing[0] is not None
    assert passing[1] is not None
    assert passing[0].log_e <= passing[1].log_e + 1e-9


def test_a_step_that_true_labels_would_prove_waits_for_more_of_a_judges():
    def waiting(of: Plan) -> set[Waiting]:
        found = read(view(without_loss(650), minutes=119, of=of), LOSS, "refund")
        world = replace(seen(), readings=(found,))
        state = at_step(0, of, started_at=NOW)
        return {one.waiting for one in decide(of, state, world, None, start_of(START + 119)).waits}

    assert Waiting.PROOF not in waiting(PROMPT)
    assert Waiting.PROOF in waiting(judged_by(ERRS))


def test_the_same_labels_fail_whoever_gave_them():
    rows = [
        labels(START + 1, 900, 900, arm="baseline"),
        labels(START + 1, 100, 70, arm="candidate"),
        row(START + 1, {"b.0": 70, "b.1000000": 30}, arm=BOTH_ARMS),
    ]
    verdicts = [
        judge(LOSS, read(view(rows, minutes=119, of=of), LOSS, "refund"))
        for of in (PROMPT, judged_by(ERRS))
    ]

    assert [one.confident for one in verdicts] == [Outcome.FAIL, Outcome.FAIL]
    assert verdicts[0].reading.failing == verdicts[1].reading.failing


def test_another_judge_starts_the_evidence_of_accuracy_anew_and_of_nothing_else():
    of = plan()
    state = at_step(0, of)
    amended = decide(
        of, state, seen(), Apply(plan=judged_by(ERRS, of), actor="ann", reason="judge"), NOW
    )

    assert amended.action is Action.AMEND
    assert set(amended.state.epochs) == {"accuracy"}


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.55, 1), st.floats(0.55, 1))
def test_what_a_judge_does_to_rates_is_undone(baseline, candidate, sensitivity, specificity):
    errors = {"sensitivity": sensitivity, "specificity": specificity}

    def seen_as(rate: float) -> float:
        return rate * sensitivity + (1 - rate) * (1 - specificity)

    assert true_rate(seen_as(baseline), **errors) == pytest.approx(baseline, abs=1e-9)
    assert true_difference(seen_as(baseline) - seen_as(candidate), **errors) == pytest.approx(
        baseline - candidate, abs=1e-9
    )
