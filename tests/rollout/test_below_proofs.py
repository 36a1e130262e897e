"""Shares that must not fall below a limit, judged by proof: counted again one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reconcile.observe import tallies_of
from controller.rollout.commands import Apply
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action
from controller.rollout.evidence import proofs
from controller.rollout.evidence.needs import needs
from controller.rollout.evidence.readings import proven, read
from controller.rollout.evidence.rules import alpha_of, is_provable, judge, kept_limit
from controller.rollout.metrics import CATALOGUE, MICRO, custom_rate
from controller.rollout.plan import Arm, Evidence, Judge, Plan, Rule, Scope, Then
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Amounts, Outcome, Proof
from controller.stats.betting import log_threshold
from tests.rollout.factories import ESCALATION, NOW, at_step, plan, reading, seen
from tests.rollout.test_percentile_proofs import answered
from tests.rollout.test_readings import START, row, view

RIGHT = replace(
    ESCALATION,
    name="right",
    metric=CATALOGUE["accuracy"],
    limit=0.9,
    below=True,
    then=Then.ROLLBACK,
    min_samples=500,
)
PROVEN = replace(RIGHT, evidence=Evidence.CONFIDENT)
FLAG = custom_rate("polite")
POLITE = replace(RIGHT, name="polite", metric=FLAG)
PROMPT = replace(plan().labels, delay=timedelta(0))
HORIZON_H = 312  # of the usual plan: holds and bake
brief = settings(max_examples=60, deadline=None)


def of(*rules: Rule, **changes) -> Plan:
    return plan(rules=rules, labels=PROMPT, **changes)


def graded(minute: int, *grades: float, arm: str = "candidate", intent: str = "refund"):
    """A minute's episodes, each with its grade."""
    n, total = len(grades), sum(round(MICRO * grade) for grade in grades)
    stats = dict.fromkeys(("n", "e", "graded", "e.graded"), n)
    stats |= dict.fromkeys(("correct_u", "e.correct_u"), total)
    return row(minute, stats, arm=arm, intent=intent)


def flagged(minute: int, n: int, polite: int):
    stats = dict.fromkeys(("n", "e", f"d.{FLAG.subject}", f"ed.{FLAG.subject}"), n)
    return row(minute, stats | {f"f.{FLAG.subject}": polite, f"ef.{FLAG.subject}": polite})


def merged(logs: list[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))


def log_e(right: float, wrong: float, *, claim: float, sign: int) -> float:
    """The three bets by hand, against "at least `claim`" (sign −1) or "at most" it (1).

    The effect is half, or to pass a third, of the smaller of the limit and its complement.
    """
    effect = (0.5 if sign < 0 else 1 / 3) * min(claim, 1 - claim)
    cap = 0.95 / (1 - claim if sign < 0 else claim)
    logs = []
    for factor in (0.5, 1, 2):
        bet = min(factor * effect / (claim * (1 - claim)), cap)
        logs.append(
            right * math.log1p(sign * bet * (1 - claim)) + wrong * math.log1p(-sign * bet * claim)
        )
    return merged(logs)


grades = st.one_of(st.sampled_from([0.0, 1.0]), st.integers(0, MICRO).map(lambda u: u / MICRO))
minute_grades = st.lists(st.lists(grades, max_size=5), min_size=5, max_size=130)


@brief
@given(minute_grades, st.sampled_from([0.3, 0.5, 0.9, 0.99]))
def test_both_proofs_of_an_accuracy_are_those_of_its_grades_summed_again(by_minute, limit):
    rule = replace(RIGHT, limit=limit)
    asked = of(rule)
    rows = [graded(START + i, *ones) for i, ones in enumerate(by_minute)]

    found = read(view(rows, minutes=len(by_minute) - 1, of=asked), rule, None)

    alpha = alpha_of(asked, rule, at_step(0, asked, started_at=NOW).epoch("right"))
    starts = [s for s in range(len(by_minute)) if s == 0 or (START + s) % 60 == 0]
    best = (-math.inf, 0.0, 0.0)  # margin, log E, threshold
    for number, start in enumerate(starts, start=1):
        ones = [one for minute in by_minute[start:] for one in minute]
        right = math.fsum(ones)
        evidence = log_e(right, len(ones) - right, claim=limit, sign=-1)
        needed = log_threshold(
            alpha=alpha, start_number=number, planned_starts=HORIZON_H, first=0.25
        )
        best = max(best, (evidence - needed, evidence, needed))
    ones = [one for minute in by_minute for one in minute]
    right = math.fsum(ones)
    assert found.failing is not None
    assert found.failing.claim == limit
    assert found.failing.log_e == pytest.approx(best[1], abs=1e-9)
    assert found.failing.log_threshold == pytest.approx(best[2])
    assert found.passing is not None
    assert found.passing.claim == limit
    assert found.passing.log_e == pytest.approx(
        log_e(right, len(ones) - right, claim=limit, sign=1), abs=1e-9
    )
    assert sum(found.passing.tally.values()) == len(ones)
    assert told(found.passing) == pytest.approx(right, abs=1e-6)


def told(proof: Proof) -> float:
    """The sum of the grades that a tally holds."""
    return sum(int(name) * count for name, count in proof.tally.items()) / MICRO


@brief
@given(st.lists(grades, min_size=1, max_size=60), st.sampled_from([0.3, 0.9]))
def test_a_sum_of_grades_never_says_more_than_the_grades_themselves(ones, limit):
    rule = replace(RIGHT, limit=limit)
    found = read(view([graded(START, *ones)], minutes=9, of=of(rule)), rule, None)

    for proof, bets, sign in (
        (found.failing, proofs.failing_bets(of(rule), rule, "labels"), -1),
        (found.passing, proofs.passing_bets(of(rule), rule, "labels"), 1),
    ):
        # The product over the grades one by one, as the primitive has it.
        each = [
            sum(math.log1p(bet * (sign * one - bets.m)) for one in ones) for bet in bets.lambdas
        ]
        assert proof is not None
        assert proof.log_e <= merged(each) + 1e-9


@brief
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=90))
def test_a_rate_that_must_not_fall_is_failed_as_its_opposite_is_that_must_not_rise(counts):
    counts = [(max(pair), min(pair)) for pair in counts]
    polite = [flagged(START + i, n, x) for i, (n, x) in enumerate(counts)]
    rude = [flagged(START + i, n, n - x) for i, (n, x) in enumerate(counts)]
    opposite = replace(POLITE, below=False, limit=round(1 - POLITE.limit, 9))

    at = len(counts) - 1
    under = read(view(polite, minutes=at, of=of(POLITE)), POLITE, None)
    over = read(view(rude, minutes=at, of=of(opposite)), opposite, None)

    for one, other in ((under.failing, over.failing), (under.passing, over.passing)):
        assert one is not None
        assert other is not None
        assert one.log_e == pytest.approx(other.log_e, abs=1e-9)
        assert one.log_threshold == pytest.approx(other.log_threshold)
        assert one.window == other.window


@brief
@given(
    st.lists(
        st.dictionaries(st.integers(0, 150), st.lists(grades, max_size=4), max_size=5), max_size=6
    )
)
def test_what_is_remembered_between_ticks_follows_every_late_grade(fed):
    asked = of(RIGHT)
    known: dict[int, list[float]] = {}
    kept = tallies_of(asked)
    for number, change in enumerate(fed):
        known |= change
        kept.feed([graded(START + at, *ones) for at, ones in change.items()], number)
        fresh = [graded(START + at, *ones) for at, ones in known.items()]
        found = read(replace(view([], minutes=150, of=asked), tallies=kept), RIGHT, None)

        again = read(view(fresh, minutes=150, of=asked), RIGHT, None)
        assert (found.failing, found.passing) == (again.failing, again.passing)


def test_a_percentile_that_must_not_fall_counts_its_own_bucket_against_the_proof():
    rule = replace(RIGHT, name="slow", metric=CATALOGUE["latency_p50"], limit=2.0)
    fast, near = [answered(START, *([1.0] * 40)), answered(START + 1, *([2.0] * 9))]

    found = read(view([fast, near], minutes=9, of=of(rule)), rule, None)

    # A share above 2 s of less than a half fails; the nine may lie above it, or not.
    assert found.failing is not None
    assert found.passing is not None
    assert found.failing.tally == {"0": 40, str(MICRO): 9}
    assert found.passing.tally == {"0": 49}
    assert found.failing.log_e == pytest.approx(log_e(9, 40, claim=0.5, sign=-1))
    assert found.passing.log_e == pytest.approx(log_e(0, 49, claim=0.5, sign=1))


def test_the_figure_beside_a_proof_is_the_mean_grade_of_its_window():
    rows = [graded(START + i, *([1.0] * 8), 0.5, 0.0) for i in range(60)]

    proof = read(view(rows, minutes=59, of=of(RIGHT)), RIGHT, None).failing

    assert proof is not None
    assert proof.look.value == pytest.approx(0.85)
    assert proof.look.counts == Amounts(
        candidate=proof.look.value, baseline=None, candidate_n=600, baseline_n=0
    )
    assert proof.tally == {"0": 90, str(MICRO): 510}


def test_arms_and_intents_count_for_themselves():
    each = replace(RIGHT, scope=Scope.EACH)
    asked = of(each)
    rows = [
        graded(START, *([0.0] * 9)),
        graded(START, *([0.0] * 7), intent="order-status"),
        graded(START, *([0.0] * 5), arm="baseline"),
    ]
    seen_of = view(rows, minutes=9, of=asked)

    def wrong(rule: Rule, intent: str | None) -> int:
        proof = read(seen_of, rule, intent).failing
        assert proof is not None
        return proof.tally["0"]

    assert wrong(each, "refund") == 9
    assert wrong(each, "order-status") == 7
    assert wrong(RIGHT, None) == 16
    assert wrong(replace(RIGHT, arm=Arm.BASELINE), None) == 5


# Judged


@pytest.mark.parametrize(
    ("wrong_of_20", "outcome"),
    [(0, Outcome.PASS), (2, Outcome.INSUFFICIENT), (4, Outcome.FAIL)],
    ids=["100%", "90%", "80%"],
)
@pytest.mark.parametrize("rule", [PROVEN, replace(PROVEN, name="polite", metric=FLAG)])
def test_a_confident_rule_with_below_is_judged_by_proof_alone(wrong_of_20, outcome, rule):
    def minute(at: int):
        if rule.metric is FLAG:
            return flagged(at, 20, 20 - wrong_of_20)
        return graded(at, *([0.0] * wrong_of_20), *([1.0] * (20 - wrong_of_20)))

    rows = [minute(START + i) for i in range(60)]

    found = judge(rule, read(view(rows, minutes=59, of=of(rule)), rule, None))

    assert found.outcome is outcome
    assert found.observed is Outcome.INSUFFICIENT  # of a window of 24 h only one is over


def test_an_observed_accuracy_fails_sooner_by_proof():
    rows = [graded(START + i, *([0.0] * 9)) for i in range(10)]

    found = judge(RIGHT, read(view(rows, minutes=9, of=of(RIGHT)), RIGHT, None))

    assert (found.outcome, found.observed) == (Outcome.FAIL, Outcome.INSUFFICIENT)


def test_a_proof_blames_nothing_shorter_than_the_rule_asks_for():
    quarter = timedelta(minutes=15)
    for rule in (replace(RIGHT, min_window=quarter), replace(RIGHT, sustained=quarter)):

        def failing(bad_minutes: int, rule: Rule = rule) -> Proof | None:
            rows = [graded(START + i, *([0.0] * 9)) for i in range(bad_minutes)]
            return read(view(rows, minutes=bad_minutes - 1, of=of(rule)), rule, None).failing

        assert failing(14) is None
        proof = failing(15)
        assert proof is not None
        assert proof.reached
        assert proof.window.span == timedelta(minutes=15)


def test_a_pass_at_many_ends_is_the_pass_at_each():
    random = np.random.default_rng(4)
    rows = [
        graded(START + i, *random.choice([0.0, 0.5, 1.0], 9, p=[0.02, 0.02, 0.96]))
        for i in range(90)
    ]
    asked = of(RIGHT)
    at = view(rows, minutes=89, of=asked)
    ends = np.arange(START + 1, START + 91)

    found = proven(at, RIGHT, None, ends)

    each = [
        read(view(rows, minutes=end - START - 1, of=asked), RIGHT, None).passing
        for end in ends.tolist()
    ]
    assert found.tolist() == [one is not None and one.reached for one in each]
    assert found.any()
    assert not found.all()


def test_readings_from_before_there_were_proofs_say_what_they_said():
    unproven = {"failing": None, "passing": None}

    assert judge(RIGHT, reading(RIGHT, **unproven)).confident is Outcome.NOT_APPLICABLE
    assert judge(POLITE, reading(POLITE, **unproven)).confident is Outcome.INSUFFICIENT


def test_served_accuracy_and_limits_that_one_answer_decides_have_no_proof():
    served = replace(RIGHT, metric=CATALOGUE["served_accuracy"])
    perfect = replace(RIGHT, limit=1.0)

    for rule in (served, perfect):
        assert not is_provable(rule)
        rows = [graded(START, *([0.0] * 900))]
        found = read(view(rows, minutes=59, of=of(rule)), rule, None)
        assert (found.failing, found.passing) == (None, None)


def test_decide_rolls_back_what_is_proven_worse_and_holds_what_is_not():
    asked = of(PROVEN)
    state = at_step(0, asked, started_at=NOW)

    def decided(*minute: float) -> Action:
        rows = [graded(START + i, *minute) for i in range(60)]
        found = read(view(rows, minutes=59, of=asked), PROVEN, None)
        world = replace(seen(), readings=(found,), held=timedelta(hours=1))
        return decide(asked, state, world, None, start_of(START + 59)).action

    assert decided(*([1.0] * 9), 0.0) is Action.HOLD
    assert decided(*([1.0] * 7), *([0.0] * 3)) is Action.ROLLBACK


def test_an_undecided_accuracy_says_how_many_labels_it_lacks():
    asked = of(PROVEN)
    rows = [graded(START + i, *([1.0] * 19), 0.0) for i in range(10)]
    state = at_step(0, asked, started_at=NOW)

    found = judge(PROVEN, read(view(rows, minutes=9, of=asked), PROVEN, None))
    lacking = needs(asked, state, found)

    assert found.outcome is Outcome.INSUFFICIENT
    assert lacking is not None
    assert (lacking.proof, lacking.kind) == (Outcome.PASS, "labels")
    assert lacking.observations is not None
    # 95% right where 90% are asked for. Of bets λ against v = 1 − right, ln E grows by E ln(1 − λ(v − 0.1)) a label.
    bets = proofs.passing_bets(asked, PROVEN, "labels").lambdas
    quickest = max(0.95 * math.log1p(0.1 * one) + 0.05 * math.log1p(-0.9 * one) for one in bets)
    assert 200 + lacking.observations == pytest.approx(math.log(3 / 0.05) / quickest, rel=0.35)


# A judge that errs

ERRS = Judge(model="gpt-5", sensitivity=0.95, specificity=0.8)


def test_proofs_are_against_what_the_judge_makes_of_the_limit():
    judged = plan(rules=(PROVEN,), labels=replace(PROMPT, judge=ERRS))
    # 0.9 × 0.95 + 0.1 × 0.2
    shown = 0.875
    rows = [graded(START + i, *([1.0] * 19), *([0.0] * 3)) for i in range(60)]

    by_judge, by_people = (
        read(view(rows, minutes=59, of=one), PROVEN, None) for one in (judged, of(PROVEN))
    )

    assert kept_limit(judged, PROVEN) == pytest.approx(shown)
    for proof in (by_judge.failing, by_judge.passing):
        assert proof is not None
        assert proof.claim == pytest.approx(shown)
    # 86.4% of labels are right: below 90%, and near what a true 90% looks like to this judge.
    assert judge(PROVEN, by_people).outcome is Outcome.FAIL
    assert judge(PROVEN, by_judge).outcome is Outcome.INSUFFICIENT


def test_another_judge_starts_the_evidence_of_an_accuracy_anew():
    asked = of(PROVEN, POLITE)
    judged = replace(asked, labels=replace(PROMPT, judge=ERRS))
    amended = decide(
        asked, at_step(0, asked), seen(), Apply(plan=judged, actor="ann", reason="judge"), NOW
    )

    assert amended.action is Action.AMEND
    assert set(amended.state.epochs) == {"right"}


# How often a healthy candidate is stopped


def test_a_candidate_at_its_limit_is_hardly_ever_stopped():
    """Ville: with all of alpha 5%, at most 5% of streams whose every episode has a mean grade of 90% or more."""
    asked = of(PROVEN)
    random = np.random.default_rng(20)
    stopped, runs, hours = 0, 200, 24
    for _ in range(runs):
        # Grades of conversations: three requests, whose answers tend to be right or wrong together.
        right = random.random((hours, 100))[:, :, None] < 0.8
        answers = right | (random.random((hours, 100, 3)) < 0.5)
        rows = [graded(START + 60 * hour, *answers[hour].mean(axis=1)) for hour in range(hours)]
        found = read(view(rows, minutes=60 * hours - 1, of=asked), PROVEN, None)
        stopped += judge(PROVEN, found).outcome is Outcome.FAIL

    assert stopped <= runs * 0.05 + 2 * math.sqrt(runs * 0.05 * 0.95)
