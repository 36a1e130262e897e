"""Which look of many is the worst, which is the latest, and what stands beside a proof."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.evidence.readings import read
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import BOTH_ARMS, RollupRow
from controller.rollout.plan import Rule, Scope
from controller.rollout.state import Epoch
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Amounts, RateCounts
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan
from tests.rollout.test_below_proofs import RIGHT, graded
from tests.rollout.test_readings import LOSS, PROMPT, START, blocks, labels, requests, row, view
from tests.rollout.test_spike import JUMP

HALF_HOUR = replace(ESCALATION, window=timedelta(minutes=30), min_samples=100)
ERRORS = replace(ESCALATION, name="errors", metric=CATALOGUE["error_rate"])


def reading(rule: Rule, rows, *, minutes: int, judged: int | None = None, intent=None, **changes):
    of = plan(rules=(rule,), labels=PROMPT.labels)
    since = None if judged is None else START + judged
    state = changes.pop("state", None) or at_step(0, of, started_at=NOW)
    return read(view(rows, minutes=minutes, of=of, judged=since, state=state), rule, intent)


# The worst of many


def test_neither_an_incomplete_window_nor_one_of_few_samples_is_the_worst():
    rows = [
        *(
            requests(START + i, 100, 100) for i in range(10)
        ),  # all of them, before a window is complete
        *(requests(START + i, 10, 0) for i in range(10, 60)),
        *(requests(START + i, 1, 1) for i in range(60, 101)),  # all of them, thirty in a window
    ]

    found = reading(HALF_HOUR, rows, minutes=100, judged=-1)

    # 1,000 of the first thirty minutes' 1,200
    assert found.worst is not None
    assert found.worst.value == pytest.approx(1_000 / 1_200)
    assert found.worst.window.end == start_of(START + 30)
    assert found.worst.complete is True
    assert found.latest is not None
    assert found.latest.value == 1
    assert found.latest.window.end == start_of(START + 101)


@pytest.mark.parametrize("judged", [None, 27], ids=["one window", "two"])
@pytest.mark.parametrize(("least", "counts"), [(300, True), (301, False)])
def test_exactly_the_samples_that_are_asked_for_are_enough(judged, least, counts):
    rule = replace(HALF_HOUR, min_samples=least)
    rows = [requests(START + i, 10, 1) for i in range(30)]

    found = reading(rule, rows, minutes=29, judged=judged)

    assert (found.worst is not None) is counts


def test_the_worst_may_be_the_last_but_one():
    rows = [requests(START + i, 10, 5 if i == 0 else 0) for i in range(31)]

    found = reading(HALF_HOUR, rows, minutes=30, judged=28)

    assert found.worst is not None
    assert found.worst.window.end == start_of(START + 30)
    assert found.worst.counts == RateCounts(count=5, of=300)
    assert found.latest is not None
    assert found.latest.counts == RateCounts(count=0, of=300)


def test_of_what_must_not_fall_the_least_is_the_worst():
    below = replace(HALF_HOUR, below=True, limit=0.5)
    rows = [requests(START + i, 10, 0 if 30 <= i < 60 else 9) for i in range(120)]

    found = reading(below, rows, minutes=119, judged=-1)

    assert found.worst is not None
    assert (found.worst.value, found.worst.window.end) == (0, start_of(START + 60))


def test_with_for_the_mildest_look_of_the_worst_stretch_counts():
    """Recounted: of every 16 windows in a row the mildest, and of those the worst."""
    rule = replace(
        HALF_HOUR, window=timedelta(minutes=10), sustained=timedelta(minutes=15), min_samples=1
    )
    random = np.random.default_rng(11)
    bad = random.integers(0, 40, size=150)
    bad[90:125] += 40  # the worst stretch is neither the first nor the last
    rows = [requests(START + i, 100, int(x)) for i, x in enumerate(bad)]

    found = reading(rule, rows, minutes=149, judged=60)

    rates = {end: int(bad[end - 10 : end].sum()) / 1_000 for end in range(10, 151)}
    stretches = [range(end - 15, end + 1) for end in range(62, 151)]
    mildest = [min(stretch, key=lambda end: rates[end]) for stretch in stretches]
    worst = max(rates[end] for end in mildest)
    assert found.worst is not None
    assert found.worst.value == pytest.approx(worst)
    assert rates[round((found.worst.window.end - NOW) / timedelta(minutes=1))] == worst


def test_a_window_without_a_value_is_not_the_worst_though_no_samples_are_asked_for():
    free = replace(HALF_HOUR, min_samples=0)

    assert reading(free, [], minutes=40).worst is None
    assert reading(free, [], minutes=40, judged=30).worst is None


def test_a_spike_of_which_nothing_is_usual_yet_is_not_the_worst():
    rows = [requests(START + i, 100, 50) for i in range(31)]
    alone = reading(JUMP, rows, minutes=30)

    assert alone.latest is not None
    assert (alone.latest.value, alone.latest.usual) == (0.5, None)
    assert alone.worst is None


def test_what_is_usual_is_of_the_intent_and_known_for_each_window():
    each = replace(JUMP, scope=Scope.EACH, min_samples=5)
    rows = [
        one
        for i in range(150)
        for one in (
            requests(START + i, 100, 2),
            requests(START + i, 100, 50 if i < 120 else 60, intent="order-status"),
        )
    ]

    refund, other = (
        reading(each, rows, minutes=149, judged=145, intent=intent).latest
        for intent in ("refund", "order-status")
    )

    assert refund is not None
    assert other is not None
    assert (refund.value, refund.usual) == (pytest.approx(0.02), pytest.approx(0.02))
    assert (other.value, other.usual) == (pytest.approx(0.6), pytest.approx(0.5))


# What there is, by intent and step


def test_blindness_and_samples_are_those_of_the_intent_in_the_step():
    each = replace(ERRORS, scope=Scope.EACH)
    checked = {"n": 4, "e": 4, "d.error": 4, "ed.error": 4}
    rows = [
        *(row(START + i, checked) for i in range(10)),
        *(row(START + i, {"n": 1, "e": 1}, intent="order-status") for i in range(10)),
    ]
    of = plan(rules=(each,))
    later = at_step(0, of, started_at=NOW, step_started_at=NOW + timedelta(minutes=4))

    refund, other = (
        reading(each, rows, minutes=9, intent=intent, state=later)
        for intent in ("refund", "order-status")
    )

    assert (refund.blind, refund.step_samples) == (timedelta(0), 24)
    assert (other.blind, other.step_samples) == (timedelta(minutes=10), 0)


# Beside a proof


def test_the_figure_beside_a_proof_on_a_rate_is_of_the_proofs_own_window():
    found = reading(ESCALATION, [requests(START + i, 10, 0) for i in range(9)], minutes=8)

    for proof in (found.failing, found.passing):
        assert proof is not None
        assert proof.look.window == proof.window
        assert proof.look.counts == RateCounts(count=0, of=90)
        assert (proof.look.value, proof.look.samples) == (0, 90)
        assert proof.look.complete is False


def test_the_figure_beside_a_proof_on_an_accuracy_is_the_mean_grade_and_none_of_nothing():
    found = reading(RIGHT, [graded(START, 1.0, 0.5)], minutes=9).passing
    nothing = reading(RIGHT, [row(START, {"n": 3, "e": 3})], minutes=9).passing

    assert found is not None
    assert found.look.counts == Amounts(candidate=0.75, baseline=None, candidate_n=2, baseline_n=0)
    assert (found.look.value, found.look.samples, found.look.complete) == (0.75, 2, False)
    assert nothing is not None
    assert (nothing.look.value, nothing.look.samples, nothing.tally) == (None, 0, {})


def test_the_figure_beside_a_proof_on_a_loss_is_the_rules_window_whole_or_not():
    rows = [
        blocks(START + 1, {0: 9}),
        labels(START + 1, 9, 9, arm="baseline"),
        labels(START + 1, 2, 1, arm="candidate"),
    ]

    found = reading(LOSS, rows, minutes=119, intent="refund")

    assert found.latest is not None
    assert found.latest.complete is True
    for proof in (found.failing, found.passing):
        assert proof is not None
        # What is proven goes by when it was, and not by whether the window is complete.
        assert proof.look == replace(found.latest, complete=False)


def test_the_figure_beside_an_earlier_proof_on_a_loss_is_of_the_intents_labels_then():
    rows = [
        blocks(START + 1, {0: 9}),
        labels(START + 1, 9, 9, arm="baseline"),
        labels(START + 1, 2, 1, arm="candidate"),
        labels(START + 1, 9, 9, arm="baseline", intent="order-status"),
        labels(START + 1, 9, 9, arm="candidate", intent="order-status"),
        labels(START + 140, 9, 9, arm="baseline"),
        labels(START + 140, 9, 9, arm="candidate"),
    ]

    # The window is two hours, and the only start before the sixth hour is the first minute.
    found = reading(LOSS, rows, minutes=150, intent="refund").failing

    assert found is not None
    assert found.window.end == start_of(START + 120)
    assert found.look.window == found.window
    assert (found.look.value, found.look.samples) == (0.5, 2)
    assert found.look.complete is False


# Kinds of evidence side by side


def test_two_kinds_of_which_nothing_is_seen_in_the_epoch_prove_nothing():
    rows = [
        blocks(START, {0: 50}),
        row(START + 1, {"p.11": 50}, arm=BOTH_ARMS),
    ]
    anew = {LOSS.name: Epoch(number=1, start=NOW + timedelta(minutes=5))}
    state = at_step(0, PROMPT, started_at=NOW, epochs=anew)

    found = reading(LOSS, rows, minutes=9, intent="refund", state=state).passing

    assert found is not None
    assert (found.log_e, found.tally) == (0, {})


@pytest.mark.parametrize("pairs", [10, 400])
def test_a_pass_is_that_of_the_kind_that_says_more_with_missing_labels_too(pairs):
    # Of the candidate's labels 300 in 1,000 are missing: at the worst they are 429 blocks.
    rows = [
        labels(START + 1, 9_000, 9_000, arm="baseline"),
        row(
            START + 1,
            {"n": 1_000, "e": 1_000, "graded": 700, "e.graded": 700, "e.correct_u": 700 * MICRO},
        ),
        row(START + 2, {"b.0": 1_000, "p.11": pairs}, arm=BOTH_ARMS),
    ]

    found = reading(replace(ACCURACY, limit=0.1), rows, minutes=9, intent="refund")

    assert found.passing is not None
    assert found.passing.tally == {"0": 1_000}
    assert found.worst_case is not None
    # Pairs are whole, so it is they that are left.
    assert found.worst_case.proof.tally == {"0": pairs}
    assert found.worst_case.proof.log_e > 0


@given(st.permutations(range(5)), st.lists(st.integers(1, 40), min_size=20, max_size=20))
def test_a_loss_is_the_same_to_the_last_bit_whichever_split_was_heard_of_first(order, sizes):
    """A controller that reads everything anew hears of them in another order than one that was there."""

    def arms(version: int) -> list[RollupRow]:
        ours, theirs, right, wrong = sizes[4 * version : 4 * version + 4]
        return [
            replace(
                row(START, {"e": n, "e.graded": n, "e.correct_u": part * MICRO // 3}, arm=arm),
                version=version,
            )
            for n, part, arm in ((ours, right, "candidate"), (theirs, wrong, "baseline"))
        ]

    there = reading(LOSS, [one for version in range(5) for one in arms(version)], minutes=5)
    anew = reading(LOSS, [one for version in order for one in arms(version)], minutes=5)

    assert there.latest == anew.latest
