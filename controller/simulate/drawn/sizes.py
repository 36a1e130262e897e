"""Laws as equally likely sizes: a request takes one by a random number of 16 bits, and so does a sum of requests.

A log-normal's sum has no formula. That of two requests, of four, of eight … is worked out once and is a law as theirs
is; the sum of any number of them is one of each power of two that the number consists of. So a minute with 50 requests
takes three numbers. Means are exact, and parts as right as those of single requests, to 1 in 131,072.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.simulate.usual import Latencies
from controller.stats.histogram import value_of

SIZES: Final = 1 << 16
"""A law is that many equally likely sizes."""
POWERS: Final = 7
"""Sums of up to 2⁶ requests are laws of their own; larger ones take some of the last."""

Floats = NDArray[np.float64]


def drawn(random: np.random.Generator, n: int) -> NDArray[np.uint16]:
    """So many numbers of 16 bits. The generator makes 64 at a time, and `integers` takes each number on its own."""
    found: NDArray[np.uint16] = random.bit_generator.random_raw(-(-n // 4)).view(np.uint16)[:n]
    return found


def shares(of: Latencies) -> NDArray[np.int64]:
    """How many of `SIZES` are in each bucket."""
    ends = np.rint(of.parts.cumsum() * SIZES).astype(np.int64)
    ends[-1] = SIZES
    found: NDArray[np.int64] = np.diff(ends, prepend=0)
    return found


def told(of: Latencies) -> Floats:
    """What the bucket of each size is told as."""
    shown = np.array([value_of(bucket) for bucket in of.buckets.tolist()])
    return np.repeat(shown, shares(of))


@lru_cache(maxsize=8)
def relative(cv: float) -> Floats:
    """A log-normal with a mean of 1, of `SIZES` equally likely sizes, each within 1%."""
    deviation = math.sqrt(math.log(1 + cv * cv))
    p95 = math.exp(NormalDist().inv_cdf(0.95) * deviation)
    sizes = told(Latencies.log_normal(1.0, p95))
    found: Floats = sizes / sizes.mean()
    found.flags.writeable = False
    return found


def sums(random: np.random.Generator, n: NDArray[np.int64], cv: float) -> Floats:
    """The sum of so many independent sizes of `relative`, for each of some numbers."""
    laws, found, most = _of_powers(cv), np.zeros(len(n)), int(n.max(initial=0))
    for power, law in enumerate(laws[:-1]):
        if most >> power:
            there = ((n >> power) & 1).nonzero()[0]
            found[there] += law[drawn(random, len(there))]
    if most >> (len(laws) - 1):
        often = n >> (len(laws) - 1)
        rest = laws[-1][drawn(random, int(often.sum()))]
        found += np.bincount(np.repeat(np.arange(len(n)), often), rest, len(n))
    return found


@lru_cache(maxsize=8)
def _of_powers(cv: float) -> Sequence[Floats]:
    """The laws of the sums of 1, 2, 4, … sizes."""
    laws = [relative(cv)]
    while len(laws) < POWERS:
        laws.append(_of_two(laws[-1]))
    return laws


def _of_two(law: Floats) -> Floats:
    """The law of the sum of two sizes: each of its sizes is the mean of one of `SIZES` equal parts."""
    step = law.max() / (SIZES - 1)
    places = (law / step).astype(np.int64)
    # A size between two places counts at both, so that the mean stays what it is.
    upper = law / step - places
    at = np.concatenate([places, places + 1])
    mass = np.bincount(at, np.concatenate([1 - upper, upper]), SIZES + 1) / SIZES
    both = np.fft.irfft(np.fft.rfft(mass, 4 * SIZES) ** 2)[: 2 * SIZES + 1].clip(0.0)
    parts = both.cumsum() / both.sum()
    moments = (both * step * np.arange(len(both))).cumsum() / both.sum()
    edges = np.interp(np.arange(SIZES + 1) / SIZES, parts, moments, left=0.0)
    found: Floats = np.diff(edges) * SIZES
    found.flags.writeable = False
    return found
