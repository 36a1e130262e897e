"""Why a command was refused, and what to do instead, as people read it. Pure."""

from __future__ import annotations

from controller.rollout.decision import Refusal


def refusal_line(refusal: Refusal, detail: str) -> str:
    """Why a command was refused, and what would be permitted."""
    why, instead = _REFUSED[refusal]
    shown = f" ({detail.replace('_', ' ')})" if detail else ""
    return f"Refused: {why}{shown}. {instead}"


_REFUSED = {
    Refusal.MOVED_ON: (
        "the rollout has moved on since you looked",
        "Look again with `canaryctl describe`, and repeat it if it still makes sense.",
    ),
    Refusal.SUPERSEDED: (
        "the rollout was stopped in the same moment, and a stop comes first",
        "`canaryctl describe` says why it stopped.",
    ),
    Refusal.EXISTS: ("this very revision is in force", "There is nothing to change."),
    Refusal.NOT_PAUSED: ("the rollout is not paused", "Only a paused rollout can be resumed."),
    Refusal.ALREADY_PAUSED: (
        "the rollout is paused already",
        "`canaryctl resume` goes on, `canaryctl rollback` ends it.",
    ),
    Refusal.NOT_RUNNING: (
        "the rollout is not running",
        "`canaryctl get` shows its phase; a rolled-back one starts again with `canaryctl retry`.",
    ),
    Refusal.NOT_ROLLED_BACK: (
        "the rollout was not rolled back",
        "Only a rolled-back rollout can be retried; a paused one goes on with `canaryctl resume`.",
    ),
    Refusal.NOT_COMPLETE: (
        "the rollout is not complete",
        "It can be retired once every step and the bake are done; to end it now, `canaryctl rollback`.",
    ),
    Refusal.NO_APPROVAL_ASKED: (
        "the present step asks for no approval, or has it",
        "Approve while a step with `approval: required` is in force.",
    ),
    Refusal.LAST_STEP: (
        "the rollout stands at its last step",
        "It completes by itself once the bake is over.",
    ),
    Refusal.RULE_FAILED: (
        "a rule has failed",
        'Wait until it passes, or take responsibility: `canaryctl promote --override RULE --reason "…"`.',
    ),
    Refusal.NEEDS_REASON: (
        "it needs a reason, for those who read the record later",
        'Repeat it with `--reason "…"`.',
    ),
    Refusal.UNKNOWN_RULE: (
        "the plan has no such rule",
        "`canaryctl describe` lists its rules.",
    ),
    Refusal.UNKNOWN_INTENT: (
        "the plan has no such intent",
        "`canaryctl describe` lists its intents.",
    ),
    Refusal.ALREADY_PINNED: (
        "the intent is on the baseline already",
        "There is nothing to pin.",
    ),
    Refusal.IMMUTABLE: (
        "a running rollout cannot be changed in this",
        "Roll it back and apply the plan as a new one, under a new name.",
    ),
    Refusal.STOPPED: (
        "a new revision cannot clear a pause or a rollback",
        "A person does: `canaryctl resume` after a pause, `canaryctl retry` after a rollback.",
    ),
    Refusal.FROZEN: (
        "a freeze is in force, in which nothing advances",
        "Repeat it when the freeze is over; a pause and a rollback are permitted at any time.",
    ),
    Refusal.BASELINE: (
        "the baseline does not answer, so a rollback would have nowhere to go",
        "Repeat it when the baseline answers.",
    ),
    Refusal.NOT_STARTED: (
        "the rollout has not started",
        "`canaryctl apply` starts it.",
    ),
}
