"""A metric against what it was before its window: recounted from the raw minutes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.rollout.counting.columns import at
from controller.rollout.evidence.looks import measure, with_usual
from controller.rollout.evidence.reader import Windows
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Arm, Evidence, Rule
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Outcome
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan
from tests.rollout.test_readings import START, requests, row, view

JUMP = replace(
    ESCALATION,
    name="jump",
    limit=3.0,
    usual=timedelta(minutes=90),
    window=timedelta(minutes=30),
    min_samples=5,
)
brief = settings(max_examples=60, deadline=None)
counts = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda t: (max(t), min(t))),
    min_size=20,
    max_size=150,
)


def begun(of, before: int = 0):
    """A rollout of so many minutes before the step."""
    return at_step(0, of, started_at=NOW - timedelta(minutes=before))


def rate(part) -> tuple[int, int]:
    return sum(x for _, x in part), sum(n for n, _ in part)


@brief
@given(counts)
def test_what_is_usual_is_the_metric_over_the_stretch_before_the_window(minutes):
    of = plan(rules=(JUMP,))
    rows = [requests(START + i, n, x) for i, (n, x) in enumerate(minutes)]

    found = read(view(rows, minutes=len(minutes) - 1, of=of, state=begun(of)), JUMP, None)

    start = max(len(minutes) - 30, 0)
    x, n = rate(minutes[start:])
    before_x, before_n = rate(minutes[max(start - 90, 0) : start])
    assert found.latest is not None
    assert found.latest.value == (pytest.approx(x / n) if n else None)
    if start >= 30 and before_n >= 5:
        # One in as many, where there was none.
        assert found.latest.usual == pytest.approx(max(before_x, 1) / before_n)
    else:
        assert found.latest.usual is None
    assert found.failing is None
    assert found.passing is None


def usual_of(rows, start: int, end: int, *, rule: Rule = JUMP, earliest: int = 0) -> float:
    """Of one window in minutes from START, alone and as the second of two."""
    reader = view(rows, minutes=120).reader
    starts, ends = np.array([0, start]) + START, np.array([1, end]) + START
    found = []
    for windows, place in (
        (Windows.single(start + START, end + START), 0),
        (Windows.of(starts, ends), 1),
    ):
        measured = measure(rule, None, reader, windows)
        usual = with_usual(measured, rule, None, reader, windows, START + earliest).usual
        assert usual is not None
        found.append(float(at(usual, place)))
    assert found[0] == pytest.approx(found[1], nan_ok=True)
    return found[0]


def test_what_is_usual_is_known_once_its_stretch_is_as_long_as_the_window():
    rows = [requests(START + i, 10, 1) for i in range(90)]

    assert usual_of(rows, 30, 60) == pytest.approx(0.1)
    assert math.isnan(usual_of(rows, 30, 60, earliest=1))
    assert usual_of(rows, 1, 2) == pytest.approx(0.1)
    assert math.isnan(usual_of(rows, 0, 1))


def test_what_is_usual_is_known_once_it_has_as_many_samples_as_are_asked_of_a_window():
    def known(n: int) -> float:
        return usual_of([requests(START, n, 1)], 30, 60)

    assert known(5) == pytest.approx(1 / 5)
    assert math.isnan(known(4))


def test_a_rate_of_nothing_is_one_in_as_many_and_any_other_figure_of_nothing_is_none():
    free = replace(JUMP, metric=CATALOGUE["cost_per_1k"])
    priced = {"n": 10, "e": 10, "c.cost_nusd": 10}

    assert usual_of([requests(START, 8, 0)], 30, 60) == pytest.approx(1 / 8)
    assert usual_of([requests(START, 8, 8)], 30, 60) == 1
    assert math.isnan(usual_of([row(START, priced)], 30, 60, rule=free))
    dear = [row(START, priced | {"s.cost_nusd": 10_000_000})]
    assert usual_of(dear, 30, 60, rule=free) == pytest.approx(1)


@brief
@given(counts)
def test_after_downtime_the_window_furthest_over_its_usual_is_found(minutes):
    of = plan(rules=(JUMP,))
    rows = [requests(START + i, n, x) for i, (n, x) in enumerate(minutes)]
    last = len(minutes)

    found = read(view(rows, minutes=last - 1, of=of, judged=START, state=begun(of)), JUMP, None)

    over = []
    for end in range(30, last + 1):
        x, n = rate(minutes[end - 30 : end])
        before_x, before_n = rate(minutes[max(end - 120, 0) : end - 30])
        if end >= 60 and n >= 5 and before_n >= 5:
            over.append(x / n - 3 * max(before_x, 1) / before_n)
    if not over:
        assert found.worst is None
        return
    assert found.worst is not None
    assert found.worst.usual is not None
    assert found.worst.value is not None
    assert found.worst.value - 3 * found.worst.usual == pytest.approx(max(over), abs=1e-12)
    assert (judge(JUMP, found).outcome is Outcome.FAIL) == (max(over) > 1e-15)


def jumped(rule: Rule, *, before: int, then: int):
    """Two hours of 100 requests a minute with so many escalated, then half an hour with more."""
    of = plan(rules=(rule,))
    rows = [requests(START + i, 100, before if i < 120 else then) for i in range(150)]
    return judge(rule, read(view(rows, minutes=149, of=of, state=begun(of)), rule, None))


@pytest.mark.parametrize(
    ("before", "then", "outcome"),
    [
        (2, 7, Outcome.FAIL),
        (2, 6, Outcome.PASS),  # exactly three times is not more
        (2, 1, Outcome.PASS),
        (0, 1, Outcome.FAIL),
        (0, 0, Outcome.PASS),
    ],
)
def test_a_spike_fails_above_so_many_times_its_usual(before, then, outcome):
    found = jumped(JUMP, before=before, then=then)

    assert found.outcome is outcome
    assert found.confident is Outcome.NOT_APPLICABLE


def test_while_nothing_is_usual_it_is_undecided():
    of = plan(rules=(JUMP,))
    rows = [requests(START + i, 100, 100) for i in range(59)]

    young = read(view(rows, minutes=58, of=of, state=begun(of)), JUMP, None)

    assert young.latest is not None
    assert young.latest.complete
    assert judge(JUMP, young).outcome is Outcome.INSUFFICIENT


def test_a_new_epoch_remembers_what_is_usual():
    # The step began with the epoch; the rollout's requests before it are usual all the same.
    of = plan(rules=(JUMP,))
    rows = [requests(START - 90 + i, 100, 2 if i < 90 else 9) for i in range(120)]

    found = read(view(rows, minutes=29, of=of, state=begun(of, before=90)), JUMP, None)

    assert found.latest is not None
    assert found.latest.usual == pytest.approx(0.02)


def test_it_takes_no_alpha_whatever_evidence_is_asked_for():
    from controller.rollout.evidence.rules import is_provable

    assert not is_provable(JUMP)
    assert not is_provable(replace(JUMP, evidence=Evidence.CONFIDENT))
    assert is_provable(replace(JUMP, usual=None, limit=0.03))


def test_every_metric_is_measured_alike_for_one_window_and_for_many():
    random = np.random.default_rng(7)

    def stats() -> dict[str, int]:
        n = int(random.integers(0, 9))
        few = int(random.integers(0, n + 1))
        counted = dict.fromkeys(("n", "e", "d.error", "c.latency_us", "c.ttft_us", "units"), n)
        known = dict.fromkeys(("f.error", "graded", "e.graded", "served"), few)
        grades = dict.fromkeys(("e.correct_u", "served_u"), few * 500_000)
        cost = {"c.cost_nusd": few, "s.cost_nusd": few * 3_600_000, "s.latency_us": n * 700_000}
        tokens = {"c.output_tokens": few, "s.output_tokens": 90 * few, "s.input_tokens": 700 * few}
        return counted | known | grades | cost | tokens | {"h.latency.3": few, "h.ttft.4": n}

    rows = [
        row(START + i, stats(), arm=arm)
        for i in range(0, 200, 3)
        for arm in ("baseline", "candidate")
    ]
    reader = view(rows, minutes=200).reader
    ends = np.arange(START + 40, START + 200)

    metrics = [one for one in CATALOGUE.values() if one is not ACCURACY.metric]
    for metric, arm in itertools.product(metrics, (None, *Arm)):
        rule = replace(JUMP, metric=metric, arm=arm)

        def usual(windows: Windows, rule: Rule = rule):
            measured = measure(rule, None, reader, windows)
            return with_usual(measured, rule, None, reader, windows, START).usual

        many = usual(Windows.of(ends - 30, ends))
        for i in (0, 40, 80, 159):
            single = usual(Windows.single(int(ends[i]) - 30, int(ends[i])))
            assert many is not None
            assert single is not None
            assert at(single, 0) == pytest.approx(at(many, i), rel=1e-15, nan_ok=True), metric
    assert start_of(START) == NOW
