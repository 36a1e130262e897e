"""Work in several processes: in order, the same as in one, and nothing is left when the one that asked is gone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.simulate.processes import in_processes

ASKING = """\
import time
from controller.simulate.processes import in_processes
if __name__ == "__main__":
    list(in_processes(time.sleep, [(300,), (300,)], 2))
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_answers_come_in_the_order_of_the_tasks(processes: int):
    assert list(in_processes(pow, [(2, 3), (3, 2), (5, 1)], processes)) == [8, 9, 5]


def test_without_tasks_there_is_nothing():
    assert list(in_processes(pow, [], 4)) == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked up in /proc")
def test_helpers_end_with_the_process_that_asked(tmp_path: Path):
    script = tmp_path / "asking.py"
    script.write_text(ASKING, encoding="utf-8")
    asking = subprocess.Popen([sys.executable, str(script)])
    children = Path(f"/proc/{asking.pid}/task/{asking.pid}/children")
    helpers = within(60, lambda: [one for one in children.read_text().split() if is_helper(one)])

    asking.kill()
    asking.wait()

    assert len(helpers) == 2
    assert within(60, lambda: not any(is_helper(one) for one in helpers))


def is_helper(pid: str) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def within(seconds, look):
    """What `look` finds, once that is complete; the last that it found, if it never is."""
    found = look()
    for _ in range(10 * seconds):
        if found is True or (isinstance(found, list) and len(found) == 2):
            break
        time.sleep(0.1)
        found = look()
    return found
