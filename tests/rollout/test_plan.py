"""What a plan says of itself: prices, shares, intents, channels."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rollout.plan import Intent, Price, Scope, Severity, Slack, Step
from tests.rollout.factories import ACCURACY, ESCALATION, plan

PRICE = Price(input=Fraction(2_000), cached_input=Fraction(500), output=Fraction(8_000))


def test_cached_tokens_are_a_part_of_input_tokens_at_a_price_of_their_own():
    cost = PRICE.cost_nusd(input_tokens=100, cached_tokens=40, output_tokens=20)

    assert cost == 60 * 2_000 + 40 * 500 + 20 * 8_000


@pytest.mark.parametrize(
    ("tokens", "nusd"),
    [(1, 0), (3, 2), (5, 2), (2, 1), (7, 4)],
    ids=["0.5 to 0", "1.5 to 2", "2.5 to 2", "1 exactly", "3.5 to 4"],
)
def test_half_a_nano_dollar_is_rounded_to_even(tokens: int, nusd: int):
    half = Price(input=Fraction(1, 2), cached_input=Fraction(0), output=Fraction(0))

    assert half.cost_nusd(input_tokens=tokens, cached_tokens=0, output_tokens=0) == nusd


prices = st.fractions(min_value=0, max_value=100, max_denominator=12)


@given(prices, prices, prices, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_a_cost_is_the_sum_of_its_parts_rounded_once(full, cached, output, fresh, kept, out):
    of = Price(input=full, cached_input=cached, output=output)

    found = of.cost_nusd(input_tokens=fresh + kept, cached_tokens=kept, output_tokens=out)

    assert found == round(fresh * full + kept * cached + out * output)


def test_a_cost_is_exact_however_large():
    of = Price(input=Fraction(10**12 + 1, 3), cached_input=Fraction(0), output=Fraction(0))

    found = of.cost_nusd(input_tokens=3 * 10**6, cached_tokens=0, output_tokens=0)

    assert repr(found) == "1000000000001000000"  # a whole number, and more than 2^53


@pytest.mark.parametrize(("input_", "cached", "output"), [(1, 2, 0), (1, -1, 0), (1, 1, -1)])
def test_tokens_that_cannot_be_have_no_cost(input_, cached, output):
    with pytest.raises(ValueError, match="tokens must satisfy"):
        PRICE.cost_nusd(input_tokens=input_, cached_tokens=cached, output_tokens=output)
    assert PRICE.cost_nusd(input_tokens=1, cached_tokens=1, output_tokens=0) == 500
    assert PRICE.cost_nusd(input_tokens=0, cached_tokens=0, output_tokens=0) == 0


def test_the_holdback_stays_with_the_baseline_and_before_the_first_step_there_is_no_share():
    of = plan(steps=(Step(share_bp=1_000), Step(share_bp=9_950), Step(share_bp=10_000)))

    assert [of.share_at(step) for step in (-2, -1, 0, 1, 2)] == [0, 0, 1_000, 9_900, 9_900]


def test_rules_and_intents_are_found_by_name():
    of = plan()

    assert of.intent("legal") == Intent(name="legal", pinned=True)
    assert of.intent("Legal") is None
    assert of.rule("escalation") == ESCALATION
    assert of.rule("cost") is None


@pytest.mark.parametrize(
    ("scope", "judged"),
    [
        (Scope.ALL, (None,)),
        (Scope.CRITICAL, ("refund",)),
        (Scope.EACH, ("refund", "order-status")),
        (Scope.NAMED, ("order-status",)),
    ],
)
def test_a_rule_is_judged_on_the_intents_of_its_scope_that_are_not_pinned(scope, judged):
    of = plan()

    assert of.judged_intents(replace(ACCURACY, scope=scope, intents=("legal", "order-status"))) == (
        judged
    )


def test_a_severity_reaches_itself_and_what_is_less():
    reached = [
        [one.reaches(least) for least in (Severity.INFO, Severity.WARNING, Severity.CRITICAL)]
        for one in (Severity.INFO, Severity.WARNING, Severity.CRITICAL)
    ]

    assert reached == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_severity_without_a_channel_of_its_own_goes_to_the_one_for_everything():
    one = Slack(channel="#all")
    own = Slack(channel="#all", info="#quiet", warning="#warn", critical="#oncall")

    assert [one.channel_for(severity) for severity in Severity] == ["#all"] * 3
    assert [own.channel_for(severity) for severity in Severity] == ["#quiet", "#warn", "#oncall"]
