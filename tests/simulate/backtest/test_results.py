from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from controller.errors import DataError
from controller.simulate.backtest.results import pair_up, parse_results, read_results
from tests.simulate.factories import csv_of, graded


def parsed(*rows: str, header: str = "source,intent,item_id,trial,model,correct"):
    return parse_results(csv_of(*rows, header=header), file="r.csv")


def test_an_empty_cell_is_unknown_and_never_zero():
    header = "source,intent,item_id,trial,model,correct,prompt_tokens,latency_s,refused,cost_usd"

    row = parsed("s,a,i,1,old,,,,,", header=header).rows[0]

    assert (row.correct, row.prompt_tokens, row.latency_s) == (None, None, None)
    assert (row.refused, row.cost_usd) == (None, None)


def test_an_empty_error_says_that_there_was_none_only_where_the_file_has_that_column():
    header = "source,intent,item_id,trial,model,correct,error"

    with_column = parsed("s,a,i,1,old,1,", "s,a,j,1,old,0,timeout", header=header)
    without = parsed("s,a,i,1,old,1")

    assert [row.failed for row in with_column.rows] == [False, True]
    assert without.rows[0].failed is None


def test_names_every_bad_cell_with_its_line_and_what_was_wanted():
    header = "source,intent,item_id,trial,model,correct,latency_s,prompt_tokens"

    with pytest.raises(DataError) as caught:
        parsed(
            "s,a,i,1,old,yes,,",
            "s,a,i,2,old,1,-3,",
            "s,a,i,x,old,1,,",
            "s,a,i,4,old,1,nan,",
            "s,a,i,5,old,1,,1.5",
            "s,,i,6,old,1,,",
            header=header,
        )

    assert str(caught.value).splitlines() == [
        "r.csv:2: correct is 'yes'; wanted 0, 1 or nothing.",
        "r.csv:3: latency_s is '-3'; wanted seconds, not negative.",
        "r.csv:4: trial is 'x'; wanted a trial number from 1.",
        "r.csv:5: latency_s is 'nan'; wanted seconds, not negative.",
        "r.csv:6: prompt_tokens is '1.5'; wanted a whole number of tokens.",
        "r.csv:7: intent is empty; wanted a value.",
    ]


def test_shows_the_first_twenty_problems_and_counts_the_rest():
    rows = [f"s,a,i,{trial},old,maybe" for trial in range(1, 26)]

    with pytest.raises(DataError) as caught:
        parsed(*rows)

    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "… and 5 more."


def test_refuses_a_row_of_another_width_than_the_header():
    with pytest.raises(DataError, match=r"r\.csv:3: 7 cells under 6 columns\."):
        parsed("s,a,i,1,old,1", "s,a,j,1,old,1,9")


def test_refuses_a_second_row_for_the_same_item_trial_and_model():
    with pytest.raises(DataError, match=r"r\.csv:3: old on i, trial 1, again; line 2 has it"):
        parsed("s,a,i,1,old,1", "s,a,i,1,old,0")


def test_a_missing_column_is_named_with_what_was_probably_meant():
    with pytest.raises(DataError) as caught:
        parsed("s,a,i,1,old,1", header="source,intent,item,trial,model,correct")

    assert str(caught.value).splitlines() == [
        "r.csv:1: no column 'item_id' (did you mean `item`?).",
        "The columns are source, intent, item, trial, model, correct.",
    ]


@pytest.mark.parametrize("text", ["", "\n", "source,intent,item_id,trial,model,correct\n"])
def test_a_file_without_rows_is_not_a_recording(text: str):
    with pytest.raises(DataError, match=r"empty|no rows"):
        parse_results(text, file="r.csv")


def test_reads_gzip_by_content_and_plain_text_alike(tmp_path: Path):
    text = csv_of(*graded([1, 0], [1, 1]))
    plain, packed = tmp_path / "r.csv", tmp_path / "r.csv.gz"
    plain.write_text(text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))

    assert read_results(plain).rows == read_results(packed).rows


def test_says_what_is_wrong_with_a_file_that_cannot_be_unpacked(tmp_path: Path):
    not_packed, cut = tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    not_packed.write_text("source", encoding="utf-8")
    cut.write_bytes(gzip.compress(csv_of(*graded([1] * 50, [1] * 50)).encode())[:60])

    with pytest.raises(DataError, match=r"a\.csv\.gz: not gzip, although its name ends in \.gz"):
        read_results(not_packed)
    with pytest.raises(DataError, match=r"b\.csv\.gz: damaged or cut-off gzip"):
        read_results(cut)


def test_an_unknown_file_is_named_with_its_neighbour(tmp_path: Path):
    (tmp_path / "ikp.csv.gz").touch()

    with pytest.raises(
        DataError, match=r"ipk\.csv\.gz: no such file \(did you mean `ikp\.csv\.gz`"
    ):
        read_results(tmp_path / "ipk.csv.gz")


def test_pairs_are_the_items_and_trials_that_both_models_answered():
    results = parsed(
        "s,a,i,1,old,1", "s,a,i,2,old,1", "s,a,i,1,new,0", "s,a,j,1,new,1", "s,a,i,1,third,1"
    )

    recording = pair_up(results, baseline="old", candidate="new")

    assert [(pair.baseline.trial, pair.candidate.correct) for pair in recording.pairs] == [
        (1, False)
    ]
    assert recording.unpaired == 2


def test_a_model_is_found_under_its_provider_and_snapshot_date():
    results = parsed("s,a,i,1,openai/gpt-4.1-2025-04-14,1", "s,a,i,1,gpt-4.1-mini,1")

    recording = pair_up(results, baseline="gpt-4.1", candidate="gpt-4.1-mini")

    assert recording.baseline == "openai/gpt-4.1-2025-04-14"


def test_two_snapshots_of_the_plans_model_are_not_guessed_between():
    results = parsed("s,a,i,1,new-2025-01-01,1", "s,a,i,1,new-2025-06-01,1", "s,a,i,1,old,1")

    with pytest.raises(DataError, match="new-2025-01-01, new-2025-06-01 could each be"):
        pair_up(results, baseline="old", candidate="new")


def test_a_model_without_rows_is_named_beside_those_that_have_some():
    results = parsed("s,a,i,1,gpt-4.1,1", "s,a,i,1,gpt-4.1-mini,1", "s,a,j,1,gpt-4.1,1")

    with pytest.raises(DataError) as caught:
        pair_up(results, baseline="gpt-4.1", candidate="gtp-4.1-mini")

    assert str(caught.value) == (
        "r.csv: no rows of the plan's model 'gtp-4.1-mini' (did you mean `gpt-4.1-mini`?). "
        "Rows per model: gpt-4.1 (2), gpt-4.1-mini (1)."
    )


def test_models_that_share_no_item_cannot_be_compared():
    results = parsed("s,a,i,1,old,1", "s,a,j,1,new,1")

    with pytest.raises(DataError, match="no item and trial in common"):
        pair_up(results, baseline="old", candidate="new")
