"""`get`, `describe`, `history`, `watch`: what a person sees, and the documents that a program reads."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from ruamel.yaml import YAML

from controller.rollout.counting.sampling import is_drawn
from tests.cli.world import PLAN, Answer, World, requests

SUMMARY = {
    "rollout",
    "name",
    "attempt",
    "phase",
    "step",
    "steps",
    "share_bp",
    "verdict",
    "held_s",
    "hold_s",
    "in_force",
    "baseline",
    "candidate",
    "match_model",
    "pins",
    "paused",
    "approved",
    "revision",
    "plan_digest",
    "version",
    "seq",
    "hash",
    "started_at",
    "updated_at",
    "judged_at",
    "open_failures",
    "waits",
}
RULE = {
    "rule",
    "intent",
    "metric",
    "unit",
    "value",
    "limit",
    "usual",
    "fails",
    "samples",
    "window_s",
    "window_start",
    "window_end",
    "window_complete",
    "verdict",
    "observed",
    "confident",
    "evidence",
    "then",
    "arithmetic",
    "by_people",
    "needs",
}


def failing(world: World) -> World:
    """A rollout that was rolled back by its escalation rule."""
    world.started()
    world.feed(requests(world, per_arm=100, minutes=1, escalated=30))
    world.ticks(1)
    return world


def test_get_shows_where_each_rollout_stands(running: World):
    header, row = running.cli("get").out.splitlines()

    assert header.split() == [
        *("NAME", "ATTEMPT", "PHASE", "STEP", "SHARE", "VERDICT", "HELD", "AGE")
    ]
    assert row.split()[:6] == ["support-bot", "1", "progressing", "1/2", "50%", "insufficient"]


def test_get_wide_adds_models_revision_and_what_it_waits_for(running: World):
    out = running.cli("get", "-o", "wide").out

    assert "gpt-4.1 → gpt-4.1-mini" in out
    assert "verified" in out
    assert "hold: " in out


def test_get_of_nothing_says_how_to_start(world: World):
    world.cli("db", "upgrade")
    answer = world.cli("get")

    assert (answer.code, answer.out) == (0, "")
    assert "canaryctl apply" in answer.err
    assert world.cli("get", "-o", "json").json["items"] == []


def test_the_documents_of_get_are_stable(running: World):
    one = running.cli("get", "support-bot", "-o", "json").json
    many = running.cli("get", "-o", "json").json

    assert set(one) == {"apiVersion", "kind", *SUMMARY}
    assert (one["apiVersion"], one["kind"]) == ("canaryctl.dev/v1alpha1", "Rollout")
    assert many["kind"] == "RolloutList"
    assert many["items"] == [one]


@pytest.mark.parametrize("verb", ["get", "describe", "history"])
def test_yaml_says_the_same_as_json(running: World, verb: str):
    yaml = running.cli(verb, "support-bot", "-o", "yaml").out

    assert YAML(typ="safe").load(io.StringIO(yaml)) == (
        running.cli(verb, "support-bot", "-o", "json").json
    )


def test_a_rollout_that_nobody_judges_is_told_on_stderr(world: World):
    world.started()
    assert world.cli("get").err == ""

    world.clock.advance(timedelta(hours=2))

    assert "last judged 2h1m ago. Is `canaryctl run` up?" in world.cli("get").err
    assert "Is `canaryctl run` up?" in world.cli("describe", "support-bot").err


def test_no_line_of_describe_is_wider_than_the_terminal(world: World):
    failing(world)
    for columns in (80, 100, 120):
        out = world.cli("describe", "support-bot", COLUMNS=str(columns)).out
        assert max(map(len, out.splitlines())) <= columns


def test_describe_shows_each_rule_in_both_forms_with_its_arithmetic(world: World):
    out = failing(world).cli("describe", "support-bot", COLUMNS="120").out
    row = next(line for line in out.splitlines() if line.strip().startswith("escalation "))

    assert row.split() == [
        *("escalation", "all", "28.57%", "max", "2%", "105", "<30m", "fail"),
        *("insufficient", "fail"),
    ]
    assert "escalation_rate 28.57%" in out
    assert "Open failures\n  escalation failed at" in out
    assert "Undelivered notices\n  log: 3, the oldest start," in out
    assert "\n  slack:#llm-oncall: 3, the oldest start," in out


def test_describe_says_what_an_undecided_rule_still_needs(world: World):
    running = world.started()
    running.feed(requests(running, per_arm=40, minutes=1))
    running.ticks(2)

    out = running.cli("describe", "support-bot", COLUMNS="200").out
    document = running.cli("describe", "support-bot", "-o", "json").json

    by_rule = {one["rule"]: one["needs"] for one in document["rules"]}
    found = by_rule["accuracy"]
    assert found["proof"] == "pass"
    assert found["of"] == "blocks"
    assert found["observations"] > 0
    assert found["shadow_pairs"] > 0
    assert found["words"] in out
    assert 'to disprove "a loss of 1.5 pp or more" if it goes on as seen' in out
    assert by_rule["escalation"] is None  # goes by its window as written
    assert by_rule["latency"] is None  # goes by its window as written


def test_describe_says_what_the_step_waits_for(running: World):
    out = running.cli("describe", "support-bot").out

    assert "Waits for\n  • hold: " in out
    assert "• samples: " in out


def test_describe_shows_a_percentile_by_proof_in_requests_above_its_limit(world: World):
    world.started(
        PLAN.replace(
            "latency_p95_ratio, above: 1.25, window: 30m, minSamples: 50",
            "latency_p95, above: 2s, window: 24h, evidence: confident",
        )
    )
    world.feed(requests(world, per_arm=100, minutes=1, latency_us=3_000_000))
    world.ticks(1)

    out = " ".join(world.cli("describe", "support-bot", COLUMNS="120").out.split())

    # 100 of the candidate's 105: five came before, at 0.8 s. The interval: Wilson 1927.
    assert (
        "latency_p95 95.24% of requests (95% CI 89.33..97.95, Wilson) above 2s in 2026-09-01 12:00.."
    ) in out
    assert "100 of 105 candidate requests; e-value >10^6 ≥" in out
    assert 'against "at most 5% above 2s"' in out
    assert world.cli("replay", "support-bot").code == 0


WEIGH = "escalated and failed ones, wrong without a grade, weigh too"
SAMPLED = PLAN.replace("  traffic:", "  labels: {sampled: 30%}\n  traffic:")


def graded_part(world: World, text: str, part: float) -> World:
    """200 answers of each arm, of which so many have a grade."""
    world.started(text)
    sent = list(requests(world, per_arm=200, minutes=1))
    grades = [one for one in sent if one["kind"] == "outcome"]
    kept = {id(one) for n, one in enumerate(grades) if (n * part) % 1 < part}
    world.feed(one for one in sent if one["kind"] != "outcome" or id(one) in kept)
    world.ticks(1)
    return world


def test_describe_says_how_much_of_a_sample_is_graded(world: World):
    graded_part(world, SAMPLED, 0.3)

    out = " ".join(world.cli("describe", "support-bot", COLUMNS="200").out.split())
    found = world.cli("describe", "support-bot", "-o", "json").json["coverage"]

    assert (found["sampled"], found["counted"], found["straying"]) == (0.3, "answers", {})
    assert found["candidate"]["of"] == found["baseline"]["of"] == 200
    assert f"Graded: baseline {found['baseline']['graded']} of 200 answers, candidate " in out
    assert "labels.sampled 30%" in out


@pytest.mark.parametrize(
    ("text", "part", "words"),
    [
        (
            SAMPLED,
            0.8,
            f"more than the 30% of labels.sampled: {WEIGH} little",
        ),
        (
            SAMPLED,
            0.1,
            f"fewer than the 30% of labels.sampled: {WEIGH} much",
        ),
        (
            PLAN,
            0.5,
            f"fewer than the 100% of labels.sampled: {WEIGH} much",
        ),
    ],
    ids=["more", "fewer", "not told"],
)
def test_describe_says_where_another_part_is_graded_than_the_plan_says(
    world: World, text: str, part: float, words: str
):
    graded_part(world, text, part)

    out = " ".join(world.cli("describe", "support-bot", COLUMNS="200").out.split())
    found = world.cli("describe", "support-bot", "-o", "json").json["coverage"]

    assert "of the candidate's are graded, " + words in out
    assert found["words"].endswith(words)
    assert set(found["straying"]) == {"baseline", "candidate"}


def test_describe_says_nothing_of_coverage_where_every_answer_is_graded(running: World):
    assert "Graded:" not in running.cli("describe", "support-bot").out


def test_a_percentile_that_is_frozen_is_a_record_that_history_shows_and_replays(world: World):
    world.started(PLAN)
    world.feed(requests(world, per_arm=100, minutes=1))
    world.ticks(2)

    history = world.cli("history", "support-bot", COLUMNS="160").out

    assert "measure" in history
    # Of answers within a second; nobody is told of it
    assert "froze the baseline's p95 to compare with: latency_p95_ratio " in history
    assert "told once" not in history
    assert world.cli("replay", "support-bot").code == 0
    assert world.cli("audit", "verify").code == 0


def test_describe_shows_what_is_usual_and_an_accuracy_by_proof(world: World):
    rules = (
        "    - {name: jump, metric: error_rate, spike: {factor: 3}, window: 30m, minSamples: 50, then: pause}\n"
        "    - {name: right, metric: accuracy, below: 90%, window: 24h, evidence: confident, then: pause}\n"
    )
    world.started(PLAN.replace("  rules:\n", f"  rules:\n{rules}"))
    world.feed(requests(world, per_arm=100, minutes=1))
    world.ticks(1)

    out = " ".join(world.cli("describe", "support-bot", COLUMNS="160").out.split())
    document = world.cli("describe", "support-bot", "-o", "json").json

    jump, right = (
        next(one for one in document["rules"] if one["rule"] == name) for name in ("jump", "right")
    )
    assert "max 3 × 7d" in out
    assert "what is usual is not known yet" in out
    assert (jump["limit"], jump["usual"], jump["verdict"]) == (None, None, "insufficient")
    assert (right["limit"], right["usual"]) == (0.9, None)
    assert 'against "90% or less"' in out


EACH = PLAN.replace(
    "    - {name: legal, pin: baseline}",
    "    - {name: legal, pin: baseline}\n    - {name: order-status}",
).replace(
    "  notify: {slack",
    "    - {name: escalation-each, metric: escalation_rate, intents: each, above: 2%, window: 30m, then: notify}\n"
    "  notify: {slack",
)


def test_describe_names_what_failed_on_non_critical_intents_together(world: World):
    world.started(EACH)
    world.feed(
        {**one, "intent": "order-status"} if "intent" in one else one
        for one in requests(world, per_arm=100, minutes=1, escalated=30)
    )
    world.ticks(1)
    out = world.cli("describe", "support-bot", COLUMNS="120").out
    found = world.cli("describe", "support-bot", "-o", "json").json["discoveries"]

    # 30 of 100 against at most 2%: an e-process of some 10^20 over one planned start
    assert "1 of 1 failed, at a false discovery rate of 10% (e-BH); this stops nothing" in out
    assert "• escalation-each on order-status: e-value >10^6" in out
    assert (found["false_discovery_rate"], found["tests"]) == (0.1, 1)
    assert [(one["rule"], one["intent"]) for one in found["named"]] == [
        ("escalation-each", "order-status")
    ]


def test_describe_says_nothing_of_non_critical_intents_where_no_rule_judges_them(running: World):
    assert "Non-critical" not in running.cli("describe", "support-bot").out


def test_the_documents_of_describe_are_stable(world: World):
    document = failing(world).cli("describe", "support-bot", "-o", "json").json

    assert document["kind"] == "RolloutDescription"
    assert set(document) == {
        *("apiVersion", "kind", "coverage", "rules", "discoveries", "failures", "records"),
        *("deliveries", "undelivered"),
        *SUMMARY,
    }
    assert all(set(rule) == RULE for rule in document["rules"])
    assert document["rules"][0]["verdict"] == "fail"
    assert {one["rule"] for one in document["failures"]} >= {"escalation"}
    assert [one["action"] for one in document["records"]] == ["start", "advance", "rollback"]
    assert document["undelivered"][0]["attempts"] == 0


def test_a_pause_is_told_with_its_deadline(world: World):
    world.started()
    world.cli("pause", "support-bot")

    out = world.cli("describe", "support-bot").out
    document = world.cli("get", "support-bot", "-o", "json").json

    assert "rolls back at 2026-09-02 12:03Z, in 24h, unless resumed" in out
    assert document["paused"]["deadline"] == "2026-09-02T12:03:00+00:00"


def test_a_pause_whose_deadline_passed_without_a_controller_says_so(world: World):
    world.started()
    world.cli("pause", "support-bot")
    world.clock.advance(timedelta(hours=31))

    out = world.cli("describe", "support-bot").out

    assert "was to roll back at 2026-09-02 12:03Z, 7h ago: no controller has acted since" in out


def test_history_tells_each_change_with_its_arithmetic(world: World):
    out = failing(world).cli("history", "support-bot").out

    assert "50% → 0%" in out
    assert "escalation_rate 28.57%" in out
    assert world.cli("history", "support-bot", "--after", "2", "-o", "name").out == (
        "support-bot/1:3\n"
    )


def test_a_number_that_no_record_has_is_refused(world: World):
    answer = world.started().cli("history", "support-bot", "--after", "9" * 21)

    assert (answer.code, answer.out) == (2, "")
    assert "--after: found `99" in answer.err


def test_history_in_json_holds_the_whole_record(world: World):
    items = failing(world).cli("history", "support-bot", "-o", "json").json["items"]

    assert [one["seq"] for one in items] == [1, 2, 3]
    assert items[2]["record"]["prev"] == items[1]["hash"]
    assert items[2]["record"]["seen"]["readings"]


def test_colours_follow_the_terminal_and_the_environment(running: World):
    assert "\x1b[" not in running.cli("get").out
    assert "\x1b[" in running.cli("get", FORCE_COLOR="1").out
    assert "\x1b[" in running.cli("get", terminal=True).out
    assert "\x1b[3" not in running.cli("get", terminal=True, NO_COLOR="1").out
    assert "\x1b[3" not in running.cli("get", FORCE_COLOR="1", NO_COLOR="1").out


# watch


def watched(world: World, *arguments: str, then: dict[int, tuple[str, ...]]) -> Answer:
    """`watch`, with a command given by somebody else in the seconds named."""
    second = 0

    def wait(seconds: float) -> None:
        nonlocal second
        second += 1
        world.clock.advance(timedelta(seconds=seconds))
        if second in then:
            world.cli(*then[second])

    return world.cli("watch", "support-bot", *arguments, wait=wait)


def test_watch_prints_a_line_for_every_change_and_ends_with_the_rollout(world: World):
    world.started()

    answer = watched(
        world,
        then={3: ("pause", "support-bot"), 5: ("rollback", "support-bot", "--reason", "enough")},
    )

    assert answer.code == 3
    lines = [line for line in answer.out.splitlines() if "verdicts" not in line]
    assert [line.split("  ")[1].split(":")[0] for line in lines] == [
        "support-bot/1 start",
        "support-bot/1 advance",
        "support-bot/1 pause",
        "support-bot/1 rollback",
    ]
    assert lines[-1].endswith("50% → 0%; “enough”")


def test_watch_until_a_phase(world: World):
    world.started()

    assert watched(world, "--until", "paused", then={2: ("pause", "support-bot")}).code == 0
    assert watched(world, "--until", "complete", then={2: ("rollback", "support-bot")}).code == 3
    assert world.cli("watch", "support-bot", "--until", "rolled_back").code == 0


def test_watch_gives_up_in_time(world: World):
    world.started()

    assert world.cli("watch", "support-bot", "--timeout", "1m").code == 124


def test_watch_refuses_what_is_no_phase_or_time(world: World):
    world.started()

    no_phase = world.cli("watch", "support-bot", "--until", "done")
    no_time = world.cli("watch", "support-bot", "--timeout", "5")

    assert (no_phase.code, no_time.code) == (2, 2)
    assert "rolled_back" in no_phase.err
    assert "--timeout" in no_time.err


def test_watch_is_live_in_a_terminal(world: World):
    failing(world)

    answer = world.cli("watch", "support-bot", terminal=True, COLUMNS="100", TERM="xterm")

    assert answer.code == 3
    assert "░░░░" in answer.out
    assert "escalation_rate 28.57%" in answer.out


def test_a_plan_with_an_approval_says_so(world: World):
    world.started(PLAN.replace("minSamples: 20}", "minSamples: 20, approval: required}"))

    assert "approval required to leave it" in world.cli("describe", "support-bot").out
    assert "approval: `canaryctl approve support-bot`" in world.cli("describe", "support-bot").out


BY_PEOPLE = PLAN.replace(
    "  traffic:",
    "  labels: {judge: {model: gpt-5, sensitivity: 95%, specificity: 90%}, people: {share: 50%}}\n  traffic:",
)


def test_describe_shows_what_people_say_beside_the_judge_and_how_many_more_are_needed(
    world: World,
):
    running = world.started(BY_PEOPLE)
    sent = list(requests(running, per_arm=200, minutes=1))
    asked = [
        one
        for one in sent
        if one["kind"] == "outcome" and is_drawn("support-bot/1", str(one["observation"]), 500_000)
    ]
    running.feed(iter(sent))
    running.feed({**one, "id": f"p-{one['id']}", "source": "person"} for one in asked)
    running.ticks(2)

    out = " ".join(running.cli("describe", "support-bot", COLUMNS="200").out.split())
    document = running.cli("describe", "support-bot", "-o", "json").json

    by_rule = {one["rule"]: one for one in document["rules"]}
    found = by_rule["accuracy"]
    told = found["by_people"]
    assert told["baseline"]["graded"] + told["candidate"]["graded"] == len(asked)
    # Nobody looked at what was answered while the first step began.
    assert told["baseline"]["graded"] < told["baseline"]["drawn"]
    assert told["lower"] <= told["value"] <= told["upper"]
    assert 0 < told["judge_weight"] < 1
    assert found["needs"]["of"] == "people"
    assert "more grades by people" in found["needs"]["words"]
    assert "by people's grades 0 pp" in found["arithmetic"]
    assert f"graded by people {told['baseline']['graded']} of" in out
    assert by_rule["escalation"]["by_people"] is None
