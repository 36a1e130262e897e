"""The controller as a process of its own, told of a Slack by its settings: what it commits arrives there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.clock import SystemClock
from controller.simulate.services.slack import TOKEN, Fault, SimulatedSlack, Trouble
from controller.wiring import open_store
from tests.cli.world import PLAN
from tests.gateway.servers import eventually
from tests.notify.slack_world import header, served

OPS = "#llm-oncall"
PATIENCE_S = 60.0  # an upper bound for what is broken, not a measure of what works


class Controller:
    def __init__(self, folder: Path, slack_url: str) -> None:
        self.folder = folder
        self.database = f"sqlite:///{folder}/canary.db"
        self.environ = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
            "CANARY_DATABASE_URL": self.database,
            "CANARY_SLACK_URL": f"{slack_url}/api/",
            "CANARY_SLACK_TOKEN": TOKEN,
            "CANARY_OPS_LISTEN": "127.0.0.1:0",
            "CANARY_ACTOR": "ada",
        }

    def cli(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "controller.cli.main", *arguments]
        subprocess.run(command, env=self.environ, check=True, capture_output=True, timeout=60)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "controller.cli.main", "run"]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, env=self.environ, stderr=log, stdout=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def undelivered(self) -> int:
        store = open_store(self.database)
        count = sum(one.count for one in store.backlog())
        store.close()
        return count


@pytest.fixture
def slack() -> SimulatedSlack:
    return SimulatedSlack(SystemClock(), [OPS])


@pytest.fixture
def controller(tmp_path: Path, slack: SimulatedSlack) -> Iterator[Controller]:
    with served(slack.app) as url:
        made = Controller(tmp_path, url)
        plan = tmp_path / "plan.yaml"
        plan.write_text(PLAN)
        made.cli("apply", "-f", str(plan))
        yield made


def events(slack: SimulatedSlack) -> list[str]:
    return [header(one) for one in slack.room(OPS).messages if one.thread_ts]


STARTED = ":large_blue_circle: support-bot: started, gpt-4.1 to gpt-4.1-mini"


@pytest.mark.timeout(120)
def test_what_is_applied_arrives_and_an_orderly_end_leaves_nothing_behind(controller, slack):
    with controller.running() as process:
        eventually(lambda: events(slack), within_s=PATIENCE_S)
        eventually(lambda: not controller.undelivered(), within_s=PATIENCE_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    assert events(slack) == [STARTED]
    assert len(slack.room(OPS).parents) == 1


@pytest.mark.slow  # what is in doubt is left alone for 20 s
@pytest.mark.timeout(240)
def test_a_controller_that_is_killed_while_slack_hangs_sends_nothing_twice(controller, slack):
    slack.fail(Fault(trouble=Trouble.HELD, methods=("chat.postMessage",), times=1))
    with controller.running() as process:
        eventually(lambda: slack.room(OPS).messages, within_s=PATIENCE_S)
        process.kill()
    slack.release()

    with controller.running():
        eventually(lambda: not controller.undelivered(), within_s=PATIENCE_S)

    assert events(slack) == [STARTED]
    assert len(slack.room(OPS).parents) == 1
