from __future__ import annotations

import gzip

from controller.simulate.backtest.measured import gaps
from controller.simulate.backtest.paired_report import paired_report
from controller.simulate.backtest.results import pair_up, read_results
from controller.simulate.backtest.samples import FILE, made_csv, packed
from tests.simulate.factories import ROOT, shipped_plan

SHIPPED = ROOT / FILE


def test_the_shipped_sample_is_what_its_generator_makes():
    assert gzip.decompress(SHIPPED.read_bytes()).decode() == made_csv()


def test_the_sample_is_small_and_packed_without_name_and_time():
    assert SHIPPED.stat().st_size <= 60_000
    assert packed("same") == packed("same")


def test_every_row_of_the_sample_says_that_it_is_made():
    assert {row.source for row in read_results(SHIPPED).rows} == {"made"}


def test_the_sample_feeds_every_rule_of_its_plan_and_is_worse_on_refunds_only():
    plan = shipped_plan("samples/made.yaml")
    recording = pair_up(
        read_results(SHIPPED), baseline=plan.baseline.model, candidate=plan.candidate.model
    )
    lines = {line.intent: line for line in paired_report(recording).lines}

    assert gaps(plan, recording) == ()
    assert lines["refund"].delta < -0.05
    assert abs(lines["order-status"].delta) < 0.015
    assert abs(lines["returns"].delta) < 0.015
