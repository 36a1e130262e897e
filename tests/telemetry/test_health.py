"""Alive is a worker that comes round; ready is a database that answers, at this release's schema, and a loop."""

import threading

from controller.clock import elapsed
from controller.errors import SchemaBehind, Unreachable
from controller.telemetry.health import Probe, Pulse, State, stuck_after

PATIENCE_S = 20.0  # an upper bound for what is broken, not a measure of what works


def states(checks):
    return {one.name: one.state for one in checks}


def reason(checks, name):
    return next(one.reason for one in checks if one.name == name)


def nothing():
    pass


def test_a_database_that_answers_at_this_releases_schema_is_ready():
    assert states(Probe(nothing).checks()) == {"database": State.OK, "schema": State.OK}


def test_a_schema_that_is_behind_is_named_with_what_to_do():
    def behind():
        raise SchemaBehind("at schema 0001; this release needs 0002. Run `canaryctl db upgrade`.")

    checks = Probe(behind).checks()

    assert states(checks) == {"database": State.OK, "schema": State.FAILED}
    assert "canaryctl db upgrade" in reason(checks, "schema")


def test_of_a_database_that_is_away_the_schema_is_not_known():
    def away():
        raise Unreachable("no route to host")

    checks = Probe(away).checks()

    assert states(checks) == {"database": State.FAILED, "schema": State.UNKNOWN}
    assert "no route to host" in reason(checks, "database")


def test_a_database_that_hangs_costs_a_bounded_time_and_one_thread():
    looks, go_on = [], threading.Event()

    def hangs():
        looks.append(threading.current_thread())
        go_on.wait(PATIENCE_S)

    probe = Probe(hangs, bound_s=0.05, kept_s=0)
    try:
        answers = [probe.checks() for _ in range(5)]
    finally:
        go_on.set()

    assert len(looks) == 1
    assert all(states(one)["database"] is State.FAILED for one in answers)
    assert "no answer within 0.05 s" in reason(answers[0], "database")
    looks[0].join(PATIENCE_S)
    assert states(Probe(nothing).checks())["database"] is State.OK


def test_a_database_that_comes_back_is_found_by_the_next_look():
    go_on = threading.Event()

    def hangs():
        go_on.wait(PATIENCE_S)

    probe = Probe(hangs, bound_s=0.05, kept_s=0)
    assert states(probe.checks())["database"] is State.FAILED

    go_on.set()
    ended = elapsed() + PATIENCE_S
    while states(probe.checks())["database"] is not State.OK:
        assert elapsed() < ended


def test_what_was_seen_is_kept_for_a_moment():
    looks = []
    probe = Probe(lambda: looks.append(1), kept_s=3_600)

    for _ in range(10):
        probe.checks()

    assert len(looks) == 1


def test_a_worker_that_comes_round_lives_and_one_that_does_not_is_stuck():
    lively, stuck = Pulse(stuck_after_s=3_600), Pulse(stuck_after_s=0)

    assert lively.stuck() is None
    assert "has not come round" in (stuck.stuck() or "")


def test_three_intervals_without_a_turn_are_too_many_but_never_less_than_a_databases_time_out():
    assert stuck_after(60) == 180
    assert stuck_after(0.5) == 30
