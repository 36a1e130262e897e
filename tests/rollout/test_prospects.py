"""What is expected of observations and proofs, against the readings that judge a live rollout."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.counting.blocks import Sizes, block_sizes
from controller.rollout.evidence import proofs, prospects
from controller.rollout.evidence.readings import read
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Priors
from controller.stats.passage import Passage, growth
from tests.rollout.factories import ACCURACY, ESCALATION, plan
from tests.rollout.test_readings import START, requests, row, view

OF = plan()
DUE = 6 * 60
brief = settings(max_examples=60, deadline=None)
rates = st.floats(0.0, 1.0)


@brief
@given(st.integers(1, 9_999), rates, rates)
def test_a_block_has_the_mean_and_variance_of_its_labels(share_bp, baseline_wrong, candidate_wrong):
    sizes = block_sizes(share_bp)
    assert sizes is not None

    of = prospects.blocks(sizes, baseline_wrong=baseline_wrong, candidate_wrong=candidate_wrong)

    # Baseline right minus candidate right
    assert of.mean == pytest.approx(candidate_wrong - baseline_wrong, abs=1e-9)
    spread = baseline_wrong * (1 - baseline_wrong) / sizes.baseline
    spread += candidate_wrong * (1 - candidate_wrong) / sizes.candidate
    assert of.variance == pytest.approx(spread, abs=1e-9)


@brief
@given(rates, st.floats(-1.0, 1.0))
def test_pairs_have_their_loss_and_at_least_its_discordance(discordance, loss):
    of = prospects.pairs(discordance, loss)

    assert of.mean == pytest.approx(loss, abs=1e-9)
    assert 1 - of.probabilities[1] == pytest.approx(max(discordance, abs(loss)), abs=1e-9)


def test_thresholds_are_those_of_a_live_reading():
    of = prospects.episodes(0.03)
    rows = [requests(START + i, 10, 1) for i in range(30)]

    reading = read(view(rows, minutes=29), ESCALATION, None)

    assert reading.failing is not None
    assert prospects.catching(OF, ESCALATION, "episodes", of).log_threshold == pytest.approx(
        reading.failing.log_threshold
    )


@pytest.mark.parametrize("kinds", [1, 2])
def test_thresholds_on_a_loss_are_those_of_a_live_reading_with_pairs_or_without(kinds: int):
    both = {"b.0": 5, **({"p.11": 5} if kinds == 2 else {})}
    arm = {"n": 5, "e": 5, "graded": 5, "e.graded": 5}
    rows = [row(START + i, both, arm=BOTH_ARMS) for i in range(30)]
    rows += [row(START + i, arm, arm=of) for i in range(30) for of in ("candidate", "baseline")]

    reading = read(view(rows, minutes=30 + DUE), ACCURACY, "refund")

    of = prospects.pairs(0.05, 0.0)
    assert reading.failing is not None
    assert reading.passing is not None
    caught = prospects.catching(OF, ACCURACY, "blocks", of, kinds=kinds)
    kept = prospects.keeping(OF, ACCURACY, "blocks", of, kinds=kinds)
    assert caught.log_threshold == pytest.approx(reading.failing.log_threshold)
    assert kept.log_threshold == pytest.approx(reading.passing.log_threshold)


def test_the_wealth_it_starts_from_and_the_bets_are_those_of_a_live_reading():
    """n episodes that all escalate reach the threshold where the live e-process does."""
    of = prospects.episodes(1.0)
    first = prospects.catching(OF, ESCALATION, "episodes", of).quantile(0.5)

    def reached(n: int) -> bool:
        proof = read(view([requests(START, n, n)], minutes=1), ESCALATION, None).failing
        return proof is not None and proof.reached

    assert not reached(math.ceil(first) - 1)
    assert reached(math.ceil(first))


def test_what_is_caught_and_kept_is_bet_on_with_the_bets_of_its_kind_and_from_its_side():
    of = plan(priors=Priors(discordance=0.2))  # other bets than a block's
    worse, alike = prospects.pairs(0.2, 0.05), prospects.pairs(0.2, 0.0)
    against = proofs.failing_bets(of, ACCURACY, "pairs")
    within = proofs.passing_bets(of, ACCURACY, "pairs")

    caught = prospects.catching(of, ACCURACY, "pairs", worse)
    kept = prospects.keeping(of, ACCURACY, "pairs", alike, before=((40.0, worse),))

    # Two rules' 5%, and three quarters of it for a loss's first start (docs/adr/024); 5% for a pass.
    first = Passage(growth=growth(worse, against), log_threshold=-math.log(0.75 * 0.025))
    assert caught.quantile(0.5) == pytest.approx(first.quantile(0.5), rel=1e-12)
    after = Passage(
        growth=growth(alike.negated, within),
        log_threshold=math.log(20),
        before=((40.0, growth(worse.negated, within)),),
    )
    assert kept.quantile(0.5) == pytest.approx(after.quantile(0.5), rel=1e-12)
    alone = prospects.keeping(of, ACCURACY, "pairs", alike)
    assert alone.log_threshold == pytest.approx(math.log(20))
    assert alone.quantile(0.5) < kept.quantile(0.5) - 1


def test_a_rate_that_must_not_fall_is_caught_by_what_is_not_there():
    right = replace(ESCALATION, name="right", metric=CATALOGUE["accuracy"], limit=0.9, below=True)
    of = plan(rules=(right,))
    bad, good = prospects.episodes(0.8), prospects.episodes(0.97)

    caught = prospects.catching(of, right, "labels", bad)
    kept = prospects.keeping(of, right, "labels", good)

    against, within = (
        proofs.failing_bets(of, right, "labels"),
        proofs.passing_bets(of, right, "labels"),
    )
    first = Passage(growth=growth(bad.negated, against), log_threshold=math.log(4 / 0.05))
    whole = Passage(growth=growth(good, within), log_threshold=math.log(20))
    assert caught.quantile(0.5) == pytest.approx(first.quantile(0.5), rel=1e-12)
    assert kept.quantile(0.5) == pytest.approx(whole.quantile(0.5), rel=1e-12)


@pytest.mark.parametrize(
    ("n", "wrong", "likely"),
    [
        (2, 0.5, [0.25, 0.5, 0.25]),
        (3, 0.0, [0, 0, 0, 1]),
        (3, 1.0, [1, 0, 0, 0]),
        (1, 0.05, [0.05, 0.95]),
    ],
)
def test_so_many_of_a_blocks_labels_are_right(n, wrong, likely):
    """Against one label of the other arm that is always right: the mean of the block is the part that is wrong."""
    of = prospects.blocks(Sizes(baseline=1, candidate=n), baseline_wrong=0.0, candidate_wrong=wrong)

    known = {
        round(value, 9): part
        for value, part in zip(of.values.tolist(), of.probabilities.tolist(), strict=True)
        if part
    }
    expected = {round(1 - k / n, 9): part for k, part in enumerate(likely) if part}
    assert known == pytest.approx(expected)
