"""Every row of docs/decisions.md, with as many runs: what the rules promise, and what was published of them."""

from __future__ import annotations

import os

import pytest

from benchmarks.decisions import RUNS, SECTIONS, Row, measured

ROWS = [row for section in SECTIONS.values() for row in section.rows]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.canary}, {row.form}")
def test_a_row_of_the_tables_holds(row: Row):
    found = measured(row, RUNS, processes=os.cpu_count() or 1)

    assert found.holds, found
