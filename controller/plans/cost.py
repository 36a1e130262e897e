"""What one request costs on each arm, and the direction of the difference in words.

All amounts are exact fractions of a US dollar. The reference request has 5,000 input tokens (none cached) and 1,000
output tokens; a percentage is always of the baseline's cost, so "less" never exceeds 100%.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from controller.rollout.plan import ModelRef, Price
from controller.rollout.units import format_number

INPUT_TOKENS = 5_000
OUTPUT_TOKENS = 1_000
_NANO = 10**9


def request_usd(
    price: Price, *, input_tokens: int = INPUT_TOKENS, output_tokens: int = OUTPUT_TOKENS
) -> Fraction:
    """Cost of a request in US dollars, by default of the reference request."""
    return (price.input * input_tokens + price.output * output_tokens) / _NANO


def is_dearer(candidate: Price, baseline: Price) -> bool:
    """Whether the reference request costs more on the candidate."""
    return request_usd(candidate) > request_usd(baseline)


def direction(candidate: ModelRef, baseline: ModelRef) -> str:
    """`gpt-4.1-mini costs 166.7% more than gpt-4o-mini`. Both prices must be known."""
    if candidate.price is None or baseline.price is None:
        raise ValueError("a direction needs both prices")
    new, old = request_usd(candidate.price), request_usd(baseline.price)
    if new == old:
        return f"{candidate.model} costs the same as {baseline.model}"
    word = "more" if new > old else "less"
    if old == 0:
        return f"{candidate.model} costs more than {baseline.model}, which is free"
    return f"{candidate.model} costs {_percent(abs(new - old) / old)} {word} than {baseline.model}"


def per_request(candidate: ModelRef, baseline: ModelRef) -> str:
    """Both costs and the direction, as a sentence for a person."""
    if candidate.price is None or baseline.price is None:
        raise ValueError("a comparison needs both prices")
    return (
        f"{direction(candidate, baseline)} at {INPUT_TOKENS:,} input / {OUTPUT_TOKENS:,} output tokens: "
        f"{dollars(request_usd(candidate.price))} against {dollars(request_usd(baseline.price))} "
        "per request"
    )


def dollars(usd: Fraction) -> str:
    """`$0.00135`: exact where it has at most nine decimals, else rounded to nine."""
    return f"${_decimal(usd, 9)}"


def _percent(fraction: Fraction) -> str:
    places = 1 if fraction >= Fraction(1, 1000) else 4
    return f"{_decimal(fraction * 100, places)}%"


def _decimal(value: Fraction, places: int) -> str:
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return format_number(exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN))
