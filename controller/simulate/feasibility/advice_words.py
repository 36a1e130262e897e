"""The words and round numbers of advice: amounts, places, spans."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from controller.rollout.plan import Rule
from controller.rollout.units import format_duration

FEWEST: Final = 50
"""Samples that a rule is not advised to go below."""


def amount(number: float, rule: Rule) -> str:
    noun = "label" if rule.metric.labelled else "request"
    if number < 1:
        return f"less than one {noun}"
    return f"about {number:,.0f} {noun}{'s' * (round(number) != 1)}"


def on(intent: str | None) -> str:
    return f" on {intent}" if intent else ""


def written_span(span: timedelta) -> str:
    """As it would be written in a plan: days from four on."""
    days = span // timedelta(days=1)
    return f"{days}d" if days >= 4 and span == timedelta(days=days) else format_duration(span)


def round_below(number: float) -> Iterator[int]:
    """Round numbers down from one: 480, 450, 400 … 50."""
    size = 10 ** max(len(str(int(number))) - 1, 0)
    while size >= 10:
        for halves in range(19, 1, -1):
            count = halves * size // 2
            if FEWEST <= count < number:
                yield count
        size //= 10


def in_percent(part: float) -> str:
    return f"{100 * part:.0f}%"
