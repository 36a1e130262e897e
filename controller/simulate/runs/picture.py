"""A picture of simulated rollouts: shares over time, and when they stopped. One row for each scenario.

It is made of three kinds of shapes; `svg` and `png` write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from controller.rollout.timeline import MINUTE
from controller.rollout.units import format_duration
from controller.simulate.endings import STOPS, Ending
from controller.simulate.runs.montecarlo import Summary, shares_over_time
from controller.simulate.runs.trials import Trial
from controller.simulate.scenarios import DAY_MIN

WIDTH, HEIGHT, MARGIN, GAP = 520, 170, 56, 64
TOP: Final = 84
POINTS: Final = 240
BANDS: Final = ((0.1, 0.9, "#c6dbef"), (0.25, 0.75, "#6baed6"))
BARS: Final = 40
COLOURS: Final = {Ending.PAUSED: "#e6a100", Ending.ROLLED_BACK: "#c0392b"}
SPACES, LETTERS = 6, 70
HOUR_MIN: Final = 60
STEPS: Final = (
    *(5, 15, 30),
    *(HOUR_MIN * one for one in (1, 2, 6, 12)),
    *(DAY_MIN * one for one in (1, 2, 3, 7, 14)),
)
UNITS: Final = ((DAY_MIN, "d"), (HOUR_MIN, "h"), (1, "m"))
INK, FAINT, MEDIAN = "#1b1f24", "#8a939c", "#08519c"


Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A filled polygon; `told` is what a reader who points at it is told."""

    points: Sequence[Point]
    colour: str
    told: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Through some points; `dashes` are the lengths of a dash and of the space after it."""

    points: Sequence[Point]
    colour: str
    width: float = 1.0
    dashes: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """`at` is on their base line, and where they start, end, or are in the middle."""

    at: Point
    words: str
    size: float = 12.0
    bold: bool = False
    anchor: str = "start"
    colour: str = INK


Shape: TypeAlias = Area | Line | Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Shapes on white, those that come later above the others; lengths are pixels of a plain screen."""

    title: str
    width: int
    height: int
    shapes: Sequence[Shape]


def picture(title: str, rows: Sequence[tuple[Summary, Sequence[Trial]]]) -> Picture:
    """The whole picture. Colours are never alone: every panel says in words what it shows."""
    span = max((one.end_min for _, trials in rows for one in trials), default=1) or 1
    shapes: list[Shape] = [
        Words(at=(MARGIN, 26), words=title, size=16, bold=True),
        Words(
            at=(MARGIN, 46),
            words="Left: share of the candidate, median and the middle 50% and 80% of the runs. "
            "Right: when runs stopped; rolled back dark, paused light.",
            colour=FAINT,
        ),
    ]
    for place, (summary, trials) in enumerate(rows):
        top = TOP + place * (HEIGHT + GAP)
        shapes += _fan(summary, trials, left=MARGIN, top=top, span=span)
        shapes += _stops(summary, trials, left=2 * MARGIN + WIDTH, top=top, span=span)
    return Picture(
        title=title,
        width=2 * (WIDTH + MARGIN) + MARGIN,
        height=TOP + len(rows) * (HEIGHT + GAP),
        shapes=shapes,
    )


def _fan(
    summary: Summary, trials: Sequence[Trial], *, left: float, top: float, span: int
) -> Iterator[Shape]:
    said = f"{summary.scenario.text}: {summary.runs:,} run{'s' * (summary.runs != 1)}"
    yield Words(at=(left, top - 8), words=said, size=_fitting(said), bold=True)
    at = [round(span * i / POINTS) for i in range(POINTS + 1)]
    levels = [level for low, high, _ in BANDS for level in (low, high)]
    *bands, median = shares_over_time(trials, at, [*levels, 0.5])
    x = [left + WIDTH * minute / span for minute in at]
    for number, (_, _, colour) in enumerate(BANDS):
        lower, upper = bands[2 * number], bands[2 * number + 1]
        edge = _stairs(x, [_y(top, one) for one in upper])
        back = _stairs(x, [_y(top, one) for one in lower])[::-1]
        yield Area(points=[*edge, *back], colour=colour)
    yield Line(points=_stairs(x, [_y(top, one) for one in median]), colour=MEDIAN, width=2)
    for share in (0.0, 0.5, 1.0):
        yield _label((left - 6, _y(top, share) + 4), f"{share:.0%}", anchor="end")
    yield from _frame(left, top, span)


def _stops(
    summary: Summary, trials: Sequence[Trial], *, left: float, top: float, span: int
) -> Iterator[Shape]:
    stopped = sum(summary.endings[ending].count for ending in STOPS)
    said = f"{stopped:,} of {summary.runs:,} stopped"
    if since := summary.scenario.since_min:
        said += f"; it went wrong after {format_duration(MINUTE * since)}"
    yield Words(at=(left, top - 8), words=said, bold=True)
    counts = [dict.fromkeys(STOPS, 0) for _ in range(BARS)]
    for one in trials:
        if one.ending in STOPS:
            counts[min(BARS * one.end_min // span, BARS - 1)][one.ending] += 1
    most = max((sum(bar.values()) for bar in counts), default=0) or 1
    for place, bar in enumerate(counts):
        base = top + HEIGHT
        for ending, count in bar.items():
            tall = HEIGHT * count / most
            base -= tall
            if count:
                yield _bar(
                    (left + WIDTH * place / BARS, base),
                    (WIDTH / BARS - 1, tall),
                    colour=COLOURS[ending],
                    told=f"{ending.value}: {count}",
                )
    if 0 < since <= span:
        x = left + WIDTH * since / span
        yield Line(points=[(x, top), (x, top + HEIGHT)], colour=INK, dashes=(4, 3))
    yield _label((left - 6, top + 10), f"{most:,}" if stopped else "0", anchor="end")
    yield from _frame(left, top, span)


def _frame(left: float, top: float, span: int) -> Iterator[Shape]:
    bottom = top + HEIGHT
    yield Line(points=[(left, top), (left, bottom), (left + WIDTH, bottom)], colour=FAINT)
    for minute, told in ticks(span):
        yield _label((left + WIDTH * minute / span, bottom + 16), told, anchor="middle")


def _label(at: Point, words: str, *, anchor: str) -> Words:
    return Words(at=at, words=words, anchor=anchor, colour=FAINT)


def _bar(corner: Point, size: Point, *, colour: str, told: str) -> Area:
    (x, y), (wide, tall) = corner, size
    points = [(x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall)]
    return Area(points=points, colour=colour, told=told)


def ticks(span: int) -> list[tuple[int, str]]:
    """Round moments of so many minutes, six spaces at most, in one unit: `0`, `12h`, `24h` … or `0`, `2d`, `4d` …"""
    step = next(
        (one for one in STEPS if span <= SPACES * one), DAY_MIN * -(-span // (SPACES * DAY_MIN))
    )
    unit, name = next((unit, name) for unit, name in UNITS if step % unit == 0)
    return [(at, f"{at // unit}{name}" if at else "0") for at in range(0, span + 1, step)]


def _fitting(words: str) -> float:
    """The size of bold letters with which so many do not run into the panel beside it."""
    return min(12.0, 12.0 * LETTERS / max(len(words), 1))


def _y(top: float, share: float) -> float:
    return top + HEIGHT * (1 - share)


def _stairs(x: Sequence[float], y: Sequence[float]) -> list[Point]:
    """Shares change in steps, so the line does."""
    points = [(x[0], y[0])]
    for i in range(1, len(x)):
        points += [(x[i], y[i - 1]), (x[i], y[i])]
    return points
