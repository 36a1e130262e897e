"""How soon it is proven what a right answer costs: the closed form against drawn requests, by the live proof."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest

from controller.reconcile.observe import bounds
from controller.rollout.counting.tallies import Tallies
from controller.rollout.evidence.caps import cap_nusd
from controller.rollout.evidence.proofs import pass_threshold
from controller.rollout.evidence.reader import Reader
from controller.rollout.evidence.rules import alpha_of
from controller.rollout.evidence.spending import Spending
from controller.rollout.metrics import MICRO, capped
from controller.rollout.plan import (
    Arm,
    Evidence,
    Intent,
    Judge,
    Labels,
    ModelRef,
    Plan,
    Price,
    Step,
)
from controller.rollout.state import Epoch
from controller.rollout.timeline import minute_of, minutes, start_of
from controller.simulate.feasibility import dearness
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.scenarios import Traffic
from controller.simulate.usual import Usual
from controller.stats.passage import Growth
from tests.rollout.test_readings import row
from tests.simulate.factories import plan, rule

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NUSD = 1_000_000_000
CHEAP = Price(input=Fraction(400), cached_input=Fraction(100), output=Fraction(1_600))
SMALL = ModelRef(model="", price=CHEAP, context_window=100_000, output_limit=1_000)
DEAR = rule("cost_per_correct", limit=0.002, window=24 * HOUR, evidence=Evidence.CONFIDENT)
EACH = 0.0015  # US dollars
BASELINE_USD = 0.006
USUAL = Usual(request_usd={Arm.BASELINE: BASELINE_USD, Arm.CANDIDATE: EACH})
START = minute_of(start_of(30_000_000))
ROUGH = Judge(model="gpt-5", sensitivity=0.9, specificity=0.8)
RUNS = 150


def planned(**changes) -> Plan:
    usual = {
        "baseline": replace(SMALL, model="old"),
        "candidate": replace(SMALL, model="new"),
        "intents": (Intent(name="refund"),),
        "steps": (Step(share_bp=5_000, hold=72 * HOUR), Step(share_bp=10_000)),
        "holdback_bp": 100,
        "labels": Labels(),
    }
    return plan(DEAR, **{**usual, **changes})


def outlook(of: Plan, usual: Usual = USUAL, **traffic) -> Outlook:
    known = {"units_per_minute": 4.0, "mix": {"refund": 1.0}, **traffic}
    return Outlook(plan=of, traffic=Traffic(**known), usual=usual)


def growth(of: Outlook, size: float) -> Growth:
    """What one graded request adds to the proof of a right answer that costs so much."""
    found = dearness.growth(of, DEAR, None, 0, size=size, failing=True)
    assert found is not None
    return found


def spending(of: Plan, served) -> Spending:
    """The live proof on the candidate's requests of one rollout, by minute."""
    tallies = Tallies(bounds=bounds(of))
    tallies.feed([row(START + i, stats, version=1) for i, stats in served], 1)
    epoch = Epoch(number=0, start=start_of(START))
    return Spending.of(of, DEAR, None, Reader(tallies), epoch)


def answered(
    of: Outlook, random: np.random.Generator, length: int, times: float, spread: float = 1.0
):
    """Unit by unit: escalated or not, right or not; and request by request: graded or not, and what it costs."""
    traffic = of.traffic
    cap = cap_nusd(DEAR)
    plain = EACH * times - traffic.escalation * BASELINE_USD
    sigma = math.sqrt(math.log1p(spread**2))
    for minute in range(length):
        count = random.poisson(of.units(Arm.CANDIDATE, None, 0))
        each = random.geometric(1 / traffic.requests_per_unit, count)
        escalated = random.random(count) < traffic.escalation
        likely = (1 - traffic.accuracy - traffic.escalation) / (1 - traffic.escalation)
        wrong = escalated | (random.random(count) < likely)
        n = int(each.sum())
        if not n:
            continue
        graded = random.random(n) < traffic.label_rate
        mean = np.repeat(np.where(escalated, plain + BASELINE_USD, plain), each)
        costs = NUSD * mean * np.exp(sigma * random.standard_normal(n) - sigma**2 / 2)
        nusd = np.rint(costs).astype(np.int64)
        judge, of_right = of.plan.labels.judge, ~wrong
        if judge is not None:
            at = np.where(wrong, 1 - judge.specificity, judge.sensitivity)
            of_right = ~escalated & (random.random(count) < at)
        stats = {
            "n": n,
            "e": count,
            "c.cost_nusd": n,
            "s.cost_nusd": int(nusd.sum()),
            capped(cap): int(np.minimum(nusd, cap).sum()),
            "graded": int(graded.sum()),
            "correct_u": MICRO * int(np.repeat(of_right, each)[graded].sum()),
        }
        yield minute, {key: value for key, value in stats.items() if value}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "traffic", "size"),
    [
        ({}, {}, 0.003),
        ({}, {"requests_per_unit": 4.0}, 0.003),
        ({}, {"units_per_minute": 0.5, "requests_per_unit": 4.0}, 0.004),
        # What is escalated is dear, and wrong; three in ten are graded, of those as of others.
        (
            {"labels": Labels(sampled_u=300_000)},
            {"label_rate": 0.3, "escalation": 0.04, "units_per_minute": 20.0},
            0.003,
        ),
        # In conversations answer by answer, so that half of these have a grade.
        (
            {"labels": Labels(sampled_u=200_000)},
            {"label_rate": 0.2, "requests_per_unit": 4.0, "escalation": 0.04},
            0.003,
        ),
        ({}, {"units_per_minute": 200.0}, 0.0026),
        # A judge that errs, whose errors the proof takes out.
        ({"labels": Labels(judge=ROUGH)}, {"accuracy": 0.8}, 0.003),
    ],
)
def test_what_costs_too_much_is_proven_when_the_live_proof_says(changes, traffic, size: float):
    of = outlook(planned(**changes), **traffic)
    if of.traffic.label_rate < 1:
        # Escalated ones are drawn for grading as others are.
        assert of.apparent_loss == pytest.approx(0, abs=1e-9)
    found = of.catch(DEAR, None, 0, size)
    assert found.after[1] is not None
    times = size * (1 - of.wrong_if_graded(Arm.CANDIDATE)) / EACH
    length = 2 * (found.after[1] // MINUTE) + 10
    random = np.random.default_rng(11)
    alpha, horizon = (
        alpha_of(of.plan, DEAR, Epoch(number=0, start=start_of(START))),
        of.plan.horizon,
    )
    at = []
    for _ in range(RUNS):
        of_run = spending(of.plan, answered(of, random, length, times))
        strongest = of_run.failing(
            Epoch(number=0, start=start_of(START)),
            np.arange(START + 1, START + length + 1),
            alpha=alpha,
            horizon_min=minutes(horizon),
        )
        over = strongest.margin >= 0
        assert over.any()
        at.append(float(over.argmax() + 1))

    for part, told in zip((0.5, 0.9), found.after, strict=True):
        assert told is not None
        # 150 runs know a quantile to some 8%; later starts may be sooner than the first: ADR 015.
        assert told / MINUTE == pytest.approx(np.quantile(at, part), rel=0.15, abs=2)


def test_more_scatter_takes_as_long_on_average_and_is_less_sure():
    """Hardly anything is dearer than ten limits, so only the variance differs."""
    certain, scattered = (
        growth(
            outlook(
                planned(), replace(USUAL, request_spread={Arm.CANDIDATE: spread}), escalation=0.0
            ),
            0.003,
        )
        for spread in (0.0, 0.6)
    )

    assert scattered.mean == pytest.approx(certain.mean, rel=0.01)
    both = zip(scattered.variance, certain.variance, strict=True)
    assert all(more > 1.2 * less for more, less in both)


def test_what_one_graded_request_adds_is_the_same_at_any_load():
    """Of single requests without escalations, all graded: their number in a minute has nothing to say."""
    few, many = (
        growth(outlook(planned(), units_per_minute=n, escalation=0.0), 0.003) for n in (0.02, 2.0)
    )

    assert few.mean == pytest.approx(many.mean, rel=0.01)
    assert few.variance == pytest.approx(many.variance, rel=0.05)


def test_a_dearer_answer_is_proven_sooner_and_one_within_the_limit_never():
    of = outlook(planned())
    found = [of.catch(DEAR, None, 0, size).after[0] for size in (0.0026, 0.003, 0.004, 0.008)]

    times = [one for one in found if one is not None]
    assert len(times) == len(found)
    assert times == sorted(times, reverse=True)
    within = of.catch(DEAR, None, 0, 0.0019)
    assert within.after == (None, None)
    assert (within.probability or 0) < 0.01


def test_a_candidate_is_dear_by_its_own_calls():
    """However cheap it is usually: what it escalates costs the baseline's call, and no more of those."""
    cheap = replace(USUAL, request_usd={Arm.BASELINE: BASELINE_USD, Arm.CANDIDATE: 0.0002})

    usual, much_dearer = (growth(outlook(planned(), one), 0.003) for one in (USUAL, cheap))

    assert much_dearer.mean == pytest.approx(usual.mean, rel=0.01)
    assert much_dearer.variance == pytest.approx(usual.variance, rel=0.05)


def test_nothing_is_proven_of_what_nobody_grades_or_has_a_price_of():
    of = outlook(planned(), label_rate=0.0, escalation=0.0)
    assert of.row(DEAR, None, 0).catches[0].probability is None
    assert list(of.provings()) == []
    unknown = outlook(planned(), usual=Usual())
    assert unknown.row(DEAR, None, 0).lacking == "no price known: say it in the plan"
    assert list(unknown.provings()) == []


def test_without_limits_of_the_models_it_is_never_proven_to_be_kept():
    of = outlook(planned(candidate=replace(SMALL, model="new", context_window=None)))

    assert list(of.provings()) == []
    assert of.row(DEAR, None, 0).catches[0].after[1] is not None


@pytest.mark.slow
@pytest.mark.parametrize("each", [1.0, 4.0])
def test_a_cost_within_its_limit_is_proven_when_the_live_proof_says(each: float):
    of = outlook(planned(), units_per_minute=40.0, requests_per_unit=each)
    (told,) = of.provings()
    assert (told.intent, told.asked, told.pairs) == (None, False, None)
    assert told.after[1] is not None
    length = 2 * (told.after[1] // MINUTE)
    random = np.random.default_rng(12)
    at = []
    for _ in range(40):
        of_run = spending(of.plan, answered(of, random, length, 1.0))
        needed = pass_threshold(of.plan, 1)
        low, high = 0, length
        while high - low > 1:  # passes stay there, but for luck
            middle = (low + high) // 2
            there = of_run.passing(START + middle)[0] >= needed
            low, high = (low, middle) if there else (middle, high)
        at.append(high)

    for part, after in zip((0.5, 0.9), told.after, strict=True):
        assert after is not None
        assert after / MINUTE == pytest.approx(np.quantile(at, part), rel=0.15, abs=2)
