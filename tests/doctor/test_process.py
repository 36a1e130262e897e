"""The controller, its link and the disk, in each of their states."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from controller.doctor import process
from controller.doctor.finding import Level
from controller.ports import Leadership
from tests.doctor.servers import answering, nowhere

TOKEN = "a token of sixteen or more"


def ready(*, is_ready=True, role="leader", checks=()):
    return {"ready": is_ready, "role": role, "checks": list(checks)}


def test_a_ready_controller_is_well_and_says_what_it_is():
    with answering("/readyz", ready(role="standby")) as address:
        found = process.of_controller(address)

    assert found.level is Level.OK
    assert found.found.endswith("as standby")


def test_a_controller_that_is_not_ready_is_failed_with_its_own_reasons():
    checks = [
        {"check": "database", "state": "ok", "reason": ""},
        {"check": "schema", "state": "failed", "reason": "run `canaryctl db upgrade`"},
    ]
    body = ready(is_ready=False, role="starting", checks=checks)
    with answering("/readyz", body, status=503) as address:
        found = process.of_controller(address)

    assert found.level is Level.FAILED
    assert "schema: run `canaryctl db upgrade`" in found.found


def test_a_controller_that_does_not_answer_here_may_run_elsewhere():
    found = process.of_controller(nowhere())

    assert found.level is Level.WARNING
    assert "canaryctl run" in found.todo


@pytest.mark.parametrize("body", [None, [], {}, {"ready": True}])
def test_something_else_at_its_address_is_not_taken_for_a_controller(body):
    with answering("/readyz", body) as address:
        found = process.of_controller(address)

    assert found.level is Level.WARNING
    assert "something else" in found.found


def test_an_address_on_all_interfaces_is_asked_here():
    with answering("/readyz", ready()) as address:
        port = address.rpartition(":")[2]
        assert process.of_controller(f"0.0.0.0:{port}").level is Level.OK


def link(address, token=TOKEN):
    return {one.check: one for one in process.of_link(address, token)}


def replica(name, lost=0):
    return {"name": name, "heard_at": "2026-11-21T12:00:00Z", "versions": {}, "lost": lost}


def test_a_link_with_gateways_is_well():
    with answering("/link/v1/status", {"replicas": [replica("one"), replica("two")]}) as address:
        (found,) = link(address).values()

    assert found.level is Level.OK
    assert "one, two" in found.found


def test_without_a_token_no_gateway_can_connect():
    assert link(nowhere(), token=None)["link"].level is Level.WARNING


def test_a_link_that_does_not_answer_here_may_be_elsewhere():
    assert link(nowhere())["link"].level is Level.WARNING


def test_a_token_that_the_controller_refuses_is_failed_and_not_shown():
    with answering("/link/v1/status", text="no", status=401) as address:
        found = link(address)["link"]

    assert found.level is Level.FAILED
    assert TOKEN not in str(found)


@pytest.mark.parametrize(
    ("body", "status"), [({"replicas": []}, 200), ({"error": "standby"}, 503), ([], 200)]
)
def test_a_link_without_gateways_is_a_warning(body, status):
    with answering("/link/v1/status", body, status=status) as address:
        assert link(address)["link"].level is Level.WARNING


def test_a_gateway_that_lost_lines_is_failed():
    with answering("/link/v1/status", {"replicas": [replica("one", lost=7)]}) as address:
        found = link(address)["gateway one"]

    assert found.level is Level.FAILED
    assert "7 lines lost" in found.found


def test_room_on_a_disk_is_told_for_a_folder_that_is_not_there_yet(tmp_path):
    found = process.of_disk("gateway", tmp_path / "not" / "yet")

    assert str(tmp_path) in found.found


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (process.LITTLE, Level.OK),
        (process.LITTLE - 1, Level.WARNING),
        (process.TOO_LITTLE, Level.WARNING),
        (process.TOO_LITTLE - 1, Level.FAILED),
    ],
)
def test_little_room_is_a_warning_and_hardly_any_is_failed(monkeypatch, free, level):
    usage = type(shutil.disk_usage("/"))(10**12, 10**12 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    assert process.of_disk("gateway", Path("/")).level is level


def lead(holder="one", beat=7, fence=3):
    return Leadership(holder=holder, fence=fence, beat=beat, term=timedelta(seconds=15))


def looked(first, *later):
    waits: list[float] = []
    rows = iter(later)
    last = first

    def row():
        nonlocal last
        last = next(rows, last)
        return last

    return process.of_lead(first, row, waits.append), waits


def test_a_lead_that_is_renewed_while_we_look_is_well():
    found, waits = looked(lead(), lead(), lead(), lead(beat=8))

    assert found.level is Level.OK
    assert found.found == "one leads under fence 3, and renews it"
    assert len(waits) == 2


def test_a_lead_that_is_not_renewed_for_half_a_term_is_a_warning():
    found, waits = looked(lead())

    assert found.level is Level.WARNING
    assert "did not renew it" in found.found
    assert sum(waits) == 7.5


def test_a_change_of_leaders_names_the_new_one():
    found, _ = looked(lead(), lead(holder="two", beat=7, fence=4))

    assert found.level is Level.OK
    assert "two leads under fence 4" in found.found


def test_that_nobody_leads_is_a_warning():
    found, waits = looked(lead(holder=""))

    assert found.level is Level.WARNING
    assert waits == []
    assert found.found == "nobody leads"
