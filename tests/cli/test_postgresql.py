"""The command line on PostgreSQL: a rollout's life, and what is said where the database cannot be used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.world import PLAN, Answer, World, requests
from tests.postgres import Cluster


@pytest.fixture
def empty(postgresql: Cluster, tmp_path: Path) -> Iterator[World]:
    """A database without any table."""
    url = postgresql.empty()
    world = World(folder=tmp_path, environ={"CANARY_DATABASE_URL": url})
    yield world
    world.close()
    postgresql.start()
    postgresql.drop(url)


def errors(answer: Answer) -> list[str]:
    """What it said, without what it says of the plan."""
    return [line for line in answer.err.splitlines() if ": warning: " not in line]


def test_a_rollout_lives_and_is_explained_on_postgresql(empty: World):
    world = empty
    assert world.cli("db", "upgrade").code == 0
    assert world.cli("db", "check").code == 0

    world.started()
    for _ in range(40):
        world.feed(requests(world, per_arm=5, minutes=1, escalated=3))
        world.ticks(1)

    shown = world.cli("get", "-o", "json").json["items"][0]
    assert (shown["name"], shown["phase"]) == ("support-bot", "rolled_back")
    assert "escalation_rate" in world.cli("describe", "support-bot").out
    history = world.cli("history", "support-bot", "-o", "json").json["items"]
    assert [one["action"] for one in history] == ["start", "advance", "rollback"]
    assert world.cli("audit", "verify").code == 0
    assert world.cli("replay", "support-bot").code == 0
    assert world.cli("replay", "support-bot", "--plan", world.plan()).code == 0
    lax = world.plan(PLAN.replace("above: 2%", "above: 90%"))
    assert world.cli("replay", "support-bot", "--plan", lax).code == 1
    again = world.cli("retry", "support-bot", "--reason", "mended")
    assert again.code == 0, again.err
    assert [one["attempt"] for one in world.cli("get", "-o", "json").json["items"]] == [2]


@pytest.mark.parametrize("command", [("get",), ("apply", "-f"), ("db", "check"), ("ingest", "-")])
def test_a_database_that_is_not_upgraded_is_left_as_it_is(
    empty: World, postgresql: Cluster, command: tuple[str, ...]
):
    arguments = (*command, empty.plan()) if command[0] == "apply" else command

    answer = empty.cli(*arguments)

    assert (answer.code, answer.out) == (1, "")
    assert "has no schema yet" in answer.err
    assert "Run `canaryctl db upgrade`." in answer.err
    assert len(errors(answer)) == 1
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert postgresql.execute(tables, url=empty.url) == [(0,)]


@pytest.mark.parametrize("command", ["get", "apply"])
def test_a_server_that_is_down_is_told_in_one_line_and_works_again_afterwards(
    empty: World, postgresql: Cluster, command: str
):
    empty.cli("db", "upgrade")
    arguments = ("apply", "-f", empty.plan()) if command == "apply" else (command,)
    postgresql.stop()

    answer = empty.cli(*arguments)

    assert (answer.code, answer.out) == (1, "")
    assert "did not answer" in answer.err
    assert "refused" in answer.err
    assert len(errors(answer)) == 1
    postgresql.start()
    assert empty.cli(*arguments).code == 0


@pytest.fixture
def guarded(postgresql: Cluster) -> Iterator[Cluster]:
    """A server that asks the user `guarded` for a password."""
    rules = postgresql.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
    postgresql.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    postgresql.execute("SELECT pg_reload_conf()")
    yield postgresql
    postgresql.execute("DROP ROLE guarded")
    rules.write_text(before)
    postgresql.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("user", "place", "words"),
    [
        ("guarded:wrong", "127.0.0.1:{port}/postgres", "password authentication failed"),
        ("guarded:wrong", "127.0.0.1:1/postgres", "refused"),
        ("canary:wrong", "127.0.0.1:{port}/nowhere", 'database "nowhere" does not exist'),
        ("nobody:wrong", "127.0.0.1:{port}/postgres", 'role "nobody" does not exist'),
        ("canary:wrong", "no-such-host.invalid/canary", "no-such-host.invalid"),
        ("canary:wrong", "127.0.0.1:1,127.0.0.1:2/canary", "refused"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_its_password(
    guarded: Cluster, tmp_path: Path, user: str, place: str, words: str
):
    url = f"postgresql://{user}@{place.format(port=guarded.port)}"

    answer = World(folder=tmp_path, environ={"CANARY_DATABASE_URL": url}).cli("get")

    assert (answer.code, answer.out) == (1, "")
    assert words in answer.err
    assert "wrong" not in answer.err
    assert len(errors(answer)) == 1


def test_an_address_that_cannot_be_read_exits_2_without_its_password(tmp_path: Path):
    url = "postgresql://canary:wrong@host:port/canary"

    answer = World(folder=tmp_path, environ={"CANARY_DATABASE_URL": url}).cli("get")

    assert answer.code == 2
    assert "CANARY_DATABASE_URL cannot be read" in answer.err
    assert "wrong" not in answer.err


def test_without_the_driver_the_extra_to_install_is_named():
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from controller.cli.main import main\n"
        "sys.argv = ['canaryctl', 'get']\n"
        "main()"
    )
    environ = {"CANARY_DATABASE_URL": "postgresql://canary:wrong@127.0.0.1:1/canary", "USER": "ada"}

    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False
    )

    assert ran.returncode == 2
    assert "pip install 'canaryctl[postgres]'" in ran.stderr
    assert "wrong" not in ran.stderr
    assert "Traceback" not in ran.stderr
