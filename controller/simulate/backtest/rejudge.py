"""A stored rollout's history under other rules: the first decision that they would have taken otherwise.

The history is followed from record to record. Between two of them the rules of that time and the others judge the same
stored counts, in the recorded state, at the same minutes; where they decide differently, the two have parted. So what
is told is a difference of rules, never of when a controller happened to look. What people commanded is taken as given.

The way of the rollout (steps, holds, freezes, pins) stays the recorded one: the other plan gives its rules and what
they are judged by. Counts are taken as they stand today, so a label that came late counts from the start. After the
parting the traffic would have been split otherwise, and nothing of what followed is known.

Looks are an hour apart and before a freeze begins, and the first minute of a decision is found by halving, as in a
simulation (`docs/adr/014`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from controller.ports import Store
from controller.reconcile.observe import see, tallies_of
from controller.rollout.counting.tallies import Tallies
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action, Decision
from controller.rollout.evidence.caps import cost_caps
from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.view import View
from controller.rollout.plan import Intent, Plan
from controller.rollout.record import Record
from controller.rollout.state import State
from controller.rollout.timeline import minute_of, start_of
from controller.simulate.openings import last_open
from controller.simulate.standing import standing_of

LOOK_MIN: Final = 60
STOPS: Final = (Action.PAUSE, Action.ROLLBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A decision, and the minute in which it would have been taken."""

    at: datetime
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first decision that comes out otherwise, at `at`, after record `seq`.

    `decided` is what the other rules decide then and `of_the_time` what those of that time do, on the same counts; a
    HOLD where they decide nothing. `recorded` is what was written down next. `stop` is the first recorded stop from
    then on; `later` is when the other rules would have stopped after that, as far as the split stayed what it was:
    until `known_until`.
    """

    at: datetime
    seq: int
    plan: Plan
    plan_of_the_time: Plan
    decided: Decision
    of_the_time: Decision
    recorded: Record | None
    stop: Record | None
    later: Step | None
    known_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejudged:
    """How far a history was followed, and where it parts; None: every decision is the same."""

    rollout: str
    records: int
    through: datetime
    unused: tuple[str, ...]
    difference: Difference | None


def rejudge(store: Store, rollout: str, other: Plan) -> Rejudged:
    """Judge a stored rollout (`name/attempt`, or a name) by the rules of another plan. Reads only. NotFound."""
    history = _History.read(store, rollout, other)
    return Rejudged(
        rollout=history.records[0].rollout,
        records=len(history.records),
        through=history.through,
        unused=unused(history.plan_of(history.records[0].state), other),
        difference=_Walk(history, other).difference(),
    )


# Whose is what


def under(plan: Plan, other: Plan) -> Plan:
    """The way of one plan, judged by another: by its rules, alpha, priors, labels, pauses and critical intents.

    Which part of the answers is sampled and which share people grade stay: the counts were made by them. Whether
    people's grades are gone by is the other's to say.
    """
    people_u = plan.labels.people_u if other.labels.people_u else 0
    return replace(
        plan,
        rules=other.rules,
        alpha=other.alpha,
        priors=other.priors,
        labels=replace(other.labels, sampled_u=plan.labels.sampled_u, people_u=people_u),
        max_blind=other.max_blind,
        pause_share=other.pause_share,
        pause_deadline=other.pause_deadline,
        intents=tuple(_judged_as(one, other) for one in plan.intents),
    )


def _judged_as(intent: Intent, other: Plan) -> Intent:
    known = other.intent(intent.name)
    return replace(intent, critical=known.critical) if known is not None else intent


def unused(plan: Plan, other: Plan) -> tuple[str, ...]:
    """What the other plan has otherwise that is not judged by: fields of a plan as people write them."""
    pinned = [{one.name for one in each.intents if one.pinned} for each in (plan, other)]
    ways: Mapping[str, tuple[object, object]] = {
        "baseline": (plan.baseline.model, other.baseline.model),
        "candidate": (plan.candidate.model, other.candidate.model),
        "assignment.unit": (plan.unit, other.unit),
        "labels.sampled": (plan.labels.sampled_u, other.labels.sampled_u),
        "labels.people": (
            under(plan, other).labels.people_u,
            other.labels.people_u,
        ),
        "rules (proofs of cost_per_correct at another limit)": (set(), _uncounted(plan, other)),
        "intents (names)": (_names(plan), _names(other)),
        "intents (pins)": (pinned[0], pinned[1]),
        "steps": (plan.steps, other.steps),
        "holdback": (plan.holdback_bp, other.holdback_bp),
        "bake": (plan.bake, other.bake),
        "freeze": (plan.freezes, other.freezes),
    }
    return tuple(name for name, (one, two) in ways.items() if one != two)


def _uncounted(plan: Plan, other: Plan) -> set[int]:
    """Up to what costs were not summed, and proofs of the other plan ask for."""
    return {*cost_caps(other)} - {*cost_caps(plan)}


def _names(plan: Plan) -> set[str]:
    return {one.name for one in plan.intents}


# The history


@dataclass(frozen=True, slots=True, kw_only=True)
class _History:
    records: Sequence[Record]
    plans: Mapping[str, Plan]
    tallies: Tallies
    in_force: InForceTime
    through: datetime

    @classmethod
    def read(cls, store: Store, rollout: str, other: Plan) -> _History:
        sight = store.sight(store.head(rollout).state.rollout)
        name = sight.head.state.rollout
        records = [sealed.value for sealed in store.records(name)]
        plans = {
            digest: store.plan(digest).value
            for digest in {one.state.plan_digest for one in records}
        }
        frozen = [record.state.references for record in records]
        tallies = tallies_of(*plans.values(), other, references=frozen)
        tallies.feed(sight.rows, sight.seq)
        shifting = {one.version for one in sight.splits if any(one.shares.values())}
        judged = store.judged(name)
        last = records[-1].at
        return cls(
            records=records,
            plans=plans,
            tallies=tallies,
            in_force=InForceTime(
                [(one.start, one.end) for one in store.verified(name) if one.version in shifting]
            ),
            through=max(judged.through, last) if judged is not None else last,
        )

    def plan_of(self, state: State) -> Plan:
        return self.plans[state.plan_digest]


class _Walk:
    """Invariant: up to the record that is followed, both plans decide alike."""

    def __init__(self, history: _History, other: Plan) -> None:
        self._history = history
        self._other = other

    def difference(self) -> Difference | None:
        records = self._history.records
        for place, record in enumerate(records):
            if record.state.phase.judged:
                found = self._after(record, records[place + 1 :])
                if found is not None:
                    return found
        return None

    def _after(self, record: Record, following: Sequence[Record]) -> Difference | None:
        """Where the plans part between a record and the next one, or at that."""
        state, then = record.state, self._history.plan_of(record.state)
        plans = (under(then, self._other), then)
        start, until = minute_of(state.updated_at), self._last_look(following)
        ours, theirs = (self._first(plan, state, start, until) for plan in plans)
        if _same(ours, theirs):
            return None
        at = min(one.at for one in (ours, theirs) if one is not None)
        unlike = self._unlike(record, following)
        withheld = ours is None or ours.at > at
        later = self._first(plans[0], state, minute_of(at), unlike) if withheld else None
        return Difference(
            at=at,
            seq=record.seq,
            plan=plans[0],
            plan_of_the_time=then,
            decided=self._decision(plans[0], state, start, minute_of(at)),
            of_the_time=self._decision(then, state, start, minute_of(at)),
            recorded=following[0] if following else None,
            stop=next((one for one in following if one.action in STOPS), None),
            later=later,
            known_until=start_of(unlike) if withheld else at,
        )

    def _last_look(self, following: Sequence[Record]) -> int:
        """The last minute of which the recorded state held."""
        if not following:
            return minute_of(self._history.through)
        # What a command changed was known before its minute was over.
        return minute_of(following[0].at) - (following[0].command is not None)

    def _unlike(self, record: Record, following: Sequence[Record]) -> int:
        """The last minute in which traffic was split as after this record."""
        moved = (one.at for one in following if one.state.version != record.state.version)
        return minute_of(next(moved, self._history.through))

    def _first(self, plan: Plan, state: State, start: int, until: int) -> Step | None:
        """The first decision after one minute and up to another; None if there is none."""
        judged = start
        while judged < until:
            look = min(judged + LOOK_MIN, *last_open(plan, state, judged, until), until)
            if self._decision(plan, state, judged, look).recorded:
                return self._earliest(plan, state, judged, look)
            judged = look
        return None

    def _earliest(self, plan: Plan, state: State, judged: int, look: int) -> Step:
        """By halving: nothing is decided up to `judged`, something is at `look`."""
        while look - judged > 1:
            middle = (judged + look) // 2
            if self._decision(plan, state, judged, middle).recorded:
                look = middle
            else:
                judged = middle
        return Step(at=start_of(look), decision=self._decision(plan, state, judged, look))

    def _decision(self, plan: Plan, state: State, judged: int, minute: int) -> Decision:
        view = View(
            plan=plan,
            state=state,
            tallies=self._history.tallies,
            in_force=self._history.in_force,
            now=start_of(minute),
            judged=judged,
            touched=(),
            moved=(),
        )
        return decide(plan, state, see(view, standing_of(plan, state)), None, start_of(minute))


def _same(one: Step | None, other: Step | None) -> bool:
    """Whether the same is done at the same minute; which rule asked for it does not matter."""
    return _deed(one) == _deed(other)


def _deed(step: Step | None) -> tuple[object, ...] | None:
    if step is None:
        return None
    state = step.decision.state
    return (step.at, step.decision.action, state.phase, state.share_bp, state.pins)
