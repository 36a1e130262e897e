"""From raw lines to stored verdicts: what a live rollout decides is what docs/evidence.md says.

Lines are ingested and ticks are made by the product; its records are compared with what `tests.oracle` reckons from the
same lines by the page alone. Counts and verdicts must be equal, log e-values to nine digits.
"""

from __future__ import annotations

import pytest

from tests.accounting.stores import STORES
from tests.oracle.running import live_through
from tests.oracle.scenarios import SCENARIOS

IN_SQL = "labels are missing"


@pytest.mark.timeout(300)  # seconds of computing, more on a busy machine
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_verdict_of_a_rollout_is_as_the_page_says(name, tmp_path):
    of = SCENARIOS[name]

    with STORES["sqlite" if name == IN_SQL else "memory"](tmp_path) as store:
        found = live_through(of.plan, of.nature, store, seed=1, hours=of.hours)

    for one in of.shows:
        assert found.seen[one], f"{one} was never seen, so nothing is known of it"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("name", SCENARIOS)
def test_so_it_is_whatever_comes(name, seed, tmp_path):
    of = SCENARIOS[name]

    with STORES["sqlite" if seed % 2 else "memory"](tmp_path) as store:
        found = live_through(of.plan, of.nature, store, seed=seed, hours=of.hours)

    assert found.seen["exact"] > found.seen["bounded"]
