"""The demonstration from the outside: the story, stopping and going on, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.demo.place import Place
from tests.demo.aftermath import Ledger, told


def command(place: Place, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "controller.cli.main",
        "demo",
        "--dir",
        str(place.folder),
        *options,
    ]


def decisions(place: Place, database: str = "") -> list[tuple[str, ...]]:
    """What was decided when, of both rollouts."""
    found: list[tuple[str, ...]] = []
    for name in ("support-bot", "product-search"):
        answer = subprocess.run(
            [sys.executable, "-m", "controller.cli.main", "history", name, "-o", "json"],
            env={"CANARY_DATABASE_URL": database or place.database, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        found += [
            (name, one["at"], one["action"], str(one["share_after_bp"]))
            for one in json.loads(answer.stdout)["items"]
        ]
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_seed_tells_the_same_story_and_a_stop_delays_it_at_most(tmp_path: Path):
    whole, twin, halved = (Place(tmp_path / name) for name in ("whole", "twin", "halved"))
    for place in (whole, twin):
        subprocess.run(command(place), check=True, capture_output=True, timeout=250)
    assert decisions(twin) == decisions(whole)

    director = subprocess.Popen(command(halved), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (halved.requests.exists() and halved.requests.stat().st_size > 300_000):
        time.sleep(0.05)
    director.send_signal(signal.SIGINT)
    director.communicate(timeout=60)
    again = subprocess.run(
        command(halved, "--resume"), capture_output=True, timeout=250, check=False
    )

    assert director.returncode == 130
    assert again.returncode == 0, again.stderr
    # A restarted controller verifies nothing for one term, so a moment may shift; what is decided does not.
    assert [(name, *what) for name, _, *what in decisions(halved)] == [
        (name, *what) for name, _, *what in decisions(whole)
    ]
    ledger = Ledger(whole)
    assert ledger.phases() == {"support-bot": "complete", "product-search": "rolled_back"}
    ledger.close()
    actions = [action for _, _, action, _ in decisions(whole)]
    assert actions == [
        *("start", "advance", "advance", "advance", "advance", "bake", "complete"),
        *("start", "advance", "pause", "resume", "rollback"),
    ]
    assert told(whole).lost == {}


@pytest.mark.parametrize(
    ("options", "there", "code", "said"),
    [
        (["--resume"], None, 2, "no demonstration was begun there"),
        (["--resume", "--fresh"], None, 2, "one or the other"),
        ([], "setup.json", 5, "--resume goes on, --fresh begins anew"),
        ([], "thesis.tex", 2, "is not the folder of a demonstration"),
        (["--fresh"], "thesis.tex", 2, "is not the folder of a demonstration"),
    ],
)
def test_nothing_that_was_there_is_thrown_away_unasked(
    tmp_path: Path, options: list[str], there: str | None, code: int, said: str
):
    place = Place(tmp_path / "demo")
    if there is not None:
        place.folder.mkdir()
        (place.folder / there).write_text("{}")

    answer = subprocess.run(
        command(place, *options), capture_output=True, text=True, timeout=30, check=False
    )

    assert (answer.returncode, "Traceback" in answer.stderr) == (code, False)
    assert said in " ".join(answer.stderr.split())
    assert there is None or (place.folder / there).exists()
