"""When something may be decided of a simulated rollout, as far as it is known beforehand: holds, freezes, deadlines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controller.rollout.plan import Plan
from controller.rollout.state import Phase, State
from controller.rollout.timeline import minute_of, minutes
from controller.simulate.openings import thaw

LATE: Final = "deadline"  # what is told when a step goes on for longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """Of a rollout after the minute `judged`, which goes on to `last` at most. `fresh`: nothing was looked at since its
    last decision. `approve_min` is when somebody approves who was asked; None: nobody was.
    """

    plan: Plan
    state: State
    judged: int
    last: int
    fresh: bool
    approve_min: int | None

    @property
    def quiet_until(self) -> int:
        """The minute before which nothing but a failure decides anything: a hold, a freeze or an approver's reaction
        is not over, and no deadline passes.
        """
        # Somebody is asked once all else is there, and approves within a freeze too.
        # Nobody approves in a minute in which something else was decided: it is done in the next one.
        due = self.approve_min
        over = self._free_from() if due is None else max(due, self.judged + 1)
        return min(over, self._told_late_min())

    def _free_from(self) -> int:
        """The minute in which the hold is over, and nothing is frozen."""
        match self.state.phase:
            case Phase.PROGRESSING:
                over = self._held_min(self.plan.steps[self.state.step].hold)
            case Phase.BAKING:
                over = self._held_min(self.plan.bake)
            case _:
                over = self.judged
        return max(over, self._thaw())

    def _told_late_min(self) -> int:
        """The minute in which it is told that a step's deadline has passed: the last one if it was, or it has none."""
        state = self.state
        if state.phase is not Phase.PROGRESSING or LATE in state.told:
            return self.last
        deadline = self.plan.steps[state.step].deadline
        if deadline is None:
            return self.last
        return max(minute_of(state.step_started_at) + minutes(deadline), self.judged + 1)

    def _thaw(self) -> int:
        """The first minute that nothing freezes, if the next one is frozen and a raise is what comes next."""
        state, after = self.state, self.judged + 1
        raises = state.phase in (Phase.PENDING, Phase.PROGRESSING)
        if not raises or state.step + 1 == len(self.plan.steps):
            return self.judged
        free = thaw(self.plan.freezes, after, self.last)
        return free if free > after else self.judged

    def _held_min(self, needed: timedelta) -> int:
        """The minute in which a hold is over; the next one if it was over when the last decision was taken."""
        over = minute_of(self.state.hold_from) + minutes(needed - self.state.held)
        return max(over, self.judged + 1) if self.fresh else over
