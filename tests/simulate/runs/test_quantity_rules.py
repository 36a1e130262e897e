"""Rules on latency and cost in simulated rollouts: as a look in each minute decides, seldom wrong, as soon as told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from controller.rollout.plan import Advance, Arm, Evidence, Intent, Labels, Plan, Rule, Step, Unit
from controller.simulate.endings import STOPS, Ending
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.written import caught
from controller.simulate.runs.montecarlo import simulate
from controller.simulate.runs.trials import Setup, Trial, trial
from controller.simulate.scenarios import HEALTHY, Fault, Scenario, Traffic
from controller.simulate.usual import Latencies, Usual
from tests.simulate.factories import plan, rule

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LATENCY = Latencies.log_normal(1.2, 3.0)
OLD_USD, NEW_USD, ESCALATION, ACCURACY = 0.018, 0.0036, 0.015, 0.95
EACH_USD = NEW_USD + ESCALATION * OLD_USD
KNOWN = Usual(
    sizes={(Arm.BASELINE, "latency"): LATENCY, (Arm.BASELINE, "ttft"): LATENCY},
    request_usd={Arm.BASELINE: OLD_USD, Arm.CANDIDATE: EACH_USD},
    request_tokens=dict.fromkeys(Arm, 6_000.0),
)
STEPS = (
    Step(share_bp=2_000, hold=3 * HOUR),
    Step(share_bp=5_000, hold=3 * HOUR),
    Step(share_bp=9_000, advance=Advance.CLEAR),
)
INTENTS = (
    Intent(name="refund", critical=True),
    Intent(name="other"),
    Intent(name="legal", pinned=True),
)


def planned(*rules: Rule, steps: Sequence[Step] = STEPS, unit: Unit = Unit.REQUEST) -> Plan:
    clear = tuple(replace(one, advance=Advance.CLEAR) for one in steps)
    return plan(
        *rules,
        intents=INTENTS,
        steps=clear,
        bake=2 * HOUR,
        unit=unit,
        labels=Labels(delay=30 * MINUTE),
    )


def setup(
    of: Plan,
    scenario: Scenario = HEALTHY,
    *,
    units_per_minute: float = 12.0,
    requests_per_unit: float = 1.0,
    max_days: int = 3,
) -> Setup:
    return Setup(
        plan=of,
        traffic=Traffic(
            units_per_minute=units_per_minute,
            mix={"refund": 0.5, "other": 0.3, "legal": 0.2},
            accuracy=ACCURACY,
            escalation=ESCALATION,
            requests_per_unit=requests_per_unit,
        ),
        scenario=scenario,
        start=datetime(2026, 1, 5, tzinfo=UTC),
        seed=7,
        max_days=max_days,
        usual=KNOWN,
    )


def slow(times: float, since: timedelta = 2 * HOUR) -> Scenario:
    return Scenario(text="slow", slow=Fault(size=times, since=since))


def dear(times: float, since: timedelta = 2 * HOUR) -> Scenario:
    return Scenario(text="cost", cost=Fault(size=times, since=since))


# As a look in each minute

CONFIDENT = {"evidence": Evidence.CONFIDENT, "window": 6 * HOUR}
P95 = rule("latency_p95", limit=3.0, **CONFIDENT)
RATIO = rule("latency_p95_ratio", limit=1.0, **CONFIDENT)
PER_CORRECT = rule("cost_per_correct", limit=EACH_USD / ACCURACY, **CONFIDENT)
WRITTEN = (
    rule("latency_p50", limit=1.5, window=HOUR, min_samples=50),
    rule("latency_p99", limit=4.0, below=True, window=HOUR, min_samples=50, sustained=9 * MINUTE),
    rule("ttft_p95", limit=3.4, window=HOUR, min_samples=50, sustained=15 * MINUTE),
    rule("latency_p95_ratio", limit=1.3, window=HOUR, min_samples=50, sustained=15 * MINUTE),
    rule("latency_mean", limit=1.6, window=HOUR),
    rule("cost_per_hour", limit=13.5, window=HOUR),
    rule("cost_per_hour", limit=1.2, window=HOUR, arm=Arm.CANDIDATE, name="candidate"),
    rule("cost_per_1k", limit=5.0, window=HOUR),
    rule("cost_per_correct", limit=0.005, window=HOUR),
    rule("cost_ratio", limit=0.25, window=HOUR),
    rule("token_burn_rate", limit=5.4e6, window=HOUR),
)


@pytest.mark.parametrize("one", WRITTEN, ids=[one.name for one in WRITTEN])
def test_a_rule_as_written_decides_as_a_look_in_every_minute_does(one: Rule):
    of = planned(one)
    for scenario in (HEALTHY, slow(1.15), dear(1.15)):
        given = setup(of, scenario, max_days=1)
        assert trial(given, 0) == trial(given, 0, look_min=1)


@pytest.mark.parametrize("requests_per_unit", [1.0, 3.0])
@pytest.mark.parametrize(
    ("one", "scenario"),
    [
        (P95, slow(1.5)),
        (RATIO, slow(1.5)),
        (replace(RATIO, limit=1.25, evidence=Evidence.OBSERVED, min_window=2 * HOUR), slow(1.6)),
        (PER_CORRECT, dear(2.0)),
    ],
    ids=["percentile", "ratio", "ratio, of whole windows", "per correct"],
)
def test_a_proof_comes_in_the_minute_in_which_a_look_would_see_it(
    one: Rule, scenario: Scenario, requests_per_unit: float
):
    unit = Unit.REQUEST if requests_per_unit == 1 else Unit.CONVERSATION
    given = setup(planned(one, unit=unit), scenario, requests_per_unit=requests_per_unit)

    for number in range(2):
        found = trial(given, number)
        assert found == trial(given, number, look_min=1)
        assert found.rules == (one.name,)


def test_late_labels_change_what_a_right_answer_costs_by_the_hour():
    """Looks are an hour apart where labels come late; what is proven in between is found an hour later at most."""
    from controller.simulate.lateness import Lateness

    late = Lateness(median=20 * MINUTE, most=90 * MINUTE)
    scenario = replace(dear(3.0), lateness=late)
    for requests in (1.0, 3.0):
        unit = Unit.REQUEST if requests == 1 else Unit.CONVERSATION
        given = setup(planned(PER_CORRECT, unit=unit), scenario, requests_per_unit=requests)
        rare, every = trial(given, 0), trial(given, 0, look_min=1)
        assert every.rules == rare.rules == (PER_CORRECT.name,)
        assert every.end_min <= rare.end_min <= every.end_min + 60


def test_what_is_drawn_of_requests_changes_nothing_of_what_arrives():
    escalation = rule("escalation_rate", limit=0.02, window=4 * HOUR, evidence=Evidence.CONFIDENT)
    quiet = rule("cost_per_hour", limit=1e6, window=HOUR)
    scenario = Scenario(text="", escalation=Fault(size=0.06, since=2 * HOUR))
    for requests in (1.0, 3.0):
        alone, beside = (
            trial(setup(planned(*rules), scenario, requests_per_unit=requests), 3)
            for rules in ((escalation,), (escalation, quiet))
        )
        assert alone == beside


# How often, and how soon


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("one", [P95, RATIO, PER_CORRECT], ids=lambda one: one.name)
def test_a_candidate_at_its_limit_is_stopped_by_proof_no_more_often_than_alpha_says(one: Rule):
    """Healthy, and exactly at the limit: p95 3 s, as quick as the baseline, at the cost of a right answer."""
    of = planned(one)

    (trials,) = simulate([setup(of)], 1_000, processes=2)

    stopped = sum(found.ending in STOPS for found in trials) / len(trials)
    assert stopped <= of.alpha + 2 * np.sqrt(of.alpha * (1 - of.alpha) / len(trials))
    assert all(found.ending in (*STOPS, Ending.COMPLETED) for found in trials)


def delays_min(trials: Sequence[Trial]) -> tuple[float, float]:
    """Median and 90% quantile of the time to a stop."""
    found = [one.end_min if one.ending in STOPS else np.inf for one in trials]
    median, most = np.quantile(found, [0.5, 0.9], method="inverted_cdf").tolist()
    return median, most


HALF = (Step(share_bp=5_000, hold=48 * HOUR), Step(share_bp=9_000))
USUAL_P95 = LATENCY.quantile(0.95)
A_MINUTE = 2.0  # requests of the candidate: half of four in five of five
TWICE_AN_HOUR = 2 * 60 * A_MINUTE * EACH_USD


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("one", "scenario", "size"),
    [
        (replace(P95, limit=3.6), slow(2.0), 2 * USUAL_P95),
        (replace(RATIO, limit=1.25), slow(2.0), 2.0),
        (
            rule("latency_p95", limit=4.2, window=4 * HOUR, min_samples=100),
            slow(1.5),
            1.5 * USUAL_P95,
        ),
        (
            rule(
                "cost_per_hour",
                limit=0.75 * TWICE_AN_HOUR,
                window=4 * HOUR,
                arm=Arm.CANDIDATE,
                min_samples=100,
            ),
            dear(2.0),
            TWICE_AN_HOUR,
        ),
    ],
    ids=["percentile by proof", "ratio by proof", "percentile as written", "bill as written"],
)
def test_what_is_bad_from_the_beginning_is_caught_as_soon_as_check_says(
    one: Rule, scenario: Scenario, size: float
):
    of = planned(one, steps=HALF)
    from_the_start = replace(
        scenario,
        slow=scenario.slow and replace(scenario.slow, since=timedelta(0)),
        cost=scenario.cost and replace(scenario.cost, since=timedelta(0)),
    )
    given = setup(of, from_the_start, units_per_minute=5.0)

    (trials,) = simulate([given], 300, processes=2)

    outlook = Outlook(plan=of, traffic=given.traffic, usual=KNOWN)
    told = outlook.catch(one, None, 0, size).after
    if one.evidence is Evidence.OBSERVED:
        written = caught(outlook, one, None, 0, size, seed=7)
        assert written is not None
        told = written.after
    for after, seen in zip(told, delays_min(trials), strict=True):
        assert after is not None
        assert seen == pytest.approx(after / MINUTE, rel=0.2, abs=3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dear_candidate_is_caught_by_proof_as_soon_as_was_reckoned():
    """ADR 028: five requests a minute, all graded, 5% wrong, costs with a coefficient of variation of 1, true cost 1.5
    times the limit, a third of alpha: 139 minutes in the median, 171 in 90%; and labels are half an hour old.
    """
    third = replace(PER_CORRECT, limit=EACH_USD / ACCURACY, alpha=0.05 / 3, window=24 * HOUR)
    given = setup(
        planned(third, steps=HALF),
        Scenario(text="cost", cost=Fault(size=1.5)),
        units_per_minute=5 / 0.8 / 0.5,
    )

    (trials,) = simulate([given], 300, processes=2)

    assert delays_min(trials) == pytest.approx((139 + 30, 171 + 30), rel=0.2)
