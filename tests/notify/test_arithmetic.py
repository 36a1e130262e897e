from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.errors import NotFound
from controller.notify.arithmetic import failed_look, title_line, verdict_line
from controller.notify.figures import (
    counts_words,
    e_value,
    interval_words,
    proof_words,
    value_beside,
)
from controller.notify.refusals import refusal_line
from controller.notify.waits import wait_line
from controller.rollout.decision import Refusal, Wait, Waiting
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Arm, Evidence, Intent, Judge, Labels
from controller.rollout.verdict import (
    Availability,
    Coverage,
    Outcome,
    PairCounts,
    RateCounts,
    WorstCase,
)
from tests.notify.factories import (
    ACCURACY,
    ESCALATED,
    ESCALATION,
    HOUR,
    LOST_ACCURACY,
    PLAN,
    REFUND_LOSS,
    SLOW,
    SPEND,
    amounts,
    look,
    loss,
    pairs,
    plan,
    proof,
    rate,
    rate_look,
    rule,
    stratum,
    verdict,
    window,
)

CONFIDENT_ESCALATION = rule(evidence=Evidence.CONFIDENT)


def line(one, *, of=PLAN) -> str:
    return verdict_line(one, of)


# FAIL


def test_a_rate_shows_its_interval_limit_window_and_counts():
    # The interval: Wilson 1927 for 187 of 7,762.
    assert line(ESCALATED) == (
        "escalation_rate 2.41% (95% CI 2.09..2.77, Wilson) above 2% in "
        "2026-11-20 03:14..2026-11-21 03:14Z; 187 of 7,762 candidate requests"
    )


def test_a_loss_shows_both_arms_and_what_it_is_proof_against():
    text = line(LOST_ACCURACY)

    assert text.startswith("accuracy_delta 3.1 pp on refund (95% CI ")
    assert "Newcombe) above 1.5 pp in 2026-11-18 03:14..2026-11-21 03:14Z; " in text
    assert "; baseline 96.19% of 4,120, candidate 93.09% of 463; " in text
    assert text.endswith('; e-value 1,240 ≥ 20 against "no loss"')


def test_a_proof_of_more_than_the_limit_names_the_limit():
    proven = verdict(
        ACCURACY, "refund", failing=proof(90, 20, REFUND_LOSS, claim=0.015, observed=0.031)
    )

    assert 'e-value 90 ≥ 20 against "a loss of at most 1.5 pp"' in line(proven)


def test_an_observed_failure_that_is_not_proven_says_so():
    unproven = verdict(
        ESCALATION,
        latest=rate_look(187, 7_762),
        worst=rate_look(187, 7_762),
        failing=proof(3.1, 6_720, rate(60, 2_500)),
    )

    assert line(unproven).endswith('; not proven: e-value 3.1 < 6,720 against "at most 2%"')


def test_a_proof_from_another_window_names_that_window():
    proven = verdict(
        ESCALATION,
        worst=rate_look(187, 7_762),
        failing=proof(31_000, 6_720, rate(41, 500), span=HOUR),
    )

    assert line(proven).endswith(
        'e-value 31,000 ≥ 6,720 against "at most 2%" in 2026-11-21 02:14..2026-11-21 03:14Z'
    )


def test_a_failure_found_sooner_by_proof_blames_its_own_window_in_episodes():
    sooner = verdict(
        ESCALATION,
        latest=rate_look(60, 1_200, complete=False),
        failing=proof(31_000, 6_720, rate(41, 500), span=HOUR),
    )

    assert line(sooner) == (
        "escalation_rate 8.2% (95% CI 6.10..10.94, Wilson) above 2% in "
        "2026-11-21 02:14..2026-11-21 03:14Z; 41 of 500 candidate episodes; "
        'e-value 31,000 ≥ 6,720 against "at most 2%"; '
        "observed form undecided: window not complete: not all of its 24h were in force"
    )


def test_where_only_the_proof_fails_the_passing_observed_figure_is_named():
    torn = verdict(
        ESCALATION,
        latest=rate_look(107, 7_762),
        failing=proof(31_000, 6_720, rate(41, 500), span=HOUR),
    )

    assert line(torn).endswith(
        "; observed form passes: 1.38% in 2026-11-20 03:14..2026-11-21 03:14Z"
    )


def test_a_guarded_loss_names_the_window_that_is_too_large_and_the_one_that_proves_it():
    seen = loss(stratum((0.96, 4_000), (0.94, 450)))
    guarded = verdict(
        ACCURACY, "refund", failing=proof(25, 20, seen, observed=0.02, span=12 * HOUR)
    )

    assert line(guarded).startswith("accuracy_delta 2 pp on refund (95% CI ")
    assert "above 1.5 pp in 2026-11-18 03:14..2026-11-21 03:14Z; " in line(guarded)
    assert line(guarded).endswith(
        "; baseline 96% of 4,000, candidate 94% of 450; "
        'e-value 25 ≥ 20 against "no loss" in 2026-11-20 15:14..2026-11-21 03:14Z'
    )


def test_several_strata_are_named_by_what_tells_them_apart():
    by_split = loss(
        stratum((0.96, 4_000), (0.92, 450)), stratum((0.95, 2_000), (0.90, 700), version=5)
    )
    by_intent = loss(
        stratum((0.96, 4_000), (0.92, 450)), stratum((0.95, 2_000), (0.90, 700), intent="order")
    )
    arms = "5: baseline 95% of 2,000, candidate 90% of 700; split 3: baseline 96% of 4,000"

    assert f"split {arms}" in line(failed_loss(by_split))
    assert "post-stratified" in line(failed_loss(by_split))
    assert "order: baseline 95% of 2,000" in line(failed_loss(by_intent))


def test_more_than_three_strata_are_cut_to_the_largest():
    many = loss(*(stratum((0.96, 900), (0.9, 100 * n), version=n) for n in range(1, 6)))
    text = line(failed_loss(many))

    assert text.index("split 5:") < text.index("split 4:") < text.index("split 3:")
    assert "; and 2 smaller" in text


def failed_loss(counts):
    return verdict(
        ACCURACY, "refund", failing=proof(1_240, 20, counts, observed=0.04, span=72 * HOUR)
    )


def test_pairs_say_who_was_right_alone():
    paired = pairs(1_300, 41, 12, 20)
    text = line(verdict(ACCURACY, "refund", failing=proof(90, 20, paired, observed=0.021)))

    assert "Tango)" in text
    assert "of 1,373 pairs only the baseline was right in 41, only the candidate in 12" in text


def test_pairs_of_several_runs_say_which_arm_was_the_better():
    paired = replace(pairs(20, 2, 0, 3), graded={"750000": 2, "-250000": 1, "0": 2})

    text = line(verdict(ACCURACY, "refund", failing=proof(90, 20, paired, observed=0.108)))

    assert "CI" not in text
    assert (
        "of 30 pairs only the baseline was right in 2, only the candidate in 0; of those run several times the "
        "baseline was the better in 2, the candidate in 1"
    ) in text


def test_a_ratio_shows_both_arms_and_how_long_it_lasted():
    assert line(SLOW) == (
        "latency_p95_ratio 1.312 above 1.25 for 15m in 2026-11-21 02:14..2026-11-21 03:14Z; "
        "candidate p95 2.1s of 4,120 requests, baseline p95 1.6s of 37,080"
    )


TARDY = rule("slow", "latency_p95", 2.0, window=HOUR)


def test_a_percentile_found_by_proof_shows_how_many_requests_lie_above_its_limit():
    sooner = verdict(
        TARDY,
        "refund",
        latest=look(1.8, amounts(1.8, candidate_n=900), samples=900, complete=False, span=HOUR),
        failing=proof(31_000, 6_720, rate(301, 4_120), claim=0.05, span=HOUR),
    )

    # The interval: Wilson 1927 for 301 of 4,120.
    assert line(sooner, of=plan(TARDY)) == (
        "latency_p95 7.31% of requests on refund (95% CI 6.55..8.14, Wilson) above 2s in "
        "2026-11-21 02:14..2026-11-21 03:14Z; 301 of 4,120 candidate requests; "
        'e-value 31,000 ≥ 6,720 against "at most 5% above 2s"; '
        "observed form undecided: window not complete: not all of its 1h were in force"
    )
    assert title_line(sooner, plan(TARDY)) == "latency_p95 7.31% of requests on refund above 2s"


def test_a_percentile_over_its_limit_says_whether_that_is_proven():
    over = look(2.4, amounts(2.4, candidate_n=900), samples=900, span=HOUR)
    observed = verdict(
        TARDY, worst=over, failing=proof(3.1, 6_720, rate(60, 900), claim=0.05, span=HOUR)
    )

    assert line(observed, of=plan(TARDY)) == (
        "latency_p95 2.4s above 2s in 2026-11-21 02:14..2026-11-21 03:14Z; 900 candidate requests; "
        'not proven: e-value 3.1 < 6,720 against "at most 5% above 2s"'
    )
    assert title_line(observed, plan(TARDY)) == "latency_p95 2.4s above 2s"


def test_a_percentile_that_passes_says_what_is_disproved():
    well = verdict(
        TARDY,
        latest=look(1.4, amounts(1.4, candidate_n=4_000), samples=4_000, span=HOUR),
        passing=proof(812, 20, rate(60, 4_000), claim=0.05),
    )

    assert line(well, of=plan(TARDY)).endswith('; e-value 812 ≥ 20 against "5% or more above 2s"')


def test_a_cost_of_the_whole_rollout_counts_both_arms():
    """As it is measured: one figure, of what both arms' requests cost together."""
    dear = look(61.2, amounts(61.2, candidate_n=77_620), span=HOUR)
    of_one_arm = replace(SPEND, arm=Arm.BASELINE)

    assert line(verdict(SPEND, worst=dear)) == (
        "cost_per_hour 61.2 USD above 50 USD in 2026-11-21 02:14..2026-11-21 03:14Z; "
        "77,620 requests of the whole rollout"
    )
    assert line(verdict(of_one_arm, worst=dear), of=plan(of_one_arm)).endswith(
        "77,620 baseline requests"
    )


def test_a_cost_per_correct_answer_as_written_counts_graded_episodes():
    costs = replace(COSTS, evidence=Evidence.OBSERVED)
    dear = verdict(costs, worst=look(0.003, amounts(0.003, candidate_n=1_204), span=HOUR))

    assert line(dear, of=plan(costs)).endswith("1,204 candidate graded episodes")


def test_a_coverage_does_not_call_its_samples_requests():
    """They are episodes, or answers where a sample of these is graded."""
    covered = replace(ESCALATION, name="covered", metric=CATALOGUE["coverage"], limit=0.9)
    seen = verdict(covered, worst=look(0.95, amounts(0.95, candidate_n=1_440), span=HOUR))

    assert line(seen, of=plan(covered)).endswith("; 1,440 candidate samples")


@pytest.mark.parametrize(
    ("metric", "counts", "told"),
    [
        ("cost_per_hour", amounts(61.2, candidate_n=1), "1 request of the whole rollout"),
        ("latency_mean", amounts(3.1, candidate_n=1), "1 candidate request"),
        ("accuracy", amounts(1.0, candidate_n=1), "1 candidate graded episode"),
        ("escalation_rate", RateCounts(count=1, of=1), "1 of 1 candidate request"),
        (
            "sample_ratio",
            amounts(1.0, candidate_n=1),
            "1 of 1 newly assigned unit went to the candidate",
        ),
        (
            "accuracy_delta",
            PairCounts(both=0, only_baseline=1, only_candidate=0, neither=0),
            "of 1 pair only the baseline was right in 1, only the candidate in 0",
        ),
    ],
)
def test_one_is_told_as_one(metric, counts, told):
    rule = replace(ESCALATION, metric=CATALOGUE[metric])

    assert counts_words(rule, counts) == told


def test_a_value_never_looks_like_the_limit_that_it_passed():
    barely = verdict(ESCALATION, worst=rate_look(200_001, 10_000_000))

    assert "escalation_rate 2.00001%" in line(barely)


@pytest.mark.parametrize(
    ("metric", "value", "limit", "told"),
    [
        ("safety_failure_rate", 0.00024, 0.0002, "0.024%"),
        ("safety_failure_rate", 0.000035, 0.00003, "0.0035%"),
        ("safety_failure_rate", 0.0003, 0.00026, "0.03%"),
        ("safety_failure_rate", 0.00046, 0.0005, "0.046%"),
        ("safety_failure_rate", 0.0002, 0.0002, "0.02%"),
        ("safety_failure_rate", 0.0, 0.0002, "0%"),
        ("accuracy", 0.99996, 0.99999, "99.996%"),
        ("cost_per_correct", 4e-7, 3e-7, "0.0000004 USD"),
        ("latency_mean", 0.0004, 0.0003, "0.4ms"),
    ],
)
def test_a_value_is_told_on_its_own_side_of_the_limit(metric, value, limit, told):
    """0.024% above 0.02% was told as 0% above 0.02%."""
    assert value_beside(CATALOGUE[metric], value, limit) == told


@pytest.mark.parametrize(
    ("availability", "told"),
    [
        (Availability.NO_TRAFFIC, "not measured: the baseline had no traffic"),
        (Availability.NO_DATA, "not measured: no data, though the baseline has traffic"),
    ],
)
def test_a_rule_on_the_baseline_does_not_blame_the_candidate(availability, told):
    baseline = replace(ESCALATION, arm=Arm.BASELINE)
    missing = verdict(baseline, availability=availability)

    assert line(missing, of=plan(baseline)).endswith(told)


@pytest.mark.parametrize(
    ("count", "of", "told"),
    [
        (12, 50_000, "95% CI 0.014..0.042, Wilson"),  # Wilson's 0.01373..0.04195 in percent
        (187, 7_762, "95% CI 2.09..2.77, Wilson"),
        (0, 10, "95% CI 0.00..27.75, Wilson"),
    ],
)
def test_a_narrow_interval_has_two_digits(count, of, told):
    assert interval_words(ESCALATION, RateCounts(count=count, of=of)) == told


def test_an_end_that_is_nothing_has_no_sign():
    counts = PairCounts(both=99_990, only_baseline=500, only_candidate=440, neither=0)

    assert interval_words(ACCURACY, counts) == "95% CI 0.00..0.12, Tango"


def test_a_rule_with_a_lower_limit_fails_below_it():
    cached = rule("cache", "cache_hit_rate", 0.3, below=True)
    low = verdict(cached, worst=rate_look(200, 1_000))

    assert line(low, of=plan(cached)).startswith("cache_hit_rate 20% (95% CI ")
    assert ") below 30% in " in line(low, of=plan(cached))


RIGHT = rule("right", "accuracy", 0.9, evidence=Evidence.CONFIDENT, below=True)


def test_an_accuracy_that_fails_by_proof_shows_its_interval_and_what_was_disproved():
    # The interval: Wilson 1927 for 850 of 1,000.
    failed = verdict(RIGHT, failing=proof(8_103, 403, amounts(0.85, candidate_n=1_000), claim=0.9))

    assert line(failed, of=plan(RIGHT)) == (
        "accuracy 85% (95% CI 82.65..87.08, Wilson) below 90% in 2026-11-20 03:14..2026-11-21 03:14Z; "
        '1,000 candidate graded episodes; e-value 8,103 ≥ 403 against "at least 90%"'
    )


def test_an_undecided_accuracy_names_both_proofs_and_what_its_judge_makes_of_the_limit():
    # 0.9 × 0.95 + 0.1 × 0.2 = 0.875
    judged = plan(RIGHT, labels=Labels(judge=Judge(sensitivity=0.95, specificity=0.8)))
    counts = amounts(0.9, candidate_n=1_000)
    undecided = verdict(
        RIGHT,
        latest=look(0.9, counts, samples=1_000),
        failing=proof(1, 403, counts, claim=0.875),
        passing=proof(3, 20, counts, claim=0.875),
    )

    text = line(undecided, of=judged)

    assert 'against "at least 90%" (87.5% as its judge sees it)' in text
    assert 'against "90% or less" (87.5% as its judge sees it)' in text


def test_a_ratio_that_fails_by_proof_names_both_arms_shares_and_the_frozen_percentile():
    slower = rule("slower", "latency_p95_ratio", 1.25, evidence=Evidence.CONFIDENT, window=HOUR)
    counts = amounts(0.092, 0.049, candidate_n=4_120, baseline_n=37_080)
    tally = {
        "candidate": 4_120,
        "candidate.above": 379,
        "baseline": 37_080,
        "baseline.above": 1_817,
        "candidate.expected_u": 201_880_000,
    }
    found = replace(proof(1_240, 403, counts, claim=2.0, observed=0.043), tally=tally)
    failed = verdict(slower, failing=found)

    said = (
        "latency_p95_ratio 9.2% of requests above 2.5s (1.25 × the baseline's p95 of 2s when it was frozen), "
        "where 4.9% of the baseline's are above that p95"
    )
    assert title_line(failed, plan(slower)) == said
    assert line(failed, of=plan(slower)) == (
        f"{said} in 2026-11-20 03:14..2026-11-21 03:14Z; 379 of 4,120 candidate and 1,817 of 37,080 baseline "
        'requests, by minute; e-value 1,240 ≥ 403 against "above 2.5s no more often than the baseline above 2s"'
    )


COSTS = rule("right", "cost_per_correct", 0.002, evidence=Evidence.CONFIDENT, window=HOUR)


def test_a_cost_per_correct_answer_that_fails_by_proof_says_what_was_counted():
    tally = {
        "requests": 4_120,
        "cost_nusd": 12_360_000_000,
        "unknown": 12,
        "graded": 1_204,
        "correct_u": 1_100_500_000,
        "correct.expected_u": 3_766_000_000,
    }
    counts = amounts(0.003282, candidate_n=4_120)
    found = replace(proof(1_240, 403, counts, claim=0.002), tally=tally)
    failed = verdict(COSTS, "refund", failing=found)

    assert title_line(failed, plan(COSTS)) == (
        "cost_per_correct 0.003282 USD on refund above 0.002 USD"
    )
    assert line(failed, of=plan(COSTS)) == (
        "cost_per_correct 0.003282 USD on refund above 0.002 USD in 2026-11-20 03:14..2026-11-21 03:14Z; "
        "4,120 candidate requests at 12.36 USD, each counted up to 0.02 USD (12 of unknown cost as 0); "
        '1,100.5 of 1,204 graded answers right; e-value 1,240 ≥ 403 against "at most 0.002 USD"'
    )


def test_one_of_which_no_answer_is_right_fails_without_a_figure():
    tally = {"requests": 400, "cost_nusd": 1_000_000_000, "graded": 120}
    found = replace(proof(1_240, 403, amounts(None, candidate_n=400), claim=0.002), tally=tally)
    failed = verdict(COSTS, "refund", failing=found)

    assert failed.outcome is Outcome.FAIL
    assert title_line(failed, plan(COSTS)) == (
        "cost_per_correct on refund above 0.002 USD, for no answer is right"
    )
    assert line(failed, of=plan(COSTS)) == (
        "cost_per_correct above 0.002 USD on refund, for no answer is right, in 2026-11-20 03:14..2026-11-21 03:14Z; "
        "400 candidate requests at 1 USD, each counted up to 0.02 USD; 0 of 120 graded answers right; "
        'e-value 1,240 ≥ 403 against "at most 0.002 USD"'
    )


def test_an_undecided_cost_says_how_far_both_proofs_are_and_where_one_cannot_come():
    of = amounts(0.0018, candidate_n=400)
    failing, passing = proof(3, 403, of, claim=0.002), proof(2, 20, of, claim=0.002)
    latest = look(0.0018, of, samples=400, span=HOUR)

    both = line(verdict(COSTS, latest=latest, failing=failing, passing=passing), of=plan(COSTS))
    alone = line(verdict(COSTS, latest=latest, failing=failing), of=plan(COSTS))

    assert (
        'not proven either way (e-value 3 < 403 against "at most 0.002 USD"; '
        'e-value 2 < 20 against "0.002 USD or more")'
    ) in both
    assert "the plan does not know what a request can cost at most" in alone


def test_an_undecided_ratio_says_what_it_waits_for():
    slower = rule("slower", "latency_p95_ratio", 1.25, evidence=Evidence.CONFIDENT, window=HOUR)
    counts = amounts(1.3, 1.1, candidate_n=400, baseline_n=900)
    unfrozen = verdict(slower, latest=look(1.18, counts, samples=400, span=HOUR))
    undecided = verdict(
        slower,
        latest=look(1.18, counts, samples=400, span=HOUR),
        failing=proof(3, 403, amounts(0.06, 0.05), claim=2.0, observed=0.01),
        passing=proof(2, 20, amounts(0.06, 0.05), claim=2.0, observed=0.01),
    )

    assert "it takes 100 requests of the baseline to freeze its percentile" in line(
        unfrozen, of=plan(slower)
    )
    assert (
        'not proven either way (e-value 3 < 403 against "above 2.5s no more often than the baseline above 2s"; '
        'e-value 2 < 20 against "above 2.5s as often as the baseline above 2s, or more")'
    ) in line(undecided, of=plan(slower))


JUMP = replace(rule("jump", "error_rate", 3.0), usual=timedelta(days=7))


def test_a_spike_names_what_is_usual():
    # Wilson 1927 for 187 of 7,762; three times 0.5%.
    jumped = verdict(JUMP, worst=replace(rate_look(187, 7_762), usual=0.005))
    steady = replace(rate_look(187, 7_762), usual=0.02)

    assert line(jumped, of=plan(JUMP)) == (
        "error_rate 2.41% (95% CI 2.09..2.77, Wilson) above 3 × its usual 0.5% in the 7d before in "
        "2026-11-20 03:14..2026-11-21 03:14Z; 187 of 7,762 candidate requests"
    )
    assert (
        title_line(jumped, plan(JUMP))
        == "error_rate 2.41% above 3 × its usual 0.5% in the 7d before"
    )
    assert "2.41% (95% CI 2.09..2.77, Wilson) not above 3 × its usual 2% in the 7d before" in line(
        verdict(JUMP, latest=steady, worst=steady), of=plan(JUMP)
    )


def test_a_spike_without_anything_usual_says_what_it_waits_for():
    unknown = verdict(JUMP, latest=rate_look(187, 7_762))

    assert (
        "what is usual is not known yet: it takes 24h before the window, with 500 samples"
        in line(unknown, of=plan(JUMP))
    )


def test_a_percentile_with_a_lower_limit_names_the_share_that_it_asks_for():
    quick = rule("quick", "latency_p50", 0.5, evidence=Evidence.CONFIDENT, below=True)
    undecided = verdict(
        quick,
        latest=look(0.6, amounts(0.6, candidate_n=1_000)),
        failing=proof(1, 403, rate(600, 1_000), claim=0.5),
        passing=proof(3, 20, rate(600, 1_000), claim=0.5),
    )

    text = line(undecided, of=plan(quick))

    assert '"at least 50% above 500ms"' in text
    assert '"50% or less above 500ms"' in text


def test_the_figure_that_failed_is_the_one_that_the_line_begins_with():
    """What a machine is told of a proof by one hour is not the mild day around it."""
    day, hour = rate_look(100, 10_000), rate(60, 500)
    by_proof = verdict(ESCALATION, latest=day, worst=day, failing=proof(812, 403, hour, span=HOUR))
    as_written = verdict(ESCALATION, latest=day, worst=rate_look(300, 10_000))
    tardy = verdict(
        TARDY,
        latest=look(1.4, amounts(1.4, candidate_n=4_000)),
        failing=proof(812, 403, rate(400, 4_000), claim=0.05),
    )

    found = failed_look(by_proof, plan(ESCALATION))
    assert found is not None
    assert (found.value, found.window) == (0.12, window(HOUR))
    assert line(by_proof).startswith("escalation_rate 12%")
    assert failed_look(as_written, plan(ESCALATION)) == rate_look(300, 10_000)
    # Its proof is a share of requests above 2 s, and not a percentile.
    assert failed_look(tardy, plan(TARDY)) == tardy.reading.latest


# PASS and INSUFFICIENT


def test_a_pass_says_what_it_is_not_above():
    assert line(verdict(ESCALATION, latest=rate_look(107, 7_762))) == (
        "escalation_rate 1.38% (95% CI 1.14..1.66, Wilson) not above 2% in "
        "2026-11-20 03:14..2026-11-21 03:14Z; 107 of 7,762 candidate requests"
    )


@pytest.mark.parametrize(
    ("e", "ending"),
    [
        (812, '; e-value 812 ≥ 20 against "2% or more"'),
        (4, '; not proven: e-value 4 < 20 against "2% or more"'),
    ],
)
def test_a_pass_says_whether_it_is_proven(e, ending):
    passed = verdict(
        ESCALATION, latest=rate_look(107, 7_762), passing=proof(e, 20, rate(60, 5_000))
    )

    assert line(passed).endswith(ending)


def test_too_few_samples_say_how_many_are_needed():
    assert line(verdict(ESCALATION, latest=rate_look(4, 212))).startswith(
        "escalation_rate undecided: 212 of 500 samples; so far 1.89% ("
    )


def test_an_incomplete_window_is_named_as_such():
    early = verdict(ESCALATION, latest=rate_look(10, 5_000, complete=False))

    assert "undecided: window not complete: not all of its 24h were in force; so far" in line(early)


def test_no_look_at_all_says_what_is_needed():
    assert line(verdict(ESCALATION)) == (
        "escalation_rate undecided: no samples yet, 500 are needed"
    )


def test_a_window_without_a_figure_says_so():
    nothing = verdict(ESCALATION, latest=look(None, rate(0, 0), samples=600))

    assert line(nothing) == "escalation_rate undecided: no figure in its window"


def test_an_unproven_rule_says_how_far_both_proofs_are_and_that_the_observed_form_fails():
    torn = verdict(
        CONFIDENT_ESCALATION,
        latest=rate_look(187, 7_762),
        worst=rate_look(187, 7_762),
        failing=proof(3.1, 6_720, rate(60, 2_500)),
        passing=proof(0.4, 20, rate(60, 2_500)),
    )
    text = line(torn, of=plan(CONFIDENT_ESCALATION))

    assert torn.outcome is Outcome.INSUFFICIENT
    assert (
        'not proven either way (e-value 3.1 < 6,720 against "at most 2%"; '
        'e-value 0.4 < 20 against "2% or more")'
    ) in text
    assert text.endswith("; observed form fails")


def test_a_rule_that_goes_by_proof_alone_does_not_ask_for_samples_that_it_does_not_wait_for():
    early = verdict(
        ACCURACY,
        "refund",
        latest=look(0.005, REFUND_LOSS, samples=137, complete=False, span=72 * HOUR),
        failing=proof(0.67, 53.3, REFUND_LOSS),
        passing=proof(0.69, 20, REFUND_LOSS, claim=0.015),
    )

    text = line(early)

    assert 'or more"); so far 0.5 pp' in text
    assert "samples" not in text


def test_a_loss_that_is_proven_and_within_its_limit_as_seen_is_not_said_to_be_unproven():
    real = verdict(
        ACCURACY,
        "refund",
        latest=look(0.012, REFUND_LOSS, span=72 * HOUR),
        failing=proof(4_814, 106, REFUND_LOSS, observed=0.012),
        passing=proof(0.3, 20, REFUND_LOSS, claim=0.015),
    )

    assert real.outcome is Outcome.INSUFFICIENT
    assert line(real).startswith(
        "accuracy_delta on refund undecided: a loss is proven, but the loss seen is within the limit, and that it "
        'keeps the limit is not proven (e-value 4,814 ≥ 106 against "no loss"; e-value 0.3 < 20 against "a loss of 1.5 '
        'pp or more"); so far 1.2 pp'
    )


JUDGED = plan(labels=Labels(judge=Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)))


def test_labels_of_a_judge_show_the_loss_without_its_errors():
    # 3.1 pp / (0.95 + 0.9 - 1), Rogan & Gladen 1978
    assert line(LOST_ACCURACY, of=JUDGED).endswith("; corrected for its judge's errors: 3.65 pp")
    assert "judge" not in line(ESCALATED, of=JUDGED)


CUT = " (cut there: by chance, or because it errs otherwise than labels.judge says)"


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        (0.95, "100%"),  # (0.95 + 0.9 - 1) / 0.85: all that its sensitivity lets it call right
        (0.99, f"100%{CUT}"),  # 0.89 / 0.85 is 104.7%
        (0.10, "0%"),  # the tenth of wrong answers that its specificity misses
        (0.08, f"0%{CUT}"),  # -0.02 / 0.85
        (0.78, "80%"),
    ],
)
def test_a_corrected_accuracy_is_cut_to_what_can_be_and_says_so(seen, shown):
    # Rogan & Gladen 1978: an estimate outside of [0, 1] is taken for its end
    right = rule("right", "accuracy", 0.9, below=True)
    graded = amounts(seen, candidate_n=400)

    text = line(
        verdict(right, latest=look(seen, graded, samples=400)), of=plan(right, labels=JUDGED.labels)
    )

    assert text.endswith(f"; corrected for its judge's errors: {shown}")


@pytest.mark.parametrize(("seen", "shown"), [(0.9, f"100 pp{CUT}"), (-0.9, f"-100 pp{CUT}")])
def test_a_corrected_loss_is_cut_to_what_can_be_and_says_so(seen, shown):
    # 0.9 / 0.85 is 105.88 pp
    lost = verdict(ACCURACY, "refund", latest=look(seen, REFUND_LOSS, samples=463, span=72 * HOUR))

    assert line(lost, of=JUDGED).endswith(f"; corrected for its judge's errors: {shown}")


def test_a_pass_by_a_judges_labels_names_the_margin_as_the_judge_sees_it():
    well = verdict(
        ACCURACY,
        "refund",
        latest=look(0.001, REFUND_LOSS, samples=463, span=72 * HOUR),
        passing=proof(812, 20, REFUND_LOSS, claim=0.01275),
    )

    assert (
        'e-value 812 ≥ 20 against "a loss of 1.5 pp or more" (1.275 pp as its judge sees it); '
        "corrected for its judge's errors: 0.12 pp"
    ) in line(well, of=JUDGED)


UNEVEN = Coverage(
    baseline_graded=3_900, baseline_n=4_120, candidate_graded=300, candidate_n=463, differs=True
)


@pytest.mark.parametrize(
    ("e", "outcome", "words"),
    [
        (
            31,
            Outcome.PASS,
            '; e-value 812 ≥ 20 against "a loss of 1.5 pp or more", and e-value 31 ≥ 20',
        ),
        (
            0.2,
            Outcome.INSUFFICIENT,
            'e-value 812 ≥ 20 against "a loss of 1.5 pp or more", but e-value 0.2 < 20',
        ),
    ],
)
def test_where_labels_are_missing_unevenly_a_pass_is_shown_with_each_against_it(e, outcome, words):
    well = verdict(
        ACCURACY,
        "refund",
        latest=look(0.001, REFUND_LOSS, samples=463, span=72 * HOUR),
        passing=proof(812, 20, REFUND_LOSS, claim=0.015),
        worst_case=WorstCase(coverage=UNEVEN, proof=proof(e, 20, REFUND_LOSS, claim=0.015)),
    )

    assert well.outcome is outcome
    assert words in line(well)
    assert (
        "with every missing label against it "
        "(graded: baseline 3,900 of 4,120 episodes, candidate 300 of 463)"
    ) in line(well)


# UNMEASURED and NOT_APPLICABLE


@pytest.mark.parametrize(
    ("availability", "words"),
    [
        (
            Availability.NO_DATA,
            "not measured: no outcomes for 12h, though both arms have traffic (they are due after 6h)",
        ),
        (Availability.NO_TRAFFIC, "not measured: one of the arms had no traffic"),
        (Availability.NOT_DUE, "not measured: its labels come after 6h"),
        (Availability.NO_CONTROL, "not applicable: no control at this share"),
        (Availability.MISMATCHED, "not measured: the arms' sizes contradict the split"),
    ],
)
def test_what_could_not_be_judged_says_why(availability, words):
    blind = timedelta(hours=12) if availability is Availability.NO_DATA else timedelta(0)
    unseen = verdict(ACCURACY, "refund", availability=availability, blind=blind)

    assert line(unseen).startswith(f"accuracy_delta on refund {words}")


def test_data_that_is_no_label_is_not_called_an_outcome():
    unseen = verdict(ESCALATION, availability=Availability.NO_DATA)

    assert line(unseen) == (
        "escalation_rate not measured: no data, though the candidate has traffic"
    )


def test_a_verdict_of_another_revision_is_not_read_with_this_one():
    with pytest.raises(NotFound, match="not in revision"):
        line(ESCALATED, of=plan(ACCURACY))


def test_no_verdict_is_a_bare_word():
    shown = {
        "escalated": ESCALATED,
        "lost": LOST_ACCURACY,
        "slow": SLOW,
        "nothing": verdict(ESCALATION),
    }
    for one in shown.values():
        assert any(figure.isdigit() for figure in line(one))


def test_a_title_has_the_figure_and_the_limit():
    assert title_line(ESCALATED, PLAN) == "escalation_rate 2.41% above 2%"
    assert title_line(LOST_ACCURACY, PLAN) == "accuracy_delta 3.1 pp on refund above 1.5 pp"
    assert title_line(verdict(ESCALATION), PLAN) == "escalation_rate insufficient"


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_every_metric_has_words(metric):
    one = rule("any", metric.name, 0.5)
    counted = rate_look(700, 1_000).counts if metric.kind.value == "rate" else amounts(0.7, 0.6)
    over = verdict(one, worst=look(0.7, counted))

    assert line(over, of=plan(one)).startswith(f"{metric.name} ")
    assert " above " in line(over, of=plan(one))


# E-values


@pytest.mark.parametrize(
    ("e", "text"),
    [
        (1e-9, "<0.01"),
        (0.034, "0.03"),
        (3.14, "3.1"),
        (19.99, "19.9"),  # must not look as if it had reached 20
        (20, "20"),
        (1_240, "1,240"),
        (999_999, "999,999"),
        (1e7, ">10^6"),
    ],
)
def test_e_values_are_read_as_numbers(e, text):
    assert e_value(proof(e, 20, rate(1, 2)).log_e) == text


def test_two_huge_e_values_are_told_apart_by_their_powers():
    assert proof_words(proof(1e9, 1e7, rate(1, 2))) == "e-value 10^9.0 ≥ 10^7.0"


# Waits and refusals


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (
            Wait(waiting=Waiting.HOLD_TIME, have=30 * 3600.0, need=72 * 3600.0),
            "hold: 30h of 72h in force, 42h to go",
        ),
        (
            Wait(waiting=Waiting.SAMPLES, rule="accuracy", intent="refund", have=212, need=500),
            "samples: 212 of 500 for accuracy_delta on refund",
        ),
        (
            Wait(waiting=Waiting.SAMPLES, have=212, need=1_500),
            "samples: 212 of 1,500 for the candidate's requests in this step",
        ),
        (
            Wait(waiting=Waiting.IN_FORCE, detail="expired"),
            "split not in force: its lease ran out",
        ),
        (
            Wait(waiting=Waiting.UNMEASURED, rule="accuracy", intent="refund", detail="no_data"),
            "not measured: accuracy_delta on refund (no outcomes, though both arms have traffic)",
        ),
        (
            Wait(waiting=Waiting.BASELINE, detail="failing"),
            "baseline: gpt-4.1 does not answer; a rollback would have nowhere to go",
        ),
        (
            Wait(waiting=Waiting.APPROVAL),
            "approval: `canaryctl approve support-bot` permits leaving this step",
        ),
        (
            Wait(waiting=Waiting.FREEZE, detail="Black Friday"),
            "freeze: nothing advances now (Black Friday)",
        ),
        (
            Wait(waiting=Waiting.PROOF, intent="refund", detail="no accuracy rule covers it"),
            "proof: accuracy on refund is not proven to keep its limit (no accuracy rule covers it)",
        ),
    ],
    ids=lambda one: one.waiting.value if isinstance(one, Wait) else "",
)
def test_a_wait_says_what_for_and_how_far(wait, text):
    assert wait_line(wait, PLAN) == text


@pytest.mark.parametrize("waiting", Waiting)
def test_every_wait_has_words(waiting):
    assert ": " in wait_line(Wait(waiting=waiting, rule="accuracy", intent="refund"), PLAN)


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_says_why_and_what_would_be_permitted(refusal):
    why, instead = refusal_line(refusal, "").split(". ", 1)

    assert why.startswith("Refused: ")
    assert instead.endswith(".")


def test_a_refusal_carries_its_detail():
    assert refusal_line(Refusal.RULE_FAILED, "accuracy").startswith(
        "Refused: a rule has failed (accuracy). "
    )


def test_a_rule_on_no_named_intent_speaks_of_all_traffic():
    assert " on " not in line(ESCALATED, of=plan(intents=(Intent(name="refund"),)))
