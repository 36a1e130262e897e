"""A PostgreSQL of the tests' own: one cluster for a pytest worker, started when the first test asks for it.

Without PostgreSQL's programs such a test is skipped; where CI=true it fails, because CI promises that it ran.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

NEEDED: Final = ("initdb", "postgres")
WANTED: Final = (
    "PostgreSQL's programs (initdb, postgres) were not found. Install them, such as by "
    "`apt-get install --no-install-recommends postgresql`, or put their folder on the PATH."
)
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # the data is gone with the tests
    "full_page_writes": "off",
    "autovacuum": "off",  # it would hold up CREATE DATABASE, and change plans in the middle of a test
    "max_connections": "200",
    "max_wal_size": "128MB",
    "log_min_messages": "fatal",
}
START_S: Final = 60
# The server ends with whoever holds the other end of its standard input, however that one ends.
GUARDED: Final = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
# A signal to the whole group ends the tests; the server would wait for its clients.
trap 'kill -QUIT $server 2>/dev/null' HUP INT TERM
{ read -r _ <&3; kill -QUIT $server 2>/dev/null; } &
wait $server
"""


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs: of the PATH, of pg_config, or Debian's newest."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    if shutil.which("pg_config"):
        asked = subprocess.run(
            ["pg_config", "--bindir"], capture_output=True, text=True, check=True
        )
        folders.append(Path(asked.stdout.strip()))
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    folders += sorted(versions, key=lambda one: float(one.parent.name), reverse=True)
    return next((one for one in folders if all((one / name).exists() for name in NEEDED)), None)


class Cluster:
    """One PostgreSQL server in a temporary folder, on a loopback port that it keeps over restarts.

    Databases are copied from one that was migrated once. `stop` and `kill` cut every connection without a word.
    """

    def __init__(self, bindir: Path, settings: Mapping[str, str] = SETTINGS) -> None:
        self._bindir = bindir
        self._settings = settings
        self._numbers = itertools.count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._migrated = False
        self._account = _account()
        self.folder = Path(tempfile.mkdtemp(prefix="canaryctl-pg-"))
        self.port = _free_port()
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._run("initdb", "-U", "canary", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str) -> str:
        return f"postgresql://canary@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server if it is not up, and wait until it answers."""
        if self._server is not None and self._server.poll() is None:
            return
        deadline = time.monotonic() + START_S
        while not self._comes_up():
            if time.monotonic() > deadline:
                log = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"PostgreSQL did not start:\n{log}")

    def stop(self) -> None:
        """At once, as `pg_ctl stop -m immediate`; harmless if it is stopped."""
        if self._server is None:
            return
        server, self._server = self._server, None
        assert server.stdin is not None
        server.stdin.close()
        server.wait(timeout=START_S)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """As a crash of the host: the server has no chance to say anything."""
        if self._server is None:
            return
        server = int((self.data / "postmaster.pid").read_text().split()[0])
        # The server first, else it starts again what it has lost. Those left would end by themselves, but later.
        for process in (server, *_children(server)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.stop()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def empty(self) -> str:
        """The address of a new database without any table."""
        return self._create("template1")

    def fresh(self) -> str:
        """The address of a new, empty database at the present schema."""
        self.start()
        if not self._migrated:
            from controller.store.open import open_store

            self.execute("CREATE DATABASE migrated")
            open_store(self.url("migrated"), migrate=True).close()
            self._migrated = True
        return self._create("migrated")

    def drop(self, url: str) -> None:
        """Cut its connections, and remove it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str, *, url: str | None = None) -> list[Any]:
        """Run one statement past canaryctl, and hand out its rows."""
        import psycopg

        address = url or self.url("postgres")
        with psycopg.connect(address, autocommit=True, connect_timeout=START_S) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _create(self, template: str) -> str:
        name = f"store_{next(self._numbers)}"
        self.start()
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bindir / program), "-D", str(self.data), *arguments]
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, **self._identity()
        )
        if ran.returncode:
            raise RuntimeError(f"{program} failed: {ran.stderr or ran.stdout}")

    def _identity(self) -> dict[str, Any]:
        """PostgreSQL refuses to run as root, and must be able to enter its working directory."""
        if self._account is None:
            return {"cwd": self.folder}
        return {
            "cwd": self.folder,
            "user": self._account.pw_uid,
            "group": self._account.pw_gid,
            "extra_groups": [],
        }

    def _comes_up(self) -> bool:
        """Whether a new server answers; it ends at once while memory of a killed one is still in use."""
        import psycopg

        self._launch()
        assert self._server is not None
        while self._server.poll() is None:
            try:
                self.execute("SELECT 1")
                return True
            except psycopg.OperationalError:
                time.sleep(0.02)
        self.stop()
        return False

    def _launch(self) -> None:
        settings = {**self._settings, "port": self.port, "unix_socket_directories": self.folder}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._bindir / "postgres"), "-D", str(self.data), *options]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, "guard", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                **self._identity(),
            )


@cache
def cluster() -> Cluster:
    """This process's server; skips the test, or fails it in CI, where PostgreSQL is not installed."""
    bindir = programs()
    if bindir is None:
        if os.environ.get("CI") == "true":
            pytest.fail(WANTED)
        pytest.skip(WANTED)
    one = Cluster(bindir)
    atexit.register(one.close)
    return one


@pytest.fixture
def postgresql() -> Iterator[Cluster]:
    """The running server; a test may stop it, the next one finds it running again."""
    one = cluster()
    one.start()
    yield one
    one.start()


@pytest.fixture
def postgresql_url(postgresql: Cluster) -> Iterator[str]:
    """The address of an empty database of its own at the present schema."""
    url = postgresql.fresh()
    yield url
    postgresql.start()
    postgresql.drop(url)


def _children(process: int) -> list[int]:
    """Where the system tells of them (Linux)."""
    found = []
    for state in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if int(state.read_text().rpartition(") ")[2].split()[1]) == process:
                found.append(int(state.parent.name))
    return found


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as where the tests run as root; None: as ourselves."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("root may not run PostgreSQL, and there is no user postgres to run it as.")


def _free_port() -> int:
    """Below the ports of outgoing connections, one of which could take it while the server is down."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port from 20000 to 32000")
