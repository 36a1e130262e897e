"""From a reading to a verdict, case by case: what each form says, and which of them the rule goes by."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.rollout.evidence.rules import (
    PROVABLE_USD,
    as_shown,
    bound_of,
    is_provable,
    judge,
    judge_all,
    passes_limit,
)
from controller.rollout.metrics import CATALOGUE, Kind
from controller.rollout.plan import Evidence, Intent, Judge, Rule, Scope, Then
from controller.rollout.verdict import Availability, Coverage, Outcome, WorstCase
from tests.rollout.factories import (
    ACCURACY,
    ESCALATION,
    at_step,
    look,
    plan,
    proof,
    reading,
    seen,
)

LATENCY = replace(ESCALATION, name="latency", metric=CATALOGUE["latency_p95"], limit=4.0)
COST = replace(ESCALATION, name="cost", metric=CATALOGUE["cost_per_hour"], limit=9.0)
NO_PROOF = {"failing": None, "passing": None}
FAIL, PASS, OPEN = Outcome.FAIL, Outcome.PASS, Outcome.INSUFFICIENT

loud, quiet, young = look(0.03), look(0.01), look(0.01, samples=3)
proven_bad = proof(9.0, observed=0.03)
proven_good = proof(9.0, observed=0.01)
undecided = proof(1.0, observed=0.01)


@pytest.mark.parametrize(
    ("worst", "latest", "failing", "passing", "observed", "confident", "by_proof_too"),
    [
        (loud, loud, proven_bad, undecided, FAIL, FAIL, FAIL),
        # A proof is sooner than a full window,
        (None, young, proven_bad, undecided, OPEN, FAIL, FAIL),
        (quiet, quiet, proven_bad, undecided, PASS, FAIL, FAIL),
        # and a full window needs no proof.
        (loud, loud, undecided, undecided, FAIL, OPEN, FAIL),
        (loud, quiet, undecided, proven_good, FAIL, PASS, FAIL),
        (quiet, quiet, undecided, undecided, PASS, OPEN, PASS),
        (None, young, undecided, proven_good, OPEN, PASS, OPEN),
        (None, young, undecided, undecided, OPEN, OPEN, OPEN),
        (None, young, None, None, OPEN, OPEN, OPEN),
    ],
)
def test_a_rule_goes_by_its_evidence_and_an_observed_one_fails_by_proof_too(
    worst, latest, failing, passing, observed, confident, by_proof_too
):
    sight = {"worst": worst, "latest": latest, "failing": failing, "passing": passing}

    for evidence, outcome in (
        (Evidence.OBSERVED, by_proof_too),
        (Evidence.CONFIDENT, confident),
    ):
        rule = replace(ESCALATION, evidence=evidence)
        found = judge(rule, reading(rule, **sight))
        assert (found.observed, found.confident) == (observed, confident)
        assert found.outcome is outcome
        assert (found.rule, found.intent) == ("escalation", None)


@pytest.mark.parametrize(
    ("availability", "outcome"),
    [
        (Availability.NO_CONTROL, Outcome.NOT_APPLICABLE),
        (Availability.NO_TRAFFIC, Outcome.UNMEASURED),
        (Availability.NOT_DUE, Outcome.UNMEASURED),
        (Availability.NO_DATA, Outcome.UNMEASURED),
        (Availability.MISMATCHED, Outcome.UNMEASURED),
    ],
)
def test_what_is_not_there_is_neither_good_nor_bad_unless_a_window_fails_in_which_it_was(
    availability, outcome
):
    missing = {"availability": availability}
    found = judge(ACCURACY, reading(ACCURACY, "refund", passing=proof(9.0), **missing))
    failed = judge(ACCURACY, reading(ACCURACY, "refund", worst=loud, failing=proven_bad, **missing))

    assert (found.outcome, found.observed, found.confident) == (outcome, outcome, outcome)
    assert found.intent == "refund"
    # Late outcomes of a window that had traffic. Without a control nothing is compared, whenever it was.
    whatever = outcome if outcome is Outcome.NOT_APPLICABLE else FAIL
    assert (failed.outcome, failed.observed, failed.confident) == (whatever, whatever, whatever)


def test_a_percentile_of_a_record_without_proofs_has_no_confident_form_and_one_with_any_has():
    assert judge(LATENCY, reading(LATENCY, **NO_PROOF)).confident is Outcome.NOT_APPLICABLE
    # Of a p95, 5% may lie above the limit.
    assert bound_of(LATENCY) == 0.05
    ratio = replace(LATENCY, metric=CATALOGUE["latency_p95_ratio"], limit=1.2)
    assert bound_of(ratio) == 0.05  # as of the percentiles that it compares
    slow = proof(9.0, observed=0.051)
    assert judge(LATENCY, reading(LATENCY, failing=slow, passing=None)).confident is FAIL
    edge = proof(9.0, observed=0.05)
    assert judge(LATENCY, reading(LATENCY, failing=edge, passing=None)).confident is OPEN
    assert judge(LATENCY, reading(LATENCY, failing=None, passing=proof(9.0))).confident is PASS


def test_a_cost_per_correct_answer_of_a_record_without_proofs_has_no_confident_form():
    right = replace(COST, metric=CATALOGUE["cost_per_correct"], limit=0.002)

    assert judge(right, reading(right, **NO_PROOF)).confident is Outcome.NOT_APPLICABLE
    dear = proof(9.0, observed=0.0021)
    assert judge(right, reading(right, failing=dear, passing=None)).confident is FAIL
    edge = proof(9.0, observed=0.002)
    assert judge(right, reading(right, failing=edge, passing=None)).confident is OPEN
    nothing_right = replace(dear, look=replace(dear.look, value=None))
    assert judge(right, reading(right, failing=nothing_right, passing=None)).confident is FAIL


def test_other_kinds_without_a_proof_are_undecided_or_have_none():
    assert judge(ESCALATION, reading(ESCALATION, **NO_PROOF)).confident is OPEN
    # Whatever stands beside it, a sum of money is a plain threshold.
    assert judge(COST, reading(COST)).confident is Outcome.NOT_APPLICABLE
    assert judge(COST, reading(COST, **NO_PROOF)).confident is Outcome.NOT_APPLICABLE
    assert not is_provable(COST)
    assert is_provable(ESCALATION)
    assert is_provable(replace(ESCALATION, below=True))
    assert not is_provable(replace(ACCURACY, below=True))  # a small loss is good


def test_shares_percentiles_their_ratios_losses_and_costs_of_right_answers_can_be_proven_and_nothing_else():
    half = replace(COST, limit=0.5)
    provable = {
        metric.kind for metric in CATALOGUE.values() if is_provable(replace(half, metric=metric))
    }

    assert provable == {
        Kind.RATE,
        Kind.ACCURACY,
        Kind.QUANTILE,
        Kind.QUANTILE_RATIO,
        Kind.LOSS,
        Kind.COST,
    }
    of_costs = {metric.name for metric in CATALOGUE.values() if metric.kind is Kind.COST}
    assert [name for name in of_costs if is_provable(replace(half, metric=CATALOGUE[name]))] == [
        "cost_per_correct"
    ]


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_share_that_nothing_or_anything_disproves_has_no_proof(limit):
    assert not is_provable(replace(ESCALATION, limit=limit))


@pytest.mark.parametrize(("reached", "outcome"), [(4.9, OPEN), (5.0, PASS)])
def test_where_coverage_differs_the_proof_must_hold_at_the_worst_too(reached, outcome):
    uneven = Coverage(
        baseline_graded=90, baseline_n=100, candidate_graded=50, candidate_n=100, differs=True
    )
    worst = WorstCase(coverage=uneven, proof=proof(reached))

    found = judge(ACCURACY, reading(ACCURACY, "refund", worst_case=worst))

    assert found.confident is outcome


def test_what_is_pinned_is_not_judged_and_what_comes_after_it_is():
    each = replace(ACCURACY, scope=Scope.EACH, then=Then.PIN)
    of = plan(
        rules=(each, ESCALATION),
        intents=(Intent(name="refund"), Intent(name="order-status"), Intent(name="faq")),
    )

    found = judge_all(of, at_step(0, of, pins=("refund",)), seen())

    assert [(one.rule, one.intent) for one in found] == [
        ("accuracy", "order-status"),
        ("accuracy", "faq"),
        ("escalation", None),
    ]
    assert all(one.reading.epoch == 0 for one in found)


def provable(metric: str, limit: float, **changes) -> Rule:
    return replace(ESCALATION, metric=CATALOGUE[metric], limit=limit, then=Then.PAUSE, **changes)


@pytest.mark.parametrize(
    ("rule", "claim", "observed", "outcome"),
    [
        (ACCURACY, 0.0, 0.016, Outcome.FAIL),
        (ACCURACY, 0.0, 0.015, Outcome.INSUFFICIENT),  # "no loss" is disproven, the limit is not
        (provable("escalation_rate", 0.02), 0.02, 0.021, Outcome.FAIL),
        (provable("escalation_rate", 0.02), 0.02, 0.02, Outcome.INSUFFICIENT),
        # Of a judge that errs the figure shows less than the limit does: it is held against what was disproven.
        (provable("accuracy", 0.9, below=True), 0.87, 0.86, Outcome.FAIL),
        (provable("accuracy", 0.9, below=True), 0.87, 0.87, Outcome.INSUFFICIENT),
        (provable("accuracy", 0.9, below=True), 0.87, 0.89, Outcome.INSUFFICIENT),
        # A part of the requests above the limit, of which one in twenty is meant to be.
        (provable("latency_p95", 2.0), 0.05, 0.06, Outcome.FAIL),
        (provable("latency_p95", 2.0), 0.05, 0.05, Outcome.INSUFFICIENT),
        # A difference of such parts.
        (provable("latency_p95_ratio", 1.25), 2.0, 0.01, Outcome.FAIL),
        (provable("latency_p95_ratio", 1.25), 2.0, 0.0, Outcome.INSUFFICIENT),
        (provable("cost_per_correct", 0.002), 0.002, 0.0021, Outcome.FAIL),
        (provable("cost_per_correct", 0.002), 0.002, 0.002, Outcome.INSUFFICIENT),
        (provable("cost_per_correct", 0.002), 0.002, None, Outcome.FAIL),  # none is right
        (provable("escalation_rate", 0.02), 0.02, None, Outcome.INSUFFICIENT),
    ],
)
def test_a_proof_fails_a_rule_if_its_figure_lies_on_the_wrong_side_too(
    rule, claim, observed, outcome
):
    failing = replace(proof(6.0, observed=observed), claim=claim)

    assert judge(rule, reading(rule, failing=failing, passing=None)).confident is outcome


@pytest.mark.parametrize(
    ("value", "usual", "past"),
    [
        (0.031, 0.01, True),
        (0.03, 0.01, False),  # exactly so many times is still right
        (0.9, None, False),  # nothing is usual yet
        (None, 0.01, False),
        (None, None, False),
    ],
)
def test_a_spike_is_so_many_times_what_is_usual(value, usual, past):
    spike = replace(ESCALATION, limit=3.0, usual=timedelta(days=7))
    seen_now = replace(look(value), usual=usual)

    assert passes_limit(spike, seen_now) is past
    told = judge(spike, reading(spike, worst=seen_now, latest=seen_now, failing=None, passing=None))
    undecided = value is None or usual is None
    assert told.observed is (FAIL if past else OPEN if undecided else PASS)


def test_a_figure_that_is_not_there_passes_no_limit():
    assert passes_limit(ESCALATION, look(None)) is False
    assert passes_limit(replace(ESCALATION, below=True), look(None)) is False
    assert passes_limit(replace(ESCALATION, below=True), look(0.01)) is True


def test_a_judge_that_errs_shows_another_accuracy_and_any_other_share_as_it_is():
    right = provable("accuracy", 0.9, below=True)
    errs = plan(labels=replace(plan().labels, judge=Judge(sensitivity=0.95, specificity=0.9)))

    assert as_shown(errs, right, 0.9) == pytest.approx(0.9 * 0.95 + 0.1 * 0.1)
    assert as_shown(plan(), right, 0.9) == 0.9
    assert as_shown(errs, ESCALATION, 0.02) == 0.02


def test_the_least_and_the_most_that_a_right_answer_may_cost_can_be_proven():
    least, most = PROVABLE_USD

    for limit, can_be in ((least, True), (most, True), (least / 2, False), (most * 2, False)):
        assert is_provable(provable("cost_per_correct", limit)) is can_be
