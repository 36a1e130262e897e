"""A picture as SVG: text that scales, and tells more where a reader points at it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import assert_never

from controller.simulate.runs.picture import INK, Area, Line, Picture, Point, Shape, Words


def svg(of: Picture) -> str:
    """The whole file; what a viewer has for `sans-serif` writes the words."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{of.width}" height="{of.height}" '
            f'viewBox="0 0 {of.width} {of.height}" font-family="sans-serif" fill="{INK}">',
            f"<title>{escape(of.title)}</title>",
            f'<rect width="{of.width}" height="{of.height}" fill="white"/>',
            *map(_element, of.shapes),
            "</svg>\n",
        ]
    )


def _element(shape: Shape) -> str:
    match shape:
        case Area(points=points, colour=colour, told=told):
            inside = f"<title>{escape(told)}</title>" if told is not None else ""
            return f'<polygon points="{_points(points)}" fill="{colour}">{inside}</polygon>'
        case Line(points=points, colour=colour, width=width, dashes=dashes):
            broken = f' stroke-dasharray="{dashes[0]:g} {dashes[1]:g}"' if dashes else ""
            return (
                f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="{width:g}"'
                f"{broken}/>"
            )
        case Words(at=(x, y), words=words, size=size, bold=bold, anchor=anchor, colour=colour):
            return (
                f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{"bold" if bold else "normal"}" '
                f'text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
            )
        case unreachable:
            assert_never(unreachable)


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
