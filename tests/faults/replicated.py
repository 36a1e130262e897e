"""A PostgreSQL primary with a synchronous streaming standby that takes its place when it dies."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tests.postgres import START_S, Cluster


class Standby(Cluster):
    """A copy of a running server that follows it, until it is promoted."""

    @classmethod
    def of(cls, primary: Cluster, *, instead_of: Cluster | None = None) -> Standby:
        """On a port of its own, or on that of a server that is gone: addresses that name several hosts stay right."""
        one = cls(primary._bindir)
        one._numbers = primary._numbers  # the databases that are there were copied with their names
        if instead_of is not None:
            one.port = instead_of.port
        shutil.rmtree(one.data)
        copied = subprocess.run(
            [
                str(primary._bindir / "pg_basebackup"),
                *("-h", "127.0.0.1", "-p", str(primary.port), "-U", "canary"),
                *("-D", str(one.data), "-R", "-X", "stream", "-c", "fast", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            check=False,
            **one._identity(),
        )
        assert copied.returncode == 0, copied.stderr
        one.start()
        return one


class Replicated:
    """Two servers, of which one takes writes: no commit is acknowledged that the other does not have."""

    def __init__(self, bindir: Path) -> None:
        self.primary: Cluster = Cluster(bindir)
        self.primary.start()
        self.ports: tuple[int, ...] = (self.primary.port,)
        self.standby: Cluster = Standby.of(self.primary)
        self.ports = (self.primary.port, self.standby.port)
        self._in_step()

    def fresh(self) -> str:
        """The address of a new database at the present schema, on whichever of the two takes writes."""
        name = self.primary.fresh().rpartition("/")[2]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgresql://canary@{hosts}/{name}?target_session_attrs=read-write"

    def restart(self) -> None:
        self.primary.restart()

    def fail_over(self) -> None:
        """The primary is gone; the standby takes its place."""
        lost, self.primary = self.primary, self.standby
        lost.kill()
        self.primary.execute("SELECT pg_promote(true, 30)")
        # Alone for now: nothing would be acknowledged else.
        self._set("''")
        lost.close()
        self._lost = lost

    def repair(self) -> None:
        """A new standby where the lost server was."""
        self.primary._migrated = True  # the template was copied with everything else
        self.standby = Standby.of(self.primary, instead_of=self._lost)
        self._in_step()

    def close(self) -> None:
        self.standby.close()
        self.primary.close()

    def _in_step(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.primary.execute(
            "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
        ):
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.02)
        self._set("'*'")

    def _set(self, names: str) -> None:
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = {names}")
        self.primary.execute("SELECT pg_reload_conf()")
