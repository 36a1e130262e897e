"""One simulated rollout: the real readings and `decide`, on simulated streams, with a clock that jumps.

A controller looks every minute. Here failures are looked for in all minutes of two days at once (`failing`), and a look
is made in the first that has one; where a hold, a freeze or a reaction ends; and while a step waits for more than that,
where the first minute with a decision is found by halving. Time goes on from there under the new split
(`docs/adr/014-a-simulation-looks-rarely-and-decides-the-same.md`).

A look at a minute sees all of it, as the last one within it would. The split is taken as verified in force throughout.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.reconcile.observe import references, see
from controller.rollout.commands import AnyCommand, Apply, Approve
from controller.rollout.deciding.decide import decide, start
from controller.rollout.decision import Action, Decision, Wait
from controller.rollout.evidence.readings import proven, read
from controller.rollout.evidence.rules import judge
from controller.rollout.evidence.view import View
from controller.rollout.metrics import Kind
from controller.rollout.plan import Arm, Plan, Rule
from controller.rollout.state import Cause, Phase, State, shares
from controller.rollout.timeline import minute_of, minutes, start_of
from controller.rollout.verdict import Outcome
from controller.simulate.drawn.knowledge import Knowledge
from controller.simulate.drawn.streams import STRETCH_MIN, InForce, Streams
from controller.simulate.endings import Ending
from controller.simulate.openings import is_too_late, last_open
from controller.simulate.runs import nearness
from controller.simulate.runs.agenda import Agenda
from controller.simulate.runs.bounds import bounds_of, tallies_of
from controller.simulate.runs.failing import suspects
from controller.simulate.runs.frozen_percentiles import first_measured
from controller.simulate.runs.late_bounds import LateBounds, may_be_proven, suspected_hours
from controller.simulate.runs.shifting import Shifting
from controller.simulate.scenarios import DAY_MIN, Scenario, Traffic
from controller.simulate.standing import standing_of
from controller.simulate.usual import Usual

ACTOR: Final = "simulation"
AHEAD_MIN: Final = 48 * 60
"""As far ahead failures are looked for: what was drawn beyond one is lost. Looks are no further apart."""
FIRST_AHEAD_MIN: Final = 24 * 60  # after one
NEAR_LOOK_MIN: Final = 60  # where what is asked for comes and goes
ASKED: Final = "approval"  # what is told when a step waits for it alone
PENDING_MIN: Final = 10
SPARE_MIN: Final = 4 * DAY_MIN
"""What most rollouts take at most beyond their planned time; for more, room is made when it is needed."""
FIRST_STRETCH_MIN: Final = 12 * 60
"""Minutes drawn together before the first share: it mostly takes one, and less than this where there is a freeze."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is simulated. `start` is midnight UTC of its first day; freezes and shutdown dates are judged by it.
    `reaction` is how long the simulated person takes to approve.
    """

    plan: Plan
    traffic: Traffic
    scenario: Scenario
    start: datetime
    seed: int
    reaction: timedelta = timedelta(hours=1)
    max_days: int = 60
    usual: Usual = field(default_factory=Usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one run ended. Minutes are since the start; `path` holds the share from each of some minutes on, `pins` when
    each intent was that a rule sent back.
    """

    number: int
    ending: Ending
    end_min: int
    path: tuple[tuple[int, int], ...]
    cause: Cause | None  # of a stop
    rules: tuple[str, ...]  # that stopped it
    candidate_requests: int
    wrong_served: float  # wrong answers of the candidate's that reached a client, as expected
    pins: tuple[tuple[int, str], ...] = ()


def trial(setup: Setup, number: int, *, look_min: int | None = None) -> Trial:
    """One run to its end. The same for the same setup and number, wherever and beside whatever it is run."""
    # A label that comes late changes what was judged, so what a look would see may be gone by the next one.
    usual = NEAR_LOOK_MIN if nearness.is_judged_again(setup.plan, setup.scenario) else AHEAD_MIN
    return _Run(setup, number, look_min or usual).to_its_end()


@dataclass(frozen=True, slots=True)
class _Span:
    """A look in the minute `until` that judges what was not judged by an earlier one."""

    judged: int
    until: int


class _Run:
    """Invariant: no look at a minute up to `_judged` makes a decision that was not taken."""

    def __init__(self, setup: Setup, number: int, look_min: int) -> None:
        self._setup = setup
        self._plan = setup.plan
        self._number = number
        self._look_min = look_min
        self._looks_at_all = look_min == 1
        self._sparse = nearness.is_sparse(setup.plan, setup.traffic, setup.scenario)
        self._near_until = 0
        self._ahead_min = AHEAD_MIN
        applied = Apply(actor=ACTOR, reason=setup.scenario.text, plan=setup.plan)
        self._state = start(applied, setup.start).state
        self._first = self._judged = minute_of(setup.start)
        self._last = self._first + setup.max_days * DAY_MIN
        self._streams = Streams(
            setup.plan, setup.traffic, setup.scenario, setup.seed, number, self._first, setup.usual
        )
        planned = minutes(setup.plan.horizon) + SPARE_MIN
        self._tallies = tallies_of(self._streams, min(planned, setup.max_days * DAY_MIN))
        delay_min = minutes(setup.plan.labels.delay)
        late = nearness.is_judged_again(setup.plan, setup.scenario)
        self._late = Knowledge(self._tallies, delay_min=delay_min) if late else None
        self._wrong_served: list[tuple[int, NDArray[np.float64]]] = []
        self._shifting = Shifting()
        self._approve_min: int | None = None
        self._fresh = True  # nothing was looked at since the last decision
        self._path = [(0, 0)]
        self._pins: list[tuple[int, str]] = []
        self._decided: Decision | None = None
        self._waits: tuple[Wait, ...] = ()
        self._begin_version()

    def to_its_end(self) -> Trial:
        while (ending := _ending(self._state)) is None:
            pending = self._state.phase is Phase.PENDING
            never = pending and is_too_late(self._plan, self._state, self._judged + 1)
            if never or self._judged >= self._last:
                self._judged, ending = self._last, Ending.UNFINISHED
                break
            self._go_on()
        return self._trial(ending)

    def _go_on(self) -> None:
        """To the next decision, or to the next look if none is made."""
        until = self._next_look()
        self._draw(until + 1)
        failing = None if self._looks_at_all else self._first_failing(until)
        self._ahead_min = min(2 * self._ahead_min, AHEAD_MIN)
        if failing is None and until < self._agenda().quiet_until and not self._looks_at_all:
            self._judged = until
            return
        span = failing or _Span(until - 1, until)
        near = self._near_until > self._judged or span.until - self._first_open() < NEAR_LOOK_MIN
        comes_and_goes = self._sparse or nearness.may_go_again(self._waits)
        late = is_too_late(self._plan, self._state, self._judged + 1)
        if comes_and_goes and not near and not late:
            opens = self._opens_before(span.until)
            if opens is not None:
                self._near_until = span.until
                span = _Span(opens - 1, opens)
        until, decision = self._first_decision(span)
        if self._approve_min is not None and until >= self._approve_min and not decision.recorded:
            self._approve_min = None
            decision = self._decision(until, Approve(actor=ACTOR, reason="asked for"))
        self._judged, self._fresh, self._waits = until, decision.recorded, decision.waits
        if decision.failures and decision.recorded:  # mostly another rule or intent fails soon
            self._ahead_min = FIRST_AHEAD_MIN
        if decision.recorded:
            self._follow(decision, until)

    def _first_decision(self, last: _Span) -> tuple[int, Decision]:
        """The first decision since the last look and its minute; what is held in the last minute, if there is none.

        Nothing fails before that.
        """
        for moment in self._proven(last.until):
            decision = self._decision(moment)
            if decision.recorded:
                return self._earliest(moment, decision)
        decision = self._decision(last.until, judged=last.judged)
        if decision.recorded:
            return self._earliest(last.until, decision)
        return last.until, decision

    def _next_look(self) -> int:
        now, quiet = self._judged, self._agenda().quiet_until
        if self._looks_at_all:
            return min(now + 1, self._last)
        if quiet > now:
            return min(quiet, now + self._ahead_min, self._last)
        if self._state.phase is Phase.PENDING:
            apart_min = 1 if self._fresh else PENDING_MIN
        else:
            apart_min = min(self._apart_min(), self._ahead_min)
        closing = last_open(self._plan, self._state, now, self._last)
        return min(now + apart_min, *closing, self._last)

    def _agenda(self) -> Agenda:
        return Agenda(
            plan=self._plan,
            state=self._state,
            judged=self._judged,
            last=self._last,
            fresh=self._fresh,
            approve_min=self._approve_min,
        )

    def _apart_min(self) -> int:
        """How far looks are apart where a step has been held."""
        near = self._judged < self._near_until
        return min(self._look_min, NEAR_LOOK_MIN) if near else self._look_min

    def _first_open(self) -> int:
        """The first minute not looked at in which more than a failure may decide something."""
        return max(self._judged + 1, self._agenda().quiet_until)

    def _opens_before(self, until: int) -> int | None:
        """The first open minute before another one in which all is there that does not go again, with the first proof
        of those that a step asks for; None: there is none.
        """
        first = self._first_open()
        if nearness.is_proof_asked(self._plan, self._state):
            proven = self._proven(until)
            if not proven:
                return None
            first = proven[0]
        if not self._has_samples(until - 1):
            return None
        return bisect_left(range(until), True, lo=first, key=self._has_samples)

    def _has_samples(self, minute: int) -> bool:
        return not nearness.lacks_samples(self._decision(minute).waits)

    def _proven(self, until: int) -> list[int]:
        """The minutes before `until` in which the proof that the step asks for comes, where that could be enough.

        It may be gone again before the next look, so these are looked at too.
        """
        first = self._first_open()
        if first >= until or not nearness.is_proof_asked(self._plan, self._state):
            return []
        moments = np.arange(first, until)
        if self._late is not None:
            return self._proven_late(self._late, moments)
        there = self._are_proven(self._view(until - 1, until), moments)
        there[1:] &= ~there[:-1]
        comes: list[int] = moments[there].tolist()
        return comes

    def _are_proven(self, view: View, moments: NDArray[np.int64]) -> NDArray[np.bool_]:
        there = np.ones(len(moments), dtype=np.bool_)
        for rule, intent in self._losses():
            ends = moments - minute_of(view.now) + view.watermark(rule)
            there &= proven(view, rule, intent, ends)
        return there

    def _proven_late(self, late: Knowledge, moments: NDArray[np.int64]) -> list[int]:
        """The first of some minutes in which the proof is there by what was known in it, if it is in the last that it
        can be.
        """
        last = int(moments[-1])
        late.close(last)
        view, may = (
            self._view(self._judged, last, known=None),
            np.ones(len(moments), dtype=np.bool_),
        )
        for rule, intent in self._losses():
            may &= may_be_proven(view, late, rule, intent, moments)
        left: list[int] = moments[may].tolist()
        found: list[int] = []
        place = len(left) - 1
        while left and place >= 0:
            at = np.array([left[place]])
            if self._are_proven(self._view(left[place] - 1, left[place]), at)[0]:
                found, left = [left[place]], left[:place]
            elif found:
                left = left[place + 1 :]
            else:
                break
            place = len(left) // 2 if left else -1
        return found

    def _losses(self) -> Iterator[tuple[Rule, str]]:
        """The loss rules on the intents that a step's proof is about."""
        critical = {one.name for one in self._plan.intents if one.critical} - set(self._state.pins)
        for rule in self._plan.rules:
            if rule.metric.kind is Kind.LOSS:
                for intent in self._plan.judged_intents(rule):
                    if intent in critical:
                        yield rule, intent

    def _earliest(self, until: int, decision: Decision) -> tuple[int, Decision]:
        """The first minute since the last look in which a decision is made, by halving, and that decision."""
        self._judged = max(self._judged, min(self._agenda().quiet_until, until) - 1)
        # Mostly it is the moment that was chosen for the look, or that of the failure.
        probe = until - 1
        while probe > self._judged:
            earlier = self._decision(probe)
            if earlier.recorded:
                until, decision = probe, earlier
            else:
                self._judged = probe
            probe = (self._judged + until) // 2
        return until, decision

    def _first_failing(self, until: int) -> _Span | None:
        """The first minute up to one in which a rule fails, nothing was measured, or a percentile is frozen."""
        view = self._view(self._judged, until, known=self._judged)
        rules, late = self._plan.rules, self._late is not None
        in_time = {rule.name for rule in rules if not (late and rule.metric.labelled)}
        first = first_measured(view)
        if first is not None:
            view = self._view(self._judged, first, known=self._judged)
        for minute, name, intent in suspects(view, self._tallies, in_time):
            rule = self._plan.rule(name)
            if rule is not None and self._stops(minute, rule, intent):
                first = minute
                break
        found = None if first is None else _Span(first - 1, first)
        return self._first_failing_late(until if first is None else first) or found

    def _first_failing_late(self, until: int) -> _Span | None:
        """The same of rules whose labels come late: in looks an hour apart, of which few need to be made."""
        late = self._late
        rules = [rule for rule in self._plan.rules if rule.metric.labelled]
        if late is None or not rules or self._state.step < 0:
            return None
        late.close(until)
        bounds = [
            LateBounds(self._view(self._judged, until, known=None), late, rule) for rule in rules
        ]
        for judged, end in suspected_hours(
            self._judged, until, lambda *span: any(one.may_fail(*span) for one in bounds)
        ):
            failing = [
                (rule, intent)
                for rule in rules
                for intent in self._judged_intents(rule)
                if self._fails(rule, intent, _Span(judged, end))
            ]
            if failing:
                return self._narrowed(_Span(judged, end), failing)
        return None

    def _narrowed(self, span: _Span, failing: list[tuple[Rule, str | None]]) -> _Span:
        """To the first minute in which one of these fails, by halving."""
        first, until = span.judged, span.until
        while until - first > 1:
            middle = (first + until) // 2
            if any(self._fails(*one, _Span(span.judged, middle)) for one in failing):
                until = middle
            else:
                first = middle
        return _Span(span.judged, until)

    def _judged_intents(self, rule: Rule) -> list[str | None]:
        return [one for one in self._plan.judged_intents(rule) if one not in self._state.pins]

    def _fails(self, rule: Rule, intent: str | None, span: _Span) -> bool:
        """Whether a look at the end of a span finds a failure that is new."""
        verdict = judge(rule, read(self._view(span.judged, span.until), rule, intent))
        return verdict.outcome is Outcome.FAIL and not self._state.failed(verdict)

    def _stops(self, minute: int, rule: Rule, intent: str | None) -> bool:
        seen = read(self._view(minute - 1, minute), rule, intent)
        return judge(rule, seen).outcome is Outcome.FAIL or seen.blind > self._plan.max_blind

    def _decision(
        self, minute: int, command: AnyCommand | None = None, *, judged: int | None = None
    ) -> Decision:
        """What a look in a minute decides; where not said else, all that was to be judged before it was."""
        view = self._view(minute - 1 if judged is None else judged, minute)
        seen = replace(see(view, self._standing), references=references(view))
        return decide(self._plan, self._state, seen, command, start_of(minute))

    def _view(self, judged: int, minute: int, *, known: int | None = -1) -> View:
        """Of a minute, where windows were judged up to an earlier one.

        It holds the labels that were known in it; or, where that is said, in another one, or (None) in any.
        """
        now, touched = start_of(minute), []
        if self._late is not None and known is not None:
            self._late.know(minute if known < 0 else known)
            touched = self._late.changed(judged, minute) if known < 0 else []
        return View(
            plan=self._plan,
            state=self._state,
            tallies=self._tallies,
            in_force=self._shifting.until(now),
            now=now,
            judged=judged,
            touched=touched,
            moved=(),
        )

    def _follow(self, decision: Decision, minute: int) -> None:
        """Take up a decision of a minute: its split is in force from the next one on."""
        before, self._state = self._state, decision.state
        if decision.state.version != before.version:
            self._cut(minute + 1)
            self._begin_version()
        if decision.state.references is not before.references:
            self._tallies.widen(bounds_of(self._plan, decision.state.references), minute)
        self._pins += [
            (minute - self._first, one) for one in decision.state.pins if one not in before.pins
        ]
        if decision.state.share_bp != before.share_bp:
            self._path.append((minute - self._first, decision.state.share_bp))
        if decision.action is Action.NOTIFY and ASKED in {*decision.state.told} - {*before.told}:
            self._approve_min = minute + max(minutes(self._setup.reaction), 1)
        elif decision.state.step != before.step:
            self._approve_min = None
        self._decided = decision

    def _begin_version(self) -> None:
        state, plan = self._state, self._plan
        of = shares(plan, state)
        pinned = {one.name for one in plan.intents if one.pinned or one.name in state.pins}
        self._split = InForce(
            version=state.version, step=state.step, shares=of, pinned=frozenset(pinned)
        )
        self._stretch = 0
        self._tallies.begin(
            state.version, [name for name in self._streams.groups if name not in pinned]
        )
        self._standing = standing_of(plan, state)
        self._shifting.change(state.updated_at, shifts=any(of.values()))

    def _draw(self, end: int) -> None:
        """All that comes in before a minute."""
        while self._tallies.end < end:
            length = FIRST_STRETCH_MIN if self._split.step < 0 else STRETCH_MIN
            start = self._tallies.end
            drawn = self._streams.draw(self._split, self._stretch, start, length)
            self._tallies.add(drawn.counted)
            if self._late is not None:
                for coming in drawn.coming:
                    self._late.take(self._split.version, coming)
            self._stretch += 1
            self._wrong_served.append((start, drawn.wrong_served))

    def _cut(self, end: int) -> None:
        """Forget what comes in from a minute on: it will come in under another split."""
        if self._late is not None:
            self._late.cut(end)
        self._tallies.cut(end)
        kept = [(start, expected[: end - start]) for start, expected in self._wrong_served]
        self._wrong_served = [one for one in kept if one[0] < end]

    def _trial(self, ending: Ending) -> Trial:
        end = min(self._judged + 1, self._tallies.end)
        self._cut(end)
        stop = self._decided if ending in (Ending.PAUSED, Ending.ROLLED_BACK) else None
        served = self._tallies.row(end, arm=Arm.CANDIDATE.value, intent=None)
        return Trial(
            number=self._number,
            ending=ending,
            end_min=self._judged - self._first,
            path=tuple(self._path),
            pins=tuple(self._pins),
            cause=stop.cause if stop is not None else None,
            rules=tuple(sorted({one.rule for one in stop.failures})) if stop is not None else (),
            candidate_requests=served[self._tallies.columns.requests],
            wrong_served=sum(float(expected.sum()) for _, expected in self._wrong_served),
        )


def _ending(state: State) -> Ending | None:
    match state.phase:
        case Phase.COMPLETE | Phase.RETIRED:
            return Ending.COMPLETED
        case Phase.ROLLED_BACK:
            return Ending.ROLLED_BACK
        case Phase.PAUSED:
            return Ending.PAUSED
        case _:
            return None
