"""Simulated traffic of one run: units that arrive, which arm answers them, and how, minute by minute.

Arrivals are Poisson; each unit fails, escalates, is wrong or right, independently of all others, with the scenario's
rates. It is one request, or a geometric number of them, which then all fare alike and are counted in the minute of the
first: a conversation escalates as a whole. Every split version draws from generators of its own, one for each day, so
what arrives does not depend on when the rollout is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.accounting_blocks import Sizes, block_sizes
from controller.rollout.comparison import compared as compared_by
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import FULL_BP, Arm, Plan
from controller.rollout.sums import Table
from controller.rollout.timeline import MINUTE
from controller.simulate.block_sums import Blocks
from controller.simulate.dense import (
    ESCALATED,
    FAILED,
    GRADED,
    ONE_REQUEST,
    REQUESTS,
    REQUESTS_APART,
    REQUESTS_ESCALATED,
    REQUESTS_FAILED,
    REQUESTS_GRADED,
    RIGHT_U,
    UNITS,
    Columns,
    Counted,
    with_people,
)
from controller.simulate.histograms import Buckets
from controller.simulate.knowledge import Coming
from controller.simulate.lateness import Lateness
from controller.simulate.lines import NOTHING, Labels, Line, Values, values_of
from controller.simulate.people import SALT, ByPeople, Judged, Number, People
from controller.simulate.quantities import Quantities
from controller.simulate.scenarios import (
    DAY_MIN,
    Rate,
    Rates,
    Scenario,
    Traffic,
    kind_of,
    mix,
    rate_at,
    rates,
)
from controller.simulate.usual import Usual

STRETCH_MIN: Final = DAY_MIN
"""Minutes that are drawn together."""
APART: Final = 2  # beside the generators of what arrives and how it is answered


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A split as it is in force: which part of each intent's units the candidate gets, in basis points."""

    version: int
    step: int
    shares: Mapping[str, int]
    pinned: frozenset[str]  # on the baseline and never compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What came in over some minutes, and how many wrong answers of the candidate's a client got, as expected.

    `coming` are all labels of its units, where some come late: `counted` then holds those that come in time.
    """

    counted: Counted
    wrong_served: NDArray[np.float64]
    coming: Sequence[Coming] = ()


def groups(plan: Plan) -> Mapping[str, Sequence[str]]:
    """The intents that are drawn as one, by the first of them, which stands for all.

    A sum of Poisson streams is one. Where no rule is judged on an intent, only sums over all intents are looked at.
    """
    if compared_by(plan):  # each intent's minutes are bet on for themselves
        return {intent.name: [intent.name] for intent in plan.intents}
    judged = {intent for rule in plan.rules for intent in plan.judged_intents(rule)}
    found: dict[object, list[str]] = {}
    for intent in plan.intents:
        alike = (intent.pinned, *kind_of(plan, intent.name))
        found.setdefault(intent.name if intent.name in judged else alike, []).append(intent.name)
    return {names[0]: names for names in found.values()}


@dataclass(slots=True)
class Streams:
    """The traffic of one run. `first` is the minute it starts in; `entropy` and `run` seed it."""

    plan: Plan
    traffic: Traffic
    scenario: Scenario
    entropy: int
    run: int
    first: int
    usual: Usual = field(default_factory=Usual)
    groups: Mapping[str, Sequence[str]] = field(init=False)
    columns: Columns = field(init=False)
    quantities: Quantities | None = field(init=False)
    _with_blocks: frozenset[str] = field(init=False)
    _lines: dict[tuple[int, str], Line] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = groups(self.plan)
        self.columns = REQUESTS_APART if self.traffic.requests_per_unit > 1 else ONE_REQUEST
        if self.plan.labels.people_u:
            self.columns = with_people(self.columns)
        self.quantities = Quantities.of(
            self.plan, self.traffic, self.usual, self.scenario, self.columns
        )
        if self.quantities is not None:
            self.columns = self.quantities.columns
        self._with_blocks = frozenset(
            intent.name for intent in self.plan.intents if self._blocks_wanted(intent.name)
        )

    def draw(self, split: InForce, number: int, start: int, length: int) -> Drawn:
        """The `number`-th stretch of a split version: minutes [start, start + length)."""
        key = (self.run, split.version, number)
        random, apart = (
            np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=one))
            for one in (key, (*key, APART))
        )
        people = self._people(key)
        minutes = np.arange(start, start + length, dtype=np.int64)
        parts = mix(self.plan, self.traffic, self.scenario, split.step)
        groups = len(self.groups)
        compared = {
            arm.value: np.zeros((groups, self.columns.width, length), dtype=np.int64) for arm in Arm
        }
        outside = np.zeros(
            (groups if split.pinned else 0, self.columns.width, length), dtype=np.int64
        )
        wrong_served = np.zeros(length)
        blocks, coming = [], []
        for place, (intent, names) in enumerate(self.groups.items()):
            arriving = self.traffic.units_per_minute * sum(parts[name] for name in names)
            share_bp = 0 if intent in split.pinned else split.shares[intent]
            sizes = block_sizes(share_bp) if intent in self._with_blocks else None
            values = values_of(sizes) if sizes is not None else None
            labels: dict[Arm, Labels] = {}
            for arm in Arm:
                share = (share_bp if arm is Arm.CANDIDATE else FULL_BP - share_bp) / FULL_BP
                if not share:
                    continue
                of = self._rates(arm, intent, minutes)
                counted = outside if intent in split.pinned else compared[arm.value]
                counts = counted[place]
                looked_at = (
                    people if intent in self._with_blocks and intent not in split.pinned else None
                )
                answered = self._answered(
                    random, of, arriving * share, minutes, sizes, counts, looked_at, apart
                )
                if intent in split.pinned:
                    continue
                if answered.labels is not None:
                    labels[arm] = answered.labels
                if answered.come is not None:
                    coming.append(answered.come.coming(arm, intent, values))
                if arm is Arm.CANDIDATE:
                    requests = counts[self.columns.requests]
                    wrong_served += requests * (of.wrong - of.escalated)
            if values is not None and self.scenario.lateness is not None:
                blocks.append(
                    Blocks(
                        intent=intent, values_u=values.millionths, minutes=NOTHING, places=NOTHING
                    )
                )
            elif sizes is not None:
                line = self._lines.setdefault((split.version, intent), Line(sizes))
                blocks.append(line.close(intent, labels))
        times: Mapping[tuple[str, str], Sequence[Buckets]] = {}
        if self.quantities is not None:
            since = minutes - self.first
            times = self.quantities.draw(apart, compared, outside, since)
        return Drawn(
            counted=Counted(
                length=length,
                compared=compared,
                outside=outside if split.pinned else None,
                blocks=blocks,
                times=times,
            ),
            wrong_served=wrong_served,
            coming=coming,
        )

    def _people(self, key: tuple[int, ...]) -> People | None:
        labels = self.plan.labels
        if not labels.people_u:
            return None
        seed = np.random.SeedSequence(self.entropy, spawn_key=(*key, SALT))
        return People(
            share=labels.people,
            random=np.random.default_rng(seed),
            lateness=self.scenario.lateness,
            horizon_min=labels.horizon // MINUTE,
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
        counts: Table,
        people: People | None,
        apart: np.random.Generator,
    ) -> _Answered:
        graded, mean = (
            _Graded(
                self.traffic.label_rate, self.plan.labels.sampled, self.columns.requests_right_u
            ),
            self.traffic.requests_per_unit,
        )
        if sizes is None and self.scenario.lateness is None:
            return _Answered.counted(random, of, per_minute, graded, counts, mean, people, apart)
        late = None
        if self.scenario.lateness is not None:
            delay, horizon = (
                span // MINUTE for span in (self.plan.labels.delay, self.plan.labels.horizon)
            )
            late = _Late(self.scenario.lateness, delay, horizon)
        return _Answered.one_by_one(
            random, of, per_minute, graded, minutes, counts, mean, late, people
        )

    def _blocks_wanted(self, intent: str) -> bool:
        """Whether a rule bets on them."""
        losses = [rule for rule in self.plan.rules if rule.metric.kind is Kind.LOSS]
        return any({None, intent} & {*self.plan.judged_intents(rule)} for rule in losses)


@dataclass(frozen=True, slots=True)
class _Graded:
    """Which part of ordinary answers is graded; and of escalated and failed ones counts as wrong, by the plan.
    `requests_right_u`: the column for grades by request, where there are several in a unit and a rule reads it.
    """

    ordinary: float
    wrong_unless_graded: float
    requests_right_u: int | None = None

    def known(self, random: np.random.Generator, units: Number) -> Number:
        """How many of so many escalated or failed ones count, in each minute."""
        part = self.wrong_unless_graded
        return random.binomial(units, part) if part < 1 else units


@dataclass(frozen=True, slots=True)
class _Come:
    """The labels of an arm's answers to one intent, where some come late, and how many requests each grades."""

    judged: Judged
    requests: NDArray[np.int64]
    by_people: ByPeople | None = None

    def coming(self, arm: Arm, intent: str, values: Values | None) -> Coming:
        return Coming(
            arm=arm,
            intent=intent,
            minutes=self.judged.minutes,
            right=self.judged.right,
            requests=self.requests,
            known=self.judged.known,
            values=values,
            by_people=self.by_people,
        )


@dataclass(frozen=True, slots=True)
class _Late:
    """When labels come, and by when they are in time or refused, in minutes after their answers."""

    lateness: Lateness
    delay_min: int
    horizon_min: int

    def come(
        self,
        random: np.random.Generator,
        labels: Labels,
        requests: NDArray[np.int64],
        graded: NDArray[np.bool_],
        at_once: NDArray[np.bool_],
    ) -> tuple[_Come, NDArray[np.bool_]]:
        """Of all answers those that are graded ever, and which are graded in time."""
        delays = self.lateness.delays_min(random, len(graded))
        delays[at_once] = 0
        ever = graded & (delays <= self.horizon_min)
        every = Judged(
            minutes=labels.minutes,
            right=labels.right,
            escalated=at_once,
            known=labels.minutes + delays,
        )
        come = _Come(every.only(ever), requests[ever])
        return come, ever & (delays <= self.delay_min)


@dataclass(frozen=True, slots=True)
class _Answered:
    """The answers of one arm to one intent, counted into a table of zeros, (columns, minutes); `labels` None where
    their order is of no use, `come` where none is late.
    """

    labels: Labels | None = None
    come: _Come | None = None

    @classmethod
    def counted(
        cls,
        random: np.random.Generator,
        of: Rates,
        per_minute: float,
        graded: _Graded,
        counts: Table,
        mean: float,
        people: People | None,
        apart: np.random.Generator,
    ) -> _Answered:
        """By kind of answer: each kind of a Poisson stream is a Poisson stream of its own. What not every plan asks for
        is drawn `apart`.
        """

        def kind(part: Rate) -> Number:
            there = part.any() if isinstance(part, np.ndarray) else part > 0
            return random.poisson(per_minute * part, counts.shape[1]) if there else 0

        right = kind(graded.ordinary * (1 - of.graded_wrong))
        wrong = kind(graded.ordinary * (of.graded_wrong - of.escalated))
        ungraded = kind((1 - graded.ordinary) * (1 - of.escalated))
        escalated = kind(of.escalated - of.failed)
        failed = kind(of.failed)
        known, known_failed = graded.known(random, escalated), graded.known(random, failed)
        counts[GRADED] = right + wrong + known + known_failed
        counts[UNITS] = right + wrong + ungraded + escalated + failed
        counts[ESCALATED], counts[FAILED] = escalated + failed, failed
        counts[RIGHT_U] = right * MICRO
        if people is not None:
            people.count(counts, of, right=right, wrong=wrong, escalated=known + known_failed)
        if mean > 1:
            of_known_failed = _requests_of(random, known_failed, mean)
            of_failed = of_known_failed + _requests_of(random, failed - known_failed, mean)
            of_known = of_known_failed + _requests_of(random, known, mean)
            of_wrong = of_failed + of_known - of_known_failed
            of_wrong += _requests_of(random, escalated - known, mean)
            of_ordinary = _requests_of(random, right + wrong, mean)
            counts[REQUESTS_FAILED], counts[REQUESTS_ESCALATED] = of_failed, of_wrong
            counts[REQUESTS_GRADED] = of_known + of_ordinary
            counts[REQUESTS] = of_wrong + of_ordinary + _requests_of(random, ungraded, mean)
            if graded.requests_right_u is not None:
                counts[graded.requests_right_u] = MICRO * _requests_of_right(
                    apart, right, wrong, of_ordinary
                )
        return cls()

    @classmethod
    def one_by_one(
        cls,
        random: np.random.Generator,
        of: Rates,
        per_minute: float,
        graded: _Graded,
        minutes: NDArray[np.int64],
        counts: Table,
        mean: float,
        late: _Late | None,
        people: People | None,
    ) -> _Answered:
        """The same with each label, for blocks are made of single ones."""
        length = len(minutes)
        n = random.poisson(per_minute, length)
        when = np.repeat(np.arange(length), n)
        drawn = random.random(len(when))
        # One number tells an answer's fate: what fails is escalated, and what is escalated is graded wrong.
        wrong = (drawn < np.max(of.graded_wrong)).nonzero()[0]
        of_wrong = drawn[wrong]
        requests = random.geometric(1 / mean, len(when)) if mean > 1 else when[:0]

        def hit(rate: Rate) -> NDArray[np.intp]:
            return wrong[of_wrong < rate_at(rate, when[wrong])]

        def by_minute(hits: NDArray[np.intp]) -> NDArray[np.int64]:
            return np.bincount(when[hits], minlength=length)

        def requests_by_minute(hits: NDArray[np.intp] | slice) -> NDArray[np.int64]:
            return np.bincount(when[hits], weights=requests[hits], minlength=length).astype(
                np.int64
            )

        def flags(rate: Rate) -> NDArray[np.bool_]:
            there = np.zeros(len(when), dtype=np.bool_)
            there[hit(rate)] = True
            return there

        right = ~flags(of.graded_wrong)
        labels, come = Labels(when + minutes[0], right), None
        known = np.ones(len(when), dtype=np.bool_)
        counts[UNITS] = counts[GRADED] = n
        if mean > 1:
            counts[REQUESTS] = counts[REQUESTS_GRADED] = requests_by_minute(slice(None))
        if min(graded.ordinary, graded.wrong_unless_graded) < 1 or late is not None:
            known = random.random(len(when)) < graded.ordinary
            # What failed or escalated is known to be wrong without a label.
            without = hit(of.escalated)
            everywhere = graded.wrong_unless_graded >= 1
            known[without] = everywhere or (
                random.random(len(without)) < graded.wrong_unless_graded
            )
            if late is not None:
                of_each = requests if mean > 1 else np.ones_like(when)
                at_once = flags(of.escalated)
                come, known = late.come(random, labels, of_each, known, at_once)
            labels = Labels(labels.minutes[known], right[known])
            counts[GRADED] = by_minute(known.nonzero()[0])
            right &= known
            counts[RIGHT_U] = by_minute(right.nonzero()[0]) * MICRO
            if mean > 1:
                counts[REQUESTS_GRADED] = requests_by_minute(known.nonzero()[0])
        else:
            counts[RIGHT_U] = (n - by_minute((~right).nonzero()[0])) * MICRO
        if graded.requests_right_u is not None:
            counts[graded.requests_right_u] = requests_by_minute(right.nonzero()[0]) * MICRO
        for column, of_requests, rate in (
            (ESCALATED, REQUESTS_ESCALATED, of.escalated),
            (FAILED, REQUESTS_FAILED, of.failed),
        ):
            if np.any(rate):
                counts[column] = by_minute(hit(rate))
                if mean > 1:
                    counts[of_requests] = requests_by_minute(hit(rate))
        if people is None:
            return cls(labels, come)
        judged = Judged(
            minutes=labels.minutes,
            right=labels.right,
            escalated=flags(of.escalated)[known],
            known=labels.minutes,
        )
        first = int(minutes[0])
        by_people = people.grade(judged if come is None else come.judged, of, first)
        by_people.count(counts, first, late.delay_min if late is not None else 0)
        return cls(labels, replace(come, by_people=by_people) if come is not None else None)


def _requests_of(random: np.random.Generator, units: Number, mean: float) -> Number:
    """How many requests so many units have, in each minute: each one and a geometric number more, `mean` in all.

    A sum of geometric numbers is negative binomial, a Poisson number with a gamma mean.
    """
    if not np.any(units):
        return 0
    return units + random.poisson((mean - 1) * random.standard_gamma(units))


def _requests_of_right(
    random: np.random.Generator, right: Number, wrong: Number, requests: Number
) -> Number:
    """How many of the requests of so many right and wrong units are of the right ones.

    Given what they have in all, geometric numbers share what is beyond one each by Pólya's urn.
    """
    parts = random.beta(np.maximum(right, 1), np.maximum(wrong, 1))
    parts = np.where(np.equal(wrong, 0), 1.0, np.where(np.equal(right, 0), 0.0, parts))
    return right + random.binomial(requests - right - wrong, parts)
