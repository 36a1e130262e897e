"""What stands in for the world in a backtest: a gateway, graders, and the person who is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from heapq import heappop, heappush

from controller.ports import Split
from controller.rollout.assignment import assign
from controller.rollout.commands import Approve, Resume
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.decision import Action, Decision, Waiting
from controller.rollout.observation import PERSON, Cohort, Grades, Observation, Outcome, Pair
from controller.rollout.plan import Arm, ModelRef, Plan
from controller.rollout.state import Phase, State
from controller.simulate.backtest.draws import Draw
from controller.simulate.backtest.measured import Measured, measure

ACTOR = "backtest"


class OnPause(StrEnum):
    """What the backtest does when the rollout pauses."""

    STOP = "stop"
    RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A draw that was answered: by which arm, under which split, and what is known of the answer.

    `is_labelled`: whether a grade of it comes in; `by_person`: what a person says of it, if one is asked.
    """

    draw: Draw
    arm: Arm
    cohort: Cohort
    version: int
    share_bp: int
    answer: Measured
    of_baseline: Measured  # what the recording has of the baseline to the same draw
    is_labelled: bool
    by_person: bool | None


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one arm served. `cost_nusd` is the sum over the `costed` requests whose cost is known."""

    requests: int = 0
    costed: int = 0
    cost_nusd: int = 0

    def count(self, served: Served) -> None:
        cost = served.answer.quantities.get("cost_nusd")
        self.requests += 1
        if cost is not None:
            self.costed += 1
            self.cost_nusd += cost


@dataclass(slots=True, kw_only=True)
class Instead:
    """What the candidate's requests came to, and what they would have with the baseline's recorded answers to them.

    `wrong` are wrong answers that reached a client, of the `graded` requests of which both grades are known: people's,
    else those that there are. Costs are of the `costed` ones of which both are. A refused or failed answer of the
    candidate's is not what a client gets: the baseline's is, and both calls are paid for.
    """

    graded: int = 0
    wrong: int = 0
    wrong_instead: int = 0
    costed: int = 0
    cost_nusd: int = 0
    cost_instead_nusd: int = 0

    @property
    def wrong_more(self) -> int:
        """Wrong answers that the baseline would not have given, less those that only it would have."""
        return self.wrong - self.wrong_instead

    @property
    def saved_nusd(self) -> int | None:
        """None where no cost is known."""
        return self.cost_instead_nusd - self.cost_nusd if self.costed else None

    def count(self, served: Served) -> None:
        answer, other = served.answer, served.of_baseline
        sent_again = any(answer.flags.get(name, False) for name in ("escalated", "error"))
        grades = (answer.by_person, other.by_person)
        if None in grades:
            grades = (answer.correct, other.correct)
        if None not in grades:
            right, instead_right = grades
            self.graded += 1
            self.wrong += not (instead_right if sent_again else right)
            self.wrong_instead += not instead_right
        cost, instead = (one.quantities.get("cost_nusd") for one in (answer, other))
        if cost is not None and instead is not None:
            self.costed += 1
            self.cost_nusd += cost + (instead if sent_again else 0)
            self.cost_instead_nusd += instead


class Gateway:
    """Assigns and answers draws as a gateway does, under the split that it was last given.

    `salt` is the hash's, in place of the rollout's own: what differs between two plans on the same draws is then what
    they decide, never who was assigned. Of the recorded grades, the part `picked` comes in.
    """

    def __init__(self, plan: Plan, rollout: str, salt: str, *, picked: float = 1.0) -> None:
        self.rollout = rollout
        self._picked = picked
        self._people_u = plan.labels.people_u
        self.tallies: Mapping[Arm, Tally] = {arm: Tally() for arm in Arm}
        self.instead = Instead()
        self._salt = salt
        self.outside: dict[str, int] = {}
        self._models: Mapping[Arm, ModelRef] = {
            Arm.BASELINE: plan.baseline,
            Arm.CANDIDATE: plan.candidate,
        }
        self._free = {intent.name for intent in plan.intents if not intent.pinned}
        self._pins: frozenset[str] = frozenset()
        self._split: Split | None = None
        self._answers: dict[tuple[int, Arm], Measured] = {}

    def follow(self, split: Split | None, state: State) -> None:
        self._split, self._pins = split, frozenset(state.pins)

    def serve(self, draw: Draw) -> Served:
        intent, split = draw.item.intent, self._split
        compared = intent in self._free and intent not in self._pins
        share_bp = split.shares.get(intent, 0) if split is not None and compared else 0
        arm = assign(self._salt, draw.unit, share_bp)
        answer = self._answer(draw, arm)
        is_asked = compared and is_drawn(self.rollout, draw.unit, self._people_u)
        served = Served(
            draw=draw,
            arm=arm,
            cohort=Cohort.COMPARED if compared else Cohort.OUTSIDE,
            version=split.version if split is not None else 0,
            share_bp=share_bp,
            answer=answer,
            of_baseline=self._answer(draw, Arm.BASELINE),
            is_labelled=answer.correct is not None and draw.pick < self._picked,
            by_person=answer.by_person if is_asked else None,
        )
        self._count(served)
        return served

    def observation(self, served: Served) -> Observation:
        draw = served.draw
        return Observation(
            id=observation_id(self.rollout, draw),
            rollout=self.rollout,
            at=draw.at,
            unit=draw.unit,
            arm=served.arm,
            intent=draw.item.intent,
            version=served.version,
            cohort=served.cohort,
            assigned=served.cohort is Cohort.COMPARED,
            flags=served.answer.flags,
            quantities=served.answer.quantities,
        )

    def _answer(self, draw: Draw, arm: Arm) -> Measured:
        """Measured once per recorded result: a recording has far fewer of them than a run has draws."""
        key = (id(draw.pair), arm)
        known = self._answers.get(key)
        if known is None:
            known = self._answers[key] = measure(draw.pair.of(arm), arm, self._models[arm])
        return known

    def _count(self, served: Served) -> None:
        self.tallies[served.arm].count(served)
        if served.arm is Arm.CANDIDATE:
            self.instead.count(served)
        if served.cohort is Cohort.OUTSIDE:
            intent = served.draw.item.intent
            self.outside[intent] = self.outside.get(intent, 0) + 1


def observation_id(rollout: str, draw: Draw) -> str:
    """Unique in a database, and the same whenever the same backtest is run."""
    return f"{rollout}/{draw.unit}"


@dataclass(slots=True)
class Labels:
    """Grades under way, by the moment at which they come in: of an answer that people are asked about too, theirs with
    the other. Ungraded answers send none.
    """

    _coming: list[tuple[datetime, int, Served]] = field(default_factory=list)

    def expect(self, served: Served) -> None:
        if served.is_labelled or served.by_person is not None:
            heappush(self._coming, (served.draw.labelled_at, served.draw.number, served))

    def due(self, now: datetime, rollout: str) -> Iterator[Outcome]:
        while self._coming and self._coming[0][0] <= now:
            served = heappop(self._coming)[2]
            if served.is_labelled:
                yield _outcome(served, rollout)
            if served.by_person is not None:
                graded = _outcome(served, rollout)
                yield replace(
                    graded,
                    id=f"{graded.id}/{PERSON}",
                    correct=float(served.by_person),
                    source=PERSON,
                )


@dataclass(slots=True)
class Shadows:
    """Both models' grades of an item as one pair, under way like labels: as if each request had been shadowed.

    The runs of an item are not independent, so they are one pair, graded by each model's mean.
    """

    _coming: list[tuple[datetime, int, Served]] = field(default_factory=list)

    def expect(self, served: Served) -> None:
        compared = served.cohort is Cohort.COMPARED
        if compared and served.draw.item.grades is not None:
            heappush(self._coming, (served.draw.labelled_at, served.draw.number, served))

    def due(self, now: datetime, rollout: str) -> Iterator[Pair]:
        while self._coming and self._coming[0][0] <= now:
            served = heappop(self._coming)[2]
            draw, grades = served.draw, served.draw.item.grades
            if grades is not None:
                yield Pair(
                    id=f"{observation_id(rollout, draw)}/pair",
                    rollout=rollout,
                    at=draw.at,
                    intent=draw.item.intent,
                    version=served.version,
                    baseline_correct=grades[0],
                    candidate_correct=grades[1],
                )


def _outcome(served: Served, rollout: str) -> Outcome:
    graded = observation_id(rollout, served.draw)
    # A refused answer would not have been what the client got; its grade is still that of the arm's own attempt.
    served_it = not served.answer.flags.get("escalated", False)
    return Outcome(
        id=f"{graded}/label",
        observation=graded,
        at=served.draw.labelled_at,
        correct=float(bool(served.answer.correct)),
        grades=Grades.SERVED if served_it else Grades.ATTEMPT,
        source="recording",
    )


class Person:
    """The one who is asked: approves, and resumes if that is wanted, `reaction` after being asked."""

    def __init__(self, *, reaction: timedelta, on_pause: OnPause) -> None:
        self._reaction = reaction
        self._on_pause = on_pause
        self._asked: tuple[Action, datetime] | None = None

    def reacts_to(self, decision: Decision, now: datetime) -> Approve | Resume | None:
        wanted = self._wanted(decision)
        if wanted is None:
            self._asked = None
            return None
        if self._asked is None or self._asked[0] is not wanted:
            self._asked = (wanted, now)
        if now - self._asked[1] < self._reaction:
            return None
        self._asked = None
        if wanted is Action.APPROVE:
            return Approve(actor=ACTOR, reason="approved automatically by the backtest")
        return Resume(actor=ACTOR, reason="resumed automatically: --on-pause resume")

    def _wanted(self, decision: Decision) -> Action | None:
        if decision.state.phase is Phase.PAUSED and self._on_pause is OnPause.RESUME:
            return Action.RESUME
        if {wait.waiting for wait in decision.waits} == {Waiting.APPROVAL}:
            return Action.APPROVE
        return None
