"""Missing labels, where one arm has more of them: counted against a pass, never for it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.codec import canonical, decode, encode
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Waiting
from controller.rollout.evidence.coverage import missing_blocks
from controller.rollout.evidence.proofs import passing_bets
from controller.rollout.evidence.readings import proven, read
from controller.rollout.evidence.rules import judge
from controller.rollout.evidence.view import View
from controller.rollout.metrics import MICRO
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Advance, Evidence, Plan, Step
from controller.rollout.state import Epoch
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Outcome, Reading
from tests.rollout.factories import ACCURACY, NOW, at_step, plan, seen
from tests.rollout.test_readings import START, row, view

LOSS = replace(ACCURACY, window=timedelta(hours=2), limit=0.1, min_samples=1)
PROMPT = plan(
    rules=(LOSS,),
    labels=replace(plan().labels, delay=timedelta(0)),
    steps=(Step(share_bp=1000, advance=Advance.PROVEN), Step(share_bp=9000)),
)


def graded(minute: int, arm: str, known: int, of: int, *, version: int = 2, intent="refund"):
    stats = {"n": of, "e": of, "graded": known, "e.graded": known, "e.correct_u": known * MICRO}
    return row(minute, stats, arm=arm, version=version, intent=intent)


def blocks(minute: int, values: dict[str, int], *, version: int = 2, intent="refund"):
    return row(
        minute,
        {f"b.{value}": n for value, n in values.items()},
        arm=BOTH_ARMS,
        version=version,
        intent=intent,
    )


def missing_in(rows, *, of: Plan = PROMPT, intent: str | None = "refund") -> int:
    reader = view(rows, minutes=119, of=of).reader
    (found,) = missing_blocks(reader, intent, START, np.array([START + 120])).tolist()
    return found


# The bound itself


grade = st.integers(0, 1)
block = st.integers(1, 9).flatmap(
    lambda k: st.lists(
        st.tuples(grade, st.lists(grade, min_size=k, max_size=k)), min_size=1, max_size=12
    )
)


def as_closed(closed, above_half: bool) -> tuple[list[Fraction], list[int], list[int]]:
    """Values of blocks of one label and k others, then how many labels are right and how many there are, by arm.

    Above half of the traffic one label is the baseline's and several are the candidate's.
    """
    k, n = len(closed[0][1]), len(closed)
    values = [Fraction(sum(several), k) - one for one, several in closed]
    right = [sum(sum(several) for _, several in closed), sum(one for one, _ in closed)]
    if above_half:
        return [-value for value in values], right[::-1], [n, n * k]
    return values, right, [n * k, n]


@given(block, st.booleans(), st.integers(0, 40), st.integers(0, 40))
def test_with_the_missing_ones_at_their_worst_the_mean_is_no_less_than_the_loss(
    closed, above_half, without_b, without_c
):
    n = len(closed)
    values, right, known = as_closed(closed, above_half)
    rows = [
        graded(START, "baseline", known[0], known[0] + without_b),
        graded(START, "candidate", known[1], known[1] + without_c),
        blocks(START, {"0": n}),
    ]

    missing = missing_in(rows)

    worst = Fraction(right[0] + without_b, known[0] + without_b)
    loss = worst - Fraction(right[1], known[1] + without_c)
    assert (sum(values) + missing) / (n + missing) >= loss
    assert (missing == 0) == (without_b == without_c == 0)


def test_each_stratum_counts_its_own_missing_labels():
    rows = [
        # 100 blocks and nine labels in ten on both arms: 12 and 12 (100 × 100/900 is 11.1)
        graded(START, "baseline", 900, 1_000),
        graded(START, "candidate", 100, 112),
        blocks(START, {"0": 100}),
        # 40 blocks, everything graded
        graded(START + 1, "baseline", 120, 120, version=3),
        graded(START + 1, "candidate", 40, 40, version=3),
        blocks(START + 1, {"0": 40}, version=3),
        # none closed: as many as the smaller arm could make
        graded(START + 2, "baseline", 0, 30, version=4),
        graded(START + 2, "candidate", 0, 7, version=4),
        # another intent
        graded(START + 2, "baseline", 0, 30, intent="order-status"),
        graded(START + 2, "candidate", 0, 5, intent="order-status"),
    ]

    assert missing_in(rows) == 12 + 12 + 0 + 7
    assert missing_in(rows, intent=None) == 12 + 12 + 0 + 7 + 5


def passes(random: np.random.Generator, *, at_worst: bool) -> bool:
    """One canary whose candidate loses exactly the limit, and whose labels of wrong answers get lost, so that those
    that come show no loss; whether it is proven to keep the limit at any of 60 looks.
    """
    limit, error, k = 0.1, 0.05, 9
    # Of the candidate's labels: so many wrong ones are lost that the rates are equal.
    known = (1 - error - limit) / (1 - error)
    n = 40 * 60
    kept = random.random(n) < known
    candidate = random.random(n) >= error  # of those with labels
    baseline = random.binomial(k, 1 - error, n) / k
    values = baseline - candidate
    bets = passing_bets(PROMPT, replace(LOSS, limit=limit), "blocks")
    closed = np.cumsum([math.log1p(bets.lambdas[0] * (limit - one)) for one in values[kept]])
    for look in range(40, n + 1, 40):
        blocks = int(kept[:look].sum())
        # Nothing is missing of the baseline; of the candidate, ⌈n c / C⌉ = c.
        missing = look - blocks if at_worst else 0
        wealth = closed[blocks - 1] + missing * math.log1p(bets.lambdas[0] * (limit - 1))
        if wealth >= math.log(1 / 0.05):
            return True
    return False


def test_a_loss_that_hides_in_missing_labels_passes_by_those_that_came_and_not_at_their_worst():
    random = np.random.default_rng(18)

    by_what_came, at_worst = (
        sum(passes(random, at_worst=worst) for _ in range(200)) for worst in (False, True)
    )

    assert by_what_came >= 190
    assert at_worst <= 10  # 5% of 200, by Ville's inequality


# Read and judged


def episodes(candidate: int, baseline: int = 9_000):
    """A thousand blocks without any loss; of 9,000 and 1,000 episodes so many have labels."""
    return [
        graded(START + 1, "baseline", baseline, 9_000),
        graded(START + 1, "candidate", candidate, 1_000),
        blocks(START + 1, {"0": 1_000}),
    ]


@pytest.mark.parametrize(
    ("candidate", "outcome"),
    [(1_000, Outcome.PASS), (985, Outcome.PASS), (960, Outcome.PASS), (900, Outcome.INSUFFICIENT)],
    ids=["all", "within chance", "differs, and holds", "differs"],
)
def test_a_pass_must_hold_with_every_missing_label_against_it(candidate, outcome):
    found = read(view(episodes(candidate), minutes=119, of=PROMPT), LOSS, "refund")

    assert found.passing is not None
    assert found.passing.reached
    assert judge(replace(LOSS, evidence=Evidence.CONFIDENT), found).outcome is outcome
    assert (found.worst_case is None) == (candidate > 970)


def test_the_worst_case_is_the_same_proof_with_blocks_that_lost():
    found = read(view(episodes(900), minutes=119, of=PROMPT), LOSS, "refund")

    assert found.passing is not None
    assert found.worst_case is not None
    proof = found.worst_case.proof
    # 1,000 blocks and a candidate label in nine missing: 1000 × 100/900, rounded up
    assert proof.tally == {"0": 1_000, str(MICRO): 112}
    assert (proof.window, proof.log_threshold) == (
        found.passing.window,
        found.passing.log_threshold,
    )
    variance = 0.05 * 0.95 * (1 + 1 / 9)
    logs = []
    for factor in (0.5, 1, 2):
        bet = min(factor * 0.1 / variance, 0.95 / (1 - 0.1))
        logs.append(1_000 * math.log1p(bet * 0.1) + 112 * math.log1p(bet * (0.1 - 1)))
    top = max(logs)
    expected = top + math.log(sum(math.exp(one - top) for one in logs) / 3)
    assert proof.log_e == pytest.approx(expected, abs=1e-9)


def test_a_record_keeps_the_worst_case_and_judges_by_it_again():
    found = read(view(episodes(900), minutes=119, of=PROMPT), LOSS, "refund")

    again = decode(Reading, json.loads(canonical(found)))

    assert again == found
    assert judge(LOSS, again) == judge(LOSS, found)


def test_a_record_from_before_has_no_worst_case_and_says_what_it_said():
    text = encode(read(view(episodes(1_000), minutes=119, of=PROMPT), LOSS, "refund"))
    del text["worst_case"]

    assert judge(LOSS, decode(Reading, text)).confident is Outcome.PASS


def test_pairs_have_no_missing_labels():
    pairs = row(START + 1, {"p.11": 1_000}, arm=BOTH_ARMS)
    found = read(view([*episodes(600), pairs], minutes=119, of=PROMPT), LOSS, "refund")

    assert found.worst_case is not None
    assert found.worst_case.proof.reached
    assert found.worst_case.proof.tally == {"0": 1_000}


def test_what_is_proven_at_many_ends_is_what_a_reading_at_each_would_say():
    rows = [
        one
        for i in range(0, 100, 5)
        for one in (
            graded(START + i, "baseline", 450, 450),
            graded(START + i, "candidate", 20 if i >= 60 else 50, 50),
            blocks(START + i, {"0": 20 if i >= 60 else 50}),
        )
    ]
    ends = np.arange(START + 1, START + 101)

    def at(end: int) -> View:
        return view(rows, minutes=end - START - 1, of=PROMPT)

    many = proven(at(START + 100), LOSS, "refund", ends)

    alone = []
    for end in ends.tolist():
        # A reading sees what came in before its end; rows of later minutes change nothing.
        found = read(at(end), LOSS, "refund")
        alone.append(judge(LOSS, found).confident is Outcome.PASS)
    assert many.tolist() == alone
    assert any(alone)
    assert not alone[-1]


@pytest.mark.parametrize(("candidate", "waits"), [(1_000, False), (900, True)])
def test_a_step_that_asks_for_proof_is_not_left_on_a_proof_that_needs_the_missing_labels(
    candidate, waits
):
    state = at_step(0, PROMPT, started_at=NOW)
    found = read(view(episodes(candidate), minutes=119, of=PROMPT), LOSS, "refund")
    world = replace(seen(), readings=(found,))

    decision = decide(PROMPT, state, world, None, start_of(START + 119))

    assert (Waiting.PROOF in {one.waiting for one in decision.waits}) is waits


# At many ends


ENDS = START + np.array([60, 119, 120])


def of_intent(intent: str, *, baseline: int, candidate: tuple[int, int], closed: int):
    return [
        graded(START + 1, "baseline", baseline, baseline, intent=intent),
        graded(START + 1, "candidate", *candidate, intent=intent),
        blocks(START + 1, {"0": closed}, intent=intent),
    ]


HALF_MISSING = of_intent("order-status", baseline=9_000, candidate=(500, 1_000), closed=1_000)


def test_what_is_proven_of_one_intent_is_by_its_own_labels_and_those_it_lacks():
    # 300 of 10,000 are missing: 310 of 10,000 blocks at the worst, and still no loss of ten points.
    rows = of_intent("refund", baseline=90_000, candidate=(9_700, 10_000), closed=10_000)
    at = view([*rows, *HALF_MISSING], minutes=119, of=PROMPT)

    assert proven(at, LOSS, "refund", ENDS).all()
    assert not proven(at, LOSS, "order-status", ENDS).any()
    assert not proven(at, LOSS, "returns", ENDS).any()
    for intent, n, closed, missing in (
        ("refund", 10_000, 10_000, 310),
        ("order-status", 1_000, 1_000, 1_000),
    ):
        worst = read(at, LOSS, intent).worst_case
        assert worst is not None
        assert worst.coverage.candidate_n == n
        assert worst.proof.tally == {"0": closed, str(MICRO): missing}


def test_coverage_that_differs_on_one_intent_is_not_lost_among_the_others():
    rows = of_intent("refund", baseline=900_000, candidate=(100_000, 100_000), closed=10_000)
    at = view([*rows, *HALF_MISSING], minutes=119, of=PROMPT)

    assert proven(at, LOSS, "refund", ENDS).all()
    assert not proven(at, LOSS, "order-status", ENDS).any()
    assert read(at, LOSS, "refund").worst_case is None
    assert read(at, LOSS, "order-status").worst_case is not None


def test_what_was_proven_before_a_new_epoch_is_not_in_it():
    rows = of_intent("refund", baseline=9_000, candidate=(1_000, 1_000), closed=1_000)
    anew = at_step(
        0,
        PROMPT,
        started_at=NOW,
        epochs={LOSS.name: Epoch(number=1, start=NOW + timedelta(minutes=2))},
    )

    assert proven(view(rows, minutes=119, of=PROMPT), LOSS, "refund", ENDS).all()
    assert not proven(view(rows, minutes=119, of=PROMPT, state=anew), LOSS, "refund", ENDS).any()
