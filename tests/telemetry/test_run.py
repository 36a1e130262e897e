"""`canaryctl run` on a PostgreSQL, as a process: what probes and scrapes see of it through its life."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.servers import eventually
from tests.postgres import Cluster
from tests.telemetry.exposition import Scrape

ROOT = Path(__file__).parents[2]


class Run:
    """A controller in a process of its own, with what it logged."""

    def __init__(self, folder: Path, url: str):
        self.folder = folder
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CANARY_DATABASE_URL": url,
            "CANARY_OPS_LISTEN": "127.0.0.1:0",
            "CANARY_LOG_FORMAT": "json",
        }
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command("run"), env=self.environ, stderr=log)
        self.port = int(self.until("ops_listening")["address"].rpartition(":")[2])

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "controller.cli.main", *arguments]

    def cli(self, *arguments: str) -> None:
        subprocess.run(
            self._command(*arguments), env=self.environ, check=True, capture_output=True, timeout=60
        )

    def logged(self, event: str):
        whole = self._log.read_text(encoding="utf-8").rpartition("\n")[0]
        return [one for one in map(json.loads, whole.splitlines()) if one["event"] == event]

    def until(self, event: str):
        def found():
            assert self.process.poll() is None, self._log.read_text(encoding="utf-8")
            return self.logged(event)

        return eventually(found)[0]

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def scrape(self) -> Scrape:
        return Scrape(self.get("/metrics")[1])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@pytest.fixture
def start(tmp_path):
    started = []

    def run(url):
        started.append(Run(tmp_path, url))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()


def test_a_controller_waits_alive_and_unready_until_its_schema_is_there(postgresql: Cluster, start):
    controller = start(postgresql.empty())

    waited = controller.until("waiting_for_database")
    status, body = controller.get("/readyz")
    said = json.loads(body)

    assert "canaryctl db upgrade" in waited["reason"]
    assert controller.get("/livez") == (200, b"ok\n")
    assert (status, said["role"]) == (503, "starting")
    schema = next(one for one in said["checks"] if one["check"] == "schema")
    assert (schema["state"], "canaryctl db upgrade" in schema["reason"]) == ("failed", True)
    assert controller.scrape().value("canary_ready_check", check="schema") == 0
    assert controller.scrape().value("canary_leader") is None

    controller.cli("db", "upgrade")
    eventually(controller.is_ready)
    eventually(lambda: controller.scrape().value("canary_leader") == 1)

    assert json.loads(controller.get("/readyz")[1])["role"] == "leader"
    assert len(controller.logged("waiting_for_database")) == 1
    assert len(controller.logged("database_there")) == 1
    assert controller.stop() == 0


def test_a_database_that_goes_away_makes_it_unready_and_not_dead_and_is_counted(
    postgresql: Cluster, postgresql_url: str, start
):
    controller = start(postgresql_url)
    eventually(controller.is_ready)

    postgresql.stop()
    eventually(lambda: not controller.is_ready())
    alive = controller.get("/livez")[0]
    eventually(lambda: (controller.scrape().value("canary_database_errors_total") or 0) > 0)
    postgresql.start()
    eventually(controller.is_ready)

    assert alive == 200
    assert controller.stop() == 0
