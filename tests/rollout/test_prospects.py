"""What is expected of observations and proofs, against the readings that judge a live rollout."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout import prospects
from controller.rollout.accounting_blocks import block_sizes
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.readings import read
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
