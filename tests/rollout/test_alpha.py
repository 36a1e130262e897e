"""How a plan's alpha is spent over its rules and intents."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.counting.tallies import Tallies
from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.rules import alpha_of, is_provable
from controller.rollout.evidence.view import View
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Plan, Rule, Scope
from controller.rollout.state import Epoch
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan

FIRST = Epoch(number=0, start=NOW)
METRICS = (
    "accuracy",
    "accuracy_delta",
    "escalation_rate",
    "error_rate",
    "latency_p95",
    "latency_p95_ratio",
)


def spent(of: Plan, epoch: Epoch = FIRST) -> float:
    """The chance of any false stop by proof, over every rule and intent."""
    return sum(
        alpha_of(of, rule, epoch) * len(of.judged_intents(rule))
        for rule in of.rules
        if is_provable(rule)
    )


@st.composite
def plans_with_parts(draw: st.DrawFn) -> Plan:
    """Plans as `load` accepts them: parts of alpha leave something, or nobody needs it."""
    rules: list[Rule] = []
    for number in range(draw(st.integers(1, 6))):
        metric = CATALOGUE[draw(st.sampled_from(METRICS))]
        below = metric.name in ("error_rate", "accuracy") and draw(st.booleans())
        scope = draw(st.sampled_from([Scope.ALL, Scope.CRITICAL, Scope.EACH]))
        rule = replace(ESCALATION, name=f"r{number}", metric=metric, below=below, scope=scope)
        rules.append(rule)
    alpha = draw(st.floats(0.001, 0.49))
    own = [i for i, rule in enumerate(rules) if is_provable(rule) and draw(st.booleans())]
    weights = [draw(st.integers(1, 100)) for _ in own]
    for i, weight in zip(own, weights, strict=True):
        # One weight more than there are parts: something is left.
        rules[i] = replace(rules[i], alpha=alpha * weight / (sum(weights) + 1))
    return plan(rules=tuple(rules), alpha=alpha)


@given(plans_with_parts())
def test_all_that_is_spent_in_the_first_epoch_is_at_most_the_plans_alpha(of):
    assert spent(of) <= of.alpha * (1 + 1e-12)
    assert all(alpha_of(of, rule, FIRST) > 0 for rule in of.rules if is_provable(rule))


@given(plans_with_parts(), st.integers(1, 30))
def test_every_epoch_has_half_of_the_one_before(of, number):
    before, after = (Epoch(number=one, start=NOW) for one in (number - 1, number))

    assert spent(of, after) == pytest.approx(spent(of, before) / 2, rel=1e-12)


def test_a_rule_takes_its_part_over_its_intents_and_the_others_share_what_is_left():
    each = replace(ACCURACY, scope=Scope.EACH, alpha=0.03)
    errors = replace(ESCALATION, name="errors", metric=CATALOGUE["error_rate"])
    of = plan(rules=(each, ESCALATION, errors))

    # 3% over refund and order-status (legal is pinned); 2% over escalation and errors, each on all traffic
    assert alpha_of(of, each, FIRST) == pytest.approx(0.015)
    assert alpha_of(of, ESCALATION, FIRST) == pytest.approx(0.01)
    assert alpha_of(of, errors, FIRST) == pytest.approx(0.01)
    assert spent(of) == pytest.approx(0.05)


def test_a_tick_gives_each_rule_its_own_part_in_the_same_epoch():
    own = replace(ACCURACY, alpha=0.04)
    errors = replace(ESCALATION, name="errors", metric=CATALOGUE["error_rate"], alpha=0.005)
    of = plan(rules=(own, ESCALATION, errors))
    seen = View(
        plan=of,
        state=at_step(0, of),
        tallies=Tallies(),
        in_force=InForceTime([(NOW, NOW + timedelta(minutes=1))]),
        now=NOW,
        judged=None,
        touched=(),
        moved=(),
    )

    for _ in range(2):  # the second time as remembered
        assert [seen.alpha(rule, FIRST) for rule in of.rules] == [
            alpha_of(of, rule, FIRST) for rule in of.rules
        ]
    assert seen.alpha(own, FIRST) == pytest.approx(0.04)
    assert seen.alpha(ESCALATION, FIRST) == pytest.approx(0.005)


def test_a_rule_that_cannot_be_proven_takes_no_alpha_from_those_that_can():
    graded = replace(ESCALATION, name="graded", metric=CATALOGUE["coverage"], limit=0.9, below=True)
    served = replace(ESCALATION, name="served", metric=CATALOGUE["served_accuracy"], below=True)
    dear = replace(ESCALATION, name="dear", metric=CATALOGUE["cost_ratio"], limit=2.0)
    of = plan(rules=(ACCURACY, ESCALATION, graded, served, dear))

    # accuracy on refund, and escalation on all traffic: two tests share 5%
    assert alpha_of(of, ESCALATION, FIRST) == 0.025
    for unprovable in (graded, served, dear):
        with pytest.raises(LookupError, match="no confident form"):
            alpha_of(of, unprovable, FIRST)


def test_percentiles_and_shares_with_a_lower_limit_take_their_parts_like_a_rate():
    slow = replace(ESCALATION, name="slow", metric=CATALOGUE["latency_p95"], limit=2.0)
    right = replace(ESCALATION, name="right", metric=CATALOGUE["accuracy"], limit=0.9, below=True)
    cached = replace(ESCALATION, name="cached", metric=CATALOGUE["cache_hit_rate"], below=True)
    slower = replace(ESCALATION, name="slower", metric=CATALOGUE["latency_p95_ratio"], limit=1.25)
    of = plan(rules=(ACCURACY, ESCALATION, slow, right, cached, slower))

    # accuracy on refund, the others on all traffic: six tests share 5%
    for rule in of.rules:
        assert alpha_of(of, rule, FIRST) == pytest.approx(0.05 / 6)
