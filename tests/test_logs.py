import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import structlog

from controller.logs import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_both_kinds_of_logger_write_the_same_json_line():
    out = io.StringIO()
    configure_logging("json", "info", stream=out)

    structlog.get_logger("ours").info("raised", share_bp=500)
    logging.getLogger("theirs").info("raised to %d", 500, extra={"share_bp": 500})

    ours, theirs = lines(out)
    assert ours.keys() == theirs.keys()
    assert (ours["event"], theirs["event"]) == ("raised", "raised to 500")
    assert (ours["logger"], theirs["logger"]) == ("ours", "theirs")
    assert ours["share_bp"] == theirs["share_bp"] == 500


def test_timestamps_are_utc_iso_8601():
    out = io.StringIO()
    configure_logging("json", "info", stream=out)

    structlog.get_logger("ours").info("raised")

    assert datetime.fromisoformat(str(lines(out)[0]["timestamp"])).utcoffset() == timedelta(0)


def test_lines_below_the_level_are_not_written():
    out = io.StringIO()
    configure_logging("json", "warning", stream=out)

    structlog.get_logger("ours").info("small talk")
    logging.getLogger("theirs").info("small talk")
    structlog.get_logger("ours").warning("heard")

    assert [line["event"] for line in lines(out)] == ["heard"]


def test_a_traceback_carries_no_local_variables():
    out = io.StringIO()
    configure_logging("json", "info", stream=out)

    try:
        token = chr(120) + "oxb-hunter2"
        raise ValueError(f"refused: {len(token)}")
    except ValueError:
        structlog.get_logger("ours").exception("failed")

    assert "refused: 12" in out.getvalue()
    assert "xoxb-hunter2" not in out.getvalue()


def test_a_warning_is_a_log_line():
    out = io.StringIO()
    configure_logging("json", "info", stream=out)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old name", DeprecationWarning, stacklevel=1)

    assert lines(out)[0]["logger"] == "py.warnings"


@pytest.mark.parametrize(("stream", "is_json"), [(io.StringIO(), True), (Terminal(), False)])
def test_auto_is_for_people_on_a_terminal_and_json_elsewhere(stream: io.StringIO, is_json: bool):
    configure_logging("auto", "info", stream=stream)

    structlog.get_logger("ours").info("raised", share_bp=500)

    assert stream.getvalue().startswith("{") is is_json


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch):
    plain, coloured = Terminal(), Terminal()

    monkeypatch.delenv("NO_COLOR", raising=False)
    configure_logging("console", "info", stream=coloured)
    structlog.get_logger("ours").info("raised")
    monkeypatch.setenv("NO_COLOR", "1")
    configure_logging("console", "info", stream=plain)
    structlog.get_logger("ours").info("raised")

    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()


def test_a_logger_made_before_the_configuration_follows_it():
    logger = structlog.get_logger("early")
    out = io.StringIO()
    configure_logging("json", "info", stream=out)

    logger.info("raised")

    assert lines(out)[0]["event"] == "raised"
