"""The whole answer of a scrape: what the process counts, in a registry of its own."""

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing

import prometheus_client
import pytest

from controller.errors import NotFound, Unreachable
from controller.ports import Ticked
from controller.rollout.observation import Ingested
from controller.telemetry import catalogue
from controller.telemetry.catalogue import Kind
from controller.telemetry.health import Role
from controller.telemetry.meters import Meters
from controller.telemetry.operations import Gateway, Office, Operations, Owing, Sources
from controller.wiring import Opening, open_store
from tests.reconcile.world import ESCALATIONS
from tests.telemetry.exposition import Scrape
from tests.telemetry.factories import about_to_advance, worked

PROMTOOL = shutil.which("promtool")


def nothing():
    pass


def sources(**changes):
    usual = {
        "lag_s": lambda: 0.5,
        "gateways": lambda: [Gateway(name="one", heard_age_s=2.0, lost=3)],
        "owing": lambda: [Owing(destination="slack:#ops", undelivered=2, oldest_age_s=90.0)],
        "office": lambda: Office(role=Role.LEADER, fence=7, renewed_age_s=1.5),
    }
    return Sources(**{**usual, **changes})


def operating(**changes):
    operations = Operations(nothing, stuck_after_s=60)
    operations.attach(sources(**changes), nothing)
    return operations


def at_work():
    """A controller that has ticked, decided, taken in and delivered."""
    operations = operating()
    world = about_to_advance()
    worked(world, operations, times=2)
    world.traffic(ESCALATIONS)
    loop = worked(world, operations)
    loop.wake(["quick/1"])
    loop.work(timeout_s=0)
    operations.ingested(Ingested(accepted=5, duplicate=2))
    operations.refused(3)
    operations.delivered("slack:#ops", failed=False)
    operations.delivered("slack:#ops", failed=True)
    operations.scheduled("minute", "missed")
    operations.database_failed()
    return operations


def test_ticks_and_decisions_are_counted_with_how_long_they_took():
    scrape = Scrape(at_work().metrics())

    assert scrape.value("canary_ticks_total", result="decided") == 2
    assert scrape.value("canary_ticks_total", result="held") == 2
    assert scrape.value("canary_ticks_total", result="failed") == 0
    assert scrape.value("canary_decisions_total", action="advance", cause="clear") == 1
    assert scrape.value("canary_decisions_total", action="rollback", cause="rule") == 1
    assert scrape.value("canary_tick_seconds_count") == 4
    assert scrape.value("canary_decision_seconds_count") == 2
    assert scrape.value("canary_reaction_seconds_count") == 1
    assert scrape.value("canary_tick_seconds_bucket", le="+Inf") == 4


def test_what_came_in_and_what_went_out_is_counted_by_what_became_of_it():
    scrape = Scrape(at_work().metrics())

    assert scrape.value("canary_ingested_total", result="accepted") == 5
    assert scrape.value("canary_ingested_total", result="duplicate") == 2
    assert scrape.value("canary_ingested_total", result="refused") == 3
    delivered = {"destination": "slack:#ops"}
    assert scrape.value("canary_deliveries_total", **delivered, result="delivered") == 1
    assert scrape.value("canary_deliveries_total", **delivered, result="failed") == 1
    assert scrape.value("canary_scheduler_troubles_total", task="minute", what="missed") == 1
    assert scrape.value("canary_database_errors_total") == 1


def test_the_controllers_state_is_read_at_the_moment_of_the_scrape():
    scrape = Scrape(operating().metrics())

    assert scrape.value("canary_tick_lag_seconds") == 0.5
    assert scrape.value("canary_leader") == 1
    assert scrape.value("canary_fence") == 7
    assert scrape.value("canary_leader_renewal_age_seconds") == 1.5
    assert scrape.value("canary_gateways") == 1
    assert scrape.value("canary_gateway_heard_age_seconds", replica="one") == 2
    assert scrape.value("canary_gateway_lost_lines_total", replica="one") == 3
    assert scrape.value("canary_outbox_undelivered", destination="slack:#ops") == 2
    assert scrape.value("canary_outbox_oldest_age_seconds", destination="slack:#ops") == 90
    assert scrape.value("canary_ready_check", check="database") == 1
    assert scrape.value("process_start_time_seconds") is not None


def test_what_cannot_be_read_is_absent_and_the_rest_is_there():
    def away():
        raise Unreachable("away")

    scrape = Scrape(operating(owing=away, office=away).metrics())

    assert scrape.value("canary_leader") is None
    assert "canary_outbox_undelivered" not in scrape.families
    assert scrape.value("canary_gateways") == 1


def test_a_destination_that_is_owed_nothing_any_more_is_owed_zero_and_has_no_oldest_age():
    owing = [Owing(destination="slack:#ops", undelivered=2, oldest_age_s=90.0)]
    operations = operating(owing=lambda: owing)
    operations.metrics()
    operations.delivered("log", failed=False)
    owing.clear()

    scrape = Scrape(operations.metrics())

    for destination in ("log", "slack:#ops"):
        assert scrape.value("canary_outbox_undelivered", destination=destination) == 0
        assert scrape.value("canary_outbox_oldest_age_seconds", destination=destination) is None


def test_however_many_gateways_there_are_only_the_longest_silent_are_named():
    many = [Gateway(name=f"g{n}", heard_age_s=n, lost=0) for n in range(catalogue.REPLICAS + 50)]

    scrape = Scrape(operating(gateways=lambda: many).metrics())

    assert scrape.value("canary_gateways") == catalogue.REPLICAS + 50
    named = scrape.families["canary_gateway_heard_age_seconds"].samples
    assert len(named) == catalogue.REPLICAS
    assert scrape.value("canary_gateway_heard_age_seconds", replica="g0") is None


def test_a_database_that_does_not_answer_is_counted_and_one_that_refuses_is_not(tmp_path):
    path, told = tmp_path / "canary.db", []
    with closing(open_store(f"sqlite:///{path}", Opening.UPGRADED)) as store:
        store.when_failing(lambda: told.append(1))
        store.heads()
        with pytest.raises(NotFound):
            store.head("nobody")
        assert told == []

        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE outbox")
        with pytest.raises(Unreachable):
            store.backlog()

    assert told == [1]


def test_who_leads_no_more_says_nothing_of_rollouts_any_more():
    office = [Office(role=Role.LEADER, fence=7)]
    operations = operating(office=lambda: office[0])
    worked(about_to_advance(), operations, times=2)
    assert "canary_phase" in Scrape(operations.metrics()).families

    office[0] = Office(role=Role.STANDBY, fence=None)

    assert "canary_phase" not in Scrape(operations.metrics()).families


def test_before_there_is_a_controller_nothing_is_said_of_one():
    scrape = Scrape(Operations(nothing, stuck_after_s=60).metrics())

    assert scrape.value("canary_leader") is None
    assert scrape.value("canary_tick_lag_seconds") is None
    assert scrape.value("canary_ready_check", check="loop") == 0
    assert scrape.value("canary_ready_check", check="schema") == 1


def test_every_metric_is_in_the_catalogue_and_says_what_it_is():
    scrape = Scrape(at_work().metrics())
    families = {one.name: one for one in (*catalogue.PROCESS, *catalogue.ROLLOUT)}

    for name in scrape.names:
        if name.startswith("process_"):
            continue
        kinds = re.findall(rf"^# TYPE {name} (\w+)$", scrape.text, re.MULTILINE)
        assert kinds == [families[name].kind.value]
        assert f"# HELP {name} {families[name].meaning}\n" in scrape.text
        labels = {
            label
            for family in scrape.families.values()
            for sample in family.samples
            if sample.name.startswith(name)
            for label in sample.labels
        }
        assert labels <= {*families[name].labels, "le"}


def test_names_follow_the_conventions_of_prometheus():
    for family in (*catalogue.PROCESS, *catalogue.ROLLOUT):
        assert re.fullmatch(r"canary_[a-z_]+", family.name)
        assert family.name.endswith("_total") is (family.kind is Kind.COUNTER)
        assert family.meaning.endswith(".")
        assert not {"attempt", "unit", "request", "user", "prompt", "job", "instance"} & set(
            family.labels
        )


def test_two_controllers_in_one_process_count_on_their_own_and_not_in_the_global_registry():
    one, two = Meters(), Meters()

    one.ticked("quick/1", Ticked.HELD, took_s=0.01, waited_s=None)

    assert Scrape(one.expose()).value("canary_ticks_total", result="held") == 1
    assert Scrape(two.expose()).value("canary_ticks_total", result="held") == 0
    everywhere = prometheus_client.generate_latest().decode()
    assert "canary_" not in everywhere


@pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed; Debian's package is prometheus"
)
def test_promtool_finds_nothing_to_say_of_a_scrape():
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=at_work().metrics(),
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == b""
