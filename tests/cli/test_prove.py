"""`audit` and `replay`: whole evidence is called whole, and every kind of damage is found."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from controller.wiring import open_store
from tests.cli.world import PLAN, World, requests


def anchored(world: World) -> World:
    world.started()
    store = open_store(world.url)
    store.anchor(world.clock.now())
    store.close()
    return world


def exported(world: World) -> Path:
    path = world.folder / "export.jsonl"
    assert world.cli("audit", "export", "--out", str(path)).code == 0
    return path


def tamper(world: World, statement: str) -> None:
    """As somebody who owns the file can: the database's own guards go first."""
    connection = sqlite3.connect(world.folder / "canary.db")
    with connection:
        guards = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in guards.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
    connection.close()


def test_verify_counts_what_it_verified(world: World):
    answer = anchored(world).cli("audit", "verify")

    assert answer.code == 0
    assert answer.out == (
        "1 rollout, 2 records, 1 plan, 1 anchor; whole: every hash follows from the one before\n"
    )
    document = world.cli("audit", "verify", "support-bot", "-o", "json").json
    assert (document["whole"], document["records"], document["broken"]) == (True, 2, [])


def test_verify_names_a_record_that_was_changed(world: World):
    anchored(world)
    tamper(world, "UPDATE records SET text = replace(text, 'ada', 'eve') WHERE seq = 1")

    answer = world.cli("audit", "verify")

    assert answer.code == 1
    assert "NOT whole" in answer.out
    assert "support-bot/1: record 1 does not hash to" in answer.out


def test_verify_finds_a_cut_chain(world: World):
    anchored(world)
    tamper(world, "DELETE FROM records WHERE seq = 2")

    answer = world.cli("audit", "verify", "-o", "json")

    assert answer.code == 1
    assert len(answer.json["broken"]) == 2  # by the head and by the anchor
    assert "records were cut off" in answer.json["broken"][0]


def test_verify_finds_a_state_without_a_record(world: World):
    anchored(world)
    tamper(
        world,
        "UPDATE rollouts SET state = replace(state, '\"share_bp\":5000', '\"share_bp\":9000')",
    )

    answer = world.cli("audit", "verify")

    assert answer.code == 1
    assert "changed without a record" in answer.out


def test_an_export_is_verified_offline(world: World):
    path = exported(anchored(world))
    (world.folder / "canary.db").unlink()

    answer = world.cli("audit", "verify", "--file", str(path))

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("1 rollout, 2 records, 1 plan, 1 anchor; whole")


def test_an_export_goes_to_stdout_and_of_one_name_only(world: World):
    anchored(world)
    lines = world.cli("audit", "export", "support-bot").out.splitlines()

    assert [json.loads(line)["kind"] for line in lines] == [
        *("header", "plan", "record", "record", "anchor", "end")
    ]
    path = world.file("one.jsonl", "\n".join(lines))
    assert world.cli("audit", "verify", "--file", path).code == 0


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (lambda lines: lines[:-1], 2, "the export was cut"),
        (lambda lines: lines[1:], 2, "begins with its header"),
        (lambda lines: [*lines[:2], *lines[3:]], 2, "lines were lost or added"),
        (lambda lines: [line.replace("ada", "eve") for line in lines], 1, "does not hash to"),
        (lambda lines: [*lines[:3], "nonsense", *lines[4:]], 2, ":4: not JSON"),
        (
            lambda lines: [line.replace("gpt-4.1-mini", "gpt-9") for line in lines],
            1,
            "plan revision",
        ),
    ],
)
def test_a_damaged_export_is_found(world: World, damage, code, words):
    path = exported(anchored(world))
    path.write_text("\n".join(damage(path.read_text().splitlines())))

    answer = world.cli("audit", "verify", "--file", str(path))

    assert answer.code == code
    assert words in answer.out + answer.err


def test_replay_agrees_with_what_was_recorded(world: World):
    world.started()
    world.cli("pause", "support-bot")
    world.cli("resume", "support-bot", "--reason", "fine")

    answer = world.cli("replay", "support-bot")

    assert answer.code == 0
    assert answer.out == "support-bot/1: 4 records replayed, every decision the same\n"
    assert world.cli("replay", "support-bot", "-o", "json").json["agrees"] is True


def test_replay_tells_which_decision_differs(world: World):
    world.started()
    tamper(
        world, 'UPDATE records SET text = replace(text, \'"cause":"clear"\', \'"cause":"proven"\')'
    )

    answer = world.cli("replay", "support-bot")

    assert answer.code == 1
    assert "1 of 2 records disagree" in answer.out
    assert "record 2, 2026-09-01T12:01:00+00:00: cause differs" in answer.out
    assert world.cli("replay", "support-bot", "-o", "name").out.split() == ["support-bot/1:2"] * 2


# Other rules on what is stored


def escalating(world: World, *, after: int = 0) -> World:
    """Rolled back by a rule on escalations: after some minutes, 3 of 5 of the candidate's requests are."""
    world.started()
    for minute in range(after + 20):
        escalated = 3 if minute >= after else 0
        world.feed(requests(world, per_arm=5, minutes=1, escalated=escalated))
        world.ticks(1)
    return world


def test_the_same_rules_on_the_stored_counts_agree(world: World):
    answer = escalating(world).cli("replay", "support-bot", "--plan", world.plan())

    assert (answer.code, answer.err) == (0, "")
    assert "every decision the same" in answer.out


def test_a_laxer_rule_would_not_have_stopped_it(world: World):
    lax = world.plan(PLAN.replace("above: 2%", "above: 90%"), name="lax.yaml")

    answer = escalating(world).cli("replay", "support-bot", "--plan", lax)

    assert answer.code == 1
    said = " ".join(answer.out.split())
    assert "they part from those of the time on 2026-09-01" in said
    assert "These rules: holds." in said
    assert "Those of the time: rolls back (escalation). escalation_rate " in said
    assert "What happened: record 3 rolls back (escalation)" in said
    assert "By these rules nothing is decided up to" in said
    assert "What followed is not known." in said


def test_a_stricter_rule_would_have_stopped_it_sooner(world: World):
    """The window of its latency rule is full before anything escalates."""
    strict = PLAN.replace("latency_p95_ratio, above: 1.25", "latency_p95, above: 100ms")
    strict = strict.replace("minSamples: 50, then: pause", "minSamples: 1, then: pause")
    file = world.plan(strict, name="strict.yaml")

    answer = escalating(world, after=40).cli("replay", "support-bot", "-p", file, "-o", "json")

    assert (answer.code, answer.err) == (1, "")
    found = answer.json["difference"]
    assert answer.json["kind"] == "Rejudged"
    assert (found["decided"]["action"], found["of_the_time"]["action"]) == ("pause", "hold")
    assert "latency_p95 100% of requests" in found["decided"]["why"][0]
    assert (found["recorded"]["seq"], found["stop"]["action"]) == (3, "rollback")
    assert found["stops_sooner_s"] > 0


def test_what_of_the_file_is_not_used_is_said(world: World):
    other = PLAN.replace("share: 50%, hold: 1h", "share: 20%, hold: 9h")

    answer = escalating(world).cli("replay", "support-bot", "--plan", world.plan(other))

    assert "Not used of" in answer.out
    assert ": steps. The way of the rollout stays the recorded one." in answer.out


def test_a_plan_that_cannot_be_read_is_refused_before_anything_is_judged(world: World):
    world.started()

    answer = world.cli("replay", "support-bot", "--plan", "nowhere.yaml")

    assert answer.code == 2
    assert "nowhere.yaml" in answer.err
