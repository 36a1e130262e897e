"""`audit` and `replay`: whole evidence is called whole, and every kind of damage is found."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from controller.wiring import open_store
from tests.cli.world import World


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
