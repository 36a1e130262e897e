"""Label coverage of the arms: whether it differs, and what the missing labels could hide at most.

Labels that are missing on one arm more than on the other may be missing because of what they would have said. Before a
pass they are then taken for the worst: wrong for the candidate, right for the baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Arm
from controller.rollout.reader import Reader
from controller.rollout.sums import Minutes, Table
from controller.rollout.tallies import StratumSums
from controller.rollout.verdict import Coverage
from controller.stats.proportions import newcombe_difference

LEVEL = 0.999
GAP = 0.02
KEYS = ("e.graded", "e")


def coverage_between(reader: Reader, intent: str | None, start: int, end: int) -> Coverage:
    """Graded episodes and all of them, by arm, in [start, end)."""
    (graded_b, n_b), (graded_c, n_c) = (
        reader.between(start, end, KEYS, arm=arm.value, intent=intent)
        for arm in (Arm.BASELINE, Arm.CANDIDATE)
    )
    return Coverage(
        baseline_graded=graded_b,
        baseline_n=n_b,
        candidate_graded=graded_c,
        candidate_n=n_c,
        differs=_differs(graded_b, n_b, graded_c, n_c),
    )


def uneven(reader: Reader, intent: str | None, start: int, ends: Minutes) -> NDArray[np.bool_]:
    """Whether coverage differs in [start, end), for each end; (E,)."""
    marks = np.concatenate([[start], ends])
    tables = [
        reader.tallies.until(marks, KEYS, arm=arm.value, intent=intent)
        for arm in (Arm.BASELINE, Arm.CANDIDATE)
    ]
    counted = np.concatenate([table[1:] - table[0] for table in tables], axis=1)
    return np.array([_differs(*row) for row in counted.tolist()], dtype=np.bool_)


def _differs(graded_b: int, n_b: int, graded_c: int, n_c: int) -> bool:
    # The interval holds the difference itself, so a small one needs no interval.
    if n_b == 0 or n_c == 0 or abs(graded_b / n_b - graded_c / n_c) <= GAP:
        return False
    gap = newcombe_difference(graded_b, n_b, graded_c, n_c, level=LEVEL)
    return gap.lower > GAP or gap.upper < -GAP


def missing_blocks(reader: Reader, intent: str | None, start: int, ends: Minutes) -> Minutes:
    """How many blocks of the worst value, 1, stand for the missing labels in [start, end), for each end; (E,).

    In a stratum with n blocks, b missing and B known labels of the baseline, c and C of the candidate, they are
    ⌈n b / B⌉ + ⌈n c / C⌉. Together with the n blocks their mean is at least the loss of all labels, were each missing
    one right for the baseline and wrong for the candidate: with p = B/(B + b), q = C/(C + c) and accuracies x and y,
    that loss is p x + (1 − p) − q y; the mean is r (x − y) + 1 − r with 1/r = 1/p + 1/q − 1, and exceeds it by
    (p − r)(1 − x) + (q − r) y. Where no block is closed, all that the episodes could make count.
    """
    total = np.zeros(len(ends), dtype=np.int64)
    for one in _strata(reader, intent, start, ends).values():
        total += one.missing()
    return total


@dataclass(slots=True)
class _Stratum:
    """What came in under one split version of one intent, before each end."""

    arms: dict[str, Table]  # (E, 2), as KEYS
    blocks: Minutes

    def missing(self) -> Minutes:
        by_arm = [(table[:, 0], table[:, 1]) for table in self.arms.values()]
        lost = [np.maximum(n - graded, 0) for graded, n in by_arm]
        known = [np.maximum(graded, 1) for graded, _ in by_arm]
        shares = [-(-self.blocks * gone // of) for gone, of in zip(lost, known, strict=True)]
        none_closed = np.where(sum(lost) > 0, np.minimum(*(n for _, n in by_arm)), 0)
        found: Minutes = np.where(self.blocks > 0, sum(shares), none_closed)
        return found


def _strata(
    reader: Reader, intent: str | None, start: int, ends: Minutes
) -> dict[tuple[int, str], _Stratum]:
    strata: dict[tuple[int, str], _Stratum] = {}
    for arm, keys in _asked(reader, intent):
        for version, name, sums in reader.tallies.strata(arm=arm, intent=intent):
            nothing = np.zeros((len(ends), len(KEYS)), dtype=np.int64)
            empty = _Stratum({one.value: nothing for one in Arm}, nothing[:, 0])
            stratum = strata.setdefault((version, name), empty)
            grown = _grown(sums, keys, start, ends)
            if arm == BOTH_ARMS:
                stratum.blocks = stratum.blocks + grown.sum(axis=1)
            else:
                stratum.arms[arm] = stratum.arms[arm] + grown
    return strata


def _asked(reader: Reader, intent: str | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from ((arm.value, KEYS) for arm in Arm)
    yield BOTH_ARMS, reader.tallies.values_of_blocks(intent)


def _grown(sums: StratumSums, keys: tuple[str, ...], start: int, ends: Minutes) -> Table:
    table = sums.until(np.concatenate([[start], ends]), keys)
    grown: Table = table[1:] - table[0]
    return grown
