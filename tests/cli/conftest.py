from __future__ import annotations

from pathlib import Path

import pytest

from controller.wiring import Opening, open_store
from tests.cli.world import World


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at this release's schema."""
    path = tmp_path_factory.mktemp("migrated") / "canary.db"
    open_store(f"sqlite:///{path}", Opening.UPGRADED).close()
    return path


@pytest.fixture
def world(tmp_path: Path, migrated: Path) -> World:
    return World(folder=tmp_path, migrated=migrated)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> World:
    """A rollout at its first step, only to be looked at."""
    return World(folder=tmp_path_factory.mktemp("running"), migrated=migrated).started()
