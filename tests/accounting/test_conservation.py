"""Invariant 9: every accepted observation and outcome is in exactly one rollup, however often it is sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from controller.errors import Unreachable
from controller.ports import Store
from controller.rollout.metrics import MICRO
from controller.rollout.observation import Batch, Cohort, Grades, Observation, Outcome, Pair
from controller.rollout.plan import Arm, Unit
from controller.store.engine import connect
from controller.store.sql import SqlStore
from tests.accounting.factories import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    commit,
    observation,
    outcome,
    pair,
    plan,
)
from tests.accounting.recount import Recount, Row
from tests.accounting.stores import DATABASES, STORES

SHARES = {1: {"refund": 5000, "order-status": 2500}, 2: {"refund": 8000, "order-status": 0}}
NEVER = timedelta(days=3650)
# Costs are up to 0.01 USD: ten times the one limit is less, ten times the other more.
COST_LIMITS, COST_CAPS = (0.0001, 0.5), (1_000_000, 5_000_000_000)
Sent = Observation | Outcome | Pair
T = TypeVar("T")
_numbers = itertools.count()


@pytest.fixture(params=list(STORES), scope="module")
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """One store for all examples: each has a rollout of its own, and ids of its own."""
    with STORES[request.param](Path(tmp_path_factory.mktemp("store"))) as opened:
        # For its sake, no outcome of another rollout expires.
        new_rollout(opened, Unit.REQUEST, NEVER)
        yield opened


@pytest.fixture(params=list(STORES), scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


FLAGS = st.dictionaries(
    st.sampled_from(["error", "escalated", "schema_failure", "custom.polite"]),
    st.booleans(),
    max_size=3,
)
OBSERVATIONS = st.builds(
    lambda seconds, unit, arm, intent, version, cohort, assigned, flags, quantities: observation(
        "",
        at=NOW + timedelta(seconds=seconds),
        unit=unit,
        arm=arm,
        intent=intent,
        version=version,
        cohort=cohort,
        assigned=assigned,
        flags=flags,
        quantities=quantities,
    ),
    # Close together, half an hour apart to the second, and a day apart.
    st.one_of(
        st.integers(0, 3600),
        st.sampled_from([1799, 1800, 1801, 86_399, 86_400]),
        st.integers(0, 100_000),
    ),
    st.sampled_from(["ann", "bob", "cleo", "dan"]),
    st.sampled_from(list(Arm)),
    # Mostly one stratum, so that blocks close.
    st.sampled_from(["refund", "refund", "refund", "order-status"]),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([Cohort.COMPARED, Cohort.COMPARED, Cohort.COMPARED, Cohort.OUTSIDE]),
    st.booleans(),
    FLAGS,
    st.dictionaries(
        st.sampled_from(["cost_nusd", "latency_us", "ttft_us"]),
        st.integers(1, 10_000_000),
        max_size=2,
    ),
)
OUTCOMES = st.builds(
    lambda correct, grades, flags, source: outcome(
        "", correct, grades=grades, flags=flags, source=source
    ),
    st.sampled_from([1.0, 0.0, 0.5, 1 / 3, None]),
    st.sampled_from(list(Grades)),
    FLAGS,
    st.sampled_from(["person", "judge", "person", "", "people"]),
)
GRADES = st.sampled_from([0.0, 0.25, 1.0])
SAMPLED_U = st.sampled_from([MICRO, 700_000, 300_000, 1])
PEOPLE_U = st.sampled_from([0, 400_000, MICRO])
PAIRS = st.builds(lambda b, c: pair("", baseline=b, candidate=c), GRADES, GRADES)


@st.composite
def things(draw: st.DrawFn) -> list[Sent]:
    """What is sent, each thing once, named by its place; outcomes also of observations that never come."""
    observations = draw(st.lists(OBSERVATIONS, min_size=draw(st.integers(1, 8)), max_size=14))
    sent: list[Sent] = [replace(one, id=f"o{n}") for n, one in enumerate(observations)]
    for number, one in enumerate(
        draw(st.lists(OUTCOMES, min_size=draw(st.integers(0, 8)), max_size=20))
    ):
        about = draw(st.integers(0, len(observations)))
        sent.append(replace(one, id=f"l{number}", observation=f"o{about}"))
    sent += [replace(one, id=f"p{n}") for n, one in enumerate(draw(st.lists(PAIRS, max_size=3)))]
    return sent


@st.composite
def arrivals(draw: st.DrawFn, sent: Sequence[Sent]) -> list[Batch]:
    """The same things in any order and batching, some of them twice."""
    again = draw(st.lists(st.sampled_from(sent), max_size=4))
    order = draw(st.permutations([*sent, *again]))
    cuts = draw(st.lists(st.integers(0, len(order)), max_size=5))
    edges = [0, *sorted(cuts), len(order)]
    return [batch(order[start:end]) for start, end in itertools.pairwise(edges)]


def batch(sent: Sequence[Sent]) -> Batch:
    return Batch(
        observations=tuple(one for one in sent if isinstance(one, Observation)),
        outcomes=tuple(one for one in sent if isinstance(one, Outcome)),
        pairs=tuple(one for one in sent if isinstance(one, Pair)),
    )


def named(one: Batch, rollout: str) -> Batch:
    """The batch as a rollout's own."""
    return Batch(
        observations=tuple(
            replace(sent, id=f"{rollout} {sent.id}", rollout=rollout) for sent in one.observations
        ),
        outcomes=tuple(
            replace(sent, id=f"{rollout} {sent.id}", observation=f"{rollout} {sent.observation}")
            for sent in one.outcomes
        ),
        pairs=tuple(
            replace(sent, id=f"{rollout} {sent.id}", rollout=rollout) for sent in one.pairs
        ),
    )


def new_rollout(
    store: Store,
    unit: Unit,
    horizon: timedelta,
    delay: timedelta = timedelta(0),
    sampled_u: int = MICRO,
    people_u: int = 0,
) -> str:
    rollout = f"example-{next(_numbers)}/1"
    name = rollout.removesuffix("/1")
    of = plan(
        name=name,
        unit=unit,
        horizon=horizon,
        delay=delay,
        sampled_u=sampled_u,
        people_u=people_u,
        cost_limits=COST_LIMITS,
    )
    store.commit(commit(rollout=rollout, of=of, shares=SHARES[1]))
    store.commit(commit(store.head(rollout), rollout=rollout, shares=SHARES[2], version=2))
    return rollout


def recount_of(
    unit: Unit, horizon: timedelta, delay: timedelta, sampled_u: int, people_u: int
) -> Recount:
    """Of such a rollout."""
    return Recount(
        unit=unit,
        horizon=horizon,
        delay=delay,
        shares=SHARES,
        sampled=Fraction(sampled_u, MICRO),
        people=Fraction(people_u, MICRO),
        cost_caps=COST_CAPS,
    )


def minute_rows(store: Store, rollout: str) -> dict[Row, dict[str, int]]:
    return {
        (row.minute, row.version, row.arm, row.intent, row.endpoint, row.cohort.value): dict(
            row.stats
        )
        for row in store.rollups(rollout)[0]
    }


SHARED_STORE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=30,
)


@SHARED_STORE
@given(
    data=st.data(),
    unit=st.sampled_from([Unit.CONVERSATION, Unit.REQUEST]),
    hours=st.integers(1, 40),
    delay=st.sampled_from([0 * MINUTE, timedelta(seconds=90), 30 * MINUTE, 6 * HOUR]),
    sampled_u=SAMPLED_U,
    people_u=PEOPLE_U,
)
def test_rows_equal_a_recount_of_everything_that_was_sent(
    store: Store,
    data: st.DataObject,
    unit: Unit,
    hours: int,
    delay: timedelta,
    sampled_u: int,
    people_u: int,
):
    rollout = new_rollout(store, unit, hours * HOUR, delay, sampled_u, people_u)
    recount = recount_of(unit, hours * HOUR, delay, sampled_u, people_u)
    now, seq = NOW, 0

    for arrived in data.draw(arrivals(data.draw(things()))):
        now += data.draw(st.integers(0, 600)) * MINUTE
        before = minute_rows(store, rollout)
        ours = named(arrived, rollout)
        ingested = store.ingest(ours, now)
        recount.feed(ours, now)

        sent = len(ours.observations) + len(ours.outcomes) + len(ours.pairs)
        assert sent == (
            ingested.accepted
            + ingested.duplicate
            + ingested.waiting
            + ingested.too_late
            + ingested.unknown
        )
        after = minute_rows(store, rollout)
        assert ingested.touched == ((rollout,) if after != before else ())
        changed, present = store.rollups(rollout, changed_after=seq)
        # Also for episodes of which one has what another lost: no row tells of it.
        assert present == seq + 1 or (present == seq and after == before)
        assert {(row.minute, row.version, row.arm, row.intent) for row in changed} >= {
            key[:4] for key in after if after[key] != before.get(key)
        }
        seq = present

    rows = minute_rows(store, rollout)
    assert {key: row for key, row in rows.items() if row} == recount.rows()
    assert store.refused(rollout)["too_late"] == recount.too_late


@settings(SHARED_STORE, max_examples=15)
@given(
    data=st.data(),
    unit=st.sampled_from([Unit.CONVERSATION, Unit.REQUEST]),
    hours=st.integers(1, 200),
    sampled_u=SAMPLED_U,
    people_u=PEOPLE_U,
)
def test_rows_equal_a_recount_whatever_was_let_go_of_in_between(
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    unit: Unit,
    hours: int,
    sampled_u: int,
    people_u: int,
):
    """Resends too: what is below the floor was counted, or never will be."""
    delay = timedelta(minutes=30)
    with STORES[kind](Path(tmp_path_factory.mktemp("store"))) as store:
        rollout = new_rollout(store, unit, hours * HOUR, delay, sampled_u, people_u)
        recount = recount_of(unit, hours * HOUR, delay, sampled_u, people_u)
        now = floor = NOW
        sent = spread(data.draw(things()), data.draw(st.lists(st.integers(0, 6), min_size=14)))
        received: dict[str, datetime] = {}

        for arrived in data.draw(arrivals(sent)):
            now += data.draw(st.integers(0, 12)) * DAY
            ours = named(arrived, rollout)
            ingested = store.ingest(ours, now)
            recount.feed(above(floor, ours), now)
            if (
                ours.observations or ours.pairs
            ):  # refused ones too: what is ripe is used whenever its rollout is heard of
                recount.close_blocks(now)
            for one in ours.outcomes:
                received.setdefault(one.id, now)
            # The only rollout's horizon is the longest.
            recount.waiting = [
                one for one in recount.waiting if received[one.id] >= now - hours * HOUR
            ]
            assert len([*ours.observations, *ours.outcomes, *ours.pairs]) == (
                ingested.accepted + ingested.duplicate + ingested.waiting + ingested.too_late
            )
            asked = now - data.draw(st.integers(0, 10)) * DAY
            recount.floor = floor = max(floor, store.prune(asked, now).floor)

        rows = minute_rows(store, rollout)
        assert {key: row for key, row in rows.items() if row} == recount.rows()


@pytest.fixture(params=list(DATABASES), scope="module")
def two_stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, Store]]:
    """Of two controllers on one database."""
    folder = Path(tmp_path_factory.mktemp("store"))
    with (
        DATABASES[request.param](folder) as url,
        closing(SqlStore(connect(url))) as one,
        closing(SqlStore(connect(url))) as other,
    ):
        new_rollout(one, Unit.REQUEST, NEVER)
        yield one, other


@contextmanager
def losing_what_it_counts() -> Iterator[None]:
    """Whoever writes rollups loses the database before they are there."""

    def lose(_c: object, _k: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO minutes"):
            raise Unreachable("The database was lost.")

    event.listen(Engine, "before_cursor_execute", lose)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", lose)


@SHARED_STORE
@given(data=st.data(), sampled_u=SAMPLED_U, people_u=PEOPLE_U)
def test_rows_equal_a_recount_whichever_controller_is_sent_what(
    two_stores: tuple[Store, Store], data: st.DataObject, sampled_u: int, people_u: int
):
    """Each remembers live episodes, of which the other changes some; and some batches are lost in the middle and come
    again, to either.
    """
    terms = (Unit.CONVERSATION, 40 * HOUR, 30 * MINUTE, sampled_u, people_u)
    rollout, recount = new_rollout(two_stores[0], *terms), recount_of(*terms)
    now = NOW

    for arrived in data.draw(arrivals(data.draw(things()))):
        now += data.draw(st.integers(0, 60)) * MINUTE
        ours = named(arrived, rollout)
        if data.draw(st.booleans()):
            with suppress(Unreachable), losing_what_it_counts():
                data.draw(st.sampled_from(two_stores)).ingest(ours, now)
        data.draw(st.sampled_from(two_stores)).ingest(ours, now)
        recount.feed(ours, now)

    rows = minute_rows(two_stores[0], rollout)
    assert {key: row for key, row in rows.items() if row} == recount.rows()


def spread(sent: Sequence[Sent], places: Sequence[int]) -> list[Sent]:
    """Over a month; what is learnt of an observation is learnt after it."""
    spread_out = [
        replace(one, at=one.at + places[number % len(places)] * 5 * DAY)
        for number, one in enumerate(sent)
    ]
    at = {one.id: one.at for one in spread_out if isinstance(one, Observation)}
    return [
        replace(one, at=max(one.at, at.get(one.observation, one.at)))
        if isinstance(one, Outcome)
        else one
        for one in spread_out
    ]


def above(floor: datetime, one: Batch) -> Batch:
    return Batch(
        observations=tuple(sent for sent in one.observations if sent.at >= floor),
        outcomes=tuple(sent for sent in one.outcomes if sent.at >= floor),
        pairs=tuple(sent for sent in one.pairs if sent.at >= floor),
    )


@settings(SHARED_STORE, max_examples=15)
@given(
    data=st.data(),
    unit=st.sampled_from([Unit.CONVERSATION, Unit.REQUEST]),
    sampled_u=st.sampled_from(
        [1, MICRO]
    ),  # a rollout's name is in the hash: here all lie in it, or none
    people_u=st.sampled_from([0, MICRO]),
)
def test_the_order_of_arrival_does_not_matter_to_the_counts_of_requests(
    store: Store, data: st.DataObject, unit: Unit, sampled_u: int, people_u: int
):
    sent = data.draw(things())
    found = []
    for _ in range(2):
        rollout = new_rollout(store, unit, NEVER, sampled_u=sampled_u, people_u=people_u)
        for arrived in data.draw(arrivals(sent)):
            store.ingest(named(arrived, rollout), NOW)
        found.append(by_request(minute_rows(store, rollout)))

    assert found[0] == found[1]


def by_request(rows: dict[Row, dict[str, int]]) -> dict[Row, dict[str, int]]:
    """Without what hangs on the order of arrival: an episode's anchor, and which labels make a block."""
    kept = {
        key: {
            name: count
            for name, count in row.items()
            if not name.startswith(("e", "b.", "drawn", "both"))
        }
        for key, row in rows.items()
    }
    return {key: row for key, row in kept.items() if row}
