"""Label coverage of the arms: whether it differs, and what the missing labels could hide at most.

Labels that are missing on one arm more than on the other may be missing because of what they would have said. Before a
pass they are then taken for the worst: wrong for the candidate, right for the baseline.

Where a sample of answers is graded (`labels.sampled`), missing is what is missing within the sample, and what is
counted are answers: each is graded or not by itself, whatever else its conversation holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.counting.tallies import StratumSums
from controller.rollout.evidence.reader import Reader
from controller.rollout.metrics import MICRO
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Arm
from controller.rollout.verdict import Coverage
from controller.stats.proportions import newcombe_difference, wilson

LEVEL = 0.999
GAP = 0.02
"""Of what is to be graded: what lies within it makes no difference."""
KEYS = ("e.graded", "e")
OF_SAMPLE = ("graded", "n")
STRATUM = (*KEYS, *OF_SAMPLE, "f.escalated", "f.error")


def coverage_between(
    reader: Reader, intent: str | None, start: int, end: int, *, sampled_u: int = MICRO
) -> Coverage:
    """Graded episodes and all of them, of a sample graded answers and all of them, by arm, in [start, end)."""
    (graded_b, n_b), (graded_c, n_c) = (
        reader.between(start, end, _counted(sampled_u), arm=arm.value, intent=intent)
        for arm in (Arm.BASELINE, Arm.CANDIDATE)
    )
    return Coverage(
        baseline_graded=graded_b,
        baseline_n=n_b,
        candidate_graded=graded_c,
        candidate_n=n_c,
        differs=_differs(graded_b, n_b, graded_c, n_c, sampled_u),
        sampled_u=sampled_u,
    )


def coverage_of_people(graded_b: int, n_b: int, graded_c: int, n_c: int) -> Coverage:
    """Of drawn episodes those that people have graded, and all of them. `differs` where clearly not all of an arm's are
    graded: those that are wrong without a person then weigh too much, and nobody knows why the others were left. The
    arms' parts can differ in no other way.
    """
    return Coverage(
        baseline_graded=graded_b,
        baseline_n=n_b,
        candidate_graded=graded_c,
        candidate_n=n_c,
        differs=_is_under(graded_b, n_b, MICRO) or _is_under(graded_c, n_c, MICRO),
        by_people=True,
    )


def falls_short(counted: Table) -> NDArray[np.bool_]:
    """Whether `coverage_of_people` of each row differs: graded and all of the baseline, of the candidate; (E, 4) to
    (E,).
    """
    short = np.zeros(len(counted), dtype=np.bool_)
    some_left = (counted[:, 0] < counted[:, 1]) | (counted[:, 2] < counted[:, 3])
    rows, back = np.unique(counted[some_left], axis=0, return_inverse=True)
    differs = [coverage_of_people(*row).differs for row in rows.tolist()]
    short[some_left] = np.array(differs, dtype=np.bool_)[back]
    return short


def is_doubtful(coverage: Coverage) -> bool:
    """Whether a pass must hold with every missing label against it.

    So it must where the arms' coverage differs, and where more of the candidate's answers are graded than were to be:
    its escalated and failed ones, which count in the planned part alone, then weigh too little.
    """
    graded, n = coverage.candidate_graded, coverage.candidate_n
    return coverage.differs or _is_over(graded, n, coverage.sampled_u)


class Straying(StrEnum):
    """Which part of an arm's answers is graded: clearly fewer or more than was planned.

    By the 99.9% Wilson interval, beyond two hundredths of the planned part. Answers that are wrong without a grade then
    weigh too much, or too little.
    """

    FEWER = "fewer"
    MORE = "more"


def straying(coverage: Coverage) -> Mapping[Arm, Straying]:
    """The arms of which another part is graded than was planned."""
    counts = {
        Arm.BASELINE: (coverage.baseline_graded, coverage.baseline_n),
        Arm.CANDIDATE: (coverage.candidate_graded, coverage.candidate_n),
    }
    found = {arm: _straying(*of, coverage.sampled_u) for arm, of in counts.items()}
    return {arm: how for arm, how in found.items() if how is not None}


def _straying(graded: int, n: int, sampled_u: int) -> Straying | None:
    if _is_over(graded, n, sampled_u):
        return Straying.MORE
    return Straying.FEWER if _is_under(graded, n, sampled_u) else None


def _is_over(graded: int, n: int, sampled_u: int) -> bool:
    most = (1 + GAP) * sampled_u / MICRO
    # The interval holds the share itself, so one that is near needs no interval.
    return graded > most * n and wilson(graded, n, level=LEVEL).lower > most


def _is_under(graded: int, n: int, sampled_u: int) -> bool:
    least = (1 - GAP) * sampled_u / MICRO
    return graded < least * n and wilson(graded, n, level=LEVEL).upper < least


def uneven(
    reader: Reader, intent: str | None, start: int, ends: Minutes, *, sampled_u: int = MICRO
) -> NDArray[np.bool_]:
    """Whether coverage in [start, end) `is_doubtful`, for each end; (E,)."""
    marks = np.concatenate([[start], ends])
    tables = [
        reader.tallies.until(marks, _counted(sampled_u), arm=arm.value, intent=intent)
        for arm in (Arm.BASELINE, Arm.CANDIDATE)
    ]
    counted = np.concatenate([table[1:] - table[0] for table in tables], axis=1).tolist()
    doubtful = [
        _differs(graded_b, n_b, graded_c, n_c, sampled_u) or _is_over(graded_c, n_c, sampled_u)
        for graded_b, n_b, graded_c, n_c in counted
    ]
    return np.array(doubtful, dtype=np.bool_)


def _counted(sampled_u: int) -> tuple[str, str]:
    return KEYS if sampled_u >= MICRO else OF_SAMPLE


def _differs(graded_b: int, n_b: int, graded_c: int, n_c: int, sampled_u: int) -> bool:
    gap = GAP * sampled_u / MICRO
    # The interval holds the difference itself, so a small one needs no interval.
    if n_b == 0 or n_c == 0 or abs(graded_b / n_b - graded_c / n_c) <= gap:
        return False
    between = newcombe_difference(graded_b, n_b, graded_c, n_c, level=LEVEL)
    return between.lower > gap or between.upper < -gap


def missing_blocks(
    reader: Reader, intent: str | None, start: int, ends: Minutes, *, sampled_u: int = MICRO
) -> Minutes:
    """How many blocks of the worst value, 1, stand for the missing labels in [start, end), for each end; (E,).

    In a stratum with n blocks, b missing and B known labels of the baseline, c and C of the candidate, they are
    ⌈n b / B⌉ + ⌈n c / C⌉. Together with the n blocks their mean is at least the loss of all labels, were each missing
    one right for the baseline and wrong for the candidate: with p = B/(B + b), q = C/(C + c) and accuracies x and y,
    that loss is p x + (1 − p) − q y; the mean is r (x − y) + 1 − r with 1/r = 1/p + 1/q − 1, and exceeds it by
    (p − r)(1 − x) + (q − r) y. Where no block is closed, all that the episodes could make count.

    Of a sample, what is missing are answers (`_missing_of_sample`), and in conversations each counts for more than one
    episode (`_in_conversations`).
    """
    total = np.zeros(len(ends), dtype=np.int64)
    for one in _strata(reader, intent, start, ends).values():
        total += one.missing(sampled_u)
    return total


@dataclass(slots=True)
class _Stratum:
    """What came in under one split version of one intent, before each end."""

    arms: dict[str, Table]  # (E, 6), as STRATUM
    blocks: Minutes

    def missing(self, sampled_u: int) -> Minutes:
        lost = [_missing_of(arm, table.T, sampled_u) for arm, table in self.arms.items()]
        by_arm = [(table[:, 0], table[:, 1]) for table in self.arms.values()]
        known = [np.maximum(graded, 1) for graded, _ in by_arm]
        shares = [-(-self.blocks * gone // of) for gone, of in zip(lost, known, strict=True)]
        none_closed = np.where(sum(lost) > 0, np.minimum(*(n for _, n in by_arm)), 0)
        found: Minutes = np.where(self.blocks > 0, sum(shares), none_closed)
        return found


def _missing_of(arm: str, columns: Table, sampled_u: int) -> Minutes:
    """An arm's missing labels, as episodes; (E,)."""
    graded, episodes, *of_answers = columns
    if sampled_u >= MICRO:
        missing: Minutes = np.maximum(episodes - graded, 0)
        return missing
    weighed = arm == Arm.CANDIDATE.value
    missing = _missing_of_sample(*of_answers, sampled_u=sampled_u, weighed=weighed)
    several: Minutes = np.where(
        of_answers[1] > episodes, _in_conversations(missing, graded), missing
    )
    return several


def _in_conversations(missing: Minutes, known: Minutes) -> Minutes:
    """How many episodes without a label are at least as bad as missing answers of several-answer episodes; (E,).

    Of K known episodes with accuracy y ≥ 50%, a K answers are missing beside labels that came and u K stand alone. At
    worst those a K are spread over the episodes that are right, so that y shrinks by (1 + 2a)(1 + u) at most, which is
    no more than 1 + 2r + r²/2 with r = a + u; (2r + r²/2) K episodes without a label shrink it by just that.
    """
    found: Minutes = 2 * missing - (-missing * missing // (2 * np.maximum(known, 1)))
    return found


def _missing_of_sample(
    graded: Minutes,
    n: Minutes,
    escalated: Minutes,
    failed: Minutes,
    *,
    sampled_u: int,
    weighed: bool,
) -> Minutes:
    """Answers that are missing of a sample; (E,).

    What is short of sampled × n; and where more are graded and the arm's wrong answers are `weighed`, how many
    escalated and failed ones are lacking for them to weigh as much as the others. Of n answers W are escalated or
    failed, of which sampled W count, and of the others a part r is graded: graded = sampled W + r (n − W), and lacking
    are W (r − sampled) = W (graded − sampled n) / (n − W).
    """
    over_u = graded * MICRO - sampled_u * n
    short: Minutes = -(np.minimum(over_u, 0) // MICRO)
    if not weighed:
        return short
    over = -(np.minimum(-over_u, 0) // MICRO)
    wrong = np.minimum(escalated + failed, n)  # at most: one may be both
    lacking: Minutes = -(-wrong * over // np.maximum(n - wrong, 1))
    return short + lacking


def _strata(
    reader: Reader, intent: str | None, start: int, ends: Minutes
) -> dict[tuple[int, str], _Stratum]:
    strata: dict[tuple[int, str], _Stratum] = {}
    for arm, keys in _asked(reader, intent):
        for version, name, sums in reader.tallies.strata(arm=arm, intent=intent):
            nothing = np.zeros((len(ends), len(STRATUM)), dtype=np.int64)
            empty = _Stratum({one.value: nothing for one in Arm}, nothing[:, 0])
            stratum = strata.setdefault((version, name), empty)
            grown = _grown(sums, keys, start, ends)
            if arm == BOTH_ARMS:
                stratum.blocks = stratum.blocks + grown.sum(axis=1)
            else:
                stratum.arms[arm] = stratum.arms[arm] + grown
    return strata


def _asked(reader: Reader, intent: str | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from ((arm.value, STRATUM) for arm in Arm)
    yield BOTH_ARMS, reader.tallies.values_of_blocks(intent)


def _grown(sums: StratumSums, keys: tuple[str, ...], start: int, ends: Minutes) -> Table:
    table = sums.until(np.concatenate([[start], ends]), keys)
    grown: Table = table[1:] - table[0]
    return grown
