"""What is kept between ticks never changes what is seen: the same as if everything were read anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.ports import Standing
from controller.reconcile.observe import Memory, Observer, tallies_of
from controller.rollout.commands import PauseNow, Promote, Resume
from controller.rollout.metrics import CATALOGUE
from controller.rollout.observation import Batch, Cohort, Grades, Observation, Outcome, Pair
from controller.rollout.plan import Arm, Evidence, Intent, Judge, Labels, Rule, Scope, Step, Then
from controller.rollout.verdict import Seen
from tests.reconcile.world import MINUTE, QUICK, World

HOUR = timedelta(hours=1)
INTENTS = ("chat", "order")


def rule(name: str, metric: str, limit: float, window: timedelta, **rest: object) -> Rule:
    usual = Rule(name=name, metric=CATALOGUE[metric], limit=limit, window=window, then=Then.PAUSE)
    return replace(usual, min_samples=5, **rest)  # type: ignore[arg-type] # fields of any kind


PLAN = replace(
    QUICK,
    intents=(*(Intent(name=one, critical=one == "chat") for one in INTENTS),),
    steps=(Step(share_bp=1000, hold=HOUR, min_samples=10), Step(share_bp=5000)),
    rules=(
        rule("errors", "error_rate", 0.4, HOUR, evidence=Evidence.OBSERVED),
        rule("escalation", "escalation_rate", 0.4, 24 * HOUR, scope=Scope.EACH),
        rule("loss", "accuracy_delta", 0.1, 12 * HOUR, scope=Scope.CRITICAL),
        rule("latency", "latency_p95_ratio", 2.0, HOUR, sustained=15 * MINUTE),
        rule("slow", "latency_p95", 0.7, 3 * HOUR, scope=Scope.EACH),
        rule("spend", "cost_per_hour", 50.0, HOUR),
        rule("right", "cost_per_correct", 50.0, 3 * HOUR),
        rule("coverage", "coverage", 0.01, 3 * HOUR, below=True),
    ),
    labels=Labels(
        delay=30 * MINUTE,
        judge=Judge(model="gpt-5", sensitivity=0.95, specificity=0.9),
        people_u=400_000,
    ),
    max_blind=timedelta(days=30),
)


class History:
    """A world in which requests, late grades, pairs and commands come as they are drawn."""

    def __init__(self) -> None:
        self.world = World(PLAN)
        self.world.reconciler.tick("quick/1")
        self.world.command(Promote(actor="ann", reason="go"))
        self.ungraded: list[str] = []
        self.sent = 0

    def requests(self, sizes: list[int]) -> None:
        state = self.world.head.state
        observations = [self._request(size, state.version) for size in sizes]
        self.ungraded += [one.id for one in observations]
        pairs = [
            Pair(
                id=f"p-{one.id}",
                rollout="quick/1",
                at=one.at,
                intent=one.intent,
                version=one.version,
                baseline_correct=True,
                candidate_correct=size % 7 != 0,
            )
            for one, size in zip(observations, sizes, strict=True)
            if size % 5 == 0
        ]
        batch = Batch(observations=tuple(observations), pairs=tuple(pairs))
        self.world.store.ingest(batch, self.world.clock.now())

    def _request(self, size: int, version: int) -> Observation:
        """Some come late, of the split before the present one, and some are part of a conversation."""
        self.sent += 1
        late = size == 6
        return Observation(
            id=f"r{self.sent}",
            rollout="quick/1",
            at=self.world.clock.now() - late * 40 * MINUTE,
            unit=f"u{self.sent // 2}",
            arm=Arm.CANDIDATE if size % 2 else Arm.BASELINE,
            intent=INTENTS[size % 3 % 2],
            version=max(version - late, 1),
            cohort=Cohort.OUTSIDE if size == 8 else Cohort.COMPARED,
            assigned=True,
            flags={"error": size == 9, "escalated": size == 7},
            quantities={
                "latency_us": 100_000 * (1 + size),
                "cost_nusd": 1_000_000 * size,
                "input_tokens": 10 * size,
                "output_tokens": size,
            },
        )

    def grades(self, places: list[int]) -> None:
        chosen = {self.ungraded[place % len(self.ungraded)] for place in places if self.ungraded}
        outcomes = tuple(
            Outcome(
                id=f"o{one}-{len(places)}-{source}",
                observation=one,
                at=self.world.clock.now(),
                correct=float(int(one[1:]) % 4 > 0) if places[0] % 2 else 1 / 3,
                grades=Grades.ATTEMPT,
                source=source,
            )
            for one in sorted(chosen)
            for source in ("judge", "person")[: 1 + int(one[1:]) % 2]
        )
        self.world.store.ingest(Batch(outcomes=outcomes), self.world.clock.now())

    def seen_both_ways(self) -> tuple[Seen, Seen]:
        """From what is kept, and from a memory that has read everything now; nothing is judged by it."""
        observer = self.world.reconciler._observer  # what a tick would see, without the tick
        kept, standing = observer.look("quick/1"), self._standing()
        now = max(self.world.clock.now(), kept.sight.head.state.updated_at)
        return (
            observer.seen(kept, standing, now),
            Observer(self.world.store).seen(self._anew(kept), standing, now),
        )

    def _anew(self, kept: Memory) -> Memory:
        rows, seq = self.world.store.rollups("quick/1")
        tallies = tallies_of(PLAN)
        tallies.feed(rows, seq)
        memory = Memory(
            sight=self.world.store.sight("quick/1"),
            tallies=tallies,
            through=kept.through,
            since=kept.since,
            touched=set(kept.touched),
            moved=set(kept.moved),
        )
        for one in self.world.store.verified("quick/1"):
            memory.verify(one)
        return memory

    def _standing(self) -> Standing:
        return self.world.target.read("quick/1")


sizes = st.integers(0, 9)
steps = st.one_of(
    st.tuples(st.just("requests"), st.lists(sizes, min_size=1, max_size=12)),
    st.tuples(st.just("requests"), st.lists(sizes, min_size=1, max_size=12)),
    st.tuples(st.just("grades"), st.lists(st.integers(0, 500), min_size=1, max_size=12)),
    st.tuples(st.just("passes"), st.sampled_from([1, 1, 1, 1, 3, 20, 70, 400, 1_700])),
    st.tuples(st.just("passes"), st.sampled_from([1, 1, 1, 1, 3, 20, 70, 400, 1_700])),
    st.tuples(st.just("command"), st.sampled_from([PauseNow, Resume, Promote])),
    st.tuples(st.just("long"), st.integers(100, 160)),
)


@settings(max_examples=15, deadline=None)
@pytest.mark.timeout(300)
@given(st.lists(steps, min_size=5, max_size=20))
def test_what_is_kept_between_ticks_shows_what_reading_everything_anew_would(drawn):
    history = History()
    for what, how in drawn:
        match what:
            case "requests":
                history.requests(how)
            case "grades":
                history.grades(how)
            case "command":
                history.world.command(how(actor="ann", reason="drawn"))
            case "passes":
                history.world.clock.advance(how * MINUTE)
            case "long":  # enough minutes to be packed away
                for minute in range(how):
                    history.world.clock.advance(MINUTE)
                    history.requests([minute % 7, (minute + 1) % 7])
        kept, anew = history.seen_both_ways()
        assert kept == anew
        history.world.settle()
