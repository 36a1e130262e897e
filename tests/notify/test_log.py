from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from controller.notify.log import LogNotifier
from controller.ports import Owed
from controller.rollout.decision import Action, Notice
from controller.rollout.plan import Severity
from tests.notify.factories import NOW, PLAN, ROLLED_BACK, ROLLOUT, notice


def owed(one: Notice) -> Owed:
    return Owed(
        id=f"{ROLLOUT}:7/{one.key}",
        rollout=ROLLOUT,
        notice=one,
        destination="log",
        created=NOW,
        attempts=0,
        next_attempt=NOW,
    )


def test_a_notice_is_one_line_with_its_title_as_the_event():
    with capture_logs() as logs:
        LogNotifier(structlog.get_logger("test")).send(owed(ROLLED_BACK), PLAN)

    (line,) = logs
    assert line["event"].startswith("support-bot: ROLLED BACK to gpt-4.1")
    assert line["notice"] == "support-bot/1:7/rollback"
    assert (line["share_before_bp"], line["share_after_bp"]) == (1_000, 0)
    assert "187 of 7,762 candidate requests" in line["body"]


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.INFO, "info"),
        (Severity.WARNING, "warning"),
        (Severity.CRITICAL, "critical"),
    ],
)
def test_the_severity_is_the_level(severity, level):
    with capture_logs() as logs:
        LogNotifier().send(owed(notice(Action.NOTIFY, severity=severity)), PLAN)

    assert logs[0]["log_level"] == level
