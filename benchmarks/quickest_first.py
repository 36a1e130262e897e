"""Tests in order of how long they took, so that most changes fail soon: a plugin of pytest for `benchmarks.mutants`."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

TOLD_OF_TESTS = "mutmut-stats.json"  # mutmut writes it, beside the tests that it runs
KEPT = Path(TOLD_OF_TESTS)
WITHIN = "MUTANTS_WITHIN_S"
"""The environment variable that says which tests are left out: those that took more seconds than it says."""


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    took = _took() if KEPT.exists() else {}
    items.sort(key=lambda item: took.get(item.nodeid, 0.0))
    within = os.environ.get(WITHIN)
    if within and not config.option.collectonly:
        items[:] = [item for item in items if took.get(item.nodeid, 0.0) <= float(within)]


@cache
def _took() -> dict[str, float]:
    kept: dict[str, dict[str, float]] = json.loads(KEPT.read_text(encoding="utf-8"))
    return kept["duration_by_test"]
