"""A picture of simulated rollouts as SVG: shares over time, and when they stopped. One row for each scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

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
INK, FAINT = "#1b1f24", "#8a939c"


def svg(title: str, rows: Sequence[tuple[Summary, Sequence[Trial]]]) -> str:
    """The whole picture. Colours are never alone: every panel says in words what it shows."""
    span = max((one.end_min for _, trials in rows for one in trials), default=1) or 1
    height = TOP + len(rows) * (HEIGHT + GAP)
    width = 2 * (WIDTH + MARGIN) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(MARGIN, 26, title, size=16, weight="bold"),
        _text(
            MARGIN,
            46,
            "Left: share of the candidate, median and the middle 50% and 80% of the runs. "
            "Right: when runs stopped; rolled back dark, paused light.",
            colour=FAINT,
        ),
    ]
    for place, (summary, trials) in enumerate(rows):
        top = TOP + place * (HEIGHT + GAP)
        parts += _fan(summary, trials, left=MARGIN, top=top, span=span)
        parts += _stops(summary, trials, left=2 * MARGIN + WIDTH, top=top, span=span)
    return "\n".join([*parts, "</svg>\n"])


def _fan(
    summary: Summary, trials: Sequence[Trial], *, left: float, top: float, span: int
) -> Iterator[str]:
    said = f"{summary.scenario.text}: {summary.runs:,} run{'s' * (summary.runs != 1)}"
    yield _text(left, top - 8, said, size=_fitting(said), weight="bold")
    at = [round(span * i / POINTS) for i in range(POINTS + 1)]
    levels = [level for low, high, _ in BANDS for level in (low, high)]
    *bands, median = shares_over_time(trials, at, [*levels, 0.5])
    x = [left + WIDTH * minute / span for minute in at]
    for number, (_, _, colour) in enumerate(BANDS):
        lower, upper = bands[2 * number], bands[2 * number + 1]
        edge = _stairs(x, [_y(top, one) for one in upper])
        back = _stairs(x, [_y(top, one) for one in lower])[::-1]
        yield f'<polygon points="{_points([*edge, *back])}" fill="{colour}"/>'
    line = _points(_stairs(x, [_y(top, one) for one in median]))
    yield f'<polyline points="{line}" fill="none" stroke="#08519c" stroke-width="2"/>'
    for share in (0.0, 0.5, 1.0):
        yield _text(left - 6, _y(top, share) + 4, f"{share:.0%}", anchor="end", colour=FAINT)
    yield from _frame(left, top, span)


def _stops(
    summary: Summary, trials: Sequence[Trial], *, left: float, top: float, span: int
) -> Iterator[str]:
    stopped = sum(summary.endings[ending].count for ending in STOPS)
    said = f"{stopped:,} of {summary.runs:,} stopped"
    if since := summary.scenario.since_min:
        said += f"; it went wrong after {format_duration(MINUTE * since)}"
    yield _text(left, top - 8, said, weight="bold")
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
                yield (
                    f'<rect x="{left + WIDTH * place / BARS:.1f}" y="{base:.1f}" width="{WIDTH / BARS - 1:.1f}" '
                    f'height="{tall:.1f}" fill="{COLOURS[ending]}"><title>{ending.value}: {count}</title></rect>'
                )
    if 0 < since <= span:
        x = left + WIDTH * since / span
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + HEIGHT}" stroke="{INK}" '
            'stroke-dasharray="4 3"/>'
        )
    yield _text(left - 6, top + 10, f"{most:,}" if stopped else "0", anchor="end", colour=FAINT)
    yield from _frame(left, top, span)


def _frame(left: float, top: float, span: int) -> Iterator[str]:
    bottom = top + HEIGHT
    yield (
        f'<polyline points="{left},{top} {left},{bottom} {left + WIDTH},{bottom}" fill="none" '
        f'stroke="{FAINT}"/>'
    )
    for minute, told in ticks(span):
        x = left + WIDTH * minute / span
        yield _text(x, bottom + 16, told, anchor="middle", colour=FAINT)


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


def _stairs(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """Shares change in steps, so the line does."""
    points = [(x[0], y[0])]
    for i in range(1, len(x)):
        points += [(x[i], y[i - 1]), (x[i], y[i])]
    return points


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 12,
    weight: str = "normal",
    anchor: str = "start",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(words)}</text>'
    )
