from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from controller.errors import PlanError
from controller.plans.load import decode, load_all, load_file
from controller.rollout.codec import decode as decode_value
from controller.rollout.codec import encode
from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import (
    Advance,
    Arm,
    Evidence,
    Freeze,
    Intent,
    Labels,
    OnLoss,
    PauseShare,
    Plan,
    Priors,
    Rule,
    Scope,
    Severity,
    Slack,
    Step,
    Then,
    Unit,
    Webhook,
)
from tests.plans.factories import (
    MODELS,
    SAMPLES,
    TODAY,
    load,
    plan_text,
    with_rule,
    with_spec,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_the_plan_of_the_design_page_means_what_it_says():
    plan = load(plan_text())

    assert plan.name == "support-bot"
    assert (plan.baseline.model, plan.candidate.model) == ("gpt-4.1", "gpt-4.1-mini")
    assert plan.match_model == "gpt-4.1"
    assert plan.unit is Unit.CONVERSATION
    assert plan.intents == (
        Intent(name="refund", critical=True),
        Intent(name="order-status"),
        Intent(name="legal", pinned=True),
    )
    assert plan.labels == Labels(delay=6 * HOUR, horizon=7 * DAY)
    assert plan.target == "gateway"
    assert plan.steps == (
        Step(share_bp=1000, hold=72 * HOUR, min_samples=500),
        Step(share_bp=2500, hold=48 * HOUR),
        Step(share_bp=5000, hold=24 * HOUR, approval=True),
        Step(share_bp=10_000),
    )
    assert plan.holdback_bp == 100
    assert plan.bake == 7 * DAY
    assert plan.slack == Slack(channel="#llm-oncall")


def test_the_rules_of_the_design_page_mean_what_they_say():
    accuracy, escalation, latency, spend = load(plan_text()).rules

    assert accuracy == Rule(
        name="accuracy",
        metric=CATALOGUE["accuracy_delta"],
        limit=0.015,
        window=72 * HOUR,
        then=Then.PAUSE,
        evidence=Evidence.CONFIDENT,
        scope=Scope.CRITICAL,
    )
    assert (escalation.limit, escalation.window, escalation.then) == (0.02, DAY, Then.ROLLBACK)
    assert escalation.evidence is Evidence.OBSERVED
    assert (latency.limit, latency.sustained) == (1.25, timedelta(minutes=15))
    assert (spend.limit, spend.metric.name) == (50.0, "cost_per_hour")


def test_what_a_plan_leaves_out_gets_the_defaults_of_the_plan_type():
    plan = load(plan_text(("  labels: {delay: 6h, horizon: 7d}", "  #"), ("  bake: 7d", "  #")))

    bare = {
        field: getattr(plan, field) for field in ("labels", "bake", "alpha", "priors", "max_blind")
    }
    assert bare == {
        "labels": Labels(),
        "bake": timedelta(0),
        "alpha": 0.05,
        "priors": Priors(),
        "max_blind": timedelta(minutes=30),
    }
    assert (plan.pause_share, plan.pause_deadline) == (PauseShare.HOLD, DAY)
    assert (plan.on_controller_loss, plan.accept_cost_increase) == (OnLoss.BASELINE, False)
    assert load(plan_text(("  match: {model: gpt-4.1} ", "  #"))).match_model == "gpt-4.1"


def test_the_further_fields_that_act_are_in_the_plan():
    plan = load(
        with_spec(
            "maxBlind: 15m",
            "pauseShare: 0%",
            "pauseDeadline: 36h",
            "onControllerLoss: hold",
            "priors: {accuracy: 90%, discordance: 8%}",
            "acceptCostIncrease: true",
            "alpha: 1%",
            "freeze:",
            "  - {start: 2026-12-24T00:00:00+01:00, end: 2026-12-27T00:00:00Z, reason: holidays}",
            "  - {cron: '0 18 * * fri', duration: 62h, timeZone: Europe/Berlin}",
        )
    )

    assert plan.max_blind == timedelta(minutes=15)
    assert plan.pause_share is PauseShare.ZERO
    assert plan.pause_deadline == 36 * HOUR
    assert plan.on_controller_loss is OnLoss.HOLD
    assert plan.priors == Priors(accuracy=0.9, discordance=0.08)
    assert plan.accept_cost_increase
    assert plan.alpha == 0.01
    assert plan.freezes == (
        Freeze(
            reason="holidays",
            start=datetime(2026, 12, 23, 23, tzinfo=UTC),
            end=datetime(2026, 12, 27, tzinfo=UTC),
        ),
        Freeze(cron="0 18 * * fri", duration=62 * HOUR, zone="Europe/Berlin"),
    )


def test_the_further_fields_of_a_step_and_a_rule_are_in_the_plan():
    plan = load(
        plan_text(
            ("share: 25%, hold: 48h", "share: 25%, hold: 48h, advance: proven, deadline: 14d"),
            ("  rules:\n", "  rules:\n    - {name: own, metric: custom.tone, arm: baseline, intents: [refund],"
             " below: 80%, window: 6h, for: 30m, minSamples: 50, then: notify, resume: manual}\n"),
            ("      window: 24h  ", "      minWindow: 6h\n      window: 24h  "),
        )
    )  # fmt: skip

    rule = plan.rules[0]
    assert plan.steps[1].advance is Advance.PROVEN
    assert [step.deadline for step in plan.steps] == [None, timedelta(days=14), None, None]
    assert (rule.metric.subject, rule.arm, rule.below) == ("custom.tone", Arm.BASELINE, True)
    assert (rule.scope, rule.intents) == (Scope.NAMED, ("refund",))
    assert (rule.sustained, rule.min_samples) == (timedelta(minutes=30), 50)
    # A proof may blame whatever the window holds, down to the minute it is measured in, where the plan does not say.
    assert [one.min_window for one in plan.rules[1:3]] == [timedelta(minutes=1), 6 * HOUR]


def test_rules_may_take_the_whole_of_alpha_where_no_other_needs_any():
    # means and spend have no confident form, so 3% and 2% may be all of the plan's 5%
    plan = load(
        plan_text(
            ("latency_p95_ratio, above: 1.25", "latency_mean, above: 2s"),
            ("window: 72h", "window: 72h\n      alpha: 3%"),
            ("window: 24h  ", "alpha: 200bp\n      window: 24h  "),
        )
    )

    assert [rule.alpha for rule in plan.rules] == [0.03, 0.02, None, None]


def test_a_cost_per_correct_answer_may_ask_for_proof_a_part_of_alpha_and_a_shortest_stretch():
    plan = load(
        with_rule(
            "{name: right, metric: cost_per_correct, above: 0.002 USD, window: 24h, then: pause, "
            "evidence: confident, alpha: 1%, minWindow: 1h}"
        )
    )

    rule = plan.rules[0]
    assert (rule.evidence, rule.alpha, rule.min_window) == (Evidence.CONFIDENT, 0.01, HOUR)
    assert rule.limit == 0.002


def test_a_percentile_may_ask_for_proof_and_for_a_part_of_alpha():
    rule = (
        "{name: slow, metric: latency_p95, above: 800ms, window: 1h, minWindow: 10m, alpha: 1%, "
        "evidence: confident, then: pause}"
    )

    slow = load(with_rule(rule)).rules[0]

    assert (slow.limit, slow.evidence, slow.alpha) == (0.8, Evidence.CONFIDENT, 0.01)
    assert slow.least_window == timedelta(minutes=10)


@pytest.mark.parametrize("metric", ["accuracy", "cache_hit_rate", "custom.polite", "latency_p50"])
def test_what_must_not_fall_below_a_limit_may_ask_for_proof_and_for_a_part_of_alpha(metric):
    limit = "100ms" if metric == "latency_p50" else "90%"
    text = (
        f"{{name: low, metric: {metric}, below: {limit}, window: 24h, minWindow: 1h, alpha: 1%, "
        "evidence: confident, then: pause}"
    )

    low = load(with_rule(text)).rules[0]

    assert (low.below, low.evidence, low.alpha) == (True, Evidence.CONFIDENT, 0.01)
    assert is_provable(low)


def test_a_spike_is_held_against_the_trailing_week_where_nothing_else_is_said():
    week = "{name: jump, metric: error_rate, spike: {factor: 3}, window: 1h, then: pause}"
    day = "{name: jump, metric: latency_p95, spike: {factor: 1.5, over: 24h}, window: 1h, then: pause}"

    by_week, by_day = (load(with_rule(one)).rules[0] for one in (week, day))

    assert (by_week.limit, by_week.usual, by_week.below) == (3.0, timedelta(days=7), False)
    assert (by_day.limit, by_day.usual) == (1.5, timedelta(hours=24))
    assert not is_provable(by_week)
    assert (
        load(with_rule("{name: still, metric: error_rate, above: 1%, window: 1h, then: pause}"))
        .rules[0]
        .usual
        is None
    )


def test_an_arm_may_bring_its_own_price_limits_and_shutdown():
    own = (
        "{model: our-llama, price: {input: 0.20 USD, cachedInput: 0.02 USD, output: 0.60 USD}, "
        "contextWindow: 131072, outputLimit: 8192, shutdown: 2027-06-30}"
    )
    candidate = load(plan_text(("candidate: {model: gpt-4.1-mini}", f"candidate: {own}"))).candidate

    assert candidate.price is not None
    # USD per million tokens × 1,000 = nano-USD per token
    assert candidate.price.input == Fraction(200)
    assert candidate.price.cached_input == Fraction(20)
    assert candidate.price.output == Fraction(600)
    assert (candidate.context_window, candidate.output_limit) == (131_072, 8_192)
    assert str(candidate.shutdown) == "2027-06-30"


def test_a_dated_snapshot_has_the_facts_of_its_model():
    text = plan_text(
        ("candidate: {model: gpt-4.1-mini}", "candidate: {model: gpt-4.1-mini-2025-04-14}")
    )

    candidate = load(text).candidate

    assert candidate.model == "gpt-4.1-mini-2025-04-14"
    assert candidate.context_window == 1_047_576


@pytest.mark.parametrize("metric", sorted(CATALOGUE))
def test_every_metric_of_the_catalogue_can_be_in_a_rule(metric: str):
    limits = {
        "fraction": "5%", "points": "1.5pp", "seconds": "800ms", "usd": "2.5 USD",
        "ratio": "1.25", "per_second": "40/s", "per_hour": "1000000",
    }  # fmt: skip
    limit = limits[CATALOGUE[metric].unit.value]

    plan = load(
        with_rule(f"{{name: one, metric: {metric}, above: {limit}, window: 1h, then: pause}}")
    )

    assert plan.rules[0].metric is CATALOGUE[metric]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_plan_loads_and_survives_the_record(path):
    plan = load_file(path, today=TODAY, models=MODELS)

    assert decode_value(Plan, encode(plan)) == plan


def test_the_sample_plans_are_there():
    assert {path.name for path in SAMPLES} >= {
        "gpt-4.1-to-mini.yaml",
        "gpt-4o-mini-to-gpt-4.1-mini.yaml",
        "two-weeks-at-20-percent.yaml",
        "agent-tasks.yaml",
        "quality-only.yaml",
    }


def test_layout_comments_and_a_byte_order_mark_do_not_change_the_digest():
    text = plan_text()

    assert (
        load("\ufeff# another comment\n" + text.replace("\n", "\r\n")).digest == load(text).digest
    )


def test_several_documents_are_several_plans():
    other = plan_text(("name: support-bot", "name: other-bot"))

    plans = load_all(
        f"---\n{plan_text()}\n---\n{other}\n---\n", file="f", today=TODAY, models=MODELS
    )

    assert [plan.name for plan in plans] == ["support-bot", "other-bot"]


def test_two_plans_of_one_name_are_refused_where_the_second_is_named():
    with pytest.raises(
        PlanError, match=r"f:\d+:9: metadata.name: `support-bot` is already the plan of line 5"
    ):
        load_all(f"{plan_text()}---\n{plan_text()}", file="f", today=TODAY, models=MODELS)


def test_one_plan_is_wanted_where_one_is_loaded():
    other = plan_text(("name: support-bot", "name: other-bot"))

    with pytest.raises(PlanError, match="2 plans in one file"):
        load(f"{plan_text()}---\n{other}")


def test_a_file_that_is_not_there_is_a_plan_error(tmp_path):
    with pytest.raises(PlanError, match=r"none\.yaml:1:1: cannot be read: No such file"):
        load_file(tmp_path / "none.yaml", today=TODAY, models=MODELS)


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "huge.yaml"
    path.write_text("a: b\n" * 2_000_000)

    with pytest.raises(PlanError, match="more than 1 MiB"):
        load_file(path, today=TODAY, models=MODELS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfea\x00", r"f:1:1: UTF-16 text"),
        (b"a: b\nc: \xe9\n", r"f:2:4: byte 0xe9 is not UTF-8"),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused_where_they_stand(data: bytes, message: str):
    with pytest.raises(PlanError, match=message):
        decode(data, file="f")


def test_what_is_spent_per_hour_needs_no_sample_size_and_an_estimate_does():
    plan = load(plan_text())

    assert {rule.name: rule.min_samples for rule in plan.rules} == {
        "accuracy": 500,
        "escalation": 500,
        "latency": 500,
        "spend": 1,
    }


def test_notices_are_routed_by_severity():
    text = plan_text(
        (
            'slack: {channel: "#llm-oncall"}',
            'slack: {channel: "#ops", channels: {critical: "#page"}, from: warning}\n'
            "    webhook: {url: https://pager.example.com:8443/canary?team=llm, from: critical}",
        ),
        ("then: rollback", "then: rollback\n      severity: warning"),
    )

    plan = load(text)

    assert plan.slack == Slack(channel="#ops", critical="#page", least=Severity.WARNING)
    assert plan.webhook == Webhook(
        name="pager.example.com:8443",
        url="https://pager.example.com:8443/canary?team=llm",
        least=Severity.CRITICAL,
    )
    assert {rule.name: rule.severity for rule in plan.rules}["escalation"] is Severity.WARNING


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1", "[::1]:9"])
def test_a_webhook_on_this_host_may_do_without_tls(host: str):
    text = plan_text(('slack: {channel: "#llm-oncall"}', f"webhook: {{url: 'http://{host}/x'}}"))

    assert load(text).webhook is not None


@pytest.mark.parametrize(
    ("written", "sampled_u"),
    [("30%", 300_000), ("33.3333%", 333_333), ("1bp", 100), ("0.0001%", 1), ("100%", 1_000_000)],
)
def test_the_sampled_part_of_labels_is_exactly_what_is_written(written, sampled_u):
    sampled = ("horizon: 7d}", f"horizon: 7d, sampled: {written}}}")

    assert load(plan_text(sampled)).labels.sampled_u == sampled_u


@pytest.mark.parametrize(
    ("written", "people_u"), [("5%", 50_000), ("1bp", 100), ("100%", 1_000_000)]
)
def test_the_share_that_people_grade_is_exactly_what_is_written(written, people_u):
    judge = "judge: {sensitivity: 95%, specificity: 90%}"
    people = ("horizon: 7d}", f"horizon: 7d, {judge}, people: {{share: {written}}}}}")

    assert load(plan_text(people)).labels.people_u == people_u
    assert load(plan_text()).labels.people_u == 0
