"""What messages, errors and the docs tell people to type is there."""

from __future__ import annotations

import re
from pathlib import Path

from controller.cli.main import build

# In backticks, or as the beginning of a string that is put together.
NAMED = re.compile(r"`canaryctl ([a-z]+)|f[\"']canaryctl ([a-z]+)")
FILES = [*Path("controller").rglob("*.py"), *Path("docs").rglob("*.md"), Path("README.md")]


def test_every_command_that_is_named_exists():
    app = build()
    known = {one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands}
    known |= {one.name for one in app.registered_groups}

    named = {
        (str(path), next(filter(None, found)))
        for path in FILES
        for found in NAMED.findall(path.read_text(encoding="utf-8"))
    }

    assert len(named) > 30
    assert {(path, verb) for path, verb in named if verb not in known} == set()
