"""`run` and `up` answer probes and scrapes, also while the database is not ready for them."""

import threading
from contextlib import closing

import structlog

from controller.cli.context import Context
from controller.cli.operations import awaited_store, upgrade_embedded
from controller.errors import SchemaBehind
from controller.settings import load_settings
from controller.wiring import Opening, build_operations, open_store
from tests.cli.world import World
from tests.telemetry.exposition import Scrape


def logged(work):
    with structlog.testing.capture_logs() as lines:
        work()
    return [(one["event"], one.get("reason")) for one in lines]


def test_a_controller_waits_for_its_schema_says_so_once_and_then_goes_on(tmp_path):
    url = f"sqlite:///{tmp_path}/canary.db"
    (tmp_path / "canary.db").touch()  # there, without a schema
    operations = build_operations(load_settings({"CANARY_DATABASE_URL": url}))
    tries, stop, got = [], threading.Event(), []

    def opened():
        tries.append(1)
        if len(tries) == 3:
            assert not operations.readiness().ready
            open_store(url, Opening.UPGRADED).close()
        return open_store(url, Opening.PRESENT)

    lines = logged(lambda: got.append(awaited_store(opened, operations, stop, look_s=0.01)))

    store = got[0]
    assert store is not None
    with closing(store):
        assert store.heads() == []
    assert [event for event, _ in lines] == ["waiting_for_database", "database_there"]
    assert "canaryctl db upgrade" in lines[0][1]


def test_a_controller_that_waits_ends_when_it_is_told_to():
    stop = threading.Event()
    operations = build_operations(load_settings({}))

    def behind():
        stop.set()
        raise SchemaBehind("behind")

    assert awaited_store(behind, operations, stop) is None


def test_what_is_waited_for_is_what_readyz_and_the_metrics_say(tmp_path):
    url = f"sqlite:///{tmp_path}/canary.db"
    (tmp_path / "canary.db").touch()

    operations = build_operations(load_settings({"CANARY_DATABASE_URL": url}))

    found = operations.readiness()
    (schema,) = [one for one in found.checks if one.name == "schema"]
    assert not found.ready
    assert found.role == "starting"
    assert "canaryctl db upgrade" in schema.reason
    assert Scrape(operations.metrics()).value("canary_ready_check", check="schema") == 0


def test_an_embedded_database_of_an_earlier_release_is_upgraded_and_none_is_made(world: World):
    path = world.folder / "canary.db"
    context = Context(environ=world.environ, clock=world.clock)

    upgrade_embedded(context)
    assert not path.exists()
    path.touch()  # as old as can be: without a schema
    upgrade_embedded(context)

    with closing(open_store(world.url, Opening.PRESENT)) as store:
        assert store.heads() == []
    context.close()


def test_an_address_that_is_none_is_refused_before_anything_is_made(world: World):
    for command in (("run",), ("up", "--upstream", "http://127.0.0.1:9/v1")):
        answer = world.cli(*command, "--ops-listen", "nowhere")

        assert answer.code == 2
        assert "--ops-listen: 'nowhere' is refused" in answer.err
        assert not (world.folder / "canary.db").exists()


def test_models_at_no_address_are_refused_before_a_rollout_starts(world: World):
    answer = world.cli("up", "--plan", world.plan(), "--upstream", "notaurl")

    assert answer.code == 2
    assert "'notaurl' is not an address of models; it looks like https://" in answer.err
    assert not (world.folder / "canary.db").exists()
