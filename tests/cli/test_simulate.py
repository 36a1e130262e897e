"""`simulate` from the outside: few runs, every form of the answer, what is refused."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.cli.plan_text import plan_text
from tests.cli.world import World

ESCALATION = "name: escalation, metric: escalation_rate, above: 2%, window: 24h, evidence: confident, then: rollback"
SLOW = "name: slow, metric: latency_p95, above: 3s, window: 1h, then: pause"
ACCURACY = (
    "name: accuracy, metric: accuracy_delta, intents: critical, above: 3pp, window: 24h, "
    "evidence: confident, then: pause"
)
STEPS = ("share: 10%, hold: 3h", "share: 50%, hold: 1h, approval: required")
PLAN = plan_text(steps=STEPS, rules=(ESCALATION, SLOW))
FEW = ("--units-per-minute", "50", "--runs", "4")
TWO = ("--scenario", "healthy", "--scenario", "escalation=20%@1h")


def test_every_scenario_has_a_line_and_nothing_pretends_to_be_real(world: World):
    answer = world.cli("simulate", world.plan(PLAN), *FEW, *TWO)

    assert (answer.code, answer.err) == (0, "")
    for words in (
        "small, simulated",
        "4 simulated rollouts a scenario, seed 7, from 2026-09-01",
        "Nothing was sent anywhere.",
        "50 units a minute, 4 requests each on average (geometric), Poisson",
        "Not simulated: rule slow (latency_p95): give --latency P50,P95. It is left out of the runs, so it stops none;",
        "escalation=20%@1h: 20% of the candidate's answers escalate from 1h on. Stopped by escalation: 4.",
    ):
        assert words in answer.out
    lines = [line.split() for line in answer.out.splitlines()]
    healthy = next(line for line in lines if line[:2] == ["healthy", "100.0%"])
    assert healthy[2] == "(51.0..100.0)"  # Wilson, 4 of 4: 4 / (4 + 1.96²)
    assert ["escalation=20%@1h", "0.0%"] in [line[:2] for line in lines]


def test_json_holds_the_same_and_says_that_it_is_simulated(world: World):
    document = world.cli("simulate", world.plan(PLAN), *FEW, *TWO, "-o", "json").json

    assert (document["kind"], document["simulated"]) == ("Simulation", True)
    assert (document["runs"], document["seed"], document["start"]) == (4, 7, "2026-09-01")
    assert document["not_simulated"] == [{"rule": "slow", "metric": "latency_p95"}]
    healthy, worse = document["scenarios"]
    assert healthy["endings"]["completed"]["runs"] == 4
    assert healthy["until_stop_s"] is None
    # Holds of 3 h and 1 h, an hour for the approval, a minute each until the first share and after the approval
    assert healthy["until_completion_s"]["median"] == 5 * 3_600 + 120
    assert worse["endings"]["rolled_back"]["share"] == 1.0
    assert 0 < worse["since_it_went_wrong_s"]["median"] < 3_600
    assert worse["wrong_answers_served"]["median"] > 0


BILL = "name: spend, metric: cost_per_hour, above: 400 USD, window: 1h, then: pause"
WORSE = ("--scenario", "healthy", "--scenario", "slow=2x@1h", "--scenario", "cost=3x@1h")


def test_latencies_and_costs_are_simulated_where_they_are_told(world: World):
    of = world.plan(plan_text(steps=STEPS, rules=(ESCALATION, SLOW, BILL)))
    told = (*FEW, *WORSE, "--latency", "0.9s,2s", "--output-tokens", "2000")

    answer = world.cli("simulate", of, *told)

    assert (answer.code, answer.err) == (0, "")
    for words in (
        "(log-normal, median 0.9 s, p95 2 s).",
        "5,000 input and 2,000 output tokens on average; log-normal with a coefficient of variation of 1, whatever the "
        "grade.",
        "How long each takes, and what it costs, is its own.",
        "slow=2x@1h: the candidate's requests take 2 times as long from 1h on. Stopped by slow: 4.",
        "cost=3x@1h: the candidate's requests cost 3 times as much from 1h on.",
    ):
        assert words in " ".join(answer.out.split())
    assert "Not simulated" not in answer.out

    document = world.cli("simulate", of, *told, "-o", "json").json
    assert document["not_simulated"] == []
    assert {(one["arm"], one["of"]) for one in document["latencies"]} == {
        ("baseline", "latency"),
        ("candidate", "latency"),
    }
    assert (document["input_tokens"], document["output_tokens"]) == (5_000, 2_000)
    assert document["cost_cv"] == 1.0
    assert set(document["request_usd"]) == {"baseline", "candidate"}
    healthy, slow, _ = document["scenarios"]
    assert healthy["endings"]["completed"]["runs"] == 4
    assert slow["stopped_by"] == {"slow": 4}
    assert 0 < slow["since_it_went_wrong_s"]["median"] <= 3_600


def test_a_scenario_about_what_nobody_has_told_is_refused(world: World):
    answer = world.cli("simulate", world.plan(PLAN), *FEW, "--scenario", "slow=2x")

    assert answer.code == 2
    assert "--scenario slow=2x: no latencies are known; give --latency P50,P95" in answer.err


BY_PEOPLE = plan_text(steps=STEPS, rules=(ACCURACY,)).replace(
    "horizon: 7d}",
    "horizon: 7d, judge: {model: gpt-5, sensitivity: 95%, specificity: 90%}, people: {share: 20%}}",
)


def test_who_grades_beside_a_judge_is_told(world: World):
    asked = ("--scenario", "healthy", "--scenario", "loss=6pp+judge-favours=6pp")
    answer = world.cli("simulate", world.plan(BY_PEOPLE), *FEW, *asked, COLUMNS="200")
    document = world.cli("simulate", world.plan(BY_PEOPLE), *FEW, *asked, "-o", "json").json
    plain = world.cli("simulate", world.plan(PLAN), "--runs", "1", *FEW[:2], "-o", "json").json

    assert (answer.code, answer.err) == (0, "")
    assert (
        "Grades: the judge's, which calls 95% of right answers right and 90% of wrong ones wrong where a scenario says "
        "nothing else, and people's of 20% of the conversations, who are right."
    ) in " ".join(answer.out.split())
    assert "the judge favours the candidate" in answer.out
    assert (document["people_share"], plain["people_share"]) == (0.2, None)
    healthy, favoured = (one["endings"] for one in document["scenarios"])
    assert healthy["completed"]["runs"] == 4
    assert favoured["paused"]["runs"] > 0


def test_the_same_seed_gives_the_same_answer_and_another_one_does_not(world: World):
    def document(seed: str):
        options = (*FEW, *TWO, "--seed", seed, "-o", "json")
        return world.cli("simulate", world.plan(PLAN), *options).json["scenarios"]

    assert document("3") == document("3")
    assert document("3") != document("4")


def test_units_a_day_are_units_a_minute(world: World):
    options = ("--runs", "2", "-o", "json", "--intent-share", "refund=20%")

    by_day = world.cli("simulate", world.plan(PLAN), *options, "--units-per-day", "72000").json
    by_minute = world.cli("simulate", world.plan(PLAN), *options, "--units-per-minute", "50").json

    assert by_day == by_minute
    assert by_day["intents"] == {
        "refund": 0.2,
        "other": pytest.approx(0.4),
        "legal": pytest.approx(0.4),
    }


def test_conversations_have_as_many_requests_as_was_said(world: World):
    def candidate_requests(*more: str) -> tuple[float, float]:
        options = (*FEW, "--scenario", "escalation=20%", *more, "-o", "json")
        document = world.cli("simulate", world.plan(PLAN), *options).json
        (scenario,) = document["scenarios"]
        assert scenario["endings"]["rolled_back"]["runs"] == 4
        return document["requests_per_unit"], scenario["candidate_requests"]["median"]

    usual, one = candidate_requests(), candidate_requests("--requests-per-unit", "1")

    assert (usual[0], one[0]) == (4.0, 1.0)
    # Proofs count conversations: as many of them are needed, so four times as many requests.
    assert 2 < usual[1] / one[1] < 8


def test_a_plan_that_assigns_requests_has_one_for_each_unit(world: World):
    of_requests = plan_text(steps=STEPS, rules=(ESCALATION,), unit="request")

    answer = world.cli("simulate", world.plan(of_requests), *FEW)
    refused = world.cli("simulate", world.plan(of_requests), *FEW, "--requests-per-unit", "4")

    assert "50 units a minute, one request each, Poisson" in answer.out
    assert refused.code == 2
    assert "--requests-per-unit 4: the plan's unit is a request, which is one." in refused.err


def test_a_rollout_that_goes_on_without_an_intent_says_so(world: World):
    pinning = (
        "name: pins, metric: escalation_rate, above: 2%, intents: [other], window: 24h, "
        "evidence: confident, then: pin"
    )
    of = world.plan(plan_text(steps=STEPS, rules=(pinning,)))
    wrong = (*FEW, "--scenario", "escalation=20%@1h")

    (scenario,) = world.cli("simulate", of, *wrong, "-o", "json").json["scenarios"]
    check = ("check", of, *FEW, "--catch", "escalation=20%")
    (checked,) = world.cli(*check, "-o", "json").json["items"]
    _, found = checked["feasibility"]["simulated"]["scenarios"]

    assert scenario["pinned"][0]["intent"] == found["pinned"][0]["intent"] == "other"
    assert scenario["pinned"][0]["runs"] == found["pinned"][0]["runs"] == 4
    # More than the hour before it went wrong, and not much more: ten times the limit.
    assert 3600 < scenario["pinned"][0]["after_s"]["p90"] < 3 * 3600
    assert "other pinned in 4 runs, after " in world.cli("simulate", of, *wrong).out
    assert "other pinned in 4 runs, after " in world.cli(*check).out


def test_a_sample_of_the_answers_of_conversations_says_how_many_of_these_have_a_grade(world: World):
    of = world.plan(plan_text(steps=STEPS, rules=(ACCURACY,)))
    some = (*FEW, "--label-rate", "20%")
    # 0.2 × 4 / (1 + 3 × 0.2)
    told = "Each is graded or not for itself, so 50% of the units have a grade."

    assert told in " ".join(world.cli("simulate", of, *some).out.split())
    assert told in " ".join(world.cli("check", of, *some).out.split())
    assert "for itself" not in " ".join(world.cli("simulate", of, *FEW).out.split())


def test_late_labels_say_how_many_are_too_late_and_that_looks_are_hourly(world: World):
    late = (*FEW, "--scenario", "escalation=20%@1h+late-labels=30m,2h")

    graded = world.plan(plan_text(steps=STEPS, rules=(ESCALATION, ACCURACY)))

    answer = world.cli("simulate", graded, *late)
    (scenario,) = world.cli("simulate", graded, *late, "-o", "json").json["scenarios"]

    assert "are looked at every hour" in answer.out
    assert "half of the labels come within 30m and 90% within 2h (log-normal)" in answer.out
    # ln(1h / 30m) / ln(2h / 30m) × 1.2816 = 0.6408 standard deviations, beyond which lie 26.1%
    assert scenario["late_labels"]["after_delay"] == pytest.approx(0.2608, abs=5e-4)
    assert "26.1% after labels.delay (1h)" in " ".join(answer.out.split())
    assert scenario["endings"]["rolled_back"]["runs"] == 4


def test_labels_that_no_rule_reads_are_not_late_for_any(world: World):
    answer = world.cli("simulate", world.plan(PLAN), *FEW, "--scenario", "late-labels")

    assert answer.code == 0
    assert "are looked at every hour" not in answer.out


def test_the_order_of_the_parts_of_a_scenario_does_not_matter(world: World):
    def document(scenario: str):
        options = (*FEW, "--scenario", scenario, "-o", "json")
        return world.cli("simulate", world.plan(PLAN), *options).json

    assert document("escalation=4%@1h+judge-noise") == document("judge-noise+escalation=4%@1h")


def test_a_picture_is_drawn_where_it_was_asked_for(world: World):
    file = world.folder / "fan.svg"

    answer = world.cli("simulate", world.plan(PLAN), *FEW, *TWO, "--picture", str(file))

    assert (answer.code, answer.err) == (0, f"picture: {file}\n")
    root = ElementTree.parse(file).getroot()
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "small, simulated"
    assert math.isfinite(float(root.attrib["width"]))


def test_a_picture_may_be_a_png(world: World):
    file = world.folder / "fan.PNG"

    answer = world.cli("simulate", world.plan(PLAN), *FEW, *TWO, "--picture", str(file))

    assert (answer.code, answer.err) == (0, f"picture: {file}\n")
    with Image.open(file) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width > 2 * 1_000


def test_at_a_terminal_progress_is_shown_beside_the_answer(world: World):
    answer = world.cli("simulate", world.plan(PLAN), *FEW, terminal=True)

    assert answer.code == 0
    assert "small, simulated" in answer.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--units-per-day, --units-per-minute: found neither; wanted one"),
        ((*FEW, "--units-per-day", "9"), "found both; wanted one"),
        (
            (*FEW, "--scenario", "los=3pp"),
            "no such scenario (did you mean `loss`?). Known: healthy",
        ),
        ((*FEW, "--scenario", "loss=3"), "wanted loss=3pp[@24h]."),
        ((*FEW, "--scenario", "loss=3pp+drift"), "both say how much less often"),
        ((*FEW, "--intent-share", "refund"), "wanted NAME=PERCENT, such as refund=20%."),
        ((*FEW, "--intent-share", "refund=1"), "--intent-share refund=1: "),
        (
            (*FEW, "--intent-share", "refund=1%", "--intent-share", "refund=2%"),
            "refund has a part already; give it once.",
        ),
        ((*FEW, "--accuracy", "0.95"), "--accuracy: "),
        ((*FEW, "--latency", "3s,1s"), "--latency 3s,1s: the median must be above 0 and below"),
        ((*FEW, "--scenario", "cost=half"), "wanted cost=1.5x[@24h]."),
        (
            (*FEW, "--latency", "1s,2s", "--scenario", "slow=1000x"),
            "above 1 and up to 100, such as 2x",
        ),
        (
            (*FEW, "--scenario", "loss=3pp@30d", "--max-days", "30"),
            "--scenario loss=3pp@30d: it begins after 30d, and runs are given up after 30 days. Begin it sooner, or "
            "raise --max-days.",
        ),
        (
            (*FEW, "--scenario", "escalation=9%@2d+loss=3pp@61d"),
            "it begins after 61d, and runs are given up after 60 days.",
        ),
        ((*FEW, "--approve-after", "soon"), "--approve-after: "),
        ((*FEW, "--picture", "fan.pdf"), "found .pdf; wanted a name in .svg or .png."),
        ((*FEW, "--picture", "nowhere/fan.svg"), "there is no folder nowhere; make it first."),
    ],
)
def test_input_that_cannot_be_used_exits_with_2_and_says_why(world: World, options, message: str):
    answer = world.cli("simulate", world.plan(PLAN), *options)

    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_a_plan_without_a_rule_that_can_be_simulated_is_refused_with_what_would_help(world: World):
    cached = "name: cached, metric: cache_hit_rate, below: 20%, window: 1h, then: pause"
    slow = plan_text(steps=STEPS, rules=(SLOW, cached))

    answer = world.cli("simulate", world.plan(slow), *FEW)

    assert answer.code == 2
    assert (
        "small: nothing to simulate. Rules found: slow (latency_p95): give --latency P50,P95; cached (cache_hit_rate). "
        "Wanted one on accuracy, accuracy_delta,"
    ) in answer.err


def test_several_plans_in_one_file_are_refused(world: World):
    other = PLAN.replace("name: small", "name: other").replace("gpt-4.1}", "gpt-4o}")

    answer = world.cli("simulate", world.plan(f"{PLAN}---\n{other}"), *FEW)

    assert answer.code == 2
    assert "found 2 plans (small, other); wanted a file with one." in answer.err
