"""What only PostgreSQL can show: who waits for whom, a server that goes away and comes back, and its addresses."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue

import pytest

from controller.errors import Conflict, DataError, SettingsError, Unreachable
from controller.ports import Note, Store, VerifiedStretch
from controller.rollout.timeline import minute_of
from controller.store import migrate
from controller.store.bulk import FEW
from controller.store.engine import Database, connect
from controller.store.locks import Advisory, hold, hold_rollouts
from controller.store.open import open_store
from tests.accounting.factories import (
    HALF,
    MICROSECOND,
    MINUTE,
    NOW,
    ROLLOUT,
    commit,
    contents,
    notice,
    observation,
    outcome,
    pair,
    send,
    started,
    totals,
)
from tests.postgres import Cluster

OTHER = "other/1"
IMPATIENT = "?options=-c%20lock_timeout%3D200ms"


@pytest.fixture
def store(postgresql_url: str) -> Iterator[Store]:
    """A store that waits for no lock longer than a fifth of a second, with two rollouts."""
    opened = open_store(postgresql_url + IMPATIENT, migrate=False)
    started(opened)
    started(opened, rollout=OTHER)
    yield opened
    opened.close()


@contextmanager
def database(url: str) -> Iterator[Database]:
    engine = connect(url)
    yield Database(engine)
    engine.dispose()


def verify(store: Store, rollout: str = ROLLOUT) -> None:
    stretch = VerifiedStretch(version=1, start=NOW, end=NOW + MINUTE)
    store.note([Note(rollout=rollout, verified=(stretch,))])


# Who waits for whom


def test_an_ingest_holds_up_other_ingests_and_nothing_else(store: Store, postgresql_url: str):
    with database(postgresql_url) as other, other.noting() as connection:
        hold(connection, Advisory.INGEST)

        store.commit(commit(store.head(ROLLOUT)))
        verify(store)
        assert store.anchor(NOW) is not None
        assert store.take_fence() == 1
        with pytest.raises(Unreachable, match=r"lock timeout.*Nothing was written"):
            send(store, observation("a"))

    assert send(store, observation("a")).accepted == 1


def test_a_commit_holds_up_its_own_rollout_and_no_other(store: Store, postgresql_url: str):
    head = store.head(ROLLOUT)
    with database(postgresql_url) as other, other.writing() as (connection, _):
        hold_rollouts(connection, [ROLLOUT])

        store.commit(commit(store.head(OTHER), rollout=OTHER))
        verify(store, OTHER)
        send(store, observation("b", rollout=OTHER))
        for change in (lambda: store.commit(commit(head)), lambda: verify(store)):
            with pytest.raises(Unreachable, match="lock timeout"):
                change()

    store.commit(commit(head))


def test_a_fence_waits_for_the_commits_in_flight_and_later_ones_see_it(postgresql_url: str):
    store = open_store(postgresql_url, migrate=False)
    started(store)
    first, taken = store.take_fence(), threading.Event()

    def take() -> int:
        fence = store.take_fence()
        taken.set()
        return fence

    with ThreadPoolExecutor() as threads, database(postgresql_url) as other:
        with other.writing() as (connection, present):
            taking = threads.submit(take)
            assert present == first
            assert not taken.wait(0.3)
            connection.exec_driver_sql("UPDATE rollouts SET phase = 'completed'")
            assert not taken.is_set()

        assert taking.result(timeout=20) == first + 1
    with pytest.raises(Conflict, match="another controller leads"):
        store.commit(commit(store.head(ROLLOUT), fence=first))
    store.close()


def test_many_commit_under_one_fence_at_once(store: Store, postgresql_url: str):
    with database(postgresql_url) as other, other.writing():
        store.commit(commit(store.head(ROLLOUT)))

    with (
        database(postgresql_url) as other,
        other.fencing(),
        pytest.raises(Unreachable, match="lock timeout"),
    ):
        store.commit(commit(store.head(ROLLOUT)))


def test_to_note_a_delivery_waits_for_its_own_notice_only(store: Store, postgresql_url: str):
    store.commit(commit(store.head(ROLLOUT), notices=(notice("one"),)))
    owed = store.deliveries(ROLLOUT)[0].id

    with database(postgresql_url) as other, other.fencing() as (connection, _):
        hold(connection, Advisory.INGEST)
        hold_rollouts(connection, [ROLLOUT, OTHER])

        store.delivered(owed, NOW)

    assert store.deliveries(ROLLOUT)[0].delivered == NOW


def test_a_first_record_that_two_commit_at_once_is_one_ones(postgresql_url: str):
    store = open_store(postgresql_url, migrate=False)

    def start(_: int) -> bool:
        try:
            store.commit(commit(shares=HALF))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(start, range(4))) == [False, False, False, True]
    assert store.head(ROLLOUT).seq == 1
    store.close()


# Many at once

EACH = 12


def _observe(store: Store, who: int, turn: int) -> None:
    names = [f"{who}.{turn}.{n}" for n in range(10)]
    rollouts = (ROLLOUT, OTHER) if turn % 2 else (OTHER, ROLLOUT)
    send(
        store,
        *(observation(name, rollout=rollouts[n % 2]) for n, name in enumerate(names)),
        # Of the other process's: they come before, after or together with it.
        *(outcome(f"{1 - who}.{turn}.{n}", 1.0) for n in range(10)),
    )


def _commit(store: Store, who: int, turn: int) -> None:
    rollout = (ROLLOUT, OTHER)[(who + turn) % 2]
    while True:
        try:
            store.commit(commit(store.head(rollout), rollout=rollout))
            return
        except Conflict:
            continue  # the other one was first: read again


def _verify(store: Store, who: int, turn: int) -> None:
    start = NOW + (2 * turn + who) * MINUTE
    verified = (VerifiedStretch(version=1, start=start, end=start + MINUTE),)
    rollouts = (ROLLOUT, OTHER) if who else (OTHER, ROLLOUT)
    store.note([Note(rollout=one, verified=verified, through=start) for one in rollouts])


def _take(store: Store, who: int, turn: int) -> None:
    store.take_fence()
    store.anchor(NOW + turn * 60 * MINUTE)


WORK: dict[str, Callable[[Store, int, int], None]] = {
    "observe": _observe,
    "commit": _commit,
    "verify": _verify,
    "take": _take,
}


def _work(url: str, kind: str, who: int, results: Queue[str]) -> None:
    store = open_store(url, migrate=False)
    try:
        for turn in range(EACH):
            WORK[kind](store, who, turn)
        results.put("done")
    except BaseException as error:
        results.put(f"{kind}: {error!r}")
        raise
    finally:
        store.close()


def test_processes_that_do_everything_at_once_neither_block_one_another_nor_lose_a_count(
    postgresql_url: str,
):
    store = open_store(postgresql_url, migrate=False)
    for rollout in (ROLLOUT, OTHER):
        started(store, rollout=rollout)
    processes = multiprocessing.get_context("spawn")
    results: Queue[str] = processes.Queue()
    workers = [
        processes.Process(target=_work, args=(postgresql_url, kind, who, results))
        for kind in WORK
        for who in (0, 1)
    ]

    for one in workers:
        one.start()

    assert [results.get(timeout=55) for _ in workers] == ["done"] * len(workers)
    for one in workers:
        one.join()
    sums = [totals(store, rollout) for rollout in (ROLLOUT, OTHER)]
    # Two processes, EACH batches of ten; every outcome met its observation.
    assert sum(one["n"] for one in sums) == sum(one["graded"] for one in sums) == 2 * EACH * 10
    assert store.refused(ROLLOUT) == {"waiting": 0, "too_late": 0, "expired": 0}
    assert sum(head.seq for head in store.heads()) == 2 + 2 * EACH
    whole = VerifiedStretch(version=1, start=NOW, end=NOW + 2 * EACH * MINUTE)
    assert store.verified(ROLLOUT) == store.verified(OTHER) == [whole]
    assert store.take_fence() == 2 * EACH + 1
    assert len(store.anchors()) >= EACH // 2
    store.close()


# A server that goes away


def test_while_the_server_is_down_it_is_unreachable_and_afterwards_all_works_again(
    store: Store, postgresql: Cluster
):
    before = contents(store)
    postgresql.stop()

    for call in (store.heads, store.take_fence, lambda: send(store, observation("a"))):
        with pytest.raises(Unreachable, match="refused"):
            call()

    postgresql.start()
    assert contents(store) == before
    assert send(store, observation("a")).accepted == 1


@pytest.mark.parametrize("end", [Cluster.restart, Cluster.kill])
def test_after_a_restart_of_the_server_no_call_fails(store: Store, postgresql: Cluster, end):
    with ThreadPoolExecutor(4) as threads:  # several connections in the pool
        list(threads.map(lambda _: store.heads(), range(16)))

    end(postgresql)
    postgresql.start()

    assert store.take_fence() == 1
    assert [head.seq for head in store.heads()] == [1, 1]


def lost_at(url: str, event: str) -> str:
    """Functions of the database that end the connection that comes by."""
    return f"""
        CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        {event} EXECUTE FUNCTION lose();
    """


def test_a_connection_that_is_lost_in_the_middle_wrote_nothing(
    store: Store, postgresql: Cluster, postgresql_url: str
):
    before = contents(store)
    event = "CREATE TRIGGER lose AFTER INSERT ON outbox"
    postgresql.execute(lost_at(postgresql_url, event), url=postgresql_url)

    with pytest.raises(Unreachable, match="Nothing was written"):
        store.commit(commit(store.head(ROLLOUT), notices=(notice("one"),)))

    assert contents(store) == before


def test_a_connection_that_is_lost_while_it_commits_is_told_as_what_it_is(
    store: Store, postgresql: Cluster, postgresql_url: str
):
    event = (
        "CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON outbox "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    )
    postgresql.execute(lost_at(postgresql_url, event), url=postgresql_url)

    with pytest.raises(Unreachable, match="Whether that was written shows when it is back"):
        store.commit(commit(store.head(ROLLOUT), notices=(notice("one"),)))

    assert store.head(ROLLOUT).seq == 1


@pytest.mark.parametrize("state", ["40001", "40P01", "57014", "53100"])
def test_a_transaction_that_the_server_gave_up_wrote_nothing(
    store: Store, postgresql: Cluster, postgresql_url: str, state: str
):
    before = contents(store)
    failing = f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'given up' USING ERRCODE = '{state}'; END $$;
        CREATE TRIGGER fail AFTER INSERT ON outbox EXECUTE FUNCTION fail();
    """
    postgresql.execute(failing, url=postgresql_url)

    with pytest.raises(Unreachable, match="given up"):
        store.commit(commit(store.head(ROLLOUT), notices=(notice("one"),)))

    assert contents(store) == before


@pytest.mark.parametrize(
    "body",
    [
        "RAISE EXCEPTION 'given up' USING ERRCODE = '40P01'",
        "RAISE EXCEPTION 'a standby' USING ERRCODE = '25006'",
        "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL",
    ],
)
def test_a_copy_that_is_cut_off_wrote_nothing_and_the_next_one_does(
    store: Store, postgresql: Cluster, postgresql_url: str, body: str
):
    send(store, observation("the week is there"))
    before = contents(store)
    sent = [observation(f"{n}") for n in range(FEW)]
    failing = f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
        CREATE TRIGGER fail AFTER INSERT ON observations EXECUTE FUNCTION fail();
    """
    postgresql.execute(failing, url=postgresql_url)

    with pytest.raises(Unreachable, match="Nothing was written"):
        send(store, *sent)

    assert contents(store) == before
    postgresql.execute("DROP TRIGGER fail ON observations", url=postgresql_url)
    assert send(store, *sent).accepted == FEW


def test_a_server_that_became_a_standby_is_left(
    store: Store, postgresql: Cluster, postgresql_url: str
):
    name = postgresql_url.rpartition("/")[2]
    postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store.close()  # the setting is for new connections

    with pytest.raises(Unreachable, match="read-only"):
        send(store, observation("a"))

    postgresql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert send(store, observation("a")).accepted == 1


# Addresses and settings


def test_several_hosts_are_tried_in_turn(postgresql: Cluster, postgresql_url: str):
    name = postgresql_url.rpartition("/")[2]
    hosts = f"127.0.0.1:1,127.0.0.1:{postgresql.port}"

    store = open_store(
        f"postgresql://canary@{hosts}/{name}?target_session_attrs=read-write", migrate=False
    )

    assert store.take_fence() == 1
    store.close()


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_connection_is_set_up_so_that_nothing_hangs_or_is_compiled(
    postgresql_url: str, scheme: str
):
    expected = {
        "application_name": "canaryctl",
        "lock_timeout": "10s",
        "statement_timeout": "1min",
        "jit": "off",
        "idle_in_transaction_session_timeout": "1min",
        "tcp_keepalives_idle": "10",
    }
    with database(postgresql_url.replace("postgresql", scheme, 1)) as one:
        with one.reading() as connection:
            names = (*expected, "transaction_isolation", "transaction_read_only")
            found = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
        with one.noting() as connection:
            writing = connection.exec_driver_sql("SHOW transaction_isolation").scalar()

    assert found == [*expected.values(), "repeatable read", "on"]
    assert writing == "read committed"


def test_what_the_address_says_itself_stands(postgresql_url: str):
    with (
        database(f"{postgresql_url}?application_name=mine&options=-c%20lock_timeout%3D7s") as one,
        one.reading() as connection,
    ):
        found = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("application_name", "lock_timeout", "statement_timeout")
        ]

    assert found == ["mine", "7s", "0"]


@pytest.mark.parametrize("wrong", ["postgresql://a:b@c:d@e:port/x", "postgresql://[::1/x"])
def test_an_address_that_cannot_be_read_is_a_setting_to_mend(wrong: str):
    with pytest.raises(SettingsError, match="postgresql://USER:PASSWORD@HOST:PORT/DATABASE"):
        connect(wrong)


def test_a_password_is_in_no_message(postgresql: Cluster):
    address = f"postgresql://canary:hush@127.0.0.1:{postgresql.port}/nowhere?sslpassword=hush"

    with pytest.raises(Unreachable, match="nowhere") as told:
        open_store(address, migrate=False)

    assert "hush" not in str(told.value)


# What is append-only


def test_records_plans_and_anchors_cannot_be_emptied_either(
    store: Store, postgresql: Cluster, postgresql_url: str
):
    import psycopg

    for table in ("records", "plans", "anchors"):
        with pytest.raises(psycopg.IntegrityError, match="are append-only"):
            postgresql.execute(f"TRUNCATE {table} CASCADE", url=postgresql_url)

    assert store.records(ROLLOUT)


def test_rollups_are_read_as_one_state_with_their_sequence(store: Store, postgresql_url: str):
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(lambda: [send(store, observation(str(n))) for n in range(20)], *())
        while not writing.done():
            rows, seq = store.rollups(ROLLOUT)
            assert sum(row.stats["n"] for row in rows) == seq
            assert all(row.seq <= seq and row.minute == minute_of(NOW) for row in rows)


# Weeks

WEEK = timedelta(days=7)
THURSDAY = datetime(2026, 11, 26, tzinfo=UTC)
"""A week starts on a Thursday, as 1970 did."""


def weeks(postgresql: Cluster, url: str, table: str) -> list[str]:
    found = postgresql.execute(
        f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{table}'::regclass",
        url=url,
    )
    return sorted(name for (name,) in found)


def test_a_week_is_made_when_something_first_belongs_to_it(
    store: Store, postgresql: Cluster, postgresql_url: str
):
    before = THURSDAY - MICROSECOND
    send(store, observation("a", at=before), observation("b", at=THURSDAY))
    send(store, outcome("a", 1.0, at=THURSDAY + WEEK), observation("c", at=THURSDAY))

    assert weeks(postgresql, postgresql_url, "observations") == [
        "observations_20261119",
        "observations_20261126",
    ]
    assert weeks(postgresql, postgresql_url, "outcomes") == ["outcomes_20261203"]
    assert weeks(postgresql, postgresql_url, "pairs") == []


def test_a_week_that_many_need_first_at_once_is_made_once(store: Store, postgresql_url: str):
    patient = open_store(postgresql_url, migrate=False)
    others = [open_store(postgresql_url, migrate=False) for _ in range(4)]
    batches = [[observation(f"{n}", at=NOW + n % 3 * WEEK)] for n in range(24)]

    with ThreadPoolExecutor(4) as threads:
        sent = threads.map(lambda n: send(others[n % 4], *batches[n]).accepted, range(24))
        assert list(sent) == [1] * 24

    assert totals(patient)["n"] == 24
    for one in (patient, *others):
        one.close()


def test_a_week_that_was_begun_by_an_ingest_that_failed_is_begun_again(
    store: Store, postgresql: Cluster, postgresql_url: str
):
    postgresql.execute("ALTER TABLE rollouts RENAME COLUMN ingest_seq TO moved", url=postgresql_url)
    with pytest.raises(Unreachable):
        send(store, observation("a"))
    assert weeks(postgresql, postgresql_url, "observations") == []
    postgresql.execute("ALTER TABLE rollouts RENAME COLUMN moved TO ingest_seq", url=postgresql_url)

    assert send(store, observation("a")).accepted == 1


def test_an_id_is_known_in_whatever_week_it_was(store: Store):
    send(store, observation("a"), outcome("a", 1.0), pair("p", baseline=True, candidate=True))

    again = send(
        store,
        observation("a", at=NOW + 3 * WEEK),
        outcome("a", 1.0, at=NOW + 3 * WEEK),
        pair("p", baseline=True, candidate=True, at=NOW + 3 * WEEK),
    )

    assert (again.accepted, again.duplicate) == (0, 3)


def test_old_weeks_are_dropped_and_the_next_ones_made_ahead(
    store: Store, postgresql: Cluster, postgresql_url: str, capsys: pytest.CaptureFixture[str]
):
    now = THURSDAY + 8 * WEEK
    sent = [observation(f"{n}", at=THURSDAY + n * WEEK) for n in range(8)]
    send(store, *sent)

    first, second = (store.prune(THURSDAY + 3 * WEEK, now) for _ in range(2))

    assert (first.finished, second.finished) == (False, True)
    # An episode may have gone on for a day: its week stays a while.
    assert (first.episodes, first.observations + second.observations) == (2, 3)
    assert weeks(postgresql, postgresql_url, "observations") == [
        f"observations_{THURSDAY + n * WEEK:%Y%m%d}" for n in range(3, 11)
    ]
    assert weeks(postgresql, postgresql_url, "pairs")[-1] == "pairs_20270204"
    assert migrate.main(["check", "--url", postgresql_url]) == 0, capsys.readouterr().err
    assert totals(store)["n"] == 8


def test_a_batch_over_more_weeks_than_a_server_has_locks_for_is_refused(store: Store):
    sent = [observation(f"{n}", at=NOW + n * WEEK) for n in range(101)]

    with pytest.raises(DataError, match="begins 101 weeks; at most 100 may"):
        send(store, *sent)

    assert send(store, *sent[:100]).accepted == 100
