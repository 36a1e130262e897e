"""Where labels come late: when a rule's proof may fire, and when a step's proof may be there, by bounds.

What is known of a window then changes with the moment, so a look in a minute cannot be told from a later one. Blocks
are known beforehand with the minute in which each comes to be known; most come by when they are judged first. Where
bounds by them say that nothing can fire, no look is needed; the others are left to real readings, and so is what people
grade beside a judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes
from controller.rollout.evidence import proofs
from controller.rollout.evidence.powered import has_people
from controller.rollout.evidence.view import View
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import Evidence, Rule
from controller.rollout.timeline import minute_of
from controller.simulate.drawn.block_sums import Floats, wealth_at
from controller.simulate.drawn.knowledge import Knowledge
from controller.simulate.runs.failing import SLACK, Race
from controller.stats.betting import Bets, log_increments

HOUR_MIN: Final = 60


def suspected_hours(
    first: int, last: int, may_fail: Callable[[int, int], bool]
) -> Iterator[tuple[int, int]]:
    """The hours after `first`, up to `last`, in which something may fail; whole stretches are left out at once."""
    if first >= last or not may_fail(first, last):
        return
    if last - first <= HOUR_MIN:
        yield first, last
        return
    hours = -(-(last - first) // HOUR_MIN)
    middle = first + (hours // 2) * HOUR_MIN
    yield from suspected_hours(first, middle, may_fail)
    yield from suspected_hours(middle, last, may_fail)


class LateBounds:
    """In which minutes a proof of a rule whose labels come late may fire, by blocks formed up to `view.now`.

    A block that is known by when the first end behind it is judged counts as it is. One that comes later changes ends
    that were judged: over some minutes in which it may or may not be there, it counts where it is for the proof.
    """

    def __init__(self, view: View, late: Knowledge, rule: Rule) -> None:
        self._view, self._late, self._rule = view, late, rule
        self._ahead = minute_of(view.now) - view.watermark(rule)
        self._epoch_min = minute_of(view.state.epoch(rule.name).start)
        by_blocks = rule.metric.kind is Kind.LOSS and not has_people(view.plan, rule)
        self._told = by_blocks and rule.evidence is Evidence.CONFIDENT
        intents = [one for one in view.plan.judged_intents(rule) if one not in view.state.pins]
        bets, side = proofs.failing_bets(view.plan, rule, "blocks"), proofs.bad_side(rule)
        self._of_each = [_blocks(late, one, bets, side) for one in intents] if self._told else []

    def may_fail(self, judged: int, until: int) -> bool:
        """Whether a look may find a failure that is new, after one minute and up to another."""
        if not self._told:
            return True
        changed = min(self._late.first_changed(judged, until), judged - self._ahead)
        ends = np.arange(max(changed, self._epoch_min) + 1, until - self._ahead + 1)
        if not len(ends):
            return False
        race = Race.of(self._view, self._rule, ends)
        bounds = np.append(race.ends[race.heads], race.ends[-1])
        return any(
            (race.margins(*wealth_at(wealth, moments, race.starts, bounds)) >= -SLACK).any()
            for wealth, moments in (self._at_most(one, judged, until) for one in self._of_each)
        )

    def _at_most(
        self, of: tuple[Minutes, Minutes, Floats], judged: int, until: int
    ) -> tuple[Floats, Minutes]:
        """The wealth after each block that may be known, at most, and the blocks' minutes."""
        minutes, known, added = of
        there = known <= until
        minutes, added = minutes[there], added[:, there]
        stays = known[there] <= np.maximum(minutes + 1 + self._ahead, judged)
        return _summed(np.where(stays, added, added.clip(min=0))), minutes


def may_be_proven(
    view: View, late: Knowledge, rule: Rule, intent: str, moments: Minutes
) -> NDArray[np.bool_]:
    """Whether the labels that came by each of some moments may hold a proof that a loss is within its limit.

    Where arms have labels in different parts those that are missing may still stand against it.
    """
    if has_people(view.plan, rule):
        return np.ones(len(moments), dtype=np.bool_)
    bets, side = proofs.passing_bets(view.plan, rule, "blocks"), -proofs.bad_side(rule)
    minutes, known, added = _blocks(late, intent, bets, side)
    since = minutes >= minute_of(view.state.epoch(rule.name).start)
    ahead = minute_of(view.now) - view.watermark(rule)
    counts_from = np.maximum(known, minutes + 1 + ahead)[since]
    order = counts_from.argsort(kind="stable")
    wealth = _summed(added[:, since][:, order])
    reached = wealth.take(counts_from[order].searchsorted(moments, side="right"), axis=1)
    most = reached.max(axis=0)
    log_e = most + np.log(np.exp(reached - most).mean(axis=0))
    there: NDArray[np.bool_] = log_e >= proofs.pass_threshold(view.plan, 1) - SLACK
    return there


def _blocks(
    late: Knowledge, intent: str | None, bets: Bets, side: int
) -> tuple[Minutes, Minutes, Floats]:
    """Minutes, ascending, when each block comes to be known, and what it adds to the logarithm of each bet's wealth,
    where bets are on `side` × its value.
    """
    minutes, known = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    added = [np.empty((len(bets.lambdas), 0))]
    for blocks in late.blocks(intent):
        minutes.append(blocks.minutes)
        known.append(blocks.known)
        values = np.array(blocks.values.millionths) / MICRO
        added.append(log_increments(side * values, bets)[:, blocks.places])
    every = np.concatenate(minutes)
    order = every.argsort(kind="stable")
    return every[order], np.concatenate(known)[order], np.concatenate(added, axis=1)[:, order]


def _summed(added: Floats) -> Floats:
    """After none, one, … of some blocks; (bets, blocks + 1)."""
    wealth = np.zeros((len(added), added.shape[1] + 1))
    np.cumsum(added, axis=1, out=wealth[:, 1:])
    return wealth
