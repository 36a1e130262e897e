"""The tests' own PostgreSQL: what the tests of faults lean on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from controller.store import schema
from tests import postgres
from tests.postgres import Cluster


def test_a_fresh_database_is_empty_and_at_the_present_schema(postgresql: Cluster):
    one, other = postgresql.fresh(), postgresql.fresh()

    postgresql.execute("INSERT INTO plans VALUES ('digest', 'name', 'text')", url=one)

    assert postgresql.execute("SELECT version_num FROM alembic_version", url=one) == [
        (schema.HEAD,)
    ]
    assert postgresql.execute("SELECT * FROM plans", url=other) == []
    for url in (one, other):
        postgresql.drop(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        postgresql.execute("SELECT 1", url=one)


@pytest.mark.parametrize("end", [Cluster.stop, Cluster.kill])
def test_a_server_that_ended_cuts_connections_and_comes_back_at_its_address(
    postgresql: Cluster, postgresql_url: str, end
):
    open_one = psycopg.connect(postgresql_url)

    end(postgresql)

    with pytest.raises(psycopg.OperationalError):
        open_one.execute("SELECT 1")
    open_one.close()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        postgresql.execute("SELECT 1", url=postgresql_url)
    postgresql.start()
    assert postgresql.execute("SELECT value FROM fence", url=postgresql_url) == [(0,)]


def test_the_server_ends_with_a_process_that_is_killed(postgresql: Cluster):
    script = """
import time
from tests.postgres import cluster
one = cluster()
one.start()
print(one.folder, (one.data / "postmaster.pid").read_text().split()[0], flush=True)
time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    folder, server = other.stdout.readline().split()

    other.send_signal(signal.SIGKILL)
    other.communicate()

    assert _ends(int(server))
    subprocess.run(["rm", "-rf", folder], check=True)


def _ends(process: int) -> bool:
    """Whether a process that is not our child ends; a zombie nobody waits for has ended."""
    state = Path(f"/proc/{process}/stat")
    while True:
        try:
            os.kill(process, 0)
            if state.exists() and state.read_text().rpartition(") ")[2].startswith("Z"):
                return True
        except ProcessLookupError:
            return True
        time.sleep(0.01)


@pytest.mark.parametrize(("ci", "raised"), [("true", "Failed"), ("", "Skipped")])
def test_without_postgresqls_programs_tests_are_skipped_and_in_ci_fail(
    monkeypatch: pytest.MonkeyPatch, ci: str, raised: str
):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(postgres, "programs", lambda: None)

    with pytest.raises(BaseException, match="apt-get install") as refused:
        postgres.cluster.__wrapped__()

    assert type(refused.value).__name__ == raised
