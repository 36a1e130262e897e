"""Blocks: unpaired accuracy as a sequence of bounded values (STATISTICS.md §2(b)).

Inside one intent and one split version, one label of the smaller arm and k of the larger, each used once, in the order
in which episodes were first graded. At most one arm of a stratum ever has enough labels in line for a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.rollout.accounting_state import MINUTE_US, Block, Episode, Label, rounded
from controller.rollout.accounting_tally import Tally, count_block
from controller.rollout.plan import FULL_BP, Arm

Stratum = tuple[str, int, str]
"""rollout, split version, intent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many labels of each arm make a block."""

    baseline: int
    candidate: int

    def of(self, arm: str) -> int:
        return self.candidate if arm == Arm.CANDIDATE.value else self.baseline


def block_sizes(share_bp: int) -> Sizes | None:
    """One label of the smaller arm and round(its complement / its share) of the larger; None without two arms."""
    if not 0 < share_bp < FULL_BP:
        return None
    if 2 * share_bp <= FULL_BP:
        return Sizes(baseline=max(1, rounded(FULL_BP - share_bp, share_bp)), candidate=1)
    return Sizes(baseline=1, candidate=max(1, rounded(share_bp, FULL_BP - share_bp)))


def stratum_of(one: Episode | Label) -> Stratum:
    return one.rollout, one.version, one.intent


def needed(sizes: Sizes, fresh: Sequence[Label]) -> dict[str, int]:
    """How many labels in line, by arm, can be used at most when these new ones join.

    One arm was short of a block before, so no more can close than one and what the new labels are enough for.
    """
    blocks = 1 + max(sum(one.arm == arm for one in fresh) // sizes.of(arm) for arm in _ARMS)
    return {arm: blocks * sizes.of(arm) for arm in _ARMS}


def close_blocks(line: Iterable[Label], sizes: Sizes) -> list[tuple[Block, list[Label]]]:
    """The blocks that labels in line (one stratum, none in a block yet) are enough for, with their members."""
    waiting: dict[str, list[Label]] = {arm: [] for arm in _ARMS}
    for label in sorted(line, key=lambda label: label.position):
        waiting[label.arm].append(label)
    count = min(len(waiting[arm]) // sizes.of(arm) for arm in _ARMS)
    return [
        _close([one for arm in _ARMS for one in _nth(waiting[arm], number, sizes.of(arm))])
        for number in range(count)
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


def label_of(episode: Episode, position: int) -> Label:
    """A newly graded episode's place in line."""
    grade_u = episode.grade_u()
    assert grade_u is not None, "only a graded episode is a label"  # noqa: S101 # the caller's invariant
    return Label(
        id=episode.id,
        rollout=episode.rollout,
        version=episode.version,
        intent=episode.intent,
        arm=episode.arm,
        position=position,
        minute=episode.start // MINUTE_US,
        grade_u=grade_u,
    )


_ARMS = (Arm.BASELINE.value, Arm.CANDIDATE.value)


def _nth(labels: Sequence[Label], number: int, size: int) -> Sequence[Label]:
    return labels[number * size : (number + 1) * size]


def _close(members: list[Label]) -> tuple[Block, list[Label]]:
    alone = min(_by_arm(members).values(), key=len)[0]
    rollout, version, intent = stratum_of(alone)
    minute = max(label.minute for label in members)
    block = Block(alone.id, rollout, version, intent, minute, _value_u(members))
    for label in members:
        label.block = block.id
    return block, members


def _by_arm(members: Iterable[Label]) -> Mapping[str, list[Label]]:
    arms: dict[str, list[Label]] = {arm: [] for arm in _ARMS}
    for label in members:
        arms[label.arm].append(label)
    return arms


def _value_u(members: Iterable[Label]) -> int:
    """Baseline mean − candidate mean in millionths, rounded once."""
    baseline, candidate = _by_arm(members).values()
    difference = len(candidate) * sum(label.grade_u for label in baseline)
    difference -= len(baseline) * sum(label.grade_u for label in candidate)
    return rounded(difference, len(baseline) * len(candidate))
