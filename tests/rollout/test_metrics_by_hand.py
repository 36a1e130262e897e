"""Every metric of the catalogue on one half hour, reckoned by hand: its value, its samples, its counts."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.rollout.counting.columns import at
from controller.rollout.evidence.looks import known_and_traffic, measure
from controller.rollout.evidence.reader import Windows
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import BOTH_ARMS, Cohort
from controller.rollout.plan import Arm, Rule
from controller.rollout.verdict import (
    Amounts,
    LossCounts,
    PairCounts,
    RateCounts,
    StratumCounts,
)
from controller.stats.histogram import quantile, value_of
from tests.rollout.factories import ESCALATION
from tests.rollout.test_readings import START, row, view

CANDIDATE = {
    "n": 40,
    "e": 32,
    "units": 12,
    # an answer of two that could tell was an error
    "d.error": 20,
    "f.error": 5,
    "c.complaint": 40,
    "f.complaint": 4,
    "graded": 24,
    "e.graded": 16,
    "e.correct_u": 12 * MICRO,
    "served": 25,
    "served_u": 20 * MICRO,
    "c.latency_us": 40,
    "s.latency_us": 20 * MICRO,
    "h.latency.10": 30,
    "h.latency.50": 10,
    "c.cost_nusd": 30,  # of ten calls nobody knows the cost
    "s.cost_nusd": 30 * 2_000_000,
    "c.output_tokens": 20,
    "s.output_tokens": 4_000,
    "s.input_tokens": 16_000,
}
BASELINE = {
    "n": 100,
    "e": 80,
    "units": 36,
    "graded": 60,
    "e.graded": 40,
    "e.correct_u": 36 * MICRO,
    "c.latency_us": 100,
    "s.latency_us": 30 * MICRO,
    "h.latency.10": 99,
    "h.latency.60": 1,
    "c.cost_nusd": 100,
    "s.cost_nusd": 100 * 8_000_000,
    "c.output_tokens": 100,
    "s.output_tokens": 9_000,
    "s.input_tokens": 50_000,
}
# What is not compared: it costs, and says nothing of the candidate.
BESIDE = {
    "n": 10,
    "d.error": 10,
    "f.error": 10,
    "c.cost_nusd": 10,
    "s.cost_nusd": 10 * 1_000_000,
    "c.output_tokens": 10,
    "s.output_tokens": 500,
    "s.input_tokens": 1_500,
    "h.latency.90": 10,
}
OTHER_COHORT = next(one for one in Cohort if one is not Cohort.COMPARED)
ROWS = [
    row(START + 5, CANDIDATE),
    row(START + 5, BASELINE, arm="baseline"),
    row(START + 6, BESIDE, cohort=OTHER_COHORT),
    # after the half hour
    row(START + 31, {**CANDIDATE, "f.error": 20, "s.cost_nusd": 9}),
    row(START + 31, BASELINE, arm="baseline"),
]


def rule(name: str, **changes) -> Rule:
    return replace(
        ESCALATION, metric=CATALOGUE[name], window=timedelta(minutes=30), min_samples=1, **changes
    )


def measured(of: Rule, intent: str | None = "refund", rows=ROWS):
    """In the half hour alone, and as the second of three windows: the same. The first is empty."""
    reader = view(rows, minutes=40).reader
    alone = measure(of, intent, reader, Windows.single(START, START + 30))
    starts = np.array([START - 60, START, START + 31])
    several = measure(of, intent, reader, Windows.of(starts, starts + np.array([30, 30, 9])))
    assert np.ndim(alone.values) == np.ndim(alone.samples) == 0
    assert np.shape(several.values) == np.shape(several.samples) == (3,)
    found = (at(alone.values, 0), at(alone.samples, 0), alone.counts(0))
    assert at(several.values, 1) == pytest.approx(found[0], nan_ok=True)
    assert (at(several.samples, 1), several.counts(1)) == found[1:]
    return found


@pytest.mark.parametrize(
    ("name", "arm", "value", "samples"),
    [
        ("latency_mean", None, 20 / 40, 40),
        ("latency_mean", Arm.BASELINE, 30 / 100, 100),
        ("tokens_per_second", None, 4_000 / 20, 40),
        ("tokens_per_second", Arm.BASELINE, 9_000 / 30, 100),
        ("accuracy", None, 12 / 16, 16),
        ("accuracy", Arm.BASELINE, 36 / 40, 40),
        ("served_accuracy", None, 20 / 25, 25),
        ("coverage", None, 16 / 32, 32),
        ("coverage", Arm.BASELINE, 40 / 80, 80),
        # of rank floor(q (n - 1)): 19 and 38 of 0 .. 39
        ("latency_p50", None, value_of(10), 40),
        ("latency_p95", None, value_of(50), 40),
        ("latency_p95", Arm.BASELINE, value_of(10), 100),
        ("latency_p99", Arm.BASELINE, value_of(10), 100),
        # 40 calls at $0.002, as the known ones on average
        ("cost_per_1k", None, 2.0, 40),
        ("cost_per_1k", Arm.BASELINE, 8.0, 100),
        # $0.08 over 40 answers of which three in four are right
        ("cost_per_correct", None, 0.08 / 30, 16),
        ("cost_per_correct", Arm.BASELINE, 0.8 / 90, 40),
        ("cost_per_hour", Arm.CANDIDATE, 0.08 * 2, 40),
        ("cost_per_hour", Arm.BASELINE, 0.8 * 2, 100),
        # both arms, and what is not compared: $0.87 for the 140 of 150 calls of which it is known
        ("cost_per_hour", None, 0.87 * 150 / 140 * 2, 150),
        # 20,000 tokens of 20 calls that were counted, of 40
        ("token_burn_rate", Arm.CANDIDATE, 20_000 * 2 * 2, 40),
        ("token_burn_rate", Arm.BASELINE, 59_000 * 2, 100),
    ],
)
def test_a_plain_figure_is_of_one_arm_and_says_of_how_many(name, arm, value, samples):
    found, n, counts = measured(rule(name, arm=arm))

    assert found == pytest.approx(value)
    assert n == samples
    assert isinstance(counts, Amounts)
    assert counts.candidate == pytest.approx(value)
    assert (counts.baseline, counts.candidate_n, counts.baseline_n) == (None, samples, 0)


@pytest.mark.parametrize(
    ("arm", "value", "samples"),
    [(None, 24 / 40 / 0.8, 40), (Arm.BASELINE, 60 / 100 / 0.8, 100)],
)
def test_the_coverage_of_a_sample_is_of_the_requests_that_are_to_be_graded(arm, value, samples):
    other = [replace(one, intent="order-status") for one in ROWS[:1]]
    reader = view([*ROWS, *other], minutes=40).reader
    single = Windows.single(START, START + 30)
    of = rule("coverage", arm=arm)

    found = measure(of, "refund", reader, single, sampled_u=800_000)

    assert float(at(found.values, 0)) == pytest.approx(value)
    assert found.samples == samples
    every = measure(of, "refund", reader, single, sampled_u=MICRO)
    assert every.values == measure(of, "refund", reader, single).values


def test_a_rate_is_of_the_requests_that_can_tell_it():
    value, samples, counts = measured(rule("error_rate"))

    assert (value, samples) == (5 / 20, 20)
    assert counts == RateCounts(count=5, of=20)
    complaints, n, _ = measured(rule("complaint_rate"))
    assert (complaints, n) == (4 / 40, 40)  # who says nothing has nothing to complain of


@pytest.mark.parametrize(
    ("name", "candidate", "baseline", "samples"),
    [
        ("latency_p95_ratio", value_of(50), value_of(10), (40, 100)),
        ("cost_ratio", 0.002, 0.008, (40, 100)),
    ],
)
def test_a_ratio_is_of_both_arms_and_has_the_samples_of_the_smaller(
    name, candidate, baseline, samples
):
    value, n, counts = measured(rule(name))

    assert value == pytest.approx(candidate / baseline)
    assert n == 40
    assert isinstance(counts, Amounts)
    assert (counts.candidate, counts.baseline) == pytest.approx((candidate, baseline))
    assert (counts.candidate_n, counts.baseline_n) == samples


def test_the_sample_ratio_is_the_candidates_part_of_new_units():
    value, n, counts = measured(rule("sample_ratio"))

    assert (value, n) == (12 / 48, 48)
    assert counts == Amounts(candidate=0.25, baseline=None, candidate_n=48, baseline_n=0)


histograms = st.lists(
    st.dictionaries(st.integers(-3, 60), st.integers(1, 4), max_size=4), min_size=2, max_size=5
)


@given(histograms, st.sampled_from(["latency_p50", "latency_p95", "latency_p99"]))
@example([{10: 1, 50: 2}, {}, {7: 1}], "latency_p50")
def test_a_percentile_is_that_of_its_windows_histogram_and_of_no_requests_there_is_none(
    minutes, name
):
    rows = [
        row(START + i, {f"h.latency.{bucket}": n for bucket, n in one.items()})
        for i, one in enumerate(minutes)
        if one
    ]
    reader = view(rows, minutes=40).reader
    starts = START + np.arange(len(minutes))

    found = measure(rule(name), "refund", reader, Windows.of(starts, starts + 1))

    q = CATALOGUE[name].quantile
    assert q is not None
    for i, one in enumerate(minutes):
        expected = quantile(one, q) if one else math.nan
        assert at(found.values, i) == pytest.approx(expected, nan_ok=True)
        assert at(found.samples, i) == sum(one.values())


PAIRED = [
    row(START + 7, {"p.10": 3, "p.11": 9, "pv.250000": 2}, arm=BOTH_ARMS, intent=intent)
    for intent in ("refund", "order-status")
]


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("arm", [None, *Arm])
def test_an_intent_is_measured_by_its_own_requests_alone(name, arm):
    # The other intent has the arms' figures the other way round.
    other = [
        replace(one, intent="order-status", arm={"candidate": "baseline"}.get(one.arm, "candidate"))
        for one in ROWS
    ]

    alone = measured(rule(name, arm=arm))
    beside = measured(rule(name, arm=arm), rows=[*ROWS, *other])
    with_pairs = measured(rule(name, arm=arm), rows=[*ROWS, *other, *PAIRED])

    assert beside == pytest.approx(alone, nan_ok=True)
    if name == "accuracy_delta":
        assert with_pairs == measured(rule(name), rows=PAIRED[:1])
        assert with_pairs[:2] == (pytest.approx(3.5 / 14), 14)
    else:
        assert with_pairs == pytest.approx(alone, nan_ok=True)


def test_what_nobody_measured_has_no_value():
    nothing = [row(START + 5, {"n": 40}), row(START + 5, {"n": 9}, arm="baseline")]

    for name in CATALOGUE.keys() - {"complaint_rate"}:  # silence is no complaint
        value, _, counts = measured(rule(name), rows=nothing)
        assert math.isnan(value), name
        if isinstance(counts, Amounts):
            assert counts.candidate is None, name


def test_no_traffic_costs_nothing_and_is_worth_no_price():
    nothing = [row(START + 5, {"units": 1})]

    assert measured(rule("cost_per_hour"), rows=nothing)[0] == 0
    assert measured(rule("token_burn_rate"), rows=nothing)[0] == 0
    assert math.isnan(measured(rule("cost_per_1k"), rows=nothing)[0])


# Loss


def graded(version: int, baseline: tuple[int, int], candidate: tuple[int, int], intent="refund"):
    """Each arm as (right, of)."""
    return [
        row(
            START + 5,
            {"n": of, "e": of, "e.graded": of, "e.correct_u": right * MICRO},
            arm=arm,
            version=version,
            intent=intent,
        )
        for arm, (right, of) in (("baseline", baseline), ("candidate", candidate))
    ]


def test_a_loss_is_post_stratified_and_leaves_out_what_cannot_be_compared():
    rows = [
        *graded(2, (81, 90), (7, 10)),  # loses 0.2, on 100 episodes
        *graded(3, (30, 40), (16, 20)),  # gains 0.05, on 60
        *graded(4, (50, 50), (0, 0)),
        *graded(5, (0, 0), (5, 5)),
    ]

    value, n, counts = measured(rule("accuracy_delta"), rows=rows)

    assert value == pytest.approx((100 * 0.2 - 60 * 0.05) / 160)
    assert n == 30  # the candidate's, of the strata that count
    assert counts == LossCounts(
        strata=tuple(
            StratumCounts(
                version=version,
                intent="refund",
                baseline_n=b,
                baseline_correct_u=b_right * MICRO,
                candidate_n=c,
                candidate_correct_u=c_right * MICRO,
            )
            for version, b_right, b, c_right, c in (
                (2, 81, 90, 7, 10),
                (3, 30, 40, 16, 20),
                (4, 50, 50, 0, 0),
                (5, 0, 0, 5, 5),
            )
        )
    )


def test_a_single_label_of_each_arm_can_be_compared():
    value, n, _ = measured(rule("accuracy_delta"), rows=graded(2, (1, 1), (0, 1)))

    assert (value, n) == (1.0, 1)


def test_a_single_pair_speaks_for_itself_where_none_are_asked_for():
    rows = [*graded(2, (81, 90), (7, 10)), row(START + 7, {"p.10": 1}, arm=BOTH_ARMS)]

    value, n, counts = measured(replace(rule("accuracy_delta"), min_samples=0), rows=rows)

    assert (value, n) == (1.0, 1)
    assert isinstance(counts, PairCounts)


@pytest.mark.parametrize("name", ["cost_ratio", "latency_p95_ratio"])
def test_a_ratio_has_the_samples_of_the_smaller_arm_whichever_that_is(name):
    turned = {"candidate": "baseline", "baseline": "candidate"}
    rows = [replace(one, arm=turned[one.arm]) for one in ROWS]

    (value, n, _), (other, m, _) = measured(rule(name)), measured(rule(name), rows=rows)

    assert n == m == 40
    assert value == pytest.approx(1 / other)


def test_intents_are_strata_too_where_all_traffic_is_judged_as_one():
    rows = [*graded(2, (81, 90), (7, 10)), *graded(2, (40, 40), (10, 20), intent="order-status")]

    value, n, _ = measured(rule("accuracy_delta"), None, rows=rows)

    assert value == pytest.approx((100 * 0.2 + 60 * 0.5) / 160)
    assert n == 30
    assert measured(rule("accuracy_delta"), rows=rows)[0] == pytest.approx(0.2)


@pytest.mark.parametrize(("min_samples", "paired"), [(20, True), (21, False), (0, True)])
def test_enough_pairs_speak_for_themselves(min_samples, paired):
    pairs = {"p.11": 10, "p.10": 4, "p.01": 1, "p.00": 2, "pv.250000": 2, "pv.-500000": 1}
    rows = [*graded(2, (81, 90), (7, 10)), row(START + 5, pairs, arm=BOTH_ARMS)]
    of = replace(rule("accuracy_delta"), min_samples=min_samples)

    value, n, counts = measured(of, rows=rows)

    if paired:
        # (4 - 1 + 2/4 - 1/2) / 20
        assert (value, n) == (pytest.approx(3 / 20), 20)
        assert counts == PairCounts(
            both=10,
            only_baseline=4,
            only_candidate=1,
            neither=2,
            graded={"250000": 2, "-500000": 1},
        )
        assert isinstance(counts, PairCounts)
        assert (counts.plain, counts.total) == (17, 20)
        assert counts.loss == pytest.approx(3 / 20)
    else:
        assert (value, n) == (pytest.approx(0.2), 10)
        assert isinstance(counts, LossCounts)


def test_without_a_pair_there_is_no_paired_loss():
    of = replace(rule("accuracy_delta"), min_samples=0)

    value, n, counts = measured(of, rows=graded(2, (81, 90), (7, 10)))

    assert (value, n) == (pytest.approx(0.2), 10)
    assert isinstance(counts, LossCounts)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("error_rate", "d.error"),
        ("complaint_rate", "n"),
        ("accuracy_delta", "graded"),
        ("accuracy", "graded"),
        ("served_accuracy", "served"),
        ("coverage", "graded"),
        ("latency_p95", "c.latency_us"),
        ("ttft_p95", "c.ttft_us"),
        ("latency_p95_ratio", "c.latency_us"),
        ("latency_mean", "c.latency_us"),
        ("tokens_per_second", "c.latency_us"),
        ("cost_per_1k", "c.cost_nusd"),
        ("cost_ratio", "c.cost_nusd"),
        ("token_burn_rate", "c.output_tokens"),
    ],
)
def test_what_says_that_a_request_was_measured(name, known):
    assert known_and_traffic(CATALOGUE[name]) == (known, "n")


def test_the_sample_ratio_counts_units_instead_of_requests():
    assert known_and_traffic(CATALOGUE["sample_ratio"]) == ("units", "units")
