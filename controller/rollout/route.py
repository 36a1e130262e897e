"""What a data plane needs of a plan: which requests are whose, and what must be known to assign one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.rollout.plan import Arm, ModelRef, Plan, Unit
from controller.rollout.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A rollout's claim on requests. `pinned` intents, by the plan or by the rollout, never leave the baseline. People
    are asked to grade `people_u` millionths of its units, for as long as it is judged.

    Of two rollouts that claim one model the one that was started later has it (`newest`): a new attempt, or the plan
    that follows a retired one.
    """

    match_model: str
    baseline: ModelRef
    candidate: ModelRef
    unit: Unit
    pinned: tuple[str, ...]
    claimed_at: datetime
    people_u: int = 0

    def model(self, arm: Arm) -> ModelRef:
        return self.baseline if arm is Arm.BASELINE else self.candidate


def route_of(plan: Plan, state: State) -> Route:
    pinned = {one.name for one in plan.intents if one.pinned}
    return Route(
        match_model=plan.match_model,
        baseline=plan.baseline,
        candidate=plan.candidate,
        unit=plan.unit,
        pinned=tuple(sorted(pinned.union(state.pins))),
        claimed_at=state.started_at,
        # Once nothing is judged any more, nobody is asked to grade for nothing.
        people_u=plan.labels.people_u if state.phase.judged else 0,
    )


def over_limits(route: Route, *, input_tokens: int, output_tokens: int | None) -> bool:
    """Whether a request is over the candidate's limits, as far as those are known.

    `output_tokens` is the most that the request asks for, None if it does not say.
    """
    window, longest = route.candidate.context_window, route.candidate.output_limit
    if window is not None and input_tokens + (output_tokens or 0) > window:
        return True
    return longest is not None and output_tokens is not None and output_tokens > longest


class _Shares(Protocol):
    @property
    def shares(self) -> Mapping[str, int]: ...

    @property
    def since(self) -> datetime: ...


def settled_shares(splits: Iterable[_Shares], since: datetime) -> dict[str, int]:
    """By intent, the lowest share that was committed at any time from `since` on; `splits` in order of version.

    Whatever unit was first seen since then, it was a candidate's if its point lies below. An intent that a split did
    not have yet was the baseline's.
    """
    ordered = list(splits)
    ends = [one.since for one in ordered[1:]]
    recent = [one for one, end in zip(ordered, ends, strict=False) if end > since] + ordered[-1:]
    intents = {intent for one in recent for intent in one.shares}
    return {intent: min(one.shares.get(intent, 0) for one in recent) for intent in sorted(intents)}
