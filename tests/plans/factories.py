"""Plans as text, changed where a test says so."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from controller.errors import PlanError, Problem
from controller.plans.load import load_text
from controller.plans.models import ModelTable, bundled_models
from controller.rollout.plan import Plan

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "rollout_plans").glob("*.yaml"))
DESIGN = ROOT / "rollout_plans" / "gpt-4.1-to-mini.yaml"
TODAY = date(2026, 11, 21)
MODELS: ModelTable = bundled_models()


def plan_text(*changes: tuple[str, str]) -> str:
    """The shipped plan with each `old` replaced by `new`; every `old` must be there once."""
    text = DESIGN.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{text.count(old)} × {old!r}"
        text = text.replace(old, new)
    return text


def with_spec(*lines: str) -> str:
    """The shipped plan with more lines under `spec`."""
    return plan_text(("spec:\n", "spec:\n" + "".join(f"  {line}\n" for line in lines)))


def with_rule(rule: str) -> str:
    """The shipped plan with one more rule, in flow style."""
    return plan_text(("  rules:\n", f"  rules:\n    - {rule}\n"))


def load(text: str, *, today: date = TODAY, models: ModelTable = MODELS) -> Plan:
    return load_text(text, file="plan.yaml", today=today, models=models)


def problems(text: str, *, today: date = TODAY) -> tuple[Problem, ...]:
    with pytest.raises(PlanError) as caught:
        load(text, today=today)
    return caught.value.problems


def problem(text: str, *, today: date = TODAY) -> Problem:
    """The only problem of a plan."""
    found = problems(text, today=today)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def place_of(text: str, needle: str) -> tuple[int, int]:
    """One-based line and column of the only `needle` in a text."""
    assert text.count(needle) == 1, f"{text.count(needle)} × {needle!r}"
    before = text[: text.index(needle)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")
