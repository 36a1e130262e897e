"""Values to words: shares, durations, money and metric values as a person reads them.

Limits are shown exactly as they were meant (`1.5 pp`, `2%`, `72h`); measured values are rounded to what the eye
can use (`2.41%`). The way back, from words to values, is `controller.plans.units`.
"""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import assert_never

from controller.rollout.metrics import MeasureUnit, Metric

_DAY_S = 86_400
_HOUR_S = 3_600
_MINUTE_S = 60


def format_number(value: float | Decimal) -> str:
    """Plain decimal digits without exponent or trailing zeros: 1.25, 50, 0.00135. Nothing has no sign."""
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite():
        return str(number)
    if not number:
        return "0"
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rounded_up(number: float) -> int:
    """Up to two digits that count, for what is only known roughly: 1,361 is 1,400."""
    unit = 10 ** max(len(str(math.ceil(number))) - 2, 0)
    return int(math.ceil(number / unit) * unit)


def format_share(share_bp: int) -> str:
    """A share in basis points as a percentage: 1000 is `10%`, 5 is `0.05%`."""
    return f"{format_number(Decimal(share_bp) / 100)}%"


def format_percent(fraction: float) -> str:
    """A fraction as an exact percentage: 0.02 is `2%`."""
    return f"{format_number(_hundredfold(fraction))}%"


def format_points(fraction: float) -> str:
    """A difference of fractions in percentage points: 0.015 is `1.5 pp`."""
    return f"{format_number(_hundredfold(fraction))} pp"


def format_duration(span: timedelta) -> str:
    """A span as it would be written in a plan: `90s`, `15m`, `72h`, `7d`, `25h1m`, `800ms`.

    Whole days are used from 7 days on, so that `72h` and `24h` keep the form in which windows are written.
    """
    if span < timedelta(0):
        return f"-{format_duration(-span)}"
    if span % timedelta(seconds=1):
        return format_seconds(span.total_seconds())
    seconds = span // timedelta(seconds=1)
    if seconds >= 7 * _DAY_S and seconds % _DAY_S == 0:
        return f"{seconds // _DAY_S}d"
    if _MINUTE_S < seconds < 3 * _MINUTE_S and seconds % _MINUTE_S:
        return f"{seconds}s"
    if _HOUR_S < seconds < 3 * _HOUR_S and seconds % _HOUR_S and seconds % _MINUTE_S == 0:
        return f"{seconds // _MINUTE_S}m"
    return _hours_minutes_seconds(seconds)


def counted(n: int, several: str) -> str:
    """`1,440 candidate requests`, `1 candidate request`: so many of what is called so when there are several."""
    return f"{n:,} {several.removesuffix('s') if n == 1 else several}"


def format_seconds(seconds: float) -> str:
    """A latency: `800ms` below one second, else `1.25s`."""
    if 0 < abs(seconds) < 1:
        return f"{format_number(Decimal(repr(seconds)) * 1000)}ms"
    return f"{format_number(seconds)}s"


def format_usd(usd: float | Decimal) -> str:
    """An amount of US dollars: `50 USD`, `0.00135 USD`."""
    return f"{format_number(usd)} USD"


def format_limit(metric: Metric, value: float) -> str:
    """A limit in the metric's own unit, exactly as it was meant."""
    match metric.unit:
        case MeasureUnit.FRACTION:
            return format_percent(value)
        case MeasureUnit.POINTS:
            return format_points(value)
        case MeasureUnit.SECONDS:
            return format_seconds(value)
        case MeasureUnit.USD:
            return format_usd(value)
        case MeasureUnit.RATIO:
            return format_number(value)
        case MeasureUnit.PER_SECOND:
            return f"{format_number(value)}/s"
        case MeasureUnit.PER_HOUR:
            return f"{format_number(value)}/h"
        case unit:
            assert_never(unit)


def format_value(metric: Metric, value: float) -> str:
    """A measured value in the metric's own unit, rounded for reading: `2.41%`, `1.83 pp`, `1.312s`."""
    return format_limit(metric, round(value, places_of(metric, value)))


def places_of(metric: Metric, value: float) -> int:
    """To how many places a measured value is rounded for reading."""
    if metric.unit is MeasureUnit.USD and 0 < abs(value) < 1:
        return 6
    return 4 if metric.unit in (MeasureUnit.FRACTION, MeasureUnit.POINTS) else 3


def _hundredfold(fraction: float) -> Decimal:
    return Decimal(repr(fraction)) * 100


def _hours_minutes_seconds(seconds: int) -> str:
    hours, rest = divmod(seconds, _HOUR_S)
    minutes, left = divmod(rest, _MINUTE_S)
    parts = ((hours, "h"), (minutes, "m"), (left, "s"))
    return "".join(f"{count}{letter}" for count, letter in parts if count) or "0s"
