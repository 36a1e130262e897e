"""Colours of words: the same word always looks the same. Nothing is said by colour alone."""

from __future__ import annotations

from rich.text import Text

from controller.rollout.state import Phase
from controller.rollout.verdict import Outcome

OUTCOMES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.INSUFFICIENT: "yellow",
    Outcome.UNMEASURED: "magenta",
    Outcome.NOT_APPLICABLE: "dim",
}
PHASES = {
    Phase.PENDING: "dim",
    Phase.PROGRESSING: "cyan",
    Phase.PAUSED: "bold yellow",
    Phase.BAKING: "cyan",
    Phase.COMPLETE: "green",
    Phase.ROLLED_BACK: "bold red",
    Phase.RETIRED: "dim",
}


def outcome(value: Outcome | None) -> Text:
    if value is None:
        return Text("-", style="dim")
    return Text(words(value), style=OUTCOMES[value])


def phase(value: Phase) -> Text:
    return Text(words(value), style=PHASES[value])


def words(value: Outcome | Phase) -> str:
    """`rolled_back` as `rolled back`."""
    return value.value.replace("_", " ")


def bar(share_bp: int, width: int = 30) -> Text:
    """A share as a bar; a share above zero shows at least one cell."""
    cells = min(width, max(1 if share_bp else 0, round(share_bp * width / 10_000)))
    return Text("█" * cells, style="cyan").append("░" * (width - cells), style="dim")
