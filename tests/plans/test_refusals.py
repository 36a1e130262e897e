"""What is refused, where, and in which words."""

from __future__ import annotations

from datetime import date

import pytest

from controller.errors import PlanError
from tests.plans.factories import (
    load,
    place_of,
    plan_text,
    problem,
    problems,
    with_rule,
    with_spec,
)

SLACK = 'slack: {channel: "#llm-oncall"}'
JUDGED = "horizon: 7d, judge: {sensitivity: 95%, specificity: 90%}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [  # `»` marks the place that the problem points at
        ("share: 10%,", "share: »10,", "has no unit: it could mean 10% or 10 basis points"),
        ("share: 10%,", "share: »0.1,", "could mean 0.1% or 10%; write `0.1%` or `10%`"),
        ("share: 25%", "share: »150%", "`150%` is more than 100%"),
        ("share: 25%", "share: »10%", "repeats 10% of the step before (line 18)"),
        ("share: 25%", "share: »5%", "5% falls below 10% of the step before"),
        ("share: 10%,", "share: »0%,", "a step at 0% moves nothing"),
        ("share: 10%,", "share: ».nan,", "is not understood; expected a share"),
        ("hold: 72h", "hold: »72", "has no unit: it could mean seconds, minutes or hours"),
        ("hold: 72h", "hold: »1:30", "write `90m` or `90s`"),
        ("hold: 72h", "hold: »3 days", "did you mean `3d`?"),
        ("hold: 72h", "hold: »-72h", "is negative"),
        (
            "hold: 48h}",
            "hold: 48h, deadline: »47h}",
            "47h are over before the step was held for its 48h",
        ),
        ("hold: 48h}", "hold: 48h, deadline: »0s}", "`0` would be told at once"),
        ("hold: 48h}", "hold: 48h, deadline: »2 weeks}", "the longest unit is `d`"),
        ("minSamples: 500", "minSamples: »012", "leading zero"),
        ("minSamples: 500", "minSamples: ».inf", "is not a count"),
        ("minSamples: 500", "minSamples: »1e3", "is not a count"),
        ("minSamples: 500", 'minSamples: »"400"', "is text in quotes; write `400` without them"),
        ("minSamples: 500", 'minSamples: »"many"', "is text in quotes; write `500` without them"),
        ("approval: required", "approval: »true", "expected `required`"),
        ("critical: true", "critical: »on", "text in YAML 1.2, not a boolean; write `true`"),
        ("critical: true", "critical: »no", "write `false`"),
        ("critical: true", "critical: »1", "is not a boolean; write `true` or `false`"),
        ("critical: true", "critical: »[true]", "expected `true` or `false`, found a list"),
        ("critical: true", "critical: true, pin: »baseline", "critical and pinned at once"),
        ("name: legal, pin: baseline", "name: legal, pin: »candidate", "expected `baseline`"),
        ("unit: conversation", "unit: »conversaton", "did you mean `conversation`?"),
        (
            "holdback: 1%",
            "holdback: »100%",
            "leaves nothing of the last share, 100%; a usual one is",
        ),
        (
            "    - {share: 10%, hold: 72h, minSamples: 500}\n    - {share: 25%, hold: 48h}\n"
            "    - {share: 50%, hold: 24h, approval: required}\n    - {share: 100%}\n  holdback: 1%",
            "    - {share: 1%}\n  holdback: »1%",
            "share, 1%; write less than that",
        ),
        ("horizon: 7d", "horizon: »5h", "`horizon` is longer than `delay`"),
        (
            "delay: 6h",
            "delay: »90s",
            "`90s` is no whole number of minutes, by which rules are judged",
        ),
        ("above: 1.5pp", "above: »1.5", "could mean 1.5 points or 150 points; write `1.5pp`"),
        ("above: 1.5pp", "above: »0pp", "leaves no loss to look for"),
        ("above: 2%", "above: »2", "has no unit"),
        ("above: 2%", "above: »0%", "leaves nothing to test"),
        ("above: 50 USD", "above: »50", "has no currency; write `50 USD`"),
        ("above: 50 USD", "above: »50 EUR", "no exchange rate is applied"),
        ("above: 50 USD", "above: »-5 USD", "is negative"),
        ("above: 1.25", "above: »125%", "could mean 1.25 times or 2.25 times"),
        ("above: 1.25", "above: ».inf", "must be finite"),
        ("window: 72h", "window: »0s", "a window of 0 holds no data"),
        (
            "window: 72h",
            "window: »30s",
            "`30s` is no whole number of minutes, by which rules are judged; write `1m`",
        ),
        ("window: 72h", "window: »1h90s", "rules are judged; write `62m`"),
        ("for: 15m", "for: »59s", "rules are judged; write `1m`"),
        ("      window: 72h", "      window: 72h\n      minWindow: »150s", "judged; write `3m`"),
        ("window: 72h", "window: 72h\n      minWindow: »73h", "73h is longer than the window, 72h"),
        ("window: 72h", "window: 72h\n      minWindow: »0s", "holds no data to blame"),
        ("window: 72h", "window: 72h\n      minWindow: »1", "has no unit"),
        ("window: 72h", "window: 72h\n      alpha: »0%", "at `0%` nothing could ever be proven"),
        ("window: 72h", "window: 72h\n      alpha: »0.01", "could mean 0.01% or 1%"),
        (
            "window: 72h",
            "window: 72h\n      alpha: »6%",
            "take 6% in all, of the plan's alpha of 5%",
        ),
        (
            "window: 72h",
            "window: 72h\n      alpha: »5%",
            "nothing is left of the plan's alpha of 5% for escalation, latency, which could then never be proven",
        ),
        (
            "horizon: 7d}",
            "horizon: 7d, judge: {sensitivity: 60%, specificity: »40%}}",
            "together are 100%: such a judge tells no more than a coin",
        ),
        (
            "horizon: 7d}",
            "horizon: 7d, judge: {sensitivity: »110%, specificity: 40%}}",
            "than 100%",
        ),
        ("horizon: 7d}", "horizon: 7d, judge: »{sensitivity: 95%}}", "`specificity` is missing"),
        (
            "horizon: 7d}",
            "horizon: 7d, judge: {model: »gpt-4.1, sensitivity: 95%, specificity: 90%}}",
            "gpt-4.1 is the baseline's model, and a judge never grades its own model's answers",
        ),
        (
            "horizon: 7d}",
            "horizon: 7d, judge: {model: »gpt-4.1-mini-2025-04-14, sensitivity: 95%, specificity: 90%}}",
            "is the candidate's model",
        ),
        (
            "horizon: 7d}",
            "horizon: 7d, sampled: »0%}",
            "of 0% of the answers no loss could be seen; write the part that is graded, such as `30%`",
        ),
        ("horizon: 7d}", "horizon: 7d, sampled: »101%}", "is more than 100%"),
        ("horizon: 7d}", "horizon: 7d, sampled: »0.3}", "could mean 0.3% or 30%"),
        (
            "horizon: 7d}",
            "horizon: 7d, sampled: »33.33333%}",
            "counted in millionths, and this is finer; write four decimals at most, such as `33.3333%`",
        ),
        (
            "horizon: 7d}",
            "horizon: 7d, people: »{share: 5%}}",
            "people grade beside a judge, and there is none; write `judge:`",
        ),
        (
            "horizon: 7d}",
            f"{JUDGED}, people: {{share: »0%}}}}",
            "of 0% of the answers people could say nothing",
        ),
        ("horizon: 7d}", f"{JUDGED}, people: {{share: »0.05}}}}", "could mean 0.05% or 5%"),
        (
            "horizon: 7d}",
            f"{JUDGED}, people: {{share: »0.00003%}}}}",
            "write four decimals at most",
        ),
        ("horizon: 7d}", f"{JUDGED}, people: {{»shares: 5%}}}}", "share"),
        ("50 USD, window: 1h", "50 USD, window: 1h, alpha: »1%", "leave `alpha` out"),
        ("50 USD, window: 1h", "50 USD, window: 1h, minWindow: »5m", "leave `minWindow` out"),
        ("then: rollback", "then: »rolback", "did you mean `rollback`?"),
        ("metric: accuracy_delta", "metric: »acuracy_delta", "did you mean `accuracy_delta`?"),
        (
            "intents: critical",
            "intents: [»refnd]",
            "unknown intent `refnd` (did you mean `refund`?)",
        ),
        ("intents: critical", "intents: »refund", "are a list: `[refund]`"),
        ("intents: critical", "intents: »[]", "or a list of names"),
        ("name: order-status", "name: »refund", "is already the intent of line 12"),
        ("name: order-status", "name: »42", "is an integer in YAML, not text"),
        ("name: order-status", "name: »all", "has a meaning in rules"),
        ("- name: escalation", "- name: »accuracy", "is already the rule of line 25"),
        ("then: rollback", "then: »pin", "add `intents: each`"),
        (
            "baseline:  {model: gpt-4.1}",
            "baseline:  {model: »gpt-4.1-mini-preview}",
            "did you mean `gpt-4.1-mini`?",
        ),
        (
            "candidate: {model: gpt-4.1-mini}",
            "candidate: {model: »gpt-4.1}",
            "there is nothing to move",
        ),
        ("traffic: {gateway: {}}", "traffic: {»gatway: {}}", "did you mean `gateway`?"),
        ("traffic: {gateway: {}}", "traffic: »{}", "no target"),
        ("traffic: {gateway: {}}", "traffic: {gateway: {»port: 1}}", "unknown key `port`"),
        ('channel: "#llm-oncall"', "channel: »llm-oncall", "is not a Slack channel"),
        (SLACK, 'slack: {channel: "#a", channels: {»page: "#b"}}', "unknown key `page`"),
        (SLACK, 'slack: {channel: "#a", from: »loud}', "expected `info` or `warning`"),
        (
            SLACK,
            'slack: {channel: "#a", from: warning, channels: {info: »"#b"}}',
            "`from: warning` leaves out `info`",
        ),
        (SLACK, "webhook: {url: »pager.example.com}", "is not a URL"),
        (SLACK, "webhook: {url: »http://pager.example.com/x}", "http:// is for this host alone"),
        (SLACK, "webhook: {url: »https://a:b@pager.example.com}", "readable for all who read"),
        (SLACK, "webhook: {url: »https://}", "is not a URL"),
        (SLACK, "webhook: {url: »https://:80/x}", "no host in it"),
        (SLACK, "webhook: {url: »https://pager:x/y}", "not an address"),
        (SLACK, "webhook: {url: »https://pager/é}", "an address is ASCII"),
        ("window: 24h", "window: 24h\n      severity: »loud", "expected `info`"),
        ("evidence: observed ", "evidence: »sure ", "expected `observed` or `confident`"),
        (
            "apiVersion: canaryctl.dev/v1alpha1",
            "apiVersion: »canaryctl.dev/v1",
            "expected `canaryctl.dev/v1alpha1`",
        ),
        ("kind: RolloutPlan", "kind: »RolloutPlans", "expected `RolloutPlan`"),
        ("kind: RolloutPlan", "kind: »Deployment", "`Deployment` is not a plan"),
        ("name: support-bot", "name: »Support Bot", "is not a plan's name"),
        ("minSamples: 500", "»minsamples: 500", "did you mean `minSamples`?"),
        ("holdback: 1%", "»holdbak: 1%", "did you mean `holdback`?"),
    ],
)
def test_one_mistake_is_one_problem_at_its_own_place(old: str, new: str, message: str):
    marked = plan_text((old, new))
    place = place_of(marked, "»")

    found = problem(marked.replace("»", ""))

    assert message in found.message
    assert (found.line, found.column) == place


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{name: x, metric: latency_p95, above: 2, window: 1h, then: pause}", "has no unit"),
        ("{name: x, metric: error_rate, window: 1h, then: pause}", "has no limit; write `above:` or"),
        ("{name: x, metric: error_rate, above: 1%, below: 2%, window: 1h, then: pause}", "keep one"),
        ("{name: x, metric: accuracy_delta, below: 1pp, window: 1h, then: pause}", "write `above`"),
        ("{name: x, metric: accuracy, below: 0%, window: 1h, then: pause}", "could never fail"),
        ("{name: x, metric: error_rate, spike: {factor: 2, over: 100m30s}, window: 1h, then: pause}",
         "is no whole number of minutes, by which rules are judged; write `101m`"),
        ("{name: x, metric: error_rate, above: 1%, spike: {factor: 2}, window: 1h, then: pause}",
         "gives both `above` and `spike`; keep one"),
        ("{name: x, metric: error_rate, spike: {factor: 1}, window: 1h, then: pause}",
         "its usual figure is no spike; write more than `1`"),
        ("{name: x, metric: error_rate, spike: {factor: 2, over: 30m}, window: 1h, then: pause}",
         "30m is shorter than the window, 1h"),
        ("{name: x, metric: accuracy_delta, spike: {factor: 2}, window: 1h, then: pause}",
         "accuracy_delta is held against the other arm already"),
        ("{name: x, metric: error_rate, spike: {factor: 2}, window: 1h, then: pause, evidence: confident}",
         "a spike has no confident form"),
        ("{name: x, metric: error_rate, spike: {factor: 2}, window: 1h, then: pause, alpha: 1%}",
         "leave `alpha` out"),
        ("{name: x, metric: error_rate, spike: {over: 2h}, window: 1h, then: pause}", "`factor` is missing"),
        ("{name: x, metric: coverage, above: 100%, window: 1h, then: pause}", "could never fail"),
        ("{name: x, metric: served_accuracy, below: 90%, window: 1h, then: pause, evidence: confident}",
         "served_accuracy has no confident form"),
        ("{name: x, metric: accuracy, below: 100%, window: 1h, then: pause, evidence: confident}",
         "`100%` leaves nothing to prove"),
        ("{name: x, metric: cache_hit_rate, below: 100%, window: 1h, then: pause, alpha: 1%}",
         "`100%` leaves nothing to prove"),
        ("{name: x, metric: cost_ratio, above: 2, window: 1h, then: pause, arm: baseline}",
         "cost_ratio compares both arms"),
        ("{name: x, metric: error_rate, above: 1%, window: 1h, then: pause, minSamples: 0}",
         "cannot be judged on no samples"),
        ("{name: x, metric: error_rate, above: 1%, window: 1h, then: rollback, resume: auto}",
         "`auto` ends a pause, and this rule causes none (`then: rollback`); leave it out"),
        ("{name: x, metric: error_rate, above: 1%, window: 1h, then: pause, intents: [refund, refund]}",
         "named twice"),
        ("{name: x, metric: coverage, below: 90%, window: 1h, minWindow: 1h, then: pause}",
         "coverage has no confident form: only rates, percentiles, their ratio, accuracy, accuracy_delta and "
         "cost_per_correct can be proven"),
        ("{name: x, metric: cost_per_correct, below: 1 USD, window: 1h, then: pause, evidence: confident}",
         "cost_per_correct has no confident form with `below`; write `observed`"),
        ("{name: x, metric: cost_per_correct, above: 0 USD, window: 1h, then: pause, evidence: confident}",
         "`0 USD` leaves nothing to prove"),
        ("{name: x, metric: cost_per_correct, above: 0.0000000001 USD, window: 1h, then: pause, evidence: confident}",
         "a proof is of a limit above 0 and up to 10,000 USD"),
        ("{name: x, metric: cost_per_correct, above: 10001 USD, window: 1h, then: pause, alpha: 1%}",
         "`10001 USD` leaves nothing to prove"),
        ("{name: x, metric: cost_per_1k, above: 2 USD, window: 1h, then: pause, evidence: confident}",
         "cost_per_1k has no confident form"),
        ("{name: x, metric: latency_p95_ratio, below: 2, window: 1h, then: pause, evidence: confident}",
         "latency_p95_ratio has no confident form with `below`; write `observed`"),
        ("{name: x, metric: latency_p95_ratio, below: 2, window: 1h, then: pause, minWindow: 5m}",
         "latency_p95_ratio has no confident form with `below`; leave `minWindow` out"),
        ("{name: x, metric: cost_ratio, above: 2, window: 1h, then: pause, evidence: confident}",
         "cost_ratio has no confident form"),
        ("{name: x, metric: error_rate, above: 1%, window: hour, minWindow: 2h, then: pause}",
         "is not a duration"),
        ("{metric: error_rate, above: 1%, window: 1h, then: pause}", "the key `name` is missing"),
        ("just text", "expected an object with name, metric, above, below, window, then …"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_judged_is_refused(rule: str, message: str):
    assert message in problem(with_rule(rule)).message


@pytest.mark.parametrize(
    "lines",
    [
        ["gate: [{url: https://example.com/ok, timeout: 5s}]"],
        ["dependsOn: [other-plan]"],
        ["budget: {perHour: 50 USD}"],
        ["fallback: {onError: true, timeout: 800ms}"],
        ["shadow: {share: 5%, budget: {perDay: 10 USD}}"],
        ["cache: {ttl: 1h}"],
        ["retention: {observations: 30d, payloads: 7d}"],
        ["review: {share: 1%, queue: experts}"],
    ],
    ids=lambda lines: lines[0].split(":")[0],
)
def test_a_field_of_the_plan_without_effect_is_refused_at_its_key(lines: list[str]):
    text = with_spec(*lines)
    key = lines[0].split(":")[0]

    found = problem(text)

    assert found.message == f"`{key}` is not supported yet, so it would have no effect; remove it"
    assert (found.line, found.column) == (7, 3)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (
            "{model: gpt-4.1-mini}",
            "{model: gpt-4.1-mini, request: {systemMessage: Be brief}}",
            "request",
        ),
        ("{name: order-status}", "{name: order-status, sla: {latencyP95: 2s}}", "sla"),
        (
            "{name: order-status}",
            "{name: order-status, match: [{header: x-a, equals: b}]}",
            "match",
        ),
        ("{gateway: {}}", "{httpRoute: {name: x}}", "httpRoute"),
        ("{gateway: {}}", "{virtualService: {}}", "virtualService"),
        ("{gateway: {}}", "{aiGatewayRoute: {}}", "aiGatewayRoute"),
        ("{gateway: {}}", "{litellm: {}}", "litellm"),
        ("{gateway: {}}", "{flagd: {}}", "flagd"),
        ("{gateway: {}}", "{configMap: {}}", "configMap"),
    ],
)
def test_a_nested_field_without_effect_is_refused_at_its_key(old: str, new: str, key: str):
    text = plan_text((old, new))

    found = problem(text)

    assert found.message.startswith(f"`{key}` is not supported yet")
    assert text.splitlines()[found.line - 1][found.column - 1 :].startswith(f"{key}:")


def test_a_typo_inside_a_field_without_effect_is_reported_with_it():
    messages = [one.message for one in problems(with_spec("budget: {perHor: 50 USD}"))]

    assert any("not supported yet" in message for message in messages)
    assert any("did you mean `perHour`?" in message for message in messages)


def test_all_problems_of_a_file_come_at_once_in_its_order():
    text = plan_text(
        ("name: support-bot", "name: Support Bot"),
        ("candidate: {model: gpt-4.1-mini}", "candidate: {model: gpt-5-maxi}"),
        ("unit: conversation", "unit: planet"),
        ("critical: true", "critical: on"),
        ("share: 10%,", "share: 10,"),
        ("share: 50%", "share: 20%"),
        ("metric: escalation_rate", "metric: escalations"),
        ("then: rollback", "then: explode"),
        ("above: 50 USD", "above: 50 EUR"),
    )

    found = problems(text)

    assert [one.line for one in found] == [5, 8, 10, 12, 18, 20, 33, 37, 39]
    assert list(found) == sorted(found)


def test_a_field_without_effect_does_not_hide_what_else_is_wrong():
    text = with_spec("cache: {ttl: 1h}").replace(", critical: true", "")

    assert [one.message.split(";")[0].split(",")[0] for one in problems(text)] == [
        "`cache` is not supported yet",
        "no intent is critical",
    ]


def test_an_error_reads_file_line_column_path_and_what_to_do():
    text = plan_text(("share: 50%", "share: 150%"))

    with pytest.raises(PlanError) as caught:
        load(text)

    assert str(caught.value) == "plan.yaml:20:15: spec.steps[2].share: `150%` is more than 100%"
    assert caught.value.exit_code == 2


def test_a_missing_key_is_told_with_what_it_should_be():
    found = problem(plan_text(("  assignment: {unit: conversation}\n", "")))

    assert found.message == "the key `assignment` is missing; expected an object with unit"


def test_a_misspelt_required_key_is_one_problem():
    found = problem(plan_text(("assignment:", "asignment:")))

    assert "did you mean `assignment`?" in found.message


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("{start: 2026-12-24T00:00:00Z}", "also needs `end`"),
        ("{start: 2026-12-24T00:00:00Z, end: 2026-12-23T00:00:00Z}", "ends before it starts"),
        ("{start: 2026-12-24, end: 2026-12-25T00:00:00Z}", "has no time zone"),
        ("{start: tomorrow, end: 2026-12-25T00:00:00Z}", "is not a moment"),
        ("{reason: nothing}", "either `start` and `end`, or `cron`"),
        (
            "{cron: '0 18 * * fri', start: 2026-12-24T00:00:00Z}",
            "either `start` and `end`, or `cron`",
        ),
        ("{cron: '0 18 * * fri'}", "also needs `duration`"),
        ("{cron: '0 18 * *', duration: 1h}", "has 4 fields; expected five"),
        ("{cron: '0 18 * * 5', duration: 1h}", "could mean two days"),
        ("{cron: '0 99 * * fri', duration: 1h}", "is not a cron schedule"),
        ("{cron: '0 0 31 2 *', duration: 1h}", "a date that never comes"),
        ("{cron: '0 18 * * fri', duration: 0s}", "freezes nothing"),
        (
            "{cron: '0 18 * * fri', duration: 1h, timeZone: Europe/Berln}",
            "did you mean `Europe/Berlin`?",
        ),
    ],
)
def test_a_freeze_that_is_not_one_is_refused(freeze: str, message: str):
    assert message in problem(with_spec(f"freeze: [{freeze}]")).message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alpha: 60%", "above 0% and below 50%"),
        ("alpha: 0.05", "could mean 0.05% or 5%"),
        ("maxBlind: 0s", "`0` would act at once"),
        ("pauseDeadline: 0s", "`0` would act at once"),
        ("pauseShare: half", "expected `hold` or `previous` or `0%`"),
        ("onControllerLoss: candidate", "expected `baseline` or `hold`"),
        ("priors: {accuracy: 100%}", "above 0% and below 100%"),
        ("maxBlind:", "found nothing (null); leave the key out"),
    ],
)
def test_a_value_of_the_whole_plan_that_makes_no_sense_is_refused(line: str, message: str):
    assert message in problem(with_spec(line)).message


def test_parts_of_alpha_are_added_up_and_the_one_that_is_too_much_is_named():
    marked = plan_text(
        ("window: 72h", "window: 72h\n      alpha: 3%"),
        ("window: 24h  ", "alpha: »2.01%\n      window: 24h  "),
    )

    found = problem(marked.replace("»", ""))

    assert (found.line, found.column) == place_of(marked, "»")
    assert found.message == (
        "with it the rules take 5.01% in all, of the plan's alpha of 5%; "
        "lower one, or write a larger `alpha` under `spec`"
    )


def test_parts_of_alpha_are_not_added_up_against_an_alpha_that_has_no_shape():
    text = with_spec("alpha: 0.2").replace("window: 72h", "window: 72h\n      alpha: 10%")

    assert "could mean 0.2% or 20%" in problem(text).message


def test_an_unquoted_channel_is_a_comment_and_the_error_says_so():
    text = plan_text(('slack: {channel: "#llm-oncall"}', "slack:\n      channel: #llm-oncall"))

    assert 'write `"#channel"` in quotes' in problem(text).message


def test_critical_without_a_critical_intent_is_refused():
    found = problem(plan_text(("{name: refund, critical: true}", "{name: refund}")))

    assert "no intent is critical" in found.message


@pytest.mark.parametrize(
    ("cut", "message"),
    [("steps", "no steps"), ("intents", "no intents"), ("rules", "no rules")],
)
def test_an_empty_list_is_refused(cut: str, message: str):
    lines = plan_text().splitlines()
    start = lines.index(f"  {cut}:")
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("    "))
    text = "\n".join([*lines[:start], f"  {cut}: []", *lines[end:]])

    assert any(message in one.message for one in problems(text))


def test_a_dearer_candidate_is_refused_with_the_difference_in_words():
    text = plan_text(("baseline:  {model: gpt-4.1} ", "baseline:  {model: gpt-4o-mini} "))

    found = problem(text)

    assert found.message == (
        "gpt-4.1-mini costs 166.7% more than gpt-4o-mini at 5,000 input / 1,000 output tokens: "
        "$0.0036 against $0.00135 per request; if that is wanted, write `acceptCostIncrease: true` under `spec`"
    )
    assert (found.line, found.path) == (8, "spec.candidate.model")


def test_a_dearer_candidate_is_taken_where_the_plan_accepts_it():
    text = plan_text(
        (
            "baseline:  {model: gpt-4.1} ",
            "acceptCostIncrease: true\n  baseline:  {model: gpt-4o-mini} ",
        )
    )

    assert load(text).accept_cost_increase


def test_a_model_that_is_shut_down_is_refused_from_that_day_on():
    # 2027-01-14: announced shutdown of gpt-4.1 and gpt-4.1-mini.
    found = problems(plan_text(), today=date(2027, 1, 14))

    assert [one.path for one in found] == ["spec.baseline.model", "spec.candidate.model"]
    assert "was shut down on 2027-01-14" in found[0].message
    assert load(plan_text(), today=date(2027, 1, 13)).name == "support-bot"
