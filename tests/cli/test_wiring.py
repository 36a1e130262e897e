"""Adapters by name: ours, those of installed packages, and what is said about the others."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from controller.cli.process import stopped_by_signals
from controller.clock import ManualClock
from controller.errors import NotFound, NotLeading, SettingsError
from controller.ports import LEASE, Report, Target, Word
from controller.reconcile.lead import Role
from controller.rollout.decision import Action
from controller.settings import load_settings
from controller.traffic.memory import MemoryTarget
from controller.wiring import (
    Kind,
    Opening,
    build_controller,
    build_reconciler,
    controller_running,
    memory_store,
    named,
    open_store,
    shortcomings,
    target,
)
from tests.cli.world import PLAN, START, World
from tests.gateway.servers import eventually


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingsError, match="'nginx' is not known; known are gateway, memory"):
        named(Kind.TRAFFIC_TARGETS, "nginx")
    with pytest.raises(SettingsError, match="known are postgresql, postgresql\\+psycopg, sqlite"):
        open_store("mysql://db/canary")


def test_an_installed_package_adds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "nginx_target.py").write_text(
        "from controller.traffic.memory import MemoryTarget\nbuild = MemoryTarget\n"
    )
    info = tmp_path / "nginx_target-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nginx-target\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[canaryctl.traffic_targets]\nnginx = nginx_target:build\nmemory = nginx_target:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    assert isinstance(target("nginx", ManualClock(START)), MemoryTarget)
    assert isinstance(target("memory", ManualClock(START)), MemoryTarget)  # ours cannot be taken
    sys.modules.pop("nginx_target", None)


def test_a_database_is_made_only_where_that_is_meant(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/canary.db"

    with pytest.raises(NotFound):
        open_store(url, Opening.PRESENT)
    open_store(url, Opening.OR_EMPTY).close()
    assert not list(tmp_path.iterdir())
    open_store(url, Opening.CREATED).close()
    assert (tmp_path / "canary.db").exists()


def test_what_a_plan_wants_and_the_settings_do_not_give_is_said(world: World):
    hooked = PLAN.replace(
        'slack: {channel: "#llm-oncall"}',
        'slack: {channel: "#llm-oncall"}, webhook: {url: https://pager.example.com/x}',
    )
    world.cli("apply", "-f", world.plan(hooked))
    store = open_store(world.url)
    plan = store.head("support-bot").plan
    store.close()

    assert shortcomings(plan, load_settings({})) == (
        "CANARY_SLACK_TOKEN is not set: notices for Slack (#llm-oncall) stay owed, the log has them",
        "CANARY_WEBHOOK_SECRET is not set: notices for the webhook at pager.example.com stay owed, "
        "the log has them",
    )
    given = {"CANARY_SLACK_TOKEN": "xoxb-1", "CANARY_WEBHOOK_SECRET": "sixteen-characters"}
    assert shortcomings(plan, load_settings(given)) == ()


def test_a_controller_leads_drains_and_resigns(world: World):
    world.cli("apply", "-f", world.plan())
    store = open_store(world.url)
    controller = build_controller(load_settings(world.environ), store, world.clock)

    with controller_running(controller):
        eventually(lambda: store.judged("support-bot/1") is not None)
        leads = controller.contender.state()

    assert (leads.role, leads.holder, leads.fence) == (Role.LEADER, leads.name, 1)
    to_log, to_slack = store.deliveries("support-bot/1")
    assert (to_log.destination, to_log.delivered) == ("log", world.clock.now())
    assert (to_slack.destination, to_slack.delivered) == ("slack:#llm-oncall", None)
    assert to_slack.last_error.startswith("CANARY_SLACK_TOKEN is not set")
    assert controller.contender.state().role is Role.STANDBY
    assert store.leadership().holder == ""
    store.close()


def test_the_second_controller_on_a_database_takes_in_what_is_observed_and_names_the_leader(
    world: World,
):
    world.cli("apply", "-f", world.plan())
    store = open_store(world.url)
    first, second = (
        build_controller(load_settings(world.environ), store, world.clock) for _ in range(2)
    )

    with controller_running(first):
        eventually(lambda: first.contender.state().role is Role.LEADER)
        with controller_running(second):
            eventually(lambda: second.contender.state().holder != "")
            with pytest.raises(NotLeading, match=first.contender.state().name):
                asyncio.run(second.link.poll(Report(replica="gw-1"), wait_s=0))
            asyncio.run(second.link.ingest(b""))
            roles = first.contender.state().role, second.contender.state().role

    assert roles == (Role.LEADER, Role.STANDBY)
    store.close()


def test_a_report_that_comes_before_anybody_leads_waits_for_the_one_that_is_about_to(world: World):
    world.cli("apply", "-f", world.plan())
    store = open_store(world.url)
    controller = build_controller(load_settings(world.environ), store, world.clock)

    async def asked_before_it_begins() -> Word:
        asked = asyncio.create_task(controller.link.poll(Report(replica="gw-1"), wait_s=20))
        await asyncio.sleep(0)
        with controller_running(controller):
            return await asked

    granted = asyncio.run(asked_before_it_begins()).granted
    assert [one.split.rollout for one in granted] == ["support-bot/1"]
    with pytest.raises(NotLeading, match="nobody"):
        asyncio.run(controller.link.poll(Report(replica="gw-1"), wait_s=0))
    store.close()


@pytest.mark.parametrize(("lease_s", "expires"), [("300", True), ("600", False)])
def test_a_split_stays_in_force_without_renewal_for_as_long_as_the_settings_say(
    world: World, lease_s: str, expires: bool
):
    world.cli("apply", "-f", world.plan())
    world.cli("promote", "support-bot", "--reason", "try it")
    store = open_store(world.url)
    settings = load_settings({**world.environ, "CANARY_LEASE_S": lease_s})
    reconciler = build_reconciler(settings, store, MemoryTarget(world.clock), world.clock, fence=1)

    reconciler.tick("support-bot")
    world.clock.advance(timedelta(seconds=500))
    decision = reconciler.tick("support-bot")
    store.close()

    assert (decision.action is Action.EXPIRE) is expires


def test_the_first_signal_drains_and_the_second_kills():
    before = signal.getsignal(signal.SIGTERM)

    with stopped_by_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        assert signal.getsignal(signal.SIGTERM) == before

    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_target_is_one_by_contract():
    clock = ManualClock(START)
    found: Target = target("gateway", clock)
    clock.advance(LEASE)  # it may have had another controller before

    assert found.read("nobody/1").split is None


def test_a_store_in_memory_is_empty():
    store = memory_store()

    assert list(store.heads()) == []
    store.close()
