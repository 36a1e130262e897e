"""Log lines about rollouts: each names its rollout, and a decision the record that it is."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from controller.logs import configure_logging
from controller.telemetry.journal import Journal
from tests.reconcile.ticking import Passing
from tests.telemetry.factories import Defective, about_to_advance, loop_on, worked


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_decision_line_names_record_plan_and_fence_and_says_what_moved_and_why():
    world, out = about_to_advance(), io.StringIO()
    configure_logging("json", "info", stream=out)

    worked(world, Journal())

    (line,) = [json.loads(one) for one in out.getvalue().splitlines()]
    record = world.store.records("quick/1")[-1]
    assert (line["event"], line["rollout"], line["record"]) == ("decision", "quick/1", 2)
    assert record.hash.startswith(line["hash"])
    assert record.value.plan_digest.startswith(line["plan"])
    assert line["fence"] == record.value.fence
    assert (line["action"], line["cause"], line["phase"]) == ("advance", "clear", "progressing")
    assert (line["share_before_bp"], line["share_after_bp"]) == (0, 1000)
    assert line["verdicts"] == ["errors=unmeasured", "escalation=unmeasured"]


def test_the_console_form_says_the_same():
    world, out = about_to_advance(), io.StringIO()
    configure_logging("console", "info", stream=out)

    worked(world, Journal())

    line = out.getvalue()
    for words in (
        "decision",
        "rollout=quick/1",
        "record=2",
        "action=advance",
        "share_after_bp=1000",
    ):
        assert words in line


class LogsWithin(Passing):
    """A reconciler in which something far below writes a line that knows nothing of rollouts."""

    def judge(self, rollout):
        structlog.get_logger("far.below").warning("slow_answer")
        logging.getLogger("a.library").warning("retrying")
        return super().judge(rollout)


def test_whatever_is_logged_within_a_tick_names_the_rollout_and_nothing_after_it_does():
    world, out = about_to_advance(), io.StringIO()
    configure_logging("json", "info", stream=out)
    loop = loop_on(world, Journal(), ticking=LogsWithin(world.reconciler))

    loop.wake(["quick/1"])
    loop.work(timeout_s=0)
    structlog.get_logger("far.below").warning("later")

    lines = [json.loads(one) for one in out.getvalue().splitlines()]
    assert [(one["event"], one.get("rollout")) for one in lines] == [
        ("slow_answer", "quick/1"),
        ("retrying", "quick/1"),
        ("tick_overtaken", "quick/1"),  # the loop has a later fence
        ("later", None),
    ]


def test_a_defect_in_a_tick_is_logged_with_its_rollout():
    world, out = about_to_advance(), io.StringIO()
    configure_logging("json", "info", stream=out)
    loop = loop_on(world, Journal(), ticking=Defective())

    loop.wake(["quick/1"])
    loop.work(timeout_s=0)

    (line,) = [json.loads(one) for one in out.getvalue().splitlines()]
    assert (line["event"], line["rollout"]) == ("tick_failed", "quick/1")
    assert line["exception"][0]["exc_value"] == "a defect"
