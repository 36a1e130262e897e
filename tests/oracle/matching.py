"""Two arms' latencies minute by minute, against a percentile of the baseline that was frozen before: ADR 023."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.oracle.counting import MICRO
from tests.oracle.rules import bucket
from tests.oracle.sums import ByMinute

BILLION = 1_000_000_000
TOLD = (
    "candidate",
    "candidate.above",
    "candidate.expected_u",
    "baseline",
    "baseline.above",
)


@dataclass(frozen=True)
class Frozen:
    """The bucket whose upper edge is the percentile, in force from this minute on until another one is."""

    since: int
    bucket: int


def matched(sums: ByMinute, frozen: Sequence[Frozen], *, limit: float, level: float) -> ByMinute:
    """By minute the logarithms of the bets' wealth, in billionths, and what a proof's tally tells."""
    found = ByMinute(sums.first, sums.size)
    until = [one.since for one in frozen[1:]] + [sums.first + sums.size]
    strata = {key[2] for key in sums.keys if key[1] == "bucket of"}
    for one, end in zip(frozen, until, strict=True):
        here = slice(max(one.since - sums.first, 0), max(end - sums.first, 0))
        for stratum in strata:
            _add(found, sums, stratum, one.bucket, here, limit=limit, level=level)
    return found


def _add(
    found: ByMinute,
    sums: ByMinute,
    stratum: tuple[int, str],
    reference: int,
    here: slice,
    *,
    limit: float,
    level: float,
) -> None:
    def above(arm: str, least: int) -> np.ndarray:
        keys = [key for key in sums.keys if key[:3] == (arm, "bucket of", stratum)]
        of = [sums.column(key) for key in keys if key[3] > least]
        whole = sum(of, start=np.zeros(sums.size, dtype=np.int64))
        part = np.zeros(sums.size, dtype=np.int64)
        part[here] = whole[here]
        return part

    own = bucket(limit * 1.02**reference)
    n, k, y = above("candidate", -10_000), above("baseline", -10_000), above("baseline", reference)
    both = (n > 0) & (k > 0)
    for failing, x in ((True, above("candidate", own)), (False, above("candidate", own - 1))):
        logs = _logs(n, x, np.maximum(k, 1), y, level=level, failing=failing)
        for j, column in enumerate(logs):
            found.fill(("log", failing, j), np.where(both, column, 0))
        expected = MICRO * n * y // np.maximum(k, 1)
        for name, column in zip(TOLD, (n, x, expected, k, y), strict=True):
            found.fill((name, failing), np.where(both, column, 0))


def _logs(
    n: np.ndarray, x: np.ndarray, k: np.ndarray, y: np.ndarray, *, level: float, failing: bool
) -> list[np.ndarray]:
    """Of half, one and two times the best bet; no factor is under 0.05."""
    effect, sign = (level / 2, 1) if failing else (level / 3, -1)
    ratio = n / k
    # How far below its claim a 0 or a 1 lies, for the candidate and for the baseline.
    down, up = (level, 1 - level) if failing else (1 - level, level)
    most = 0.95 / np.maximum(down, ratio * up)
    logs = []
    for factor in (0.5, 1.0, 2.0):
        a = sign * np.minimum(factor * effect / (level * (1 - level) * (1 + ratio)), most)
        b = a * ratio
        log = x * np.log(1 + a * (1 - level)) + (n - x) * np.log(1 - a * level)
        log += y * np.log(1 - b * (1 - level)) + (k - y) * np.log(1 + b * level)
        logs.append(np.floor(log * BILLION).astype(np.int64))
    return logs
