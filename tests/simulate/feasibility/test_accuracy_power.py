"""Why the rules roll back fewer canaries that lose 3 points than was published, and pass about as many: by formulas.

A Monte Carlo of its own, from the formulas and without the product: 72 hours, one candidate label a minute and nine
of the baseline's, the baseline right in 95%. With one start it finds what was published; with the starts of the rules,
which share alpha, what the rules do in docs/decisions.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from benchmarks.decisions import KEPT

ALPHA, LIMIT, BASE, LOSS = 0.05, 0.015, 0.95, 0.03
HOURS, K = 72, 9
RUNS = 600
VARIANCE = BASE * (1 - BASE) * (1 + 1 / K)
BETS = LIMIT / VARIANCE * np.array([0.5, 1.0, 2.0])
STARTS = range(0, HOURS, 6)
ONE_START = {0: math.log(1 / ALPHA)}
EVENLY = dict.fromkeys(STARTS, math.log(len(STARTS) / ALPHA))
# The rules: three quarters for the first start, the rest for the others.
UNEVENLY = {
    **dict.fromkeys(STARTS, math.log((len(STARTS) - 1) / (0.25 * ALPHA))),
    0: math.log(1 / (0.75 * ALPHA)),
}


@cache
def canaries(claim: float = LIMIT) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each canary when its blocks close, in hours, and then the log wealth of each bet on a loss over `claim`."""
    random = np.random.default_rng(5)
    found = []
    for _ in range(RUNS):
        hours, value = blocks(random, LOSS)
        found.append((hours, np.log1p(np.outer(value - claim, BETS)).cumsum(axis=0)))
    return found


def healthy(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bets against "the loss is over the limit", on the negated values."""
    hours, value = blocks(random, 0.0)
    return hours, np.log1p(np.outer(LIMIT - value, BETS)).cumsum(axis=0)


def blocks(random: np.random.Generator, loss: float) -> tuple[np.ndarray, np.ndarray]:
    """When each block closes, and its value."""
    enough = 2 * HOURS * 60
    # A block closes with its last label: one of the candidate's a minute, nine of the baseline's.
    closed = np.maximum(
        random.exponential(1.0, enough).cumsum(), random.gamma(K, 1 / K, enough).cumsum()
    )
    hours = closed[closed < HOURS * 60] / 60
    baseline = random.binomial(K, BASE, len(hours)) / K
    return hours, baseline - (random.random(len(hours)) >= loss + 1 - BASE)


def stop_hour(hours: np.ndarray, wealth: np.ndarray, needed: Mapping[int, float]) -> float:
    """When log E of some start reaches what it needs; infinity if none does."""
    first = math.inf
    for start, threshold in needed.items():
        begun = int(hours.searchsorted(start))
        before = wealth[begun - 1] if begun else np.zeros(len(BETS))
        log_e = np.logaddexp.reduce(wealth[begun:] - before, axis=1) - math.log(len(BETS))
        reached = np.flatnonzero(log_e >= threshold)
        if len(reached):
            first = min(first, float(hours[begun + reached[0]]))
    return first


def rolled_back(needed: Mapping[int, float], claim: float = LIMIT) -> tuple[float, float]:
    """The share of canaries, and the median hour of all: one that is not rolled back comes last."""
    stops = np.array([stop_hour(*one, needed) for one in canaries(claim)])
    return float(np.isfinite(stops).mean()), float(np.median(stops))


def test_one_start_with_all_of_alpha_rolls_back_what_was_published():
    share, hours = rolled_back(ONE_START)

    # 87.5% of 1,500 canaries, after 28.5 h: the median of all, for that of the stopped ones is 23.5 h
    assert abs(share - 0.875) <= 4 * math.sqrt(0.875 * 0.125 * (1 / RUNS + 1 / 1_500))
    assert hours == pytest.approx(28.5, rel=0.1)


def test_twelve_starts_share_alpha_and_that_is_the_whole_difference():
    """Same canaries, bets and blocks: only ln(12 / alpha) is asked for, 2.5 more than ln(1 / alpha)."""
    one, twelve = rolled_back(ONE_START), rolled_back(EVENLY)

    # 73% is what `simulate` said of 300 canaries while the rules shared alpha evenly.
    assert twelve[0] == pytest.approx(0.73, abs=4 * math.sqrt(0.73 * 0.27 * (1 / RUNS + 1 / 300)))
    assert one[0] - twelve[0] > 0.08
    assert one[1] < twelve[1]


def test_with_three_quarters_for_the_first_start_they_roll_back_what_the_rules_do():
    share, hours = rolled_back(UNEVENLY)

    by_the_rules = row_of("5/min, true loss 3 pp", "confident fail")
    told, runs = by_the_rules["count"] / by_the_rules["runs"], by_the_rules["runs"]
    assert abs(share - told) <= 4 * math.sqrt(told * (1 - told) * (1 / RUNS + 1 / runs))
    assert hours == pytest.approx(by_the_rules["delay_h"], rel=0.1)
    assert share > rolled_back(EVENLY)[0]


def test_the_guarded_pause_differs_by_the_same():
    """Its claim is "no loss": 7.1 h were published."""
    one, rules = rolled_back(ONE_START, claim=0.0), rolled_back(UNEVENLY, claim=0.0)

    by_the_rules = row_of("5/min, true loss 3 pp", "guarded pause")
    assert one[1] == pytest.approx(7.1, rel=0.1)
    assert rules[1] == pytest.approx(by_the_rules["delay_h"], rel=0.1)


def test_as_many_healthy_canaries_are_proven_to_be_as_the_rules_prove():
    """Published were 94.9%; the formulas have 93.2% of 2,500."""
    random = np.random.default_rng(6)

    proven = np.isfinite([stop_hour(*healthy(random), ONE_START) for _ in range(RUNS)]).mean()

    by_the_rules = row_of("5/min, true loss 0 pp", "confident pass")
    told, runs = by_the_rules["count"] / by_the_rules["runs"], by_the_rules["runs"]
    assert abs(proven - told) <= 4 * math.sqrt(told * (1 - told) * (1 / RUNS + 1 / runs))


def row_of(canary: str, form: str) -> dict[str, Any]:
    """What the rules did, as docs/decisions.md has it."""
    rows = json.loads(KEPT.read_text())["found"]["accuracy"]
    return next(row for row in rows if (row["canary"], row["form"]) == (canary, form))
