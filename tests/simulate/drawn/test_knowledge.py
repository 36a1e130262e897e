"""Labels that come late: the simulation's sums at any moment are those that the real ingest had then."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from controller.rollout.counting.blocks import block_sizes, close_blocks
from controller.rollout.counting.items import MINUTE_US, Label
from controller.rollout.counting.tallies import MinuteSums, Tallies
from controller.rollout.metrics import MICRO
from controller.rollout.observation import BOTH_ARMS, Observation, Outcome
from controller.rollout.plan import Arm, Intent, Labels, Scope, Unit
from controller.rollout.timeline import MINUTE, minute_of, start_of
from controller.simulate.drawn.dense import DenseTallies
from controller.simulate.drawn.knowledge import Coming, Knowledge
from controller.simulate.drawn.lines import LateLine, Values
from controller.simulate.drawn.streams import InForce, Streams
from controller.simulate.lateness import Lateness
from controller.simulate.scenarios import Scenario, Traffic
from controller.store.memory import MemoryStore
from tests.accounting.factories import HALF, NOW, ROLLOUT, observation, outcome, send, started
from tests.simulate.factories import plan, requests_of, rule

DELAY_MIN, LENGTH_MIN, UNTIL_MIN = 10, 40, 90
FIRST = minute_of(NOW)
NAMES = tuple(HALF)
PLAN = plan(
    rule("accuracy_delta", scope=Scope.EACH),
    unit=Unit.CONVERSATION,
    intents=(Intent(name="refund", critical=True), Intent(name="order-status")),
    labels=Labels(delay=timedelta(minutes=DELAY_MIN), horizon=timedelta(days=30)),
)
TARDY = Scenario(
    text="", lateness=Lateness(median=timedelta(minutes=8), most=timedelta(minutes=40))
)
KEYS = (
    *("n", "d.escalated", "f.escalated", "graded"),
    *("e", "ed.escalated", "ef.escalated", "e.graded", "e.correct_u"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a store had at the end of a minute, and the minutes that had changed in it."""

    tallies: Tallies
    changed: set[int]


def streams(seed: int, requests: float) -> Streams:
    traffic = Traffic(
        units_per_minute=6.0,
        mix={"refund": 0.7, "order-status": 0.3},
        accuracy=0.8,
        escalation=0.1,
        requests_per_unit=requests,
    )
    return Streams(PLAN, traffic, TARDY, seed, 0, FIRST)


def sent(coming: list[Coming]) -> dict[int, list[Observation | Outcome]]:
    """By minute, what an application would have sent of these units: its requests, and later their grades."""
    by_minute: defaultdict[int, list[Observation | Outcome]] = defaultdict(list)
    for of_arm in coming:
        columns = (of_arm.minutes, of_arm.right, of_arm.requests, of_arm.known)
        for number, (minute, right, requests, known) in enumerate(
            zip(*(one.tolist() for one in columns), strict=True)
        ):
            escalated = known == minute  # graded at once, without an outcome
            name = f"{of_arm.arm.value}-{of_arm.intent}-{number}"
            at = start_of(minute) + timedelta(microseconds=number)
            for one in requests_of(name, of_arm, requests, at=at, escalated=escalated):
                by_minute[minute].append(one)
                if not escalated:
                    by_minute[known].append(outcome(one.id, float(right), at=start_of(known)))
    return by_minute


def told(coming: list[Coming], moments: set[int]) -> dict[int, Told]:
    """What the real ingest makes of it, minute by minute."""
    store = MemoryStore()
    started(store, unit=Unit.CONVERSATION, delay=PLAN.labels.delay, horizon=PLAN.labels.horizon)
    by_minute, found, seen = sent(coming), {}, 0
    for minute in range(FIRST, FIRST + UNTIL_MIN):
        # Another request every minute, outside of the comparison: blocks are closed when something comes in.
        send(
            store,
            observation(f"other-{minute}", intent="other", at=start_of(minute)),
            *by_minute[minute],
            now=start_of(minute),
        )
        if minute in moments:
            tallies = Tallies()
            rows, sequence = store.rollups(ROLLOUT)
            tallies.feed(rows, sequence)
            changed = {row.minute for row in rows if row.seq > seen and row.intent != "other"}
            found[minute], seen = Told(tallies=tallies, changed=changed), sequence
    return found


def sums(of: MinuteSums, end: int, blocks: tuple[str, ...]) -> list[list[list[int]]]:
    """Before every minute up to one, of everything that a rule reads."""
    minutes = np.arange(FIRST, end + 1)
    tables = [
        of.until(minutes, keys, arm=arm, intent=intent)
        for arm, keys in (*((one.value, KEYS) for one in Arm), (BOTH_ARMS, blocks))
        for intent in NAMES
    ]
    return [table.tolist() for table in tables]


def dense_of(seed: int, requests: float) -> tuple[DenseTallies, Knowledge, list[Coming]]:
    made = streams(seed, requests)
    dense = DenseTallies(NAMES, first=FIRST, room=200, columns=made.columns)
    knowledge = Knowledge(dense, delay_min=DELAY_MIN)
    dense.begin(1, NAMES)
    split = InForce(version=1, step=0, shares=HALF, pinned=frozenset())
    drawn = made.draw(split, 0, FIRST, LENGTH_MIN)
    dense.add(drawn.counted)
    for coming in drawn.coming:
        knowledge.take(1, coming)
    return dense, knowledge, list(drawn.coming)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    requests=st.sampled_from([1.0, 3.0]),
    moments=st.lists(st.integers(0, UNTIL_MIN - 1), min_size=1, max_size=6),
)
def test_sums_of_a_moment_are_those_of_the_real_ingest_forwards_and_backwards(
    seed, requests, moments
):
    dense, knowledge, coming = dense_of(seed, requests)
    live = told(coming, {FIRST + moment for moment in moments})

    for moment in moments:
        now = FIRST + moment
        knowledge.know(now)
        # Labelled windows end at the watermark; what is younger is looked at by none.
        end = min(now - DELAY_MIN, FIRST + LENGTH_MIN)
        blocks = live[now].tallies.values_of_blocks(None)
        assert sums(dense, end, blocks) == sums(live[now].tallies, end, blocks)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), moments=st.sets(st.integers(0, UNTIL_MIN - 1), min_size=1))
def test_minutes_that_are_judged_again_are_those_that_changed_in_the_store(seed, moments):
    _, knowledge, coming = dense_of(seed, 1.0)
    live, since = told(coming, {FIRST + moment for moment in moments}), FIRST - 1

    for now in sorted(live):
        knowledge.know(now)
        changed = set(knowledge.changed(since, now))
        assert changed <= live[now].changed
        # Windows with the others have closed since, so they are judged anyway.
        assert all(minute >= since - DELAY_MIN for minute in live[now].changed - changed)
        since = now


# Blocks

labels_of = st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.integers(0, 25)), max_size=60)


def by_accounting(labels: list[Label], known: dict[str, int], share_bp: int):
    """Closed minute by minute by the accounting, as an ingest does: (when, its minute, its value)."""
    sizes = block_sizes(share_bp)
    assert sizes is not None
    closed: list[tuple[int, int, int]] = []
    used: set[str] = set()
    for now in range(60):
        line = [
            one
            for one in labels
            if one.id not in used
            and known[one.id] <= now
            and one.start // MINUTE_US <= now - DELAY_MIN
        ]
        for block, members in close_blocks(line, sizes):
            closed.append((now, block.minute, block.value_u))
            used.update(one.id for one in members)
    return closed


def line_of(share_bp: int) -> LateLine:
    sizes = block_sizes(share_bp)
    assert sizes is not None
    return LateLine(Values(sizes), delay_min=DELAY_MIN, first=0)


def closed_by(line: LateLine, until: int) -> list[tuple[int, int, int]]:
    when, minutes, places = line.advance(until)
    values = [line.values.millionths[place] for place in places.tolist()]
    return list(zip(when.tolist(), minutes.tolist(), values, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    share_bp=st.sampled_from([1_000, 2_500, 5_000, 9_000]),
    labels=st.fixed_dictionaries(dict.fromkeys(Arm, labels_of)),
    looks=st.lists(st.integers(0, 58), max_size=5),
)
def test_blocks_of_late_labels_are_closed_when_the_accounting_closes_them(share_bp, labels, looks):
    line = line_of(share_bp)
    drawn: list[Label] = []
    known: dict[str, int] = {}
    for arm, of_arm in labels.items():
        ordered = sorted(of_arm, key=lambda one: one[0])
        for minute, right, delay in ordered:
            name = f"{len(drawn):06}"
            known[name] = minute + delay
            drawn.append(
                Label(name, "small/1", 1, "refund", arm.value, minute * MINUTE_US, MICRO * right)
            )
        table = np.array(ordered, dtype=np.int64).reshape(-1, 3).T
        line.add(arm, table[0], table[1].astype(np.bool_), table[0] + table[2])

    found = [one for look in [*sorted(looks), 59] for one in closed_by(line, look)]

    assert found == by_accounting(drawn, known, share_bp)


@settings(max_examples=100, deadline=None)
@given(
    labels=st.fixed_dictionaries(dict.fromkeys(Arm, labels_of)),
    through=st.integers(0, 59),
    end=st.integers(1, 20),
)
def test_what_is_cut_off_was_never_there(labels, through, end):
    def made(before: int) -> LateLine:
        line = line_of(5_000)
        for arm, of_arm in labels.items():
            kept = sorted((one for one in of_arm if one[0] < before), key=lambda one: one[0])
            table = np.array(kept, dtype=np.int64).reshape(-1, 3).T
            line.add(arm, table[0], table[1].astype(np.bool_), table[0] + table[2])
        return line

    cut, never = made(99), made(end)
    closed = closed_by(cut, through)
    again = cut.cut(end)

    kept = [one for one in closed if not again or one[0] < end]
    # Where it had not gone so far it does so now, and what it closes anew is what it would have closed then.
    found = sorted([*kept, *closed_by(cut, 59)])
    assert found == sorted(closed_by(never, 59))


@pytest.mark.parametrize("requests", [1.0, 3.0])
def test_what_was_cut_off_is_forgotten_with_its_labels(requests: float):
    dense, knowledge, coming = dense_of(3, requests)
    knowledge.know(FIRST + 39)

    knowledge.cut(FIRST + 20)
    dense.cut(FIRST + 20)
    knowledge.know(FIRST + 80)

    kept = [
        replace(
            one,
            **{
                name: getattr(one, name)[one.minutes < FIRST + 20]
                for name in ("minutes", "right", "requests", "known")
            },
        )
        for one in coming
    ]
    live = told(kept, {FIRST + 80})[FIRST + 80].tallies
    blocks = live.values_of_blocks(None)
    assert sums(dense, FIRST + 30, blocks) == sums(live, FIRST + 30, blocks)


def test_labels_beyond_the_horizon_never_come():
    of = replace(PLAN, labels=Labels(delay=MINUTE, horizon=timedelta(minutes=8)))
    made = replace_plan(streams(5, 1.0), of)
    split = InForce(version=1, step=0, shares=HALF, pinned=frozenset())

    drawn = made.draw(split, 0, FIRST, 1_440)

    (baseline,) = (one for one in drawn.coming if (one.arm, one.intent) == (Arm.BASELINE, "refund"))
    arrived = int(drawn.counted.compared["baseline"][0, 1].sum())
    # Eight minutes are the median; of the baseline none is graded at once
    assert len(baseline.minutes) / arrived == pytest.approx(0.5, abs=5 * 0.5 / arrived**0.5)
    assert (baseline.known - baseline.minutes).max() == 8


def replace_plan(made: Streams, of) -> Streams:
    return Streams(of, made.traffic, made.scenario, made.entropy, made.run, made.first)


def test_coverage_at_the_watermark_is_what_comes_within_the_delay_and_then_grows():
    made = streams(11, 1.0)
    dense = DenseTallies(NAMES, first=FIRST, room=3_000)
    knowledge = Knowledge(dense, delay_min=DELAY_MIN)
    dense.begin(1, NAMES)
    drawn = made.draw(InForce(version=1, step=0, shares=HALF, pinned=frozenset()), 0, FIRST, 1_440)
    dense.add(drawn.counted)
    for coming in drawn.coming:
        knowledge.take(1, coming)

    def counted(arm: Arm, now: int, minutes: int) -> NDArray[np.int64]:
        """Graded episodes and all of them, of some minutes before the watermark, as known at `now`."""
        knowledge.know(now)
        ends = np.array([now - DELAY_MIN - minutes, now - DELAY_MIN])
        table = dense.until(ends, ("e.graded", "e"), arm=arm.value, intent=None)
        grown: NDArray[np.int64] = table[1] - table[0]
        return grown

    def of_the_newest_minute(arm: Arm) -> float:
        newest = [counted(arm, now, 1) for now in range(FIRST + 100, FIRST + 1_400)]
        graded, episodes = np.sum(newest, axis=0)
        return float(graded / episodes)

    assert TARDY.lateness is not None
    in_time = TARDY.lateness.within(
        timedelta(minutes=DELAY_MIN + 1)
    )  # its age when it is looked at
    error = 5 * 0.5 / (1_300 * 3) ** 0.5  # three episodes a minute of each arm
    assert of_the_newest_minute(Arm.BASELINE) == pytest.approx(in_time, abs=error)
    # Of the candidate's answers 10% escalate, which are known to be wrong at once.
    assert of_the_newest_minute(Arm.CANDIDATE) == pytest.approx(0.1 + 0.9 * in_time, abs=error)
    graded, episodes = counted(Arm.BASELINE, FIRST + 1_400, 1_200)
    assert graded / episodes > 0.95  # over a day nearly all have come
