"""What a proof is made from: whose evidence it is, what is bet on, and where a limit is at its edge."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.rollout import proofs
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Arm, Scope
from controller.rollout.readings import read
from tests.rollout.factories import ACCURACY, ESCALATION, plan
from tests.rollout.test_below_proofs import graded
from tests.rollout.test_readings import START, requests, row, view

PROMPT = replace(plan().labels, delay=timedelta(0))
RIGHT = replace(
    ESCALATION, name="right", metric=CATALOGUE["accuracy"], limit=0.9, below=True, scope=Scope.EACH
)
EACH = replace(ESCALATION, scope=Scope.EACH)
INTENTS = ("refund", "order-status")


def both(minute: int, stats, intent: str):
    return row(minute, stats, arm=BOTH_ARMS, intent=intent)


def tallies_by_intent(rule, rows):
    """What a rule's proofs saw of each intent; the failing and the passing one saw the same."""
    of = plan(rules=(rule,), labels=PROMPT)
    seen = view(rows, minutes=9, of=of)
    told = []
    for intent in INTENTS:
        found = read(seen, rule, intent)
        assert found.failing is not None
        assert found.passing is not None
        assert found.failing.tally == found.passing.tally
        told.append(found.failing.tally)
    return told


def test_a_proof_on_a_rate_is_of_its_intents_episodes_alone():
    rows = [
        requests(START, 10, 1),
        requests(START, 20, 4, intent="order-status"),
    ]

    assert tallies_by_intent(EACH, rows) == [
        {"0": 9, str(MICRO): 1},
        {"0": 16, str(MICRO): 4},
    ]
    # The baseline's are its own, and all intents together are all of them.
    baseline = replace(ESCALATION, arm=Arm.BASELINE)
    seen = view([*rows, requests(START, 50, 7, arm="baseline")], minutes=9)
    for rule, tally in (
        (baseline, {"0": 43, str(MICRO): 7}),
        (ESCALATION, {"0": 25, str(MICRO): 5}),
    ):
        found = read(seen, rule, None).failing
        assert found is not None
        assert found.tally == tally


def test_a_proof_on_an_accuracy_is_of_its_intents_grades_alone():
    rows = [
        graded(START, 1.0, 1.0, 0.0),
        graded(START, 0.0, intent="order-status"),
    ]

    assert tallies_by_intent(RIGHT, rows) == [{"0": 1, str(MICRO): 2}, {"0": 1}]


def test_a_proof_on_a_loss_is_of_its_intents_blocks_alone():
    rows = [
        both(START, {"b.0": 5, "b.1000000": 2}, "refund"),
        both(START, {"b.0": 7, "b.-1000000": 3}, "order-status"),
    ]
    each = replace(ACCURACY, scope=Scope.EACH)

    assert tallies_by_intent(each, rows) == [
        {"0": 5, "1000000": 2},
        {"0": 7, "-1000000": 3},
    ]


def test_a_proof_on_a_loss_is_of_its_intents_pairs_alone():
    rows = [
        both(START, {"p.11": 5, "p.10": 2, "pv.500000": 1}, "refund"),
        both(START, {"p.11": 7, "p.01": 3, "pv.250000": 4}, "order-status"),
    ]
    each = replace(ACCURACY, scope=Scope.EACH)

    assert tallies_by_intent(each, rows) == [
        {"0": 5, "1000000": 2, "500000": 1},
        {"0": 7, "-1000000": 3, "250000": 4},
    ]


def test_an_intent_without_blocks_or_pairs_has_no_proof_on_a_loss_from_anothers():
    each = replace(ACCURACY, scope=Scope.EACH)
    of = plan(rules=(each,), labels=PROMPT)
    rows = [both(START, {"b.0": 5, "p.11": 3, "pv.500000": 2}, "refund")]

    found = read(view(rows, minutes=9, of=of), each, "order-status")

    assert (found.failing, found.passing) == (None, None)


def test_pairs_that_all_have_a_grade_between_are_evidence_on_their_own():
    of = plan(rules=(ACCURACY,), labels=PROMPT)

    found = read(view([both(START, {"pv.500000": 2}, "refund")], minutes=9, of=of), ACCURACY, None)

    assert found.failing is not None
    assert found.failing.tally == {"500000": 2}


def test_the_rate_worth_catching_is_never_above_all():
    often = replace(ESCALATION, limit=0.8)
    of = plan(rules=(often,))

    assert proofs.worth_catching(often) == 1.0  # 1.5 × 80% would be 120%
    found = read(view([requests(START, 50, 50)], minutes=9, of=of), often, None)
    assert found.failing is not None
    assert found.failing.log_e > 0


@pytest.mark.parametrize(("limit", "worth"), [(0.02, 0.03), (0.5, 0.75), (2 / 3, 1.0)])
def test_the_rate_worth_catching_is_one_and_a_half_times_the_limit(limit, worth):
    assert proofs.worth_catching(replace(ESCALATION, limit=limit)) == pytest.approx(worth)


def test_grades_between_are_told_as_one_answer_with_the_rest():
    of = plan(rules=(RIGHT,), labels=PROMPT)
    # 1 + 0.9 + 0.6 + 0 = 2.5 of 4: two right, one half right, one wrong.
    rows = [graded(START, 1.0, 0.9, 0.6, 0.0)]

    found = read(view(rows, minutes=9, of=of), RIGHT, "refund").failing

    assert found is not None
    assert found.tally == {"0": 1, str(MICRO): 2, "500000": 1}
