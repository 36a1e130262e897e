"""A picture as PNG, for where SVG is not shown: chats, and reviews of plans."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from typing import Final, assert_never

from PIL import Image, ImageDraw, ImageFont

from controller.simulate.runs.picture import Area, Line, Picture, Point, Shape, Words

DENSITY: Final = 2
"""Pixels for one of a plain screen, to either side: sharp on those that have twice as many."""
FINER: Final = 2
"""As many times finer it is drawn, and then averaged: edges are smooth."""
_SCALE: Final = DENSITY * FINER
_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}
"""Pillow's names: left, middle or right of the base line."""


def png(of: Picture) -> bytes:
    """The whole file. Its letters are Pillow's own, so that it looks alike where no font is installed."""
    size = (of.width * DENSITY, of.height * DENSITY)
    image = Image.new("RGB", (size[0] * FINER, size[1] * FINER), "white")
    canvas = ImageDraw.Draw(image)
    for shape in of.shapes:
        _draw(canvas, shape)
    written = BytesIO()
    image.resize(size, Image.Resampling.BOX).save(
        written, "PNG", optimize=True, dpi=(96 * DENSITY, 96 * DENSITY)
    )
    return written.getvalue()


def _draw(canvas: ImageDraw.ImageDraw, shape: Shape) -> None:
    match shape:
        case Area(points=points, colour=colour):
            canvas.polygon(_scaled(points), fill=colour)
        case Line(points=points, colour=colour, width=width, dashes=dashes):
            for piece in [points] if dashes is None else _dashed(points, *dashes):
                canvas.line(_scaled(piece), fill=colour, width=round(width * _SCALE), joint="curve")
        case Words(at=at, words=words, size=size, bold=bold, anchor=anchor, colour=colour):
            (place,) = _scaled([at])
            font = ImageFont.load_default(size * _SCALE)
            canvas.text(
                place,
                words,
                fill=colour,
                font=font,
                anchor=_ANCHORS[anchor],
                stroke_width=size * _SCALE / 40 if bold else 0,
                stroke_fill=colour,
            )
        case unreachable:
            assert_never(unreachable)


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * _SCALE, y * _SCALE) for x, y in points]


def _dashed(points: Sequence[Point], dash: float, space: float) -> Iterator[Sequence[Point]]:
    """The dashes of each straight piece, which begins with one."""
    for (x, y), (to_x, to_y) in pairwise(points):
        length = math.hypot(to_x - x, to_y - y)
        for number in range(math.ceil(length / (dash + space))):
            begin = number * (dash + space)
            ends = [one / length for one in (begin, min(begin + dash, length))]
            yield [(x + part * (to_x - x), y + part * (to_y - y)) for part in ends]
