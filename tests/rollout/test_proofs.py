"""What a proof is made from: whose evidence it is, what is bet on, and where a limit is at its edge."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.evidence import proofs
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.starts import start_threshold, starts_of
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Arm, Scope, Then
from controller.rollout.state import Epoch
from controller.rollout.timeline import start_of
from tests.rollout.factories import ACCURACY, ESCALATION, STEPS, at_step, plan
from tests.rollout.test_below_proofs import graded
from tests.rollout.test_percentile_proofs import answered
from tests.rollout.test_readings import START, requests, row, view

PROMPT = replace(plan().labels, delay=timedelta(0))
RIGHT = replace(
    ESCALATION, name="right", metric=CATALOGUE["accuracy"], limit=0.9, below=True, scope=Scope.EACH
)
EACH = replace(ESCALATION, scope=Scope.EACH)
INTENTS = ("refund", "order-status")


def both(minute: int, stats, intent: str):
    return row(minute, stats, arm=BOTH_ARMS, intent=intent)


def tallies_by_intent(rule, rows):
    """What a rule's proofs saw of each intent; both proofs saw the same, however many windows were judged."""
    of = plan(rules=(rule,), labels=PROMPT)
    told = []
    for intent in INTENTS:
        one, two, all_ten = (
            both_proofs(view(rows, minutes=9, of=of, judged=judged), rule, intent)
            for judged in (None, START + 7, START)
        )
        assert one == two == all_ten
        told.append(one)
    return told


def both_proofs(seen, rule, intent):
    found = read(seen, rule, intent)
    assert found.failing is not None
    assert found.passing is not None
    assert found.failing.tally == found.passing.tally
    return found.failing.tally


def test_a_proof_on_a_rate_is_of_its_intents_episodes_alone():
    rows = [
        requests(START, 10, 1),
        requests(START, 20, 4, intent="order-status"),
    ]

    assert tallies_by_intent(EACH, rows) == [
        {"0": 9, str(MICRO): 1},
        {"0": 16, str(MICRO): 4},
    ]
    # The baseline's are its own, and all intents together are all of them.
    baseline = replace(ESCALATION, arm=Arm.BASELINE)
    seen = view([*rows, requests(START, 50, 7, arm="baseline")], minutes=9)
    for rule, tally in (
        (baseline, {"0": 43, str(MICRO): 7}),
        (ESCALATION, {"0": 25, str(MICRO): 5}),
    ):
        found = read(seen, rule, None).failing
        assert found is not None
        assert found.tally == tally


def test_a_proof_on_an_accuracy_is_of_its_intents_grades_alone():
    rows = [
        graded(START, 1.0, 1.0, 0.0),
        graded(START, 0.0, intent="order-status"),
    ]

    assert tallies_by_intent(RIGHT, rows) == [{"0": 1, str(MICRO): 2}, {"0": 1}]


def test_a_proof_on_a_loss_is_of_its_intents_blocks_alone():
    rows = [
        both(START, {"b.0": 5, "b.1000000": 2}, "refund"),
        both(START, {"b.0": 7, "b.-1000000": 3}, "order-status"),
    ]
    each = replace(ACCURACY, scope=Scope.EACH)

    assert tallies_by_intent(each, rows) == [
        {"0": 5, "1000000": 2},
        {"0": 7, "-1000000": 3},
    ]


def test_a_proof_on_a_loss_is_of_its_intents_pairs_alone():
    rows = [
        both(START, {"p.11": 5, "p.10": 2, "pv.500000": 1}, "refund"),
        both(START, {"p.11": 7, "p.01": 3, "pv.250000": 4}, "order-status"),
    ]
    each = replace(ACCURACY, scope=Scope.EACH)

    assert tallies_by_intent(each, rows) == [
        {"0": 5, "1000000": 2, "500000": 1},
        {"0": 7, "-1000000": 3, "250000": 4},
    ]


def test_a_catch_up_bets_on_pairs_as_each_tick_does():
    of = plan(rules=(ACCURACY,), labels=PROMPT)
    rows = [both(START + i, {"p.11": 30, "p.10": 1}, "refund") for i in range(0, 120, 7)]

    def failing(minutes: int, judged: int):
        return read(view(rows, minutes=minutes, of=of, judged=judged), ACCURACY, None).failing

    after = failing(120, START - 1)
    ticks = [failing(i, START + i - 1) for i in range(0, 121, 5)]

    assert after is not None
    assert after.log_e > 0
    assert after.log_e - after.log_threshold == pytest.approx(
        max(one.log_e - one.log_threshold for one in ticks if one is not None), abs=1e-9
    )


def test_an_intent_without_blocks_or_pairs_has_no_proof_on_a_loss_from_anothers():
    each = replace(ACCURACY, scope=Scope.EACH)
    of = plan(rules=(each,), labels=PROMPT)
    rows = [both(START, {"b.0": 5, "p.11": 3, "pv.500000": 2}, "refund")]

    found = read(view(rows, minutes=9, of=of), each, "order-status")

    assert (found.failing, found.passing) == (None, None)


def test_pairs_that_all_have_a_grade_between_are_evidence_on_their_own():
    of = plan(rules=(ACCURACY,), labels=PROMPT)

    found = read(view([both(START, {"pv.500000": 2}, "refund")], minutes=9, of=of), ACCURACY, None)

    assert found.failing is not None
    assert found.failing.tally == {"500000": 2}


def test_the_rate_worth_catching_is_never_above_all():
    often = replace(ESCALATION, limit=0.8)
    of = plan(rules=(often,))

    assert proofs.worth_catching(often) == 1.0  # 1.5 × 80% would be 120%
    found = read(view([requests(START, 50, 50)], minutes=9, of=of), often, None)
    assert found.failing is not None
    assert found.failing.log_e > 0


@pytest.mark.parametrize(("limit", "worth"), [(0.02, 0.03), (0.5, 0.75), (2 / 3, 1.0)])
def test_the_rate_worth_catching_is_one_and_a_half_times_the_limit(limit, worth):
    assert proofs.worth_catching(replace(ESCALATION, limit=limit)) == pytest.approx(worth)


def test_grades_between_are_told_as_one_answer_with_the_rest():
    of = plan(rules=(RIGHT,), labels=PROMPT)
    # 1 + 0.9 + 0.6 + 0 = 2.5 of 4: two right, one half right, one wrong.
    rows = [graded(START, 1.0, 0.9, 0.6, 0.0)]

    found = read(view(rows, minutes=9, of=of), RIGHT, "refund").failing

    assert found is not None
    assert found.tally == {"0": 1, str(MICRO): 2, "500000": 1}


def test_a_proof_tells_what_was_seen_in_its_window_and_nothing_before():
    # Two quiet hours, then one at five times the limit, from a full hour on.
    hour = 60 - START % 60
    rows = [requests(START + i, 100, 10 if i >= hour + 60 else 0) for i in range(hour + 120)]

    found = read(view(rows, minutes=hour + 119, judged=START), ESCALATION, None).failing

    assert found is not None
    assert found.window.start == start_of(START + hour + 60)
    assert found.tally == {"0": 60 * 90, str(MICRO): 60 * 10}


def test_what_was_before_the_epoch_is_in_neither_proof():
    began = at_step(0, plan(), started_at=start_of(START + 5))
    rows = [requests(START + i, 100, 50 if i < 5 else 1) for i in range(10)]

    found = read(view(rows, minutes=9, state=began), ESCALATION, None)

    assert found.failing is not None
    assert found.passing is not None
    assert found.failing.tally == found.passing.tally == {"0": 5 * 99, str(MICRO): 5}


@pytest.mark.parametrize("kind", ["episodes", "labels", "blocks", "pairs"])
@pytest.mark.parametrize("missing", [0, 3])
def test_a_pass_at_some_ends_is_that_at_each_whatever_it_is_made_of(kind, missing):
    rule = {"episodes": ESCALATION, "labels": replace(RIGHT, scope=Scope.ALL)}.get(kind, ACCURACY)
    # Unlike the variance of a block, so that bets for the one are not those for the other.
    of = plan(rules=(rule,), labels=PROMPT, priors=replace(plan().priors, discordance=0.2))
    rows = [requests(START + i, 40 + i, 1, version=3) for i in range(9)]
    rows += [graded(START + i, 1.0, 0.7) for i in range(9)]
    rows += [
        both(START + i, {"b.0": 9, "b.-1000000": i, "p.11": 8, "p.10": 1, "p.01": i}, "refund")
        for i in range(9)
    ]
    seen = view(rows, minutes=9, of=of)
    epoch = Epoch(number=0, start=start_of(START + 3))
    (found,) = (
        one
        for one in proofs.passing_evidence(rule, None, seen.reader, "candidate")
        if one.kind == kind
    )
    ends = START + np.arange(10)

    many = proofs.passing_by(of, rule, epoch, found, ends, missing=np.full(10, missing))

    each = [
        proofs.passing(of, rule, epoch, found, int(end), missing=missing)[0] for end in ends[3:]
    ]
    assert many[3:].tolist() == pytest.approx(each, abs=1e-12)
    assert len({round(one, 6) for one in each}) > 5
    if kind != "blocks" or not missing:  # what is missing counts from the first minute on
        assert many[:4].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("share_bp", "k"),
    [(1, 9_999), (1_000, 9), (2_500, 3), (5_000, 1), (8_000, 1)],
)
def test_a_block_is_bet_on_by_the_first_steps_labels(share_bp, k):
    of = plan(steps=(replace(STEPS[0], share_bp=share_bp),))

    bets = proofs.failing_bets(of, ACCURACY, "blocks")

    # STATISTICS §2b: margin / variance, of an error rate of 5% (the priors'), halved and doubled.
    variance = 0.05 * 0.95 * (1 + 1 / k)
    assert bets.lambdas == pytest.approx([f * 0.015 / variance for f in (0.5, 1, 2)], rel=1e-12)
    assert bets.m == 0


def test_a_rule_that_rolls_back_bets_against_its_limit():
    assert proofs.failing_bets(plan(), replace(ACCURACY, then=Then.ROLLBACK), "blocks").m == 0.015


def test_what_half_an_hour_proved_holds_until_the_next_hour_has_one():
    """Starts are full hours, so a window of 30 minutes has none within reach in the second half of each."""
    short = replace(ESCALATION, window=timedelta(minutes=30))
    of = plan(rules=(short,))
    hour = 60 - START % 60
    rows = [requests(START + i, 100, 10) for i in range(hour + 120)]

    def failing(minute: int):
        seen = view(rows, minutes=hour + minute - 1, of=of, judged=START + hour + minute - 1)
        return read(seen, short, None).failing

    at_the_half, later, last = failing(30), failing(31), failing(60)
    next_hour = failing(61)

    assert at_the_half is not None
    assert at_the_half.reached
    assert at_the_half.window.span == timedelta(minutes=30)
    assert later == at_the_half
    assert last == at_the_half
    assert next_hour is not None
    assert next_hour.window.start == at_the_half.window.start + timedelta(hours=1)


def test_an_epochs_first_start_has_a_quarter_of_alpha_and_three_quarters_where_a_loss_is_judged():
    # docs/adr/016 and 024
    of = plan(labels=PROMPT)
    rows = [requests(START, 9, 1), both(START, {"b.0": 9}, "refund")]
    seen = view(rows, minutes=9, of=of)

    for rule, intent, first in ((ESCALATION, None, 0.25), (ACCURACY, "refund", 0.75)):
        needed = -np.log(first * 0.025)  # two rules share 5%, the loss has one critical intent
        found = read(seen, rule, intent).failing
        assert found is not None
        assert found.log_threshold == pytest.approx(needed)
        alone = start_threshold(rule, alpha=0.025, horizon_min=312 * 60)
        assert alone == pytest.approx(needed)


def test_within_the_first_hour_there_is_one_start():
    first = START - START % 60 + 17
    epoch = Epoch(number=0, start=start_of(first))

    for end, count in ((first + 1, 1), (first + 43, 1), (first + 44, 2), (first + 104, 3)):
        passed, starts = starts_of(ESCALATION, epoch, end, reached_from=first - 60)
        assert (passed, len(starts), starts[0]) == (0, count, first)


def test_a_proof_on_a_percentile_is_of_its_intents_requests_alone():
    slow = replace(
        EACH, name="slow", metric=CATALOGUE["latency_p95"], limit=2.0, window=timedelta(hours=1)
    )
    rows = [
        answered(START, *([1.0] * 8), 3.0),
        answered(START, *([1.0] * 5), 3.0, 3.0, intent="order-status"),
    ]

    assert tallies_by_intent(slow, rows) == [{"0": 8, str(MICRO): 1}, {"0": 5, str(MICRO): 2}]


def test_the_kind_of_evidence_that_is_furthest_over_what_it_needs_is_told():
    of = plan(rules=(ACCURACY,), labels=PROMPT)
    # Pairs speak of a loss from six o'clock on, as a later start, and more loudly; blocks from the first on, which
    # needs less: ln(2 / (¾ × 5%)) = 4.0, where the pairs' needs ln(51 × 2 / (¼ × 5%)) = 9.0.
    rows = [
        both(START, {"b.0": 50, "b.1000000": 4, "p.01": 60}, "refund"),
        both(START + 200, {"p.10": 12}, "refund"),
    ]

    found = read(view(rows, minutes=300, of=of), ACCURACY, "refund").failing

    assert found is not None
    assert found.tally == {"0": 50, "1000000": 4}
    assert found.log_threshold == pytest.approx(np.log(2 / (0.75 * 0.05)))


@pytest.mark.parametrize("late", [5, 59, 60, 100])
@pytest.mark.parametrize("escalated", [0, 700])
def test_a_late_change_is_in_every_proof_that_it_touches(late, escalated):
    of = plan(rules=(ESCALATION,))
    # A quiet hour, and one that is not, from whose beginning the proof is strongest.
    rows = [requests(START + i, 20, 0 if i < 60 else 3) for i in range(130)]
    changed = requests(START + late, 900, escalated)
    kept = view(rows, minutes=129, of=of)
    before = read(kept, ESCALATION, None).failing
    assert before is not None
    assert before.window.start == start_of(START + 60)

    kept.tallies.feed([changed], 2)
    again = read(replace(view([], minutes=129, of=of), tallies=kept.tallies), ESCALATION, None)

    rows[late] = changed
    fresh = read(view(rows, minutes=129, of=of), ESCALATION, None)
    assert (again.failing, again.passing) == (fresh.failing, fresh.passing)


def test_what_an_hour_proved_holds_over_the_minute_that_no_window_of_two_can_end_in():
    """From the hour before it is an hour and a minute, and from the hour itself one minute."""
    rule = replace(ESCALATION, window=timedelta(hours=1), min_window=timedelta(minutes=2))
    of = plan(rules=(rule,))
    rows = [requests(START + i, 100, 10) for i in range(130)]

    at_the_hour, later, next_one = (
        read(view(rows, minutes=minute - 1, of=of, judged=START + minute - 1), rule, None).failing
        for minute in (120, 121, 122)
    )

    assert at_the_hour is not None
    assert later == at_the_hour
    assert next_one is not None
    assert next_one.window.start == at_the_hour.window.start + timedelta(hours=1)
