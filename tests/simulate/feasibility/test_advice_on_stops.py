"""Rules as written that stop healthy rollouts too often: what is told, and what was tried."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.rollout.plan import Arm, Evidence, Scope, Then
from controller.simulate.feasibility.advice import Advice
from controller.simulate.feasibility.advice_on_stops import stopping
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.written import stopped
from controller.simulate.usual import Usual
from tests.simulate.factories import rule
from tests.simulate.feasibility.test_feasibility import (
    ACCURACY,
    DAY,
    ESCALATION,
    TRAFFIC,
    ground,
    outlook,
    planned,
)

WRITTEN = replace(ESCALATION, evidence=Evidence.OBSERVED)
TENTH = replace(TRAFFIC, units_per_minute=5.0)


def told(of: Outlook) -> list[Advice]:
    return list(stopping(ground(of)))


def test_a_rule_that_noise_alone_fails_is_told_with_what_helps():
    of = outlook(planned(ACCURACY, WRITTEN, bake=7 * DAY), TENTH)

    (found,) = told(of)

    assert found.finding.code == "healthy-stopped"
    assert found.finding.path == "spec.rules[1].evidence"
    assert "escalation_rate: by itself it stops " in found.finding.message
    assert "at a usual 1.5% and a limit of 2%" in found.finding.message
    assert found.suggestions[0].text.startswith("`evidence: confident`")
    for one in found.suggestions:
        assert told(one.outlook) == []


def test_a_limit_that_a_healthy_candidate_is_past_is_told_as_such():
    usual = replace(TRAFFIC, escalation=0.025)

    (found,) = told(outlook(planned(ACCURACY, WRITTEN), usual))

    assert "stops 100% of rollouts with nothing wrong" in found.finding.message
    assert "at a usual 2.5%, past its limit of 2%" in found.finding.message
    # Its proof would stop it too, and no window is long enough for what is wrong with the limit
    assert [one.text.split()[0] for one in found.suggestions] == ["above"]


def test_a_limit_far_below_what_is_usual_is_widened_past_that():
    """60 requests an hour of 0.002 USD on each arm cost far more than a cent."""
    spend = rule("cost_per_hour", limit=0.01, window=timedelta(hours=1), min_samples=1)
    usual = Usual(request_usd=dict.fromkeys(Arm, 0.002))
    of = outlook(planned(spend), replace(TRAFFIC, units_per_minute=50.0), usual=usual)

    (found,) = told(of)

    assert "at a usual 6 USD, past its limit of 0.01 USD" in found.finding.message
    (wider,) = found.suggestions
    assert wider.outlook.plan.rules[0].limit > 6.0
    assert told(wider.outlook) == []
    # And what it is asked to catch is worse than what is usual.
    (catch,) = of.row(spend, None, 0).catches
    assert catch.size == pytest.approx(9.0)


def test_no_window_is_told_for_a_limit_that_a_healthy_candidate_is_past():
    """One that no step is long enough for fails nothing, and helps nobody."""
    sizes = rule("sample_ratio", limit=0.6, min_samples=1)

    (found,) = told(outlook(planned(sizes, bake=DAY)))

    assert "at a usual 99%, past its limit of 60%" in found.finding.message
    assert not any(one.text.startswith("window") for one in found.suggestions)
    assert found.finding.message.endswith("; a limit beyond what is usual is needed")


def test_a_rule_that_pins_is_said_to_pin():
    pins = replace(WRITTEN, then=Then.PIN, scope=Scope.CRITICAL)

    (found,) = told(outlook(planned(ACCURACY, pins, bake=7 * DAY), TRAFFIC))

    assert "escalation_rate: by itself it pins refund in " in found.finding.message
    assert "of rollouts with nothing wrong" in found.finding.message


def test_a_rule_that_only_tells_stops_nothing():
    only_told = replace(WRITTEN, then=Then.NOTIFY)

    assert told(outlook(planned(ACCURACY, only_told), TENTH)) == []


def test_a_rule_by_proof_alone_and_one_with_much_traffic_are_not_warned_about():
    many = replace(TRAFFIC, units_per_minute=500.0)

    assert told(outlook(planned(ACCURACY, ESCALATION), TENTH)) == []
    assert told(outlook(planned(ACCURACY, WRITTEN), many)) == []


def test_a_longer_window_is_told_only_where_it_does():
    hourly = replace(WRITTEN, window=timedelta(hours=6), min_samples=100)
    of = outlook(planned(ACCURACY, hourly), replace(TRAFFIC, units_per_minute=100.0))

    (found,) = told(of)

    longer = [one for one in found.suggestions if one.text.startswith("window ")]
    assert longer
    for one in longer:
        (rule,) = [rule for rule in one.outlook.plan.rules if rule.metric is hourly.metric]
        for step in range(3):
            drawn = stopped(one.outlook, rule, None, step, seed=7)
            assert drawn is not None
            assert drawn.share <= of.plan.alpha
