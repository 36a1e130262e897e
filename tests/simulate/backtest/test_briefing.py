from __future__ import annotations

import pytest

from controller.errors import DataError
from controller.rollout.plan import Intent, Plan
from controller.simulate.backtest.arrivals import Poisson
from controller.simulate.backtest.briefing import Briefing, brief
from controller.simulate.backtest.results import Recording
from controller.simulate.backtest.run import Setup
from tests.simulate.factories import graded, plan, recording, rule

SIMPLE = recording(*graded([1, 1], [1, 0]))


def briefing(plan: Plan, recording: Recording = SIMPLE) -> Briefing:
    arrivals = Poisson(units_per_day=5_000, seed=3)
    return brief(Setup(plan=plan, recording=recording, arrivals=arrivals, seed=3))


def test_says_what_is_recorded_what_is_made_and_every_seed():
    facts = dict(briefing(plan()).facts)

    assert "2 items (2 pairs) of refund" in facts["Recorded"]
    assert "each draw a unit of its own" in facts["Made"]
    assert facts["Arrivals"].startswith("made: Poisson, 5,000 units a day, seed 3")
    assert facts["Seed"].startswith("3 ")
    assert facts["Critical"] == "refund"


def test_a_rule_that_cannot_be_measured_is_told_with_the_reason_and_what_follows():
    warned = briefing(plan(rule("latency_p95"))).warnings

    assert warned == (
        "rule latency_p95 (latency_p95) is UNMEASURED: no value in latency_s. Nothing advances while the candidate "
        "has traffic that it cannot see, and 30m of that (maxBlind) pause the rollout.",
    )


@pytest.mark.parametrize("metric", ["escalation_rate", "error_rate"])
def test_silence_of_the_data_on_errors_or_escalations_is_not_taken_for_none(metric: str):
    (warned,) = briefing(plan(rule(metric))).warnings

    assert f"({metric}) is UNMEASURED" in warned


def test_names_the_intents_that_only_one_side_knows_and_those_that_are_pinned():
    both = recording(
        *graded([1], [1], intent="refund"),
        *graded([1], [1], intent="legal"),
        *graded([1, 1], [1, 1], intent="chat"),
    )
    intents = (
        Intent(name="refund"),
        Intent(name="legal", pinned=True),
        Intent(name="returns", critical=True),
    )

    warned = briefing(plan(intents=intents), both).warnings

    assert warned == (
        "intent returns of the plan has no recorded item: it gets no requests. It is critical, so whatever asks for it "
        "stays unmeasured.",
        "intent chat of the recording (2 items) is not in the plan: baseline, counted, never compared.",
        "intent legal is pinned: baseline, counted, never compared.",
    )


def test_a_plan_that_shares_no_intent_with_the_recording_is_refused():
    with pytest.raises(DataError, match=r"none of its intents \(refund\) gets candidate traffic"):
        briefing(plan(intents=(Intent(name="chat"),)))


def test_rows_without_a_partner_are_counted():
    alone = recording(*graded([1, 1, 1], [1]))

    assert (
        "2 rows without a partner are left out" in dict(briefing(plan(), alone).facts)["Recorded"]
    )
