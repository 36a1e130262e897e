from __future__ import annotations

from dataclasses import replace

import pytest

from controller.rollout.plan import Arm, ModelRef
from controller.simulate.backtest.measured import gaps, measure
from controller.simulate.backtest.results import Result, pair_up, read_results
from tests.simulate.factories import (
    PRICE,
    SHARED,
    graded,
    needs_shared,
    plan,
    recording,
    rule,
    shipped_plan,
)

PRICED = ModelRef(model="new", price=PRICE)
UNPRICED = ModelRef(model="new")


def result(**known: object) -> Result:
    row = Result(source="s", intent="a", item="i", trial=1, model="new", correct=True)
    return replace(row, **known)  # type: ignore[arg-type]  # a factory's keywords are the row's own


def test_what_is_not_recorded_is_absent():
    answer = measure(result(correct=None), Arm.CANDIDATE, PRICED)

    assert (answer.flags, answer.quantities, answer.correct) == ({}, {}, None)


def test_cost_is_tokens_at_the_plans_price():
    answer = measure(
        result(prompt_tokens=5_000, completion_tokens=1_000, cost_usd=9.9), Arm.CANDIDATE, PRICED
    )

    assert (
        answer.quantities["cost_nusd"] == 18_000_000
    )  # 5,000 × 2 USD/M + 1,000 × 8 USD/M = 0.018 USD


@pytest.mark.parametrize(
    ("model", "tokens"), [(UNPRICED, {"prompt_tokens": 1, "completion_tokens": 1}), (PRICED, {})]
)
def test_cost_is_as_recorded_where_price_or_tokens_are_unknown(model, tokens):
    answer = measure(result(cost_usd=0.25, **tokens), Arm.CANDIDATE, model)

    assert answer.quantities["cost_nusd"] == 250_000_000


def test_latency_is_kept_in_microseconds():
    assert (
        measure(result(latency_s=1.25), Arm.BASELINE, PRICED).quantities["latency_us"] == 1_250_000
    )


def test_a_refusal_by_the_candidate_stands_for_an_escalation_and_the_baseline_has_none():
    refused = result(refused=True)

    assert measure(refused, Arm.CANDIDATE, PRICED).flags == {"refusal": True, "escalated": True}
    assert measure(refused, Arm.BASELINE, PRICED).flags == {"refusal": True, "escalated": False}


def test_a_rule_whose_column_is_empty_is_a_gap():
    found = gaps(plan(rule("latency_p95"), rule("accuracy_delta")), recording(*graded([1], [1])))

    assert [(gap.rule, gap.why, gap.known) for gap in found] == [
        ("latency_p95", "no value in latency_s", 0)
    ]


def test_a_rule_that_no_column_tells_is_a_gap():
    found = gaps(plan(rule("ttft_p95"), rule("complaint_rate")), recording(*graded([1], [1])))

    assert [gap.why for gap in found] == ["no column tells ttft_us", "no column tells complaint"]


def test_a_column_known_in_part_says_in_how_many_results():
    header = "source,intent,item_id,trial,model,correct,refused"
    rows = ("s,a,i,1,old,1,", "s,a,i,1,new,1,0", "s,a,j,1,old,1,0", "s,a,j,1,new,1,")

    gap = gaps(plan(rule("escalation_rate")), recording(*rows, header=header))[0]

    assert (gap.known, gap.of) == (1, 2)  # only the candidate's results count for this rate
    assert gap.why == "refused is known for 1 of 2 results"


@pytest.mark.parametrize(
    ("metric", "columns", "cells"),
    [
        ("cost_per_hour", "prompt_tokens,completion_tokens", "1,1"),
        ("cost_per_hour", "cost_usd", "0.1"),
        ("cost_per_correct", "cost_usd", "0.1"),
        ("token_burn_rate", "prompt_tokens,completion_tokens", "1,1"),
        ("tokens_per_second", "completion_tokens,latency_s", "5,1"),
        ("latency_p95_ratio", "latency_s", "1"),
        ("latency_mean", "latency_s", "1"),
        ("error_rate", "error", ""),
        ("refusal_rate", "refused", "0"),
        ("coverage", "refused", ""),
        ("sample_ratio", "refused", ""),
    ],
)
def test_a_rule_whose_columns_are_known_has_no_gap(metric: str, columns: str, cells: str):
    header = f"source,intent,item_id,trial,model,correct,{columns}"
    rows = (f"s,a,i,1,old,1,{cells}", f"s,a,i,1,new,1,{cells}")

    assert gaps(plan(rule(metric)), recording(*rows, header=header)) == ()


@needs_shared
def test_quality_only_data_cannot_feed_latency_and_spend_of_the_usual_plan():
    ikp = pair_up(read_results(SHARED / "ikp.csv.gz"), baseline="gpt-4.1", candidate="gpt-4.1-mini")

    assert gaps(shipped_plan("quality-only.yaml"), ikp) == ()
    assert [gap.rule for gap in gaps(shipped_plan("gpt-4.1-to-mini.yaml"), ikp)] == [
        "latency",
        "spend",
    ]
