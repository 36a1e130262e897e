"""What a right answer costs, judged by proof: every request and grade counted again, minute by minute."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reconcile.observe import needed, tallies_of
from controller.rollout.commands import Apply
from controller.rollout.evidence.caps import NUSD, cap_nusd, cost_caps, most_nusd
from controller.rollout.evidence.needs import needs
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import alpha_of, is_provable, judge
from controller.rollout.evidence.spending import TOLD, Spending, policy_of
from controller.rollout.metrics import CATALOGUE, MICRO, capped
from controller.rollout.plan import (
    Arm,
    Evidence,
    Judge,
    Labels,
    ModelRef,
    Plan,
    Price,
    Priors,
    Rule,
    Scope,
    Then,
)
from controller.rollout.state import Epoch
from controller.rollout.timeline import Window
from controller.rollout.verdict import Amounts, Look, Outcome
from controller.stats.betting import log_threshold
from tests.rollout.factories import ACCURACY, ESCALATION, GPT_41, MINI, NOW, at_step
from tests.rollout.factories import plan as usual_plan
from tests.rollout.test_commands import ANN, LATER, on
from tests.rollout.test_readings import START, row, view
from tests.stats.test_balanced import bets, true_log

LIMIT_USD = 0.002
LIMIT = round(LIMIT_USD * NUSD)
COSTS = Rule(
    name="right",
    metric=CATALOGUE["cost_per_correct"],
    limit=LIMIT_USD,
    window=timedelta(hours=1),
    then=Then.PAUSE,
)
PROVEN = replace(COSTS, evidence=Evidence.CONFIDENT)
HORIZON_H = 312  # of the usual plan: holds and bake
CHEAP = Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1600))
# 100,000 tokens in and 1,000 out at 0.4 and 1.6 USD a million: 0.0416 USD; the baseline the same.
SMALL = ModelRef(model="", price=CHEAP, context_window=100_000, output_limit=1_000)
MOST = 2 * 41_600_000
CAP = cap_nusd(COSTS)
brief = settings(max_examples=40, deadline=None)


def plan(rule: Rule = COSTS, **changes) -> Plan:
    """Whose labels are there at once, and whose models' largest calls are known."""
    known = {
        "baseline": replace(SMALL, model="gpt-4.1"),
        "candidate": replace(SMALL, model="gpt-4.1-mini"),
        "labels": Labels(),
    }
    return usual_plan(rules=(rule,), **{**known, **changes})


def answered(minute: int, *requests, caps=(CAP,), arm="candidate", intent="refund"):
    """Requests as (nano-USD or None, grade or None)."""
    costs = [cost for cost, _ in requests if cost is not None]
    grades = [grade for _, grade in requests if grade is not None]
    stats = {
        "n": len(requests),
        "e": len(requests),
        "c.cost_nusd": len(costs),
        "s.cost_nusd": sum(costs),
        "graded": len(grades),
        "correct_u": sum(round(grade * MICRO) for grade in grades),
    }
    stats |= {capped(cap): sum(min(cost, cap) for cost in costs) for cap in caps}
    return row(minute, {key: n for key, n in stats.items() if n}, arm=arm, intent=intent)


def sums_log(of, requests, factor, *, failing: bool, rule: Rule = COSTS) -> float:
    """One bet's log of one minute, of sums alone: as many costs of the largest as make up the sum, the others 0."""
    policy = policy_of(of, rule)
    balance = policy.failing if failing else policy.passing
    assert balance is not None
    most = cap_nusd(rule) if failing else MOST
    n, grades = len(requests), [grade for _, grade in requests if grade is not None]
    if not n or not grades:
        return 0.0
    costs = [(0 if failing else MOST) if cost is None else min(cost, most) for cost, _ in requests]
    sign = 1 if failing else -1
    on_cost, on_grade, part = bets(balance, n, len(grades), factor, sign)
    m, whole, right = balance.reference, sum(costs) / most, sum(grades)
    cost_log = whole * math.log(1 + sign * on_cost * (most / LIMIT - m))
    cost_log += (n - whole) * math.log(1 - sign * on_cost * m)
    grade_log = right * math.log(1 - sign * on_grade * (balance.high - m))
    grade_log += (len(grades) - right) * math.log(1 + sign * on_grade * (m - balance.low))
    return part * cost_log + (1 - part) * grade_log


def merged(logs) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / 3)


costs = st.one_of(
    st.none(), st.integers(0, MOST), st.integers(0, 2 * LIMIT), st.sampled_from([LIMIT, CAP, MOST])
)
grades = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0]))
minute = st.lists(st.tuples(costs, grades), max_size=5)
by_minute = st.lists(
    st.tuples(st.sampled_from(["refund", "order-status"]), minute), min_size=3, max_size=130
)


@brief
@given(by_minute)
def test_both_proofs_are_those_of_the_minutes_recounted(served):
    of = plan()
    rows = [answered(START + i, *those, intent=intent) for i, (intent, those) in enumerate(served)]
    rows += [answered(START, (9 * MOST, 0.0), arm="baseline")]  # the other arm's say nothing
    last = len(served)

    found = read(
        view(rows, minutes=last - 1, of=of, state=at_step(0, of, started_at=NOW)), COSTS, None
    )

    def logs(start: int, *, failing: bool) -> float:
        each = [
            math.fsum(sums_log(of, those, factor, failing=failing) for _, those in served[start:])
            for factor in (0.5, 1, 2)
        ]
        return merged(each)

    alpha = alpha_of(of, COSTS, at_step(0, of, started_at=NOW).epoch("right"))
    best = (-math.inf, 0.0)
    for number, start in enumerate(range(0, last, 60), start=1):
        if last - 60 <= start:
            needed = log_threshold(
                alpha=alpha, start_number=number, planned_starts=HORIZON_H, first=0.25
            )
            best = max(best, (logs(start, failing=True) - needed, needed))
    assert found.failing is not None
    assert found.passing is not None
    assert found.failing.log_e - found.failing.log_threshold == pytest.approx(best[0], abs=1e-5)
    assert found.failing.log_threshold == pytest.approx(best[1])
    assert found.passing.log_e == pytest.approx(logs(0, failing=False), abs=1e-5)
    assert (found.failing.claim, found.passing.claim) == (LIMIT_USD, LIMIT_USD)


@brief
@given(by_minute, st.lists(st.integers(-60, 140), min_size=1, max_size=4))
def test_each_bets_wealth_before_a_minute_is_that_of_the_minutes_recounted(served, after):
    of = plan()
    rows = [answered(START + i, *those, intent=intent) for i, (intent, those) in enumerate(served)]
    reader = view(rows, minutes=140, of=of, state=at_step(0, of, started_at=NOW)).reader
    one = Spending.of(of, COSTS, None, reader, Epoch(number=0, start=NOW))

    found = one.wealth(START + np.array(after))

    for mark, of_bets in zip(after, found.T.tolist(), strict=True):
        before = served[: max(mark, 0)]
        each = [
            math.fsum(sums_log(of, those, factor, failing=True) for _, those in before)
            for factor in (0.5, 1, 2)
        ]
        assert of_bets == pytest.approx(each, abs=1e-5)


@brief
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 20 * LIMIT), st.floats(0, 1)), min_size=1, max_size=5),
        min_size=1,
        max_size=50,
    )
)
def test_the_proof_from_capped_sums_is_never_above_that_of_every_cost_and_grade(served):
    of = plan()
    rows = [answered(START + i, *those) for i, those in enumerate(served)]

    found = read(
        view(rows, minutes=len(served) - 1, of=of, state=at_step(0, of, started_at=NOW)),
        COSTS,
        None,
    )

    balance = policy_of(of, COSTS).failing
    true = merged(
        [
            math.fsum(
                true_log(
                    [cost / LIMIT for cost, _ in those],
                    [round(grade * MICRO) / MICRO for _, grade in those],
                    balance=balance,
                    factor=factor,
                    sign=1,
                )
                for those in served
            )
            for factor in (0.5, 1, 2)
        ]
    )
    assert found.failing is not None
    assert found.failing.log_e <= true + 1e-6


def test_the_tally_says_what_was_counted_and_the_figure_is_of_it():
    of = plan()
    # Two of four right; 1, 3 and 30 times the limit, of which 10 count, and one that is not known.
    those = [(LIMIT, 1.0), (3 * LIMIT, 0.0), (30 * LIMIT, 1.0), (None, 0.0)]
    rows = [answered(START + i, *those) for i in range(60)]
    rows += [answered(START + 5, intent="order-status")]

    found = read(view(rows, minutes=59, of=of, state=at_step(0, of, started_at=NOW)), COSTS, None)

    assert found.failing is not None
    assert dict(found.failing.tally) == dict(
        zip(TOLD, (240, 60 * 14 * LIMIT, 60, 240, 120 * MICRO, 120 * MICRO), strict=True)
    )
    # 14 limits a minute for two right answers.
    assert found.failing.look.value == pytest.approx(7 * LIMIT_USD)
    assert found.failing.look.samples == 240
    assert found.passing is not None
    assert found.passing.tally["cost_nusd"] == 60 * min(34 * LIMIT + MOST, 4 * MOST)


def figure(tally) -> Look:
    of = plan()
    reader = view([], minutes=59, of=of).reader
    spent = Spending.of(of, COSTS, None, reader, Epoch(number=0, start=NOW))
    return spent.look(START, START + 60, tally)


@pytest.mark.parametrize(
    ("tally", "usd", "n", "samples"),
    [
        ({}, None, 0, 0),
        ({"requests": 4}, None, 4, 0),
        ({"requests": 4, "graded": 3, "cost_nusd": NUSD}, None, 4, 3),
        ({"requests": 4, "graded": 4, "correct.expected_u": 4 * MICRO}, 0.0, 4, 4),
        ({"requests": 1, "graded": 1, "cost_nusd": NUSD, "correct.expected_u": 500_000}, 2.0, 1, 1),
    ],
    ids=["nothing", "no grade", "none right", "free", "half a right answer"],
)
def test_a_figure_is_what_was_spent_over_how_many_are_right(tally, usd, n, samples):
    assert figure(tally) == Look(
        window=Window.of_minutes(START, START + 60),
        value=usd,
        counts=Amounts(candidate=usd, baseline=None, candidate_n=n, baseline_n=0),
        samples=samples,
        complete=False,
    )


def test_only_minutes_with_requests_and_grades_are_told_of():
    of = plan()
    rows = [
        answered(START, (LIMIT, 1.0)),
        answered(START + 1, (LIMIT, None), (None, None)),
        row(START + 2, {"graded": 1, "correct_u": MICRO}),
    ]

    found = read(view(rows, minutes=59, of=of, state=at_step(0, of, started_at=NOW)), COSTS, None)

    assert found.failing is not None
    assert found.passing is not None
    told = {
        "requests": 1,
        "cost_nusd": LIMIT,
        "graded": 1,
        "correct_u": MICRO,
        "correct.expected_u": MICRO,
    }
    assert (found.failing.tally, found.passing.tally) == (told, told)


def test_each_intent_is_judged_by_its_own_requests():
    each = replace(PROVEN, scope=Scope.EACH)
    of = plan(each)
    rows = [
        answered(START + i, *[(times * LIMIT // 4, 1.0)] * 20, intent=intent)
        for i in range(60)
        for intent, times in (("refund", 1), ("order-status", 8))
    ]
    seen = view(rows, minutes=59, of=of, state=at_step(0, of, started_at=NOW))

    cheap, dear = (judge(each, read(seen, each, intent)) for intent in ("refund", "order-status"))

    assert (cheap.outcome, dear.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert cheap.reading.passing is not None
    assert cheap.reading.passing.tally["requests"] == 20 * 60


def judged(rule: Rule, cost: float, right: float, *, minutes: int = 60, **changes):
    """Twenty requests a minute at so many limits each, so many of them right."""
    of = plan(rule, **changes)
    good = round(20 * right)
    those = [(round(cost * LIMIT), 1.0)] * good + [(round(cost * LIMIT), 0.0)] * (20 - good)
    rows = [answered(START + i, *those) for i in range(minutes)]
    return judge(
        rule,
        read(
            view(rows, minutes=minutes - 1, of=of, state=at_step(0, of, started_at=NOW)), rule, None
        ),
    )


@pytest.mark.parametrize(
    ("cost", "right", "outcome"),
    [
        (0.3, 0.95, Outcome.PASS),
        (0.95, 0.95, Outcome.INSUFFICIENT),
        (1.8, 0.95, Outcome.FAIL),
        (0.95, 0.4, Outcome.FAIL),
        (0.5, 0.0, Outcome.FAIL),
    ],
    ids=["cheap", "at the limit", "dear", "half as often right", "never right"],
)
def test_a_confident_cost_is_judged_by_proof(cost, right, outcome):
    assert judged(PROVEN, cost, right).outcome is outcome


def test_beside_a_pass_stands_what_a_right_answer_costs_as_the_proof_counts_it():
    cheap = judged(PROVEN, 0.2, 1.0).reading.passing

    assert cheap is not None
    assert cheap.look.value == pytest.approx(0.2 * LIMIT_USD)
    assert isinstance(cheap.look.counts, Amounts)


def test_an_observed_cost_fails_sooner_by_proof():
    found = judged(COSTS, 4.0, 0.9, minutes=15)

    assert (found.outcome, found.observed) == (Outcome.FAIL, Outcome.INSUFFICIENT)


def test_where_it_is_not_known_what_a_request_can_cost_it_fails_by_proof_and_never_passes():
    cheap, dear = (judged(PROVEN, cost, 0.95, candidate=MINI) for cost in (0.3, 1.8))

    assert (cheap.outcome, cheap.reading.passing) == (Outcome.INSUFFICIENT, None)
    assert dear.outcome is Outcome.FAIL


def test_requests_of_unknown_cost_are_against_either_proof():
    of = plan(PROVEN)
    state = at_step(0, of, started_at=NOW)

    def found(cost: int, unknown: int):
        those = [(cost, 1.0)] * (20 - unknown) + [(None, 1.0)] * unknown
        rows = [answered(START + i, *those) for i in range(60)]
        return read(view(rows, minutes=59, of=of, state=state), PROVEN, None)

    cheap, dear = LIMIT // 4, 2 * LIMIT
    assert judge(PROVEN, found(cheap, 0)).outcome is Outcome.PASS
    assert judge(PROVEN, found(cheap, 1)).outcome is Outcome.INSUFFICIENT
    assert judge(PROVEN, found(dear, 0)).outcome is Outcome.FAIL
    failing = [found(dear, unknown).failing for unknown in (0, 5, 15)]
    evidence = [one.log_e for one in failing if one is not None]
    assert evidence == sorted(evidence, reverse=True)
    # Nineteen of twenty are not known, and one alone cost twice the limit: that is a tenth of it for each.
    assert judge(PROVEN, found(dear, 19)).outcome is not Outcome.FAIL


@pytest.mark.parametrize(
    ("arm", "most"),
    [(Arm.CANDIDATE, MOST), (Arm.BASELINE, MOST // 2)],
    ids=["candidate", "baseline"],
)
def test_a_request_can_cost_a_full_context_and_answer_of_each_model_that_it_may_call(arm, most):
    assert most_nusd(plan(), arm) == most
    for one in (GPT_41, replace(SMALL, context_window=None), replace(SMALL, output_limit=None)):
        assert most_nusd(plan(baseline=one), arm) is None
    assert most_nusd(plan(baseline=replace(SMALL, price=None)), arm) is None


def test_a_minute_in_which_the_cap_was_not_counted_says_nothing_against_the_rule():
    of = plan(PROVEN)
    dear = [(2 * LIMIT, 1.0)] * 20
    before = [answered(START + i, *dear, caps=()) for i in range(30)]
    after = [answered(START + i, *dear) for i in range(30, 60)]

    def proof(rows):
        return read(
            view(rows, minutes=59, of=of, state=at_step(0, of, started_at=NOW)), PROVEN, None
        ).failing

    found, alone = proof(before + after), proof(after)
    assert found is not None
    assert found.tally["requests"] == 600
    assert (found.log_e, found.tally) == (alone.log_e, alone.tally)
    # Nothing was spent, or next to nothing, and that was counted.
    for cost in (0, 1):
        free = [answered(START + i, (cost, 1.0)) for i in range(60)]
        assert proof(free).tally["requests"] == 60
    # Another limit's sum is none of this one's.
    other = [answered(START + i, *dear, caps=(7,)) for i in range(60)]
    assert dict(proof(other).tally) == {}


@brief
@given(st.lists(st.dictionaries(st.integers(0, 150), minute, max_size=5), max_size=6))
def test_what_is_remembered_between_ticks_follows_every_late_change(fed):
    of = plan()
    kept = tallies_of(of)
    known: dict[int, list] = {}
    for number, change in enumerate(fed):
        known |= change
        kept.feed([answered(START + at, *those) for at, those in change.items()], number)
        state = at_step(0, of, started_at=NOW)
        found = read(replace(view([], minutes=150, of=of, state=state), tallies=kept), COSTS, None)

        fresh = [answered(START + at, *those) for at, those in known.items()]
        again = read(view(fresh, minutes=150, of=of, state=state), COSTS, None)
        assert (found.failing, found.passing) == (again.failing, again.passing)


@pytest.mark.parametrize("last", [59, 100, 150, 179])
def test_after_downtime_a_pass_is_that_of_a_tick_that_missed_nothing(last):
    """A catch-up sums its minutes for every end at once, and takes the last hour's from there."""
    of = plan()
    rows = [
        answered(START + i, (LIMIT * (i % 3), float(i % 2)), (LIMIT, 1.0)) for i in range(last + 1)
    ]
    state = at_step(0, of, started_at=NOW)

    after, beside = (
        read(view(rows, minutes=last, of=of, state=state, judged=judged), COSTS, None)
        for judged in (START - 1, START + last - 1)
    )

    assert after.passing is not None
    assert after.passing.log_e != 0
    assert after.passing == beside.passing


def test_what_is_remembered_of_one_epoch_or_plan_is_not_taken_for_another():
    """Two plans may judge the same counts, as `replay --plan` has them do."""
    of = plan()
    first = at_step(0, of, started_at=NOW)
    later = replace(first, epochs={COSTS.name: Epoch(number=1, start=NOW + timedelta(minutes=40))})
    rows = [answered(START + i, *[(2 * LIMIT, 1.0)] * (5 if i < 40 else 1)) for i in range(150)]
    tallies = view(rows, minutes=149, of=of).tallies
    found = []

    for other, state in ((of, first), (of, later), (plan(priors=Priors(accuracy=0.6)), first)):
        usual = view(rows, minutes=149, of=other, state=state)
        kept = read(replace(usual, tallies=tallies), COSTS, None)
        alone = read(usual, COSTS, None)
        assert (kept.failing, kept.passing) == (alone.failing, alone.passing)
        assert kept.passing is not None
        found.append(kept.passing)

    assert found[0].tally["requests"] - found[1].tally["requests"] == 40 * 5
    assert found[0].tally == found[2].tally
    assert found[0].log_e != found[2].log_e


def test_a_judge_that_errs_is_allowed_for():
    # Every answer is right; of a judge of sensitivity 0.8 and specificity 0.9 four in five look so. At 1.1 limits each
    # that is 1.375 limits for what looks right, and 1.1 for what is.
    errs = Labels(judge=Judge(sensitivity=0.8, specificity=0.9))

    naive, allowed = judged(PROVEN, 1.1, 0.8), judged(PROVEN, 1.1, 0.8, labels=errs)

    assert naive.reading.failing.look.value == pytest.approx(1.1 / 0.8 * LIMIT_USD)
    # (0.8 − 0.1) / 0.7 = 1: all are right.
    assert allowed.reading.failing.look.value == pytest.approx(1.1 * LIMIT_USD)
    assert allowed.reading.failing.log_e < naive.reading.failing.log_e


# The plan


def test_an_effect_worth_finding_is_half_as_much_again_or_a_third_less():
    of = plan(priors=Priors(accuracy=0.8))

    bets = policy_of(of, COSTS)

    assert bets.failing.reference == 0.8
    assert bets.failing.effect == pytest.approx(0.8 / 2)
    assert bets.passing is not None
    assert bets.passing.effect == pytest.approx(0.8 / 3)


@pytest.mark.parametrize(("assumed", "reference"), [(0.0, 0.01), (1.0, 0.99)])
def test_where_all_or_none_are_assumed_right_there_is_still_something_to_bet_around(
    assumed, reference
):
    of = plan(priors=Priors(accuracy=assumed))

    assert policy_of(of, COSTS).failing.reference == reference


def test_what_a_request_can_cost_is_that_of_the_arm_and_twice_the_limit_at_least():
    def most(rule: Rule) -> int | None:
        return policy_of(plan(rule), rule).most_nusd

    assert most(COSTS) == most(replace(COSTS, arm=Arm.CANDIDATE)) == MOST
    assert most(replace(COSTS, arm=Arm.BASELINE)) == MOST // 2
    assert most(replace(COSTS, limit=50.0)) == 100 * NUSD


def test_only_a_limit_above_nothing_that_is_not_turned_around_can_be_proven():
    assert is_provable(COSTS)
    assert is_provable(replace(COSTS, limit=50.0))
    assert not is_provable(replace(COSTS, below=True))
    assert not is_provable(replace(COSTS, limit=0.0))
    assert not is_provable(replace(COSTS, limit=1e-10))
    assert is_provable(replace(COSTS, limit=10_000.0))
    assert not is_provable(replace(COSTS, limit=10_001.0))
    assert not is_provable(replace(COSTS, usual=timedelta(days=7)))
    for other in ("cost_per_hour", "cost_per_1k", "cost_ratio", "token_burn_rate"):
        assert not is_provable(replace(COSTS, metric=CATALOGUE[other]))


@pytest.mark.parametrize("limit", [1e-10, 1e-9, 10_000.0, 1e12])
def test_however_far_off_a_limit_is_the_rule_is_judged(limit):
    """What a request is bounded by follows the limit, and its sums have to fit."""
    found = judged(replace(COSTS, limit=limit), 1.8, 0.95)

    assert found.outcome in (Outcome.FAIL, Outcome.INSUFFICIENT)
    assert (found.reading.passing is None) == (limit in (1e-10, 1e12))


def test_the_caps_of_a_plan_are_ten_times_its_limits_each_once():
    rules = (
        COSTS,
        replace(COSTS, name="again", scope=Scope.EACH),
        replace(COSTS, name="dearer", limit=0.5),
        replace(COSTS, name="turned", limit=0.7, below=True),
        ESCALATION,
        ACCURACY,
    )

    assert cost_caps(usual_plan(rules=rules)) == (20_000_000, 5_000_000_000)
    assert cost_caps(usual_plan()) == ()
    assert needed(plan())("k.cost.20000000")
    assert not needed(plan())("k.cost.5000000000")


def test_nothing_is_said_of_how_many_more_are_needed():
    of = plan(PROVEN)
    found = judged(PROVEN, 0.95, 0.95)

    assert needs(of, at_step(0, of, started_at=NOW), found) is None


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"rules": (replace(COSTS, limit=0.003),)}, True),
        ({"priors": Priors(accuracy=0.8)}, True),
        ({"labels": Labels(judge=Judge(sensitivity=0.9, specificity=0.9))}, True),
        ({"candidate": ModelRef(model="gpt-4.1-mini", price=CHEAP)}, True),
        ({"max_blind": timedelta(hours=1)}, False),
    ],
    ids=["limit", "priors", "judge", "most that a call costs", "something else"],
)
def test_a_revision_that_changes_what_is_bet_on_starts_a_new_epoch(changes, anew):
    of = plan()
    state = at_step(0, of, started_at=NOW)

    amended = on(state, Apply(plan=replace(of, **changes), **ANN), of=of).state

    assert (amended.epoch("right").start == LATER) is anew
