"""Notices as log lines: for installations without a channel, and beside one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_never

import structlog
from structlog.typing import FilteringBoundLogger

from controller.notify.words import words
from controller.ports import Owed
from controller.rollout.plan import Plan, Severity


class LogNotifier:
    """Writes each notice as one line: the title as the event, the rest as fields. A log is always reachable."""

    def __init__(self, log: FilteringBoundLogger | None = None) -> None:
        self._log: FilteringBoundLogger = log or structlog.get_logger(__name__)

    pace = timedelta(0)
    settle = timedelta(0)

    def send(self, owed: Owed, plan: Plan) -> str:
        notice, message = owed.notice, words(owed.notice, plan, owed.rollout)
        self._write(message.severity)(
            message.title,
            notice=owed.id,
            rollout=owed.rollout,
            destination=owed.destination,
            action=notice.action.value,
            cause=notice.cause.value,
            share_before_bp=notice.share_before_bp,
            share_after_bp=notice.share_after_bp,
            actor=notice.actor,
            body=message.body,
        )
        return ""

    def find(self, owed: Owed, plan: Plan) -> str | None:
        """Never: a log is not read back. A line that is written twice names the same `notice`."""
        return None

    def refresh(self, destination: str, stale: datetime) -> None:
        """A log shows nothing of the present."""

    def _write(self, severity: Severity) -> Callable[..., Any]:
        match severity:
            case Severity.INFO:
                return self._log.info
            case Severity.WARNING:
                return self._log.warning
            case Severity.CRITICAL:
                return self._log.critical
            case unknown:
                assert_never(unknown)
