from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from controller.plans.finding import Finding, Level
from controller.plans.lint import check
from controller.rollout.metrics import Kind
from controller.rollout.plan import Arm, PauseShare, Plan, Scope
from tests.plans.factories import TODAY, load, plan_text, with_rule

HOUR = timedelta(hours=1)
UNHELD = ("  holdback: 1%  ", "  #")


def found(plan: Plan, code: str, *, today: date = TODAY) -> list[Finding]:
    return [finding for finding in check(plan, today=today) if finding.code == code]


def one(plan: Plan, code: str, *, today: date = TODAY) -> Finding:
    (finding,) = found(plan, code, today=today)
    return finding


def codes(plan: Plan) -> set[str]:
    return {finding.code for finding in check(plan, today=TODAY)}


def test_the_design_plan_has_no_finding_that_should_stop_anybody():
    assert codes(load(plan_text())) == {"cost", "retires", "late-verdict"}


def test_the_cost_of_both_arms_is_told():
    finding = one(load(plan_text()), "cost")

    assert finding.level is Level.INFO
    assert finding.message == (
        "gpt-4.1-mini costs 80% less than gpt-4.1 at 5,000 input / 1,000 output tokens: "
        "$0.0036 against $0.018 per request"
    )


def test_a_dearer_candidate_is_a_warning_even_where_it_is_accepted():
    text = plan_text(
        (
            "baseline:  {model: gpt-4.1} ",
            "acceptCostIncrease: true\n  baseline:  {model: gpt-4o-mini} ",
        )
    )
    finding = one(load(text), "cost")

    assert finding.level is Level.WARNING
    assert finding.message.startswith("gpt-4.1-mini costs 166.7% more than gpt-4o-mini")
    assert finding.message.endswith("the plan accepts this")


def test_a_dearer_candidate_that_nobody_accepted_is_an_error():
    plan = load(plan_text())
    swapped = replace(plan, baseline=plan.candidate, candidate=plan.baseline)

    assert one(swapped, "cost").level is Level.ERROR
    assert check(swapped, today=TODAY)[0].code == "cost"


def test_a_model_without_price_is_told():
    plan = load(plan_text())

    assert one(
        replace(plan, candidate=replace(plan.candidate, price=None)), "missing-price"
    ).path == ("spec.candidate.model")


def test_a_shutdown_after_the_plan_is_told_with_the_days_left():
    baseline, candidate = found(load(plan_text()), "retires")

    assert (baseline.level, candidate.path) == (Level.WARNING, "spec.candidate.model")
    # 2026-11-21 to 2027-01-14; holds of 6 days and a bake of 7
    assert "in 54 days; this plan could end on 2026-12-04" in baseline.message


def test_a_shutdown_before_the_plan_could_end_says_what_is_lost():
    baseline, candidate = found(load(plan_text()), "retires-during-plan", today=date(2027, 1, 2))

    assert "before this plan could end on 2027-01-15" in baseline.message
    assert "a rollback would have nowhere to go" in baseline.message
    assert "its traffic would fail" in candidate.message


def test_a_model_that_is_gone_is_an_error():
    findings = found(load(plan_text()), "retired", today=date(2027, 1, 14))

    assert [finding.level for finding in findings] == [Level.ERROR, Level.ERROR]


def test_a_candidate_with_smaller_limits_is_told():
    text = plan_text(("candidate: {model: gpt-4.1-mini}", "candidate: {model: gpt-4o-mini}"))

    assert [finding.message.split(" of ")[0] for finding in found(load(text), "smaller-limit")] == [
        "the context window",
        "the output limit",
    ]


def test_a_comparing_rule_without_control_is_told():
    plan = load(plan_text(UNHELD))

    findings = found(plan, "no-control")

    assert [finding.path for finding in findings] == [
        "spec.rules[0].metric",
        "spec.rules[2].metric",
    ]
    assert "NOT_APPLICABLE there; write `holdback: 1%`" in findings[0].message


def test_a_holdback_that_is_told_leaves_the_last_step_above_the_one_before():
    nearly = plan_text(UNHELD, ("{share: 50%, ", "{share: 99.5%, "))

    assert "write `holdback: 0.25%`" in found(load(nearly), "no-control")[0].message
    held = load(nearly.replace("  bake:", "  holdback: 0.25%\n  bake:"))
    assert codes(held).isdisjoint({"no-control", "step-without-effect"})


def test_a_window_longer_than_the_plan_is_told():
    plan = load(with_rule("{name: slow, metric: error_rate, above: 1%, window: 30d, then: pause}"))

    assert (
        "a window of 30d is longer than the whole plan (13d"
        in one(plan, "window-longer-than-plan").message
    )


def test_a_proof_that_can_never_come_is_told():
    rule = "{name: slow, metric: error_rate, above: 1%, window: 30d, minWindow: 20d, then: pause}"

    message = one(load(with_rule(rule)), "window-longer-than-plan").message

    assert message.endswith("never complete, and with a minWindow of 20d nothing is ever proven")


def test_a_window_longer_than_labels_are_taken_is_told():
    plan = load(plan_text(("window: 72h", "window: 8d")))

    assert (
        "8d is longer than labels are taken (7d)" in one(plan, "window-longer-than-labels").message
    )


def test_a_step_that_can_be_left_before_the_first_verdict_is_told():
    # 72 h of window and 6 h of label delay against a first hold of 72 h
    observed = load(plan_text(("evidence: confident", "evidence: observed ")))
    finding = one(observed, "late-verdict")

    assert finding.level is Level.WARNING
    assert "is there after 78h, and step 1 (10%) can be left after 72h" in finding.message
    assert one(load(plan_text()), "late-verdict").level is Level.INFO


def test_a_confident_rule_that_has_no_proof_before_a_step_can_be_left_is_a_warning():
    # 72 h of minWindow and 6 h of label delay against a first hold of 72 h
    whole = load(plan_text(("window: 72h", "window: 72h\n      minWindow: 72h")))
    finding = one(whole, "late-verdict")

    assert finding.level is Level.WARNING
    assert "no proof comes before either, with a minWindow of 72h" in finding.message


def test_a_proof_that_waits_for_what_must_last_is_a_warning_where_a_step_can_be_left_before():
    lasting = load(plan_text(("window: 72h", "window: 72h\n      for: 70h")))

    assert one(lasting, "late-verdict").message.endswith(
        "no proof comes before either, with a `for` of 70h; use hold 76h in step 1 or for 66h"
    )


ERRORS = "{name: own, metric: error_rate, above: 1%, then: pause"
HASTY = {
    # Three steps are left after 12, 24 and 36 h, and the window is complete after 30 h: with the second hold alone the
    # first step is still left before.
    "written": f"{ERRORS}, window: 30h}}",
    "labelled": "{name: own, metric: accuracy, below: 90%, window: 20h, then: pause}",
    "whole": f"{ERRORS}, window: 30h, minWindow: 30h, evidence: confident}}",
    "long": f"{ERRORS}, window: 40h, minWindow: 37h, evidence: confident}}",
    "lasting": f"{ERRORS}, window: 30h, minWindow: 13h, for: 13h}}",
}


@pytest.mark.parametrize("rule", HASTY.values(), ids=HASTY)
def test_what_is_told_against_a_late_verdict_takes_it_away(rule: str):
    plan = load(with_rule(rule))
    hasty = replace(plan, steps=tuple(replace(one, hold=12 * HOUR) for one in plan.steps))

    finding = one_of(hasty, "late-verdict", "own")

    _, _, use = finding.message.rpartition("; use ")
    changes = use.split(" or ")
    assert finding.level is Level.WARNING
    assert changes[0].startswith("hold ")
    for change in changes:
        changed = followed(hasty, change)
        assert all(
            again.level is Level.INFO
            for again in found(changed, "late-verdict")
            if again.path == finding.path
        ), change
        assert len(warnings(changed)) < len(warnings(hasty)), change


def one_of(plan: Plan, code: str, rule: str) -> Finding:
    (finding,) = [one for one in found(plan, code) if one.message.startswith(f"{rule}:")]
    return finding


def warnings(plan: Plan) -> list[Finding]:
    return [one for one in check(plan, today=TODAY) if one.level is not Level.INFO]


def followed(plan: Plan, change: str) -> Plan:
    """With `hold 30h in step 1`, or another field of the first rule."""
    field, hours, *_ = change.split()
    span, rule = int(hours.removesuffix("h")) * HOUR, plan.rules[0]
    match field:
        case "hold":
            return replace(plan, steps=(replace(plan.steps[0], hold=span), *plan.steps[1:]))
        case "window":
            changed = replace(rule, window=span)
        case "minWindow":
            changed = replace(rule, min_window=span)
        case _:
            changed = replace(rule, sustained=span)
    return replace(plan, rules=(changed, *plan.rules[1:]))


def test_shares_that_do_not_rise_are_an_error():
    plan = load(plan_text())
    falling = replace(plan, steps=(plan.steps[1], plan.steps[0], *plan.steps[2:]))

    assert one(falling, "shares-fall").path == "spec.steps[1].share"


def test_a_step_that_the_holdback_swallows_is_told():
    plan = load(plan_text(("share: 50%", "share: 99%")))

    assert "in force at 99%, as the one before" in one(plan, "step-without-effect").message


def test_a_deadline_without_room_after_the_hold_is_told():
    tight = load(plan_text(("hold: 24h, approval", "hold: 24h, deadline: 24h, approval")))
    roomy = load(plan_text(("hold: 24h, approval", "hold: 24h, deadline: 3d, approval")))

    finding = one(tight, "deadline-at-hold")

    assert (finding.level, finding.path) == (Level.WARNING, "spec.steps[2].deadline")
    assert "one minute out of force, or a person who takes one to approve, has" in finding.message
    assert not found(roomy, "deadline-at-hold")


def test_a_plan_that_stops_halfway_says_so():
    plan = load(plan_text(("    - {share: 100%}\n", "")))

    assert "complete at 50%, not at 100%" in one(plan, "not-all-traffic").message
    assert "50% stays on the baseline anyway" in one(plan, "holdback-without-effect").message


def test_a_step_that_asks_for_proof_nobody_gives_is_told():
    plan = load(plan_text(("intents: critical", "intents: all     ")))

    finding = one(plan, "cannot-be-proven")

    assert finding.path == "spec.steps[2].advance"
    assert "judges refund on its own" in finding.message


def test_a_step_that_asks_for_proof_without_critical_intents_is_told():
    plan = load(plan_text((", critical: true", ""), ("intents: critical", "intents: each    ")))

    assert "none is marked" in one(plan, "nothing-to-prove").message


def test_a_rule_on_a_pinned_intent_is_told():
    plan = load(plan_text(("intents: critical", "intents: [legal] ")))

    assert "legal is pinned to the baseline" in one(plan, "pinned-intent").message
    assert "no intent with candidate traffic" in one(plan, "judges-nothing").message


def test_a_rule_on_an_unknown_intent_is_an_error():
    plan = load(plan_text())
    rule = replace(plan.rules[0], scope=Scope.NAMED, intents=("refnd",))

    assert one(replace(plan, rules=(rule,)), "unknown-intent").level is Level.ERROR


def test_a_plan_that_tells_nobody_says_so():
    assert one(replace(load(plan_text()), slack=None), "nobody-told").level is Level.INFO


@pytest.mark.parametrize("code", ["cost", "retires"])
def test_a_finding_reads_level_path_words_and_code(code: str):
    text = str(found(load(plan_text()), code)[0])

    assert text.endswith(f" [{code}]")
    assert text.split(": ", maxsplit=1)[0] in ("info", "warning")


def test_a_part_of_alpha_that_leaves_the_others_next_to_nothing_is_told():
    greedy = load(plan_text(("window: 72h", "window: 72h\n      alpha: 4.9%")))
    fair = load(plan_text(("window: 72h", "window: 72h\n      alpha: 4%")))

    finding = one(greedy, "little-alpha-left")

    assert (finding.level, finding.path) == (Level.WARNING, "spec.rules[0].alpha")
    assert finding.message.startswith(
        "escalation, latency: 0.1% of the plan's alpha is left, 0.05% on each intent, "
        "where an even division gives 1.67%"
    )
    assert not found(fair, "little-alpha-left")


def test_an_accuracy_rule_without_a_label_delay_is_warned_about():
    at_once = load(
        plan_text(("labels: {delay: 6h, horizon: 7d}", "labels: {delay: 0s, horizon: 7d}"))
    )

    assert one(at_once, "no-label-delay").path == "spec.labels.delay"


def test_a_pause_that_cannot_end_by_itself_is_told():
    own = with_rule(
        "{name: own, metric: error_rate, above: 1%, window: 1h, then: pause, resume: auto}"
    )
    long = with_rule(
        "{name: own, metric: error_rate, above: 1%, window: 24h, then: pause, resume: auto}"
    )

    assert "cannot-recover" not in codes(load(own))
    assert "24h" in one(load(long), "cannot-recover").message
    unserved = replace(load(own), pause_share=PauseShare.ZERO)
    assert one(unserved, "cannot-recover").message.endswith(
        "write `pauseShare: hold` or leave `auto` out"
    )
    # Served, it would still have no whole window before the pause is over.
    both = replace(load(long), pause_share=PauseShare.ZERO)
    assert one(both, "cannot-recover").message.endswith(
        "write `pauseShare: hold` and a `pauseDeadline` of more than 24h, or leave `auto` out"
    )


JUDGE = "{delay: 6h, horizon: 7d, judge: {model: gpt-5, sensitivity: 95%, specificity: 90%}}"


def test_a_judge_that_errs_is_told_with_what_it_does_to_a_pass():
    judged = load(plan_text(("{delay: 6h, horizon: 7d}", JUDGE)))

    finding = one(judged, "judged-labels")

    assert finding.level is Level.INFO
    assert finding.message == (
        "accuracy: the judge shows a loss of 1.5 pp as 1.275 pp, so a pass is proven against that; "
        "a fail needs no more than before"
    )
    assert not found(judged, "unnamed-judge")


def test_what_a_judge_makes_of_a_limit_of_accuracy_is_told():
    rule = "{name: low, metric: accuracy, below: 90%, window: 24h, then: pause}"
    judged = load(
        plan_text(("{delay: 6h, horizon: 7d}", JUDGE), ("  rules:\n", f"  rules:\n    - {rule}\n"))
    )

    low, _ = found(judged, "judged-labels")

    # 0.9 × 0.95 + 0.1 × (1 − 0.9)
    assert low.message == (
        "low: the judge shows a true accuracy of 90% as 86.5%, so that is what proofs are against; "
        "as written, the rule goes by its labels as they are"
    )


def test_a_spike_of_what_one_arm_spends_is_warned_about():
    rule = "{name: dear, metric: cost_per_hour, spike: {factor: 2}, window: 1h, then: pause"

    assert one(load(with_rule(f"{rule}, arm: candidate}}")), "spike-at-each-step").path == (
        "spec.rules[0].spike"
    )
    assert not found(load(with_rule(f"{rule}}}")), "spike-at-each-step")


def test_a_judge_without_a_name_is_told():
    unnamed = load(plan_text(("{delay: 6h, horizon: 7d}", JUDGE.replace("model: gpt-5, ", ""))))

    assert one(unnamed, "unnamed-judge").level is Level.WARNING


def sampled(text: str = "30%", *changes: tuple[str, str]):
    return load(plan_text(("horizon: 7d}", f"horizon: 7d, sampled: {text}}}"), *changes))


def test_a_sample_of_labels_is_told_with_what_it_asks_of_graders():
    finding = one(sampled(), "sampled-labels")

    assert finding.level is Level.INFO
    assert (
        "pick 30% of the answers at random, whatever they are like, answer by answer"
        in finding.message
    )
    by_request = one(sampled("30%", ("unit: conversation", "unit: request")), "sampled-labels")
    assert "answer by answer" not in by_request.message
    assert not found(load(plan_text()), "sampled-labels")
    assert not found(sampled("100%"), "sampled-labels")


def test_a_sample_that_no_rule_looks_at_is_told():
    plan = sampled()
    by_flags = tuple(one for one in plan.rules if one.metric.kind is not Kind.LOSS)
    blind = replace(plan, rules=by_flags)

    assert one(blind, "sampled-in-vain").path == "spec.labels.sampled"
    assert not found(blind, "sampled-labels")


PEOPLE = f"{JUDGE[:-1]}, people: {{share: 5%}}}}"


def test_what_people_are_asked_for_is_told():
    by_people = load(plan_text(("{delay: 6h, horizon: 7d}", PEOPLE)))

    finding = one(by_people, "graded-by-people")

    assert finding.level is Level.INFO
    assert finding.path == "spec.labels.people"
    # 0.95 × 0.0475 × 0.85 / (0.9075 × 0.0925), as tests/stats/test_powered.py reckons it.
    assert (
        "accuracy: a pass is proven by people's grades of 5% of the conversations beside the judge's of all, "
        "whose weight is 0.46"
    ) in finding.message
    assert "within 6h, as outcomes with `source: person`" in finding.message
    # The margin of a pass is the limit itself.
    assert not found(by_people, "judged-labels")


def test_people_that_no_rule_looks_at_are_told():
    by_people = load(plan_text(("{delay: 6h, horizon: 7d}", PEOPLE)))
    by_flags = tuple(rule for rule in by_people.rules if rule.metric.kind is not Kind.LOSS)

    finding = one(replace(by_people, rules=by_flags), "people-in-vain")

    assert finding.level is Level.WARNING
    assert not found(replace(by_people, rules=by_flags), "graded-by-people")


def test_where_nobody_knows_what_a_request_can_cost_it_is_said_that_its_cost_is_never_proven_to_pass():
    costs = "{name: right, metric: cost_per_correct, above: 0.002 USD, window: 24h, then: pause}"
    known = load(with_rule(costs))
    unknown = replace(known, candidate=replace(known.candidate, context_window=None))

    assert not found(known, "cost-without-bound")
    finding = one(unknown, "cost-without-bound")
    assert (finding.level, finding.path) == (Level.INFO, "spec.rules[0].metric")
    assert "it can be proven to fail, never to pass" in finding.message
    ours = replace(unknown, rules=(replace(unknown.rules[0], arm=Arm.BASELINE),))
    assert not found(ours, "cost-without-bound")
