"""What a target stands at that has done all that was asked of it."""

from __future__ import annotations

from datetime import UTC, datetime

from controller.ports import Split, Standing
from controller.rollout.plan import Plan
from controller.rollout.route import route_of
from controller.rollout.state import State, shares


def standing_of(plan: Plan, state: State) -> Standing:
    """A target that has the committed split in force everywhere."""
    of = shares(plan, state)
    split = Split(
        rollout=state.rollout,
        fence=1,
        version=state.version,
        shares=of,
        settled=of,
        salt=state.salt,
        expires=datetime.max.replace(tzinfo=UTC),
        route=route_of(plan, state),
    )
    return Standing(split=split, since=state.updated_at)
