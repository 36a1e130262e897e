"""The entry: help, imports, exit codes and what is said when something goes wrong."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from controller.cli.context import Context
from controller.cli.help import SECTIONS
from controller.cli.main import build

HEAVY = (
    "alembic",
    "apscheduler",
    "asyncio",
    "kubernetes",
    "numpy",
    "openai",
    "pydantic",
    "ruamel",
    "scipy",
    "sqlalchemy",
    "statsmodels",
    "structlog",
)


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
    )


def test_help_loads_no_heavy_library():
    code = (
        "import sys; from controller.cli.main import main\n"
        "sys.argv = ['canaryctl', '--help']\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )

    done = python(code)

    assert done.stderr.strip() == "[]"
    assert "describe" in done.stdout


def test_help_lists_every_command_under_a_heading(capsys, world):
    assert world.cli("--help").code == 0
    shown = capsys.readouterr().out
    listed = {name for names in SECTIONS.values() for name in names}

    registered = [
        one.name or getattr(one.callback, "__name__", "") for one in build().registered_commands
    ]
    assert listed == {*registered, "audit", "db", "notify"}
    assert all(name in shown for name in listed)
    assert "Other" not in shown
    assert "5 conflict or refused" in shown.replace("\n", " ")


@pytest.mark.parametrize("name", sorted(name for names in SECTIONS.values() for name in names))
def test_every_command_explains_itself(capsys, world, name):
    assert world.cli(name, "--help").code == 0
    assert "Usage: canaryctl" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("get", "--nonsense"), ("pause",), ("get", "-o", "xml")]
)
def test_wrong_usage_exits_2(capsys, world, arguments):
    assert world.cli(*arguments).code == 2
    assert capsys.readouterr().out == ""


def test_a_wrong_setting_is_told_and_exits_2(world):
    answer = world.cli("get", CANARY_DATABSE_URL="sqlite:///x.db")

    assert answer.code == 2
    assert "Did you mean CANARY_DATABASE_URL?" in answer.err


def test_a_missing_database_is_not_made_by_looking(world):
    answer = world.cli("get")

    assert (answer.code, answer.out) == (4, "")
    assert "canaryctl apply" in answer.err
    assert not list(world.folder.iterdir())


def test_a_database_without_schema_says_what_to_run(world):
    (world.folder / "canary.db").touch()

    assert "canaryctl db upgrade" in world.cli("get").err
    assert world.cli("db", "check").code == 1
    assert world.cli("db", "upgrade").code == 0
    assert world.cli("db", "check").code == 0
    assert world.cli("get").code == 0


class Broken:
    """A clock that a defect made."""

    def now(self) -> object:
        raise RuntimeError("a defect")

    def monotonic(self) -> float:
        return 0.0


def test_a_defect_asks_for_a_report(world):
    world.started()
    world.clock = Broken()

    answer = world.cli("get")

    assert answer.code == 1
    assert "RuntimeError: a defect" in answer.err
    assert "please report it" in answer.err
    assert "Traceback" not in answer.err


def test_a_defect_is_raised_where_somebody_looks_for_it(world):
    world.started()
    world.clock = Broken()

    with pytest.raises(RuntimeError):
        world.cli("get", CANARY_DEBUG="1")


def test_a_line_for_a_person_is_written_whole(world):
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    Context(environ={}, stderr=Stream()).say("support-bot/1 started")

    # Log lines of other threads go to the same stream, and may come between any two writes.
    assert written == ["support-bot/1 started\n"]


def test_an_interrupt_exits_130(world):
    world.started()

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    assert world.cli("watch", "support-bot", wait=interrupted).code == 130


def test_a_reader_that_goes_away_is_no_error(world):
    world.started()
    command = f"{sys.executable} -m controller.cli.main schema | head -c 10"

    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=dict(os.environ), check=False
    )

    assert done.stderr == ""


def test_settings_are_masked_and_say_where_they_come_from(world):
    answer = world.cli("settings", "-o", "json", CANARY_SLACK_TOKEN="xoxb-secret")
    shown = {one["name"]: one for one in answer.json["settings"]}

    assert shown["slack_token"]["value"] == "********"
    assert shown["actor"] == {"name": "actor", "value": "ada", "source": "CANARY_ACTOR"}
    assert "xoxb-secret" not in answer.out + answer.err


def test_version_is_one_line(world):
    assert world.cli("version").out.startswith("canaryctl ")
    assert (
        world.cli("version", "-o", "json").json["canaryctl"]
        == world.cli("version", "-o", "name").out.strip()
    )


def test_completion_is_offered_for_rollouts():
    done = python(
        "from controller.cli.main import main; main()",
        _CANARYCTL_COMPLETE="complete_bash",
        COMP_WORDS="canaryctl pau",
        COMP_CWORD="1",
    )

    assert "pause" in done.stdout
