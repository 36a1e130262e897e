"""What is shipped, what an install pulls in, and what an import costs."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def pinned(lock: str) -> dict[str, set[str]]:
    """Versions by package; more than one where they differ by interpreter."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z0-9._-]+)(?:\[.*?\])?==([^ ;]+)", line):
            versions.setdefault(canonicalize_name(match[1]), set()).add(match[2])
    return versions


def files_below(folder: str) -> set[str]:
    """Paths below `folder`, without what an interpreter leaves behind."""
    return {
        path.relative_to(ROOT / folder).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_the_wheel_is_typed_and_licensed(wheel: zipfile.ZipFile):
    names = set(wheel.namelist())

    assert "controller/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.parametrize(
    ("folder", "inside"),
    [("migrations", "controller/_migrations"), ("rollout_plans", "controller/_rollout_plans")],
)
def test_the_wheel_carries_every_file_of(wheel: zipfile.ZipFile, folder: str, inside: str):
    shipped = {
        name.removeprefix(f"{inside}/")
        for name in wheel.namelist()
        if name.startswith(f"{inside}/")
    }

    assert shipped == files_below(folder)
    assert shipped


def test_the_wheel_carries_every_module(wheel: zipfile.ZipFile):
    modules = {f"controller/{name}" for name in files_below("controller") if name.endswith(".py")}

    assert modules <= set(wheel.namelist())


def test_the_version_is_the_same_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)

    assert newest is not None
    assert importlib.metadata.version("canaryctl") == PROJECT["version"] == newest[1]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_no_address(lock: str):
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())

    assert "://" not in text
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_locks_agree():
    runtime, development = (pinned(lock) for lock in LOCKS)

    assert {name: development.get(name) for name in runtime} == runtime


def test_the_runtime_lock_satisfies_every_requirement_of_the_project():
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    locked = pinned("requirements.lock")

    for requirement in map(Requirement, wanted):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_help_loads_little():
    heavy = {
        "alembic", "apscheduler", "kubernetes", "numpy", "openai", "pandas", "scipy", "slack_sdk",
        "sqlalchemy", "statsmodels",
    }  # fmt: skip
    program = (
        "import sys, controller.cli.main as cli\n"
        "sys.argv = ['canaryctl', '--help']\n"
        "try:\n    cli.main()\n"
        "finally:\n    print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )

    *shown, loaded = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: canaryctl" in "\n".join(shown)
    assert heavy & set(loaded.split()) == set()


CLOCK_READS = {
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns")),
    "sqlalchemy.func.now",
    "sqlalchemy.func.current_timestamp",
}


def clock_reads(source: str) -> list[str]:
    """The clocks that `source` names, called or handed on, by their full names."""
    tree = ast.parse(source)
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            head, dot, rest = ast.unparse(node).partition(".")
            name = full.get(head, head) + dot + rest
            found += [name] if name in CLOCK_READS else []
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import datetime as dt\nx = dt.datetime.now(dt.UTC)", ["datetime.datetime.now"]),
        ("from datetime import date\nx = date.today()", ["datetime.date.today"]),
        ("from time import monotonic as m\nf(default=m)", ["time.monotonic"]),
        ("import time\ntime.sleep(1)", []),
        ("def tick(clock): return clock.now()", []),
    ],
)
def test_a_clock_is_recognised_under_any_name(source: str, found: list[str]):
    assert clock_reads(source) == found


def test_only_the_clock_module_reads_the_time():
    readers = {
        path.relative_to(ROOT).as_posix(): reads
        for path in sorted((ROOT / "controller").rglob("*.py"))
        if (reads := clock_reads(path.read_text(encoding="utf-8")))
    }

    assert set(readers) == {"controller/clock.py"}, readers


def test_the_check_script_and_ci_are_executable():
    for script in ("check", ".ci/run"):
        assert (ROOT / script).stat().st_mode & 0o111, script
