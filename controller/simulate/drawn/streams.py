"""Simulated traffic of one run: units that arrive, which arm answers them, and how, minute by minute.

Arrivals are Poisson; each unit fails, escalates, is wrong or right, independently of all others, with the scenario's
rates. It is one request, or a geometric number of them, which then all fare alike and are counted in the minute of the
first: a conversation escalates as a whole. Each of its answers is picked to be graded for itself, and one that is makes
it a graded unit (`simulate.picks`). Every split version draws from generators of its own, one for each day, so
what arrives does not depend on when the rollout is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.blocks import block_sizes
from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.evidence.comparison import compared as compared_by
from controller.rollout.metrics import Kind
from controller.rollout.plan import FULL_BP, Arm, Plan
from controller.rollout.timeline import MINUTE
from controller.simulate.drawn.answers import Answering, Arriving, Late, Parts, answered
from controller.simulate.drawn.block_sums import Blocks
from controller.simulate.drawn.dense import (
    ALL_GRADED,
    ONE_REQUEST,
    REQUESTS_APART,
    Columns,
    Counted,
    with_people,
)
from controller.simulate.drawn.histograms import Buckets
from controller.simulate.drawn.knowledge import Coming
from controller.simulate.drawn.lines import NOTHING, Labels, Line, values_of
from controller.simulate.drawn.people import SALT, People
from controller.simulate.drawn.quantities import Quantities
from controller.simulate.picks import Picks
from controller.simulate.scenarios import (
    DAY_MIN,
    Rates,
    Scenario,
    Traffic,
    kind_of,
    mix,
    rates,
)
from controller.simulate.usual import Usual

STRETCH_MIN: Final = 2 * DAY_MIN
"""Minutes that are drawn together: a stretch of one day costs three quarters as much as one of two."""
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


@dataclass(slots=True, kw_only=True)
class _Stretch:
    """What is drawn together, and by which generators; what is not compared counts as `outside`."""

    split: InForce
    minutes: Minutes
    random: np.random.Generator
    apart: np.random.Generator
    people: People | None
    compared: Mapping[str, Table]  # of each arm; (intents, columns, minutes)
    outside: Table
    wrong_served: NDArray[np.float64]
    blocks: list[Blocks] = field(default_factory=list)
    coming: list[Coming] = field(default_factory=list)


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
    _how: Mapping[bool, Answering] = field(init=False)  # by whether labels are in line
    _lines: dict[tuple[int, str], Line] = field(default_factory=dict)
    _steady: dict[tuple[Arm, str], tuple[Rates, Parts]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = groups(self.plan)
        self.columns = self._columns()
        self.quantities = Quantities.of(
            self.plan, self.traffic, self.usual, self.scenario, self.columns
        )
        if self.quantities is not None:
            self.columns = self.quantities.columns
        self._how = {one: self._answering(in_line=one) for one in (False, True)}
        self._with_blocks = frozenset(
            intent.name for intent in self.plan.intents if self._blocks_wanted(intent.name)
        )

    def draw(self, split: InForce, number: int, start: int, length: int) -> Drawn:
        """The `number`-th stretch of a split version: minutes [start, start + length)."""
        stretch = self._begun(split, number, start, length)
        parts = mix(self.plan, self.traffic, self.scenario, split.step)
        for place, (intent, names) in enumerate(self.groups.items()):
            per_minute = self.traffic.units_per_minute * sum(parts[name] for name in names)
            if intent in split.pinned:
                how, units = (
                    self._how[False],
                    self._units(stretch, Arm.BASELINE, intent, per_minute),
                )
                answered(units, how, stretch.outside[place])
            else:
                self._compare(stretch, place, intent, per_minute)
        times: Mapping[tuple[str, str], Sequence[Buckets]] = {}
        if self.quantities is not None:
            since = stretch.minutes - self.first
            times = self.quantities.draw(stretch.apart, stretch.compared, stretch.outside, since)
        return Drawn(
            counted=Counted(
                length=length,
                compared=stretch.compared,
                outside=stretch.outside if split.pinned else None,
                blocks=stretch.blocks,
                times=times,
            ),
            wrong_served=stretch.wrong_served,
            coming=stretch.coming,
        )

    def _begun(self, split: InForce, number: int, start: int, length: int) -> _Stretch:
        key, groups = (self.run, split.version, number), len(self.groups)
        random, apart = (
            np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=one))
            for one in (key, (*key, APART))
        )

        def zeros(rows: int) -> Table:
            return np.zeros((rows, self.columns.width, length), dtype=np.int64)

        return _Stretch(
            split=split,
            minutes=np.arange(start, start + length, dtype=np.int64),
            random=random,
            apart=apart,
            people=self._people(key),
            compared={arm.value: zeros(groups) for arm in Arm},
            outside=zeros(groups if split.pinned else 0),
            wrong_served=np.zeros(length),
        )

    def _units(
        self,
        stretch: _Stretch,
        arm: Arm,
        intent: str,
        per_minute: float,
        people: People | None = None,
    ) -> Arriving:
        rates, parts = self._rates(arm, intent, stretch.minutes)
        return Arriving(
            per_minute=per_minute,
            first=int(stretch.minutes[0]),
            rates=rates,
            parts=parts,
            random=stretch.random,
            apart=stretch.apart,
            people=people,
        )

    def _compare(self, stretch: _Stretch, place: int, intent: str, per_minute: float) -> None:
        """Both arms' answers to an intent that is not pinned, and the blocks they make."""
        version, share_bp = stretch.split.version, stretch.split.shares[intent]
        has_blocks = intent in self._with_blocks
        sizes = block_sizes(share_bp) if has_blocks else None
        values = values_of(sizes) if sizes is not None else None
        people = stretch.people if has_blocks else None
        labels: dict[Arm, Labels] = {}
        for arm in Arm:
            share = (share_bp if arm is Arm.CANDIDATE else FULL_BP - share_bp) / FULL_BP
            if not share:
                continue
            counts = stretch.compared[arm.value][place]
            units = self._units(stretch, arm, intent, per_minute * share, people)
            made = answered(units, self._how[sizes is not None], counts)
            if made.labels is not None:
                labels[arm] = made.labels
            if made.come is not None:
                stretch.coming.append(made.come.coming(arm, intent, values))
            if arm is Arm.CANDIDATE:
                wrong = units.rates.wrong - units.rates.escalated
                stretch.wrong_served += counts[self.columns.requests] * wrong
        if values is not None and self.scenario.lateness is not None:
            stretch.blocks.append(
                Blocks(intent=intent, values_u=values.millionths, minutes=NOTHING, places=NOTHING)
            )
        elif sizes is not None:
            line = self._lines.setdefault((version, intent), Line(sizes))
            stretch.blocks.append(line.close(intent, labels))

    def _columns(self) -> Columns:
        traffic, labels, scenario = self.traffic, self.plan.labels, self.scenario
        everything = min(traffic.label_rate, labels.sampled) >= 1 and scenario.lateness is None
        columns = ALL_GRADED if everything and scenario.error is None else ONE_REQUEST
        if traffic.requests_per_unit > 1:
            columns = REQUESTS_APART
        return with_people(columns) if labels.people_u else columns

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

    def _rates(self, arm: Arm, intent: str, minutes: NDArray[np.int64]) -> tuple[Rates, Parts]:
        known = self._steady.get((arm, intent))
        if known is not None:
            return known
        since_start = minutes - self.first
        of = rates(
            self.plan, self.traffic, self.scenario, arm=arm, intent=intent, minutes=since_start
        )
        graded, counted = self._picks()
        found = of, Parts.of(of, graded=graded.units, counted=counted.units)
        if self.scenario.is_steady:
            self._steady[arm, intent] = found
        return found

    def _answering(self, *, in_line: bool) -> Answering:
        late = None
        if self.scenario.lateness is not None:
            delay, horizon = (
                span // MINUTE for span in (self.plan.labels.delay, self.plan.labels.horizon)
            )
            late = Late(lateness=self.scenario.lateness, delay_min=delay, horizon_min=horizon)
        graded, counted = self._picks()
        return Answering(
            graded=graded,
            counted=counted,
            columns=self.columns,
            in_line=in_line,
            late=late,
        )

    def _picks(self) -> tuple[Picks, Picks]:
        """Of ordinary answers those that graders pick; of escalated and failed ones those that the plan samples."""
        mean = self.traffic.requests_per_unit
        return (
            Picks(mean=mean, rate=self.traffic.label_rate),
            Picks(mean=mean, rate=self.plan.labels.sampled),
        )

    def _blocks_wanted(self, intent: str) -> bool:
        """Whether a rule bets on them."""
        losses = [rule for rule in self.plan.rules if rule.metric.kind is Kind.LOSS]
        return any({None, intent} & {*self.plan.judged_intents(rule)} for rule in losses)
