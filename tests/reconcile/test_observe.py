"""What `observe` makes of the world besides the rules' readings."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.ports import Split, Standing
from controller.reconcile.observe import baseline_health, coverage, in_force, needed, sample_ratio
from controller.rollout.counting.tallies import Tallies
from controller.rollout.evidence.reader import Reader
from controller.rollout.observation import Cohort
from controller.rollout.plan import Plan
from controller.rollout.route import route_of
from controller.rollout.state import shares
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Health, InForce
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan
from tests.rollout.test_readings import START, row, view

STATE = at_step(0)


def split(of: Plan, **changes) -> Split:
    usual = Split(
        rollout=STATE.rollout,
        fence=1,
        version=STATE.version,
        shares=shares(of, STATE),
        settled=shares(of, STATE),
        route=route_of(of, STATE),
        salt=STATE.salt,
        expires=NOW + timedelta(minutes=5),
    )
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("standing", "word"),
    [
        (None, InForce.UNVERIFIED),
        (Standing(split=None, since=None), InForce.UNVERIFIED),
        (Standing(split=None, since=None, expired_at=NOW), InForce.EXPIRED),
        (Standing(split=split(plan()), since=NOW), InForce.VERIFIED),
        (Standing(split=split(plan()), since=None), InForce.UNVERIFIED),
        (Standing(split=split(plan()), since=NOW, expired_at=NOW), InForce.EXPIRED),
        (Standing(split=split(plan(), version=1), since=NOW), InForce.UNVERIFIED),
        (Standing(split=split(plan(), shares={"refund": 1000}), since=NOW), InForce.UNVERIFIED),
    ],
)
def test_a_split_is_verified_only_by_every_replicas_word_for_these_very_shares(standing, word):
    assert in_force(plan(), STATE, standing) is word


def baseline(n: int, errors: int, minute: int = START, cohort: Cohort = Cohort.COMPARED):
    return row(minute, {"n": n, "d.error": n, "f.error": errors}, arm="baseline", cohort=cohort)


@pytest.mark.parametrize(
    ("rows", "health"),
    [
        ([], Health.UNKNOWN),
        ([baseline(10, 0)], Health.ANSWERING),
        ([baseline(10, 5)], Health.ANSWERING),
        ([baseline(10, 6)], Health.FAILING),
        ([baseline(10, 0, cohort=Cohort.OUTSIDE)], Health.ANSWERING),
        ([baseline(10, 0, START - 61)], Health.UNKNOWN),
        ([row(START, {"n": 10, "d.error": 10})], Health.UNKNOWN),
        ([row(START, {"n": 10, "d.error": 4, "f.error": 3}, arm="baseline")], Health.FAILING),
        ([row(START, {"n": 10}, arm="baseline"), baseline(1, 0, START - 61)], Health.UNKNOWN),
        ([row(START, {"n": 10}, arm="baseline")], Health.ANSWERING),
    ],
    ids=[
        *("silent", "well", "half", "worse", "pinned traffic counts", "long ago"),
        *("candidate only", "most of those that are known"),
        *("of none is it known any more", "nobody ever tells"),
    ],
)
def test_the_baselines_health_is_what_it_answered_in_the_last_hour(rows, health):
    tallies = Tallies()
    tallies.feed(rows, 1)

    assert baseline_health(Reader(tallies), start_of(START)) is health


def units(candidate: int, other: int, **key):
    return [
        row(START, {"units": candidate}, arm="candidate", **key),
        row(START, {"units": other}, arm="baseline", **key),
    ]


def test_arms_that_have_the_sizes_of_the_split_are_no_mismatch():
    ratio = sample_ratio(view(units(1_000, 9_000), minutes=1))

    assert ratio is not None
    assert (ratio.candidate, ratio.baseline) == (1_000, 9_000)
    assert not ratio.mismatched


def test_arms_of_other_sizes_are_a_mismatch():
    ratio = sample_ratio(view(units(1_300, 8_700), minutes=1))

    assert ratio is not None
    assert ratio.mismatched


def test_units_of_another_split_and_of_pinned_intents_say_nothing_of_this_one():
    rows = [*units(1_000, 9_000), *units(500, 0, version=1), *units(0, 5_000, intent="legal")]
    ratio = sample_ratio(view(rows, minutes=1))

    assert ratio is not None
    assert (ratio.candidate, ratio.baseline) == (1_000, 9_000)


def test_there_is_nothing_to_compare_before_the_first_step_and_without_a_control():
    of = plan(holdback_bp=0)

    assert sample_ratio(view([], minutes=1, state=at_step(0, share_bp=0))) is None
    assert sample_ratio(view([], minutes=1, of=of, state=at_step(3, of))) is None


@pytest.mark.parametrize(
    ("graded", "differs"), [((900, 90), False), ((900, 60), True), ((600, 90), True)]
)
def test_label_coverage_differs_when_one_arm_lacks_labels_beyond_chance(graded, differs):
    of = plan(labels=replace(plan().labels, delay=timedelta(0)))
    rows = [
        row(START, {"e": 1_000, "e.graded": graded[0]}, arm="baseline"),
        row(START, {"e": 100, "e.graded": graded[1]}, arm="candidate"),
    ]
    found = coverage(view(rows, minutes=1, of=of))

    assert found is not None
    assert found.differs is differs


def test_only_what_the_rules_can_ask_for_is_kept():
    keep = needed(plan(rules=(ACCURACY, ESCALATION)))

    assert all(keep(key) for key in ("n", "e", "f.escalated", "ef.escalated", "e.graded", "b.0"))
    assert not any(keep(key) for key in ("h.latency.12", "s.cost_nusd", "f.refusal"))
