"""`check`, `diff`, `explain`, `schema`, `apply`."""

from __future__ import annotations

import io

from ruamel.yaml import YAML

from tests.cli.world import PLAN, World

RETIRED = PLAN.replace("{model: gpt-4.1-mini}", "{model: gpt-4.1-mini, shutdown: 2026-08-01}")


def test_check_prints_findings_with_their_file(world: World):
    answer = world.cli("check", world.plan())

    assert answer.code == 0
    assert "plan.yaml: warning: spec.baseline.model" in answer.out
    assert "support-bot: 0 errors" in answer.out


def test_findings_are_one_line_in_a_pipe_and_break_between_words_in_a_terminal(world: World):
    piped = world.cli("check", world.plan()).out.splitlines()
    told = world.cli("check", world.plan(), COLUMNS="80").out.splitlines()

    # One word may be longer: the path of a folder that pytest named.
    assert max(len(line) for line in told if " " in line.strip()) <= 80 < max(map(len, piped))
    assert " ".join(line.strip() for line in told) == " ".join(piped)


def test_check_refuses_what_apply_would_refuse(world: World):
    answer = world.cli("check", world.plan(RETIRED))

    assert (answer.code, answer.out) == (2, "")
    assert "shut down on 2026-08-01" in answer.err


def test_the_documents_of_check_are_stable(world: World):
    (item,) = world.cli("check", world.plan(), "-o", "json").json["items"]

    assert set(item) == {"name", "file", "digest", "accepted", "findings", "feasibility"}
    assert item["accepted"] is True
    assert set(item["findings"][0]) == {"level", "code", "path", "message"}


def test_every_problem_of_every_file_is_told_at_its_place(world: World):
    first = world.plan(PLAN.replace("share: 50%", "share: 150%"), name="a.yaml")
    second = world.plan(PLAN.replace("hold: 1h", "hold: 1"), name="b.yaml")

    answer = world.cli("check", first, second)

    assert answer.code == 2
    assert f"{first}:13:" in answer.err
    assert f"{second}:13:" in answer.err
    assert answer.out == ""


def test_explain_and_schema_answer_on_stdout(world: World):
    assert "FIELD:      spec.steps.share" in world.cli("explain", "spec.steps.share").out
    assert world.cli("explain", "spec.stepz").code == 4
    assert world.cli("schema").json["$schema"]
    assert YAML(typ="safe").load(io.StringIO(world.cli("schema", "-o", "yaml").out))["$schema"]


def test_apply_starts_then_changes_nothing_then_amends(world: World):
    file = world.plan()

    assert world.cli("apply", "-f", file).out == "support-bot/1 started\n"
    assert world.cli("apply", "-f", file).out == "support-bot/1 unchanged\n"
    longer = world.plan(PLAN.replace("hold: 1h", "hold: 2h"))
    assert world.cli("apply", "-f", longer).out == "support-bot/1 amended\n"
    assert world.cli("get", "support-bot", "-o", "json").json["revision"] == 2


def test_apply_reads_stdin_directories_and_several_documents(world: World):
    other = PLAN.replace("support-bot", "sales-bot").replace(
        "spec:", "spec:\n  match: {model: sales}"
    )
    assert world.cli("apply", "-f", "-", stdin=f"{PLAN}---\n{other}").out.splitlines() == [
        "support-bot/1 started",
        "sales-bot/1 started",
    ]
    folder = world.folder / "plans"
    folder.mkdir()
    (folder / "one.yaml").write_text(PLAN)
    (folder / "two.yml").write_text(other)
    (folder / "notes.txt").write_text("not a plan")

    answer = world.cli("apply", "-f", str(folder))

    assert answer.out.splitlines() == ["support-bot/1 unchanged", "sales-bot/1 unchanged"]


def test_dry_run_says_what_would_happen_and_writes_nothing(world: World):
    answer = world.cli("apply", "-f", world.plan(), "--dry-run")
    assert answer.out == "support-bot/1 started (dry run)\n"
    assert not (world.folder / "canary.db").exists()

    world.cli("apply", "-f", world.plan())
    answer = world.cli("apply", "-f", world.plan(PLAN.replace("1h, min", "2h, min")), "--dry-run")

    assert "  - 1h\n  + 2h\n" in answer.out
    assert "support-bot/1 amended (dry run)" in answer.out
    assert world.cli("get", "support-bot", "-o", "json").json["seq"] == 1


def test_dry_run_says_what_would_be_refused(world: World):
    world.cli("apply", "-f", world.plan())
    other_unit = world.plan(PLAN.replace("unit: request", "unit: user"))

    rehearsed = world.cli("apply", "-f", other_unit, "--dry-run")
    applied = world.cli("apply", "-f", other_unit)

    assert (rehearsed.code, applied.code) == (5, 5)
    assert "unit was request" in rehearsed.err
    assert rehearsed.err == applied.err
    assert applied.out == "support-bot/1 refused\n"


def test_apply_refuses_a_plan_with_an_error_and_starts_nothing(world: World):
    good = PLAN.replace("support-bot", "good").replace("spec:", "spec:\n  match: {model: other}")
    answer = world.cli("apply", "-f", world.plan(RETIRED), "-f", world.plan(good, name="good.yaml"))

    assert answer.code == 2
    assert answer.out == ""
    assert not (world.folder / "canary.db").exists()


def test_overlapping_claims_are_refused_naming_the_other(world: World):
    world.cli("apply", "-f", world.plan())
    rival = world.plan(PLAN.replace("support-bot", "rival"), name="rival.yaml")

    answer = world.cli("apply", "-f", rival)

    assert answer.code == 5
    assert "support-bot/1, which is pending" in answer.err
    assert world.cli("apply", "-f", rival, "--dry-run").code == 5


def test_a_claim_is_free_again_after_a_rollback(world: World):
    world.cli("apply", "-f", world.plan())
    world.cli("rollback", "support-bot")
    rival = world.plan(PLAN.replace("support-bot", "rival"), name="rival.yaml")

    assert world.cli("apply", "-f", rival).code == 0


def test_the_applied_documents_are_stable(world: World):
    answer = world.cli("apply", "-f", world.plan(), "-o", "json")

    (item,) = answer.json["items"]
    assert answer.json["kind"] == "AppliedList"
    assert set(item) == {
        "rollout",
        "name",
        "file",
        "digest",
        "done",
        "dry_run",
        "refusal",
        "changes",
        "findings",
    }
    assert world.cli("apply", "-f", world.plan(), "-o", "name").out == "support-bot/1\n"


def test_diff_exits_1_only_where_something_differs(world: World):
    assert world.cli("diff", "-f", world.plan()).code == 1
    world.cli("apply", "-f", world.plan())
    assert world.cli("diff", "-f", world.plan()).code == 0

    changed = world.plan(PLAN.replace("above: 2%", "above: 3%"))
    answer = world.cli("diff", "-f", changed)

    assert answer.code == 1
    assert "spec.rules[escalation]" in answer.out
    assert "new epoch" in answer.out
    (item,) = world.cli("diff", "-f", changed, "-o", "json").json["items"]
    assert item["changes"][0]["path"] == "spec.rules[escalation]"
