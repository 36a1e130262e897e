"""The folder of one demonstration: everything that outlives its processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final

START: Final = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
"""Long before the models' own end, so that the demonstration outlives them."""

TOKEN: Final = "demonstration-on-loopback"  # noqa: S105 - between processes of one demonstration, on loopback


@dataclass(frozen=True, slots=True)
class Place:
    """Files by what they are for."""

    folder: Path

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'canaryctl.db'}"

    @property
    def gateway(self) -> Path:
        return self.folder / "gateway"

    @property
    def requests(self) -> Path:
        """What the application asked and got, as it saw it: JSON lines."""
        return self.folder / "requests.jsonl"

    @property
    def setup(self) -> Path:
        return self.folder / "setup.json"

    @property
    def slack(self) -> Path:
        """What was said in the simulated Slack."""
        return self.folder / "slack.json"

    @property
    def struck(self) -> Path:
        """There once the leader was killed."""
        return self.folder / "struck"

    def pid(self, part: str) -> Path:
        return self.folder / f"{part}.pid"

    def log(self, part: str) -> Path:
        return self.folder / f"{part}.log"


def plan_file(name: str) -> Path:
    """A plan of the demonstration: of the installed package, else of the repository."""
    packaged = Path(str(resources.files("controller"))) / "_rollout_plans"
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "rollout_plans"
    return folder / "demo" / f"{name}.yaml"
