"""The simulation's dense statistics against `Tallies`, fed with the same minutes as rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reconcile.observe import see
from controller.rollout.counting.tallies import MinuteSums, Tallies
from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.view import View
from controller.rollout.observation import BOTH_ARMS, Cohort, RollupRow
from controller.rollout.plan import Arm, Evidence, Intent, Judge, Labels, Plan, Scope, Step
from controller.rollout.state import Phase, State
from controller.rollout.timeline import minute_of, start_of
from controller.simulate.drawn.dense import (
    REQUESTS_APART,
    Columns,
    Counted,
    DenseTallies,
    with_people,
)
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.scenarios import Fault, Scenario, Traffic
from tests.simulate.factories import plan, rule

START = datetime(2026, 1, 5, tzinfo=UTC)
FIRST = minute_of(START)
NAMES = ("refund", "other", "legal")
PLAN = plan(
    rule("accuracy_delta", limit=0.015, scope=Scope.CRITICAL, evidence=Evidence.CONFIDENT),
    rule("escalation_rate", min_samples=5, window=timedelta(minutes=40)),
    rule("error_rate", min_samples=5, scope=Scope.EACH, window=timedelta(minutes=30)),
    rule("coverage", limit=0.5, below=True, min_samples=5, window=timedelta(minutes=20)),
    intents=(
        Intent(name="refund", critical=True),
        Intent(name="other"),
        Intent(name="legal", pinned=True),
    ),
    steps=(Step(share_bp=2_000, hold=timedelta(hours=1)), Step(share_bp=9_000)),
)
LATER = timedelta(minutes=30)
FAULTY = Scenario(
    text="",
    loss=Fault(size=0.2, since=LATER),
    escalation=Fault(size=0.1, since=LATER),
    error=Fault(size=0.05, since=LATER),
    swing=0.5,
)
SHARES = (0, 2_000, 5_000, 9_000)


def by_people(share_u: int) -> Plan:
    """The same where people grade beside a judge."""
    judge = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
    labels = Labels(delay=PLAN.labels.delay, judge=judge, people_u=share_u)
    return replace(PLAN, labels=labels)


def rows_of(counted: Counted, columns: Columns, version: int, first: int) -> list[RollupRow]:
    """The same as what an ingest would have written."""

    def row(minute: int, arm: str, intent: str, stats, cohort=Cohort.COMPARED) -> RollupRow:
        return RollupRow(
            rollout="small/1",
            minute=minute,
            version=version,
            arm=arm,
            intent=intent,
            endpoint="chat.completions",
            cohort=cohort,
            seq=1,
            stats=stats,
        )

    tables = [(arm, Cohort.COMPARED, table) for arm, table in counted.compared.items()]
    if counted.outside is not None:
        tables.append((Arm.BASELINE.value, Cohort.OUTSIDE, counted.outside))
    rows = []
    for arm, cohort, table in tables:
        for place, intent in enumerate(NAMES):
            for minute in range(counted.length):
                column = table[place, :, minute]
                stats = {key: int(column[at]) for key, at in columns.places.items() if column[at]}
                if stats:
                    rows.append(row(first + minute, arm, intent, stats, cohort))
    for found in counted.blocks:
        by_minute: dict[int, dict[str, int]] = {}
        for minute, place in zip(found.minutes.tolist(), found.places.tolist(), strict=True):
            stats = by_minute.setdefault(minute, {})
            key = f"b.{found.values_u[place]}"
            stats[key] = stats.get(key, 0) + 1
        rows += [row(at, BOTH_ARMS, found.intent, stats) for at, stats in by_minute.items()]
    return rows


def both(
    seed: int,
    lengths: list[int],
    per_minute: float,
    label_rate: float,
    requests: float = 1.0,
    people_u: int = 0,
):
    """The same traffic under some split versions, as the simulation keeps it and as the product does."""
    traffic = Traffic(
        units_per_minute=per_minute,
        mix={"refund": 0.5, "other": 0.3, "legal": 0.2},
        label_rate=label_rate,
        requests_per_unit=requests,
    )
    of = PLAN if not people_u else by_people(people_u)
    streams = Streams(of, traffic, FAULTY, seed, 0, FIRST)
    dense = DenseTallies(NAMES, first=FIRST, room=2_000, columns=streams.columns)
    tallies = Tallies()
    for version, length in enumerate(lengths):
        share = SHARES[version % len(SHARES)]
        pinned = frozenset({"legal", "other"} if version == 2 else {"legal"})
        shares = {name: 0 if name in pinned else share for name in NAMES}
        split = InForce(version=version, step=version - 1, shares=shares, pinned=pinned)
        dense.begin(version, [name for name in NAMES if name not in pinned])
        for number in range(2):
            first = dense.end
            drawn = streams.draw(split, number, first, length)
            dense.add(drawn.counted)
            tallies.feed(rows_of(drawn.counted, streams.columns, version, first), 1)
    return dense, tallies


worlds = st.builds(
    both,
    st.integers(0, 10**6),
    st.lists(st.integers(1, 60), min_size=1, max_size=5),
    st.sampled_from([0.3, 4.0]),
    st.sampled_from([1.0, 0.6]),
    st.sampled_from([1.0, 2.5]),
    st.sampled_from([0, 400_000]),
)
brief = settings(max_examples=40, deadline=None)
ARM_KEYS = (*with_people(REQUESTS_APART).places, "never.seen")


def windows(tallies: MinuteSums, minutes, keys, **about):
    return tallies.until(minutes, keys, **about)


@brief
@given(worlds, st.lists(st.integers(-5, 650), min_size=1, max_size=30))
def test_sums_before_any_minutes_are_those_of_the_rows(world, at):
    dense, tallies = world
    minutes = np.array(at) + FIRST

    for arm in Arm:
        for intent in (None, *NAMES):
            about = {"arm": arm.value, "intent": intent}
            assert np.array_equal(
                dense.until(minutes, ARM_KEYS, **about), tallies.until(minutes, ARM_KEYS, **about)
            )
            for minute in minutes[:3].tolist():
                rows = [
                    [one.row(minute, **about)[place] for place in one.places(ARM_KEYS, arm.value)]
                    for one in (dense, tallies)
                ]
                assert rows[0] == rows[1]
        everything = {"arm": arm.value, "intent": None, "compared": False}
        assert np.array_equal(
            dense.until(minutes, ARM_KEYS, **everything),
            tallies.until(minutes, ARM_KEYS, **everything),
        )


@brief
@given(worlds, st.lists(st.integers(-5, 650), min_size=1, max_size=30))
def test_blocks_before_any_minutes_are_those_of_the_rows(world, at):
    dense, tallies = world
    minutes = np.array(at) + FIRST

    for intent in (None, *NAMES):
        keys = tallies.values_of_blocks(intent)
        assert dense.values_of_blocks(intent) == keys
        about = {"arm": BOTH_ARMS, "intent": intent}
        for asked in (keys, (*keys[:1], "b.7", "p.11")):
            assert np.array_equal(
                dense.until(minutes, asked, **about), tallies.until(minutes, asked, **about)
            )
            minute = int(minutes[0])
            rows = [
                [one.row(minute, **about)[place] for place in one.places(asked, BOTH_ARMS)]
                for one in (dense, tallies)
            ]
            assert rows[0] == rows[1]
            assert dense.has_any(asked, **about) == tallies.has_any(asked, **about)


@brief
@given(worlds, st.integers(-5, 650), st.integers(-5, 650))
def test_minutes_with_something_and_strata_are_those_of_the_rows(world, one, other):
    dense, tallies = world
    start, end = FIRST + min(one, other), FIRST + max(one, other)

    for arm in Arm:
        for intent in (None, "refund"):
            about = {"arm": arm.value, "intent": intent}
            for key in ("n", "f.escalated", "graded"):
                assert (
                    dense.minutes_with(key, start, end, **about).tolist()
                    == tallies.minutes_with(key, start, end, **about).tolist()
                )
                assert dense.last_minute_with(key, end, **about) == tallies.last_minute_with(
                    key, end, **about
                )
            minutes = np.arange(start, end + 1, 7)
            assert strata_of(dense, minutes, about) == strata_of(tallies, minutes, about)
        prefix, ends = "h.latency.", np.array([end])
        known = dense.histogram(prefix, ends, ends, arm=arm.value, intent=None)
        assert known[0] == tallies.histogram(prefix, ends, ends, arm=arm.value, intent=None)[0]


@brief
@given(worlds)
def test_blocks_of_each_stratum_are_those_of_the_rows(world):
    dense, tallies = world
    minutes = np.arange(FIRST - 5, dense.end + 5, 7)

    for intent in (None, "refund"):
        keys = (*tallies.values_of_blocks(intent), "b.7")
        found = [
            {
                (version, name): (
                    sums.until(minutes, keys).tolist(),
                    sums.until_one(FIRST + 30, keys),
                )
                for version, name, sums in one.strata(arm=BOTH_ARMS, intent=intent)
                if sum(sums.until_one(dense.end, keys))
            }
            for one in (dense, tallies)
        ]
        assert found[0] == found[1]


def strata_of(tallies: MinuteSums, minutes, about):
    """Strata without anything are left out: readers leave them out too."""
    found = {}
    for version, intent, sums in tallies.strata(**about):
        table = sums.until(minutes, ("e.graded", "e.correct_u", "units")).tolist()
        ones = [sums.until_one(int(minute), ("e.graded", "units")) for minute in minutes[:5]]
        if sums.until_one(FIRST + 10_000, ("n",)) != [0]:
            found[version, intent] = (table, ones)
    return found


@settings(max_examples=25, deadline=None)
@given(worlds, st.integers(1, 400), st.sampled_from([PLAN, by_people(400_000)]))
def test_everything_that_is_seen_of_a_rollout_is_the_same(world, ago, of):
    dense, tallies = world
    last = dense.end - 1
    state = State(
        rollout="small/1",
        name="small",
        attempt=1,
        plan_digest="",
        revision=1,
        salt="",
        phase=Phase.PROGRESSING,
        step=0,
        share_bp=2_000,
        version=1,
        step_version=1,
        started_at=START,
        step_started_at=START,
        hold_from=START,
        updated_at=START,
    )

    def view(sums: MinuteSums) -> View:
        now = start_of(last)
        return View(
            plan=of,
            state=state,
            tallies=sums,
            in_force=InForceTime([(START, now)]),
            now=now,
            judged=max(last - ago, FIRST),
            touched=(),
            moved=(),
        )

    assert see(view(dense), None) == see(view(tallies), None)


def test_what_was_cut_off_is_forgotten():
    dense, _ = both(1, [30], 4.0, 1.0)
    before = dense.row(FIRST + 20, arm="baseline", intent=None)

    dense.cut(FIRST + 20)

    assert dense.end == FIRST + 20
    assert dense.row(FIRST + 50, arm="baseline", intent=None) == before
