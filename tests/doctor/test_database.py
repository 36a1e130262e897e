"""The database and the clocks, in each of their states."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from controller.clock import SystemClock
from controller.doctor import database
from controller.doctor.examine import bounded
from controller.doctor.finding import Level
from controller.errors import Unreachable
from controller.wiring import Opening, diagnose_database, open_store

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PATIENCE_S = 20.0
PATIENCE = timedelta(seconds=PATIENCE_S)  # this machine may be slow to ask


def levels(findings):
    return {one.check: one.level for one in findings}


def url_of(path):
    return f"sqlite:///{path}/canary.db"


def test_a_database_at_this_releases_schema_that_can_be_written_to_is_well(tmp_path):
    open_store(url_of(tmp_path), Opening.UPGRADED).close()

    found = list(database.of_database(diagnose_database(url_of(tmp_path)), "here"))

    assert levels(found) == {"database": Level.OK, "schema": Level.OK, "write": Level.OK}
    assert found[0].found.startswith("SQLite 3.")


def test_the_trial_of_writing_leaves_nothing_behind(tmp_path):
    with closing(open_store(url_of(tmp_path), Opening.UPGRADED)) as store:
        before = store.take_fence()

        diagnose_database(url_of(tmp_path))

        assert store.take_fence() == before + 1


def test_a_schema_that_is_behind_is_failed_and_names_the_command(tmp_path):
    (tmp_path / "canary.db").touch()

    found = list(database.of_database(diagnose_database(url_of(tmp_path)), "here"))

    assert levels(found) == {"database": Level.OK, "schema": Level.FAILED}
    assert "canaryctl db upgrade" in found[1].todo


def test_a_database_that_cannot_be_written_to_is_failed(tmp_path):
    open_store(url_of(tmp_path), Opening.UPGRADED).close()
    with closing(sqlite3.connect(tmp_path / "canary.db")) as other:
        other.execute("DROP TABLE fence")

    found = list(database.of_database(diagnose_database(url_of(tmp_path)), "here"))

    assert levels(found)["write"] is Level.FAILED
    assert "no such table" in found[2].found


def test_a_file_that_is_no_database_is_unreachable_and_not_a_traceback(tmp_path):
    (tmp_path / "canary.db").write_bytes(b"this is not a database, whatever its name says" * 99)

    with pytest.raises(Unreachable) as raised:
        diagnose_database(url_of(tmp_path))

    assert database.unreachable(str(raised.value)).level is Level.FAILED


def test_a_database_that_hangs_is_left_behind():
    go_on = threading.Event()
    try:
        with pytest.raises(Unreachable, match="no answer within"):
            bounded(lambda: go_on.wait(PATIENCE_S), 0.05)
    finally:
        go_on.set()


def test_what_a_bounded_question_raises_is_raised_here():
    def away():
        raise Unreachable("away")

    with pytest.raises(Unreachable, match="away"):
        bounded(away, PATIENCE_S)


@pytest.mark.parametrize(
    ("skew_s", "level"),
    [
        (0, Level.OK),
        (2, Level.OK),
        (-2, Level.OK),
        (2.1, Level.WARNING),
        (-2.1, Level.WARNING),
        (30, Level.WARNING),
        (30.1, Level.FAILED),
        (-3_600, Level.FAILED),
    ],
)
def test_two_seconds_between_clocks_are_a_warning_and_thirty_are_too_many(skew_s, level):
    theirs = NOW + timedelta(seconds=skew_s)

    found = database.of_clock("the database", theirs, NOW, slack=timedelta(0))

    assert found.level is level


def test_a_skew_says_which_clock_is_ahead():
    behind = database.of_clock("x", NOW + timedelta(seconds=40), NOW, slack=timedelta(0))
    ahead = database.of_clock("x", NOW - timedelta(seconds=40), NOW, slack=timedelta(0))

    assert behind.found == "40.0 s behind x"
    assert ahead.found == "40.0 s ahead of x"


def test_a_clock_that_is_told_to_the_second_is_not_blamed_for_that():
    theirs = NOW + timedelta(seconds=2.9)

    assert database.of_clock("x", theirs, NOW, slack=timedelta(seconds=1)).level is Level.OK


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0.0 MB"), (1_234_567, "1.2 MB"), (3_400_000_000, "3.4 GB")]
)
def test_sizes_are_for_people(size, words):
    assert database.megabytes(size) == words


def test_a_postgresql_tells_its_version_its_size_and_its_time(postgresql_url):
    found = diagnose_database(postgresql_url)

    findings = list(database.of_database(found, "here"))
    assert levels(findings) == {"database": Level.OK, "schema": Level.OK, "write": Level.OK}
    assert findings[0].found.startswith("PostgreSQL ")
    assert found.clock is not None
    assert (found.size_bytes or 0) > 1_000_000
    ours = SystemClock().now()
    assert database.of_clock("the database", found.clock, ours, slack=PATIENCE).level is Level.OK


def test_a_postgresql_without_the_schema_is_told_so(postgresql):
    found = list(database.of_database(diagnose_database(postgresql.empty()), "here"))

    assert levels(found) == {"database": Level.OK, "schema": Level.FAILED}


def test_a_postgresql_that_may_only_be_read_fails_the_trial_of_writing(postgresql, postgresql_url):
    role = f"reader_of_{postgresql_url.rpartition('/')[2]}"
    for statement in (
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    ):
        postgresql.execute(statement, url=postgresql_url)

    found = diagnose_database(postgresql_url.replace("://canary@", f"://{role}@"))

    findings = list(database.of_database(found, "here"))
    assert levels(findings)["write"] is Level.FAILED
    assert "permission denied" in findings[2].found


def test_a_postgresql_that_is_away_is_unreachable_and_its_password_is_not_shown(
    postgresql, postgresql_url
):
    postgresql.stop()
    url = postgresql_url.replace("://canary@", "://canary:hunter2@")

    with pytest.raises(Unreachable) as raised:
        diagnose_database(url)

    assert "hunter2" not in str(raised.value)
