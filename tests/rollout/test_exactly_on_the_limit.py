"""A figure that is exactly its limit has not passed it, whatever its sums and quotients are rounded by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import BOTH_ARMS, RollupRow
from controller.rollout.plan import Evidence, Plan, Rule, Scope, Then
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Outcome
from tests.rollout.factories import ESCALATION, NOW, at_step, plan
from tests.rollout.test_readings import LOSS, PROMPT, START, labels, row, view

HOURS = 2
MINUTES = 60 * HOURS
HERE = START + MINUTES - 1


def verdict(rule: Rule, rows: Sequence[RollupRow], *, judged: int | None = None, of: Plan = PROMPT):
    """As written, two hours after the step began; `judged` so many minutes ago: several windows are looked at."""
    of = replace(of, rules=(rule,))
    since = None if judged is None else START + MINUTES - 1 - judged
    found = read(view(rows, minutes=MINUTES - 1, of=of, judged=since), rule, None)
    return judge(rule, found)


def both(baseline: tuple[int, int], candidate: tuple[int, int], **key) -> list[RollupRow]:
    """Right answers of so many, by arm."""
    arms = {"baseline": baseline, "candidate": candidate}
    return [labels(HERE, n, right, arm=arm, **key) for arm, (right, n) in arms.items()]


def lost(limit: Fraction) -> Rule:
    return replace(LOSS, scope=Scope.ALL, limit=float(limit))


@pytest.mark.parametrize("judged", [None, 3], ids=["one window", "several"])
@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [((90, 100), (86, 100)), ((950, 1_000), (935, 1_000)), ((19, 20), (187, 200))],
)
def test_a_loss(baseline, candidate, judged):
    limit = Fraction(*baseline) - Fraction(*candidate)
    rows = both(baseline, candidate)

    assert verdict(lost(limit), rows, judged=judged).observed is Outcome.PASS
    assert verdict(lost(limit - Fraction(1, 10**6)), rows, judged=judged).observed is Outcome.FAIL


right = st.integers(0, 500)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 5]).flatmap(
        lambda n: st.lists(st.tuples(right, right), min_size=n, max_size=n)
    )
)
def test_a_loss_over_several_strata(answers):
    """Of numbers that make the loss one that a plan can write."""
    strata = [((theirs, 500), (ours, 500)) for theirs, ours in answers]
    rows = [one for version, of in enumerate(strata, start=2) for one in both(*of, version=version)]
    sizes = [baseline[1] + candidate[1] for baseline, candidate in strata]
    each = [Fraction(*baseline) - Fraction(*candidate) for baseline, candidate in strata]
    weighed = [size * loss for size, loss in zip(sizes, each, strict=True)]
    limit = sum(weighed, start=Fraction(0)) / sum(sizes)

    assert verdict(lost(limit), rows).observed is Outcome.PASS


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3_000), st.fractions(0, 1, max_denominator=1_000))
def test_an_accuracy(n, share):
    """`share` of so many thousands, as a sum of grades in millionths."""
    rule = replace(
        LOSS, metric=CATALOGUE["accuracy"], below=True, scope=Scope.ALL, limit=float(share)
    )
    stats = {"n": n, "graded": n, "e": n, "e.graded": n, "e.correct_u": round(share * n * 10**6)}
    exact = Fraction(stats["e.correct_u"], n * 10**6)

    found = verdict(replace(rule, limit=float(exact)), [row(HERE, stats)])

    assert found.observed is Outcome.PASS


@pytest.mark.parametrize("judged", [None, 3], ids=["one window", "several"])
@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("tenths", [1, 2, 3, 6, 7, 9])
def test_what_a_request_costs_beside_the_baseline(tenths, below, judged):
    """As prices have it, where all requests are of one size."""
    rule = replace(
        LOSS, metric=CATALOGUE["cost_ratio"], scope=Scope.ALL, limit=tenths / 10, below=below
    )
    rows = [
        row(HERE, {"n": 70, "c.cost_nusd": 70, "s.cost_nusd": 70 * each}, arm=arm)
        for arm, each in (("baseline", 3_000_000), ("candidate", 300_000 * tenths))
    ]

    assert verdict(rule, rows, judged=judged).observed is Outcome.PASS


def test_a_spike():
    """Three times 38 of 119 is 114 of 119."""
    rule = replace(
        ESCALATION, limit=3.0, usual=timedelta(hours=1), window=timedelta(hours=1), min_samples=1
    )
    keys = ("n", "e", "d.escalated", "ed.escalated")
    of = plan(rules=(rule,))
    state = at_step(0, of, started_at=NOW)

    for more, outcome in ((0, Outcome.PASS), (1, Outcome.FAIL)):
        rows = [
            row(minute, dict.fromkeys(keys, 119) | {"f.escalated": bad, "ef.escalated": bad})
            for minute, bad in ((START + 1, 38), (HERE, 114 + more))
        ]
        world = view(rows, minutes=MINUTES - 1, of=of, state=state)
        found = judge(rule, read(world, rule, None))
        assert found.reading.latest is not None
        assert found.reading.latest.usual == pytest.approx(38 / 119)
        assert found.observed is outcome


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(1, 10_000))
def test_a_mean_latency(n, each_ms):
    rule = replace(
        ESCALATION,
        metric=CATALOGUE["latency_mean"],
        limit=each_ms / 1_000,
        below=True,
        min_samples=1,
    )
    told = {"n": n, "c.latency_us": n, "s.latency_us": n * each_ms * 1_000}

    assert (
        verdict(replace(rule, window=timedelta(hours=1)), [row(HERE, told)]).observed
        is Outcome.PASS
    )


def test_a_loss_that_is_proven_pauses_only_above_the_limit():
    guarded = replace(LOSS, then=Then.PAUSE, evidence=Evidence.CONFIDENT, limit=0.04)
    blocks = row(HERE, {"b.0": 2_000, "b.1000000": 400}, arm=BOTH_ARMS)
    of = replace(PROMPT, rules=(guarded,))

    for (baseline, candidate), outcome in (
        (((90, 100), (86, 100)), Outcome.INSUFFICIENT),
        (((901, 1_000), (860, 1_000)), Outcome.FAIL),
    ):
        for judged in (None, START + MINUTES - 4):
            rows = [blocks, *both(baseline, candidate)]
            seen = read(view(rows, minutes=MINUTES - 1, of=of, judged=judged), guarded, "refund")
            assert seen.failing is not None
            assert seen.failing.reached
            assert seen.failing.window.end <= start_of(START + MINUTES)
            assert judge(guarded, seen).confident is outcome
