"""`simulate` from the outside: few runs, every form of the answer, what is refused."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from tests.cli.world import World

PLAN = """\
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {name: small}
spec:
  baseline: {model: gpt-4.1}
  candidate: {model: gpt-4.1-mini}
  assignment: {unit: conversation}
  intents: [{name: refund, critical: true}, {name: other}, {name: legal, pin: baseline}]
  labels: {delay: 1h, horizon: 7d}
  traffic: {gateway: {}}
  steps:
    - {share: 10%, hold: 3h}
    - {share: 50%, hold: 1h, approval: required}
  rules:
    - {name: escalation, metric: escalation_rate, above: 2%, window: 24h, evidence: confident, then: rollback}
    - {name: slow, metric: latency_p95, above: 3s, window: 1h, then: pause}
"""
FEW = ("--units-per-minute", "50", "--runs", "4")
TWO = ("--scenario", "healthy", "--scenario", "escalation=20%@1h")


def test_every_scenario_has_a_line_and_nothing_pretends_to_be_real(world: World):
    answer = world.cli("simulate", world.plan(PLAN), *FEW, *TWO)

    assert (answer.code, answer.err) == (0, "")
    for words in (
        "small, simulated",
        "4 simulated rollouts a scenario, seed 7, from 2026-09-01",
        "Nothing was sent anywhere.",
        "50 units a minute, one request each",
        "Not simulated: rule slow (latency_p95). It is left out of the runs, so it stops none.",
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


def test_a_picture_is_drawn_where_it_was_asked_for(world: World):
    file = world.folder / "fan.svg"

    answer = world.cli("simulate", world.plan(PLAN), *FEW, *TWO, "--picture", str(file))

    assert (answer.code, answer.err) == (0, f"picture: {file}\n")
    root = ElementTree.parse(file).getroot()
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "small, simulated"
    assert math.isfinite(float(root.attrib["width"]))


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
        ((*FEW, "--intent-share", "refund"), "wanted NAME=PERCENT, such as refund=20%."),
        ((*FEW, "--intent-share", "refund=1"), "--intent-share refund=1: "),
        (
            (*FEW, "--intent-share", "refund=1%", "--intent-share", "refund=2%"),
            "refund has a part already; give it once.",
        ),
        ((*FEW, "--accuracy", "0.95"), "--accuracy: "),
        ((*FEW, "--approve-after", "soon"), "--approve-after: "),
        ((*FEW, "--picture", "fan.png"), "--picture fan.png: found .png; wanted a name in .svg."),
        ((*FEW, "--picture", "nowhere/fan.svg"), "there is no folder nowhere; make it first."),
    ],
)
def test_input_that_cannot_be_used_exits_with_2_and_says_why(world: World, options, message: str):
    answer = world.cli("simulate", world.plan(PLAN), *options)

    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_a_plan_without_a_rule_that_can_be_simulated_is_refused(world: World):
    slow = "\n".join(line for line in PLAN.splitlines() if "escalation" not in line)

    answer = world.cli("simulate", world.plan(f"{slow}\n"), *FEW)

    assert answer.code == 2
    assert "small: nothing to simulate. Rules found: slow (latency_p95)" in answer.err


def test_several_plans_in_one_file_are_refused(world: World):
    other = PLAN.replace("name: small", "name: other").replace("gpt-4.1}", "gpt-4o}")

    answer = world.cli("simulate", world.plan(f"{PLAN}---\n{other}"), *FEW)

    assert answer.code == 2
    assert "found 2 plans (small, other); wanted a file with one." in answer.err
