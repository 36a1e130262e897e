"""Shapes of who is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from controller.plans import leaves
from controller.plans.schema_base import (
    Channel,
    Shape,
    Url,
)
from controller.rollout.plan import (
    Severity,
)


class ChannelsShape(Shape):
    """Slack channels for some severities; the others go to `channel`."""

    info: Channel | None = Field(None, description="For progress.")
    warning: Channel | None = Field(None, description="For what a person should look at.")
    critical: Channel | None = Field(None, description="For stops.")


class SlackShape(Shape):
    """Where Slack messages go."""

    channel: Channel = Field(description='`"#name"` in quotes, or a channel id.')
    channels: ChannelsShape | None = Field(None, description="Other channels, by severity.")
    least: Annotated[Severity, leaves.choice(Severity)] = Field(
        Severity.INFO, alias="from", description="The least severity that is told."
    )


class WebhookShape(Shape):
    """An address that gets each notice as signed JSON; see docs/notifications.md."""

    url: Url = Field(description="https://, or http:// on this host.")
    least: Annotated[Severity, leaves.choice(Severity)] = Field(
        Severity.INFO, alias="from", description="The least severity that is told."
    )


class NotifyShape(Shape):
    """Who is told, beside the log."""

    slack: SlackShape | None = Field(None, description="Slack channels.")
    webhook: WebhookShape | None = Field(None, description="A system of your own.")
