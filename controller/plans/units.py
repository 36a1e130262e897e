"""Words to values: the units of measure of a plan.

Each function takes the text as it stands in the plan and returns a value, or raises `UnitError` that says what was
found, what was wanted and why. Whatever could be read two ways is refused. The way back is `controller.rollout.units`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import assert_never

from controller.rollout.metrics import MeasureUnit, Metric
from controller.rollout.plan import FULL_BP

NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
SHARE = rf"^{NUMBER} ?%$|^[0-9]{{1,5}} ?bp$"
RATE = rf"^{NUMBER} ?(?:%|bp)$"
DURATION = r"^(?=[0-9])(?:[0-9]{1,9}d)?(?:[0-9]{1,9}h)?(?:[0-9]{1,9}m)?(?:[0-9]{1,9}s)?$"
LATENCY = rf"^{NUMBER} ?(?:ms|s)$"
MONEY = rf"^{NUMBER} ?USD$"
QUANTITY = rf"^-?{NUMBER} ?(?:%|pp|bp|USD|ms|s|m|h|d|/s|/h)?$"

LONGEST = timedelta(days=3660)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WORDS = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "day": "d", "days": "d",
}  # fmt: skip
_MOST_SHOWN = 60


class UnitError(ValueError):
    """Text that is not a value of the unit that its place asks for; the message is for the plan's author."""


def shown(text: str) -> str:
    """The text as it can be quoted in a message: on one line, printable, not longer than 60 characters."""
    plain = "".join(letter if letter.isprintable() else "·" for letter in text)
    return f"`{plain if len(plain) <= _MOST_SHOWN else plain[: _MOST_SHOWN - 1] + '…'}`"


def parse_share(text: str) -> int:
    """A share of traffic in whole basis points, 0 to 10000: `10%`, `0.1%`, `50bp`."""
    bp = parse_rate(text, what="share") * FULL_BP
    if bp.denominator != 1:
        raise UnitError(
            f"{shown(text)} is not a whole number of basis points; the finest share is `0.01%` (`1bp`)"
        )
    return int(bp)


def parse_rate(text: str, *, what: str = "rate") -> Fraction:
    """A part of a whole, 0 to 1: `2%`, `0.1%`, `50bp`. A bare number is refused: `0.1` may mean 0.1% or 10%."""
    number, unit = _split(text, f"a {what} such as `10%`, `0.1%` or `50bp`")
    match unit:
        case "%":
            fraction = number / 100
        case "bp":
            fraction = number / FULL_BP
        case "":
            raise UnitError(_ambiguous_share(text, number, what))
        case "pp":
            raise UnitError(
                f"{shown(text)} is a difference in percentage points; a {what} is written `{_plain(number)}%`"
            )
        case _:
            raise UnitError(f"{shown(text)} is not a {what}; write it like `10%`, `0.1%` or `50bp`")
    if fraction < 0:
        raise UnitError(f"{shown(text)} is negative; a {what} lies between 0% and 100%")
    if fraction > 1:
        raise UnitError(f"{shown(text)} is more than 100%")
    return fraction


def parse_points(text: str) -> Fraction:
    """A difference of two rates, as a fraction: `1.5pp`, `150bp`; `1.5%` is read as points."""
    number, unit = _split(text, "percentage points such as `1.5pp`")
    match unit:
        case "pp" | "%":
            fraction = number / 100
        case "bp":
            fraction = number / FULL_BP
        case "":
            raise UnitError(
                f"{shown(text)} has no unit: it could mean {_plain(number)} points or {_plain(number * 100)} points; "
                f"write `{_plain(number)}pp`"
            )
        case _:
            raise UnitError(
                f"{shown(text)} is not a difference; write percentage points such as `1.5pp`"
            )
    if not -1 <= fraction <= 1:
        raise UnitError(f"{shown(text)} is outside −100pp..100pp")
    return fraction


def parse_duration(text: str, *, sub_second: bool = False) -> timedelta:
    """A span of time: `90s`, `15m`, `72h`, `7d`, or together, largest first: `1h30m`.

    With `sub_second` also `800ms` and decimals (`1.5s`), for latencies. At most ten years.
    """
    text = text.strip()
    if sub_second and (small := re.fullmatch(rf"({NUMBER}) ?(ms|s)", text)):
        return timedelta(seconds=float(Fraction(small[1]) / (1000 if small[2] == "ms" else 1)))
    if not re.fullmatch(DURATION, text) or re.match(r"0[0-9]", text):
        raise UnitError(_not_a_duration(text))
    parts = re.findall(r"([0-9]+)([dhms])", text)
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in parts)
    if seconds > LONGEST.total_seconds():
        raise UnitError(f"{shown(text)} is longer than ten years")
    return timedelta(seconds=int(seconds))


def parse_money(text: str) -> Fraction:
    """An amount in US dollars: `50 USD`. The currency is part of the amount; no rate is applied to another one."""
    number, unit = _split(text, "an amount of money such as `50 USD`")
    if unit == "":
        raise UnitError(f"{shown(text)} has no currency; write `{_plain(number)} USD`")
    if unit.upper() == "USD" and unit != "USD":
        raise UnitError(
            f"{shown(text)}: currency codes are upper case; write `{_plain(number)} USD`"
        )
    if unit != "USD":
        raise UnitError(
            f"{shown(text)} is not in US dollars; prices are known in USD and no exchange rate is applied: "
            "write an amount such as `50 USD`"
        )
    if number < 0:
        raise UnitError(f"{shown(text)} is negative; an amount of money is 0 or more")
    return number


def parse_ratio(text: str) -> Fraction:
    """A plain number of 0 or more, without unit: `1.25`."""
    number, unit = _split(text, "a plain number such as `1.25`")
    if unit == "%":
        raise UnitError(
            f"{shown(text)} could mean {_plain(number / 100)} times or {_plain(1 + number / 100)} times; "
            "write the ratio as a plain number such as `1.25`"
        )
    if unit:
        raise UnitError(f"{shown(text)} carries a unit; a ratio is a plain number such as `1.25`")
    if number < 0:
        raise UnitError(f"{shown(text)} is negative; a ratio is 0 or more")
    return number


def parse_count(text: str) -> int:
    """A whole number of 0 or more: `500`. A leading zero is refused: elsewhere it means octal."""
    text = text.strip()
    if re.fullmatch(r"0[0-9]+", text):
        raise UnitError(
            f"{shown(text)} has a leading zero (octal in YAML 1.1, decimal in YAML 1.2); "
            f"write {shown(text.lstrip('0') or '0')}"
        )
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    if re.fullmatch(r"-[0-9]+", text):
        raise UnitError(
            f"{shown(text)} is negative; expected a whole number of 0 or more such as `500`"
        )
    raise UnitError(
        f"{shown(text)} is not a count; expected a whole number of digits such as `500`"
    )


def parse_limit(metric: Metric, text: str) -> float:
    """A rule's limit in the unit of its metric, as `Rule.limit` holds it."""
    match metric.unit:
        case MeasureUnit.FRACTION:
            return float(parse_rate(text))
        case MeasureUnit.POINTS:
            return float(parse_points(text))
        case MeasureUnit.SECONDS:
            return parse_duration(text, sub_second=True).total_seconds()
        case MeasureUnit.USD:
            return float(parse_money(text))
        case MeasureUnit.RATIO:
            return float(parse_ratio(text))
        case MeasureUnit.PER_SECOND:
            return float(_parse_per(text, "/s"))
        case MeasureUnit.PER_HOUR:
            return float(_parse_per(text, "/h"))
        case unit:
            assert_never(unit)


def _parse_per(text: str, per: str) -> Fraction:
    number, unit = _split(text, f"a plain number or one with `{per}`, such as `40{per}`")
    if unit not in ("", per) or number < 0:
        raise UnitError(
            f"{shown(text)}: expected a plain number of 0 or more, or one with `{per}`, such as `40{per}`"
        )
    return number


def _split(text: str, wanted: str) -> tuple[Fraction, str]:
    text = text.strip()
    found = re.fullmatch(rf"([+-]?)({NUMBER}) ?([A-Za-z%€$£/]*)", text)
    if found is None:
        raise UnitError(f"{shown(text)} is not understood; expected {wanted}{_hint(text)}")
    if re.match(r"0[0-9]", found[2]):
        raise UnitError(
            f"{shown(text)} starts with a zero, which reads as octal elsewhere; write it without"
        )
    number = Fraction(found[2])
    return (-number if found[1] == "-" else number), found[3]


def _hint(text: str) -> str:
    if re.search(r"[0-9],[0-9]", text):
        return ". Decimals are written with a point, thousands without a separator"
    if re.search(r"[0-9]_[0-9]", text):
        return ". Digits are written without `_`"
    if re.search(r"(?i)\binf|nan\b", text):
        return ". It must be finite"
    if re.match(r"[€$£]", text):
        return ". The currency stands after the amount, as its code"
    if re.fullmatch(r"[+-]?[0-9.]+[eE][+-]?[0-9]+.*", text):
        return ". Write the digits out, without an exponent"
    return ""


def _ambiguous_share(text: str, number: Fraction, what: str) -> str:
    if number == 0:
        return f"{shown(text)} has no unit; write `0%`"
    if number > 1:
        return (
            f"{shown(text)} has no unit: it could mean {_plain(number)}% or {_plain(number)} basis points; "
            f"write a {what} such as `{_plain(number)}%` or `{_plain(number)}bp`"
        )
    return (
        f"{shown(text)} has no unit: it could mean {_plain(number)}% or {_plain(number * 100)}%; "
        f"write `{_plain(number)}%` or `{_plain(number * 100)}%`"
    )


def _not_a_duration(text: str) -> str:
    wanted = "write a duration such as `90s`, `15m`, `72h` or `7d`"
    if re.match(r"0[0-9]+[dhms]", text):
        return f"{shown(text)} starts with a zero, which reads as octal elsewhere; write it without"
    if re.fullmatch(r"[+-]?[0-9.]+", text):
        return f"{shown(text)} has no unit: it could mean seconds, minutes or hours; {wanted}"
    if clock := re.fullmatch(r"([0-9]{1,4}):([0-5]?[0-9])", text):
        hours, minutes = int(clock[1]), int(clock[2])
        return (
            f"{shown(text)} could mean {hours} h {minutes} min or {hours} min {minutes} s "
            f"(and is {hours * 60 + minutes} in YAML 1.1); write `{hours * 60 + minutes}m` or `{hours * 60 + minutes}s`"
        )
    if text.startswith("-"):
        return f"{shown(text)} is negative; {wanted}"
    if spoken := re.fullmatch(r"([0-9]{1,9}) ?([A-Za-z]+)", text):
        return f"{shown(text)} is not a duration; {_spoken(spoken[1], spoken[2]) or wanted}"
    if re.fullmatch(r"P[0-9TDHMSYW.]+", text):
        return f"{shown(text)} is an ISO 8601 duration; {wanted}"
    if re.fullmatch(rf"{NUMBER}[dhms]", text):
        return f"{shown(text)} is not a whole number of its unit; use a smaller one, as in `90m` or `1h30m`"
    return f"{shown(text)} is not a duration; {wanted} (together, largest first: `1h30m`)"


def _spoken(count: str, word: str) -> str:
    if word in ("ms", "w", "M", "y") or word.lower() in ("week", "weeks"):
        unit = {"ms": "`s` is the finest unit", "M": "minutes are `m`"}.get(
            word, "the longest unit is `d`"
        )
        return f"{unit} here; write it like `90s`, `15m`, `72h` or `7d`"
    letter = _WORDS.get(word.lower()) or (word.lower() if word.lower() in _SECONDS else "")
    return f"did you mean `{count}{letter}`?" if letter else ""


def _plain(number: Fraction) -> str:
    return f"{float(number):.15g}"
