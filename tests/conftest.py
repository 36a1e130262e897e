"""What every test starts from: no settings of the developer's shell, and known Hypothesis profiles."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

from tests.postgres import postgresql, postgresql_url  # noqa: F401 # fixtures are found by name

# Removed once, before anything is imported: a test that wants a setting passes it in a mapping.
for _name in [name for name in os.environ if name.startswith("CANARY_")]:
    del os.environ[_name]

# `ci` repeats the same examples on every machine; `dev` looks for new ones. A deadline would time the machine.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("dev", deadline=None, print_blob=True)
# For benchmarks/mutants.py: that a test fails is all it asks, not for which smallest example.
settings.register_profile(
    "mutants",
    derandomize=True,
    deadline=None,
    max_examples=25,
    phases=(Phase.explicit, Phase.generate),
    database=None,
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")
