"""Blocks: unpaired accuracy as a sequence of bounded values.

Inside one intent and one split version, one label of the smaller arm and k of the larger, each used once.

When a label is used must not depend on its value. An error is known at once and a good answer hours later: taken as
they come, an arm's failures would stand before its successes, and neither a block's members nor the blocks' order
would be exchangeable. So a label is used only once it is mature, its episode's start minute `labels.delay` ago, when
the good answers of that minute are known too; and labels stand in line by their episodes' start (ids break ties),
never by when they were graded. One that is graded later than the delay joins where its start belongs. One that has no
grade any more, for its answer turned out escalated outside a sample, leaves its line or opens its block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controller.rollout.counting.deltas import Tally, count_block
from controller.rollout.counting.items import MINUTE_US, Block, Episode, Label, rounded
from controller.rollout.plan import FULL_BP, Arm
from controller.rollout.timeline import minute_of

ARMS: Final = (Arm.BASELINE.value, Arm.CANDIDATE.value)
Stratum = tuple[str, int, str]
"""rollout, split version, intent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many labels of each arm make a block."""

    baseline: int
    candidate: int

    def of(self, arm: str) -> int:
        return self.candidate if arm == Arm.CANDIDATE.value else self.baseline

    def smaller_first(self) -> tuple[str, str]:
        """The arms, the one of which a block takes a single label first."""
        baseline, candidate = ARMS
        return (baseline, candidate) if self.baseline < self.candidate else (candidate, baseline)


def block_sizes(share_bp: int) -> Sizes | None:
    """One label of the smaller arm and round(its complement / its share) of the larger; None without two arms."""
    if not 0 < share_bp < FULL_BP:
        return None
    if 2 * share_bp <= FULL_BP:
        return Sizes(baseline=max(1, rounded(FULL_BP - share_bp, share_bp)), candidate=1)
    return Sizes(baseline=1, candidate=max(1, rounded(share_bp, FULL_BP - share_bp)))


def stratum_of(one: Episode | Label) -> Stratum:
    return one.rollout, one.version, one.intent


def immature_from(now: datetime, delay: timedelta) -> int:
    """The first start, in microseconds, of episodes whose labels are not mature yet."""
    return (minute_of(now - delay) + 1) * MINUTE_US


def block_count(line: Iterable[Label], sizes: Sizes) -> int:
    """How many blocks these labels are enough for."""
    arms = Counter(label.arm for label in line)
    return min(arms[arm] // sizes.of(arm) for arm in ARMS)


def close_blocks(line: Collection[Label], sizes: Sizes) -> list[tuple[Block, list[Label]]]:
    """The blocks that mature labels of one stratum, none in a block yet, are enough for, with their members."""
    waiting = _by_arm(sorted(line, key=place_of))
    return [
        _close([one for arm in ARMS for one in _nth(waiting[arm], number, sizes.of(arm))])
        for number in range(block_count(line, sizes))
    ]


def amend(block: Block, members: Sequence[Label], tally: Tally) -> bool:
    """Bring a closed block to its members' present grades, in its own minute; whether that changed its value."""
    value_u = _value_u(members)
    if value_u == block.value_u:
        return False
    count_block(tally, block, -1)
    block.value_u = value_u
    count_block(tally, block, +1)
    return True


def place_of(label: Label) -> tuple[int, str]:
    """Where it stands in line."""
    return label.start, label.id


def label_of(episode: Episode) -> Label:
    """A newly graded episode's label."""
    grade_u = episode.grade_u()
    assert grade_u is not None, "only a graded episode is a label"  # noqa: S101 # the caller's invariant
    return Label(
        id=episode.id,
        rollout=episode.rollout,
        version=episode.version,
        intent=episode.intent,
        arm=episode.arm,
        start=episode.start,
        grade_u=grade_u,
    )


def _nth(labels: Sequence[Label], number: int, size: int) -> Sequence[Label]:
    return labels[number * size : (number + 1) * size]


def _close(members: list[Label]) -> tuple[Block, list[Label]]:
    alone = min(_by_arm(members).values(), key=len)[0]
    rollout, version, intent = stratum_of(alone)
    minute = max(label.start for label in members) // MINUTE_US
    block = Block(alone.id, rollout, version, intent, minute, _value_u(members))
    for label in members:
        label.block = block.id
    return block, members


def _by_arm(members: Iterable[Label]) -> dict[str, list[Label]]:
    arms: dict[str, list[Label]] = {arm: [] for arm in ARMS}
    for label in members:
        arms[label.arm].append(label)
    return arms


def _value_u(members: Iterable[Label]) -> int:
    """Baseline mean − candidate mean in millionths, rounded once."""
    baseline, candidate = _by_arm(members).values()
    difference = len(candidate) * sum(label.grade_u for label in baseline)
    difference -= len(baseline) * sum(label.grade_u for label in candidate)
    return rounded(difference, len(baseline) * len(candidate))
