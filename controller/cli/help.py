"""Help as kubectl users read it: commands by what they are for, plain text, no import that it does not need."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SECTIONS: dict[str, tuple[str, ...]] = {
    "Try": ("demo",),
    "Write a plan": ("check", "diff", "explain", "schema", "simulate", "backtest"),
    "See": ("get", "describe", "watch", "history"),
    "Act": (
        "apply",
        "pause",
        "resume",
        "promote",
        "approve",
        "pin",
        "rollback",
        "retry",
        "retire",
    ),
    "Prove": ("audit", "replay"),
    "Operate": ("up", "run", "gateway", "ingest", "notify", "doctor", "db", "settings", "version"),
}

EXIT_CODES = """\
Exit codes: 0 done; 1 failed; 2 wrong usage or input; 3 a rule failed or the rollout was rolled back; 4 not found;
5 conflict or refused; 124 timed out; 130 interrupted."""


class Sectioned(TyperGroup):
    """A group whose help lists its commands under SECTIONS; a command that has no section is listed last."""

    # typer gives its vendored click's classes no public name to annotate with.
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        placed = {name for names in SECTIONS.values() for name in names}
        rest = tuple(name for name in self.list_commands(ctx) if name not in placed)
        width = max(len(name) for name in self.commands)
        for title, names in (*SECTIONS.items(), ("Other", rest)):
            commands = [(name, self.commands[name]) for name in names if name in self.commands]
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                for name, command in commands
                if not command.hidden
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The epilog with its own line breaks."""
        formatter.write_paragraph()
        formatter.write_text(EXIT_CODES.replace("\n", " "))
        formatter.write_text("`canaryctl COMMAND --help` explains a command.")
