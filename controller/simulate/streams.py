"""Simulated traffic of one run: units that arrive, which arm answers them, and how, minute by minute.

Arrivals are Poisson; each unit is one request, and each answer fails, escalates, is wrong or right, independently of
all others, with the scenario's rates. Every split version draws from generators of its own, one for each day, so what
arrives does not depend on when the rollout is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.accounting_blocks import Sizes, block_sizes
from controller.rollout.accounting_state import rounded
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import FULL_BP, Arm, Plan
from controller.simulate.dense import (
    ESCALATED,
    FAILED,
    GRADED,
    REQUESTS,
    RIGHT_U,
    WIDTH,
    Blocks,
    Counted,
)
from controller.simulate.scenarios import (
    DAY_MIN,
    Rate,
    Rates,
    Scenario,
    Traffic,
    kind_of,
    mix,
    rates,
)

Grades = NDArray[np.bool_]
STRETCH_MIN: Final = DAY_MIN
"""Minutes that are drawn together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A split as it is in force: which part of each intent's units the candidate gets, in basis points."""

    version: int
    step: int
    shares: Mapping[str, int]
    pinned: frozenset[str]  # on the baseline and never compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What came in over some minutes, and how many wrong answers of the candidate's a client got, as expected."""

    counted: Counted
    wrong_served: NDArray[np.float64]


def groups(plan: Plan) -> Mapping[str, Sequence[str]]:
    """The intents that are drawn as one, by the first of them, which stands for all.

    A sum of Poisson streams is one. Where no rule is judged on an intent, only sums over all intents are looked at.
    """
    judged = {intent for rule in plan.rules for intent in plan.judged_intents(rule)}
    found: dict[object, list[str]] = {}
    for intent in plan.intents:
        alike = (intent.pinned, *kind_of(plan, intent.name))
        found.setdefault(intent.name if intent.name in judged else alike, []).append(intent.name)
    return {names[0]: names for names in found.values()}


@dataclass(frozen=True, slots=True)
class Labels:
    """Graded answers of one arm in order of their minutes."""

    minutes: NDArray[np.int64]
    right: Grades

    def and_then(self, later: Labels) -> Labels:
        return Labels(
            np.concatenate([self.minutes, later.minutes]), np.concatenate([self.right, later.right])
        )

    def after(self, used: int) -> Labels:
        return Labels(self.minutes[used:], self.right[used:])


NO_LABELS: Final = Labels(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_))


@dataclass(slots=True)
class Streams:
    """The traffic of one run. `first` is the minute it starts in; `entropy` and `run` seed it."""

    plan: Plan
    traffic: Traffic
    scenario: Scenario
    entropy: int
    run: int
    first: int
    groups: Mapping[str, Sequence[str]] = field(init=False)
    _with_blocks: frozenset[str] = field(init=False)
    _lines: dict[tuple[int, str], Line] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = groups(self.plan)
        self._with_blocks = frozenset(
            intent.name for intent in self.plan.intents if self._blocks_wanted(intent.name)
        )

    def draw(self, split: InForce, number: int, start: int, length: int) -> Drawn:
        """The `number`-th stretch of a split version: minutes [start, start + length)."""
        key = (self.run, split.version, number)
        random = np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=key))
        minutes = np.arange(start, start + length, dtype=np.int64)
        parts = mix(self.plan, self.traffic, self.scenario, split.step)
        groups = len(self.groups)
        compared = {arm.value: np.zeros((groups, WIDTH, length), dtype=np.int64) for arm in Arm}
        outside = np.zeros((groups, WIDTH, length), dtype=np.int64) if split.pinned else None
        wrong_served = np.zeros(length)
        blocks = []
        for place, (intent, names) in enumerate(self.groups.items()):
            arriving = self.traffic.units_per_minute * sum(parts[name] for name in names)
            share_bp = 0 if intent in split.pinned else split.shares[intent]
            sizes = block_sizes(share_bp) if intent in self._with_blocks else None
            labels: dict[Arm, Labels] = {}
            for arm in Arm:
                share = (share_bp if arm is Arm.CANDIDATE else FULL_BP - share_bp) / FULL_BP
                if not share:
                    continue
                of = self._rates(arm, intent, minutes)
                answered = self._answered(random, of, arriving * share, minutes, sizes)
                if intent in split.pinned and outside is not None:
                    outside[place] = answered.counts
                    continue
                compared[arm.value][place] = answered.counts
                if answered.labels is not None:
                    labels[arm] = answered.labels
                if arm is Arm.CANDIDATE:
                    wrong_served += answered.counts[REQUESTS] * (of.wrong - of.escalated)
            if sizes is not None:
                line = self._lines.setdefault((split.version, intent), Line(sizes))
                blocks.append(line.close(intent, labels))
        return Drawn(
            counted=Counted(length=length, compared=compared, outside=outside, blocks=blocks),
            wrong_served=wrong_served,
        )

    def _rates(self, arm: Arm, intent: str, minutes: NDArray[np.int64]) -> Rates:
        since_start = minutes - self.first
        return rates(
            self.plan, self.traffic, self.scenario, arm=arm, intent=intent, minutes=since_start
        )

    def _answered(
        self,
        random: np.random.Generator,
        of: Rates,
        per_minute: float,
        minutes: NDArray[np.int64],
        sizes: Sizes | None,
    ) -> _Answered:
        graded = _Graded(self.traffic.label_rate, self.plan.labels.sampled)
        if sizes is None:
            return _Answered.counted(random, of, per_minute, graded, len(minutes))
        return _Answered.one_by_one(random, of, per_minute, graded, minutes)

    def _blocks_wanted(self, intent: str) -> bool:
        """Whether a rule bets on them."""
        losses = [rule for rule in self.plan.rules if rule.metric.kind is Kind.LOSS]
        return any({None, intent} & {*self.plan.judged_intents(rule)} for rule in losses)


@dataclass(frozen=True, slots=True)
class _Graded:
    """Which part of ordinary answers is graded; and of escalated and failed ones counts as wrong, by the plan."""

    ordinary: float
    escalated: float


@dataclass(frozen=True, slots=True)
class _Answered:
    """The answers of one arm to one intent; `labels` None where their order is of no use."""

    counts: NDArray[np.int64]
    labels: Labels | None

    @classmethod
    def counted(
        cls,
        random: np.random.Generator,
        of: Rates,
        per_minute: float,
        graded: _Graded,
        length: int,
    ) -> _Answered:
        """By kind of answer: each kind of a Poisson stream is a Poisson stream of its own."""

        def kind(part: Rate) -> NDArray[np.int64] | int:
            there = part.any() if isinstance(part, np.ndarray) else part > 0
            return random.poisson(per_minute * part, length) if there else 0

        right = kind(graded.ordinary * (1 - of.graded_wrong))
        wrong = kind(graded.ordinary * (of.graded_wrong - of.escalated))
        ungraded = kind((1 - graded.ordinary) * (1 - of.escalated))
        escalated = kind(of.escalated - of.failed)
        failed = kind(of.failed)
        without = escalated + failed
        known = random.binomial(without, graded.escalated) if graded.escalated < 1 else without
        counts = np.zeros((WIDTH, length), dtype=np.int64)
        counts[GRADED] = right + wrong + known
        counts[REQUESTS] = right + wrong + ungraded + without
        counts[ESCALATED], counts[FAILED] = without, failed
        counts[RIGHT_U] = right * MICRO
        return cls(counts, None)

    @classmethod
    def one_by_one(
        cls,
        random: np.random.Generator,
        of: Rates,
        per_minute: float,
        graded: _Graded,
        minutes: NDArray[np.int64],
    ) -> _Answered:
        """The same with each label, for blocks are made of single ones."""
        length = len(minutes)
        n = random.poisson(per_minute, length)
        when = np.repeat(np.arange(length), n)
        drawn = random.random(len(when))
        # One number tells an answer's fate: what fails is escalated, and what is escalated is graded wrong.
        wrong = (drawn < np.max(of.graded_wrong)).nonzero()[0]
        of_wrong = drawn[wrong]

        def hit(rate: Rate) -> NDArray[np.intp]:
            return wrong[of_wrong < _each(rate, when[wrong])]

        def by_minute(hits: NDArray[np.intp]) -> NDArray[np.int64]:
            return np.bincount(when[hits], minlength=length)

        right = np.ones(len(when), dtype=np.bool_)
        right[hit(of.graded_wrong)] = False
        labels = Labels(when + minutes[0], right)
        counts = np.zeros((WIDTH, length), dtype=np.int64)
        counts[REQUESTS] = counts[GRADED] = n
        if min(graded.ordinary, graded.escalated) < 1:
            known = random.random(len(when)) < graded.ordinary
            # What failed or escalated is known to be wrong without a label.
            without = hit(of.escalated)
            everywhere = graded.escalated >= 1
            known[without] = everywhere or random.random(len(without)) < graded.escalated
            labels = Labels(labels.minutes[known], right[known])
            counts[GRADED] = by_minute(known.nonzero()[0])
            right &= known
            counts[RIGHT_U] = by_minute(right.nonzero()[0]) * MICRO
        else:
            counts[RIGHT_U] = (n - by_minute((~right).nonzero()[0])) * MICRO
        for column, rate in ((ESCALATED, of.escalated), (FAILED, of.failed)):
            if np.any(rate):
                counts[column] = by_minute(hit(rate))
        return cls(counts, labels)


def _each(rate: Rate, when: NDArray[np.int64]) -> Rate:
    """The rate of each answer, by its minute."""
    return rate[when] if isinstance(rate, np.ndarray) and rate.ndim else rate


class Line:
    """Labels of one intent and split version in line, and the blocks they make, as `accounting_blocks` forms them.

    All are mature when they are looked at and none comes late, so blocks take the arms' labels in order of their
    minutes; those of one minute stand as they were drawn, which is as good an order as any.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._waiting = dict.fromkeys(Arm, NO_LABELS)
        k = {arm: sizes.of(arm.value) for arm in Arm}
        pairs = k[Arm.BASELINE] * k[Arm.CANDIDATE]
        by_grades = np.array(
            [
                [
                    rounded(MICRO * (k[Arm.CANDIDATE] * b - k[Arm.BASELINE] * c), pairs)
                    for c in range(k[Arm.CANDIDATE] + 1)
                ]
                for b in range(k[Arm.BASELINE] + 1)
            ]
        )
        values, places = np.unique(by_grades, return_inverse=True)
        self._values_u: tuple[int, ...] = tuple(values.tolist())
        self._places = places.reshape(by_grades.shape)

    def close(self, intent: str, labels: Mapping[Arm, Labels]) -> Blocks:
        """The blocks that there are enough labels for, with those that have waited."""
        for arm, later in labels.items():
            self._waiting[arm] = self._waiting[arm].and_then(later)
        sizes = {arm: self._sizes.of(arm.value) for arm in Arm}
        count = min(len(self._waiting[arm].minutes) // sizes[arm] for arm in Arm)
        right, last = {}, {}
        for arm, size in sizes.items():
            used = count * size
            right[arm] = self._waiting[arm].right[:used].reshape(count, size).sum(axis=1)
            last[arm] = self._waiting[arm].minutes[size - 1 : used : size]
            self._waiting[arm] = self._waiting[arm].after(used)
        minutes = np.maximum(*last.values())
        return Blocks(
            intent=intent,
            values_u=self._values_u,
            minutes=minutes,
            places=self._places[right[Arm.BASELINE], right[Arm.CANDIDATE]],
        )
