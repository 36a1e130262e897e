"""The page of the benchmarks is what its command makes of the results that are kept."""

import json

from benchmarks import decisions
from benchmarks.write import KEPT, PAGE, SECTIONS, page


def test_the_page_is_written_from_the_results_that_are_kept():
    assert PAGE.read_text() == page(json.loads(KEPT.read_text()))


def test_the_page_of_decisions_is_written_from_the_results_that_are_kept():
    kept = json.loads(decisions.KEPT.read_text())

    assert decisions.PAGE.read_text() == decisions.page(kept)


def test_every_row_of_the_decisions_holds():
    kept = json.loads(decisions.KEPT.read_text())

    for name, section in decisions.SECTIONS.items():
        for row, one in zip(section.rows, kept["found"][name], strict=True):
            assert (row.canary, row.form) == (one["canary"], one["form"])
            assert one["holds"], one


def test_every_result_that_is_kept_has_its_part_of_the_page():
    kept = json.loads(KEPT.read_text())

    assert kept.keys() <= SECTIONS.keys()
    for name in kept:
        assert f"`python -m benchmarks.{name}`" in PAGE.read_text()


def test_a_database_that_was_not_there_is_named():
    told = {"budget_ms": 5.0, "measured": [{"database": "postgresql", "skipped": "not installed"}]}
    one = {"on": "a machine", "at": "1 January 2026", "alone": False, "told": told}

    written = page({"tick": one})

    assert "postgresql was left out: not installed" in written
    assert "a machine, 1 January 2026, beside other work" in written
