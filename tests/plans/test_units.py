from __future__ import annotations

import contextlib
import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plans.units import (
    UnitError,
    parse_count,
    parse_duration,
    parse_limit,
    parse_money,
    parse_points,
    parse_rate,
    parse_ratio,
    parse_share,
)
from controller.rollout.metrics import CATALOGUE
from controller.rollout.units import (
    counted,
    format_duration,
    format_limit,
    format_number,
    format_percent,
    format_points,
    format_seconds,
    format_share,
    format_usd,
    format_value,
    places_of,
    rounded_up,
)


@pytest.mark.parametrize(
    ("text", "bp"),
    [("10%", 1000), ("0.1%", 10), ("50bp", 50), ("100%", 10_000), ("0%", 0), ("2.5 %", 250)],
)
def test_a_share_is_whole_basis_points(text: str, bp: int):
    assert parse_share(text) == bp


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("72h", timedelta(days=3)),
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("1d12h", timedelta(hours=36)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_a_span(text: str, span: timedelta):
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("800ms", timedelta(milliseconds=800)),
        ("1.5s", timedelta(seconds=1.5)),
        ("2m", timedelta(minutes=2)),
    ],
)
def test_a_latency_may_be_finer_than_a_second(text: str, span: timedelta):
    assert parse_duration(text, sub_second=True) == span


def test_points_rates_money_ratios_and_counts_are_exact():
    assert (
        parse_points("1.5pp") == parse_points("1.5%") == parse_points("150bp") == Fraction(3, 200)
    )
    assert parse_points("-2pp") == Fraction(-1, 50)
    assert parse_rate("0.1%") == Fraction(1, 1000)
    assert parse_money("0.40 USD") == Fraction(2, 5)
    assert parse_ratio("1.25") == Fraction(5, 4)
    assert parse_count("500") == 500


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_share, "10", "could mean 10% or 10 basis points"),
        (parse_share, "0.5", "could mean 0.5% or 50%"),
        (parse_share, "0", "write `0%`"),
        (parse_share, "0.001%", "not a whole number of basis points"),
        (parse_share, "101%", "more than 100%"),
        (parse_share, "1.5pp", "a share is written `1.5%`"),
        (parse_share, "1,5%", "with a point"),
        (parse_share, "1_0%", "without `_`"),
        (parse_share, "010%", "starts with a zero"),
        (parse_share, "ten percent", "expected a share such as"),
        (parse_share, "\N{ARABIC-INDIC DIGIT ONE}0%", "is not understood"),
        (parse_duration, "5", "could mean seconds, minutes or hours"),
        (parse_duration, "1:30", "could mean 1 h 30 min or 1 min 30 s"),
        (parse_duration, "1.5h", "not a whole number of its unit"),
        (parse_duration, "30m1h", "largest first"),
        (parse_duration, "2 weeks", "the longest unit is `d`"),
        (parse_duration, "5M", "minutes are `m`"),
        (parse_duration, "100ms", "`s` is the finest unit"),
        (parse_duration, "PT5M", "ISO 8601"),
        (parse_duration, "012m", "starts with a zero"),
        (parse_duration, "4000d", "longer than ten years"),
        (parse_money, "50", "has no currency; write `50 USD`"),
        (parse_money, "50 EUR", "no exchange rate"),
        (parse_money, "50 usd", "upper case; write `50 USD`"),
        (parse_money, "$50", "after the amount"),
        (parse_ratio, "125%", "1.25 times or 2.25 times"),
        (parse_ratio, "1e3", "without an exponent"),
        (parse_ratio, ".nan", "must be finite"),
        (parse_count, "012", "leading zero"),
        (parse_count, "-1", "is negative"),
        (parse_count, "1.5", "is not a count"),
        (parse_points, "1.5", "could mean 1.5 points or 150 points"),
        (parse_points, "200pp", "outside"),
    ],
)
def test_what_could_be_read_two_ways_is_refused_with_the_reason(parse, text: str, message: str):
    with pytest.raises(UnitError) as caught:
        parse(text)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "text", "value", "words"),
    [
        ("accuracy_delta", "1.5pp", 0.015, "1.5 pp"),
        ("escalation_rate", "2%", 0.02, "2%"),
        ("latency_p95", "800ms", 0.8, "800ms"),
        ("latency_p95", "2s", 2.0, "2s"),
        ("latency_p95_ratio", "1.25", 1.25, "1.25"),
        ("cost_per_hour", "50 USD", 50.0, "50 USD"),
        ("tokens_per_second", "40", 40.0, "40/s"),
        ("token_burn_rate", "250000/h", 250_000.0, "250000/h"),
    ],
)
def test_a_limit_is_shown_as_it_was_meant(metric: str, text: str, value: float, words: str):
    assert parse_limit(CATALOGUE[metric], text) == pytest.approx(value, abs=1e-15)
    assert format_limit(CATALOGUE[metric], value) == words


@pytest.mark.parametrize(
    ("metric", "text"),
    [("cost_per_hour", "50%"), ("latency_p95", "2"), ("escalation_rate", "2pp"), ("cost_ratio", "2 USD"),
     ("tokens_per_second", "40/h"), ("accuracy_delta", "2s")],
)  # fmt: skip
def test_a_limit_in_another_metrics_unit_is_refused(metric: str, text: str):
    with pytest.raises(UnitError):
        parse_limit(CATALOGUE[metric], text)


def test_values_are_rounded_for_the_eye():
    assert format_value(CATALOGUE["escalation_rate"], 187 / 7_762) == "2.41%"
    assert format_value(CATALOGUE["accuracy_delta"], 0.018349) == "1.83 pp"
    assert format_value(CATALOGUE["latency_p95"], 1.31249) == "1.312s"
    assert format_value(CATALOGUE["cost_per_correct"], 0.0018123) == "0.001812 USD"


def test_the_finer_the_unit_the_more_digits_count():
    assert format_value(CATALOGUE["latency_p95_ratio"], 1.23456) == "1.235"
    assert format_value(CATALOGUE["escalation_rate"], 0.00016) == "0.02%"
    assert format_value(CATALOGUE["cost_per_hour"], 12.34567) == "12.346 USD"
    assert format_value(CATALOGUE["cost_per_hour"], 1.0) == "1 USD"
    assert format_value(CATALOGUE["cost_per_hour"], 1.00012) == "1 USD"
    assert format_value(CATALOGUE["cost_per_hour"], -0.0018123) == "-0.001812 USD"


def test_nothing_has_no_sign():
    assert format_value(CATALOGUE["accuracy_delta"], -0.00001) == "0 pp"
    assert format_percent(-0.0) == "0%"
    assert format_number(Decimal("-0.00")) == "0"
    assert format_value(CATALOGUE["cost_per_hour"], 0.0) == "0 USD"


def test_an_amount_of_less_than_a_dollar_has_six_places_and_one_or_nothing_three():
    cost = CATALOGUE["cost_per_hour"]

    assert [places_of(cost, usd) for usd in (0.0, 1e-6, -0.99, 1.0, 50.0)] == [3, 6, 6, 3, 3]


def test_one_is_told_as_one():
    assert counted(1, "shadow pairs") == "1 shadow pair"
    assert counted(0, "shadow pairs") == "0 shadow pairs"
    assert counted(1_440, "candidate requests") == "1,440 candidate requests"


def test_a_number_has_neither_an_exponent_nor_zeros_that_say_nothing():
    assert [format_number(one) for one in (100, 1e-7, 2.50, Decimal("10.00"), 1e22)] == [
        "100",
        "0.0000001",
        "2.5",
        "10",
        "10000000000000000000000",
    ]
    assert [format_number(one) for one in (math.nan, math.inf)] == ["NaN", "Infinity"]
    assert [format_seconds(one) for one in (0, 0.999, 1, -0.25)] == ["0s", "999ms", "1s", "-250ms"]


def test_formats_read_as_in_a_plan():
    assert [format_share(bp) for bp in (10_000, 1000, 50, 5, 0)] == [
        "100%",
        "10%",
        "0.5%",
        "0.05%",
        "0%",
    ]
    assert (format_percent(0.07), format_points(-0.015), format_usd(0.00135)) == (
        "7%",
        "-1.5 pp",
        "0.00135 USD",
    )
    assert (format_seconds(0.25), format_seconds(3.0), format_number(1e16)) == (
        "250ms",
        "3s",
        "10000000000000000",
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (60, "1m"), (90, "90s"), (900, "15m"), (3600, "1h"), (5400, "90m"), (86_400, "24h"),
     (259_200, "72h"), (604_800, "7d"), (90_061, "25h1m1s"), (0.8, "800ms"), (-90, "-90s"),
     (61, "61s"), (120, "2m"), (179, "179s"), (180, "3m"), (181, "3m1s"), (3601, "1h1s"), (3660, "61m"),
     (7200, "2h"), (10_740, "179m"), (10_800, "3h"), (10_860, "3h1m"), (518_400, "144h"), (604_801, "168h1s"),
     (691_200, "8d"), (1.5, "1.5s"), (1, "1s")],
)  # fmt: skip
def test_a_duration_is_shown_as_it_would_be_written(seconds: float, words: str):
    assert format_duration(timedelta(seconds=seconds)) == words


@given(st.integers(0, 3660 * 86_400))
def test_a_duration_that_is_shown_can_be_read_back(seconds: int):
    span = timedelta(seconds=seconds)

    assert parse_duration(format_duration(span)) == span


@given(st.integers(0, 10_000))
def test_a_share_that_is_shown_can_be_read_back(bp: int):
    assert parse_share(format_share(bp)) == bp


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_unit_error(text: str):
    for parse in (
        parse_share,
        parse_rate,
        parse_points,
        parse_duration,
        parse_money,
        parse_ratio,
        parse_count,
    ):
        with contextlib.suppress(UnitError):
            parse(text)


@pytest.mark.parametrize(
    ("number", "up"),
    [(0, 0), (1, 1), (99, 99), (100, 100), (100.2, 110), (1_361, 1_400), (12_001, 13_000)],
)
def test_what_is_known_roughly_is_rounded_up_to_two_digits(number: float, up: int):
    assert rounded_up(number) == up
