"""How soon slow candidates are proven to be slow: the closed form against drawn requests and the live proof."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.evidence import proofs, prospects
from controller.rollout.evidence.rules import bound_of
from controller.rollout.plan import Arm, Intent, Plan, Step
from controller.simulate.feasibility.figures import lacking
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.slowness import limit_bucket, needed
from controller.simulate.scenarios import Traffic
from controller.simulate.usual import Latencies, Usual
from controller.stats.betting import log_e
from controller.stats.matched import log_e_of_wealth, log_wealth_nano
from tests.simulate.factories import plan, rule

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LATENCY = Latencies.log_normal(1.0, 3.0)
USUAL = Usual(sizes={(Arm.BASELINE, "latency"): LATENCY})
SLOW = rule("latency_p95", limit=4.0, window=2 * HOUR)
RATIO = rule("latency_p95_ratio", limit=1.25, window=6 * HOUR)
RUNS = 1_000


def planned(*rules, share_bp: int = 1_000) -> Plan:
    steps = (Step(share_bp=share_bp, hold=72 * HOUR), Step(share_bp=10_000))
    return plan(*rules, intents=(Intent(name="refund"),), steps=steps, holdback_bp=100)


def outlook(*rules, units_per_minute: float, share_bp: int = 1_000) -> Outlook:
    traffic = Traffic(units_per_minute=units_per_minute, mix={"refund": 1.0})
    return Outlook(plan=planned(*rules, share_bp=share_bp), traffic=traffic, usual=USUAL)


def first(over: np.ndarray) -> np.ndarray:
    """The number of the first that is, of each run, from 1."""
    assert over.any(axis=1).mean() > 0.95
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1, np.inf)


def test_a_percentile_is_proven_by_the_share_of_requests_above_its_limit():
    of = outlook(SLOW, units_per_minute=50.0)
    (catch,) = of.row(SLOW, None, 0).catches
    # 1.5 times the limit: a p95 of 6 s. What lies above 4 s of it, drawn request by request, judged by the live bets
    assert catch.size == 6.0
    worse = LATENCY.with_quantile(0.95, 6.0)
    p = worse.above(proofs.limit_bucket(SLOW))
    random = np.random.default_rng(5)
    hits = (random.random((RUNS, 400)) < p).cumsum(axis=1)
    n = np.arange(1, 401)
    counts = np.stack([n - hits, hits], axis=-1)
    wealth = log_e(counts, np.array([0.0, 1.0]), proofs.failing_bets(of.plan, SLOW, "requests"))
    threshold = prospects.catching(of.plan, SLOW, "requests", prospects.episodes(p)).log_threshold
    at = first(wealth >= threshold)

    for part, told in zip((0.5, 0.9), catch.needed, strict=True):
        assert told == pytest.approx(np.quantile(at, part), rel=0.1)


@pytest.mark.parametrize(
    ("units_per_minute", "share_bp"), [(10.0, 1_000), (50.0, 1_000), (50.0, 5_000)]
)
def test_a_ratio_is_proven_when_its_minutes_are(units_per_minute: float, share_bp: int):
    of = outlook(RATIO, units_per_minute=units_per_minute, share_bp=share_bp)
    found = of.catch(RATIO, None, 0, 2.0)

    bucket = LATENCY.quantile_bucket(0.95)
    theirs = LATENCY.above(bucket)
    worse = LATENCY.slower(2.0)
    ours = worse.above(limit_bucket(RATIO, bucket))
    share = share_bp / 10_000
    random = np.random.default_rng(6)
    length = 360
    n = random.poisson(units_per_minute * share, RUNS * length)
    k = random.poisson(units_per_minute * (1 - share), RUNS * length)
    gained = log_wealth_nano(
        n,
        random.binomial(n, ours),
        k,
        random.binomial(k, theirs),
        reference=bound_of(RATIO),
        effect=0.5 * bound_of(RATIO),
        sign=1,
    ).reshape(RUNS, length, 3)
    at = first(log_e_of_wealth(gained.cumsum(axis=1)) >= needed(of.plan, RATIO))

    # The percentile is frozen from the baseline's first hundred requests.
    wait = np.ceil(100 / (units_per_minute * (1 - share)))
    for part, told in zip((0.5, 0.9), found.after, strict=True):
        assert told is not None
        assert told / MINUTE - wait == pytest.approx(np.quantile(at, part), rel=0.15, abs=2)


def test_a_ratio_that_has_no_frozen_percentile_is_never_proven_and_says_so():
    of = outlook(replace(RATIO, window=HOUR), units_per_minute=1.0)
    one = of.plan.rules[0]

    row = of.row(one, None, 0)

    # 54 requests of the baseline an hour
    assert row.catches[0].after == (None, None)
    assert "fewer than 100 requests of the baseline" in (row.lacking or "")


def test_a_percentile_that_was_frozen_at_a_step_before_stays():
    one = replace(RATIO, window=HOUR)
    of = outlook(one, units_per_minute=20.0)

    # 12 requests of the baseline an hour at 99%, 1,080 before
    assert lacking(of, one, None, 1) is None
    assert of.row(one, None, 1).catches[0].probability is not None


def test_without_latencies_it_says_what_is_needed():
    of = replace(outlook(SLOW, units_per_minute=50.0), usual=Usual())

    row = of.row(SLOW, None, 0)

    assert row.figure is None
    assert row.by_proof is None
    assert row.lacking == (
        "no latencies known: give --latency P50,P95 or run with a store with history of the plan"
    )


def test_a_healthy_candidate_over_the_limit_is_stopped_by_proof():
    late = replace(SLOW, limit=2.0)
    of = outlook(late, units_per_minute=50.0)

    # A p95 of 3 s against 2 s: no false stop, so alpha bounds nothing
    assert (of.row(late, None, 0).by_proof or 0) > 0.9
    assert outlook(SLOW, units_per_minute=50.0).row(SLOW, None, 0).by_proof == pytest.approx(0.05)
