"""Whom a notice is owed to. Pure: a function of the plan that it was decided under and of the notice."""

from __future__ import annotations

from typing import Final

from controller.rollout.decision import Notice
from controller.rollout.plan import Plan

LOG: Final = "log"
SLACK: Final = "slack"
WEBHOOK: Final = "webhook"


def destinations(plan: Plan, notice: Notice) -> tuple[str, ...]:
    """`log` always; then `slack:#channel` and `webhook:host` where the plan wants this severity there."""
    found = [LOG]
    if plan.slack is not None and notice.severity.reaches(plan.slack.least):
        found.append(f"{SLACK}:{plan.slack.channel_for(notice.severity)}")
    if plan.webhook is not None and notice.severity.reaches(plan.webhook.least):
        found.append(f"{WEBHOOK}:{plan.webhook.name}")
    return tuple(found)


def every_destination(plan: Plan) -> tuple[str, ...]:
    """All that a plan could owe something to."""
    found = [LOG]
    if plan.slack is not None:
        slack = plan.slack
        channels = (slack.channel, slack.info, slack.warning, slack.critical)
        found += [f"{SLACK}:{one}" for one in dict.fromkeys(channels) if one]
    if plan.webhook is not None:
        found.append(f"{WEBHOOK}:{plan.webhook.name}")
    return tuple(found)


def kind_of(destination: str) -> str:
    """`slack` of `slack:#llm-oncall`: what delivers to it."""
    return destination.partition(":")[0]


def place_of(destination: str) -> str:
    """`#llm-oncall` of `slack:#llm-oncall`; empty for the log."""
    return destination.partition(":")[2]
