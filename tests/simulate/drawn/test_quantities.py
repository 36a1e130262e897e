"""What simulated requests take: the sums of it are those that a live count makes of the same requests."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.counting.tallies import Tallies
from controller.rollout.evidence.caps import cost_caps
from controller.rollout.metrics import MICRO, capped
from controller.rollout.observation import Observation, RollupRow
from controller.rollout.plan import Arm, Intent, Labels, Plan, Scope, Unit
from controller.rollout.timeline import minute_of, start_of
from controller.simulate.drawn.dense import ALL_GRADED, RIGHT_U, DenseTallies
from controller.simulate.drawn.knowledge import Knowledge
from controller.simulate.drawn.quantities import (
    MOST,
    TimeLaw,
    call_costs,
    in_parts,
    is_known,
    lacking,
)
from controller.simulate.drawn.sizes import SIZES
from controller.simulate.drawn.streams import APART, InForce, Streams
from controller.simulate.scenarios import HEALTHY, Fault, Scenario, Traffic
from controller.simulate.usual import SPREAD, Latencies, Usual
from controller.stats.histogram import bucket_of, value_of
from controller.store.memory import MemoryStore
from tests.accounting.factories import HALF, NOW, ROLLOUT, observation, send, started
from tests.simulate.drawn import test_knowledge as late
from tests.simulate.factories import plan, rule

FIRST, LENGTH_MIN = minute_of(NOW), 30
NAMES = tuple(HALF)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LIMIT_USD = 0.004
RULES = (
    rule("latency_p95", limit=3.0),
    rule("latency_p95_ratio", limit=1.25),
    rule("ttft_p95", limit=1.0, scope=Scope.EACH),
    rule("ttft_p95", name="the baseline's", arm=Arm.BASELINE, limit=1.0),
    rule("latency_mean", limit=2.0),
    rule("cost_per_correct", limit=LIMIT_USD),
    rule("token_burn_rate", limit=1e6),
)
INTENTS = (Intent(name="refund", critical=True), Intent(name="order-status"))
KNOWN = Usual(
    sizes={
        (Arm.BASELINE, "latency"): Latencies.log_normal(1.2, 3.0),
        (Arm.CANDIDATE, "latency"): Latencies.log_normal(0.8, 2.5),
        (Arm.BASELINE, "ttft"): Latencies.log_normal(0.3, 0.9),
    },
    request_usd={Arm.BASELINE: 0.018, Arm.CANDIDATE: 0.0036 + 0.2 * 0.018},
    request_tokens=dict.fromkeys(Arm, 6_000.0),
)
TRAFFIC = Traffic(units_per_minute=8.0, mix={"refund": 0.7, "order-status": 0.3}, escalation=0.2)
WORSE = Scenario(
    text="", slow=Fault(size=2.0, since=10 * MINUTE), cost=Fault(size=1.5, since=20 * MINUTE)
)
SPLIT = InForce(version=1, step=0, shares=HALF, pinned=frozenset())


def planned(*rules, **changes: object) -> Plan:
    usual: dict[str, object] = {"intents": INTENTS, "labels": Labels(delay=timedelta(0))}
    return plan(*(rules or RULES), **{**usual, **changes})  # type: ignore[arg-type]  # fields of Plan


def streams(
    of: Plan, seed: int = 7, scenario: Scenario = HEALTHY, *, usual: Usual = KNOWN, **traffic: float
) -> Streams:
    return Streams(of, replace(TRAFFIC, **traffic), scenario, seed, 0, FIRST, usual)  # type: ignore[arg-type]


# Counted live


def requests_of(made: Streams, drawn, seed: int) -> Iterator[tuple[Arm, str, int, dict[str, int]]]:
    """Each request with what it takes: arm, intent, minute and quantities, as drawn once more by the same seed."""
    of = made.quantities
    assert of is not None
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 1, 0, APART)))
    since = np.arange(LENGTH_MIN)
    for arm in Arm:
        for place, intent in enumerate(made.groups):
            counts = drawn.counted.compared[arm.value][place]
            spent = list(of.spent(random, arm, counts, since))
            nusd = np.concatenate([one.nusd for one in spent]).tolist()
            tokens = np.concatenate([one.tokens for one in spent]).tolist()
            minutes = np.repeat(since, counts[made.columns.requests]).tolist()
            took = [drawn.counted.times[arm.value, one][place] for one in ("latency", "ttft")]
            assert all(one.times is None for one in took)  # each request is an entry
            us = [[round(MICRO * value_of(b)) for b in one.buckets.tolist()] for one in took]
            for minute, cost, n, latency, ttft in zip(minutes, nusd, tokens, *us, strict=True):
                yield (
                    arm,
                    intent,
                    minute,
                    {
                        "cost_nusd": cost,
                        "output_tokens": n,
                        "latency_us": latency,
                        "ttft_us": ttft,
                    },
                )


def ingested(requests) -> Sequence[RollupRow]:
    """The rows that the real ingest makes of them."""
    store = MemoryStore()
    started(store, unit=Unit.REQUEST, cost_limits=(LIMIT_USD,))
    sent: list[Observation] = [
        observation(
            f"{number}",
            at=start_of(FIRST + minute),
            unit=f"{number}",
            arm=arm,
            intent=intent,
            quantities=took,
        )
        for number, (arm, intent, minute, took) in enumerate(requests)
    ]
    send(store, *sent, now=start_of(FIRST + LENGTH_MIN))
    rows, _ = store.rollups(ROLLOUT)
    return rows


def counted_live(requests) -> dict[tuple[str, str, int], dict[str, int]]:
    """The same by arm, intent and minute."""
    rows = ingested(requests)
    return {(row.arm, row.intent, row.minute - FIRST): dict(row.stats) for row in rows}


@pytest.mark.parametrize("scenario", [HEALTHY, WORSE], ids=["healthy", "worse"])
@pytest.mark.parametrize("seed", [1, 2])
def test_simulated_sums_are_what_a_live_count_makes_of_the_same_requests(
    seed: int, scenario: Scenario
):
    of = planned()
    made = streams(of, seed, scenario)
    drawn = made.draw(SPLIT, 0, FIRST, LENGTH_MIN)
    live = counted_live(requests_of(made, drawn, seed))
    (cap,) = cost_caps(of)

    keys = (
        *("n", "c.cost_nusd", "s.cost_nusd", capped(cap), "c.latency_us", "s.latency_us"),
        *("c.ttft_us", "c.output_tokens", "s.output_tokens"),
    )
    for arm in Arm:
        for place, intent in enumerate(made.groups):
            counts = drawn.counted.compared[arm.value][place]
            for minute in range(LENGTH_MIN):
                row = live.get((arm.value, intent, minute), {})
                told = {key: int(counts[made.columns.places[key], minute]) for key in keys}
                assert told == {key: row.get(key, 0) for key in keys}
    assert sum(row[capped(cap)] for row in live.values() if capped(cap) in row) < sum(
        row["s.cost_nusd"] for row in live.values() if "s.cost_nusd" in row
    )  # something was dearer than the cap


@pytest.mark.parametrize("scenario", [HEALTHY, WORSE], ids=["healthy", "worse"])
def test_simulated_histograms_are_those_of_a_live_count(scenario: Scenario):
    made = streams(planned(), 5, scenario)
    drawn = made.draw(SPLIT, 0, FIRST, LENGTH_MIN)
    live = counted_live(requests_of(made, drawn, 5))
    tallies = DenseTallies(NAMES, first=FIRST, room=100, columns=made.columns)
    tallies.begin(1, NAMES)
    tallies.add(drawn.counted)

    for subject in ("latency", "ttft"):
        prefix = f"h.{subject}."
        for arm in Arm:
            seen: Counter[int] = Counter()
            for (of, _, minute), row in live.items():
                if of == arm.value and 5 <= minute < 25:
                    seen.update(
                        {int(k[len(prefix) :]): n for k, n in row.items() if k.startswith(prefix)}
                    )
            buckets, (sums,) = tallies.histogram(
                prefix,
                np.array([FIRST + 5]),
                np.array([FIRST + 25]),
                arm=arm.value,
                intent=None,
            )
            assert dict(zip(buckets, sums.tolist(), strict=True)) == dict(seen)


def test_what_lies_above_buckets_is_what_tallies_of_the_same_rows_tell_before_and_after_a_cut():
    made = streams(planned(), 6)
    drawn = made.draw(SPLIT, 0, FIRST, LENGTH_MIN)
    known, later = {"latency": {10, 30}}, {"latency": {20, 30}, "ttft": {-60}}
    dense = DenseTallies(NAMES, first=FIRST, room=100, columns=made.columns, spare=2)
    dense.begin(1, NAMES)
    dense.widen(known, FIRST)
    dense.add(drawn.counted)
    dense.cut(FIRST + 20)
    dense.widen(later, FIRST + 5)  # one more than there was room for
    tallies = Tallies(bounds={"latency": {10, 20, 30}, "ttft": {-60}})
    rows = ingested(requests_of(made, drawn, 6))
    tallies.feed([row for row in rows if row.minute < FIRST + 20], 1)

    at = np.arange(FIRST + 5, FIRST + 25)
    early = ("n", "s.cost_nusd", "x.latency.10", "x.latency.30")
    new = ("x.latency.20", "x.ttft.-60")
    for arm in Arm:
        for intent in (None, *NAMES):
            told, seen = (
                one.until(at, (*early, *new), arm=arm.value, intent=intent)
                for one in (dense, tallies)
            )
            assert told[:, : len(early)].tolist() == seen[:, : len(early)].tolist()
            # What is asked for later is counted from then on.
            assert (told - told[0]).tolist() == (seen - seen[0]).tolist()
            row = dense.row(FIRST + 9, arm=arm.value, intent=intent)
            places = dense.places(early, arm.value)
            assert [row[place] for place in places] == told[4, : len(early)].tolist()
    with pytest.raises(LookupError, match=r"x\.latency\.99 is not summed here"):
        dense.until(at, ("x.latency.99",), arm="candidate", intent=None)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    requests=st.sampled_from([1.0, 3.0]),
    moments=st.lists(st.integers(0, late.UNTIL_MIN - 1), min_size=1, max_size=4),
)
def test_grades_by_request_of_a_moment_are_those_of_the_real_ingest(seed, requests, moments):
    usual = late.streams(seed, requests)
    of = replace(usual.plan, rules=(*usual.plan.rules, rule("cost_per_correct", limit=0.004)))
    made = replace(usual, plan=of, usual=KNOWN)
    dense = DenseTallies(NAMES, first=FIRST, room=200, columns=made.columns)
    knowledge = Knowledge(dense, delay_min=late.DELAY_MIN)
    dense.begin(1, NAMES)
    drawn = made.draw(SPLIT, 0, FIRST, late.LENGTH_MIN)
    dense.add(drawn.counted)
    for coming in drawn.coming:
        knowledge.take(1, coming)
    live = late.told(list(drawn.coming), {FIRST + moment for moment in moments})

    for moment in moments:
        knowledge.know(FIRST + moment)
        end = min(FIRST + moment - late.DELAY_MIN, FIRST + late.LENGTH_MIN)
        at = np.arange(FIRST, end + 1)
        for arm in Arm:
            told, seen = (
                one.until(at, ("graded", "correct_u"), arm=arm.value, intent=None)
                for one in (dense, live[FIRST + moment].tallies)
            )
            assert told.tolist() == seen.tolist()


# Laws


def test_a_candidates_request_costs_on_average_what_is_known_of_it():
    costs = call_costs(KNOWN, TRAFFIC)

    assert costs[Arm.BASELINE].own == 0.018
    assert costs[Arm.CANDIDATE].own == pytest.approx(0.0036)
    assert costs[Arm.CANDIDATE].escalated == 0.018

    # Known by history: so little that not even its escalations cost a call of the baseline
    cheap = replace(KNOWN, request_usd={Arm.BASELINE: 0.018, Arm.CANDIDATE: 0.001})
    candidate = call_costs(cheap, TRAFFIC)[Arm.CANDIDATE]
    assert candidate.own + 0.2 * candidate.escalated == pytest.approx(0.001)


def test_costs_have_the_stated_spread_and_an_escalated_answer_costs_two_calls():
    made = streams(planned(), units_per_minute=2_000.0)
    drawn = made.draw(SPLIT, 0, FIRST, 60)
    of = made.quantities
    assert of is not None
    n = 40_000
    counts = np.zeros((made.columns.width, 1), dtype=np.int64)
    counts[made.columns.requests] = n
    (baseline,) = of.spent(np.random.default_rng(3), Arm.BASELINE, counts, np.arange(1))
    # By a log-normal with a coefficient of variation of 1: half of the calls cost less than mean / sqrt(2)
    mean = baseline.nusd.mean()
    assert mean == pytest.approx(18e6, rel=4 / math.sqrt(n))
    assert baseline.nusd.std() / mean == pytest.approx(SPREAD, rel=0.1)
    assert np.median(baseline.nusd) == pytest.approx(18e6 / math.sqrt(2), rel=0.03)
    # Tokens are what is paid for
    assert np.corrcoef(baseline.nusd, baseline.tokens)[0, 1] > 0.999

    candidate = drawn.counted.compared[Arm.CANDIDATE.value].sum(axis=(0, 2))
    places = made.columns.places
    requests, escalated = candidate[places["n"]], candidate[places["f.escalated"]]
    expected = 1e9 * (0.0036 * requests + 0.018 * escalated)
    assert candidate[places["s.cost_nusd"]] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("scope", [Scope.ALL, Scope.EACH])
def test_what_minutes_cost_and_take_in_sum_is_as_much_as_single_requests_do(scope: Scope):
    bills = (
        rule("cost_per_hour", limit=50.0, scope=scope),
        rule("token_burn_rate", limit=1e6, scope=scope),
    )
    made = streams(planned(*bills), units_per_minute=200.0)
    single = streams(planned(*RULES), units_per_minute=200.0)
    keys = ("n", "f.escalated", "s.cost_nusd", "s.output_tokens")

    def told(of: Streams, arm: Arm) -> list[np.ndarray]:
        tables = of.draw(SPLIT, 0, FIRST, 4_000).counted.compared[arm.value]
        return [tables[:, of.columns.places[key]] for key in keys]

    for arm in Arm:
        (n, escalated, cost, tokens), (m, e, costs, _) = told(made, arm), told(single, arm)
        own, more = (0.018, 0.0) if arm is Arm.BASELINE else (0.0036, 0.018)
        assert cost.sum() == pytest.approx(1e9 * (own * n.sum() + more * escalated.sum()), rel=0.01)
        assert tokens.sum() == pytest.approx(6_000 * n.sum(), rel=0.01)
        # About what is expected of a minute's requests, it scatters as single ones do.
        rest, usual = (
            (one - 1e9 * (own * of + more * dear)).sum(axis=0).std()
            for one, of, dear in ((cost, n, escalated), (costs, m, e))
        )
        assert rest == pytest.approx(usual, rel=0.06)
        # Of each intent only where a rule asks for it
        assert (cost[1] > 0).any() == (scope is Scope.EACH)


def test_a_fault_begins_in_its_minute_and_is_the_candidates_alone():
    worse = Scenario(
        text="", slow=Fault(size=3.0, since=15 * MINUTE), cost=Fault(size=4.0, since=15 * MINUTE)
    )
    made = streams(planned(), scenario=worse, units_per_minute=4_000.0)
    drawn = made.draw(SPLIT, 0, FIRST, LENGTH_MIN)
    places = made.columns.places

    for key, times in (("s.latency_us", 3.0), ("s.cost_nusd", 4.0), ("s.output_tokens", 4.0)):
        for arm, factor in ((Arm.CANDIDATE, times), (Arm.BASELINE, 1.0)):
            sums = drawn.counted.compared[arm.value].sum(axis=0)
            each = sums[places[key]] / sums[places["n"]]
            assert each[15:].mean() / each[:15].mean() == pytest.approx(factor, rel=0.03)


def test_escalations_that_jump_make_requests_dearer():
    worse = Scenario(text="", escalation=Fault(size=0.8))
    usual, more = (
        streams(planned(), scenario=one, units_per_minute=2_000.0)
        .draw(SPLIT, 0, FIRST, 30)
        .counted.compared[Arm.CANDIDATE.value]
        .sum(axis=(0, 2))
        for one in (HEALTHY, worse)
    )
    places = streams(planned()).columns.places
    for counts, each in ((usual, 0.0036 + 0.2 * 0.018), (more, 0.0036 + 0.8 * 0.018)):
        found = counts[places["s.cost_nusd"]] / counts[places["n"]] / 1e9
        assert found == pytest.approx(each, rel=0.02)


def test_requests_of_right_conversations_are_shared_out_as_single_ones_would_be():
    # With blocks each conversation is drawn; without, only how many requests the right ones have of all.
    usual = rule("cost_per_correct", limit=0.004)
    loss = rule("accuracy_delta", scope=Scope.EACH)
    told = []
    for rules in ((usual,), (usual, loss)):
        of = planned(*rules, unit=Unit.CONVERSATION)
        made = streams(of, requests_per_unit=3.0, accuracy=0.6)
        drawn = made.draw(SPLIT, 0, FIRST, 20_000)
        counts = drawn.counted.compared[Arm.BASELINE.value].sum(axis=0)
        places = made.columns.places
        right, graded = counts[places["correct_u"]] / MICRO, counts[places["graded"]]
        units = counts[RIGHT_U] / MICRO
        assert (right >= units).all()
        assert ((right == 0) == (units == 0)).all()
        told.append((right.mean(), right.std(), np.corrcoef(right, graded)[0, 1]))
    assert told[0] == pytest.approx(told[1], rel=0.03)


# What is drawn


def test_nothing_is_drawn_where_no_rule_reads_it():
    made = streams(planned(rule("escalation_rate")))

    assert made.quantities is None
    assert made.columns is ALL_GRADED


def test_only_what_the_rules_read_is_drawn():
    of = streams(planned(rule("latency_p50", limit=2.0)))
    assert of.quantities is not None
    assert {*of.quantities.times} == {(Arm.CANDIDATE, "latency")}
    assert not of.quantities.calls

    bill = streams(planned(rule("cost_per_hour", limit=50.0)))
    assert bill.quantities is not None
    assert not bill.quantities.times
    assert list(bill.quantities.costs) == ["s.cost_nusd"]  # no proof, so nothing up to a cap


@pytest.mark.parametrize("scope", [Scope.ALL, Scope.EACH])
def test_how_long_requests_take_is_told_of_each_intent_only_where_a_rule_asks(scope: Scope):
    rules = (
        rule("latency_p95", limit=3.0, scope=scope),
        rule("latency_mean", limit=2.0, scope=scope),
    )
    made = streams(planned(*rules), units_per_minute=100.0)
    counted = made.draw(SPLIT, 0, FIRST, LENGTH_MIN).counted
    tables, places = counted.compared[Arm.CANDIDATE.value], made.columns.places

    took = counted.times[Arm.CANDIDATE.value, "latency"]
    n = tables[:, places["n"]].sum(axis=1).tolist()
    assert [len(one.buckets) for one in took] == (n if scope is Scope.EACH else [sum(n), 0])
    for one, requests in zip(took, tables[:, places["n"]], strict=True):
        in_minutes = np.diff(one.until, prepend=0).tolist()
        whole = tables[:, places["n"]].sum(axis=0)
        if scope is Scope.EACH:
            assert in_minutes == requests.tolist()
        else:
            assert in_minutes in (whole.tolist(), [0] * LENGTH_MIN)
    us = tables[:, places["s.latency_us"]].sum()
    mean_s = np.mean([value_of(b) for one in took for b in one.buckets.tolist()])
    assert us / sum(n) == pytest.approx(MICRO * mean_s, rel=1e-5)


def test_a_rule_is_known_where_its_arms_are():
    ratio, speed = rule("latency_p95_ratio"), rule("tokens_per_second")
    candidate_only = Usual(sizes={(Arm.CANDIDATE, "latency"): Latencies.log_normal(1.0, 2.0)})

    assert is_known(candidate_only, rule("latency_p95"))
    assert not is_known(candidate_only, ratio)
    assert not is_known(candidate_only, rule("ttft_p95"))
    assert not is_known(KNOWN, speed)
    assert not is_known(candidate_only, rule("cost_ratio"))
    assert (lacking(ratio), lacking(rule("ttft_p95"))) == (
        "give --latency P50,P95",
        "give --ttft P50,P95",
    )
    assert lacking(rule("cost_ratio")) == "say what both models cost in the plan (`price`)"
    assert lacking(speed) is None
    assert lacking(rule("complaint_rate")) is None


def test_much_traffic_is_kept_by_bucket():
    of = planned(rule("latency_p95", limit=3.0, scope=Scope.EACH))
    counted = streams(of, units_per_minute=6_000.0).draw(SPLIT, 0, FIRST, 10).counted

    for place in range(2):
        took = counted.times[Arm.CANDIDATE.value, "latency"][place]
        n = counted.compared[Arm.CANDIDATE.value][place, 1]
        assert took.times is not None
        assert len(took.buckets) < n.sum() / 2
        before = np.concatenate([[0], took.times.cumsum()])
        assert np.diff(before[took.until], prepend=0).tolist() == n.tolist()


@given(st.lists(st.integers(0, 3 * MOST // 2), min_size=1, max_size=12), st.data())
def test_requests_are_drawn_in_parts_of_whole_minutes(n, data):
    first = data.draw(st.integers(0, len(n) - 1))
    parts = list(in_parts(np.array(n), slice(first, len(n))))

    minutes = [minute for part in parts for minute in range(part.start, part.stop)]
    assert minutes == list(range(first, len(n)))
    for part in parts:
        assert sum(n[part]) <= MOST or part.stop == part.start + 1


def test_the_law_is_followed_to_one_in_65_536():
    law = Latencies.log_normal(1.2, 3.0)
    made = TimeLaw.of(law)
    seen = np.bincount(made.buckets - made.first, minlength=made.width) / SIZES

    assert len(made.buckets) == SIZES
    assert np.abs(seen.cumsum() - law.parts.cumsum()).max() <= 0.5 / SIZES + 1e-12
    told = defaultdict(set)
    for bucket, us in zip(made.buckets.tolist(), made.us.tolist(), strict=True):
        told[bucket].add(us)
    assert all(len(one) == 1 for one in told.values())
    assert all(bucket_of(us / MICRO) == bucket for bucket, (us,) in told.items())
