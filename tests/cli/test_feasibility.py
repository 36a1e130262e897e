"""`check` with traffic, from the outside: what it reports, warns about and refuses."""

from __future__ import annotations

import io

import pytest
from ruamel.yaml import YAML

from tests.cli.plan_text import plan_text
from tests.cli.world import World, requests
from tests.plans.factories import DESIGN

SHIPPED = DESIGN.read_text(encoding="utf-8")
SINGLE = ("--requests-per-unit", "1", "--runs", "0")
FEW = ("--units-per-day", "5000", "--intent-share", "refund=20%", *SINGLE)
MANY = ("--units-per-minute", "50", "--intent-share", "refund=20%", *SINGLE)


def codes(answer) -> set[str]:
    (item,) = answer.json["items"]
    return {one["code"] for one in item["findings"]}


def test_without_traffic_it_says_how_to_ask_for_it(world: World):
    answer = world.cli("check", world.plan(SHIPPED))

    assert answer.code == 0
    assert "ask with `canaryctl check PLAN --units-per-day N" in answer.out
    assert "can it decide?" not in answer.out
    (item,) = world.cli("check", world.plan(SHIPPED), "-o", "json").json["items"]
    assert item["feasibility"] is None


def test_with_traffic_every_rule_and_proof_is_reported_by_step(world: World):
    answer = world.cli("check", world.plan(SHIPPED), *MANY)

    assert (answer.code, answer.err) == (0, "")
    assert "traffic-not-told" not in answer.out
    for words in (
        "support-bot: can it decide?",
        "50 units a minute, one request each, Poisson; refund 20%, order-status 40%, legal 40%.",
        "step 1: 10% for 72h",
        "step 4: 99%, then 7d of bake",
    ):
        assert words in answer.out
    rows = [line.split() for line in answer.out.splitlines()]
    # 72 h × 60 × 50 units × 20% × 10%, and the nine tenths of the baseline
    # At most its third of the plan's 5% stops a healthy one
    assert ["accuracy/refund", "72h", "4,320", "+", "38,880", "<=1.7%", "3", "pp"] in [
        row[:8] for row in rows
    ]


def test_what_cannot_be_decided_is_warned_about_with_numbers_and_does_not_fail(world: World):
    answer = world.cli("check", world.plan(SHIPPED), *FEW)

    assert answer.code == 0
    assert (
        "warning: spec.steps[2].hold: accuracy: leaving 50% asks for proof, and hold 24h gives"
        in (answer.out)
    )
    assert "shadow pairs [cannot-be-proven-in-time]" in answer.out
    assert "cannot-be-proven-in-time" not in codes(
        world.cli("check", world.plan(SHIPPED), *MANY, "-o", "json")
    )


def test_the_document_holds_the_same(world: World):
    (item,) = world.cli("check", world.plan(SHIPPED), *FEW, "-o", "json").json["items"]
    found = item["feasibility"]

    assert found["units_per_minute"] == pytest.approx(5_000 / 1_440)
    first = found["rules"][0]
    assert (first["step"], first["rule"], first["intent"]) == (1, "accuracy", "refund")
    assert first["candidate_samples"] == pytest.approx(5_000 * 3 * 0.2 * 0.1)
    assert first["catches"][0]["size"] == pytest.approx(0.03)
    assert [one["step"] for one in found["proofs"]] == [1, 2, 3]
    assert [one["asked"] for one in found["proofs"]] == [False, False, True]
    assert {one["code"] for one in found["suggestions"]} <= codes(
        world.cli("check", world.plan(SHIPPED), *FEW, "-o", "json")
    )


def test_yaml_holds_the_same_as_json(world: World):
    as_yaml = world.cli("check", world.plan(SMALL), *BUSY, "-o", "yaml").out
    as_json = world.cli("check", world.plan(SMALL), *BUSY, "-o", "json").json

    assert YAML(typ="safe").load(io.StringIO(as_yaml)) == as_json


def test_pairs_that_are_suggested_take_the_warning_away(world: World):
    (item,) = world.cli("check", world.plan(SHIPPED), *FEW, "-o", "json").json["items"]
    wanted = max(one["shadow_pairs_needed"] for one in item["feasibility"]["proofs"])

    answer = world.cli(
        "check", world.plan(SHIPPED), *FEW, "--pairs", str(int(1.1 * wanted)), "-o", "json"
    )

    assert "cannot-be-proven-in-time" not in codes(answer)


def test_regressions_can_be_stated(world: World):
    stated = ("--catch", "loss=5pp", "--catch", "loss=10pp", "--catch", "error=4%")

    (item,) = world.cli("check", world.plan(SHIPPED), *FEW, *stated, "-o", "json").json["items"]

    rules = [one for one in item["feasibility"]["rules"] if one["step"] == 1]
    sizes = {one["rule"]: [catch["size"] for catch in one["catches"]] for one in rules}
    assert sizes["accuracy"] == pytest.approx([0.05, 0.1])
    assert sizes["escalation"] == pytest.approx(
        [0.055]
    )  # failed calls escalate, beside the usual 1.5%
    assert sizes["latency"] == pytest.approx([1.875])  # one and a half times the limit


SMALL = plan_text(
    steps=("share: 10%, hold: 3h", "share: 50%, hold: 1h"),
    rules=(
        "name: escalation, metric: escalation_rate, above: 2%, window: 1h, minSamples: 50, then: rollback",
        "name: slow, metric: latency_p95, above: 3s, window: 1h, minSamples: 50, then: pause",
    ),
)
BUSY = ("--units-per-minute", "50", "--requests-per-unit", "1", "--runs", "6", "--processes", "1")


def test_simulated_rollouts_say_what_all_rules_together_do(world: World):
    answer = world.cli("check", world.plan(SMALL), *BUSY, "--catch", "escalation=20%")

    assert answer.code == 0
    assert "Simulated: 6 rollouts each, seed 7, at most 2 days" in answer.out
    assert "not simulated: slow (latency_p95)" in answer.out
    rows = {line.split()[0]: line.split() for line in answer.out.splitlines() if line}
    assert rows["escalation=20%"][3:5] == ["100%", "(61..100)"]  # Wilson, 6 of 6: 6 / (6 + 1.96²)
    # 1.5% of escalations pass 2% in some window of 300 requests nearly always
    assert "escalation: by itself it stops " in answer.out
    assert answer.out.count("[healthy-stopped]") == 1


def test_the_simulated_part_of_the_document_is_seeded(world: World):
    def simulated(*options: str):
        (item,) = world.cli("check", world.plan(SMALL), *BUSY, *options, "-o", "json").json["items"]
        return item["feasibility"]["simulated"]

    found = simulated()

    assert found == simulated()
    assert (found["runs"], found["seed"]) == (6, 7)
    assert [one["scenario"] for one in found["scenarios"]] == ["healthy", "escalation=3%"]
    stopped = sum(one["runs"] for one in found["healthy_stops"])
    assert stopped == found["scenarios"][0]["stopped"]["runs"]
    assert {one["step"] for one in found["healthy_stops"]} <= {1, 2}
    assert simulated("--runs", "0") is None


def test_the_cost_is_that_of_the_planned_time(world: World):
    options = (*FEW, "--input-tokens", "1000", "--output-tokens", "100", "--escalation", "0%")

    (item,) = world.cli("check", world.plan(SMALL), *options, "-o", "json").json["items"]
    cost = item["feasibility"]["cost"]

    # 4 h of 5,000 a day; 1,000 and 100 tokens at 2 and 8 USD a million, and at 0.40 and 1.60
    assert cost["requests"] == pytest.approx(5_000 / 6)
    assert cost["baseline_usd"] == pytest.approx(5_000 / 6 * 0.0028)
    assert cost["shadow_pair_usd"] == pytest.approx(0.00056)
    # 20% of refund and 40% of other move, a tenth of them for 3 h and half of them for one
    saved = 5_000 / 24 * 0.6 * (3 * 0.1 + 1 * 0.5) * (0.0028 - 0.00056)
    assert cost["baseline_usd"] - cost["rollout_usd"] == pytest.approx(saved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--intent-share", "refund=20%"), "--units-per-day, --units-per-minute: found neither"),
        (("--pairs", "600"), "found neither; wanted one"),
        ((*FEW, "--units-per-minute", "9"), "found both; wanted one"),
        ((*FEW, "--catch", "healthy"), "wanted one of loss=3pp, escalation=5%, error=2%"),
        ((*FEW, "--catch", "loss=3pp@24h"), "without a beginning"),
        ((*FEW, "--catch", "loss=3pp+judge-noise"), "wanted one of loss=3pp"),
        ((*FEW, "--catch", "loss=3"), "--catch loss=3: "),
        ((*FEW, "--intent-share", "refunds=2%"), "did you mean `refund`"),
        ((*FEW, "--catch", "slow=half"), "--catch slow=half: wanted how many times"),
        ((*FEW, "--catch", "slow=1x"), "--catch slow=1x: wanted how many times"),
        ((*FEW, "--catch", "cost=30%"), "--catch cost=30%: wanted how many times the usual cost"),
        ((*FEW, "--catch", "cheap=2x"), "error=2%, slow=2x, cost=1.3x, without a beginning"),
        ((*FEW, "--latency", "3s"), "--latency 3s: wanted P50,P95"),
        ((*FEW, "--latency", "3s,1s"), "the median must be above 0 and below the 95% quantile"),
        ((*FEW, "--ttft", "300,900"), "--ttft: "),
        ((*FEW, "--latency", "1ms,1h"), "--latency 1ms,1h: the 95% quantile is 3,600,000 times"),
        ((*FEW, "--ttft", "20h,30h"), "--ttft 20h,30h: wanted at most 24h"),
        ((*FEW, "--catch", "slow=101x"), "--catch slow=101x: wanted how many times as slow"),
        ((*FEW, "--catch", "cost=1e9x"), "--catch cost=1e9x: wanted how many times the usual"),
        ((*FEW, "--catch", "loss=0pp"), "a loss of 0 pp is none; wanted loss=3pp."),
        ((*FEW, "--history"), "--history: There is no database"),
    ],
)
def test_options_that_cannot_be_used_are_refused(world: World, options, message):
    answer = world.cli("check", world.plan(SHIPPED), *options)

    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


@pytest.mark.parametrize("option", ["--pairs", "--input-tokens", "--output-tokens"])
def test_numbers_beyond_all_sums_are_refused_by_their_option(world: World, option: str):
    answer = world.cli("check", world.plan(SHIPPED), *FEW, option, "9" * 400)

    assert (answer.code, answer.out) == (2, "")
    assert f"{option}: found `99" in answer.err


SAMPLED = SHIPPED.replace("horizon: 7d}", "horizon: 7d, sampled: 30%}")


@pytest.mark.parametrize(
    ("text", "options", "rate", "told"),
    [
        (SAMPLED, (), 0.3, False),
        (SAMPLED, ("--label-rate", "30%"), 0.3, False),
        (SAMPLED, ("--label-rate", "100%"), 1.0, True),
        (SHIPPED, (), 1.0, False),
        (SHIPPED, ("--label-rate", "30%"), 0.3, True),
    ],
    ids=["the plan's", "the same", "more", "all", "fewer"],
)
def test_the_sampled_part_is_the_label_rate_and_another_one_is_warned_about(
    world: World, text: str, options, rate: float, told: bool
):
    answer = world.cli("check", world.plan(text), *MANY, *options, "-o", "json")

    (item,) = answer.json["items"]
    assert item["feasibility"]["label_rate"] == rate
    assert ("biased-labels" in codes(answer)) is told


def test_the_sampled_part_that_is_suggested_takes_the_warning_away(world: World):
    few = ("--label-rate", "12.5%")
    answer = world.cli("check", world.plan(SHIPPED), *MANY, *few, "-o", "json")
    (item,) = answer.json["items"]
    (used,) = [one for one in item["feasibility"]["suggestions"] if one["code"] == "biased-labels"]

    assert used["use"][0] == "`labels: {sampled: 12.5%}`"
    changed = SHIPPED.replace("horizon: 7d}", "horizon: 7d, sampled: 12.5%}")
    again = world.cli("check", world.plan(changed), *MANY, *few, "-o", "json")
    assert "biased-labels" not in codes(again)


JUDGED = "horizon: 7d, judge: {model: gpt-5, sensitivity: 95%, specificity: 90%}"
BY_PEOPLE = SHIPPED.replace("horizon: 7d}", f"{JUDGED}, people: {{share: 5%}}}}")


def test_how_many_people_would_have_to_grade_is_told(world: World):
    answer = world.cli("check", world.plan(BY_PEOPLE), *MANY, "-o", "json")
    (item,) = answer.json["items"]
    proofs = item["feasibility"]["proofs"]

    assert all(one["by_people"] and one["shadow_pairs_needed"] is None for one in proofs)
    (asked,) = [one for one in proofs if one["asked"]]
    assert 0 < asked["labels"] < asked["labels_needed"]["median"] < asked["labels_needed"]["p90"]
    assert "cannot-be-proven-in-time" in codes(answer)
    assert "labels on refund" not in answer.err
    plain = world.cli("check", world.plan(SHIPPED), *MANY, "-o", "json")
    (item,) = plain.json["items"]
    assert not any(one["by_people"] for one in item["feasibility"]["proofs"])


def test_whose_grades_catch_a_loss_is_told(world: World):
    """A judge that sees 40% of a loss does not see one of 3 points over the limit of 1.5; people do."""
    rough = BY_PEOPLE.replace("share: 5%", "share: 50%").replace(
        JUDGED, "horizon: 7d, judge: {model: gpt-5, sensitivity: 70%, specificity: 70%}"
    )
    answer = world.cli("check", world.plan(rough), *MANY)

    of_loss = [line for line in answer.out.splitlines() if line.startswith("accuracy/refund")]
    assert of_loss
    assert of_loss[0].split("3 pp")[1].count("by people") == 1
    assert "of right answers it calls 70% right" in " ".join(answer.out.split())
    (item,) = world.cli("check", world.plan(rough), *MANY, "-o", "json").json["items"]
    catches = {
        (one["rule"], one["step"]): one["catches"][0] for one in item["feasibility"]["rules"]
    }
    assert catches["accuracy", 1]["by_people"]
    assert not catches["escalation", 1]["by_people"]
    # The judge alone never does: what it shows of such a loss lies within the limit, but for what is escalated.
    alone = (world.plan(rough.replace(", people: {share: 50%}", "")), "--escalation", "0.1%")
    (item,) = world.cli("check", *alone, *MANY, "-o", "json").json["items"]
    assert item["feasibility"]["rules"][0]["catches"][0]["probability"] == 0


def test_the_share_of_people_that_is_suggested_takes_the_warning_away(world: World):
    few = BY_PEOPLE.replace("above: 1.5pp", "above: 2.5pp")
    answer = world.cli("check", world.plan(few), *MANY, "-o", "json")
    (item,) = answer.json["items"]
    (used,) = [
        one
        for one in item["feasibility"]["suggestions"]
        if one["code"] == "cannot-be-proven-in-time"
    ]
    (share,) = [text for text in used["use"] if "labels.people" in text]
    part = share.split("share: ")[1].split("}")[0]

    changed = few.replace("share: 5%}", f"share: {part}}}")
    again = world.cli("check", world.plan(changed), *MANY, "-o", "json")

    assert "cannot-be-proven-in-time" in codes(answer)
    assert "cannot-be-proven-in-time" not in codes(again)


def test_a_plan_whose_answers_people_grade_is_simulated_with_them(world: World):
    asked = (*MANY[:-1], "2")
    out = " ".join(world.cli("check", world.plan(BY_PEOPLE), *asked, COLUMNS="200").out.split())

    assert "People grade 5% of the conversations beside the judge" in out
    assert "Simulated: 2 rollouts each" in out


# Conversations


def test_a_conversation_has_four_requests_where_nobody_says_otherwise(world: World):
    options = ("--units-per-day", "5000", "--intent-share", "refund=20%", "--runs", "0")

    (item,) = world.cli("check", world.plan(SHIPPED), *options, "-o", "json").json["items"]
    found = item["feasibility"]

    assert found["requests_per_unit"] == 4
    loss, rate = found["rules"][:2]
    # 5,000 a day, of which 20% are refund for three days, and 60% are compared for one; a tenth to the candidate
    assert loss["candidate_samples"] == loss["candidate_in_proof"] == pytest.approx(300)
    assert rate["candidate_samples"] == pytest.approx(4 * 300)
    assert rate["candidate_in_proof"] == pytest.approx(300)
    answer = world.cli("check", world.plan(SHIPPED), *options)
    assert "4 requests each on average (geometric)" in answer.out
    assert "1,200 (300)" in answer.out


# Latencies


def test_without_latencies_it_says_how_to_tell_them(world: World):
    answer = world.cli("check", world.plan(SHIPPED), *MANY)

    assert "latency: no latencies known: give --latency P50,P95" in " ".join(answer.out.split())
    (item,) = world.cli("check", world.plan(SHIPPED), *MANY, "-o", "json").json["items"]
    (row, *_) = [one for one in item["feasibility"]["rules"] if one["rule"] == "latency"]
    assert row["healthy_stopped"] == {"as_written": None, "by_proof": None}


def test_latencies_that_are_told_are_reckoned_with(world: World):
    told = ("--latency", "1.2s,3s")

    (item,) = world.cli("check", world.plan(SHIPPED), *MANY, *told, "-o", "json").json["items"]
    (row, *_) = [one for one in item["feasibility"]["rules"] if one["rule"] == "latency"]

    assert row["lacking"] is None
    assert row["healthy_figure"] == pytest.approx(1)
    assert row["healthy_stopped"]["as_written"]["share"] == 0
    (catch,) = row["catches"]
    assert catch["size"] == pytest.approx(1.875)
    assert 0 < catch["after_s"]["median"] < 3_600
    assert catch["bad_answers_served"] > 0
    answer = world.cli("check", world.plan(SHIPPED), *MANY, *told)
    assert "log-normal, median 1.2 s, p95 3 s" in " ".join(answer.out.split())


def test_a_slower_candidate_can_be_stated(world: World):
    told = ("--latency", "1.2s,3s", "--catch", "slow=2x", "--catch", "slow=3x")

    (item,) = world.cli("check", world.plan(SHIPPED), *MANY, *told, "-o", "json").json["items"]

    rows = [one for one in item["feasibility"]["rules"] if one["step"] == 1]
    sizes = {one["rule"]: [catch["size"] for catch in one["catches"]] for one in rows}
    # Of a ratio, which is 1 where both arms are alike; other rules are asked for their own
    assert sizes["latency"] == pytest.approx([2, 3])
    assert sizes["accuracy"] == pytest.approx([0.03])


# Costs


PER_CORRECT = plan_text(
    steps=("share: 10%, hold: 24h", "share: 50%, hold: 24h", "share: 100%"),
    rules=(
        "name: right, metric: cost_per_correct, above: 0.008 USD, window: 24h, evidence: confident, then: pause",
        "name: bill, metric: cost_per_hour, above: 50 USD, window: 1h, then: pause",
        "name: thousand, metric: cost_per_1k, above: 8 USD, window: 6h, then: pause",
    ),
)


def test_what_a_right_answer_costs_is_caught_and_kept_by_proof(world: World):
    answer = world.cli("check", world.plan(PER_CORRECT), *MANY)

    rows = [line.split() for line in answer.out.splitlines()]
    # 24 h × 60 × 50 units × 60% that are not pinned × 10%, one request each
    assert ["right", "24h", "4,320", "<=5.0%", "0.012", "USD"] in [row[:6] for row in rows]
    assert ["1:", "10%", "all"] in [row[:3] for row in rows]
    assert "A request costs 0.018 USD on the baseline, 0.00387 USD on the candidate" in answer.out
    (item,) = world.cli("check", world.plan(PER_CORRECT), *MANY, "-o", "json").json["items"]
    found = item["feasibility"]
    (first, *_) = found["rules"]
    (catch,) = first["catches"]
    assert catch["probability"] == pytest.approx(1)
    # The labels' delay of an hour is within it
    assert 3_600 < catch["by_proof_s"]["median"] <= catch["by_proof_s"]["p90"] < 24 * 3_600
    assert catch["bad_answers_served"] is None
    assert [(one["intent"], one["asked"]) for one in found["proofs"]] == [(None, False)] * 2
    assert found["proofs"][0]["labels_needed"]["median"] > 0
    assert found["request_usd"] == pytest.approx({"baseline": 0.018, "candidate": 0.00387})


def test_a_dearer_candidate_can_be_stated(world: World):
    told = (*MANY, "--catch", "cost=1.5x", "--catch", "cost=3x", "-o", "json")

    (item,) = world.cli("check", world.plan(PER_CORRECT), *told).json["items"]

    rows = {one["rule"]: one for one in item["feasibility"]["rules"] if one["step"] == 1}
    sizes = {name: [catch["size"] for catch in one["catches"]] for name, one in rows.items()}
    assert sizes["right"] == pytest.approx([1.5 * 0.00387 / 0.95, 3 * 0.00387 / 0.95])
    assert sizes["thousand"] == pytest.approx([1.5 * 3.87, 3 * 3.87])
    # Of the whole bill a tenth of the 60% that are not pinned is dearer
    ours, theirs = 0.06 * 0.00387, 0.94 * 0.018
    assert sizes["bill"] == pytest.approx([3_000 * (times * ours + theirs) for times in (1.5, 3)])
    below, above = (catch["probability"] for catch in rows["right"]["catches"])
    assert below < 0.01
    assert above == pytest.approx(1)


# History


def served(world: World) -> World:
    """A rollout with an hour and a half of traffic: four requests a minute on each arm, of 800 ms."""
    world.started()
    world.ticks(90)
    world.feed(requests(world, per_arm=4, minutes=90))
    return world


def test_what_no_option_says_is_learnt_from_the_store(world: World):
    plan = served(world).plan()

    (item,) = world.cli("check", plan, "--runs", "0", "-o", "json").json["items"]
    found = item["feasibility"]

    assert found["learnt"]["rollout"] == "support-bot/1"
    # 8 a minute, and 10 in the first one
    assert found["learnt"]["requests"] == 8 * 90 + 10
    assert found["units_per_minute"] == pytest.approx(8, rel=0.05)
    assert found["requests_per_unit"] == 1
    assert found["intents"] == {"refund": 1, "legal": 0}
    assert found["escalation"] == 0
    (latency, _) = found["latencies"]
    assert (latency["arm"], latency["of"]) == ("baseline", "latency")
    assert latency["p95_s"] == pytest.approx(0.8, rel=0.01)
    assert "traffic-not-told" not in codes(world.cli("check", plan, "--runs", "0", "-o", "json"))
    assert "Learnt from support-bot/1, " in world.cli("check", plan, "--runs", "0").out


def test_what_an_option_says_comes_before_the_history(world: World):
    plan = served(world).plan()
    said = ("--units-per-minute", "50", "--escalation", "1%", "--latency", "2s,3s", "--runs", "0")

    (item,) = world.cli("check", plan, *said, "-o", "json").json["items"]
    found = item["feasibility"]

    assert (found["units_per_minute"], found["escalation"]) == (50, 0.01)
    assert {one["source"][:10] for one in found["latencies"]} == {"log-normal"}


def test_it_is_told_that_what_is_learnt_was_rolled_back(world: World):
    plan = served(world).plan()
    assert world.cli("rollback", "support-bot", "--reason", "looks wrong").code == 0

    answer = world.cli("check", plan, "--runs", "0")

    said = " ".join(answer.out.split())
    assert "It was rolled back: what its candidate did is taken for what is usual." in said


def test_history_can_be_left_out(world: World):
    answer = world.cli("check", served(world).plan(), "--no-history", "-o", "json")

    (item,) = answer.json["items"]
    assert item["feasibility"] is None
    assert "traffic-not-told" in codes(answer)


def test_a_rollout_without_traffic_teaches_nothing(world: World):
    plan = world.started().plan()

    (item,) = world.cli("check", plan, "-o", "json").json["items"]
    assert item["feasibility"] is None
    answer = world.cli("check", plan, "--history")
    assert answer.code == 2
    assert "--history: No rollout of support-bot has" in answer.err


def test_a_store_that_does_not_answer_is_told_and_keeps_nothing_from_being_checked(world: World):
    world.environ["CANARY_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"

    answer = world.cli("check", world.plan(), "-o", "json")

    assert answer.code == 0
    assert "history-not-read" in codes(answer)
    assert world.cli("check", world.plan(), "--history").code != 0
