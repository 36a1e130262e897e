"""A plan run on recorded results: the live ingest, windows and `decide`, with a clock that is moved by hand.

Recorded are the answers: what each model said to each item, graded. Made are the requests: which item is asked when
(`draws`, `arrivals`). Everything between is the product itself. A draw is assigned by the live hash, salted by the
seed, under the split that the target has in force at that moment; only the served arm's result is ingested, its grade
at a delay of at most the plan's `labels.delay`. What the reconciler commits are the same records as in production.

It ticks every ten simulated minutes, not every minute as a running controller does: that is faster and judges the
same windows, for each tick judges every minute since the one before. What differs is that a decision may come up to
nine minutes later, on the labels that have come in by then.

Not simulated: conversations of several requests, lost or repeated deliveries, and the candidate's limits (a
recording's tokens may be those of a whole run of calls).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from controller.clock import ManualClock
from controller.errors import DataError, Refused
from controller.ports import Store, Target
from controller.reconcile.submit import submit
from controller.reconcile.tick import Reconciler
from controller.rollout.commands import AnyCommand, Apply
from controller.rollout.decision import Decision
from controller.rollout.observation import Batch
from controller.rollout.plan import Arm, Plan
from controller.rollout.record import Record, Sealed
from controller.rollout.state import Phase, State
from controller.rollout.verdict import Verdict
from controller.simulate.backtest.arrivals import DAY_S, Arrivals
from controller.simulate.backtest.draws import Draw, Sampler
from controller.simulate.backtest.results import Recording
from controller.simulate.backtest.stand_ins import (
    ACTOR,
    Gateway,
    Instead,
    Labels,
    OnPause,
    Person,
    Served,
    Shadows,
    Tally,
)
from controller.simulate.endings import Ending

START = datetime(2026, 1, 5, tzinfo=UTC)
TICK = timedelta(minutes=10)
LEASE = 3 * TICK  # as in production, where a lease outlives two lost ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is run. `reaction` is how long the automatic person takes to approve, and to resume if asked to.

    Labels come after up to `label_delay`: the plan's own delay, unless several plans are to meet the same labels.
    """

    plan: Plan
    recording: Recording
    arrivals: Arrivals
    seed: int
    reaction: timedelta = timedelta(hours=1)
    on_pause: OnPause = OnPause.STOP
    max_days: int = 60
    label_delay: timedelta | None = None
    once: bool = False  # each item is asked once, of both models: the run ends when all were

    @property
    def labels_within(self) -> timedelta:
        return self.plan.labels.delay if self.label_delay is None else self.label_delay

    @property
    def salt(self) -> str:
        """Of the hash that assigns draws: the same for every plan of one seed."""
        return f"backtest {self.seed}"

    def with_seed(self, seed: int) -> Setup:
        """The same with other arrivals (where they are made), draws, label delays and assignments."""
        return replace(self, seed=seed, arrivals=self.arrivals.with_seed(seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where it is run: any store and target, and the clock they all share."""

    store: Store
    target: Target
    clock: ManualClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a backtest ended. The records are those that the store has."""

    ending: Ending
    state: State
    at: datetime
    records: tuple[Sealed[Record], ...]
    verdicts: tuple[Verdict, ...]  # of the last tick
    tallies: Mapping[Arm, Tally]
    instead: Instead
    outside: Mapping[
        str, int
    ]  # requests that no rule compares, by intent: pinned, or unknown to the plan

    @property
    def completed(self) -> bool:
        return self.ending is Ending.COMPLETED

    @property
    def elapsed(self) -> timedelta:
        return self.at - self.state.started_at


Sink = Callable[[Served], object]
"""Receives every draw that was served, in order."""

Watcher = Callable[[datetime, State], object]
"""Told every simulated hour how far the run is."""


def with_critical(plan: Plan, critical: Sequence[str]) -> Plan:
    """The plan with exactly these critical intents; DataError if it lacks one of them or has it pinned."""
    known = [intent.name for intent in plan.intents]
    unknown = [name for name in critical if name not in known]
    if unknown:
        raise DataError(
            f"--critical {unknown[0]}: the plan has no such intent; it has {', '.join(known)}."
        )
    pinned = [one.name for one in plan.intents if one.pinned and one.name in critical]
    if pinned:
        raise DataError(
            f"--critical {pinned[0]}: the plan pins it to the baseline, so nothing is judged on it."
        )
    return replace(
        plan,
        intents=tuple(replace(one, critical=one.name in critical) for one in plan.intents),
    )


def backtest(
    setup: Setup, world: World, *, sink: Sink | None = None, watch: Watcher | None = None
) -> Finished:
    """Run a plan until it completes, rolls back, pauses (unless resumed) or `max_days` are over.

    Refused if the store already has a rollout that this plan's would meddle with.
    """
    return _Run(setup, world, sink, watch).to_its_end()


class _Run:
    """One backtest. Time moves in ticks; in each, what arrived is ingested before the rollout is judged."""

    def __init__(
        self, setup: Setup, world: World, sink: Sink | None, watch: Watcher | None
    ) -> None:
        self._setup = setup
        self._world = world
        self._sink = sink
        self._watch = watch
        self._start = world.clock.now()
        applied = self._submit(
            setup.plan.name, Apply(actor=ACTOR, reason=_reason(setup), plan=setup.plan)
        )
        self._state, self._verdicts = applied.state, applied.verdicts
        self._reconciler = Reconciler(
            store=world.store,
            target=world.target,
            clock=world.clock,
            fence=world.store.take_fence(),
            lease=LEASE,
        )
        self._gateway = Gateway(
            setup.plan, self._state.rollout, setup.salt, picked=picked(setup.plan, setup.recording)
        )
        self._labels = Labels()
        self._shadows = Shadows()
        self._person = Person(reaction=setup.reaction, on_pause=setup.on_pause)

    def to_its_end(self) -> Finished:
        ending = self._tick()
        for now, draws in self._ticks():
            if ending is not None:
                break
            self._world.clock.set(now)
            self._receive(draws, now)
            ending = self._tick()
            if self._watch is not None and now.minute == 0:
                self._watch(now, self._state)
        return self._finished(ending or Ending.UNFINISHED)

    def _ticks(self) -> Iterator[tuple[datetime, Sequence[Draw]]]:
        """Every tick's moment with the draws that arrived since the tick before."""
        setup = self._setup
        sampler = Sampler(
            items=setup.recording.items,
            start=self._start,
            seed=setup.seed,
            label_delay=setup.labels_within,
            once=setup.once,
        )
        settled = max(setup.labels_within, setup.plan.labels.delay) + 2 * TICK
        per_day = int(timedelta(seconds=DAY_S) / TICK)
        drawn, last = 0, self._start
        for day in range(setup.max_days):
            draws = sampler.day(day, setup.arrivals.day(day), first=drawn + 1)
            drawn += len(draws)
            last = draws[-1].at if draws else last
            begin = 0
            for tick in range(day * per_day + 1, (day + 1) * per_day + 1):
                now = self._start + tick * TICK
                if setup.once and drawn == len(sampler.items) and now > last + settled:
                    return
                end = begin
                while end < len(draws) and draws[end].at < now:
                    end += 1
                yield now, draws[begin:end]
                begin = end

    def _receive(self, draws: Sequence[Draw], now: datetime) -> None:
        served = [self._gateway.serve(draw) for draw in draws]
        for one in served:
            self._labels.expect(one)
            if self._setup.once:
                self._shadows.expect(one)
            if self._sink is not None:
                self._sink(one)
        batch = Batch(
            observations=tuple(self._gateway.observation(one) for one in served),
            outcomes=tuple(self._labels.due(now, self._gateway.rollout)),
            pairs=tuple(self._shadows.due(now, self._gateway.rollout)),
        )
        if batch.observations or batch.outcomes or batch.pairs:
            self._world.store.ingest(batch, now)

    def _tick(self) -> Ending | None:
        decision = self._reconciler.tick(self._state.rollout)
        command = self._person.reacts_to(decision, self._world.clock.now())
        if command is not None:
            decision = self._obeyed(command, decision)
        self._state, self._verdicts = decision.state, decision.verdicts
        self._gateway.follow(self._world.target.read(self._state.rollout).split, self._state)
        return self._ending(decision.state)

    def _obeyed(self, command: AnyCommand, before: Decision) -> Decision:
        try:
            return self._submit(before.state.rollout, command)
        except Refused:
            # A stop came first in the same moment; the next tick shows it.
            return before

    def _submit(self, rollout: str, command: AnyCommand) -> Decision:
        return submit(self._world.store, self._world.clock, rollout, command)

    def _ending(self, state: State) -> Ending | None:
        match state.phase:
            case Phase.COMPLETE | Phase.RETIRED:
                return Ending.COMPLETED
            case Phase.ROLLED_BACK:
                return Ending.ROLLED_BACK
            case Phase.PAUSED if self._setup.on_pause is OnPause.STOP:
                return Ending.PAUSED
            case _:
                return None

    def _finished(self, ending: Ending) -> Finished:
        return Finished(
            ending=ending,
            state=self._state,
            at=self._world.clock.now(),
            records=tuple(self._world.store.records(self._state.rollout)),
            verdicts=self._verdicts,
            tallies=self._gateway.tallies,
            instead=self._gateway.instead,
            outside=self._gateway.outside,
        )


def picked(plan: Plan, recording: Recording) -> float:
    """Which part of the recorded grades comes in, for as many answers to be graded as the plan says; all, if there are
    no more than that.
    """
    known = recording.graded
    return min(plan.labels.sampled / known, 1.0) if known else 1.0


def _reason(setup: Setup) -> str:
    return f"backtest on {setup.recording.file}, seed {setup.seed}"
