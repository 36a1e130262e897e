"""The verbs that change a rollout."""

from __future__ import annotations

import pytest

from tests.cli.world import PLAN, World, requests

APPROVED = PLAN.replace("minSamples: 20}", "minSamples: 20, approval: required}")


def phase(world: World) -> str:
    return str(world.cli("get", "support-bot", "-o", "json").json["phase"])


def test_pause_and_resume(world: World):
    world.started()

    assert world.cli("pause", "support-bot", "--reason", "deploy").out == (
        "support-bot/1 paused: paused at step 1, share 50%\n"
    )
    assert phase(world) == "paused"
    assert world.cli("pause", "support-bot").code == 5
    resumed = world.cli("resume", "support-bot", "--reason", "deployed")
    assert resumed.out == "support-bot/1 resumed: progressing at step 1, share 50%\n"
    assert world.cli("resume", "support-bot", "--reason", "again").code == 5


def test_resume_and_retry_need_a_reason(world: World):
    world.started()
    for verb in ("resume", "retry"):
        answer = world.cli(verb, "support-bot")
        assert answer.code == 2
        assert "--reason" in answer.err


def test_promote_skips_hold_and_samples(world: World):
    world.started()

    answer = world.cli("promote", "support-bot", "--reason", "enough seen", "-o", "json")

    assert answer.json["action"] == "advance"
    assert answer.json["share_bp"] == 9_900


def test_promote_needs_an_override_for_a_failed_rule(world: World):
    world.started(PLAN.replace("minSamples: 50, then: rollback", "minSamples: 50, then: pause"))
    world.feed(requests(world, per_arm=100, minutes=1, escalated=50))
    world.ticks(1)
    assert phase(world) == "paused"

    refused = world.cli("promote", "support-bot")
    assert refused.code == 5
    assert "escalation" in refused.err
    overrides = ("--override", "escalation", "--override", "accuracy", "--override", "latency")
    assert world.cli("promote", "support-bot", *overrides).code == 5  # without a reason
    done = world.cli("promote", "support-bot", *overrides, "--reason", "known bug, fixed")
    assert done.code == 0, done.err
    assert world.cli("promote", "support-bot", "--override", "nonsense").code == 5


def test_approve_once_where_it_is_asked(world: World):
    world.started(APPROVED)

    assert world.cli("approve", "support-bot").out.startswith("support-bot/1 approved: ")
    assert world.cli("approve", "support-bot").code == 5
    assert "approved" in world.cli("describe", "support-bot").out


def test_rollback_then_retry_is_a_new_attempt(world: World):
    world.started()

    back = world.cli("rollback", "support-bot", "--reason", "complaints")
    assert back.out == "support-bot/1 rolled back: rolled back at step 1, share 50% → 0%\n"
    assert world.cli("rollback", "support-bot").code == 5
    again = world.cli("retry", "support-bot", "--reason", "mended", "-o", "name")
    assert again.out == "support-bot/2\n"
    assert world.cli("get", "-o", "name").out == "support-bot/2\n"
    assert world.cli("get", "-a", "-o", "name").out == "support-bot/1\nsupport-bot/2\n"


def test_a_person_at_a_terminal_is_asked_before_a_rollback(world: World):
    world.started()

    refused = world.cli("rollback", "support-bot", stdin="\n", terminal=True)

    assert refused.code == 1
    assert "[y/N]" in refused.err
    assert phase(world) == "progressing"
    assert world.cli("rollback", "support-bot", stdin="y\n", terminal=True).code == 0
    assert phase(world) == "rolled_back"


def test_yes_is_not_asked(world: World):
    world.started()

    assert "[y/N]" not in world.cli("rollback", "support-bot", "--yes", terminal=True).err


def test_pin_sends_one_intent_back(world: World):
    world.started()

    assert world.cli("pin", "support-bot", "refund").code == 0
    assert world.cli("get", "support-bot", "-o", "json").json["pins"] == ["legal", "refund"]
    assert world.cli("pin", "support-bot", "refund").code == 5
    assert world.cli("pin", "support-bot", "nonsense").code == 5


def test_retire_needs_a_complete_rollout(world: World):
    world.started()
    assert world.cli("retire", "support-bot").code == 5

    world.cli("promote", "support-bot")
    world.cli("promote", "support-bot")

    assert phase(world) == "complete"
    assert world.cli("retire", "support-bot").out.startswith("support-bot/1 retired: retired")


def test_a_stale_expectation_is_refused(world: World):
    world.started()
    seq = world.cli("get", "support-bot", "-o", "json").json["seq"]
    world.cli("pause", "support-bot")

    stale = world.cli("rollback", "support-bot", "--expect", str(seq))

    assert stale.code == 5
    assert f"record {seq} was expected" in stale.err
    assert world.cli("rollback", "support-bot", "--expect", str(seq + 1)).code == 0


def test_the_actor_and_the_reason_are_kept(world: World):
    world.started()
    world.cli("pause", "support-bot", "--actor", "grace", "--reason", "deploy")

    (*_, last) = world.cli("history", "support-bot", "-o", "json").json["items"]

    assert (last["actor"], last["reason"], last["why"]) == ("grace", "deploy", ["“deploy”"])
    assert world.cli("history", "support-bot", "-o", "json").json["items"][0]["actor"] == "ada"


@pytest.mark.parametrize(
    "arguments",
    [
        ("pause",),
        ("resume", "--reason", "r"),
        ("promote",),
        ("approve",),
        ("rollback",),
        ("retry", "--reason", "r"),
        ("retire",),
        ("describe",),
        ("history",),
        ("replay",),
        ("watch",),
        ("get",),
    ],
)
def test_an_unknown_rollout_exits_4_with_similar_names(running: World, arguments: tuple[str, ...]):
    verb, *rest = arguments

    answer = running.cli(verb, "suport-bot", *rest)

    assert answer.code == 4
    assert "support-bot" in answer.err
    assert answer.out == ""
