"""Probes and scrapes over a real socket, as a kubelet and a Prometheus ask."""

import asyncio
import threading

import aiohttp
import pytest
from aiohttp import web

from controller.errors import SchemaBehind
from controller.telemetry.health import Role
from controller.telemetry.operations import Office, Operations
from controller.telemetry.server import ops_app
from tests.telemetry.exposition import Scrape
from tests.telemetry.test_meters import nothing, operating, sources

PATIENCE_S = 20.0


def asked(operations, *paths):
    """Status, content type and body of each path, from a server on a port of its own."""

    async def ask():
        runner = web.AppRunner(ops_app(operations), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            address = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with aiohttp.ClientSession() as session:
                return [await got(session, address + path) for path in paths]
        finally:
            await runner.cleanup()

    return asyncio.run(ask())


async def got(session, url):
    async with session.get(url) as answer:
        kind = answer.headers["Content-Type"]
        body = await (answer.json() if "json" in kind else answer.text())
        return answer.status, kind, body


def test_a_leader_with_its_database_is_alive_ready_and_measured():
    alive, ready, metrics = asked(operating(), "/livez", "/readyz", "/metrics")

    assert (alive[0], alive[2]) == (200, "ok\n")
    assert ready[0] == 200
    assert ready[2] == {
        "ready": True,
        "role": "leader",
        "checks": [
            {"check": "database", "state": "ok", "reason": ""},
            {"check": "schema", "state": "ok", "reason": ""},
            {"check": "loop", "state": "ok", "reason": ""},
        ],
    }
    assert metrics[0] == 200
    assert metrics[1] == "text/plain; version=0.0.4; charset=utf-8"
    assert Scrape(metrics[2]).value("canary_leader") == 1


def test_a_standby_is_ready_and_says_that_it_is_one():
    standby = operating(
        office=lambda: Office(role=Role.STANDBY, fence=None),
        lag_s=lambda: None,
        gateways=lambda: None,
    )

    ready, metrics = asked(standby, "/readyz", "/metrics")

    assert (ready[0], ready[2]["role"]) == (200, "standby")
    assert Scrape(metrics[2]).value("canary_leader") == 0
    for unknown in ("canary_fence", "canary_tick_lag_seconds", "canary_gateways"):
        assert Scrape(metrics[2]).value(unknown) is None


def test_a_controller_that_waits_for_its_schema_is_alive_and_not_ready():
    def behind():
        raise SchemaBehind("at schema 0001; this release needs 0002. Run `canaryctl db upgrade`.")

    alive, ready, metrics = asked(
        Operations(behind, stuck_after_s=60), "/livez", "/readyz", "/metrics"
    )

    assert alive[0] == 200
    assert (ready[0], ready[2]["role"]) == (503, "starting")
    schema = next(one for one in ready[2]["checks"] if one["check"] == "schema")
    assert "canaryctl db upgrade" in schema["reason"]
    assert Scrape(metrics[2]).value("canary_ready_check", check="schema") == 0


def test_a_stuck_worker_is_neither_alive_nor_ready_and_says_why():
    operations = Operations(nothing, stuck_after_s=0)
    operations.attach(sources(), nothing)

    alive, ready = asked(operations, "/livez", "/readyz")

    assert alive[0] == 503
    assert "Restart this process" in alive[2]
    assert ready[0] == 503


def test_a_database_that_hangs_is_no_reason_to_restart_and_holds_up_no_other_answer():
    go_on = threading.Event()

    def hangs():
        go_on.wait(PATIENCE_S)

    operations = operating()
    operations.attach(sources(), hangs)
    try:
        ready, alive = asked(operations, "/readyz", "/livez")
    finally:
        go_on.set()

    assert ready[0] == 503
    assert "no answer within" in ready[2]["checks"][0]["reason"]
    assert alive[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/link/v1/poll"])
def test_there_is_nothing_else(path):
    ((status, _, _),) = asked(operating(), path)

    assert status == 404
