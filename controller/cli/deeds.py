"""What a decision does, as a verb: `pauses at 10% (accuracy on refund)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.rollout.decision import Decision
    from controller.rollout.record import Record


def deed(one: Record | Decision) -> str:
    from controller.rollout.decision import Action
    from controller.rollout.units import format_share
    from controller.simulate.backtest.policies import named

    share = format_share(one.state.share_bp)
    failed = dict.fromkeys(named(verdict) for notice in one.notices for verdict in notice.failures)
    why = f" ({', '.join(failed)})" if failed else ""
    match one.action:
        case Action.HOLD:
            return "holds"
        case Action.ADVANCE:
            return f"advances to {share}"
        case Action.PAUSE:
            return f"pauses at {share}{why or f' ({_cause(one)})'}"
        case Action.ROLLBACK:
            return f"rolls back{why or f' ({_cause(one)})'}"
        case Action.PIN:
            return f"pins to the baseline{why}"
        case Action.BAKE:
            return "begins its bake"
        case Action.COMPLETE:
            return "completes"
        case Action.NOTIFY:
            return f"notifies{why or f' ({_cause(one)})'}"
        case Action.MEASURE:
            return "freezes a percentile of the baseline"
        case action:
            return f"records {action.value}{why}"


def _cause(one: Record | Decision) -> str:
    return one.cause.value.replace("_", " ")
