"""A latency percentile judged by proof: how many requests lie above the limit, counted again one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reconcile.observe import bounds, tallies_of
from controller.rollout.counting.tallies import Tallies
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action
from controller.rollout.evidence import proofs
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import alpha_of, judge
from controller.rollout.metrics import CATALOGUE, MICRO, above
from controller.rollout.plan import Arm, Evidence, Plan, Rule, Scope, Then
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Availability, Outcome, RateCounts
from controller.stats.betting import log_threshold
from controller.stats.histogram import bucket_of, upper_edge
from tests.rollout.factories import ESCALATION, NOW, at_step, plan, reading, seen
from tests.rollout.test_readings import START, row, view

SLOW = replace(
    ESCALATION,
    name="slow",
    metric=CATALOGUE["latency_p95"],
    limit=2.0,
    window=timedelta(hours=1),
    then=Then.PAUSE,
    min_samples=500,
)
PROVEN = replace(SLOW, evidence=Evidence.CONFIDENT)
HORIZON_H = 312  # of the usual plan: holds and bake
brief = settings(max_examples=60, deadline=None)


def answered(minute: int, *seconds: float, arm: str = "candidate", intent: str = "refund"):
    """A minute's requests, each with its latency."""
    stats = {"n": len(seconds), "e": len(seconds), "c.latency_us": len(seconds)}
    for one in seconds:
        key = f"h.latency.{bucket_of(one)}"
        stats[key] = stats.get(key, 0) + 1
    return row(minute, stats, arm=arm, intent=intent)


def log_e(above_limit: int, of: int, *, claim: float, sign: int = 1) -> float:
    """The three bets by hand: against "at most `claim`" (sign 1), or against "at least" it (−1)."""
    effect = 0.5 * claim if sign > 0 else claim / 3
    cap = 0.95 / (claim if sign > 0 else 1 - claim)
    logs = []
    for factor in (0.5, 1, 2):
        bet = min(factor * effect / (claim * (1 - claim)), cap)
        logs.append(
            above_limit * math.log1p(sign * bet * (1 - claim))
            + (of - above_limit) * math.log1p(-sign * bet * claim)
        )
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / 3)


# On both sides of 2 s, in its own bucket (up to 2.04 s), and at the edges of that one and its neighbours.
EDGES = tuple(upper_edge(bucket_of(2.0) + step) for step in (-1, 0, 1))
latencies = st.one_of(st.floats(0.2, 9.0), st.floats(1.9, 2.1), st.sampled_from([2.0, *EDGES]))
minute_latencies = st.lists(st.lists(latencies, max_size=6), min_size=5, max_size=130)


@brief
@given(minute_latencies, st.sampled_from([("latency_p50", 0.5), ("latency_p95", 0.05)]))
def test_both_proofs_are_those_of_the_requests_counted_one_by_one(by_minute, metric):
    name, claim = metric
    rule = replace(SLOW, metric=CATALOGUE[name], window=timedelta(hours=24))
    of = plan(rules=(rule,))
    rows = [answered(START + i, *ones) for i, ones in enumerate(by_minute)]

    found = read(view(rows, minutes=len(by_minute) - 1, of=of), rule, None)

    alpha = alpha_of(of, rule, at_step(0, of, started_at=NOW).epoch("slow"))
    starts = [s for s in range(len(by_minute)) if s == 0 or (START + s) % 60 == 0]
    best = (-math.inf, 0.0, 0.0)  # margin, log E, threshold
    for number, start in enumerate(starts, start=1):
        ones = [one for minute in by_minute[start:] for one in minute]
        # Surely above: beyond the upper edge of the bucket that the limit lies in.
        over = sum(bucket_of(one) > bucket_of(2.0) for one in ones)
        assert over <= sum(one > 2.0 for one in ones)
        evidence = log_e(over, len(ones), claim=claim)
        needed = log_threshold(
            alpha=alpha, start_number=number, planned_starts=HORIZON_H, first=0.25
        )
        best = max(best, (evidence - needed, evidence, needed))
    ones = [one for minute in by_minute for one in minute]
    perhaps = sum(bucket_of(one) >= bucket_of(2.0) for one in ones)
    assert perhaps >= sum(one > 2.0 for one in ones)
    assert found.failing is not None
    assert found.failing.claim == claim
    assert found.failing.log_e == pytest.approx(best[1], abs=1e-9)
    assert found.failing.log_threshold == pytest.approx(best[2])
    assert found.passing is not None
    assert found.passing.log_e == pytest.approx(
        log_e(perhaps, len(ones), claim=claim, sign=-1), abs=1e-9
    )
    assert found.passing.claim == claim
    assert found.passing.tally.get(str(MICRO), 0) == perhaps
    assert sum(found.passing.tally.values()) == len(ones)


def test_what_lies_in_the_limits_own_bucket_helps_neither_proof():
    of = plan(rules=(SLOW,))
    rows = [answered(START + i, *([2.0] * 50)) for i in range(60)]

    found = read(view(rows, minutes=59, of=of), SLOW, None)

    assert found.failing is not None
    assert found.passing is not None
    assert found.failing.tally == {"0": 3_000}
    assert found.passing.tally == {str(MICRO): 3_000}
    assert not found.failing.reached
    assert not found.passing.reached


def test_the_figure_beside_a_proof_is_the_share_above_the_limit_in_its_window():
    of = plan(rules=(SLOW,))
    rows = [answered(START + i, *([1.0] * 45), *([3.0] * 5)) for i in range(60)]

    proof = read(view(rows, minutes=59, of=of), SLOW, None).failing

    assert proof is not None
    assert proof.reached
    assert proof.look.value == 0.1
    assert proof.look.counts == RateCounts(count=300, of=3_000)
    assert proof.window == proof.look.window


def test_other_arms_and_intents_count_for_themselves():
    each = replace(SLOW, scope=Scope.EACH)
    of = plan(rules=(each,))
    rows = [
        answered(START, *([3.0] * 9)),
        answered(START, *([3.0] * 7), intent="order-status"),
        answered(START, *([3.0] * 5), arm="baseline"),
    ]
    seen_of = view(rows, minutes=9, of=of)

    def above_limit(rule: Rule, intent: str | None) -> int:
        proof = read(seen_of, rule, intent).failing
        assert proof is not None
        return proof.tally[str(MICRO)]

    assert above_limit(each, "refund") == 9
    assert above_limit(each, "order-status") == 7
    assert above_limit(SLOW, None) == 16
    assert above_limit(replace(SLOW, arm=Arm.BASELINE), None) == 5


@brief
@given(
    st.lists(
        st.dictionaries(st.integers(0, 90), st.lists(latencies, max_size=4), max_size=6),
        max_size=8,
    ),
    st.integers(0, 90),
)
def test_sums_above_a_bucket_outlive_the_histograms_and_follow_every_change(fed, forgotten):
    tallies, known = tallies_of(plan(rules=(SLOW,))), {}
    for number, change in enumerate(fed):
        tallies.feed([answered(START + at, *ones) for at, ones in change.items()], number)
        known.update(change)
        tallies.forget_histograms(START + forgotten)

    bucket = bucket_of(2.0)
    keys = tuple(above("latency", one) for one in (bucket - 1, bucket))
    for end in (0, 30, forgotten, 91):
        held = tallies.row(START + end, arm="candidate", intent=None)
        ones = [one for at, minute in known.items() if at < end for one in minute]
        assert [held[place] for place in tallies.places(keys, "candidate")] == [
            sum(bucket_of(one) > bound for one in ones) for bound in (bucket - 1, bucket)
        ]


def test_a_window_that_reaches_back_to_forgotten_histograms_has_no_percentile():
    tallies = tallies_of(plan(rules=(SLOW,)))
    tallies.feed([answered(START + at, 3.0 if at < 30 else 1.0) for at in range(60)], 1)
    tallies.forget_histograms(START + 30)

    ends = np.array([START + 60, START + 60])
    buckets, sums = tallies.histogram(
        "h.latency.", np.array([START + 29, START + 30]), ends, arm="candidate", intent=None
    )

    assert buckets == (bucket_of(1.0),)
    assert sums.tolist() == [[0], [30]]


def test_what_was_not_summed_from_the_start_is_not_taken_for_nothing():
    tallies = Tallies()
    tallies.feed([answered(START, 3.0)], 1)

    with pytest.raises(LookupError, match=r"x\.latency\.36 is not summed here"):
        tallies.places((above("latency", 36),), "candidate")


def test_only_the_limits_that_can_be_proven_are_summed_for():
    fast = replace(SLOW, name="fast", limit=1.0)
    first = replace(SLOW, name="first", metric=CATALOGUE["ttft_p95"], limit=0.5)
    ratio = replace(SLOW, name="ratio", metric=CATALOGUE["latency_p95_ratio"], limit=1.25)
    under = replace(SLOW, name="under", limit=4.0, below=True)

    # gamma^35 < 2 <= gamma^36, gamma^70 < 4 <= gamma^71 and gamma^-36 < 0.5 <= gamma^-35, gamma = 1.02
    assert bounds(plan(rules=(SLOW, fast, first, ratio, under))) == {
        "latency": {35, 36, -1, 0, 70, 71},
        "ttft": {-36, -35},
    }


def test_a_proof_reaches_back_to_starts_whose_histograms_are_gone():
    rule = replace(PROVEN, window=timedelta(hours=24))
    of = plan(rules=(rule,))
    tallies = tallies_of(of)
    rows = [answered(START + i, *([1.0] * 9), 3.0) for i in range(1_000)]
    tallies.feed(rows, 1)
    tallies.forget_histograms(START + 1_500)
    later = replace(view([], minutes=1_400, of=of), tallies=tallies)
    whole = view(rows, minutes=1_400, of=of)

    assert read(later, rule, None).failing == read(whole, rule, None).failing
    assert read(later, rule, None).passing == read(whole, rule, None).passing


# Judged


def judged(of: Plan, rule: Rule, rows, *, minutes: int = 59) -> Outcome:
    return judge(rule, read(view(rows, minutes=minutes, of=of), rule, None)).outcome


@pytest.mark.parametrize(
    ("slow_of_50", "outcome"),
    [(0, Outcome.PASS), (2, Outcome.INSUFFICIENT), (5, Outcome.FAIL)],
    ids=["none", "4%", "10%"],
)
def test_a_confident_percentile_is_judged_by_proof_alone(slow_of_50, outcome):
    of = plan(rules=(PROVEN,))
    ones = [3.0] * slow_of_50 + [1.0] * (50 - slow_of_50)

    assert judged(of, PROVEN, [answered(START + i, *ones) for i in range(60)]) is outcome


def test_an_observed_percentile_fails_sooner_by_proof():
    of = plan(rules=(SLOW,))
    rows = [answered(START + i, *([3.0] * 20)) for i in range(3)]

    found = judge(SLOW, read(view(rows, minutes=2, of=of), SLOW, None))

    assert (found.outcome, found.observed) == (Outcome.FAIL, Outcome.INSUFFICIENT)


def test_a_reading_from_before_percentiles_had_proofs_says_what_it_said():
    old = reading(SLOW, failing=None, passing=None)

    assert judge(SLOW, old).confident is Outcome.NOT_APPLICABLE


def test_a_proof_blames_nothing_shorter_than_what_the_rule_asks_for():
    lasting = replace(SLOW, sustained=timedelta(minutes=15))
    of = plan(rules=(lasting,))

    def failing(bad_minutes: int):
        rows = [answered(START + i, *([3.0] * 20)) for i in range(bad_minutes)]
        return read(view(rows, minutes=bad_minutes - 1, of=of), lasting, None).failing

    assert failing(14) is None
    proof = failing(15)
    assert proof is not None
    assert proof.reached
    assert proof.window.span == timedelta(minutes=15)


def test_decide_rolls_back_what_is_proven_slow_and_holds_what_is_not():
    rule = replace(PROVEN, then=Then.ROLLBACK)
    of = plan(rules=(rule,))
    state = at_step(0, of, started_at=NOW)

    def decided(*seconds: float) -> Action:
        rows = [answered(START + i, *seconds) for i in range(60)]
        found = read(view(rows, minutes=59, of=of), rule, None)
        world = replace(seen(), readings=(found,), held=timedelta(hours=1))
        return decide(of, state, world, None, start_of(START + 59)).action

    assert decided(*([1.0] * 19), 3.0) is Action.HOLD
    assert decided(*([1.0] * 15), *([3.0] * 5)) is Action.ROLLBACK


def test_without_traffic_nothing_is_proven():
    of = plan(rules=(PROVEN,))
    found = read(view([], minutes=59, of=of), PROVEN, None)

    assert found.availability is Availability.NO_TRAFFIC
    assert found.passing is not None
    assert found.passing.log_e == 0
    assert proofs.claim_of(of, PROVEN) == 0.05
