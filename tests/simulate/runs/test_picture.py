"""The picture of simulated rollouts, and the files that hold it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageColor

from controller.simulate.endings import Ending
from controller.simulate.runs.montecarlo import summary
from controller.simulate.runs.picture import (
    COLOURS,
    MEDIAN,
    Area,
    Line,
    Picture,
    Point,
    Words,
    picture,
    ticks,
)
from controller.simulate.runs.png import DENSITY, png
from controller.simulate.runs.svg import svg
from controller.simulate.runs.trials import Trial
from controller.simulate.scenarios import HEALTHY, Scenario
from tests.simulate.runs.test_montecarlo import LATE, made

SVG = "{http://www.w3.org/2000/svg}"
TRIALS = [made(Ending.COMPLETED, 600), made(Ending.ROLLED_BACK, 200)]


def of(*scenarios: Scenario, trials: Sequence[Trial] = TRIALS, title: str = "a <plan>") -> Picture:
    return picture(title, [(summary(one, trials), trials) for one in scenarios])


def pixels(drawn: Picture) -> Image.Image:
    return Image.open(BytesIO(png(drawn))).convert("RGB")


def test_it_has_a_row_for_each_scenario_and_says_what_it_shows():
    drawn = of(HEALTHY, LATE)

    root = ElementTree.fromstring(svg(drawn))

    words = [one.text or "" for one in root.iter(f"{SVG}text")]
    assert "a <plan>" in words
    assert "healthy: 2 runs" in words
    assert "1 of 2 stopped; it went wrong after 2h" in words
    assert root.findtext(f"{SVG}title") == "a <plan>"
    assert "rolled back: 1" in [one.text for one in root.iter(f"{SVG}title")]


def test_a_png_has_the_same_panels_in_the_same_places():
    drawn = of(HEALTHY, LATE)
    (bar, *_) = [one for one in drawn.shapes if isinstance(one, Area) and one.told is not None]
    (line, *_) = [one for one in drawn.shapes if isinstance(one, Line) and one.colour == MEDIAN]

    image = pixels(drawn)

    assert image.size == (DENSITY * drawn.width, DENSITY * drawn.height)
    (x, y), _, (to_x, to_y), _ = bar.points
    middle = ((x + to_x) / 2, (y + to_y) / 2)
    assert _colour(image, middle) == ImageColor.getrgb(COLOURS[Ending.ROLLED_BACK])
    ends = [one for one in pairwise(line.points) if one[1][0] > one[0][0] + 1]
    ((x, y), (to_x, _)) = min(ends, key=lambda one: one[0][1])  # the highest share
    assert _colour(image, ((x + to_x) / 2, y)) == ImageColor.getrgb(MEDIAN)
    assert _colour(image, (1, 1)) == (255, 255, 255)


def _colour(image: Image.Image, at: Point) -> object:
    return image.getpixel((round(DENSITY * at[0]), round(DENSITY * at[1])))


@pytest.mark.parametrize(("anchor", "side"), [("start", 1), ("middle", 0), ("end", -1)])
def test_words_of_a_png_stand_above_their_place_and_beside_it_as_they_are_told(anchor, side):
    words = Words(at=(100, 50), words="escalation=5%@24h", anchor=anchor, colour="#000000")

    left, top, right, bottom = _inked(Picture(title="", width=200, height=100, shapes=[words]))

    assert 50 - 12 < top < bottom < 50 + 5
    off = {1: abs(left - 100), 0: abs((left + right) / 2 - 100), -1: abs(right - 100)}
    assert off[side] < 2
    assert 70 < right - left < 130


def test_bold_words_have_more_ink():
    def ink(*, bold: bool) -> int:
        words = Words(at=(10, 50), words="healthy", bold=bold, colour="#000000")
        image = pixels(Picture(title="", width=200, height=100, shapes=[words]))
        return Counter(image.convert("L").point(lambda one: 255 * (one < 128)).tobytes())[255]

    assert ink(bold=True) > 1.2 * ink(bold=False)


def test_a_broken_line_of_a_png_is_broken_as_told():
    line = Line(points=[(10, 10), (10, 80)], colour="#000000", width=2, dashes=(4, 3))

    image = pixels(Picture(title="", width=20, height=90, shapes=[line]))

    dark = [image.getpixel((20, y))[0] < 128 for y in range(20, 160)]  # type: ignore[index] # a pixel of RGB
    assert dark[2:6] == [True] * 4
    assert dark[10:12] == [False] * 2
    changes = sum(one != other for one, other in pairwise(dark))
    assert changes == pytest.approx(2 * 70 / 7, abs=1)


def _inked(drawn: Picture) -> tuple[float, ...]:
    """The box around what is not white, in the picture's own pixels."""
    box = pixels(drawn).convert("L").point(lambda one: 255 * (one < 200)).getbbox()
    assert box is not None
    return tuple(one / DENSITY for one in box)


@pytest.mark.parametrize(
    ("span", "told"),
    [
        (600, ["0", "2h", "4h", "6h", "8h", "10h"]),
        (81 * 60, ["0", "1d", "2d", "3d"]),
        (13 * 1_440, ["0", "3d", "6d", "9d", "12d"]),
        (400 * 1_440, ["0", "67d", "134d", "201d", "268d", "335d"]),
        (20, ["0", "5m", "10m", "15m", "20m"]),
    ],
)
def test_moments_below_it_are_round_and_in_one_unit(span: int, told: list[str]):
    found = ticks(span)

    assert [words for _, words in found] == told
    assert found[-1][0] <= span


def test_it_marks_no_beginning_that_is_not_on_it_and_keeps_long_names_to_their_panel():
    trials = [made(Ending.COMPLETED, 100), made(Ending.ROLLED_BACK, 90)]
    many = replace(LATE, text="+".join(["escalation=5%@2h", "daily-swing=100%"] * 4))

    drawn = of(many, trials=trials)

    assert not [one for one in drawn.shapes if isinstance(one, Line) and one.dashes]
    (name,) = [
        one
        for one in drawn.shapes
        if isinstance(one, Words) and one.words.startswith(f"{many.text}:")
    ]
    # Bold letters of a sans-serif are some 0.65 of their size wide
    assert 0.65 * name.size * len(name.words) < 576
