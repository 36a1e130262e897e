"""How runs of a plan end, whether simulated or replayed, and how many of them in each way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.stats.proportions import Interval, wilson


class Ending(StrEnum):
    COMPLETED = "completed"
    PAUSED = "paused"
    ROLLED_BACK = "rolled back"
    UNFINISHED = "not finished"


STOPS: Final = (Ending.PAUSED, Ending.ROLLED_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How many of the runs, and the 95% Wilson interval of that share."""

    count: int
    share: float
    interval: Interval


def parts_of(endings: Sequence[Ending]) -> Mapping[Ending, Part]:
    """Of at least one run: how many ended in each way."""
    counted, runs = Counter(endings), len(endings)
    return {ending: part_of(counted[ending], runs) for ending in Ending}


def part_of(count: int, runs: int) -> Part:
    return Part(count=count, share=count / runs, interval=wilson(count, runs))
